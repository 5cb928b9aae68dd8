//! The home: one folder with everything that an engine keeps.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};
use serde_json::{Value, json};

/// How long to wait for what a killed engine left behind: its host is still ending its children.
const TAKEOVER_WAIT: Duration = Duration::from_secs(15);

#[derive(Clone, Debug)]
pub struct Home {
    pub path: PathBuf,
}

/// The home is this process's alone while this lives.
pub struct HomeLock {
    file: Flock<File>,
}

impl Home {
    /// The home that was asked for, or Airflow's. Made if it is not there.
    pub fn open(asked: Option<&Path>) -> Result<Self> {
        let path = match asked {
            Some(path) => path.to_owned(),
            None => match (std::env::var_os("AIRFLOW_HOME"), std::env::var_os("HOME")) {
                (Some(home), _) => PathBuf::from(home),
                (None, Some(home)) => PathBuf::from(home).join("airflow"),
                (None, None) => {
                    bail!("there is no $AIRFLOW_HOME and no $HOME: say where to keep things with --home DIR")
                }
            },
        };
        std::fs::create_dir_all(&path)
            .with_context(|| format!("the home {} can't be made: give another one with --home DIR", path.display()))?;
        let path = path.canonicalize().with_context(|| format!("the home {} can't be used", path.display()))?;
        Ok(Self { path })
    }

    pub fn database(&self) -> PathBuf {
        self.path.join("updraft.db")
    }

    pub fn python(&self) -> PathBuf {
        self.path.join("python")
    }

    /// Where the files of the Python helper go.
    pub fn helper(&self) -> PathBuf {
        self.path.join("updraft-helper")
    }

    pub fn passwords(&self) -> PathBuf {
        self.path.join("simple_auth_manager_passwords.json.generated")
    }

    /// Takes the home for this process. Refused while another engine has it.
    pub fn lock(&self) -> Result<HomeLock> {
        let path = self.path.join("updraft.lock");
        let start = Instant::now();
        loop {
            let mut file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .read(true)
                .write(true)
                .mode(0o600)
                .open(&path)
                .with_context(|| {
                    format!("the home {} can't be written to: give another one with --home DIR", self.path.display())
                })?;
            let mut text = String::new();
            let _ = file.read_to_string(&mut text);
            let holder: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(file) => return Ok(HomeLock { file }),
                Err((_, nix::Error::EWOULDBLOCK)) => {}
                Err((_, error)) => bail!("the home {} can't be locked: {error}", self.path.display()),
            }
            let pid = holder.get("pid").and_then(Value::as_i64);
            let is_alive = pid.is_some_and(|pid| Path::new(&format!("/proc/{pid}")).exists());
            if is_alive || start.elapsed() > TAKEOVER_WAIT {
                let pid = pid.map_or_else(|| "?".to_owned(), |pid| pid.to_string());
                let url =
                    holder.get("url").and_then(Value::as_str).map(|url| format!(", at {url}")).unwrap_or_default();
                bail!(
                    "another Updraft (process {pid}{url}) runs on the home {}: stop it first, or give this one another --home",
                    self.path.display()
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The JWT secret of the deployment, or one that is made once and kept.
    pub fn secret(&self) -> Result<String> {
        let path = self.path.join("jwt_secret");
        if let Ok(secret) = std::fs::read_to_string(&path)
            && !secret.trim().is_empty()
        {
            return Ok(secret.trim().to_owned());
        }
        let secret = random_text(48)?;
        write_private(&path, &secret)?;
        Ok(secret)
    }
}

impl HomeLock {
    /// Tells others who has the home.
    pub fn announce(&mut self, url: &str) -> Result<()> {
        let text = json!({"pid": std::process::id(), "url": url}).to_string();
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(text.as_bytes())?;
        Ok(())
    }

    /// A descriptor that keeps the home locked as long as it is open, in whatever process.
    pub fn share(&self) -> Result<OwnedFd> {
        Ok(OwnedFd::from(self.file.try_clone()?))
    }
}

/// Writes a file that only its owner may read.
pub fn write_private(path: &Path, text: &str) -> Result<()> {
    let mut file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("{} can't be written", path.display()))?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(text.as_bytes()).with_context(|| format!("{} can't be written", path.display()))
}

/// A text of letters and digits that nobody can guess.
pub fn random_text(length: usize) -> Result<String> {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut text = String::with_capacity(length);
    while text.len() < length {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("the system gives no random numbers: {error}"))?;
        // Bytes beyond the last whole multiple of the alphabet would favour its beginning.
        let usable = bytes.iter().filter(|byte| **byte < 248);
        text.extend(usable.map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()])));
    }
    text.truncate(length);
    Ok(text)
}
