//! The system's table of processes, and what is ended by it.

use std::collections::HashMap;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

/// What the table says of a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) parent: i32,
    pub(crate) session: i32,
}

/// All processes at one moment.
#[derive(Debug, Default)]
pub(crate) struct ProcessTable {
    entries: HashMap<i32, Entry>,
    children: HashMap<i32, Vec<i32>>,
}

impl ProcessTable {
    pub(crate) fn read() -> Self {
        let mut table = Self::default();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
            let Some(found) = std::fs::read_to_string(entry.path().join("stat")).ok().as_deref().and_then(parse) else {
                continue;
            };
            table.children.entry(found.parent).or_default().push(pid);
            table.entries.insert(pid, found);
        }
        table
    }

    pub(crate) fn get(&self, pid: i32) -> Option<Entry> {
        self.entries.get(&pid).copied()
    }

    pub(crate) fn children(&self, pid: i32) -> &[i32] {
        self.children.get(&pid).map_or(&[], Vec::as_slice)
    }

    /// Everything below a process, without itself.
    pub(crate) fn descendants(&self, root: i32) -> Vec<i32> {
        let mut found = Vec::new();
        let mut queue = vec![root];
        while let Some(pid) = queue.pop() {
            queue.extend(self.children(pid));
            found.extend(self.children(pid));
        }
        found
    }
}

fn parse(stat: &str) -> Option<Entry> {
    // The second field is the name in parentheses, which may hold anything; the state, the parent, the group and the
    // session follow it.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(1);
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    Some(Entry { parent, session })
}

pub(crate) fn kill_one(pid: i32) {
    if pid > 1 {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

/// Kills a process group for good, and everything that its leader started, also in groups of its own.
pub fn kill_tree(pid: u32) {
    let Some(pid) = i32::try_from(pid).ok().filter(|pid| *pid > 1) else { return };
    let below = ProcessTable::read().descendants(pid);
    let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
    below.into_iter().for_each(kill_one);
}

/// How to recognise a process that was started for some purpose and got away from those who started it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Mark {
    /// Sets of variables, as `NAME=value`: a process is recognised whose environment has all of one set.
    pub variables: Vec<Vec<String>>,
    /// A process is recognised that has this in its command line.
    pub title: Option<String>,
}

impl Mark {
    fn is_on(&self, pid: i32) -> bool {
        let read = |name: &str| std::fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
        if let Some(title) = &self.title
            && String::from_utf8_lossy(&read("cmdline")).contains(title.as_str())
        {
            return true;
        }
        let environment = read("environ");
        let has = |wanted: &String| environment.split(|byte| *byte == 0).any(|found| found == wanted.as_bytes());
        self.variables.iter().any(|set| !set.is_empty() && set.iter().all(has))
    }
}

/// Kills what carries the mark below a process, each with everything that it started. Returns how many were killed.
pub fn kill_marked(root: u32, mark: &Mark) -> usize {
    let Some(root) = i32::try_from(root).ok().filter(|pid| *pid > 1) else { return 0 };
    let table = ProcessTable::read();
    let marked = table.descendants(root).into_iter().filter(|pid| mark.is_on(*pid));
    let mut killed: Vec<i32> = marked.flat_map(|pid| std::iter::once(pid).chain(table.descendants(pid))).collect();
    killed.sort_unstable();
    killed.dedup();
    killed.iter().copied().for_each(kill_one);
    killed.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_blanks_and_parentheses_are_read_over() {
        let stat = "12 (a) b (c) S 7 12 3 0 -1";
        assert_eq!(parse(stat), Some(Entry { parent: 7, session: 3 }));
        assert_eq!(parse("nonsense"), None);
    }

    #[test]
    fn this_process_is_in_the_table() {
        let me = i32::try_from(std::process::id()).unwrap();
        let parent = i32::try_from(std::os::unix::process::parent_id()).unwrap();
        let table = ProcessTable::read();
        assert_eq!(table.get(me).map(|entry| entry.parent), Some(parent));
        assert!(table.descendants(parent).contains(&me));
    }
}
