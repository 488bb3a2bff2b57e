//! What bounds an import, and what it does when a disk doesn't keep what it was given.

use violeta_journal::MemoryDisk;
use violeta_proof::tree::{CHUNK_BYTES_MAX, KeyPath, PathRange};

use super::*;
use crate::limits::{IMPORT_OPEN_SPACES_MAX, IMPORT_RANGES_MAX};
use crate::snapshot::Snapshot;

/// A snapshot of a store with what the batch makes.
fn peer(batch: &Batch) -> Snapshot {
    let store = Store::open(Arc::new(MemoryDisk::new()), "", Options::default()).unwrap();
    let mut writer = store.writer().unwrap();
    let staged = writer.stage(batch).unwrap();
    writer.commit(Height(9), staged).unwrap();
    store.latest()
}

fn importer(disk: &MemoryDisk, peer: &Snapshot) -> Importer {
    let disk = Arc::new(disk.clone());
    Importer::open(disk, "", Options::default(), Height(9), peer.root()).unwrap()
}

fn fetch(peer: &Snapshot, place: &ChunkPlace, bytes: usize) -> VerifiedChunk {
    let chunk = peer.chunk(place, bytes).unwrap();
    chunk.verify(&peer.root()).unwrap()
}

fn keys_of(space: &[u8], range: PathRange) -> ChunkPlace {
    let space = Some(space.try_into().unwrap());
    ChunkPlace { space, range }
}

#[test]
fn what_comes_together_in_memory_is_committed_part_by_part() {
    let mut batch = Batch::new();
    batch.create_space(b"s");
    (0..12u8).for_each(|key| batch.put(b"s", &[key], vec![key; 3 << 20]));
    let peer = peer(&batch);
    let disk = MemoryDisk::new();
    let mut importer = importer(&disk, &peer);
    while let Some(place) = importer.missing(1).first() {
        importer.add(fetch(&peer, place, CHUNK_BYTES_MAX)).unwrap();
        assert!(importer.pending.bytes < IMPORT_BATCH_BYTES);
    }
    assert_eq!(importer.store.stats().versions, 1, "the first part");
    let store = importer.finish().unwrap();
    assert_eq!(store.stats().versions, 1, "of two");
    assert_eq!(store.verify().unwrap().keys, 12);
}

#[test]
fn while_the_disk_is_full_no_more_comes_together_in_memory_than_one_part() {
    let mut batch = Batch::new();
    batch.create_space(b"s");
    (0..24u8).for_each(|key| batch.put(b"s", &[key], vec![key; 3 << 20]));
    let peer = peer(&batch);
    let disk = MemoryDisk::new();
    let mut importer = importer(&disk, &peer);
    disk.set_capacity(Some(disk.used_bytes()));
    let (mut refused, mut before) = (0, None);
    while refused < 5
        && let Some(place) = importer.missing(1).first()
    {
        let chunk = fetch(&peer, place, CHUNK_BYTES_MAX);
        if importer.add(chunk).is_err() {
            refused += 1;
            let now = (importer.pending.bytes, importer.keys());
            assert_eq!(*before.get_or_insert(now), now, "nothing more was taken");
        }
    }
    assert_eq!(refused, 5);
    assert!(importer.pending.bytes < 2 * IMPORT_BATCH_BYTES);
    disk.set_capacity(None);
    while let Some(place) = importer.missing(1).first() {
        importer.add(fetch(&peer, place, CHUNK_BYTES_MAX)).unwrap();
    }
    assert_eq!(importer.finish().unwrap().verify().unwrap().keys, 24);
}

#[test]
fn what_the_disk_did_not_keep_makes_no_store() {
    let mut batch = Batch::new();
    batch.create_space(b"s");
    batch.put(b"s", b"k", "v");
    let peer = peer(&batch);
    let disk = MemoryDisk::new();
    let mut importer = importer(&disk, &peer);
    while let Some(place) = importer.missing(1).first() {
        importer.add(fetch(&peer, place, 1)).unwrap();
    }
    let [space, key, value] = ["s", "k", "another"].map(Bytes::from);
    importer.pending.put(&space, &key, &value);
    let error = importer.finish().unwrap_err();
    assert!(matches!(error, ImportError::OtherContent { expected, .. } if expected == peer.root()));
    let refused = Store::open(Arc::new(disk), "", Options::default());
    assert!(matches!(refused, Err(StoreError::Importing { .. })));
}

#[test]
fn no_more_spaces_are_listed_than_become_whole() {
    let mut batch = Batch::new();
    for space in 0..2 * IMPORT_OPEN_SPACES_MAX as u32 {
        batch.create_space(&space.to_le_bytes());
        batch.put(&space.to_le_bytes(), b"k", "v");
    }
    let peer = peer(&batch);
    let mut importer = importer(&MemoryDisk::new(), &peer);
    let is_list = |importer: &Importer| importer.missing(1)[0].space.is_none();
    let keys = |space: u32| {
        let place = keys_of(&space.to_le_bytes(), PathRange::ALL);
        fetch(&peer, &place, 1)
    };

    // Unasked: whole spaces, before they are listed. The list is asked for nevertheless.
    let mut spaces = 0..;
    let refused = spaces.find_map(|space| importer.add(keys(space)).err());
    assert!(matches!(refused, Some(ImportError::TooMuchBegun)));
    assert!(spaces.start > 1_000 && is_list(&importer));

    let mut list = ChunkPlace::SPACES;
    while importer.missing(usize::MAX).len() <= IMPORT_OPEN_SPACES_MAX {
        let chunk = fetch(&peer, &list, 100_000);
        list = chunk.rest().unwrap();
        importer.add(chunk).unwrap();
    }
    assert!(!is_list(&importer));
    let of_the_list = fetch(&peer, &list, 1_000);
    let refused = importer.add(of_the_list.clone());
    assert!(matches!(refused, Err(ImportError::TooMuchBegun)));
    while !is_list(&importer) {
        importer
            .add(fetch(&peer, &importer.missing(1)[0], 1))
            .unwrap();
    }
    importer.add(of_the_list).unwrap();
}

#[test]
fn there_is_always_room_for_what_is_missing_first() {
    let key = |n: u32| n.to_le_bytes();
    let mut batch = Batch::new();
    batch.create_space(b"s");
    let mut paths: Vec<_> = (0..2 * IMPORT_RANGES_MAX as u32 + 9)
        .map(|n| {
            batch.put(b"s", &key(n), "v");
            KeyPath::of(&key(n))
        })
        .collect();
    paths.sort_unstable();
    let peer = peer(&batch);
    let mut importer = importer(&MemoryDisk::new(), &peer);
    importer.add(fetch(&peer, &ChunkPlace::SPACES, 1)).unwrap();
    let point = |path: KeyPath| fetch(&peer, &keys_of(b"s", PathRange::point(path)), 1);
    let mut others = paths.iter().skip(3).step_by(2);
    for path in others.by_ref().take(IMPORT_RANGES_MAX) {
        importer.add(point(*path)).unwrap();
    }
    let one_more = others.next().unwrap();
    let refused = importer.add(point(*one_more));
    assert!(matches!(refused, Err(ImportError::TooMuchBegun)));
    // What closes a gap is taken, and what comes first.
    importer
        .add(fetch(&peer, &importer.missing(1)[0], 1))
        .unwrap();
    let gap = importer.missing(40)[30].clone();
    importer.add(fetch(&peer, &gap, 1_000)).unwrap();
    importer.add(point(*one_more)).unwrap();
}
