//! The API server, put together from the configuration.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use api::{ApiConfig, ApiOptions, ApiState, AuthSettings, ConfigSection, UiConfig};
use axum::serve::ListenerExt;
use store::Store;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::accounts;
use crate::config::Config;
use crate::home::Home;
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
    let api_config = ApiConfig {
        page_limit: config.get("api", "fallback_page_limit", 50)?,
        max_page_limit: config.get("api", "maximum_page_limit", 100)?,
        secret_key: accounts::secret_key(home, config)?,
        exposed: exposed(config)?,
        mask_rules: Arc::clone(&stack.mask_rules),
        hostname: stack.hostname.clone(),
        unixname: stack.unixname.clone(),
        clear_state_on_success: config.flag("state_store", "clear_on_success", false)?,
        max_state_bytes: config.get("state_store", "max_value_storage_bytes", 65535)?,
        state_retention_days: config.get("state_store", "default_retention_days", 30)?,
        base_path: base_path(config)?,
        ui: ui_config(config)?,
        rerun_with_latest_version: match config.text("core", "rerun_with_latest_version") {
            Some(_) => Some(config.flag("core", "rerun_with_latest_version", false)?),
            None => None,
        },
    };
    Ok(ApiState::new(ApiOptions {
        store,
        engine: stack.handle(),
        structures: Arc::new(stack.dags.clone()),
        log_folder,
        auth: auth_settings(home, config)?,
        config: api_config,
    }))
}

/// The path of `[api] base_url`, without a slash at its end.
fn base_path(config: &Config) -> Result<String> {
    let url = config.text("api", "base_url").unwrap_or_default();
    let Some((_, rest)) = url.split_once("://") else { return Ok(String::new()) };
    let path = rest.find('/').map_or("", |at| rest[at..].trim_end_matches('/'));
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "/-_.~".contains(letter);
    if !path.chars().all(is_plain) || path.contains("//") {
        bail!("[api] base_url is {url:?}: its path may have letters, digits and - _ . ~ between single slashes");
    }
    Ok(path.to_owned())
}

/// What the web UI is told of the configuration.
fn ui_config(config: &Config) -> Result<UiConfig> {
    let default = UiConfig::default();
    let theme = match config.text("api", "theme").filter(|text| !text.trim().is_empty()) {
        Some(text) => serde_json::from_str(&text).context("[api] theme is no JSON")?,
        None => serde_json::Value::Null,
    };
    Ok(UiConfig {
        auto_refresh_interval: config.get("api", "auto_refresh_interval", default.auto_refresh_interval)?,
        default_wrap: config.flag("api", "default_wrap", false)?,
        enable_swagger_ui: config.flag("api", "enable_swagger_ui", true)?,
        hide_paused_dags_by_default: config.flag("api", "hide_paused_dags_by_default", false)?,
        instance_name: config.text("api", "instance_name").unwrap_or(default.instance_name),
        require_confirmation_dag_change: config.flag("api", "require_confirmation_dag_change", false)?,
        test_connection: config.text("core", "test_connection").unwrap_or(default.test_connection),
        theme,
    })
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

/// The settings of logins. New users get their passwords here, which are told this once.
fn auth_settings(home: &Home, config: &Config) -> Result<AuthSettings> {
    let settings = accounts::auth_settings(home, config)?;
    if !settings.all_admins {
        for (name, password) in accounts::make_passwords(&settings.passwords_file, &settings.users)? {
            say!("Password for user '{name}': {password}");
        }
    }
    Ok(settings)
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
