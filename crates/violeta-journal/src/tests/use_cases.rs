//! What a journal is for.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{BUFFER_BYTES, MemoryDisk, Position, RECORD_BYTES_MAX, RealDisk, SEGMENT_BYTES_MAX};

#[test]
fn what_was_synced_is_there_when_it_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let disk = RealDisk::new(dir.path().join("root"));
    let mut journal = open(&disk, 4_096);
    for (kind, bytes) in records(500) {
        journal.append(kind, &bytes).unwrap();
    }
    journal.sync().unwrap();
    assert!(journal.stats().segments > 5, "{:?}", journal.stats());
    drop(journal);
    assert_eq!(contents(&disk, 4_096).unwrap(), records(500));
}

#[test]
fn a_record_is_found_by_its_position_once_it_is_durable() {
    let mut journal = open(&MemoryDisk::new(), 1_024);
    let reader = journal.reader();
    let mut positions = Vec::new();
    for (kind, bytes) in records(100) {
        let (head, tail) = bytes.split_at(bytes.len() / 3);
        positions.push(journal.append_parts(kind, &[head, tail]).unwrap());
    }
    let early = reader.read(positions[99]).unwrap_err();
    assert!(matches!(early, JournalError::OutOfRange { .. }), "{early}");
    let end = journal.sync().unwrap();
    assert_eq!((reader.start(), reader.end()), (Position(0), end));
    for (n, position) in positions.iter().enumerate() {
        let found = reader.read(*position).unwrap();
        assert_eq!((found.kind, found.bytes), record(n));
        assert_eq!(found.end, *positions.get(n + 1).unwrap_or(&end));
        let rest: Vec<_> = reader.replay(*position).map(Result::unwrap).collect();
        assert_eq!(rest.len(), 100 - n);
        assert_eq!(rest[0], journal.read(*position).unwrap());
    }
    assert!(positions.is_sorted_by(|a, b| a < b));
    for beyond in [end, Position(end.0 + 5), Position(u64::MAX)] {
        let error = reader.read(beyond).unwrap_err();
        assert!(matches!(error, JournalError::OutOfRange { .. }), "{error}");
        assert_eq!(reader.replay(beyond).count(), 0);
    }
    // Between records there is none.
    let between = reader.read(Position(positions[50].0 + 1)).unwrap_err();
    assert!(matches!(between, JournalError::Damaged { .. }), "{between}");
}

#[test]
fn old_segments_are_dropped_whole_and_stay_dropped() {
    let disk = MemoryDisk::new();
    let mut journal = open(&disk, 512);
    let positions: Vec<_> = records(60)
        .iter()
        .map(|(kind, bytes)| journal.append(*kind, bytes).unwrap())
        .collect();
    journal.sync().unwrap();
    let before = journal.stats();
    let used = disk.used_bytes();
    let reader = journal.reader();
    journal.drop_below(positions[30]).unwrap();
    let stats = journal.stats();
    assert!(stats.segments < before.segments && stats.start <= positions[30]);
    assert!(
        positions[30].0 - stats.start.0 < 512,
        "all that can go goes"
    );
    assert!(disk.used_bytes() < used);
    assert_eq!(reader.start(), stats.start);
    let gone = reader.read(positions[0]).unwrap_err();
    assert!(
        gone.to_string().contains(&format!("from {}", stats.start)),
        "{gone}"
    );
    assert!(reader.read(positions[30]).is_ok());
    journal.drop_below(Position(u64::MAX)).unwrap();
    assert_eq!(journal.stats().segments, 1, "the last one stays");
    let rest: Vec<_> = journal.replay(Position::ZERO).map(Result::unwrap).collect();
    drop(journal);
    let reopened = contents(&disk, 512).unwrap();
    assert_eq!(reopened.len(), rest.len());
    assert_eq!(reopened, records(60)[60 - rest.len()..]);
}

#[test]
fn a_reader_on_another_thread_reads_while_segments_come_and_go() {
    let mut journal = open(&MemoryDisk::new(), 512);
    let reader = journal.reader();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let handle = scope.spawn(|| {
            let mut seen = 0;
            while !done.load(std::sync::atomic::Ordering::SeqCst) {
                for found in reader.replay(Position::ZERO) {
                    match found {
                        Ok(found) => {
                            let n = u32::from_le_bytes(found.bytes[..4].try_into().unwrap());
                            assert_eq!(found.bytes.len(), n as usize % 200 + 4);
                            seen += 1;
                        }
                        // It was dropped while it was read: the only reason not to get it.
                        Err(JournalError::OutOfRange { .. }) => break,
                        Err(error) => panic!("{error}"),
                    }
                }
            }
            seen
        });
        for n in 0..2_000u32 {
            let padding = vec![0; n as usize % 200];
            let at = journal
                .append_parts(1, &[&n.to_le_bytes(), &padding])
                .unwrap();
            journal.sync().unwrap();
            if n % 10 == 0 {
                journal.drop_below(at).unwrap();
            }
        }
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        handle.join().unwrap();
    });
}

#[test]
fn a_record_larger_than_a_segment_has_one_to_itself() {
    let disk = MemoryDisk::new();
    let mut journal = open(&disk, 1_024);
    let great = vec![5; RECORD_BYTES_MAX];
    journal.append(1, b"before").unwrap();
    journal.append(2, &great).unwrap();
    journal.append(3, b"after").unwrap();
    let too_large = journal
        .append(4, &vec![5; RECORD_BYTES_MAX + 1])
        .unwrap_err();
    assert!(matches!(too_large, JournalError::RecordTooLarge { len } if len == (16 << 20) + 1));
    assert!(matches!(
        journal.append(0, b"x"),
        Err(JournalError::ReservedKind)
    ));
    journal.append(5, b"").unwrap();
    journal.sync().unwrap();
    assert_eq!(journal.stats().segments, 3);
    drop(journal);
    let kinds: Vec<_> = contents(&disk, 1_024).unwrap();
    let lens: Vec<_> = kinds.iter().map(|(k, b)| (*k, b.len())).collect();
    assert_eq!(lens, [(1, 6), (2, 16 << 20), (3, 5), (5, 0)]);
}

#[test]
fn what_waits_in_memory_is_bounded() {
    let mut journal = open(&MemoryDisk::new(), 64 << 20);
    let record = vec![1; 1 << 20];
    for _ in 0..50 {
        journal.append(1, &record).unwrap();
        assert!(journal.buffered_bytes() < BUFFER_BYTES);
    }
    assert_eq!(journal.stats().synced, Position(0), "written isn't synced");
    journal.sync().unwrap();
    assert_eq!(journal.replay(Position::ZERO).count(), 50);
}

#[test]
fn one_directory_has_one_journal() {
    let disk = MemoryDisk::new();
    let journal = open(&disk, 1_024);
    let second = Journal::open(Arc::new(disk.clone()), DIR, options(1_024)).unwrap_err();
    assert!(second.to_string().contains("in use by process"), "{second}");
    drop(journal);
    open(&disk, 1_024);
}

#[test]
fn many_segments_need_few_open_files() {
    let mut journal = open(&MemoryDisk::new(), 256);
    for _ in 0..200 {
        journal.append(1, &[1; 150]).unwrap();
    }
    journal.sync().unwrap();
    assert_eq!(journal.stats().segments, 200);
    assert_eq!(journal.replay(Position::ZERO).count(), 200);
}

#[test]
fn options_out_of_bounds_are_refused() {
    for bad in [0, 255, SEGMENT_BYTES_MAX + 1, u64::MAX] {
        let error = Journal::open(Arc::new(MemoryDisk::new()), DIR, options(bad)).unwrap_err();
        assert!(
            error.to_string().contains("it must be 256 to 1073741824"),
            "{error}"
        );
    }
}

proptest! {
    /// Against a map: any run of appends, syncs, drops and reopenings.
    #[test]
    fn a_journal_is_a_sorted_map_that_grows_at_its_end(
        steps in prop::collection::vec((0..8u8, prop::collection::vec(any::<u8>(), 0..90)), 1..80)
    ) {
        let disk = MemoryDisk::new();
        let mut journal = open(&disk, 300);
        let mut model = BTreeMap::new();
        for (action, bytes) in steps {
            match action {
                0 => {
                    journal.sync().unwrap();
                    drop(journal);
                    journal = open(&disk, 300);
                }
                1 => {
                    let middle = model.keys().nth(model.len() / 2).copied();
                    journal.drop_below(middle.unwrap_or_default()).unwrap();
                    let start = journal.stats().start;
                    prop_assert!(start <= middle.unwrap_or_default());
                    model = model.split_off(&start);
                }
                2 => _ = journal.sync().unwrap(),
                kind => {
                    let position = journal.append(kind, &bytes).unwrap();
                    model.insert(position, (kind, bytes));
                }
            }
        }
        journal.sync().unwrap();
        let found = journal.replay(Position::ZERO).map(Result::unwrap);
        let found: BTreeMap<_, _> = found.map(|r| (r.position, (r.kind, r.bytes))).collect();
        prop_assert_eq!(found, model);
    }
}
