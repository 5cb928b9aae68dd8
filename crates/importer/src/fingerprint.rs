//! Whether a file, or anything that it read while it was imported, has changed since.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use model::Json;
use serde_json::json;

/// Modification time, size and inode: while they are the same, the content is taken to be the same.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Stamp(String);

impl Stamp {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self(format!("{}.{:09} {} {}", metadata.mtime(), metadata.mtime_nsec(), metadata.size(), metadata.ino()))
    }
}

/// One file or folder as it was.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Seen {
    path: PathBuf,
    is_folder: bool,
    /// Of a file's content or a folder's list of names; `None` for what was not there.
    hash: Option<String>,
    /// `None` for what was not there.
    stamp: Option<Stamp>,
}

/// Everything that an import depended on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fingerprint {
    /// What imports it: other packages may import the same file differently.
    importer: String,
    seen: Vec<Seen>,
}

/// What comparing found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    Unchanged,
    /// The same content with other stamps: nothing to import, but worth remembering.
    Touched,
    Changed,
}

impl Fingerprint {
    /// Looks at a file and at what it read, now. `file` comes first, so that it decides most often.
    pub fn take(importer: &str, file: &Path, files: &[PathBuf], folders: &[PathBuf]) -> Self {
        let files = std::iter::once(file).chain(files.iter().map(PathBuf::as_path)).map(|path| look(path, false));
        let seen = files.chain(folders.iter().map(|path| look(path, true))).collect();
        Self { importer: importer.to_owned(), seen }
    }

    /// Compares with what is there now, and brings the stamps up to date.
    pub fn compare(&mut self, importer: &str) -> Change {
        if self.importer != importer {
            return Change::Changed;
        }
        let mut change = Change::Unchanged;
        for seen in &mut self.seen {
            let stamp = stamp_of(&seen.path);
            if stamp == seen.stamp && !seen.is_folder {
                continue;
            }
            let now = look(&seen.path, seen.is_folder);
            if now.hash != seen.hash {
                return Change::Changed;
            }
            if now.stamp != seen.stamp {
                *seen = now;
                change = Change::Touched;
            }
        }
        change
    }

    /// The files and folders that it knows.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.seen.iter().map(|seen| seen.path.as_path())
    }

    pub fn to_json(&self) -> Json {
        let seen: Vec<Json> = self
            .seen
            .iter()
            .map(|seen| json!([seen.path, seen.is_folder, seen.hash, seen.stamp.as_ref().map(|stamp| &stamp.0)]))
            .collect();
        json!({"importer": self.importer, "seen": seen})
    }

    /// `None` for a form that this version does not know: then the file is imported again.
    pub fn from_json(value: &Json) -> Option<Self> {
        let text = |value: &Json| value.as_str().map(str::to_owned);
        let seen = value.get("seen")?.as_array()?;
        Some(Self {
            importer: text(value.get("importer")?)?,
            seen: seen
                .iter()
                .map(|seen| {
                    Some(Seen {
                        path: PathBuf::from(text(seen.get(0)?)?),
                        is_folder: seen.get(1)?.as_bool()?,
                        hash: text(seen.get(2)?),
                        stamp: text(seen.get(3)?).map(Stamp),
                    })
                })
                .collect::<Option<_>>()?,
        })
    }
}

fn look(path: &Path, is_folder: bool) -> Seen {
    // The stamp is taken first: a change in between makes it differ from the next one.
    let stamp = stamp_of(path);
    let hash = if is_folder { hash_names(path) } else { hash_content(path) };
    Seen { path: path.to_owned(), is_folder, hash, stamp }
}

fn stamp_of(path: &Path) -> Option<Stamp> {
    path.metadata().ok().map(|metadata| Stamp::of(&metadata))
}

fn hash_content(path: &Path) -> Option<String> {
    let mut hasher = blake3::Hasher::new();
    let mut file = std::fs::File::open(path).ok()?;
    std::io::copy(&mut file, &mut hasher).ok()?;
    Some(hasher.finalize().to_hex().to_string())
}

fn hash_names(path: &Path) -> Option<String> {
    let mut names: Vec<_> = std::fs::read_dir(path).ok()?.flatten().map(|entry| entry.file_name()).collect();
    names.retain(|name| name != "__pycache__");
    names.sort();
    let mut hasher = blake3::Hasher::new();
    for name in names {
        hasher.update(name.as_encoded_bytes());
        hasher.update(b"\0");
    }
    Some(hasher.finalize().to_hex().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_content_counts() {
        let base = tempfile::tempdir().unwrap();
        let (file, helper, folder) =
            (base.path().join("dag.py"), base.path().join("helper.py"), base.path().join("conf"));
        std::fs::write(&file, "a").unwrap();
        std::fs::write(&helper, "b").unwrap();
        std::fs::create_dir(&folder).unwrap();
        let (files, folders) = (vec![helper.clone()], vec![folder.clone()]);
        let mut print = Fingerprint::from_json(&Fingerprint::take("1", &file, &files, &folders).to_json()).unwrap();
        assert_eq!(print.compare("1"), Change::Unchanged);
        assert_eq!(print.compare("2"), Change::Changed);
        std::fs::remove_file(&file).unwrap();
        std::fs::write(&file, "a").unwrap();
        assert_eq!((print.compare("1"), print.compare("1")), (Change::Touched, Change::Unchanged));
        std::fs::write(&helper, "c").unwrap();
        assert_eq!(print.compare("1"), Change::Changed);
        let mut print = Fingerprint::take("1", &file, &files, &folders);
        std::fs::write(folder.join("new.yaml"), "").unwrap();
        assert_eq!(print.compare("1"), Change::Changed);
        std::fs::remove_file(&helper).unwrap();
        assert_eq!(Fingerprint::take("1", &file, &files, &folders).compare("1"), Change::Unchanged);
    }
}
