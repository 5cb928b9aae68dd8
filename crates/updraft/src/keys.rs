//! The keys that encrypt what the database holds of secrets.

use anyhow::{Context as _, Result, anyhow};
use store::FernetKeys;
use store::sqlite::SqliteStore;

use crate::config::Config;
use crate::home::Home;

/// Names that one message tells of at most.
const MAX_NAMED: usize = 10;

/// `[core] fernet_key`. If the deployment says nothing, the home has a key of its own; one that the home had before still
/// decrypts. If it says that there is no key, nothing is encrypted, as in Airflow.
pub fn fernet_keys(home: &Home, config: &Config) -> Result<FernetKeys> {
    let given = config.secret("core", "fernet_key")?;
    let own = match &given {
        Some(text) if text.trim().is_empty() => return Ok(FernetKeys::default()),
        Some(_) => home.known_fernet_key()?,
        None => Some(home.fernet_key()?),
    };
    let own_keys = own.as_deref().map_or_else(|| Ok(FernetKeys::default()), |own| FernetKeys::parse(own, None));
    let own_keys = own_keys.with_context(|| format!("{} is damaged", home.fernet_key_path().display()))?;
    let Some(given) = given else { return Ok(own_keys) };
    FernetKeys::parse(&given, own.as_deref())
        .map_err(|error| anyhow!("[core] fernet_key in {}: {error}", config.place_of("core", "fernet_key")))
}

/// Encrypts what is not encrypted yet, and tells of what can't be decrypted.
pub fn look_after(store: &SqliteStore) -> Result<()> {
    let done = store.reencrypt(false)?;
    if done.changed > 0 {
        tracing::info!(count = done.changed, "secrets that were not encrypted are now");
    }
    if let Some(last) = done.locked.len().checked_sub(1) {
        let named = done.locked.get(..=last.min(MAX_NAMED - 1)).unwrap_or_default().join(", ");
        let more = done.locked.len().saturating_sub(MAX_NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        tracing::error!(
            "{named}{more} can't be decrypted: the Fernet key that encrypted them is not among those of [core] fernet_key. \
             Put that key behind the others there (new,old) and start again, or delete them and set them anew"
        );
    }
    Ok(())
}
