//! What task instances ask people.

use std::cmp::Ordering;

use jiff::Timestamp;
use model::{DagRun, HitlDetail, HitlResponse, HitlUser, TaskInstance, TaskInstanceId, TaskInstanceKey};

use super::order::{among, compare, compare_optional, fits, is, like, sort};
use super::{MemoryStore, State};
use crate::query::{Direction, HitlFilter, HitlOrder, Page};
use crate::{HitlStore, Result};

type Listed<'a> = (&'a HitlDetail, &'a TaskInstance);

fn answered_by(detail: &HitlDetail) -> Option<&HitlUser> {
    detail.response.as_ref().and_then(|response| response.by.as_ref())
}

fn hitl_matches(filter: &HitlFilter, (detail, ti): Listed<'_>) -> bool {
    let by = answered_by(detail);
    let one_of = |text: Option<&String>, allowed: &[String]| {
        allowed.is_empty() || text.is_some_and(|text| allowed.contains(text))
    };
    is(&ti.run.dag_id, filter.dag_id.as_ref())
        && is(&ti.run.run_id, filter.run_id.as_ref())
        && fits(Some(ti.run.dag_id.as_str()), &filter.dag_ids)
        && filter.task_id.as_ref().is_none_or(|task_id| task_id == ti.task_id.as_str())
        && fits(Some(ti.task_id.as_str()), &filter.task_ids)
        && is(&i64::from(ti.map_index.0), filter.map_index.as_ref())
        && among(&ti.state, &filter.states)
        && is(&detail.response.is_some(), filter.answered.as_ref())
        && one_of(by.map(|user| &user.id), &filter.user_ids)
        && one_of(by.map(|user| &user.name), &filter.user_names)
        && like(Some(&detail.question.subject), filter.subject.as_deref())
        && like(detail.question.body.as_deref(), filter.body.as_deref())
        && filter.created_at.contains(Some(detail.created_at))
}

impl State {
    pub(super) fn hitl_asked(&mut self, detail: HitlDetail) {
        let detail = match self.hitl.get(&detail.key) {
            Some(before) => detail.asked_again(before.clone()),
            None => detail,
        };
        self.hitl.put(detail.key.clone(), detail);
    }

    pub(super) fn hitl_answered(&mut self, key: &TaskInstanceKey, response: HitlResponse, untold: bool) {
        self.hitl.change(key, |detail| (detail.response, detail.untold) = (Some(response), untold));
    }

    pub(super) fn hitl_archived(&mut self, ti: &TaskInstance) {
        if let Some(detail) = self.hitl.get(&ti.key()).cloned() {
            self.hitl_tries.put((ti.key(), ti.id), detail);
        }
    }

    fn compare_hitl(&self, key: HitlOrder, (a, a_ti): Listed<'_>, (b, b_ti): Listed<'_>) -> Ordering {
        let run_after = |ti: &TaskInstance| -> Option<Timestamp> {
            self.runs.get(&ti.run).map(|run| &run.record).map(|run: &DagRun| run.run_after)
        };
        let user =
            |value: fn(&HitlUser) -> &String| compare_optional(answered_by(a).map(value), answered_by(b).map(value));
        let at = |detail: &HitlDetail| detail.response.as_ref().map(|response| response.at);
        match key {
            HitlOrder::Id => compare(a_ti.id, b_ti.id),
            HitlOrder::Subject => compare(&a.question.subject, &b.question.subject),
            HitlOrder::CreatedAt => compare(a.created_at, b.created_at),
            HitlOrder::RespondedAt => compare_optional(at(a), at(b)),
            HitlOrder::UserId => user(|user| &user.id),
            HitlOrder::UserName => user(|user| &user.name),
            HitlOrder::DagId => compare(&a_ti.run.dag_id, &b_ti.run.dag_id),
            HitlOrder::RunId => compare(&a_ti.run.run_id, &b_ti.run.run_id),
            HitlOrder::RunAfter => compare(run_after(a_ti), run_after(b_ti)),
            HitlOrder::TaskId => compare(&a_ti.task_id, &b_ti.task_id),
            HitlOrder::RenderedMapIndex => {
                compare_optional(a_ti.rendered_map_index.as_ref(), b_ti.rendered_map_index.as_ref())
                    .then(compare(a_ti.map_index, b_ti.map_index))
            }
            HitlOrder::Operator => compare(&a_ti.operator, &b_ti.operator),
            HitlOrder::State => compare_optional(a_ti.state.name(), b_ti.state.name()),
        }
    }
}

impl HitlStore for MemoryStore {
    fn hitl_detail(&self, key: &TaskInstanceKey) -> Result<Option<HitlDetail>> {
        Ok(self.state().hitl.get(key).cloned())
    }

    fn hitl_detail_of_try(&self, key: &TaskInstanceKey, id: TaskInstanceId) -> Result<Option<HitlDetail>> {
        Ok(self.state().hitl_tries.get(&(key.clone(), id)).cloned())
    }

    fn hitl_details(
        &self,
        filter: &HitlFilter,
        order: &[(HitlOrder, Direction)],
        page: Page,
    ) -> Result<(Vec<(HitlDetail, TaskInstance)>, u64)> {
        let state = self.state();
        let listed = state.hitl.values().filter_map(|detail| Some((detail, state.task_instances.get(&detail.key)?)));
        let mut found: Vec<Listed<'_>> = listed.filter(|listed| hitl_matches(filter, *listed)).collect();
        sort(&mut found, order, |a, b| a.1.id.cmp(&b.1.id), |key, a, b| state.compare_hitl(key, *a, *b));
        let (found, total) = page.cut(found);
        Ok((found.into_iter().map(|(detail, ti)| (detail.clone(), ti.clone())).collect(), total))
    }

    fn task_instance_named(&self, id: TaskInstanceId) -> Result<Option<TaskInstanceKey>> {
        Ok(self.state().task_instances.values().find(|ti| ti.id == id).map(TaskInstance::key))
    }
}
