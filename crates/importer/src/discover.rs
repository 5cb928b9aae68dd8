//! Which files of a bundle may hold Dags: Airflow's rules (`find_path_from_directory`, `might_contain_dag`).

use std::collections::HashSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use regex::Regex;

const IGNORE_FILE: &str = ".airflowignore";
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
    Glob(Vec<Gitignore>),
    Regexp { base: PathBuf, patterns: Vec<Regex> },
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
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim_end());
        let lines = lines.filter(|line| !line.trim().is_empty());
        match self {
            Ignore::Glob(files) => {
                let mut builder = GitignoreBuilder::new(folder);
                for line in lines {
                    if let Err(error) = builder.add_line(Some(path.clone()), line) {
                        tracing::warn!(file = %path.display(), %error, "a line is no glob and is passed over");
                    }
                }
                let mut files = files.clone();
                files.extend(builder.build().ok());
                Ignore::Glob(files)
            }
            Ignore::Regexp { base, patterns } => {
                let mut patterns = patterns.clone();
                for line in lines {
                    match Regex::new(line) {
                        Ok(pattern) => patterns.push(pattern),
                        Err(error) => {
                            tracing::warn!(file = %path.display(), %error, "a line is no regular expression and is passed over");
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
            Ignore::Glob(files) => files
                .iter()
                .rev()
                .map(|file| file.matched(path, is_folder))
                .find(|found| !found.is_none())
                .is_some_and(|found| found.is_ignore()),
            Ignore::Regexp { base, patterns } => {
                let relative = path.strip_prefix(base).unwrap_or(path).to_string_lossy();
                patterns.iter().any(|pattern| pattern.is_match(&relative))
            }
        }
    }
}

/// The files below `base` that may hold Dags, in order. Links are followed; a folder is visited once.
pub fn dag_files(base: &Path, rules: Rules) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut visited = HashSet::new();
    let mut folders = vec![(base.to_owned(), Ignore::new(rules.syntax, base))];
    while let Some((folder, above)) = folders.pop() {
        if !folder.canonicalize().is_ok_and(|real| visited.insert(real)) {
            continue;
        }
        let ignore = above.with_folder(&folder);
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for path in entries.flatten().map(|entry| entry.path()) {
            let is_folder = path.is_dir();
            if ignore.ignores(&path, is_folder) || path.file_name().is_some_and(|name| name == IGNORE_FILE) {
                continue;
            }
            if is_folder {
                folders.push((path, ignore.clone()));
            } else if path.is_file() && may_hold_dags(&path, rules.safe_mode) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Whether one file may hold Dags.
pub fn may_hold_dags(path: &Path, safe_mode: bool) -> bool {
    if is_archive(path) {
        return true;
    }
    if path.extension().is_none_or(|extension| !extension.eq_ignore_ascii_case("py")) {
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
    let mentions = |word: &[u8]| content.windows(word.len()).any(|window| window == word);
    mentions(b"airflow") && (mentions(b"dag") || mentions(b"asset"))
}

/// Whether a file is a zip archive, whatever its name: it begins like one and ends with a directory.
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
            ("d/e.PY", "AIRFLOW asset"),
            ("z.bin", "PK\x03\x04x"),
        ];
        assert_eq!(tree(&files, Rules::default()), ["a.py", "d/e.PY", "z.bin"]);
        let all = Rules { safe_mode: false, ..Rules::default() };
        assert_eq!(tree(&files, all), ["a.py", "b.py", "d/e.PY", "z.bin"]);
    }

    #[test]
    fn globs_ignore_as_git_does() {
        let files = [
            (".airflowignore", "/top.py\nlib/\n*_test.py # not ours\n!keep_test.py\n"),
            ("top.py", DAG),
            ("sub/top.py", DAG),
            ("lib/a.py", DAG),
            ("sub/lib/a.py", DAG),
            ("a_test.py", DAG),
            ("keep_test.py", DAG),
            ("sub/.airflowignore", "own.py\n"),
            ("sub/own.py", DAG),
            ("own.py", DAG),
        ];
        assert_eq!(tree(&files, Rules::default()), ["keep_test.py", "own.py", "sub/top.py"]);
    }

    #[test]
    fn regular_expressions_search_the_path() {
        let rules = Rules { syntax: IgnoreSyntax::Regexp, ..Rules::default() };
        let files = [(".airflowignore", "sub/.*\n[\nx$\n"), ("sub/a.py", DAG), ("b.py", DAG), ("x/c.py", DAG)];
        assert_eq!(tree(&files, rules), ["b.py"]);
    }
}
