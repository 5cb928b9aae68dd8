//! The API server, put together from the configuration.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use api::{ApiConfig, ApiOptions, ApiState, AuthSettings, ConfigSection, Role, UserAccount};
use axum::serve::ListenerExt;
use store::Store;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::home::{Home, random_text, write_private};
use crate::stack::Stack;

/// How long requests that are being answered may go on when the process ends.
const GRACE: Duration = Duration::from_secs(2);

/// Everything that requests are answered with. New users get their passwords here.
pub fn state(
    home: &Home,
    config: &Config,
    stack: &Stack,
    store: Arc<dyn Store>,
    log_folder: PathBuf,
) -> Result<ApiState> {
    let secret = home.secret()?;
    let api_config = ApiConfig {
        page_limit: config.get("api", "fallback_page_limit", 50)?,
        max_page_limit: config.get("api", "maximum_page_limit", 100)?,
        secret_key: config.text("api", "secret_key").unwrap_or_else(|| secret.clone()),
        exposed: exposed(config)?,
        mask_rules: Arc::clone(&stack.mask_rules),
        hostname: stack.hostname.clone(),
        unixname: stack.unixname.clone(),
    };
    Ok(ApiState::new(ApiOptions {
        store,
        engine: stack.handle(),
        structures: Arc::new(stack.dags.clone()),
        log_folder,
        auth: auth_settings(home, config, secret)?,
        config: api_config,
    }))
}

/// What `/config` shows, if `[api] expose_config` lets it show anything.
fn exposed(config: &Config) -> Result<Option<Vec<ConfigSection>>> {
    // Airflow's older way to say yes.
    let is_old_yes = config.text("api", "expose_config").is_some_and(|text| text.trim() == "non-sensitive-only");
    if !is_old_yes && !config.flag("api", "expose_config", false)? {
        return Ok(None);
    }
    let mut sections: Vec<ConfigSection> = Vec::new();
    for ((section, key), value) in config.all() {
        match sections.last_mut().filter(|last| last.name == section) {
            Some(last) => last.options.push((key, value)),
            None => sections.push(ConfigSection { name: section, options: vec![(key, value)] }),
        }
    }
    Ok(Some(sections))
}

fn auth_settings(home: &Home, config: &Config, secret: String) -> Result<AuthSettings> {
    let settings = AuthSettings {
        all_admins: config.flag("core", "simple_auth_manager_all_admins", false)?,
        users: users(&config.text("core", "simple_auth_manager_users").unwrap_or_else(|| "admin:admin".into()))?,
        passwords_file: config
            .text("core", "simple_auth_manager_passwords_file")
            .map_or_else(|| home.passwords(), PathBuf::from),
        secret: config.text("api_auth", "jwt_secret").unwrap_or(secret),
        expiration: config.get("api_auth", "jwt_expiration_time", 86_400)?,
        cli_expiration: config.get("api_auth", "jwt_cli_expiration_time", 3_600)?,
        audience: config.text("api_auth", "jwt_audience").unwrap_or_else(|| "apache-airflow".into()),
        issuer: config.text("api_auth", "jwt_issuer").unwrap_or_default(),
        leeway: config.get("api_auth", "jwt_leeway", 10)?,
    };
    if !settings.all_admins {
        for (name, password) in make_passwords(&settings.passwords_file, &settings.users)? {
            eprintln!("Password for user '{name}': {password}");
        }
    }
    Ok(settings)
}

/// `name:role`, separated by commas.
fn users(text: &str) -> Result<Vec<UserAccount>> {
    let users = text.split(',').map(str::trim).filter(|user| !user.is_empty()).map(|user| {
        let wrong = |reason: &str| {
            anyhow!("[core] simple_auth_manager_users has {user:?}: {reason}; write it like name:role, with one of the roles viewer, user, op and admin")
        };
        let (name, role) = user.split_once(':').ok_or_else(|| wrong("there is no role"))?;
        let role = Role::named(role.trim()).ok_or_else(|| wrong("that is no role"))?;
        Ok(UserAccount { name: name.trim().to_owned(), role })
    });
    users.collect()
}

/// Makes a password for everybody who has none yet; returns those that are new.
fn make_passwords(file: &Path, users: &[UserAccount]) -> Result<Vec<(String, String)>> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(|| format!("{} can't be read", file.display())),
    };
    let mut passwords: serde_json::Map<String, serde_json::Value> = match text.trim() {
        "" => serde_json::Map::new(),
        text => match serde_json::from_str(text) {
            Ok(passwords) => passwords,
            Err(error) => bail!("{} must be a JSON object of passwords by user: {error}", file.display()),
        },
    };
    let mut made = Vec::new();
    for user in users.iter().filter(|user| !passwords.contains_key(&user.name)).collect::<Vec<_>>() {
        let password = random_text(16)?;
        passwords.insert(user.name.clone(), password.clone().into());
        made.push((user.name.clone(), password));
    }
    if !made.is_empty() {
        write_private(file, &format!("{}\n", serde_json::Value::Object(passwords)))?;
    }
    Ok(made)
}

/// The listener and those who are connected to it.
pub struct Server {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Server {
    /// Answers requests from now on.
    pub fn start(listener: TcpListener, state: ApiState) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        // Small answers go out at once instead of waiting for company.
        let listener = listener.tap_io(|stream| {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "a connection waits for company");
            }
        });
        let serve = axum::serve(listener, api::router(state)).with_graceful_shutdown(async move {
            let _ = stopped.await;
        });
        let task = tokio::spawn(async move {
            if let Err(error) = serve.await {
                tracing::error!(%error, "the API server ended");
            }
        });
        Self { stop, task }
    }

    /// Takes no more requests, and lets those that are under way end if they hurry.
    pub async fn stop(self) {
        let Self { stop, mut task } = self;
        let _ = stop.send(());
        if tokio::time::timeout(GRACE, &mut task).await.is_err() {
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn users_have_a_name_and_a_role() {
        let found = users("ann:admin, bob:Viewer").unwrap();
        let roles: Vec<_> = found.iter().map(|user| (user.name.as_str(), user.role)).collect();
        assert_eq!(roles, [("ann", Role::Admin), ("bob", Role::Viewer)]);
        assert!(users("ann").unwrap_err().to_string().contains("there is no role"));
        assert!(users("ann:boss").unwrap_err().to_string().contains("that is no role"));
    }

    #[test]
    fn a_password_is_made_once() {
        let folder = std::env::temp_dir().join(format!("updraft-passwords-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("passwords");
        let made = make_passwords(&file, &users("ann:op").unwrap()).unwrap();
        assert_eq!(made.len(), 1);
        assert_eq!(make_passwords(&file, &users("ann:op,bob:op").unwrap()).unwrap().len(), 1);
        let kept: HashMap<String, String> = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        assert_eq!(kept["ann"], made[0].1);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
