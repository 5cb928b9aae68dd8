//! Weights that a class of a plugin gives (Airflow's `PriorityWeightStrategy`). Only Python can tell them, and it takes its
//! time: the question is an action, and the answer comes as an event like any other.
//!
//! A task instance does not wait for a slot before its weight is known, so that it takes its right place among others. Each
//! try has a weight of its own. What a class does not say is the weight that the task itself has.

use std::collections::BTreeMap;

use jiff::Timestamp;
use model::{Change, DagId, MapIndex, RunKey, TaskId, TaskState, VersionId, WeightRule};

use crate::Scheduler;
use crate::event::{Action, Decisions};
use crate::run_state::{RunSerial, TaskRef};

/// Task instances that one question is about at most: an answer must fit into its time.
const MAX_AT_ONCE: usize = 5_000;

/// A question for a class: how much do these task instances weigh?
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AskWeights {
    pub run: RunKey,
    /// The structure of the run's Dag.
    pub version: VersionId,
    /// The class path.
    pub strategy: String,
    pub instances: Vec<WeightOf>,
}

/// A try of a task instance.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WeightOf {
    pub task_id: TaskId,
    pub map_index: MapIndex,
    /// Tries that were before.
    pub tries: u32,
}

/// What was said last about the plugins that a Dag needs.
#[derive(Debug, Default)]
pub(crate) struct Warnings {
    pub(crate) timetable: Option<String>,
    pub(crate) weights: Option<String>,
    /// What people read, as far as this process knows.
    told: Option<Option<String>>,
}

impl Warnings {
    /// The text for people, if that is a new one.
    pub(crate) fn news(&mut self) -> Option<Option<String>> {
        let both: Vec<&str> = [&self.timetable, &self.weights].into_iter().flatten().map(String::as_str).collect();
        let text = (!both.is_empty()).then(|| both.join("\n\n"));
        (self.told.as_ref() != Some(&text)).then(|| self.told.insert(text).clone())
    }

    /// What was said is to be said again.
    pub(crate) fn forget(&mut self) {
        self.told = None;
    }
}

impl Scheduler {
    /// Whether the weight of a task instance's next try is known. If not, it is asked for, and the task instance is looked
    /// at again when there is an answer.
    pub(crate) fn is_weighed(&mut self, task: TaskRef) -> bool {
        let Some(state) = self.runs.get_mut(&task.run) else { return true };
        let WeightRule::Custom(_) = &state.dag.task(task.task).weight_rule else { return true };
        let instance = state.instance(task);
        let (map_index, tries) = (instance.ti.map_index, instance.ti.try_number);
        if instance.weighed == Some(tries) || instance.ti.state == TaskState::UpForReschedule {
            return true;
        }
        if state.weighing.insert((task.task, map_index), tries) != Some(tries) {
            self.unweighed.push(task);
        }
        false
    }

    /// A run begins: what it weighs is known sooner if it is asked for at once.
    pub(crate) fn weigh_run(&mut self, serial: RunSerial) {
        let Some(state) = self.runs.get(&serial) else { return };
        let is_custom = |task: &model::TaskIndex| matches!(state.dag.task(*task).weight_rule, WeightRule::Custom(_));
        let tasks: Vec<TaskRef> = state
            .dag
            .indices()
            .filter(is_custom)
            .flat_map(|task| state.refs_of(serial, task))
            .filter(|task| state.ti(*task).state == TaskState::None)
            .collect();
        for task in tasks {
            self.is_weighed(task);
        }
    }

    /// Puts the questions of this step.
    pub(crate) fn ask_weights(&mut self, decisions: &mut Decisions) {
        let mut questions: BTreeMap<(RunSerial, String), Vec<WeightOf>> = BTreeMap::new();
        for task in std::mem::take(&mut self.unweighed) {
            let Some(state) = self.runs.get(&task.run) else { continue };
            let WeightRule::Custom(strategy) = &state.dag.task(task.task).weight_rule else { continue };
            let ti = state.ti(task);
            let of = WeightOf { task_id: ti.task_id.clone(), map_index: ti.map_index, tries: ti.try_number };
            questions.entry((task.run, strategy.clone())).or_default().push(of);
        }
        for ((serial, strategy), instances) in questions {
            let Some(state) = self.runs.get(&serial) else { continue };
            for instances in instances.chunks(MAX_AT_ONCE) {
                decisions.actions.push(Action::AskWeights(Box::new(AskWeights {
                    run: state.run.key.clone(),
                    version: state.version,
                    strategy: strategy.clone(),
                    instances: instances.to_vec(),
                })));
            }
        }
    }

    /// The answer to [`Action::AskWeights`], in the order of the question.
    pub(crate) fn weighed(
        &mut self,
        asked: &AskWeights,
        answer: Result<Vec<i32>, String>,
        now: Timestamp,
        decisions: &mut Decisions,
    ) {
        let Some((serial, state)) = self
            .run_serials
            .get(&asked.run)
            .and_then(|serial| Some((*serial, self.runs.get_mut(serial)?)))
            .filter(|(_, state)| state.version == asked.version)
        else {
            return;
        };
        let (weights, warning) = match answer {
            Ok(weights) => (weights, None),
            Err(reason) => (Vec::new(), Some(format!("{} does not say what tasks weigh: {reason}", asked.strategy))),
        };
        for (position, of) in asked.instances.iter().enumerate() {
            let Some(task) = state.dag.find(of.task_id.as_str()) else { continue };
            if state.weighing.get(&(task, of.map_index)) != Some(&of.tries) {
                continue;
            }
            state.weighing.remove(&(task, of.map_index));
            // One that stood for all of a mapped task may be the first of them by now, with the weight that it has.
            let Some(instance) = state.tasks[task.at()].find(of.map_index) else { continue };
            let task = TaskRef { run: serial, task, instance };
            let weight = weights.get(position).copied().unwrap_or_else(|| state.dag.weight(task.task));
            let instance = state.instance_mut(task);
            if instance.ti.try_number != of.tries {
                continue;
            }
            instance.weighed = Some(of.tries);
            if instance.ti.priority_weight != weight {
                instance.ti.priority_weight = weight;
                crate::put(decisions, &instance.ti, Change::TaskInstance);
            }
            self.dirty.push_back(task);
        }
        self.touched.push(serial);
        self.warn_of_weights(&asked.run.dag_id, warning, now, decisions);
    }

    fn warn_of_weights(&mut self, dag_id: &DagId, warning: Option<String>, now: Timestamp, decisions: &mut Decisions) {
        let Some(entry) = self.dags.get_mut(dag_id) else { return };
        entry.warnings.weights = warning;
        if let Some(warning) = entry.warnings.news() {
            decisions.changes.push(Change::DagWarning { dag_id: dag_id.clone(), warning, at: now });
        }
    }
}
