//! Bit rot, lost files, files that belong elsewhere: found and named, never served.

use super::*;
use crate::{OpenMode, Position};

const SEGMENT_BYTES: u64 = 300;

fn path(number: u64) -> String {
    format!("{DIR}/{number:010}.journal")
}

/// A journal of some segments, a sync after every other record. Gives its records' positions.
fn journal(disk: &MemoryDisk, count: usize) -> Vec<Position> {
    let mut journal = open(disk, SEGMENT_BYTES);
    for n in 0..count {
        let (kind, bytes) = record(n);
        journal.append(kind, &bytes).unwrap();
        if n % 2 == 1 {
            journal.sync().unwrap();
        }
    }
    journal.sync().unwrap();
    let records = journal.replay(Position::ZERO);
    records.map(|record| record.unwrap().position).collect()
}

fn read(disk: &MemoryDisk, path: &str) -> Vec<u8> {
    let file = disk.open(path, OpenMode::Existing).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}

fn write(disk: &MemoryDisk, path: &str, bytes: &[u8]) {
    let file = disk.open(path, OpenMode::Any).unwrap();
    file.truncate(bytes.len() as u64).unwrap();
    file.write_at(0, bytes).unwrap();
}

fn segments(disk: &MemoryDisk) -> u64 {
    disk.list(DIR).unwrap().len() as u64
}

#[test]
fn a_flipped_bit_anywhere_is_an_error_or_costs_no_more_than_the_last_sync() {
    let count = 14;
    let original = MemoryDisk::new();
    let positions = journal(&original, count);
    let numbers = segments(&original);
    assert!(numbers >= 4);
    // Nothing testifies to the last sync: it held the last two records.
    let last_sync = positions[count - 2].0;
    let mut last_header = [0; 8];
    last_header.copy_from_slice(&read(&original, &path(numbers - 1))[52..60]);
    let last_first = u64::from_le_bytes(last_header);
    let (mut refused, mut cut, mut harmless) = (0, 0, 0);
    for number in 0..numbers {
        let len = read(&original, &path(number)).len() as u64;
        for (offset, bit) in (0..len).flat_map(|o| (0..8).map(move |b| (o, b))) {
            let disk = MemoryDisk::new();
            journal(&disk, count);
            disk.flip_bit(&path(number), offset, bit).unwrap();
            match contents(&disk, SEGMENT_BYTES) {
                Err(error) => {
                    assert!(error.to_string().contains(&path(number)), "{error}");
                    refused += 1;
                }
                Ok(found) if found.len() == count => {
                    assert_eq!(found, records(count));
                    harmless += 1;
                }
                Ok(found) => {
                    assert_eq!(found, records(found.len()), "a prefix");
                    let at = last_first + offset - 64;
                    assert!(
                        number == numbers - 1 && at >= last_sync,
                        "{number} {offset}"
                    );
                    cut += 1;
                }
            }
        }
    }
    assert!(
        refused > 0 && cut > 0 && harmless > 0,
        "{refused} {cut} {harmless}"
    );
}

#[test]
fn damage_before_what_was_synced_later_is_refused_and_named() {
    let disk = MemoryDisk::new();
    let mut journal = open(&disk, 4_096);
    let mut positions = Vec::new();
    for (kind, bytes) in records(6) {
        positions.push(journal.append(kind, &bytes).unwrap().0);
        journal.sync().unwrap();
    }
    drop(journal);
    for in_record in [0, 4, 8, 9, 13, 17] {
        let offset = 64 + positions[3] + in_record;
        disk.flip_bit(&path(0), offset, 3).unwrap();
        let error = contents(&disk, 4_096).unwrap_err();
        let JournalError::Damaged {
            file,
            offset: at,
            position,
            ..
        } = &error
        else {
            panic!("{error}");
        };
        assert_eq!(
            (file, *at, position.0),
            (&path(0), 64 + positions[3], positions[3])
        );
        assert!(
            error
                .to_string()
                .contains("don't cut it, nor put an older copy back"),
            "{error}"
        );
        disk.flip_bit(&path(0), offset, 3).unwrap();
        assert_eq!(
            contents(&disk, 4_096).unwrap(),
            records(6),
            "refusing changes nothing"
        );
    }
}

#[test]
fn damage_in_a_sealed_segment_is_found_by_whoever_reads_it() {
    let disk = MemoryDisk::new();
    let positions = journal(&disk, 20);
    disk.flip_bit(&path(1), 70, 0).unwrap();
    let (journal, replay) =
        Journal::open(Arc::new(disk.clone()), DIR, options(SEGMENT_BYTES)).unwrap();
    let found: Vec<_> = replay.collect();
    assert!(matches!(
        found.last(),
        Some(Err(JournalError::Damaged { .. }))
    ));
    assert!(
        found[..found.len() - 1].iter().all(Result::is_ok),
        "it ends with the error"
    );
    assert!(journal.read(positions[0]).is_ok());
    assert!(journal.read(positions[19]).is_ok());
    assert!(journal.read(positions[found.len() - 1]).is_err());
}

#[test]
fn a_lost_segment_is_missed() {
    let disk = MemoryDisk::new();
    journal(&disk, 20);
    disk.remove(&path(1)).unwrap();
    let error = contents(&disk, SEGMENT_BYTES).unwrap_err();
    assert!(
        matches!(error, JournalError::SegmentMissing { missing: 1, .. }),
        "{error}"
    );
}

#[test]
fn a_segment_that_lost_its_end_is_refused() {
    for kept in [0, 10, 63, 64, 100] {
        let disk = MemoryDisk::new();
        journal(&disk, 20);
        let whole = read(&disk, &path(1));
        write(&disk, &path(1), &whole[..kept]);
        let error = contents(&disk, SEGMENT_BYTES).unwrap_err();
        assert!(
            matches!(&error, JournalError::Damaged { file, .. } if *file == path(1)),
            "{error}"
        );
    }
}

#[test]
fn a_segment_under_another_name_or_from_another_journal_is_refused() {
    let disk = MemoryDisk::new();
    journal(&disk, 20);
    write(&disk, &path(1), &read(&disk, &path(2)));
    let error = contents(&disk, SEGMENT_BYTES).unwrap_err();
    assert!(
        error.to_string().contains("segment 2 under another name"),
        "{error}"
    );

    // Segment 1 of the same directory's journal, but of a run that went differently.
    let (here, there) = (MemoryDisk::new(), MemoryDisk::new());
    journal(&here, 20);
    let mut other = open(&there, SEGMENT_BYTES);
    for _ in 0..9 {
        other.append(1, &[1; 100]).unwrap();
    }
    other.sync().unwrap();
    write(&here, &path(1), &read(&there, &path(1)));
    assert!(contents(&here, SEGMENT_BYTES).is_err());
}

#[test]
fn the_journal_of_another_chain_is_refused() {
    let disk = MemoryDisk::new();
    journal(&disk, 3);
    let other = Options::for_directory(Digest([8; 32]));
    let error = Journal::open(Arc::new(disk.clone()), DIR, other).unwrap_err();
    assert!(matches!(error, JournalError::Foreign { .. }), "{error}");
    assert!(error.to_string().contains("0707") && error.to_string().contains("0808"));
}

#[test]
fn a_newer_format_is_refused_with_its_number() {
    let disk = MemoryDisk::new();
    journal(&disk, 3);
    let mut bytes = read(&disk, &path(0));
    bytes[8] = 2;
    let crc = crc32fast::hash(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    write(&disk, &path(0), &bytes);
    let error = contents(&disk, SEGMENT_BYTES).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "{} has format 2, this version reads format 1: use the version that wrote it",
            path(0)
        )
    );
}

#[test]
fn files_that_are_no_segments_are_left_alone() {
    let disk = MemoryDisk::new();
    journal(&disk, 3);
    write(&disk, &format!("{DIR}/notes.txt"), b"mine");
    write(&disk, &format!("{DIR}/1.journal"), b"mine");
    assert_eq!(contents(&disk, SEGMENT_BYTES).unwrap(), records(3));
    assert_eq!(read(&disk, &format!("{DIR}/notes.txt")), b"mine");
    write(&disk, &path(segments(&disk) - 2), &[b'x'; 200]);
    let error = contents(&disk, SEGMENT_BYTES).unwrap_err();
    assert!(matches!(error, JournalError::NotASegment { .. }), "{error}");
}

#[test]
fn an_unfinished_segment_is_removed() {
    let disk = MemoryDisk::new();
    journal(&disk, 3);
    let unfinished = format!("{DIR}/0000000009.journal.new");
    write(&disk, &unfinished, b"half a header");
    assert_eq!(contents(&disk, SEGMENT_BYTES).unwrap(), records(3));
    assert!(disk.open(&unfinished, OpenMode::Existing).is_err());
}

#[test]
fn a_stale_record_behind_the_end_is_not_taken_for_the_next() {
    let disk = MemoryDisk::new();
    let mut journal = open(&disk, 4_096);
    for _ in 0..3 {
        journal.append(1, &[9; 40]).unwrap();
    }
    let end = journal.sync().unwrap();
    drop(journal);
    // A copy of the second record, exactly where the fourth would begin.
    let bytes = read(&disk, &path(0));
    let file = disk.open(&path(0), OpenMode::Existing).unwrap();
    file.write_at(64 + end.0, &bytes[64 + 57..64 + 2 * 57])
        .unwrap();
    assert_eq!(contents(&disk, 4_096).unwrap().len(), 3);
}

#[test]
fn however_many_records_power_tore_their_tail_is_cut() {
    let disk = MemoryDisk::new();
    let mut journal = open(&disk, 64 << 10);
    journal.append(1, b"first").unwrap();
    journal.sync().unwrap();
    let mut torn = Vec::new();
    for n in 0..900 {
        let at = journal.append(1, &[1; 20]).unwrap().0;
        // Every third arrived whole.
        if n % 3 != 1 {
            torn.push(64 + at + 17);
        }
    }
    drop(journal);
    for offset in torn {
        disk.flip_bit(&path(0), offset, 0).unwrap();
    }
    let found = contents(&disk, 64 << 10).unwrap();
    assert_eq!(found, [(1, b"first".to_vec())]);
}

#[test]
fn a_tail_of_records_laid_over_each_other_is_refused_not_read_for_ever() {
    for (headers, is_refused) in [(3, false), (1_000, true)] {
        let disk = MemoryDisk::new();
        let mut journal = open(&disk, 64 << 10);
        journal.append(1, b"first").unwrap();
        journal.sync().unwrap();
        drop(journal);
        let bytes = read(&disk, &path(0));
        let mut directory = [0; 32];
        directory.copy_from_slice(&bytes[12..44]);
        let framer = crate::format::Framer::new(&violeta_types::Digest(directory));
        let file = disk.open(&path(0), OpenMode::Existing).unwrap();
        file.write_at((64 << 10) - 1, &[0]).unwrap();
        file.write_at(64 + 22, &[9; 18]).unwrap();
        // Where the next record would begin is none; then good headers, one after the other, each of a long record that
        // isn't there.
        for n in 0..headers {
            let (position, mut frame) = (40 + 17 * n, Vec::new());
            framer.encode(position, 0, 1, &[&[7; 30_000]], &mut frame);
            file.write_at(64 + position, &frame[..17]).unwrap();
        }
        let found = contents(&disk, 64 << 10);
        assert_eq!(found.is_err(), is_refused, "{headers}: {found:?}");
    }
}
