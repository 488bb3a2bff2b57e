//! Disks that fail, or are full.

use std::io::ErrorKind;

use super::*;
use crate::{Operation, Position};

/// A journal with three durable records and one that isn't.
fn prepared(disk: &FaultyDisk) -> Journal {
    let mut journal = open(disk, 4_096);
    for (kind, bytes) in records(3) {
        journal.append(kind, &bytes).unwrap();
    }
    journal.sync().unwrap();
    let (kind, bytes) = record(3);
    journal.append(kind, &bytes).unwrap();
    journal
}

#[test]
fn a_failed_write_or_sync_is_final() {
    for operation in [Operation::Write, Operation::Sync] {
        let (_, disk) = faulty();
        let mut journal = prepared(&disk);
        let reader = journal.reader();
        disk.fail_next(operation, ErrorKind::Other);
        let error = journal.sync().unwrap_err();
        assert!(matches!(error, JournalError::Disk(_)), "{error}");
        // The disk is fine again: the journal isn't.
        for again in [
            journal.sync().unwrap_err(),
            journal.append(1, b"x").unwrap_err(),
            journal.drop_below(Position(1)).unwrap_err(),
        ] {
            assert!(matches!(&again, JournalError::Failed { .. }), "{again}");
            assert!(
                again.to_string().contains("open the journal again"),
                "{again}"
            );
        }
        assert_eq!(reader.replay(Position::ZERO).count(), 3);
        drop(journal);
        let found = contents(&disk, 4_096).unwrap();
        assert!(
            found == records(3) || found == records(4),
            "{}",
            found.len()
        );
    }
}

#[test]
fn a_failed_read_is_an_error_and_the_next_one_works() {
    let (_, disk) = faulty();
    let mut journal = prepared(&disk);
    disk.fail_next(Operation::Read, ErrorKind::Other);
    let error = journal.read(Position::ZERO).unwrap_err();
    assert!(matches!(error, JournalError::Disk(_)), "{error}");
    assert!(journal.read(Position::ZERO).is_ok());
    journal.sync().unwrap();
}

#[test]
fn refused_records_change_nothing() {
    let (_, disk) = faulty();
    let mut journal = prepared(&disk);
    let before = journal.stats();
    journal.append(0, b"x").unwrap_err();
    journal
        .append(1, &vec![0; crate::RECORD_BYTES_MAX + 1])
        .unwrap_err();
    assert_eq!(journal.stats(), before);
    journal.sync().unwrap();
    assert_eq!(journal.replay(Position::ZERO).count(), 4);
}

#[test]
fn a_full_disk_keeps_what_was_synced_and_goes_on_once_there_is_room() {
    for capacity in (0..6_000).step_by(97) {
        let disk = MemoryDisk::new();
        disk.set_capacity(Some(capacity));
        let mut acknowledged = 0;
        let filled = (|| {
            let (mut journal, _) = Journal::open(Arc::new(disk.clone()), DIR, options(512))?;
            for n in 0..200 {
                let (kind, bytes) = record(n);
                journal.append(kind, &bytes)?;
                journal.sync()?;
                acknowledged = n + 1;
            }
            Ok(())
        })();
        let Err(JournalError::Disk(error)) = filled else {
            panic!("{filled:?}");
        };
        assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
        assert!(disk.used_bytes() <= capacity);
        if acknowledged > 0 {
            // Still full: what there is can be opened and read.
            let found = contents(&disk, 512).unwrap();
            assert_eq!(found, records(acknowledged), "at {capacity}");
        }
        disk.set_capacity(None);
        let mut journal = open(&disk, 512);
        let (kind, bytes) = record(acknowledged);
        journal.append(kind, &bytes).unwrap();
        journal.sync().unwrap();
        drop(journal);
        assert_eq!(contents(&disk, 512).unwrap(), records(acknowledged + 1));
    }
}

#[test]
fn any_one_failed_operation_costs_nothing_acknowledged() {
    let (_, whole) = faulty();
    let run = |disk: &FaultyDisk| {
        let mut acknowledged = 0;
        let _ = (|| {
            let (mut journal, _) = Journal::open(Arc::new(disk.clone()), DIR, options(400))?;
            for (n, (kind, bytes)) in records(20).into_iter().enumerate() {
                journal.append(kind, &bytes)?;
                journal.sync()?;
                acknowledged = n + 1;
            }
            Ok::<_, JournalError>(())
        })();
        acknowledged
    };
    assert_eq!(run(&whole), 20);
    for operation in 0..whole.operations() {
        let (_, disk) = faulty();
        disk.fail_at(operation, ErrorKind::Other);
        let acknowledged = run(&disk);
        let found = contents(&disk, 400).unwrap();
        assert!(found.len() >= acknowledged, "operation {operation}");
        assert_eq!(found, records(found.len()));
    }
}
