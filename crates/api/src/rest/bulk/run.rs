//! Doing what the actions say.

use std::collections::{HashMap, HashSet};

use store::{Store, Write};

use super::{Action, Bulk, BulkResponse, OnExistence, Outcome, Target};
use crate::error::ApiError;
use crate::parse::python_repr;

/// What is written when all is decided. Actions see what those before them have made and changed, but, as in Airflow,
/// not what they have deleted; that is gone in the end, whatever is done with it.
struct Staged<'a, B: Bulk> {
    kind: &'a B,
    store: &'a dyn Store,
    known: HashMap<String, Option<B::Record>>,
    deleted: HashSet<String>,
    writes: Vec<Write>,
    /// Ids in the order in which they were changed.
    touched: Vec<String>,
}

/// Runs the actions and makes what they do durable, all or nothing. Also tells whose records were changed. Blocks.
pub(crate) fn run<B: Bulk>(
    kind: &B,
    store: &dyn Store,
    actions: Vec<Action<<B as Bulk>::Body>>,
) -> Result<(BulkResponse, Vec<String>), ApiError> {
    let mut staged = Staged::<B> {
        kind,
        store,
        known: HashMap::new(),
        deleted: HashSet::new(),
        writes: Vec::new(),
        touched: Vec::new(),
    };
    let mut response = BulkResponse::default();
    for action in actions {
        let (outcome, result) = match action {
            Action::Create { entities, on_existence } => {
                let outcome = response.create.get_or_insert_default();
                let result = staged.create(&entities, on_existence, outcome);
                (outcome, result)
            }
            Action::Update { entities, mask, skip_missing } => {
                let outcome = response.update.get_or_insert_default();
                let result = staged.update(&entities, &mask, skip_missing, outcome);
                (outcome, result)
            }
            Action::Delete { targets, skip_missing } => {
                let id = |target: &Target<_>| match target {
                    Target::Id(id) => id.clone(),
                    Target::Body(body) => B::id(body).to_owned(),
                };
                let ids: Vec<String> = targets.iter().map(id).collect();
                let outcome = response.delete.get_or_insert_default();
                let result = staged.delete(&ids, skip_missing, outcome);
                (outcome, result)
            }
        };
        // Faults that an action tells of leave the others alone; a body that can't be read stops all of them.
        result.or_else(|error| outcome.refused(error))?;
    }
    if !staged.writes.is_empty() {
        store.commit(staged.writes)?;
    }
    Ok((response, staged.touched))
}

/// Python's text for a set of texts.
fn set_of(ids: &[&str]) -> String {
    let mut seen: Vec<&str> = Vec::with_capacity(ids.len());
    for id in ids {
        if !seen.contains(id) {
            seen.push(id);
        }
    }
    format!("{{{}}}", seen.into_iter().map(python_repr).collect::<Vec<_>>().join(", "))
}

impl<B: Bulk> Staged<'_, B> {
    fn find(&mut self, id: &str) -> Result<Option<B::Record>, ApiError> {
        if let Some(known) = self.known.get(id) {
            return Ok(known.clone());
        }
        let found = B::find(self.store, id)?;
        self.known.insert(id.to_owned(), found.clone());
        Ok(found)
    }

    fn put(&mut self, id: &str, record: B::Record, write: Write) {
        self.known.insert(id.to_owned(), Some(record));
        if !self.deleted.contains(id) {
            self.writes.push(write);
            self.touched.push(id.to_owned());
        }
    }

    /// The ids for which there is a record, or for which there is none.
    fn those<'i>(&mut self, ids: impl Iterator<Item = &'i str>, existing: bool) -> Result<Vec<&'i str>, ApiError> {
        let mut found = Vec::new();
        for id in ids {
            if self.find(id)?.is_some() == existing {
                found.push(id);
            }
        }
        Ok(found)
    }

    fn create(
        &mut self,
        entities: &[<B as Bulk>::Body],
        on_existence: OnExistence,
        outcome: &mut Outcome,
    ) -> Result<(), ApiError> {
        let existing = self.those(entities.iter().map(B::id), true)?;
        if on_existence == OnExistence::Fail && !existing.is_empty() {
            return Err(ApiError::conflict(format!("{}: {} already exist.", B::THOSE, set_of(&existing))));
        }
        for body in entities {
            let id = B::id(body);
            let record = match self.find(id)?.filter(|_| existing.contains(&id)) {
                Some(_) if on_existence == OnExistence::Skip => continue,
                Some(old) => {
                    let record = self.kind.overwritten(body, old);
                    self.put(id, record.clone(), B::write(record));
                    outcome.success.push(id.to_owned());
                    continue;
                }
                None => self.kind.created(body),
            };
            self.put(id, record.clone(), B::write_new(record));
            outcome.success.push(id.to_owned());
        }
        Ok(())
    }

    fn update(
        &mut self,
        entities: &[<B as Bulk>::Body],
        mask: &[String],
        skip_missing: bool,
        outcome: &mut Outcome,
    ) -> Result<(), ApiError> {
        let missing = self.those(entities.iter().map(B::id), false)?;
        refuse_missing::<B>(&missing, skip_missing)?;
        for body in entities {
            let id = B::id(body);
            let Some(old) = self.find(id)? else { continue };
            let record = self.kind.updated(body, old, mask)?;
            self.put(id, record.clone(), B::write(record));
            outcome.success.push(id.to_owned());
        }
        Ok(())
    }

    fn delete(&mut self, ids: &[String], skip_missing: bool, outcome: &mut Outcome) -> Result<(), ApiError> {
        let missing = self.those(ids.iter().map(String::as_str), false)?;
        refuse_missing::<B>(&missing, skip_missing)?;
        for id in ids {
            if self.find(id)?.is_some() {
                B::may_delete(id)?;
                if self.deleted.insert(id.clone()) {
                    self.writes.push(B::write_deleted(id));
                    self.touched.push(id.clone());
                }
                outcome.success.push(id.clone());
            }
        }
        Ok(())
    }
}

fn refuse_missing<B: Bulk>(missing: &[&str], skip: bool) -> Result<(), ApiError> {
    if skip || missing.is_empty() {
        return Ok(());
    }
    Err(ApiError::not_found(format!("{}: {} were not found.", B::THOSE, set_of(missing))))
}
