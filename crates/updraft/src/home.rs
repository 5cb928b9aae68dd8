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

/// How long to wait for what a killed engine left behind (its host is still ending its children), and for whoever has
/// the home only for a moment.
const TAKEOVER_WAIT: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(20);

#[derive(Clone, Debug)]
pub struct Home {
    pub path: PathBuf,
}

/// The home is this process's alone while this lives.
pub struct HomeLock {
    file: Flock<File>,
}

/// A server that runs on the home.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Server {
    pub pid: i64,
    pub url: String,
}

/// How a command may change things.
pub enum Access {
    /// No server runs, and none starts while the lock lives.
    Alone(HomeLock),
    Server(Server),
}

/// What the lock file says of the process that has the home, or last had it.
struct Holder {
    pid: Option<i64>,
    url: Option<String>,
}

impl Holder {
    fn is_alive(&self) -> bool {
        self.pid.is_some_and(|pid| Path::new(&format!("/proc/{pid}")).exists())
    }

    /// The server, if it is one that answers by now.
    fn server(&self) -> Option<Server> {
        let (pid, url) = (self.pid?, self.url.clone()?);
        self.is_alive().then_some(Server { pid, url })
    }
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
        let start = Instant::now();
        loop {
            let holder = match self.try_lock()? {
                Ok(lock) => return Ok(lock),
                Err(holder) => holder,
            };
            if holder.server().is_some() || start.elapsed() > TAKEOVER_WAIT {
                bail!(
                    "another Updraft ({}) runs on the home {}: stop it first, or give this one another --home",
                    who(&holder),
                    self.path.display()
                );
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// The home for a command that changes something: for itself if nobody has it, or through the server that does.
    pub fn access(&self) -> Result<Access> {
        let start = Instant::now();
        loop {
            let holder = match self.try_lock()? {
                Ok(lock) => return Ok(Access::Alone(lock)),
                Err(holder) => holder,
            };
            if let Some(server) = holder.server() {
                return Ok(Access::Server(server));
            }
            if start.elapsed() > TAKEOVER_WAIT {
                bail!(
                    "the home {} is taken by another Updraft ({}) that does not say where it can be reached: \
                     try again, or stop it",
                    self.path.display(),
                    who(&holder)
                );
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// The server that runs on the home, if one does.
    pub fn server(&self) -> Option<Server> {
        let mut file = File::open(self.lock_path()).ok()?;
        let holder = read_holder(&mut file);
        match Flock::lock(file, FlockArg::LockSharedNonblock) {
            Ok(_) => None,
            Err(_) => holder.server(),
        }
    }

    fn lock_path(&self) -> PathBuf {
        self.path.join("updraft.lock")
    }

    fn try_lock(&self) -> Result<Result<HomeLock, Holder>> {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(self.lock_path())
            .with_context(|| {
                format!("the home {} can't be written to: give another one with --home DIR", self.path.display())
            })?;
        let holder = read_holder(&mut file);
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => {
                let mut lock = HomeLock { file };
                lock.write(None)?;
                Ok(Ok(lock))
            }
            Err((_, nix::Error::EWOULDBLOCK)) => Ok(Err(holder)),
            Err((_, error)) => bail!("the home {} can't be locked: {error}", self.path.display()),
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

impl Home {
    pub fn fernet_key_path(&self) -> PathBuf {
        self.path.join("fernet.key")
    }

    /// The home's own Fernet key, if it has one.
    pub fn known_fernet_key(&self) -> Result<Option<String>> {
        let path = self.fernet_key_path();
        match std::fs::read_to_string(&path) {
            Ok(key) => Ok(Some(key.trim().to_owned())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("{} can't be read", path.display())),
        }
    }

    /// The home's own Fernet key, made once and durable before anything is encrypted with it.
    pub fn fernet_key(&self) -> Result<String> {
        if let Some(key) = self.known_fernet_key()? {
            return Ok(key);
        }
        let path = self.fernet_key_path();
        let failed = || format!("{} can't be written", path.display());
        let draft = self.path.join(format!("fernet.key.{}", std::process::id()));
        write_private(&draft, &store::FernetKeys::generate())?;
        File::open(&draft).and_then(|file| file.sync_all()).with_context(failed)?;
        // Of two processes that make one, one wins and both take it.
        let linked = std::fs::hard_link(&draft, &path);
        std::fs::remove_file(&draft).with_context(failed)?;
        match linked {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error).with_context(failed),
            _ => File::open(&self.path).and_then(|folder| folder.sync_all()).with_context(failed)?,
        }
        self.known_fernet_key()?.with_context(failed)
    }
}

impl HomeLock {
    /// Tells others who has the home, and where it can be reached.
    pub fn announce(&mut self, url: &str) -> Result<()> {
        self.write(Some(url))
    }

    fn write(&mut self, url: Option<&str>) -> Result<()> {
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

fn read_holder(file: &mut File) -> Holder {
    let mut text = String::new();
    let _ = file.read_to_string(&mut text);
    let found: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
    let url = found.get("url").and_then(Value::as_str).map(str::to_owned);
    Holder { pid: found.get("pid").and_then(Value::as_i64), url }
}

fn who(holder: &Holder) -> String {
    let pid = holder.pid.map_or_else(|| "?".to_owned(), |pid| pid.to_string());
    let url = holder.url.as_ref().map(|url| format!(", at {url}")).unwrap_or_default();
    format!("process {pid}{url}")
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
