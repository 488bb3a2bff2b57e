//! What an import has, and what it lacks.
//!
//! ```text
//!  top tree   ═════════════════╪─────────────────────    listed: of these paths all spaces are known
//!              ●   ●  ○  ●   ○       ○                    ● whole     nothing is kept of it here
//!                     │      │       │                    ○ open      what of its tree is done
//!                     │      │       └ its keys came before the list did
//!                     └──────┴ done ═══──══════──
//! ```
//!
//! Only what is begun takes memory: a space that is whole and listed is forgotten, and the list is asked for no faster
//! than spaces become whole.

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use violeta_proof::tree::{
    ChunkPlace, KeyPath, PathRange, SpaceRecord, VerifiedKeys, VerifiedSpaces,
};
use violeta_types::Blob;

use super::ranges::{Ranges, sixteenths};
use crate::limits::{
    IMPORT_OPEN_SPACES_MAX, IMPORT_RANGES_MAX, IMPORT_SPLIT_KEYS, STORE_SPACE_BYTES_MAX,
};

type Name = Blob<STORE_SPACE_BYTES_MAX>;

/// What an import has.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct Progress {
    /// The paths of the top tree of which all spaces are known.
    listed: Ranges,
    /// Spaces that aren't whole, or aren't listed yet.
    open: BTreeMap<Name, Open>,
    /// How many ranges those have together.
    ranges: u64,
    /// Keys that there are.
    keys: u64,
}

/// A space of which something is done.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct Open {
    record: SpaceRecord,
    done: Ranges,
}

/// What is to be done with a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// It has something new.
    New,
    /// All of it is here.
    Known,
    /// Too much is begun: there is no room to remember that it is done.
    NotYet,
}

impl Progress {
    /// Whether nothing is missing.
    pub(super) fn is_whole(&self) -> bool {
        self.listed.are_all() && self.open.is_empty()
    }

    /// Keys that there are.
    pub(super) fn keys(&self) -> u64 {
        self.keys
    }

    /// Takes a part of the list of spaces.
    pub(super) fn list(&mut self, chunk: &VerifiedSpaces) -> Fit {
        let range = chunk.range();
        if self.listed.cover(range) {
            return Fit::Known;
        }
        let has_room = self.listed.len_with(range) <= IMPORT_RANGES_MAX
            || is_first_gap_of(&self.listed, range);
        if self.open.len() >= IMPORT_OPEN_SPACES_MAX || !has_room {
            return Fit::NotYet;
        }
        for space in chunk.spaces() {
            let is_new = !self.listed.holds(&KeyPath::of(&space.name));
            if is_new && space.record.count > 0 {
                let (record, done) = (space.record, Ranges::default());
                let open = self.open.entry(space.name.clone());
                open.or_insert(Open { record, done });
            }
        }
        self.listed.add(range);
        for space in chunk.spaces() {
            self.close(&space.name);
        }
        Fit::New
    }

    /// Takes keys of a space with this record, and says which of them are new.
    pub(super) fn add<'a>(
        &mut self,
        chunk: &'a VerifiedKeys,
        record: &SpaceRecord,
    ) -> (Fit, Vec<&'a (Bytes, Bytes)>) {
        let (name, range) = (chunk.name(), chunk.range());
        let is_open = self.open.contains_key(name);
        let is_whole = !is_open && self.listed.holds(&KeyPath::of(name));
        let done = self.open.get(name).map(|open| &open.done);
        if is_whole || done.is_some_and(|done| done.cover(range)) {
            return (Fit::Known, Vec::new());
        }
        let (before, after) = done.map_or((0, 1), |done| (done.len(), done.len_with(range)));
        let has_range = after <= before || self.ranges < IMPORT_RANGES_MAX as u64;
        // Whole ones that aren't listed wait for the list, so they mustn't be what keeps it from being asked for.
        let has_space = is_open || self.open.len() < IMPORT_OPEN_SPACES_MAX / 4;
        if !has_space || !has_range && !self.is_next(chunk) {
            return (Fit::NotYet, Vec::new());
        }
        let (record, done) = (*record, Ranges::default());
        let open = self.open.entry(name.clone());
        let done = &mut open.or_insert(Open { record, done }).done;
        let entries = chunk.entries().iter();
        let new: Vec<_> = match done.meet(range) {
            true => entries
                .filter(|entry| !done.holds(&KeyPath::of(&entry.0)))
                .collect(),
            false => entries.collect(),
        };
        done.add(range);
        self.ranges = self.ranges + after as u64 - before as u64;
        self.keys += new.len() as u64;
        self.close(name);
        (Fit::New, new)
    }

    /// Whether this is of what is missing first, so that there must always be room for it.
    fn is_next(&self, chunk: &VerifiedKeys) -> bool {
        let first = self.open.iter().find(|(_, open)| !open.done.are_all());
        first.is_none_or(|(name, open)| {
            name == chunk.name() && is_first_gap_of(&open.done, chunk.range())
        })
    }

    /// Forgets a space that is whole and listed.
    fn close(&mut self, name: &Name) {
        let is_whole = |open: &Open| open.done.are_all() || open.record.count == 0;
        if self.listed.holds(&KeyPath::of(name)) && self.open.get(name).is_some_and(is_whole) {
            let open = self.open.remove(name);
            self.ranges -= open.map_or(0, |open| open.done.len() as u64);
        }
    }

    /// What is missing, at most `max` places, no two of which meet.
    pub(super) fn missing(&self, max: usize) -> Vec<ChunkPlace> {
        let list = (self.open.len() < IMPORT_OPEN_SPACES_MAX / 2)
            .then(|| self.listed.gaps().next())
            .flatten();
        let list = list.map(|range| ChunkPlace { space: None, range });
        let keys = self.open.iter().flat_map(|(name, open)| {
            let is_large = open.record.count >= IMPORT_SPLIT_KEYS;
            let parts = open.done.gaps().flat_map(move |gap| match is_large {
                true => sixteenths(gap).collect(),
                false => vec![gap],
            });
            parts.map(|range| ChunkPlace {
                space: Some(name.clone()),
                range,
            })
        });
        list.into_iter().chain(keys).take(max).collect()
    }
}

/// Whether a range holds the first path that is missing.
fn is_first_gap_of(done: &Ranges, range: &PathRange) -> bool {
    done.gaps().next().is_some_and(|gap| range.holds(&gap.from))
}
