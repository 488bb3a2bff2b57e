//! Taking back the room of what no kept version needs.
//!
//! ```text
//!  kept versions ─▶ walk: every page and leaf, once ─▶ how much of each file is needed ─▶ plan: which files to put together
//!                                                                                            │
//!  sparse file ◀── copied ◀── what is needed of these files ◀── walk again ◀─────────────────┘
//!       │
//!       └─ durable ─▶ in the place of the files that it was made of ─▶ these go
//! ```
//!
//! Positions never change ([`crate::sparse`]), so nothing that leads to one has to: no page, no node, no root. Files to
//! which something may still be written, or which a recovery may begin with, aren't touched; so neither the writer nor a
//! reader waits, and a crash on the way costs what was done of one file.
//!
//! | files | what is needed of them |
//! | --- | --- |
//! | log | operations that a kept version's leaf names, each with its record's header |
//! | pages | records of a page from its *cut* on: the oldest one that the oldest kept version reads |
//! | nodes | records of the oldest kept version's top tree; all that came later |
//!
//! Of pages and nodes all is kept from the oldest kept version on, also if that is pinned and far below the window.

mod copy;
mod plan;
mod turns;
mod walk;

use std::sync::Arc;

pub(crate) use plan::Sealed;
use plan::{Area, Group, Needs, extent_of, note};
use turns::Turn;
pub(crate) use turns::Turns;
use walk::{Met, Walk};

use crate::error::StoreError;
use crate::nodes::Nodes;
use crate::page::PageId;
use crate::retention::Floor;
use crate::sparse::Extent;
use crate::store::{Shared, Store};
use crate::tree::{At, Entry};
use copy::{Copied, Copying, copy_some};

/// Pages that one step looks at.
const STEP_PAGES: usize = 64;
/// What is needed is noted down (eight bytes each) for so many parts of files at once, or for one in so many. If there are
/// no more, one walk is enough; else there are others, each for some of the files that are chosen.
const NOTED_EXTENTS: u64 = if cfg!(test) { 2_000 } else { 4 << 20 };
const NOTED_SHARE: u64 = 16;

/// Takes back the room of versions that aren't kept any more, step by step: from any thread, beside the writer and
/// readers. One at a time. Dropping it loses nothing but the work on one file.
#[derive(Debug)]
pub struct Compaction {
    shared: Arc<Shared>,
    _turn: Turn,
    floor: Arc<Floor>,
    /// Records of the oldest kept version's top tree.
    tops: Vec<Extent>,
    /// Pages from the first number on are younger than that version: all of them is needed. There are none from the
    /// second on.
    pages: [u64; 2],
    /// The log's when it began: after a rollback one begins anew.
    era: u64,
    needs: Needs,
    phase: Phase,
    freed_bytes: u64,
    /// Whether nothing was left out.
    complete: bool,
}

/// What is being done.
#[derive(Debug)]
enum Phase {
    /// Going through the kept versions, to see how much of each file is needed.
    Looking(Walk),
    /// Going through the records of younger pages, from this number on.
    LookingAtPages(u64),
    /// Going through both again, to note down what is needed of some files; of others later.
    Noting(Walk, Chosen),
    NotingPages(u64, Chosen),
    /// Copying what is needed.
    Copying(Option<Copying>, Chosen),
    Done,
}

/// Files that are put together.
#[derive(Debug, Default)]
struct Chosen {
    /// Of which it is noted down what is needed.
    now: Vec<Group>,
    later: Vec<Group>,
}

impl Chosen {
    /// As many of `groups` as can be noted down at once, when so many extents were met in all.
    fn of(mut groups: Vec<Group>, met: u64) -> Self {
        let room = NOTED_EXTENTS.max(met / NOTED_SHARE);
        let (mut now, mut expected) = (0, 0);
        while let Some(group) = groups.get(now) {
            expected += group.expected;
            if now > 0 && expected > room {
                break;
            }
            now += 1;
        }
        let later = groups.split_off(now);
        Chosen { now: groups, later }
    }
}

impl Store {
    /// Takes back the room of versions that aren't kept any more. None if there is none to take: nothing was pruned since
    /// the last time, or since the store was opened ([`Writer::prune`](crate::Writer::prune): with what is kept already,
    /// too), or that hasn't been made durable by a checkpoint yet; or it is being taken, or the store is being checked.
    ///
    /// It needs room on the disk for one more file: 64 MiB, or as much as one version that has more.
    ///
    /// # Errors
    /// If the disk fails, or something that is kept is damaged. [`StoreError::Broken`] if it failed before in a way that only
    /// another opening finds out about.
    pub fn compaction(&self) -> Result<Option<Compaction>, StoreError> {
        let shared = &self.shared;
        let Some(turn) = shared.turns.compact() else {
            return Ok(None);
        };
        if shared.turns.has_lost_file() {
            return Err(StoreError::Broken);
        }
        let state = shared.state.load_full();
        let Some(floor) = shared.floor.load_full() else {
            return Ok(None);
        };
        // In this order: who checks the store from now on checks nothing that isn't above the floor.
        if shared.turns.is_checked() || state.count() <= floor.retained.first {
            return Ok(None);
        }
        let oldest = shared.versions.get(floor.retained.oldest())?;
        // Not the log from where the window's first version begins: that may be more than a record, where it was imported.
        let window = match floor.retained.first.checked_sub(1) {
            None => 0,
            Some(before) => shared.version_end(&state, before)?,
        };
        let nodes = &shared.nodes;
        let mut needs = Needs::new([
            shared.log.sealed(window)?,
            nodes.pages.sealed(floor.pages)?,
            nodes.tops.sealed(oldest.at.offset())?,
        ]);
        let tops: Vec<_> = nodes
            .top_records(oldest.at)?
            .into_iter()
            .map(extent_of)
            .collect();
        (tops.iter()).for_each(|extent| needs.add(Area::Nodes, *extent));
        Ok(Some(Compaction {
            shared: Arc::clone(shared),
            _turn: turn,
            phase: Phase::Looking(Walk::new(&floor.retained)),
            tops,
            pages: [oldest.next_page, floor.next_page].map(page_end),
            era: state.era,
            needs,
            freed_bytes: 0,
            complete: true,
            floor,
        }))
    }
}

/// The number that no page below the next one has; all if there is no next one.
fn page_end(next: u32) -> u64 {
    match next {
        0 => 1 << 32,
        next => next.into(),
    }
}

impl Compaction {
    /// Does a part of it. Returns whether there is more to do.
    ///
    /// # Errors
    /// If the disk fails, or something that is kept is damaged. Nothing is lost: the next step goes on, with other files
    /// if one of them could not be made, and what was left is done by the next compaction.
    pub fn step(&mut self) -> Result<bool, StoreError> {
        if self.shared.state.load().era != self.era {
            (self.phase, self.complete) = (Phase::Done, false);
            return Ok(false);
        }
        let (shared, needs) = (&*self.shared, &mut self.needs);
        let next = match &mut self.phase {
            Phase::Looking(walk) => {
                let more = walk.go(
                    shared,
                    &self.floor.retained,
                    STEP_PAGES,
                    &mut |met| match met {
                        Met::Leaf(entry, true) => needs.add(Area::Log, entry_extent(entry)),
                        Met::Leaf(entry, false) => {
                            needs.add_pinned(Area::Log, entry_extent(entry));
                        }
                        Met::Page(number, records) => {
                            needs.add_page(number);
                            let records = records.iter().map(|at| extent_of(*at));
                            records.for_each(|extent| needs.add(Area::Pages, extent));
                        }
                    },
                )?;
                (!more).then_some(Phase::LookingAtPages(self.pages[0]))
            }
            Phase::LookingAtPages(page) => {
                let records = some_records(&shared.nodes, needs, page, self.pages[1])?;
                (records.iter()).for_each(|at| needs.add(Area::Pages, extent_of(*at)));
                let done = *page >= self.pages[1];
                done.then(|| match needs.groups() {
                    (now, true) => {
                        let later = Vec::new();
                        Phase::Copying(None, Chosen { now, later })
                    }
                    (groups, false) => noting(&self.floor, Chosen::of(groups, needs.met)),
                })
            }
            Phase::Noting(walk, chosen) => {
                let more = walk.go(
                    shared,
                    &self.floor.retained,
                    STEP_PAGES,
                    &mut |met| match met {
                        Met::Leaf(entry, _) => {
                            note(&mut chosen.now, Area::Log, entry_extent(entry))
                        }
                        Met::Page(_, records) => {
                            let records = records.iter().map(|at| extent_of(*at));
                            records.for_each(|extent| note(&mut chosen.now, Area::Pages, extent));
                        }
                    },
                )?;
                (!more).then(|| Phase::NotingPages(self.pages[0], std::mem::take(chosen)))
            }
            Phase::NotingPages(page, chosen) => {
                let records = some_records(&shared.nodes, needs, page, self.pages[1])?;
                for at in records {
                    note(&mut chosen.now, Area::Pages, extent_of(at));
                }
                let done = *page >= self.pages[1];
                done.then(|| {
                    let mut chosen = std::mem::take(chosen);
                    for extent in &self.tops {
                        note(&mut chosen.now, Area::Nodes, *extent);
                    }
                    Phase::Copying(None, chosen)
                })
            }
            Phase::Copying(copying, chosen) => match copy_some(shared, copying, &mut chosen.now) {
                Err(error) => {
                    self.complete = false;
                    return Err(error);
                }
                Ok(Copied::Some) => None,
                Ok(Copied::File(freed)) => {
                    self.freed_bytes += freed;
                    None
                }
                Ok(Copied::All) if chosen.later.is_empty() => Some(Phase::Done),
                Ok(Copied::All) => {
                    let later = std::mem::take(&mut chosen.later);
                    Some(noting(&self.floor, Chosen::of(later, needs.met)))
                }
            },
            Phase::Done => None,
        };
        if let Some(next) = next {
            self.phase = next;
        }
        if !matches!(self.phase, Phase::Done) {
            return Ok(true);
        }
        if std::mem::take(&mut self.complete) {
            // Unless more was pruned meanwhile, there is nothing left to do.
            let floor = Some(Arc::clone(&self.floor));
            self.shared.floor.compare_and_swap(&floor, None);
        }
        Ok(false)
    }

    /// Bytes on the disk that were freed so far.
    pub fn freed_bytes(&self) -> u64 {
        self.freed_bytes
    }
}

/// The phase in which it is noted down what is needed of some files.
fn noting(floor: &Floor, chosen: Chosen) -> Phase {
    match chosen.now.is_empty() {
        true => Phase::Done,
        false => Phase::Noting(Walk::new(&floor.retained), chosen),
    }
}

/// All records of a few pages that weren't met, from number `page` on.
fn some_records(
    nodes: &Nodes,
    needs: &Needs,
    page: &mut u64,
    end: u64,
) -> Result<Vec<At>, StoreError> {
    let mut records = Vec::new();
    let next = end.min(*page + STEP_PAGES as u64);
    for number in *page..next {
        let id = u32::try_from(number).ok().and_then(PageId::new);
        if let Some(id) = id.filter(|id| !needs.has_page(id.number())) {
            records.append(&mut nodes.page_records(id)?);
        }
    }
    *page = next;
    Ok(records)
}

fn entry_extent(entry: &Entry) -> Extent {
    Extent {
        from: entry.position,
        len: entry.len.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Batch;
    use crate::limits::Options;
    use crate::retention::Retention;
    use violeta_journal::MemoryDisk;
    use violeta_types::Height;

    #[test]
    fn a_store_with_more_than_is_noted_down_at_once_is_walked_several_times() {
        let disk = MemoryDisk::new();
        let options = Options {
            log_segment_bytes: 32 << 10,
            tail_bytes: 64 << 10,
            record_file_bytes: 64 << 10,
            ..Options::default()
        };
        let store = Store::open(Arc::new(disk.clone()), "", options).unwrap();
        let mut writer = store.writer().unwrap();
        for version in 1..=60u32 {
            let mut batch = Batch::new();
            if version == 1 {
                batch.create_space(b"s");
            }
            // All keys at first, then each seventh.
            let keys = (0..5_000u32).filter(|key| version == 1 || key % 7 == version % 7);
            keys.for_each(|key| batch.put(b"s", &key.to_le_bytes(), vec![version as u8; 40]));
            let staged = writer.stage(&batch).unwrap();
            writer.commit(Height(version.into()), staged).unwrap();
            while writer.maintain().unwrap() {}
        }
        writer.prune(&Retention::from(Height(55))).unwrap();
        writer.checkpoint().unwrap();
        let before = disk.used_bytes();
        let mut compaction = store.compaction().unwrap().unwrap();
        let (mut walks, mut was_noting) = (0, false);
        while compaction.step().unwrap() {
            let is_noting = matches!(compaction.phase, Phase::Noting(..));
            walks += u32::from(is_noting && !was_noting);
            was_noting = is_noting;
        }
        assert!(walks > 1, "{walks} walks");
        assert!(
            disk.used_bytes() < before / 2,
            "{} of {before}",
            disk.used_bytes()
        );
        for version in 55..=60u32 {
            let snapshot = store.snapshot(Height(version.into())).unwrap();
            for key in 0..5_000u32 {
                let last = (version - version.min(6)..=version).rev();
                let last = last
                    .clone()
                    .find(|v| v % 7 == key % 7 && *v > 1)
                    .unwrap_or(1);
                let value = snapshot.get(b"s", &key.to_le_bytes()).unwrap().unwrap();
                assert_eq!(value, vec![last as u8; 40], "key {key} at {version}");
            }
        }
        store.verify().unwrap();
    }
}
