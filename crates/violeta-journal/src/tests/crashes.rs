//! Power losses: at every operation of the disk, with whatever the disk makes of what wasn't synced.

use std::io::ErrorKind;

use super::*;
use crate::Position;

const SEGMENT_BYTES: u64 = 512;
const RECORDS: usize = 24;
const SYNC_EVERY: usize = 3;
/// What a disk may make of each crash: this many throws.
const SEEDS: u64 = 12;

/// How far the workload came.
#[derive(Debug, Default)]
struct Progress {
    appended: usize,
    acknowledged: usize,
    /// Records below this one may have been dropped.
    dropped_below: usize,
}

/// Appends, syncs, drops, until the disk fails or all is done.
fn work(disk: &FaultyDisk) -> Progress {
    let mut progress = Progress::default();
    let _ = try_work(disk, &mut progress);
    progress
}

fn try_work(disk: &FaultyDisk, progress: &mut Progress) -> Result<(), JournalError> {
    let options = options(SEGMENT_BYTES);
    let (mut journal, _) = Journal::open(Arc::new(disk.clone()), DIR, options)?;
    let mut positions = Vec::new();
    for n in 0..RECORDS {
        let (kind, bytes) = record(n);
        // Counted first: a record whose append failed after it was taken in may be there too.
        progress.appended = n + 1;
        positions.push(journal.append(kind, &bytes)?);
        if n % SYNC_EVERY == SYNC_EVERY - 1 {
            journal.sync()?;
            progress.acknowledged = n + 1;
        }
        if n == RECORDS / 2 {
            progress.dropped_below = n / 2;
            journal.drop_below(positions[n / 2])?;
        }
    }
    Ok(())
}

/// What there is runs without a gap from what may have been dropped to what was acknowledged, at least; says to where.
fn check(found: &[(u8, Vec<u8>)], progress: &Progress) -> usize {
    let starts = 0..=progress.dropped_below;
    let mut ends = progress.acknowledged..=progress.appended;
    let all = records(progress.appended);
    let fits = |end: &usize| {
        let start = end.checked_sub(found.len());
        start.is_some_and(|start| starts.contains(&start) && all[start..*end] == *found)
    };
    let end = ends.find(fits);
    end.unwrap_or_else(|| panic!("{} records after {progress:?}", found.len()))
}

/// What survived can be added to, and stays, whatever happens to the disk then.
fn check_goes_on(memory: &MemoryDisk, found: Vec<(u8, Vec<u8>)>) {
    memory.crash(&mut || 0);
    let mut journal = open(memory, SEGMENT_BYTES);
    journal.append(77, b"after the crash").unwrap();
    journal.sync().unwrap();
    memory.crash(&mut || 0);
    let mut expected = found;
    expected.push((77, b"after the crash".to_vec()));
    assert_eq!(contents(memory, SEGMENT_BYTES).unwrap(), expected);
}

#[test]
fn power_loss_at_every_operation_keeps_what_was_acknowledged() {
    let (_, whole) = faulty();
    let done = work(&whole);
    assert_eq!(done.acknowledged, RECORDS, "the workload works");
    for operation in 0..=whole.operations() {
        for seed in 0..SEEDS {
            let (memory, disk) = faulty();
            disk.fail_from(operation, ErrorKind::Other);
            let progress = work(&disk);
            memory.crash(&mut random(operation * SEEDS + seed));
            let found = contents(&memory, SEGMENT_BYTES).unwrap();
            check(&found, &progress);
            check_goes_on(&memory, found);
        }
    }
}

#[test]
fn power_loss_at_every_operation_of_the_recovery_from_a_power_loss() {
    let (_, whole) = faulty();
    work(&whole);
    let mut torn = 0;
    for operation in (0..whole.operations()).step_by(7) {
        for seed in 0..SEEDS {
            let mut recovery_operation = 0;
            loop {
                let (memory, disk) = faulty();
                let mut random = random(operation * SEEDS + seed);
                disk.fail_from(operation, ErrorKind::Other);
                let progress = work(&disk);
                memory.crash(&mut random);
                disk.repair();
                let first = disk.operations();
                disk.fail_from(first + recovery_operation, ErrorKind::Other);
                let recovered = contents(&disk, SEGMENT_BYTES);
                memory.crash(&mut random);
                let found = contents(&memory, SEGMENT_BYTES).unwrap();
                check(&found, &progress);
                if let Ok(recovered) = recovered {
                    assert_eq!(found, recovered, "what was read back once stays");
                    break;
                }
                torn += 1;
                recovery_operation += 1;
            }
        }
    }
    assert!(torn > 500, "{torn} recoveries were interrupted");
}

#[test]
fn records_of_a_killed_process_are_durable_before_they_are_read_back() {
    let (memory, disk) = faulty();
    let mut journal = open(&disk, 4_096);
    journal.append(1, b"written").unwrap();
    disk.fail_next(crate::Operation::Sync, ErrorKind::Other);
    journal.sync().unwrap_err();
    // The process dies; the kernel still has what it wrote.
    drop(journal);
    let found = contents(&memory, 4_096).unwrap();
    assert_eq!(found, [(1, b"written".to_vec())]);
    memory.crash(&mut || 0);
    assert_eq!(contents(&memory, 4_096).unwrap(), found);
}

#[test]
fn a_write_torn_at_any_byte_leaves_the_records_before_it() {
    let disk = MemoryDisk::new();
    let mut journal = open(&disk, 4_096);
    for (kind, bytes) in records(4) {
        journal.append(kind, &bytes).unwrap();
    }
    let end = journal.sync().unwrap();
    let starts: Vec<_> = journal
        .replay(Position::ZERO)
        .map(|r| r.unwrap().position.0)
        .collect();
    drop(journal);
    let path = format!("{DIR}/0000000000.journal");
    let mut image = vec![0; 64 + end.0 as usize];
    let file = disk.open(&path, crate::OpenMode::Existing).unwrap();
    file.read_at(0, &mut image).unwrap();
    for kept in 64..image.len() {
        let torn = MemoryDisk::new();
        drop(open(&torn, 4_096));
        let file = torn.open(&path, crate::OpenMode::Existing).unwrap();
        file.write_at(0, &image[..kept]).unwrap();
        let whole = starts.iter().skip(1).chain([&end.0]);
        let whole = whole.filter(|end| 64 + **end as usize <= kept).count();
        assert_eq!(
            contents(&torn, 4_096).unwrap(),
            records(whole),
            "{kept} bytes"
        );
        check_goes_on(&torn, records(whole));
    }
}

#[test]
fn the_middle_of_an_unsynced_write_may_be_lost() {
    let (memory, disk) = faulty();
    let mut journal = open(&disk, 1 << 20);
    journal.append(1, b"durable").unwrap();
    journal.sync().unwrap();
    let lost = journal.append(2, &[2; 600]).unwrap();
    journal.append(3, &[3; 600]).unwrap();
    disk.fail_next(crate::Operation::Sync, ErrorKind::Other);
    journal.sync().unwrap_err();
    drop(journal);
    // All of it reached the disk but for one sector's worth, in the header of the first.
    let file = memory.open(
        &format!("{DIR}/0000000000.journal"),
        crate::OpenMode::Existing,
    );
    file.unwrap().write_at(64 + lost.0, &[0; 100]).unwrap();
    let found = contents(&memory, 1 << 20).unwrap();
    assert_eq!(found, [(1, b"durable".to_vec())], "a torn tail, no damage");
    // The good record behind it was cut as well: it doesn't come back behind others.
    let mut journal = open(&memory, 1 << 20);
    journal.append(4, &[4; 600]).unwrap();
    journal.sync().unwrap();
    drop(journal);
    assert_eq!(contents(&memory, 1 << 20).unwrap().len(), 2);
}

#[test]
fn whatever_a_crash_undoes_of_a_drop_leaves_no_gap() {
    let run = |disk: &FaultyDisk| {
        let mut journal = open(disk, SEGMENT_BYTES);
        for (kind, bytes) in records(RECORDS) {
            journal.append(kind, &bytes).unwrap();
        }
        let end = journal.sync().unwrap();
        let before = (disk.operations(), journal.stats().segments);
        (before, end, journal)
    };
    for removed in 0..3 {
        for seed in 0..4 * SEEDS {
            let (memory, disk) = faulty();
            let ((operations, segments), end, mut journal) = run(&disk);
            assert!(segments >= 4);
            // The last of these operations isn't synced.
            disk.fail_from(operations + 2 * removed + 1, ErrorKind::Other);
            journal.drop_below(end).unwrap_err();
            memory.crash(&mut random(seed));
            let found = contents(&memory, SEGMENT_BYTES).unwrap();
            assert_eq!(found, records(RECORDS)[RECORDS - found.len()..]);
        }
    }
    // Without a failure, but with the crash: every removal was synced before the next.
    for seed in 0..4 * SEEDS {
        let (memory, disk) = faulty();
        let (_, end, mut journal) = run(&disk);
        journal.drop_below(end).unwrap();
        memory.crash(&mut random(seed));
        let (journal, _) = Journal::open(Arc::new(memory), DIR, options(SEGMENT_BYTES)).unwrap();
        assert_eq!(
            journal.stats().segments,
            1,
            "what was dropped stays dropped"
        );
    }
}

#[test]
fn crashes_lose_something() {
    // The canary: if no crash lost a record, the tests above would prove nothing.
    let (_, whole) = faulty();
    work(&whole);
    let (mut fewer, mut more) = (0, 0);
    for operation in 0..whole.operations() {
        for seed in 0..SEEDS {
            let (memory, disk) = faulty();
            disk.fail_from(operation, ErrorKind::Other);
            let progress = work(&disk);
            memory.crash(&mut random(seed));
            let end = check(&contents(&memory, SEGMENT_BYTES).unwrap(), &progress);
            fewer += u32::from(end < progress.appended);
            more += u32::from(end > progress.acknowledged);
        }
    }
    assert!(
        fewer > 100 && more > 100,
        "{fewer} lost some, {more} kept some that were not acknowledged"
    );
}
