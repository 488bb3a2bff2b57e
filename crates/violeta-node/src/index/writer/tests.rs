//! The index follows the journal, whatever it misses on the way.

use super::*;
use crate::fixture::{MemoryJournal, block, certified, chain, seal, tx};
use crate::index::store::Index;
use crate::journal::{Appender, StoredRecord};
use crossbeam_channel::unbounded;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use violeta_replica::RecordKind;
use violeta_types::{Height, encode};

struct World {
    dir: tempfile::TempDir,
    journal: MemoryJournal,
}

struct Open {
    index: Arc<Index>,
    hub: Arc<EventHub>,
    metrics: Arc<Metrics>,
    writer: Writer<MemoryJournal>,
}

impl World {
    fn new() -> World {
        World {
            dir: tempfile::tempdir().unwrap(),
            journal: MemoryJournal::default(),
        }
    }

    fn open(&self) -> Open {
        let path = self.dir.path().join("index");
        let opened = Index::open(&path, &chain(), self.journal.end(), true).unwrap();
        let index = Arc::new(opened.index);
        let hub = EventHub::new(index.meta().unwrap().event, 10);
        let metrics = Metrics::new();
        let writer = Writer::new(
            index.clone(),
            self.journal.clone(),
            chain(),
            hub.clone(),
            metrics.clone(),
            Duration::from_millis(10),
        )
        .unwrap();
        Open {
            index,
            hub,
            metrics,
            writer,
        }
    }

    /// A block, its certificate, and now and then a seal, in the journal; what the journal's thread would say of them.
    fn grow(&self, height: u64) -> Written {
        let from = self.journal.end();
        let made = block(height, &[2 * height, 2 * height + 1]);
        let mut entries = vec![(
            self.journal.push(RecordKind::Block, encode(&made)),
            Entry::Block(Arc::new(made)),
        )];
        let vouched = certified(height);
        entries.push((
            self.journal.push(RecordKind::Certified, encode(&vouched)),
            Entry::Certified(Arc::new(vouched)),
        ));
        if height.is_multiple_of(3) {
            let sealed = seal(height);
            entries.push((
                self.journal.push(RecordKind::Seal, encode(&sealed)),
                Entry::Seal(sealed),
            ));
        }
        let to = self.journal.end();
        Written { from, to, entries }
    }
}

/// All that can be asked of the index, up to a height.
fn contents(index: &Index, up_to: u64) -> String {
    let mut all = String::new();
    for height in (1..=up_to).map(Height) {
        all += &format!("{:?} ", index.block(height).unwrap());
        all += &format!("{:?} ", index.certified(height).unwrap());
        all += &format!("{:?} ", index.seal(height).unwrap());
        all += &format!("{:?} ", index.transaction(&tx(2 * height.0 + 1)).unwrap());
    }
    all += &format!("{:?}", index.events(Cursor::default(), 10_000).unwrap());
    all += &format!("{:?}", index.meta().unwrap());
    all
}

/// Gives these to a writer and lets it end.
fn feed(open: Open, written: Vec<Written>) -> (Arc<Index>, Arc<EventHub>) {
    let (sender, records) = unbounded();
    for written in written {
        sender.send(written).unwrap();
    }
    drop(sender);
    let (_loads, loads) = unbounded::<LoadAt<()>>();
    open.writer.run(&records, &loads, |()| {});
    (open.index, open.hub)
}

/// What the index holds after a journal of `count` heights, none of them missed.
fn reference(count: u64) -> String {
    let world = World::new();
    let open = world.open();
    let written = (1..=count).map(|h| world.grow(h)).collect();
    contents(&feed(open, written).0, count)
}

#[test]
fn an_index_made_from_the_journal_is_the_one_that_was_written_along() {
    let world = World::new();
    let along = reference(20);
    for height in 1..=20 {
        world.grow(height);
    }
    let mut open = world.open();
    open.writer.catch_up(world.journal.end()).unwrap();
    assert_eq!(contents(&open.index, 20), along);
    assert_eq!(open.hub.newest(), open.index.meta().unwrap().event);
}

#[test]
fn batches_that_were_dropped_are_read_from_the_journal() {
    for missing in [vec![1], vec![5, 6, 7], vec![20], vec![1, 3, 5, 7, 9, 20]] {
        let world = World::new();
        let open = world.open();
        let written = (1..=21)
            .map(|h| (h, world.grow(h)))
            .filter(|(h, _)| !missing.contains(h))
            .map(|(_, written)| written)
            .collect();
        let (index, _) = feed(open, written);
        assert_eq!(contents(&index, 21), reference(21), "missing {missing:?}");
    }
}

#[test]
fn a_batch_that_comes_twice_counts_once() {
    let world = World::new();
    let open = world.open();
    let mut written: Vec<_> = (1..=5).map(|h| world.grow(h)).collect();
    let again = Written {
        from: written[2].from,
        to: written[2].to,
        entries: written[2].entries.clone(),
    };
    written.insert(4, again);
    let (index, _) = feed(open, written);
    assert_eq!(contents(&index, 5), reference(5));
}

#[test]
fn a_restart_at_any_point_goes_on_where_the_index_was() {
    let along = reference(12);
    for at in 0..=12 {
        let world = World::new();
        let open = world.open();
        let before = (1..=at).map(|h| world.grow(h)).collect();
        feed(open, before).0.close().unwrap();
        for height in at + 1..=12 {
            world.grow(height);
        }
        let mut open = world.open();
        open.writer.catch_up(world.journal.end()).unwrap();
        assert_eq!(contents(&open.index, 12), along, "restarted after {at}");
    }
}

#[test]
fn a_load_waits_for_what_it_may_ask_about() {
    let world = World::new();
    let open = world.open();
    let (records, from_journal) = unbounded();
    let (loads, from_replica) = unbounded();
    for height in 1..=3 {
        records.send(world.grow(height)).unwrap();
    }
    // The fourth was dropped on its way, and a load comes that may want it.
    world.grow(4);
    let up_to = world.journal.end();
    loads.send(LoadAt { up_to, load: 4 }).unwrap();
    let index = open.index.clone();
    let (found, seen) = unbounded();
    let writer = open.writer;
    let thread = std::thread::spawn(move || {
        writer.run(&from_journal, &from_replica, |height| {
            found.send(index.block(Height(height)).unwrap()).unwrap();
        });
    });
    let position = seen.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(position.is_some());
    drop((records, loads));
    thread.join().unwrap();
}

#[test]
fn while_the_journal_cannot_be_read_the_index_is_behind_and_says_so() {
    let world = World::new();
    let mut open = world.open();
    world.grow(1);
    let next = world.grow(2);
    // A gap, and a journal that gives nothing but damage.
    let broken = MemoryJournal::default();
    broken.push(RecordKind::Block, vec![0xff; 50]);
    open.writer.records = broken;
    open.writer.written(next);
    assert_eq!(open.metrics.index_healthy.get(), 0);
    assert_eq!(open.index.meta().unwrap(), Meta::default());
    // Once it can be read again, nothing is missing.
    open.writer.records = world.journal.clone();
    let last = world.grow(3);
    let index = open.index.clone();
    open.writer.written(last);
    assert_eq!(open.metrics.index_healthy.get(), 0, "not at once");
    open.writer.due();
    assert_eq!(contents(&index, 3), reference(3));
    assert_eq!(open.metrics.index_healthy.get(), 1);
}

/// A journal whose first reads fail.
struct FailsAtFirst {
    journal: MemoryJournal,
    failures_left: AtomicUsize,
    reads: Arc<AtomicUsize>,
}

impl Records for FailsAtFirst {
    fn read(&self, position: u64) -> Result<StoredRecord, JournalError> {
        self.journal.read(position)
    }

    fn range(
        &self,
        from: u64,
        end: u64,
        bytes_max: usize,
    ) -> Result<Vec<StoredRecord>, JournalError> {
        self.reads.fetch_add(1, SeqCst);
        let fails = self
            .failures_left
            .fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1))
            .is_ok();
        match fails {
            true => Err(JournalError::damaged(from, "not now")),
            false => self.journal.range(from, end, bytes_max),
        }
    }
}

#[test]
fn an_idle_node_tries_a_failed_write_again_now_and_then_until_it_works() {
    const FAILURES: usize = 4;
    const EACH: Duration = Duration::from_millis(20);
    let world = World::new();
    let Open { index, metrics, .. } = world.open();
    let reads = Arc::new(AtomicUsize::new(0));
    let journal = FailsAtFirst {
        journal: world.journal.clone(),
        failures_left: FAILURES.into(),
        reads: reads.clone(),
    };
    let hub = EventHub::new(Cursor::default(), 10);
    let interval = Duration::from_millis(10);
    let mut writer = Writer::new(
        index.clone(),
        journal,
        chain(),
        hub,
        metrics.clone(),
        interval,
    )
    .unwrap();
    writer.retry = EACH;
    let (records, from_journal) = unbounded();
    let (loads, from_replica) = unbounded::<LoadAt<()>>();
    // The first was dropped on its way, the second finds the gap; then nothing comes any more.
    world.grow(1);
    records.send(world.grow(2)).unwrap();
    let begin = Instant::now();
    let thread = std::thread::spawn(move || writer.run(&from_journal, &from_replica, |()| {}));
    while index.height() < Height(2) {
        assert!(begin.elapsed() < Duration::from_secs(20), "it gave up");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(
        begin.elapsed() >= EACH * FAILURES as u32,
        "it waits between"
    );
    drop((records, loads));
    thread.join().unwrap();
    assert_eq!(reads.load(SeqCst), FAILURES + 1);
    assert_eq!(metrics.index_healthy.get(), 1);
    assert_eq!(contents(&index, 2), reference(2));
}

#[test]
fn events_count_up_within_a_height_and_begin_anew_with_a_block() {
    let world = World::new();
    let open = world.open();
    let written = (1..=3).map(|h| world.grow(h)).collect();
    let (index, hub) = feed(open, written);
    let events = index.events(Cursor::default(), 100).unwrap();
    let told: Vec<_> = events
        .iter()
        .map(|e| (e.cursor.to_string(), e.kind.name()))
        .collect();
    let expected = [
        ("1.0", "block"),
        ("1.1", "certified"),
        ("2.0", "block"),
        ("2.1", "certified"),
        ("3.0", "block"),
        ("3.1", "certified"),
        ("3.2", "sealed"),
    ]
    .map(|(cursor, kind)| (cursor.to_owned(), kind));
    assert_eq!(told, expected);
    assert_eq!(hub.newest().to_string(), "3.2");
}
