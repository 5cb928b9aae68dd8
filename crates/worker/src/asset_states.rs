//! What tasks and triggers keep with assets, as the execution API's `asset_state_store` routes have it.

use jiff::Timestamp;
use model::{Asset, Json};
use python::import::Answer;
use python::message::{ErrorType, server_error};
use serde_json::json;
use store::{AssetStateEntry, StateWriter, StoreError, Write};

use crate::answers::StoreAnswers;
use crate::task_states::MAX_KEY;

/// How an asset is called; only active ones are found.
pub(crate) enum AssetRef {
    Name(String),
    Uri(String),
}

impl AssetRef {
    fn not_found(&self) -> Answer {
        let message = match self {
            AssetRef::Name(name) => format!("Asset with name='{name}' not found"),
            AssetRef::Uri(uri) => format!("Asset with uri='{uri}' not found"),
        };
        Answer::Refused(server_error(404, &message))
    }
}

impl StoreAnswers {
    fn active(&self, asset: &AssetRef) -> Result<Option<Asset>, StoreError> {
        match asset {
            AssetRef::Name(name) => self.store.active_asset(Some(name), None),
            AssetRef::Uri(uri) => self.store.active_asset(None, Some(uri)),
        }
    }

    pub(crate) fn asset_state(&self, asset: &AssetRef, key: &str) -> Result<Answer, StoreError> {
        let found = match self.active(asset)? {
            Some(asset) => self.store.asset_state(&asset.key, key)?,
            None => None,
        };
        // The SDK then takes the caller's default, for an asset that is not known too.
        let body = match found {
            Some(entry) => json!({"type": "AssetStateStoreResult", "value": entry.value}),
            None => ErrorType::AssetStoreNotFound.response(json!({"key": key})),
        };
        Ok(Answer::Body(body))
    }

    pub(crate) fn set_asset_state(&self, asset: &AssetRef, key: String, value: Json) -> Result<Answer, StoreError> {
        let length = key.chars().count();
        if !(1..=MAX_KEY).contains(&length) || value.is_null() {
            let message = format!("A key has 1 to {MAX_KEY} characters, this one {length}; its value can't be None");
            return Ok(Answer::Refused(server_error(422, &message)));
        }
        let Some(found) = self.active(asset)? else { return Ok(asset.not_found()) };
        // What has no task instance of its own is a trigger.
        let updated_by = self.own.as_ref().map_or(StateWriter::Watcher, |own| StateWriter::Task(own.ti.key()));
        let updated_at = model::operations::to_microseconds(Timestamp::now());
        let entry = AssetStateEntry { key, value, updated_at, updated_by };
        self.store.commit(vec![Write::AssetState { asset: found.key, entry }])?;
        Ok(done())
    }

    /// One key, or all of them.
    pub(crate) fn delete_asset_state(&self, asset: &AssetRef, key: Option<String>) -> Result<Answer, StoreError> {
        let Some(found) = self.active(asset)? else { return Ok(asset.not_found()) };
        self.store.commit(vec![match key {
            Some(key) => Write::DeleteAssetState { asset: found.key, key },
            None => Write::ClearAssetState(found.key),
        }])?;
        Ok(done())
    }
}

fn done() -> Answer {
    Answer::Body(json!({"type": "OKResponse", "ok": true}))
}
