//! The replica's thread: one input, all its outputs, the next input.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Select, Sender};
use tokio::sync::watch;
use tracing::{error, warn};
use violeta_replica::{Event, Input, Notice, Output};

use super::clock::Clock;
use super::jobs::JobSender;
use super::journal_thread::Command;
use super::{Answer, ReplicaLike, Status};
use crate::handle::{Shared, Submission};
use crate::transport::{PeerEvent, Transport};

/// Answers taken in one turn, before peers and clients have theirs.
const ANSWERS_A_TURN: usize = 64;
/// Messages of peers taken in one turn.
const MESSAGES_A_TURN: usize = 16;
/// Submissions of clients taken in one turn.
const SUBMISSIONS_A_TURN: usize = 2;
/// How often the status is told while it changes.
const STATUS_INTERVAL: Duration = Duration::from_millis(100);

/// Why the replica's thread ended.
pub(super) enum Ended {
    /// It was asked to.
    Stopped,
    /// It can't go on.
    Halted(String),
}

pub(super) struct ReplicaThread {
    pub(super) replica: Box<dyn ReplicaLike>,
    pub(super) clock: Clock,
    pub(super) answers: Receiver<Answer>,
    pub(super) peers: Receiver<PeerEvent>,
    pub(super) submissions: Receiver<Submission>,
    pub(super) journal: Sender<Vec<Command>>,
    pub(super) jobs: JobSender,
    pub(super) machine: Sender<Event>,
    pub(super) news: Sender<Notice>,
    pub(super) transport: Option<Transport>,
    pub(super) status: watch::Sender<Status>,
}

/// Tells everybody why the replica ended; also if it panicked.
pub(super) fn tell(shared: &Shared, ended: Ended) {
    let reason = match ended {
        Ended::Stopped => "the node was stopped".to_owned(),
        Ended::Halted(reason) => {
            error!(%reason, "the node stops");
            reason
        }
    };
    shared.halt(&reason);
}

/// Runs until it is stopped, or the replica halts. What it holds is dropped at the end: the journal's, the machine's and the
/// others' channels close, and they finish what they have.
pub(super) fn run(mut thread: ReplicaThread) -> Ended {
    let run = std::panic::AssertUnwindSafe(|| thread.run());
    // A panic here must not leave a node that looks alive.
    std::panic::catch_unwind(run).unwrap_or_else(|_| {
        Ended::Halted("the replica panicked; this is a bug: please report it with the log".into())
    })
}

impl ReplicaThread {
    fn run(&mut self) -> Ended {
        let mut told = Instant::now();
        let mut changed = true;
        // What the start led to.
        if let Some(ended) = self.carry_out() {
            return ended;
        }
        loop {
            let worked = match self.turn() {
                Ok(worked) => worked,
                Err(ended) => {
                    self.status.send_replace(self.replica.status());
                    return ended;
                }
            };
            changed |= worked;
            let due = told + STATUS_INTERVAL;
            if changed && Instant::now() >= due {
                self.status.send_replace(self.replica.status());
                told = Instant::now();
                changed = false;
            }
            if !worked {
                self.wait(changed.then_some(due));
            }
        }
    }

    /// Takes a few inputs of each kind; says whether there were any.
    fn turn(&mut self) -> Result<bool, Ended> {
        let mut worked = false;
        for _ in 0..ANSWERS_A_TURN {
            let Ok(answer) = self.answers.try_recv() else {
                break;
            };
            worked = true;
            self.answer(answer)?;
        }
        for _ in 0..MESSAGES_A_TURN {
            let Ok(event) = self.peers.try_recv() else {
                break;
            };
            worked = true;
            self.peer(event)?;
        }
        for _ in 0..SUBMISSIONS_A_TURN {
            let Ok(Submission { ticket, items }) = self.submissions.try_recv() else {
                break;
            };
            worked = true;
            self.handle(Input::Submit { ticket, items })?;
        }
        let now = self.clock.now().monotonic_us;
        if self.replica.next_wakeup().is_some_and(|due| due <= now) {
            worked = true;
            self.handle(Input::Tick)?;
        }
        Ok(worked)
    }

    fn answer(&mut self, answer: Answer) -> Result<(), Ended> {
        match answer {
            Answer::JobDone(done) => self.handle(Input::JobDone(done)),
            Answer::Synced { mark } => self.handle(Input::Synced { mark }),
            Answer::Machine(effect) => self.handle(Input::Machine(effect)),
            Answer::Loaded(loaded) => self.handle(Input::Loaded(loaded)),
            Answer::Failed(reason) => Err(Ended::Halted(reason)),
            Answer::Stop => Err(Ended::Stopped),
        }
    }

    fn peer(&mut self, event: PeerEvent) -> Result<(), Ended> {
        match event {
            PeerEvent::Up(peer) => self.handle(Input::PeerUp(peer)),
            PeerEvent::Down(peer) => self.handle(Input::PeerDown(peer)),
            PeerEvent::Message { from, bytes, quota } => {
                let handled = self.handle(Input::Message { from, bytes });
                drop(quota);
                handled
            }
        }
    }

    fn handle(&mut self, input: Input) -> Result<(), Ended> {
        self.replica.handle(self.clock.now(), input);
        match self.carry_out() {
            None => Ok(()),
            Some(ended) => Err(ended),
        }
    }

    /// Carries out what the replica asks for, in order. What goes to the journal goes in one piece.
    fn carry_out(&mut self) -> Option<Ended> {
        let mut journal = Vec::new();
        let mut halted = None;
        while let Some(output) = self.replica.poll() {
            match output {
                Output::Append(record) => journal.push(Command::Append(record)),
                Output::Sync { mark } => journal.push(Command::Sync { mark }),
                Output::Load(request) => journal.push(Command::Load(request)),
                Output::Halt(reason) => halted = Some(reason),
                other => self.pass_on(other),
            }
        }
        // Even what was appended just before a halt is kept: it may say why.
        if !journal.is_empty() {
            let _ = self.journal.send(journal);
        }
        halted.map(Ended::Halted)
    }

    /// A receiver that has gone has said why: an answer that stops this thread is on its way.
    fn pass_on(&mut self, output: Output) {
        match output {
            Output::Send { to, bytes } => {
                if let Some(transport) = &self.transport {
                    transport.send(to, bytes);
                }
            }
            Output::Job(job) => self.jobs.send(job),
            Output::Machine(event) => {
                let _ = self.machine.send(event);
            }
            Output::Notice(notice) => {
                let _ = self.news.send(notice);
            }
            Output::Refuse { peer, reason } => {
                warn!(validator = %peer, %reason, "refused for a while: it sent what no honest validator sends");
                if let Some(transport) = &self.transport {
                    transport.refuse(peer);
                }
            }
            Output::Append(_) | Output::Sync { .. } | Output::Load(_) | Output::Halt(_) => {
                unreachable!("taken by the caller")
            }
        }
    }

    /// Sleeps until something comes, a tick is due, or the status is.
    fn wait(&self, status_due: Option<Instant>) {
        let tick = self.replica.next_wakeup().map(|us| self.clock.instant(us));
        let mut select = Select::new();
        select.recv(&self.answers);
        select.recv(&self.peers);
        select.recv(&self.submissions);
        match [tick, status_due].into_iter().flatten().min() {
            // What is ready is received in the next turn, in its order.
            Some(deadline) => drop(select.ready_deadline(deadline)),
            None => drop(select.ready()),
        }
    }
}
