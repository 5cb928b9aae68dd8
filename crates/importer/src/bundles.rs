//! The bundles that Dag files are in: folders, which are watched, and what is fetched now and then.

use std::path::{Path, PathBuf};
use std::time::Duration;

use python::bundles::{ConfiguredBundle, Page};
use tokio::time::Instant;

/// A bundle that could not be fetched is tried again after its own interval, but no later than this.
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// The name that errors of a bundle as a whole have among those of its files.
pub(crate) const WHOLE: &str = ".";

pub(crate) struct Bundle {
    pub(crate) name: String,
    /// Where its files are; `None` until it was fetched.
    pub(crate) path: Option<PathBuf>,
    /// Where people can look at it.
    pub(crate) page: Page,
    pub(crate) source: Source,
    /// What was said last of what is wrong with it.
    pub(crate) told: Option<String>,
    /// Whether an error of the bundle is in the store.
    pub(crate) has_error: bool,
}

pub(crate) enum Source {
    Folder,
    /// There can't be such a bundle, and why.
    Broken(String),
    /// Nobody is to look at it.
    LeftAlone,
    Fetched(Fetch),
}

/// How far the fetching of a bundle is.
pub(crate) struct Fetch {
    pub(crate) version: Option<String>,
    /// Where its files really are, which a link may hide.
    real_path: Option<PathBuf>,
    /// When to fetch it next.
    pub(crate) due: Instant,
    pub(crate) is_under_way: bool,
    pub(crate) was_tried: bool,
    pub(crate) interval: Duration,
    /// When to clean up copies of old versions next.
    pub(crate) clean_due: Instant,
}

impl Bundle {
    /// `interval` is for those that do not say their own.
    pub(crate) fn new(configured: ConfiguredBundle, interval: Duration, clean_interval: Duration) -> Self {
        let ConfiguredBundle { name, path, error, page } = configured;
        let now = Instant::now();
        let source = match (error, &path) {
            (Some(error), _) => Source::Broken(error),
            (None, Some(_)) => Source::Folder,
            (None, None) => Source::Fetched(Fetch {
                version: None,
                real_path: None,
                due: now,
                is_under_way: false,
                was_tried: false,
                interval,
                clean_due: now + clean_interval,
            }),
        };
        Self { name, path, page, source, told: None, has_error: false }
    }

    /// Whatever it is, it stays as it is known.
    pub(crate) fn leave_alone(self) -> Self {
        Self { path: None, source: Source::LeftAlone, ..self }
    }

    /// The path of a folder, which is watched and scanned.
    pub(crate) fn folder(&self) -> Option<&Path> {
        self.path.as_deref().filter(|_| matches!(self.source, Source::Folder))
    }

    pub(crate) fn fetch(&self) -> Option<&Fetch> {
        match &self.source {
            Source::Fetched(fetch) => Some(fetch),
            _ => None,
        }
    }

    pub(crate) fn fetch_mut(&mut self) -> Option<&mut Fetch> {
        match &mut self.source {
            Source::Fetched(fetch) => Some(fetch),
            _ => None,
        }
    }

    pub(crate) fn version(&self) -> Option<&str> {
        self.fetch().and_then(|fetch| fetch.version.as_deref())
    }

    /// Whether its files stay as they are for now. What is fetched must not change while one of them is imported.
    pub(crate) fn is_still(&self, now: Instant) -> bool {
        self.path.is_some() && self.fetch().is_none_or(|fetch| !fetch.is_under_way && fetch.due > now)
    }

    /// Whether a path changes only when the bundle is fetched.
    pub(crate) fn has_fetched(&self, path: &Path) -> bool {
        let Some(fetch) = self.fetch() else { return false };
        [self.path.as_ref(), fetch.real_path.as_ref()].into_iter().flatten().any(|own| path.starts_with(own))
    }
}

impl Fetch {
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        !self.is_under_way && self.due <= now
    }

    /// It has been fetched. `check_interval` bounds how often anything is.
    pub(crate) fn succeeded(&mut self, path: &Path, version: Option<String>, interval: f64, check_interval: Duration) {
        self.is_under_way = false;
        self.was_tried = true;
        self.version = version;
        self.real_path = path.canonicalize().ok();
        self.interval = Duration::try_from_secs_f64(interval).unwrap_or(self.interval).max(check_interval);
        self.due = Instant::now() + self.interval;
    }

    pub(crate) fn failed(&mut self, check_interval: Duration) {
        self.is_under_way = false;
        self.was_tried = true;
        self.due = Instant::now() + self.interval.min(LONGEST_RETRY).max(check_interval);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(path: Option<&str>, error: Option<&str>) -> Bundle {
        let configured = ConfiguredBundle {
            name: "b".into(),
            path: path.map(PathBuf::from),
            error: error.map(str::to_owned),
            page: Page::default(),
        };
        Bundle::new(configured, Duration::from_secs(300), Duration::from_secs(1800))
    }

    #[test]
    fn what_is_fetched_is_still_between_two_times() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let folder = bundle(Some("/dags"), None);
        assert!(folder.is_still(now) && folder.folder().is_some() && !folder.has_fetched("/dags/x".as_ref()));
        let broken = bundle(None, Some("no such class"));
        assert!(!broken.is_still(now) && broken.fetch().is_none());

        let mut git = bundle(None, None);
        assert!(git.fetch().unwrap().is_due(Instant::now()) && !git.is_still(now));
        git.fetch_mut().unwrap().is_under_way = true;
        assert!(!git.fetch().unwrap().is_due(Instant::now()));
        git.path = Some("/repo/dags".into());
        git.fetch_mut().unwrap().succeeded("/repo/dags".as_ref(), Some("c1".into()), 60.0, 5 * second);
        assert!(git.is_still(now) && git.has_fetched("/repo/dags/d.py".as_ref()));
        assert!(!git.has_fetched("/repo/other.py".as_ref()));
        assert_eq!(git.version(), Some("c1"));
        let later = Instant::now() + 61 * second;
        assert!(git.fetch().unwrap().is_due(later) && !git.is_still(later));

        // It is tried again sooner than it would be fetched, and never faster than anything is.
        let due_in = |git: &Bundle| git.fetch().unwrap().due.duration_since(now).as_secs();
        let of = |git: &mut Bundle, interval: f64| {
            git.fetch_mut().unwrap().succeeded("/repo/dags".as_ref(), None, interval, 5 * second);
        };
        of(&mut git, 300.0);
        assert!((300..320).contains(&due_in(&git)));
        git.fetch_mut().unwrap().failed(5 * second);
        assert!((30..50).contains(&due_in(&git)));
        of(&mut git, 0.0);
        assert!((5..25).contains(&due_in(&git)));
        git.fetch_mut().unwrap().failed(5 * second);
        assert!((5..25).contains(&due_in(&git)));
    }
}
