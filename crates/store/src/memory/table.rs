//! Maps that can take back what was done to them since the last commit.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::ops::RangeBounds;

/// Records by their keys. Changes stay in doubt until [`Journal::keep`] or [`Journal::undo`].
pub(super) struct Table<K, V> {
    rows: BTreeMap<K, V>,
    /// What stood there before each change in doubt.
    before: Vec<(K, Option<V>)>,
}

/// What a commit does with every table at its end.
pub(super) trait Journal {
    fn keep(&mut self);
    fn undo(&mut self);
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), before: Vec::new() }
    }
}

impl<K: Ord + Clone, V: Clone> Table<K, V> {
    pub(super) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.rows.get(key)
    }

    pub(super) fn contains<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.rows.contains_key(key)
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.rows.iter()
    }

    pub(super) fn values(&self) -> impl DoubleEndedIterator<Item = &V> {
        self.rows.values()
    }

    pub(super) fn range(&self, range: impl RangeBounds<K>) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.rows.range(range)
    }

    pub(super) fn put(&mut self, key: K, value: V) {
        let old = self.rows.insert(key.clone(), value);
        self.before.push((key, old));
    }

    pub(super) fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        let removed = self.rows.remove_entry(key);
        let found = removed.is_some();
        self.before.extend(removed.map(|(key, old)| (key, Some(old))));
        found
    }

    /// Changes the record in place, if there is one.
    pub(super) fn change<Q: Ord + ?Sized>(&mut self, key: &Q, change: impl FnOnce(&mut V)) -> bool
    where
        K: Borrow<Q>,
    {
        let Some((key, value)) = self.rows.get_key_value(key).map(|(key, value)| (key.clone(), value.clone())) else {
            return false;
        };
        let mut changed = value.clone();
        change(&mut changed);
        self.rows.insert(key.clone(), changed);
        self.before.push((key, Some(value)));
        true
    }

    /// The keys of the records that are so.
    pub(super) fn keys_where(&self, matches: impl Fn(&K, &V) -> bool) -> Vec<K> {
        self.rows.iter().filter(|(key, value)| matches(key, value)).map(|(key, _)| key.clone()).collect()
    }

    pub(super) fn remove_where(&mut self, matches: impl Fn(&K, &V) -> bool) {
        for key in self.keys_where(matches) {
            self.remove(&key);
        }
    }
}

impl<K: Ord, V> Journal for Table<K, V> {
    fn keep(&mut self) {
        self.before.clear();
    }

    fn undo(&mut self) {
        while let Some((key, old)) = self.before.pop() {
            match old {
                Some(old) => self.rows.insert(key, old),
                None => self.rows.remove(&key),
            };
        }
    }
}
