//! What is known of a value before it is there.

use std::rc::Rc;

use crate::kind::{Kind, Kinds};

/// The kinds that a value may have, and the type of the items in it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Type {
    pub kinds: Kinds,
    /// `None` for items that are plain all the way down.
    items: Option<Rc<Type>>,
}

impl Type {
    /// What JSON holds.
    pub const PLAIN: Type = Type { kinds: Kinds::PLAIN, items: None };

    pub const fn new(kinds: Kinds) -> Self {
        Type { kinds, items: None }
    }

    pub const fn of(kind: Kind) -> Self {
        Type::new(Kinds::of(&[kind]))
    }

    /// A container of such items.
    pub fn containing(kind: Kind, items: Type) -> Self {
        let items = if items.is_plain() { None } else { Some(Rc::new(items)) };
        Type { kinds: Kinds::of(&[kind]), items }
    }

    /// The same items in a value of these kinds.
    pub fn with_kinds(self, kinds: Kinds) -> Self {
        Type { kinds, ..self }
    }

    pub fn is_plain(&self) -> bool {
        self.items.is_none() && self.kinds.is_within(Kinds::PLAIN)
    }

    /// The type of an item, or of what a walk through the value gives.
    pub fn items(&self) -> Type {
        let mut items = match &self.items {
            Some(items) => (**items).clone(),
            None if self.kinds.meets(CONTAINERS) => Type::PLAIN,
            None => Type::new(Kinds::default()),
        };
        if self.kinds.meets(TEXTS) {
            items = items.or(Type::of(Kind::Str));
        }
        if self.kinds.has(Kind::Range) {
            items = items.or(Type::of(Kind::Int));
        }
        items
    }

    /// The type of a value that has either type.
    pub fn or(&self, other: Type) -> Type {
        let items = match (&self.items, &other.items) {
            (None, None) => None,
            (Some(left), Some(right)) => Some(Rc::new(left.or((**right).clone()))),
            (Some(one), None) | (None, Some(one)) => {
                let plain = if self.items.is_none() { self } else { &other };
                Some(if plain.kinds.meets(CONTAINERS) { Rc::new(one.or(Type::PLAIN)) } else { one.clone() })
            }
        };
        Type { kinds: self.kinds.and(other.kinds), items }
    }

    pub fn is_within(&self, kinds: Kinds) -> bool {
        self.kinds.is_within(kinds)
    }

    /// Whether the value and what is in it are within `kinds`.
    pub fn is_deeply_within(&self, kinds: Kinds, items: Kinds) -> bool {
        self.kinds.is_within(kinds) && self.items.as_ref().is_none_or(|inner| inner.is_deeply_within(items, items))
    }
}

const CONTAINERS: Kinds = Kinds::of(&[Kind::List, Kind::Tuple, Kind::Dict, Kind::View, Kind::Generator, Kind::Loop]);
const TEXTS: Kinds = Kinds::of(&[Kind::Str, Kind::Markup, Kind::Enum]);
