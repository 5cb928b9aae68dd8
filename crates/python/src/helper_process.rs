//! The Python helper, kept alive: started when it is first needed, and again when it ends.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use process::Host;
use tokio::sync::watch;

use crate::forkserver::{ForkError, ForkServer, ForkedChild, Job};

/// Pauses between starts of a helper that ends at once: first and longest.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How to start a helper.
#[derive(Clone, Debug)]
pub struct HelperOptions {
    pub interpreter: PathBuf,
    /// Where its own files go.
    pub folder: PathBuf,
    pub env: Vec<(String, String)>,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Helper {
    server: watch::Receiver<Option<ForkServer>>,
    options: Arc<watch::Sender<Option<HelperOptions>>>,
}

impl Helper {
    /// A helper that starts as soon as [`Self::configure`] says how.
    pub fn new(host: Host) -> Self {
        let (options, wanted) = watch::channel(None);
        let (sender, server) = watch::channel(None);
        tokio::spawn(keep_alive(host, wanted, sender));
        Self { server, options: Arc::new(options) }
    }

    /// Says how to start the helper. A helper that runs is replaced, and its children end with it.
    pub fn configure(&self, options: HelperOptions) {
        self.options.send_replace(Some(options));
    }

    /// What the helper's environment has beyond that of the engine; nothing before it is known how to start it.
    pub fn env(&self) -> Vec<(String, String)> {
        self.options.borrow().as_ref().map(|options| options.env.clone()).unwrap_or_default()
    }

    /// The running helper, as soon as there is one.
    pub async fn server(&self) -> Result<ForkServer, ForkError> {
        let mut server = self.server.clone();
        let found = server.wait_for(Option::is_some).await.map_err(|_| ForkError::Gone)?;
        found.clone().ok_or(ForkError::Gone)
    }

    /// Forks a child. A helper that ends before it has answered is replaced and asked again.
    pub async fn fork(&self, job: &Job) -> Result<ForkedChild, ForkError> {
        loop {
            let server = self.server().await?;
            match server.fork(job).await {
                Err(ForkError::Gone | ForkError::Broken(_)) => {
                    let pid = server.pid;
                    drop(server);
                    let mut next = self.server.clone();
                    next.wait_for(|server| server.as_ref().is_none_or(|server| server.pid != pid))
                        .await
                        .map_err(|_| ForkError::Gone)?;
                }
                result => return result,
            }
        }
    }
}

async fn keep_alive(
    host: Host,
    mut wanted: watch::Receiver<Option<HelperOptions>>,
    server: watch::Sender<Option<ForkServer>>,
) {
    let mut pause = FIRST_PAUSE;
    loop {
        let Some(options) = wanted.borrow_and_update().clone() else {
            if wanted.changed().await.is_err() {
                return;
            }
            continue;
        };
        match ForkServer::start(&host, &options.interpreter, &options.folder, options.env).await {
            Ok(started) => {
                server.send_replace(Some(started.clone()));
                match started.ready().await {
                    Ok(info) => {
                        tracing::debug!(pid = info.pid, python = %info.python, "the Python helper is warm");
                        pause = FIRST_PAUSE;
                    }
                    Err(error) => tracing::error!(%error, "tasks and imports that need Python wait"),
                }
                tokio::select! {
                    () = started.gone() => {}
                    changed = wanted.changed() => {
                        if changed.is_err() {
                            return;
                        }
                    }
                }
                server.send_replace(None);
            }
            Err(error) => tracing::error!(%error, "tasks and imports that need Python wait"),
        }
        if server.is_closed() {
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
