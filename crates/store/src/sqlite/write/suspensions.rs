//! Writing what task instances wait for outside of a process.

use model::{Suspension, TaskInstanceKey, TimerEvent};

use super::super::column::{micros, opt_micros};
use super::{WriteResult, Writer};

impl Writer {
    pub(super) fn suspended(&mut self, suspension: &Suspension) -> WriteResult<()> {
        let trigger = suspension.trigger.as_deref();
        let timer = trigger.and_then(|trigger| trigger.timer.as_ref());
        let event = timer.and_then(|timer| match &timer.event {
            TimerEvent::Resume(payload) => Some(payload.to_string()),
            TimerEvent::Succeed => None,
        });
        let kwargs = trigger.map(|trigger| self.keys.seal(&trigger.kwargs.to_string()));
        self.of_task(
            "INSERT INTO suspension (run_rid, task_id, map_index, timeout, next_method, next_kwargs, trigger_id, classpath,
                 kwargs, is_kwargs_encrypted, queue, created_at, timer_at, timer_event)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
             ON CONFLICT (run_rid, task_id, map_index) DO UPDATE SET timeout = excluded.timeout,
                 next_method = excluded.next_method, next_kwargs = excluded.next_kwargs,
                 trigger_id = excluded.trigger_id, classpath = excluded.classpath, kwargs = excluded.kwargs,
                 is_kwargs_encrypted = excluded.is_kwargs_encrypted,
                 queue = excluded.queue, created_at = excluded.created_at, timer_at = excluded.timer_at,
                 timer_event = excluded.timer_event",
            &suspension.key,
            &[
                &opt_micros(suspension.timeout),
                &suspension.next_method,
                &suspension.next_kwargs.to_string(),
                &trigger.map(|trigger| trigger.id.0),
                &trigger.map(|trigger| &trigger.classpath),
                &kwargs.as_ref().map(|(stored, _)| stored),
                &kwargs.as_ref().is_some_and(|(_, is_encrypted)| *is_encrypted),
                &trigger.and_then(|trigger| trigger.queue.as_ref()),
                &trigger.map(|trigger| micros(trigger.created_at)),
                &timer.map(|timer| micros(timer.at)),
                &event,
            ],
        )
    }

    pub(super) fn not_suspended(&mut self, key: &TaskInstanceKey) -> WriteResult<()> {
        self.of_task("DELETE FROM suspension WHERE run_rid = ?1 AND task_id = ?2 AND map_index = ?3", key, &[])
    }
}
