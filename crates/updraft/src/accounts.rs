//! The simple auth manager's users, as the configuration and the file of passwords have them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use api::{AuthSettings, Role, UserAccount};
use serde_json::{Map, Value};

use crate::config::Config;
use crate::home::{Home, random_text, write_private};

/// Letters of a password that is made here.
const PASSWORD_LENGTH: usize = 16;

/// How people prove who they are, and how tokens are made and read.
pub fn auth_settings(home: &Home, config: &Config) -> Result<AuthSettings> {
    let secret = match config.secret("api_auth", "jwt_secret")?.filter(|secret| !secret.is_empty()) {
        Some(secret) => secret,
        None => home.secret()?,
    };
    Ok(AuthSettings {
        all_admins: config.flag("core", "simple_auth_manager_all_admins", false)?,
        users: users(config)?,
        passwords_file: passwords_file(home, config),
        secret,
        expiration: config.get("api_auth", "jwt_expiration_time", 86_400)?,
        cli_expiration: config.get("api_auth", "jwt_cli_expiration_time", 3_600)?,
        audience: config.text("api_auth", "jwt_audience").unwrap_or_else(|| "apache-airflow".into()),
        issuer: config.text("api_auth", "jwt_issuer").unwrap_or_default(),
        leeway: config.get("api_auth", "jwt_leeway", 10)?,
    })
}

/// What signs the names of files that clients carry for us.
pub fn secret_key(home: &Home, config: &Config) -> Result<String> {
    config.secret("api", "secret_key")?.filter(|secret| !secret.is_empty()).map_or_else(|| home.secret(), Ok)
}

/// Who may log in.
pub fn users(config: &Config) -> Result<Vec<UserAccount>> {
    read_users(&config.text("core", "simple_auth_manager_users").unwrap_or_else(|| "admin:admin".into()))
}

/// Where their passwords are.
pub fn passwords_file(home: &Home, config: &Config) -> PathBuf {
    config.text("core", "simple_auth_manager_passwords_file").map_or_else(|| home.passwords(), PathBuf::from)
}

/// `name:role`, separated by commas.
fn read_users(text: &str) -> Result<Vec<UserAccount>> {
    let users = text.split(',').map(str::trim).filter(|user| !user.is_empty()).map(|user| {
        let wrong = |reason: &str| {
            anyhow!(
                "[core] simple_auth_manager_users has {user:?}: {reason}; write it like name:role, with one of the \
                 roles viewer, user, op and admin"
            )
        };
        let (name, role) = user.split_once(':').ok_or_else(|| wrong("there is no role"))?;
        let role = Role::named(role.trim()).ok_or_else(|| wrong("that is no role"))?;
        Ok(UserAccount { name: name.trim().to_owned(), role })
    });
    users.collect()
}

/// The passwords that are there, by name.
pub fn passwords(file: &Path) -> Result<Map<String, Value>> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(|| format!("{} can't be read", file.display())),
    };
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    serde_json::from_str(&text)
        .with_context(|| format!("{} must be a JSON object of passwords by user", file.display()))
}

/// Replaces the file of passwords, which only its owner may read.
pub fn write_passwords(file: &Path, passwords: Map<String, Value>) -> Result<()> {
    write_private(file, &format!("{}\n", Value::Object(passwords)))
}

/// A password that nobody can guess.
pub fn new_password() -> Result<String> {
    random_text(PASSWORD_LENGTH)
}

/// Makes a password for everybody who has none yet; returns those that are new.
pub fn make_passwords(file: &Path, users: &[UserAccount]) -> Result<Vec<(String, String)>> {
    let mut passwords = passwords(file)?;
    let mut made = Vec::new();
    for user in users {
        if !passwords.contains_key(&user.name) {
            let password = new_password()?;
            passwords.insert(user.name.clone(), password.clone().into());
            made.push((user.name.clone(), password));
        }
    }
    if !made.is_empty() {
        write_passwords(file, passwords)?;
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_have_a_name_and_a_role() {
        let found = read_users("ann:admin, bob:Viewer").unwrap();
        let roles: Vec<_> = found.iter().map(|user| (user.name.as_str(), user.role)).collect();
        assert_eq!(roles, [("ann", Role::Admin), ("bob", Role::Viewer)]);
        assert!(read_users("ann").unwrap_err().to_string().contains("there is no role"));
        assert!(read_users("ann:boss").unwrap_err().to_string().contains("that is no role"));
    }

    #[test]
    fn a_password_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("passwords");
        let made = make_passwords(&file, &read_users("ann:op").unwrap()).unwrap();
        assert_eq!(made.len(), 1);
        assert_eq!(make_passwords(&file, &read_users("ann:op,bob:op").unwrap()).unwrap().len(), 1);
        assert_eq!(passwords(&file).unwrap()["ann"], made[0].1.as_str());
    }
}
