//! A scripted replica in the driver's hands.

use std::collections::VecDeque;
use std::sync::atomic::AtomicUsize;

use bytes::Bytes;
use crossbeam_channel::RecvTimeoutError;
use violeta_consensus::{EpochData, ItemMeta, Rejection, Rules};
use violeta_replica::{Event, Job, LoadRequest, Notice, Position, Record, RecordKind};
use violeta_types::api::{TransactionStatus, Wait};
use violeta_types::{
    Commit, CommitIndex, Digest, Epoch, Height, Item, Nonce, Round, TimeMs, TxId, ValidatorIndex,
    VertexId, VertexRef, encode,
};

use super::*;
use crate::chain::Chain;
use crate::events::EventHub;
use crate::fixture::{self, MemoryJournal};
use crate::handle::{Handle, Submissions};
use crate::index::{Entry, Index, Meta};
use crate::metrics::Metrics;
use crate::testnet;
use crate::tracker::Tracker;

const PATIENCE: Duration = Duration::from_secs(10);

type Respond = Box<dyn FnMut(&Input) -> Vec<Output> + Send>;

/// Shows every input, and puts out what the test sends.
struct Scripted {
    outputs: VecDeque<Output>,
    respond: Respond,
    seen: Sender<Input>,
    ticks: Arc<AtomicUsize>,
}

impl ReplicaLike for Scripted {
    fn handle(&mut self, _now: Now, input: Input) {
        if matches!(input, Input::Tick) {
            self.ticks.fetch_add(1, Ordering::Relaxed);
        }
        self.outputs.extend((self.respond)(&input));
        let _ = self.seen.send(input);
    }

    fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn next_wakeup(&self) -> Option<u64> {
        None
    }

    fn status(&self) -> Status {
        Status::default()
    }
}

/// Takes every item but those that begin with "bad"; panics at "bug".
struct TestRules;

impl Rules for TestRules {
    fn check(&self, items: &[Item]) -> Vec<Result<ItemMeta, Rejection>> {
        items.iter().map(|item| judge(item.bytes())).collect()
    }
}

fn judge(bytes: &Bytes) -> Result<ItemMeta, Rejection> {
    assert_ne!(bytes, "bug");
    if bytes.starts_with(b"bad") {
        return Err(Rejection("bad".into()));
    }
    Ok(ItemMeta {
        id: TxId(Digest([bytes[0]; 32])),
        client: None,
        nonce: Nonce(0),
        expires: TimeMs(0),
    })
}

/// Counts flushes; answers each commit.
struct TestMachine {
    effects: VecDeque<Effect>,
    flushes: Arc<AtomicUsize>,
    delay: Duration,
}

impl Machine for TestMachine {
    fn rules(&self) -> Arc<dyn Rules> {
        Arc::new(TestRules)
    }

    fn position(&self) -> Position {
        Position::default()
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Flush => {
                self.flushes.fetch_add(1, Ordering::Relaxed);
                self.effects.push_back(Effect::Durable(Position::default()));
            }
            _ => {
                std::thread::sleep(self.delay);
                self.effects.push_back(Effect::Pending(true));
            }
        }
    }

    fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }
}

struct Rig {
    _dir: tempfile::TempDir,
    driver: Driver,
    handle: Handle,
    journal: MemoryJournal,
    index: Arc<Index>,
    inputs: Receiver<Input>,
    peers: Sender<PeerEvent>,
    flushes: Arc<AtomicUsize>,
    ticks: Arc<AtomicUsize>,
    runtime: tokio::runtime::Runtime,
}

fn rig(respond: impl FnMut(&Input) -> Vec<Output> + Send + 'static) -> Rig {
    rig_with(vec![], Duration::ZERO, respond)
}

/// A driver around a replica that puts out `first` when it begins, and then what `respond` says to each input.
fn rig_with(
    first: Vec<Output>,
    machine_delay: Duration,
    respond: impl FnMut(&Input) -> Vec<Output> + Send + 'static,
) -> Rig {
    let dir = tempfile::tempdir().unwrap();
    let net = testnet::generate(dir.path(), 1, &testnet::Options::default()).unwrap();
    let chain_id = net.genesis.chain_id();
    let journal = MemoryJournal::default();
    let opened = Index::open(&dir.path().join("index"), &chain_id, 0, true).unwrap();
    let index = Arc::new(opened.index);
    let meta = index.meta().unwrap();
    let records: Arc<dyn Records> = Arc::new(journal.clone());
    let metrics = Metrics::new();
    let hub = EventHub::new(meta.event, 10);
    let index_writer = Writer::new(
        index.clone(),
        journal.clone(),
        chain_id,
        hub.clone(),
        metrics.clone(),
        Duration::from_millis(10),
    )
    .unwrap();
    let (to_replica, submissions) = unbounded();
    let epoch = Arc::new(EpochData::genesis(&net.genesis));
    let shared = Arc::new(Shared {
        genesis: net.genesis,
        chain_id,
        me: Some(ValidatorIndex(0)),
        chain: Chain::new(index.clone(), records.clone(), &meta, 1 << 20),
        tracker: std::sync::Mutex::new(Tracker::new(1_000)),
        index: index.clone(),
        hub,
        metrics,
        reader: arc_swap::ArcSwapOption::empty(),
        status: watch::Sender::new(Status::default()).subscribe(),
        forge: None,
        submissions: Submissions::new(64 << 20, to_replica),
        stop: watch::Sender::new(None),
    });
    let (seen, inputs) = unbounded();
    let (peers, from_peers) = unbounded();
    let flushes = Arc::new(AtomicUsize::new(0));
    let ticks = Arc::new(AtomicUsize::new(0));
    let driver = Driver::start(Parts {
        replica: Box::new(Scripted {
            outputs: first.into(),
            respond: Box::new(respond),
            seen,
            ticks: ticks.clone(),
        }),
        clock: clock::Clock::start(),
        machine: Box::new(TestMachine {
            effects: VecDeque::new(),
            flushes: flushes.clone(),
            delay: machine_delay,
        }),
        workshop: Workshop::new(epoch, Arc::new(TestRules), None, None),
        workers: 2,
        journal: journal.clone(),
        records,
        index_writer,
        transport: None,
        peers: from_peers,
        submissions,
        shared: shared.clone(),
        status: watch::Sender::new(Status::default()),
    })
    .unwrap();
    Rig {
        _dir: dir,
        driver,
        handle: Handle { shared },
        journal,
        index,
        inputs,
        peers,
        flushes,
        ticks,
        runtime: tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap(),
    }
}

impl Rig {
    fn input(&self) -> Input {
        self.inputs.recv_timeout(PATIENCE).unwrap()
    }

    fn stopped(&self) -> String {
        let stopped = self.handle.stopped();
        self.runtime
            .block_on(async { tokio::time::timeout(PATIENCE, stopped).await.unwrap() })
    }

    fn stop(self) {
        assert_eq!(self.driver.stop(), Vec::<String>::new());
    }
}

fn commit(index: u64) -> Record {
    let commit = Commit {
        epoch: Epoch(0),
        index: CommitIndex(index),
        previous: Digest::ZERO,
        leader: VertexRef {
            round: Round(1),
            author: ValidatorIndex(0),
            id: VertexId(Digest::ZERO),
        },
        vertices: Vec::new().try_into().unwrap(),
        time: TimeMs(0),
        coin: None,
    };
    Record::Commit {
        commit: Arc::new(commit),
        digest: Digest::ZERO,
    }
}

#[test]
fn a_mark_comes_back_when_what_was_appended_before_it_is_durable() {
    let first = vec![
        Output::Append(commit(1)),
        Output::Append(commit(2)),
        Output::Sync { mark: 2 },
    ];
    let rig = rig_with(first, Duration::ZERO, |_| vec![]);
    assert!(matches!(rig.input(), Input::Synced { mark: 2 }));
    assert_eq!(rig.journal.synced(), rig.journal.end());
    assert!(rig.journal.end() > 0);
    rig.stop();
}

#[test]
fn marks_that_have_queued_are_answered_by_the_highest() {
    let first = (1..=50)
        .flat_map(|i| [Output::Append(commit(i)), Output::Sync { mark: i }])
        .collect();
    let rig = rig_with(first, Duration::ZERO, |_| vec![]);
    assert!(matches!(rig.input(), Input::Synced { mark: 50 }));
    let more = rig.inputs.recv_timeout(Duration::from_millis(200));
    assert_eq!(more.err(), Some(RecvTimeoutError::Timeout));
    rig.stop();
}

#[test]
fn a_disk_that_fails_stops_the_node_and_no_mark_comes_back() {
    let mut appended = 0;
    let rig = rig(move |input| match input {
        Input::PeerUp(_) => {
            appended += 1;
            vec![
                Output::Append(commit(appended)),
                Output::Sync { mark: appended },
            ]
        }
        _ => vec![],
    });
    let up = || PeerEvent::Up(ValidatorIndex(0));
    rig.peers.send(up()).unwrap();
    assert!(matches!(rig.input(), Input::PeerUp(_)));
    assert!(matches!(rig.input(), Input::Synced { mark: 1 }));
    rig.journal.fail(true);
    rig.peers.send(up()).unwrap();
    let reason = rig.stopped();
    assert!(reason.contains("no space left on device"), "{reason}");
    assert!(matches!(rig.input(), Input::PeerUp(_)));
    assert!(
        rig.inputs.recv_timeout(PATIENCE).is_err(),
        "no further mark"
    );
    rig.stop();
}

#[test]
fn what_was_appended_before_a_load_is_found_by_it() {
    let load = |after| {
        let after = CommitIndex(after);
        let bytes_max = 1 << 20;
        Output::Load(LoadRequest::ForMachine { after, bytes_max })
    };
    let mut first: Vec<_> = (1..=5).map(|i| Output::Append(commit(i))).collect();
    first.push(load(2));
    let rig = rig_with(first, Duration::ZERO, |_| vec![]);
    let Input::Loaded(loaded) = rig.input() else {
        panic!("a load is answered");
    };
    let found: Vec<_> = loaded.commits.iter().map(|c| c.commit.index.0).collect();
    assert_eq!(found, [3, 4, 5]);
    rig.stop();
}

#[test]
fn what_rests_unsynced_reaches_disk_and_index_by_itself() {
    let rig = rig_with(vec![Output::Append(commit(1))], Duration::ZERO, |_| vec![]);
    let end = Instant::now() + PATIENCE;
    while rig.index.commit(CommitIndex(1)).unwrap().is_none() {
        assert!(Instant::now() < end, "never indexed");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(rig.journal.synced(), rig.journal.end());
    rig.stop();
}

#[test]
fn a_stop_loses_nothing_that_was_appended() {
    let first = (1..=1_000).map(|i| Output::Append(commit(i))).collect();
    let rig = rig_with(first, Duration::ZERO, |_| vec![]);
    let (journal, index) = (rig.journal.clone(), rig.index.clone());
    rig.stop();
    assert_eq!(journal.synced(), journal.end());
    assert!(index.commit(CommitIndex(1_000)).unwrap().is_some());
}

#[test]
fn an_index_that_finds_itself_damaged_stops_the_node_whoever_asked() {
    let rig = rig(|_| vec![]);
    rig.index.spoil_head(Height(1));
    assert!(rig.handle.head(Height(1)).is_err());
    let reason = rig.stopped();
    assert!(reason.contains("the index at") && reason.contains("is damaged"));
    rig.stop();
}

#[test]
fn jobs_are_done_and_come_back() {
    let job = Job::CheckItems {
        ticket: 7,
        items: vec![Bytes::from_static(b"good"), Bytes::from_static(b"bad")],
    };
    let rig = rig_with(vec![Output::Job(job)], Duration::ZERO, |_| vec![]);
    let Input::JobDone(JobDone::Items { ticket, verdicts }) = rig.input() else {
        panic!("a job comes back");
    };
    assert_eq!(ticket, 7);
    assert!(verdicts[0].1.is_ok() && verdicts[1].1.is_err());
    rig.stop();
}

#[test]
fn a_thread_that_panics_stops_the_node_and_says_which() {
    let job = Job::CheckItems {
        ticket: 7,
        items: vec![Bytes::from_static(b"bug")],
    };
    let rig = rig_with(vec![Output::Job(job)], Duration::ZERO, |_| vec![]);
    let reason = rig.stopped();
    assert!(reason.contains("worker thread panicked"), "{reason}");
    assert_eq!(rig.driver.stop(), ["the worker thread panicked"]);
}

#[test]
fn a_replica_that_panics_stops_the_node() {
    let rig = rig(|input| match input {
        Input::PeerUp(_) => panic!("a bug"),
        _ => vec![],
    });
    rig.peers.send(PeerEvent::Up(ValidatorIndex(0))).unwrap();
    let reason = rig.stopped();
    assert!(reason.contains("the replica panicked"), "{reason}");
    rig.stop();
}

#[test]
fn a_replica_that_halts_stops_the_node_with_its_reason_and_keeps_its_journal() {
    let rig = rig(|input| match input {
        Input::PeerUp(_) => vec![
            Output::Append(commit(1)),
            Output::Halt("the head differs".into()),
        ],
        _ => vec![],
    });
    rig.peers.send(PeerEvent::Up(ValidatorIndex(0))).unwrap();
    assert_eq!(rig.stopped(), "the head differs");
    let journal = rig.journal.clone();
    rig.stop();
    assert!(journal.end() > 0);
    assert_eq!(journal.synced(), journal.end());
}

#[test]
fn flushes_that_have_queued_are_one_and_every_event_is_answered() {
    let ordered = || Event::Certified { height: 1.into() };
    let first = (0..20)
        .flat_map(|_| [Output::Machine(ordered()), Output::Machine(Event::Flush)])
        .collect();
    let rig = rig_with(first, Duration::from_millis(2), |_| vec![]);
    let (mut pending, mut durable) = (0, 0);
    while pending < 20 || durable == 0 {
        match rig.input() {
            Input::Machine(Effect::Pending(_)) => pending += 1,
            Input::Machine(Effect::Durable(_)) => durable += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(rig.flushes.load(Ordering::Relaxed) < 20);
    rig.stop();
}

#[test]
fn a_submission_is_answered_by_its_verdicts() {
    let rig = rig(|input| match input {
        Input::Submit { ticket, items } => {
            let verdicts = items
                .iter()
                .map(|item| Ok(TxId(Digest([item[0]; 32]))))
                .collect();
            let ticket = *ticket;
            vec![Output::Notice(Notice::Submitted { ticket, verdicts })]
        }
        _ => vec![],
    });
    let items = vec![Bytes::from_static(b"a"), Bytes::from_static(b"b")];
    let verdicts = rig.runtime.block_on(rig.handle.submit(items)).unwrap();
    assert_eq!(verdicts[1], Ok(TxId(Digest([b'b'; 32]))));
    let id = TxId(Digest([b'a'; 32]));
    let status = rig.handle.status(&id).unwrap();
    assert_eq!(status, violeta_types::api::TransactionStatus::Queued);
    rig.stop();
}

#[test]
fn what_became_of_an_old_transaction_is_read_where_that_holds_up_no_connection() {
    let rig = rig(|_| vec![]);
    let block = fixture::block(1, &[7]);
    let outcome = block.outcomes[0].clone();
    let position = rig.journal.push(RecordKind::Block, encode(&block));
    let entries = [(position, Entry::Block(Arc::new(block)))];
    rig.index.apply(&entries, &Meta::default()).unwrap();
    // Found at once; and found after waiting in vain for its certificate.
    for (wait, at_most) in [
        (Wait::Executed, PATIENCE),
        (Wait::Certified, Duration::from_millis(20)),
    ] {
        let status = rig
            .runtime
            .block_on(rig.handle.wait(outcome.transaction, wait, at_most));
        let outcome = outcome.clone();
        assert_eq!(status.unwrap(), TransactionStatus::Executed { outcome });
    }
    let read_on = rig.journal.read_on();
    assert_eq!(
        read_on.len(),
        3,
        "a look each, and one when the time was up"
    );
    // The test's thread is the runtime's only one.
    assert!(!read_on.contains(&std::thread::current().id()));
    rig.stop();
}

#[test]
fn a_large_batch_is_judged_in_pieces_and_answered_in_order() {
    let rig = rig(|input| match input {
        Input::Submit { ticket, items } => {
            let verdict = |item: &Bytes| match item[0] {
                0 => Err(violeta_replica::SubmitError::OnlyFollows),
                _ => Ok(TxId(Digest([item[0]; 32]))),
            };
            let verdicts = items.iter().map(verdict).collect();
            let ticket = *ticket;
            vec![Output::Notice(Notice::Submitted { ticket, verdicts })]
        }
        _ => vec![],
    });
    let items: Vec<_> = (0..2_000u32).map(|i| Bytes::from(vec![i as u8])).collect();
    let verdicts = rig.runtime.block_on(rig.handle.submit(items)).unwrap();
    assert_eq!(verdicts.len(), 2_000);
    for (i, verdict) in verdicts.iter().enumerate() {
        let expected = (i as u8 != 0).then_some(TxId(Digest([i as u8; 32])));
        assert_eq!(verdict.as_ref().ok(), expected.as_ref());
    }
    rig.stop();
}

#[test]
fn a_stopped_node_answers_nobody_for_ever() {
    let rig = rig(|_| vec![]);
    let handle = rig.handle.clone();
    let waiting = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(handle.submit(vec![Bytes::from_static(b"a")]))
    });
    assert!(matches!(rig.input(), Input::Submit { .. }));
    let handle = rig.handle.clone();
    rig.stop();
    assert!(waiting.join().unwrap().is_err());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let item = vec![Bytes::from_static(b"a")];
    assert!(runtime.block_on(handle.submit(item)).is_err());
}

#[test]
fn clients_do_not_keep_out_peers() {
    let (go, gate) = bounded::<()>(0);
    let mut waits = true;
    let rig = rig(move |_| {
        // The first input holds the replica until both queues are full.
        if std::mem::take(&mut waits) {
            let _ = gate.recv();
        }
        vec![]
    });
    rig.peers.send(PeerEvent::Up(ValidatorIndex(0))).unwrap();
    let submit = || rig.handle.shared.submissions.submit_for_test();
    for _ in 0..500 {
        submit();
        rig.peers.send(PeerEvent::Down(ValidatorIndex(0))).unwrap();
    }
    go.send(()).unwrap();
    let mut submissions_before_last_peer = 0;
    let mut peers = 0;
    while peers < 501 {
        match rig.input() {
            Input::Submit { .. } => submissions_before_last_peer += 1,
            _ => peers += 1,
        }
    }
    assert!(
        submissions_before_last_peer < 100,
        "{submissions_before_last_peer}"
    );
    rig.stop();
}

#[test]
fn submissions_under_way_are_bounded_in_bytes() {
    let rig = rig(|_| vec![]);
    let big = Bytes::from(vec![0; 1 << 20]);
    let mut answers = Vec::new();
    rig.runtime.block_on(async {
        for _ in 0..100 {
            let submit = rig.handle.submit(vec![big.clone()]);
            let answer = tokio::time::timeout(Duration::from_millis(1), submit).await;
            answers.extend(answer.ok());
        }
    });
    // Given up on by their senders, they still count until the replica has judged them.
    assert!(answers.len() >= 30, "{}", answers.len());
    for verdicts in answers {
        let verdict = verdicts.unwrap().remove(0);
        let error = verdict.unwrap_err().to_string();
        assert!(error.starts_with("overloaded"), "{error}");
    }
    rig.stop();
}

#[test]
fn without_work_the_replica_is_left_alone() {
    let rig = rig(|_| vec![]);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(rig.ticks.load(Ordering::Relaxed), 0);
    assert!(rig.inputs.try_recv().is_err());
    rig.stop();
}
