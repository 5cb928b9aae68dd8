//! Which files of a bundle may hold Dags: Airflow's rules (`find_path_from_directory`, `might_contain_dag`).

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use fancy_regex::Regex;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::fingerprint::Stamp;

pub(crate) const IGNORE_FILE: &str = ".airflowignore";
/// What is read of a file to decide whether it may hold Dags.
const MAX_SCANNED: u64 = 16 * 1024 * 1024;

/// How `.airflowignore` files are written (`[core] dag_ignore_file_syntax`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum IgnoreSyntax {
    #[default]
    Glob,
    Regexp,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    pub syntax: IgnoreSyntax,
    /// Only files that mention Airflow and a Dag or an asset (`[core] dag_discovery_safe_mode`).
    pub safe_mode: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self { syntax: IgnoreSyntax::Glob, safe_mode: true }
    }
}

/// The rules of one `.airflowignore` and of those above it.
#[derive(Clone)]
enum Ignore {
    Glob(Vec<GlobRule>),
    Regexp { base: PathBuf, patterns: Vec<Regex> },
}

/// One line of globs.
#[derive(Clone)]
struct GlobRule {
    /// Of this line alone. Counts from the folder of its file if the line has a slash before its end, and else for
    /// names, wherever they are.
    glob: Gitignore,
    is_anchored: bool,
}

impl GlobRule {
    /// `None` for a line that says nothing.
    fn new(line: &str, file: &Path, folder: &Path) -> Option<Self> {
        if line.trim() == "/" {
            return None;
        }
        let is_anchored = line.starts_with('/') || line.trim_end_matches('/').contains('/');
        let mut builder = GitignoreBuilder::new(if is_anchored { folder } else { Path::new("") });
        // Braces mean nothing to git.
        let literal = line.replace('{', "\\{").replace('}', "\\}");
        if let Err(error) = builder.add_line(Some(file.to_owned()), &literal) {
            tracing::warn!(file = %file.display(), %error, "the line {line:?} is no glob and is passed over");
            return None;
        }
        Some(Self { glob: builder.build().ok()?, is_anchored })
    }

    /// Whether it says that a path is ignored, or is not; `None` if it says nothing of it.
    fn verdict(&self, path: &Path, is_folder: bool) -> Option<bool> {
        let found = if self.is_anchored {
            // What lies below a match matches, too.
            self.glob.matched_path_or_any_parents(path, is_folder)
        } else {
            self.glob.matched(path.file_name()?, is_folder)
        };
        (!found.is_none()).then(|| found.is_ignore())
    }
}

impl Ignore {
    fn new(syntax: IgnoreSyntax, base: &Path) -> Self {
        match syntax {
            IgnoreSyntax::Glob => Ignore::Glob(Vec::new()),
            IgnoreSyntax::Regexp => Ignore::Regexp { base: base.to_owned(), patterns: Vec::new() },
        }
    }

    /// With the rules of a folder's own ignore file. What can't be read as a rule is said and passed over.
    fn with_folder(&self, folder: &Path) -> Self {
        let path = folder.join(IGNORE_FILE);
        let Ok(text) = std::fs::read_to_string(&path) else { return self.clone() };
        // In these files a comment may follow a rule.
        let lines = text.split('\n').map(|line| match line.split_once('#') {
            Some((rule, _)) => rule.trim_end(),
            None => line,
        });
        let lines = lines.filter(|line| !line.is_empty());
        match self {
            Ignore::Glob(rules) => {
                let own = lines.filter_map(|line| GlobRule::new(line, &path, folder));
                Ignore::Glob(rules.iter().cloned().chain(own).collect())
            }
            Ignore::Regexp { base, patterns } => {
                let mut patterns = patterns.clone();
                for line in lines {
                    match Regex::new(line) {
                        Ok(pattern) => patterns.push(pattern),
                        Err(error) => {
                            tracing::warn!(
                                file = %path.display(), %error,
                                "the line {line:?} is no regular expression and is passed over"
                            );
                        }
                    }
                }
                Ignore::Regexp { base: base.clone(), patterns }
            }
        }
    }

    fn ignores(&self, path: &Path, is_folder: bool) -> bool {
        match self {
            // A later rule overrides an earlier one, and a folder's own those above it.
            Ignore::Glob(rules) => rules.iter().rev().find_map(|rule| rule.verdict(path, is_folder)).unwrap_or(false),
            Ignore::Regexp { base, patterns } => {
                let relative = path.strip_prefix(base).unwrap_or(path).to_string_lossy();
                // A search that takes too many steps has found nothing.
                patterns.iter().any(|pattern| pattern.is_match(&*relative).unwrap_or(false))
            }
        }
    }
}

/// Finds the files that may hold Dags, and remembers what it has seen of them: files that have not changed are not read
/// again.
#[derive(Default)]
pub struct Discovery {
    seen: HashMap<PathBuf, (Stamp, bool)>,
}

impl Discovery {
    /// The files below `base` that may hold Dags, in order. Links are followed; a folder is visited once.
    pub fn dag_files(&mut self, base: &Path, rules: Rules) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut visited = HashSet::new();
        let mut folders = vec![(base.to_owned(), Ignore::new(rules.syntax, base))];
        let mut seen = HashMap::new();
        while let Some((folder, above)) = folders.pop() {
            if !folder.canonicalize().is_ok_and(|real| visited.insert(real)) {
                continue;
            }
            let ignore = above.with_folder(&folder);
            let Ok(entries) = std::fs::read_dir(&folder) else { continue };
            for path in entries.flatten().map(|entry| entry.path()) {
                let Ok(metadata) = path.metadata() else { continue };
                if ignore.ignores(&path, metadata.is_dir()) || path.file_name().is_some_and(|name| name == IGNORE_FILE)
                {
                    continue;
                }
                if metadata.is_dir() {
                    folders.push((path, ignore.clone()));
                } else if metadata.is_file() {
                    let stamp = Stamp::of(&metadata);
                    let known = self.seen.get(&path).filter(|(before, _)| *before == stamp);
                    let may = known.map_or_else(|| may_hold_dags(&path, rules.safe_mode), |(_, may)| *may);
                    if may {
                        found.push(path.clone());
                    }
                    seen.insert(path, (stamp, may));
                }
            }
        }
        // Other bundles have places of their own.
        self.seen.retain(|path, _| !path.starts_with(base));
        self.seen.extend(seen);
        found.sort();
        found
    }
}

/// The files below `base` that may hold Dags, in order.
pub fn dag_files(base: &Path, rules: Rules) -> Vec<PathBuf> {
    Discovery::default().dag_files(base, rules)
}

/// Whether one file may hold Dags.
pub fn may_hold_dags(path: &Path, safe_mode: bool) -> bool {
    if is_archive(path) {
        return true;
    }
    if path.extension().is_none_or(|extension| extension != "py") {
        return false;
    }
    if !safe_mode {
        return true;
    }
    let mut content = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(MAX_SCANNED).read_to_end(&mut content));
    if read.is_err() {
        // Imported all the same: that says why it can't be read.
        return true;
    }
    content.make_ascii_lowercase();
    let mentions = |word: &[u8]| memchr::memmem::find(&content, word).is_some();
    mentions(b"airflow") && (mentions(b"dag") || mentions(b"asset"))
}

/// Whether a file is a zip archive, whatever its name: it begins like one.
fn is_archive(path: &Path) -> bool {
    let mut start = [0; 4];
    let begins = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok();
    begins && (start == *b"PK\x03\x04" || start == *b"PK\x05\x06")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)], rules: Rules) -> Vec<String> {
        let base = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = base.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        let found = dag_files(base.path(), rules);
        found.iter().map(|path| path.strip_prefix(base.path()).unwrap().display().to_string()).collect()
    }

    const DAG: &str = "from airflow import DAG";

    #[test]
    fn only_python_files_that_mention_airflow_and_dags_are_looked_at() {
        let files = [
            ("a.py", DAG),
            ("b.py", "import os"),
            ("c.txt", DAG),
            ("d/e.py", "AIRFLOW asset"),
            ("d/e.PY", "AIRFLOW asset"),
            ("z.bin", "PK\x03\x04x"),
        ];
        assert_eq!(tree(&files, Rules::default()), ["a.py", "d/e.py", "z.bin"]);
        let all = Rules { safe_mode: false, ..Rules::default() };
        assert_eq!(tree(&files, all), ["a.py", "b.py", "d/e.py", "z.bin"]);
    }
}
