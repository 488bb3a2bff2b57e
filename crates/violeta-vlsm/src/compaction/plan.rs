//! Which files are worth being put together, and what of them is needed.

use super::NOTED_EXTENTS;
use crate::limits::{STORE_KEY_BYTES_MAX, STORE_VALUE_BYTES_MAX};
use crate::sparse::Extent;
use crate::tree::At;

/// What files are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Area {
    Log,
    Pages,
    Nodes,
}

/// All areas.
pub(super) const AREAS: [Area; 3] = [Area::Log, Area::Pages, Area::Nodes];

/// A file to which nothing is written any more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sealed {
    /// The stretch that it stands for.
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// Bytes on the disk.
    pub(crate) file_bytes: u64,
    /// How much of that was needed when it was made, if it is a sparse one.
    pub(crate) useful: Option<u64>,
}

/// How much of a file is needed.
#[derive(Debug)]
struct Needed {
    file: Sealed,
    bytes: u64,
    extents: u64,
    /// These, if they were noted down.
    noted: Vec<Part>,
}

/// A part of a stretch: how far from its beginning, and how long. Eight bytes, since there are many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Part(u64);

/// Bits of a part's length: the longest operation has fewer.
const PART_LEN_BITS: u32 = 25;
/// Bytes of a stretch that parts can be told of.
const STRETCH_BYTES_MAX: u64 = 1 << (64 - PART_LEN_BITS);

const _: () = assert!(STORE_KEY_BYTES_MAX + STORE_VALUE_BYTES_MAX + 64 < 1 << PART_LEN_BITS);

impl Part {
    /// A part that is longer than any operation or record counts as the longest: it isn't one, and who reads it finds out.
    fn new(from: u64, extent: Extent) -> Self {
        let extent = Extent {
            len: extent.len.min((1 << PART_LEN_BITS) - 1),
            ..extent
        };
        Part((extent.from - from) << PART_LEN_BITS | extent.len)
    }

    fn extent(self, from: u64) -> Extent {
        Extent {
            from: from + (self.0 >> PART_LEN_BITS),
            len: self.0 & ((1 << PART_LEN_BITS) - 1),
        }
    }
}

impl Needed {
    /// Bytes that would be free without what isn't needed.
    fn garbage(&self) -> u64 {
        let useful = self.file.useful.unwrap_or(self.file.file_bytes);
        useful.saturating_sub(self.bytes)
    }

    /// Whether much of it isn't needed.
    fn is_stale(&self) -> bool {
        self.garbage() >= self.file.file_bytes.div_ceil(4)
    }

    fn is_small(&self) -> bool {
        self.file.file_bytes < GROUP_BYTES / GROUP_FILES as u64
    }

    /// Counts what was noted down for several versions once.
    fn settle(&mut self) {
        self.noted.sort_unstable();
        self.noted.dedup();
        let lens = self.noted.iter().map(|part| part.extent(0).len);
        self.bytes = lens.sum();
        self.extents = self.noted.len() as u64;
    }
}

/// What is needed that is put into one file, at most; a file that has more has one to itself.
const GROUP_BYTES: u64 = 64 << 20;
/// So many small files are made one.
const GROUP_FILES: usize = 8;

/// Files that are to be put together.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) area: Area,
    pub(super) files: Vec<Sealed>,
    /// How many parts of them are needed, about.
    pub(super) expected: u64,
    /// These parts, once they were noted down.
    noted: Vec<Part>,
}

impl Group {
    pub(super) fn from(&self) -> u64 {
        self.files.first().map_or(0, |file| file.from)
    }

    pub(super) fn to(&self) -> u64 {
        self.files.last().map_or(0, |file| file.to)
    }

    /// Which file a position lies in.
    pub(super) fn file_of(&self, position: u64) -> Option<&Sealed> {
        let after = self.files.partition_point(|file| file.from <= position);
        self.files.get(after.checked_sub(1)?)
    }

    /// What was noted down, in order, each part once.
    pub(super) fn extents(&mut self) -> impl Iterator<Item = Extent> + use<> {
        let from = self.from();
        self.noted.sort_unstable();
        self.noted.dedup();
        let noted = std::mem::take(&mut self.noted).into_iter();
        noted.map(move |part| part.extent(from))
    }
}

/// How much is needed of each sealed file.
#[derive(Debug)]
pub(super) struct Needs {
    files: [Vec<Needed>; 3],
    /// Whether all of it is noted down.
    notes: bool,
    /// Leaves and records that were met.
    pub(super) met: u64,
    /// Numbers of pages that were, a bit each.
    pages: Vec<u64>,
}

impl Needs {
    pub(super) fn new(files: [Vec<Sealed>; 3]) -> Self {
        let unknown = |file| Needed {
            file,
            bytes: 0,
            extents: 0,
            noted: Vec::new(),
        };
        Needs {
            files: files.map(|files| files.into_iter().map(unknown).collect()),
            notes: true,
            met: 0,
            pages: Vec::new(),
        }
    }

    /// Something is needed.
    pub(super) fn add(&mut self, area: Area, extent: Extent) {
        self.take(area, extent, true);
    }

    /// Something is needed by a version that is pinned. Where it is only counted it doesn't count: most of it the window
    /// has too.
    pub(super) fn add_pinned(&mut self, area: Area, extent: Extent) {
        self.take(area, extent, false);
    }

    fn take(&mut self, area: Area, extent: Extent, counts: bool) {
        self.met += 1;
        if self.notes && self.met > NOTED_EXTENTS {
            // Too much: it is only counted, and noted down file by file.
            self.notes = false;
            let all = self.files.iter_mut().flatten();
            all.for_each(|needed| needed.noted = Vec::new());
        }
        let files = &mut self.files[area as usize];
        let after = files.partition_point(|needed| needed.file.from <= extent.from);
        if let Some(needed) = after.checked_sub(1).map(|i| &mut files[i])
            && extent.from < needed.file.to
        {
            if counts {
                needed.bytes += extent.len;
                needed.extents += 1;
            }
            if self.notes {
                needed.noted.push(Part::new(needed.file.from, extent));
            }
        }
    }

    /// A page was met.
    pub(super) fn add_page(&mut self, number: u32) {
        let (word, bit) = (number as usize / 64, 1 << (number % 64));
        if self.pages.len() <= word {
            self.pages.resize(word + 1, 0);
        }
        self.pages[word] |= bit;
    }

    /// Whether a page was met.
    pub(super) fn has_page(&self, number: u32) -> bool {
        let word = self.pages.get(number as usize / 64);
        word.is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    /// The files that are worth it, put together; and whether what is needed of them was noted down.
    pub(super) fn groups(&mut self) -> (Vec<Group>, bool) {
        let mut groups = Vec::new();
        for area in AREAS {
            let mut run: Vec<Needed> = Vec::new();
            for mut needed in std::mem::take(&mut self.files[area as usize]) {
                if self.notes {
                    needed.settle();
                }
                let fits = run.iter().map(|n| n.bytes).sum::<u64>() + needed.bytes <= GROUP_BYTES;
                let from = run
                    .first()
                    .map_or(needed.file.from, |first| first.file.from);
                let follows = run
                    .last()
                    .is_none_or(|last| last.file.to == needed.file.from)
                    && needed.file.to - from <= STRETCH_BYTES_MAX;
                // What is longer has a part that can't be told of.
                let good = (needed.is_stale() || needed.is_small())
                    && needed.file.to - needed.file.from <= STRETCH_BYTES_MAX;
                if !(fits && follows && good) {
                    groups.extend(group(area, std::mem::take(&mut run)));
                }
                if good {
                    run.push(needed);
                }
            }
            groups.extend(group(area, run));
        }
        (groups, self.notes)
    }
}

/// The group that some adjacent files make, if that is worth it.
fn group(area: Area, files: Vec<Needed>) -> Option<Group> {
    let from = files.first()?.file.from;
    let worth = files.iter().any(Needed::is_stale) || files.len() >= GROUP_FILES;
    worth.then(|| Group {
        area,
        files: files.iter().map(|needed| needed.file).collect(),
        expected: files.iter().map(|needed| needed.extents).sum(),
        noted: (files.iter())
            .flat_map(|needed| {
                let parts = needed.noted.iter();
                parts.map(|part| Part::new(from, part.extent(needed.file.from)))
            })
            .collect(),
    })
}

/// Notes down what is needed of the groups' files.
pub(super) fn note(groups: &mut [Group], area: Area, extent: Extent) {
    let is_in = |group: &&mut Group| {
        group.area == area && (group.from()..group.to()).contains(&extent.from)
    };
    if let Some(group) = groups.iter_mut().find(is_in) {
        group.noted.push(Part::new(group.from(), extent));
    }
}

/// Where a record lies.
pub(super) fn extent_of(at: At) -> Extent {
    Extent {
        from: at.offset(),
        len: at.len() as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: u64 = 64 << 20;

    /// Files of the log, one after the other, each of whose halves or wholes is needed in one part.
    fn needs(needed: &[u64]) -> Needs {
        let file = |number: usize| Sealed {
            from: number as u64 * FILE,
            to: (number as u64 + 1) * FILE,
            file_bytes: FILE,
            useful: None,
        };
        let files = (0..needed.len()).map(file).collect();
        let mut needs = Needs::new([files, Vec::new(), Vec::new()]);
        for (number, needed) in needed.iter().enumerate() {
            // In parts that are no longer than one may be.
            let (mut from, end) = (number as u64 * FILE, number as u64 * FILE + needed);
            while from < end {
                let len = (end - from).min(1 << 20);
                needs.add(Area::Log, Extent { from, len });
                from += len;
            }
        }
        needs
    }

    fn stretches(needed: &[u64]) -> Vec<(u64, u64)> {
        let (groups, noted) = needs(needed).groups();
        assert!(noted);
        let stretch = |group: &Group| (group.from() / FILE, group.to() / FILE);
        groups.iter().map(stretch).collect()
    }

    #[test]
    fn files_of_which_a_quarter_is_garbage_are_put_together_with_their_neighbours() {
        let quarter = FILE / 4;
        let needed = [FILE, quarter, 0, 3 * quarter, FILE, 3 * quarter + 1, FILE];
        // The second to fourth have four quarters in all.
        assert_eq!(stretches(&needed), [(1, 4)]);
        // No more than a file's worth goes into one.
        assert_eq!(
            stretches(&[quarter, 2 * quarter, 2 * quarter]),
            [(0, 2), (2, 3)]
        );
        assert_eq!(stretches(&[FILE, FILE]), []);
    }

    #[test]
    fn many_small_files_become_one_and_a_few_stay() {
        let small = |count: u64| {
            let file = |number| Sealed {
                from: number * FILE,
                to: (number + 1) * FILE,
                file_bytes: 1_000,
                useful: Some(500),
            };
            let mut needs = Needs::new([(0..count).map(file).collect(), Vec::new(), Vec::new()]);
            for number in 0..count {
                let from = number * FILE;
                needs.add(Area::Log, Extent { from, len: 500 });
            }
            needs.groups().0.len()
        };
        assert_eq!([7, 8, 9].map(small), [0, 1, 1]);
    }

    #[test]
    fn what_several_versions_need_counts_once_and_comes_in_order() {
        let mut needs = needs(&[0, 0]);
        for from in [FILE + 7, 500, FILE + 7, 20, 500] {
            needs.add(Area::Log, Extent { from, len: 9 });
        }
        // Of another file, or none.
        needs.add(Area::Pages, Extent { from: 20, len: 9 });
        needs.add(
            Area::Log,
            Extent {
                from: 2 * FILE,
                len: 9,
            },
        );
        let (mut groups, _) = needs.groups();
        assert_eq!(groups.len(), 1);
        assert_eq!(groups[0].expected, 3);
        assert_eq!(
            groups[0].file_of(FILE + 7).map(|file| file.from),
            Some(FILE)
        );
        let extents: Vec<_> = groups[0].extents().map(|e| (e.from, e.len)).collect();
        assert_eq!(extents, [(20, 9), (500, 9), (FILE + 7, 9)]);
    }

    #[test]
    fn what_is_too_much_to_note_down_is_counted_and_noted_down_by_group() {
        let mut needs = needs(&[0, 0]);
        for from in 0..=NOTED_EXTENTS {
            needs.add(Area::Log, Extent { from, len: 1 });
        }
        let (mut groups, noted) = needs.groups();
        assert!(!noted);
        assert_eq!(groups[0].expected, NOTED_EXTENTS + 1);
        let extent = Extent { from: FILE, len: 5 };
        note(&mut groups, Area::Log, extent);
        note(&mut groups, Area::Nodes, extent);
        assert_eq!(groups[0].extents().collect::<Vec<_>>(), [extent]);
    }

    #[test]
    fn a_part_tells_the_longest_operation_at_the_end_of_the_longest_stretch() {
        let len = (STORE_KEY_BYTES_MAX + STORE_VALUE_BYTES_MAX + 64) as u64;
        let from = 77 + STRETCH_BYTES_MAX - 1;
        let extent = Extent { from, len };
        assert_eq!(Part::new(77, extent).extent(77), extent);
    }
}
