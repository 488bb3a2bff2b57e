//! What a disk in memory makes of a crash, and of being full.

use super::*;
use crate::disk::create_dirs;

/// Random numbers of a seed (a linear congruence, its upper half).
fn random(mut seed: u64) -> impl FnMut() -> u64 {
    move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005);
        seed = seed.wrapping_add(1_442_695_040_888_963_407);
        seed >> 32
    }
}

fn read(disk: &MemoryDisk, path: &str) -> Option<Vec<u8>> {
    let file = disk.open(path, OpenMode::Existing).ok()?;
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(0, &mut bytes).unwrap();
    Some(bytes)
}

/// A file with synced content and a synced name; then writes that aren't synced.
fn with_unsynced(seed: u64) -> MemoryDisk {
    let disk = MemoryDisk::new();
    let file = disk.open("x", OpenMode::New).unwrap();
    file.write_at(0, &[1; 1_000]).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir("").unwrap();
    file.write_at(1_000, &[2; 1_000]).unwrap();
    file.write_at(2_000, &[3; 1_000]).unwrap();
    disk.crash(&mut random(seed));
    disk
}

#[test]
fn a_crash_keeps_what_was_synced_and_any_part_of_the_rest() {
    let mut seen = BTreeSet::new();
    for seed in 0..300 {
        let bytes = read(&with_unsynced(seed), "x").unwrap();
        assert_eq!(bytes[..1_000], [1; 1_000]);
        for (at, byte) in bytes.iter().enumerate() {
            assert!(*byte == 0 || usize::from(*byte) == at / 1_000 + 1, "{at}");
        }
        let kept = |n: u8| bytes.iter().filter(|b| **b == n).count();
        let part = |n: u8| match kept(n) {
            0 => "none",
            1_000 => "all",
            _ => "torn",
        };
        seen.insert((part(2), part(3)));
    }
    assert_eq!(seen.len(), 9, "every combination happens: {seen:?}");
}

#[test]
fn a_crash_depends_on_nothing_but_its_random_numbers() {
    for seed in 0..50 {
        let (one, two) = (with_unsynced(seed), with_unsynced(seed));
        assert_eq!(read(&one, "x"), read(&two, "x"));
        assert_eq!(one.used_bytes(), read(&one, "x").unwrap().len() as u64);
    }
}

#[test]
fn names_that_were_not_synced_may_be_lost_and_renames_are_atomic() {
    let mut seen = BTreeSet::new();
    for seed in 0..300 {
        let disk = MemoryDisk::new();
        create_dirs(&disk, "d").unwrap();
        let old = disk.open("d/a", OpenMode::New).unwrap();
        old.write_at(0, b"a").unwrap();
        old.sync_data().unwrap();
        disk.sync_dir("d").unwrap();
        disk.rename("d/a", "d/b").unwrap();
        disk.open("d/c", OpenMode::New).unwrap();
        disk.crash(&mut random(seed));
        let names = disk.list("d").unwrap();
        let (a, b) = (read(&disk, "d/a"), read(&disk, "d/b"));
        assert_eq!(a.or(b), Some(b"a".to_vec()), "{names:?}");
        assert!(!(names.contains(&"a".into()) && names.contains(&"b".into())));
        seen.insert(names);
    }
    assert_eq!(seen.len(), 4, "{seen:?}");
}

#[test]
fn a_file_in_a_directory_without_a_durable_name_is_lost() {
    let disk = MemoryDisk::new();
    disk.create_dir("d").unwrap();
    let file = disk.open("d/x", OpenMode::New).unwrap();
    file.write_at(0, b"x").unwrap();
    file.sync_data().unwrap();
    disk.sync_dir("d").unwrap();
    disk.crash(&mut || 0);
    assert_eq!(disk.list("").unwrap(), [""; 0]);
    assert_eq!(disk.used_bytes(), 0);
}

#[test]
fn files_and_locks_of_before_a_crash_are_of_no_use() {
    let disk = MemoryDisk::new();
    let file = disk.open("x", OpenMode::New).unwrap();
    disk.sync_dir("").unwrap();
    let before = disk.lock("").unwrap();
    disk.crash(&mut || 0);
    let error = file.write_at(0, b"late").unwrap_err();
    assert!(error.to_string().contains("opened before the disk crashed"));
    assert!(file.sync_data().is_err() && file.len().is_err());
    let _after = disk.lock("").unwrap();
    drop(before);
    assert!(disk.lock("").is_err(), "an old lock frees nothing");
}

#[test]
fn a_full_disk_takes_what_fits_and_gives_room_back() {
    let disk = MemoryDisk::new();
    disk.set_capacity(Some(100));
    let file = disk.open("x", OpenMode::New).unwrap();
    let full = file.write_at(0, &[1; 150]).unwrap_err();
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    assert_eq!((file.len().unwrap(), disk.used_bytes()), (100, 100));
    file.write_at(50, &[2; 50]).unwrap();
    assert!(file.write_at(100, &[1]).is_err());
    assert!(file.allocate(101).is_err());
    file.truncate(60).unwrap();
    assert_eq!(disk.used_bytes(), 60);
    let other = disk.open("y", OpenMode::New).unwrap();
    assert!(other.allocate(41).is_err());
    other.allocate(40).unwrap();
    disk.remove("x").unwrap();
    assert_eq!(disk.used_bytes(), 40);
    disk.open("z", OpenMode::New).unwrap().allocate(10).unwrap();
    disk.rename("z", "y").unwrap();
    assert_eq!(disk.used_bytes(), 10);
    disk.open("w", OpenMode::New).unwrap().allocate(90).unwrap();
}

#[test]
fn room_that_is_reserved_costs_no_memory() {
    let disk = MemoryDisk::new();
    let file = disk.open("x", OpenMode::New).unwrap();
    file.allocate(1 << 40).unwrap();
    file.write_at(1 << 39, b"x").unwrap();
    file.sync_data().unwrap();
    assert_eq!(disk.used_bytes(), 1 << 40);
}
