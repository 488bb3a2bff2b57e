//! Which files are worth being put together, and what of them is needed.

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
#[derive(Clone, Copy, Debug)]
struct Needed {
    file: Sealed,
    bytes: u64,
    extents: u64,
}

impl Needed {
    /// Bytes that would be free without what isn't needed.
    fn garbage(&self) -> u64 {
        let useful = self.file.useful.unwrap_or(self.file.file_bytes);
        useful.saturating_sub(self.bytes)
    }

    /// Whether much of it isn't needed.
    fn is_stale(&self) -> bool {
        4 * self.garbage() >= self.file.file_bytes
    }

    fn is_small(&self) -> bool {
        self.file.file_bytes < GROUP_BYTES / GROUP_FILES as u64
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
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) file_bytes: u64,
    /// How many parts of them are needed, about.
    pub(super) expected: u64,
    /// These parts, once they were noted down.
    pub(super) extents: Vec<Extent>,
}

/// How much is needed of each sealed file, and which pages are.
#[derive(Debug, Default)]
pub(super) struct Needs {
    files: [Vec<Needed>; 3],
    /// Of each page number where the page begins to be needed.
    cuts: Vec<u64>,
    /// Leaves and records that were met.
    pub(super) met: u64,
}

/// The cut of a page that isn't needed, for all that is known.
const NOT_NEEDED: u64 = u64::MAX;

impl Needs {
    pub(super) fn new(files: [Vec<Sealed>; 3]) -> Self {
        let unknown = |file| Needed {
            file,
            bytes: 0,
            extents: 0,
        };
        Needs {
            files: files.map(|files| files.into_iter().map(unknown).collect()),
            cuts: Vec::new(),
            met: 0,
        }
    }

    /// Something is needed.
    pub(super) fn add(&mut self, area: Area, extent: Extent) {
        self.met += 1;
        let files = &mut self.files[area as usize];
        let after = files.partition_point(|needed| needed.file.from <= extent.from);
        if let Some(needed) = after.checked_sub(1).map(|i| &mut files[i])
            && extent.from < needed.file.to
        {
            needed.bytes += extent.len;
            needed.extents += 1;
        }
    }

    /// A page is needed from `cut` on.
    pub(super) fn need_page(&mut self, number: u32, cut: u64) {
        let number = number as usize;
        if self.cuts.len() <= number {
            self.cuts.resize(number + 1, NOT_NEEDED);
        }
        self.cuts[number] = self.cuts[number].min(cut);
    }

    /// From where on a page is needed, if it is.
    pub(super) fn cut(&self, number: u32) -> Option<u64> {
        let cut = self.cuts.get(number as usize).copied();
        cut.filter(|cut| *cut != NOT_NEEDED)
    }

    /// The files that are worth it, put together.
    pub(super) fn groups(&self) -> Vec<Group> {
        let mut groups = Vec::new();
        for area in AREAS {
            let mut run: Vec<Needed> = Vec::new();
            for needed in &self.files[area as usize] {
                let fits = run.iter().map(|n| n.bytes).sum::<u64>() + needed.bytes <= GROUP_BYTES;
                let follows = run
                    .last()
                    .is_none_or(|last| last.file.to == needed.file.from);
                if !(fits && follows && (needed.is_stale() || needed.is_small())) {
                    groups.extend(group(area, &std::mem::take(&mut run)));
                }
                if needed.is_stale() || needed.is_small() {
                    run.push(*needed);
                }
            }
            groups.extend(group(area, &run));
        }
        groups
    }
}

/// The group that some adjacent files make, if that is worth it.
fn group(area: Area, files: &[Needed]) -> Option<Group> {
    let (first, last) = (files.first()?, files.last()?);
    let worth = files.iter().any(Needed::is_stale) || files.len() >= GROUP_FILES;
    worth.then(|| Group {
        area,
        from: first.file.from,
        to: last.file.to,
        file_bytes: files.iter().map(|needed| needed.file.file_bytes).sum(),
        expected: files.iter().map(|needed| needed.extents).sum(),
        extents: Vec::new(),
    })
}

/// Notes down what is needed of the groups' files.
pub(super) fn note(groups: &mut [Group], area: Area, extent: Extent) {
    let is_in =
        |group: &&mut Group| group.area == area && (group.from..group.to).contains(&extent.from);
    if let Some(group) = groups.iter_mut().find(is_in) {
        group.extents.push(extent);
    }
}

/// Where a record lies.
pub(super) fn extent_of(at: At) -> Extent {
    Extent {
        from: at.offset(),
        len: at.len() as u64,
    }
}
