//! What is kept with assets.

use model::{Asset, AssetKey};

use super::{MemoryStore, State};
use crate::query::Page;
use crate::records::AssetStateEntry;
use crate::{AssetStateStore, Result, StoreError};

impl State {
    fn require_asset(&self, asset: &AssetKey) -> Result<()> {
        if self.assets.contains(asset) {
            return Ok(());
        }
        Err(StoreError::Missing { what: format!("the asset {:?}", asset.name) })
    }

    pub(super) fn asset_state(&mut self, asset: AssetKey, entry: AssetStateEntry) -> Result<()> {
        self.require_asset(&asset)?;
        self.asset_states.put((asset, entry.key.clone()), entry);
        Ok(())
    }

    /// One key, or all of them.
    pub(super) fn delete_asset_states(&mut self, asset: &AssetKey, key: Option<&str>) -> Result<()> {
        self.require_asset(asset)?;
        self.asset_states.remove_where(|(other, own), _| other == asset && key.is_none_or(|key| key == own));
        Ok(())
    }
}

impl AssetStateStore for MemoryStore {
    fn asset_numbered(&self, number: i64) -> Result<Option<Asset>> {
        let state = self.read()?;
        let mut assets = state.assets.values();
        let found = assets.find(|known| i64::try_from(known.number).is_ok_and(|own| own == number));
        Ok(found.map(|known| known.record.asset.clone()))
    }

    fn asset_state(&self, asset: &AssetKey, key: &str) -> Result<Option<AssetStateEntry>> {
        Ok(self.read()?.asset_states.get(&(asset.clone(), key.to_owned())).cloned())
    }

    fn asset_states(&self, asset: &AssetKey, page: Page) -> Result<(Vec<AssetStateEntry>, u64)> {
        let state = self.read()?;
        let of_asset = state.asset_states.iter().filter(|((other, _), _)| other == asset);
        let all: Vec<&AssetStateEntry> = of_asset.map(|(_, entry)| entry).collect();
        let skip = usize::try_from(page.offset).unwrap_or(usize::MAX);
        let take = usize::try_from(page.limit).unwrap_or(usize::MAX);
        Ok((all.iter().copied().skip(skip).take(take).cloned().collect(), all.len() as u64))
    }
}
