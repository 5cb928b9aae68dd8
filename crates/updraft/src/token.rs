//! Who commands are for the server on this machine.

use anyhow::Result;

use crate::accounts;
use crate::config::Config;
use crate::home::Home;

/// A token that the server of this home takes: whoever can read the home's secret may do everything.
pub fn token(home: &Home, config: &Config) -> Result<String> {
    Ok(accounts::auth_settings(home, config)?.command_token(&user().unwrap_or_else(|| "cli".into())))
}

/// The user of the operating system.
pub fn user() -> Option<String> {
    nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten().map(|user| user.name)
}
