//! What the index finds, and when it is made anew.

use std::sync::Arc;

use super::*;
use crate::fixture::{block, certified, chain, seal, spoil_index, tx};
use violeta_types::Digest;
use violeta_types::api::EventKind;

fn open(dir: &tempfile::TempDir, journal_end: u64) -> Opened {
    Index::open(&dir.path().join("index"), &chain(), journal_end, true).unwrap()
}

fn meta(high: u64) -> Meta {
    Meta {
        high,
        height: Height(high / 100),
        ..Meta::default()
    }
}

fn vertex(i: u8) -> VertexId {
    VertexId(Digest([i; 32]))
}

fn some_entries() -> Vec<(u64, Entry)> {
    vec![
        (100, Entry::Vertex(vertex(1))),
        (200, Entry::Commit(CommitIndex(6))),
        (300, Entry::Block(Arc::new(block(3, &[31, 30, 32])))),
        (400, Entry::Certified(Arc::new(certified(3)))),
        (500, Entry::Seal(seal(3))),
        (600, Entry::Block(Arc::new(block(4, &[40])))),
        (700, Entry::Certified(Arc::new(certified(7)))),
        (800, Entry::Nothing),
    ]
}

#[test]
fn everything_is_found_by_its_name_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(&dir, 0).index;
    index.apply(&some_entries(), &meta(900)).unwrap();
    assert_eq!(index.vertex(&vertex(1)).unwrap(), Some(100));
    assert_eq!(index.vertex(&vertex(2)).unwrap(), None);
    assert_eq!(index.commit(CommitIndex(6)).unwrap(), Some(200));
    assert_eq!(index.commit(CommitIndex(7)).unwrap(), None);
    assert_eq!(index.block(Height(3)).unwrap(), Some(300));
    assert_eq!(index.head(Height(3)).unwrap(), Some(block(3, &[]).head));
    assert_eq!(index.head(Height(5)).unwrap(), None);
    assert_eq!(index.certified(Height(3)).unwrap(), Some(400));
    assert_eq!(index.certified(Height(4)).unwrap(), None);
    assert_eq!(
        index.certified_from(Height(4)).unwrap(),
        Some((Height(7), 700))
    );
    assert_eq!(index.certified_from(Height(8)).unwrap(), None);
    let vouched = index.vouched_from(CommitIndex(7)).unwrap();
    assert_eq!(vouched, Some((CommitIndex(14), Height(7))));
    for (index_max, found) in [
        (5, None),
        (6, Some((6, 3))),
        (13, Some((6, 3))),
        (14, Some((14, 7))),
    ] {
        let found = found.map(|(commit, height)| (CommitIndex(commit), Height(height)));
        assert_eq!(index.vouched_upto(CommitIndex(index_max)).unwrap(), found);
    }
    assert_eq!(index.seal(Height(3)).unwrap(), Some(500));
    for (i, place) in [(31, 0), (30, 1), (32, 2)] {
        assert_eq!(index.transaction(&tx(i)).unwrap(), Some((Height(3), place)));
    }
    assert_eq!(index.transaction(&tx(40)).unwrap(), Some((Height(4), 0)));
    assert_eq!(index.transaction(&tx(99)).unwrap(), None);
}

#[test]
fn the_history_is_kept_as_the_perfect_subtrees_over_all_heads() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(&dir, 0).index;
    let ids: Vec<Digest> = (1..=21).map(|h| block(h, &[]).head.id().0).collect();
    // In portions of different sizes, as the writer happens to be fast.
    for heights in [1..2, 2..8, 8..9, 9..20u64] {
        let end = heights.end;
        let entries = heights.map(|h| (100 * h, Entry::Block(Arc::new(block(h, &[])))));
        index
            .apply(&entries.collect::<Vec<_>>(), &meta(100 * end))
            .unwrap();
        for level in 0..6 {
            for at in 0..21 >> level {
                let node = Perfect { level, index: at };
                let (start, after) = ((at << level) as usize, ((at + 1) << level) as usize);
                let expected = HISTORY.root(ids[start..after].iter().copied());
                let expected = ((after as u64) < end).then_some(expected);
                assert_eq!(
                    index.history(node).unwrap(),
                    expected,
                    "{node:?} below {end}"
                );
            }
        }
    }
}

#[test]
fn events_come_after_their_cursor_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(&dir, 0).index;
    let cursor = |height, sequence| Cursor {
        height: Height(height),
        sequence,
    };
    let event = |cursor| ChainEvent {
        cursor,
        kind: EventKind::Evidence {
            validator: 0.into(),
            what: String::new(),
        },
    };
    let cursors = [cursor(1, 0), cursor(1, 1), cursor(2, 0), cursor(300, 0)];
    let entries: Vec<_> = cursors
        .iter()
        .map(|&c| (1, Entry::Event(event(c))))
        .collect();
    index.apply(&entries, &meta(1)).unwrap();
    let found = |after, count| -> Vec<Cursor> {
        let events = index.events(after, count).unwrap();
        events.iter().map(|e| e.cursor).collect()
    };
    assert_eq!(found(Cursor::default(), 10), cursors);
    assert_eq!(found(cursor(1, 0), 2), cursors[1..3]);
    assert_eq!(found(cursor(1, 5), 10), cursors[2..]);
    assert!(found(cursor(300, 0), 10).is_empty());
}

#[test]
fn an_index_that_was_closed_or_whose_process_died_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(&dir, 0);
    assert_eq!(first.made_anew, Some("there is none"));
    first.index.apply(&some_entries(), &meta(900)).unwrap();
    first.index.close().unwrap();
    let second = open(&dir, 900);
    assert_eq!(second.made_anew, None);
    assert_eq!(second.index.meta().unwrap(), meta(900));
    assert_eq!(second.index.height(), Height(9));
    // Closed without having been synced, as when the process is killed.
    assert!(second.index.shut());
    assert_eq!(open(&dir, 900).made_anew, None);
}

#[test]
fn an_index_of_another_chain_boot_or_journal_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index");
    let fill = || {
        let opened = open(&dir, u64::MAX);
        opened.index.apply(&some_entries(), &meta(900)).unwrap();
        opened.index.close().unwrap();
    };
    fill();
    let other = ChainId(Digest([2; 32]));
    let opened = Index::open(&path, &other, 900, true).unwrap();
    assert_eq!(opened.made_anew, Some("it is of another chain"));
    assert_eq!(opened.index.meta().unwrap(), Meta::default());
    assert_eq!(opened.index.commit(CommitIndex(6)).unwrap(), None);
    opened.index.close().unwrap();

    fill();
    assert_eq!(
        open(&dir, 899).made_anew,
        Some("it knows of more than the journal")
    );
    fill();
    std::fs::write(path.join("boot"), "the boot before").unwrap();
    let reason = "the machine went down while it was open";
    assert_eq!(open(&dir, 900).made_anew, Some(reason));
    fill();
    let opened = Index::open(&path, &chain(), 900, false).unwrap();
    assert_eq!(
        opened.made_anew,
        Some("tuning.index_transactions was changed")
    );
    opened.index.close().unwrap();
    fill();
    std::fs::write(path.join("data.mdb"), [0xab; 100_000]).unwrap();
    assert_eq!(open(&dir, 900).made_anew, Some("it can't be opened"));
}

/// An index of many pages, closed; gives the length of its file.
fn many_pages(dir: &tempfile::TempDir) -> u64 {
    let index = open(dir, u64::MAX).index;
    for height in 1..=30u64 {
        let ids: Vec<u64> = (0..500).map(|i| height * 1_000 + i).collect();
        let entries = [(height, Entry::Block(Arc::new(block(height, &ids))))];
        index.apply(&entries, &meta(height)).unwrap();
    }
    index.close().unwrap();
    let length = std::fs::metadata(data(dir)).unwrap().len();
    assert!(length > 100 * PAGE, "{length}");
    length
}

const PAGE: u64 = 4_096;

fn data(dir: &tempfile::TempDir) -> std::path::PathBuf {
    dir.path().join("index").join("data.mdb")
}

#[test]
fn an_index_that_was_cut_off_anywhere_is_made_anew() {
    let cuts: [fn(u64) -> u64; 6] = [
        |_| 0,
        |_| PAGE,
        |_| 2 * PAGE,
        |length| length / 2,
        |length| length - PAGE,
        |length| length - 1,
    ];
    for cut in cuts {
        let dir = tempfile::tempdir().unwrap();
        let cut = cut(many_pages(&dir));
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(data(&dir))
            .unwrap();
        file.set_len(cut).unwrap();
        let opened = open(&dir, u64::MAX);
        assert!(opened.made_anew.is_some(), "cut off after {cut} bytes");
        assert_eq!(opened.index.transaction(&tx(30_000)).unwrap(), None);
        opened.index.close().unwrap();
    }
}

#[test]
fn damage_within_an_index_is_told_once_and_the_index_is_made_anew_when_it_is_opened_next() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index");
    let filled = open(&dir, 0).index;
    filled.apply(&some_entries(), &meta(900)).unwrap();
    filled.close().unwrap();
    spoil_index(&path);
    let opened = open(&dir, 900);
    assert_eq!(opened.made_anew, None, "it looks whole");
    let index = opened.index;
    let (tell, told) = std::sync::mpsc::channel();
    index.on_damage(move |why| tell.send(why.to_owned()).unwrap());
    for _ in 0..3 {
        let looked = index.commit(CommitIndex(6));
        assert!(
            matches!(looked, Err(IndexError::Damaged { .. })),
            "{looked:?}"
        );
    }
    assert!(told.try_recv().unwrap().contains("damaged"));
    assert!(told.try_recv().is_err(), "once");
    // An orderly end doesn't make it trusted.
    index.close().unwrap();
    let opened = open(&dir, 900);
    assert_eq!(opened.made_anew, Some("it was found to be damaged"));
    opened.index.apply(&some_entries(), &meta(900)).unwrap();
    let found = opened.index.commit(CommitIndex(6)).unwrap();
    assert_eq!(found, Some(200));
    opened.index.close().unwrap();
    assert_eq!(open(&dir, 900).made_anew, None, "whole again");
}

#[test]
fn a_head_that_is_none_is_damage_too() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(&dir, 0).index;
    index.apply(&some_entries(), &meta(900)).unwrap();
    index.spoil_head(Height(3));
    let head = index.head(Height(3));
    assert!(matches!(head, Err(IndexError::Damaged { .. })), "{head:?}");
    index.close().unwrap();
    let made_anew = open(&dir, 900).made_anew;
    assert_eq!(made_anew, Some("it was found to be damaged"));
}

#[test]
fn a_full_map_grows() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(&dir, 0).index;
    let size = 1 << 20;
    index
        .with(|tables| {
            // A tiny map, so that it fills.
            tables.resize(size)
        })
        .unwrap();
    for i in 0..40u64 {
        let ids: Vec<u64> = (0..1_000).map(|j| i * 1_000 + j).collect();
        let entries = [(i, Entry::Block(Arc::new(block(i + 1, &ids))))];
        index.apply(&entries, &meta(i)).unwrap();
    }
    assert!(index.with(|t| Ok(t.env.info().map_size)).unwrap() > size);
    let found = index.transaction(&tx(20_500)).unwrap();
    assert_eq!(found, Some((Height(21), 500)));
}

#[test]
fn a_closed_index_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(&dir, 0).index;
    index.close().unwrap();
    assert!(matches!(index.meta(), Err(IndexError::Closed)));
    assert!(matches!(
        index.apply(&[], &meta(1)),
        Err(IndexError::Closed)
    ));
    assert!(matches!(index.close(), Err(IndexError::Closed)));
}
