//! What honest validators do, told to the checkers.

use bytes::Bytes;
use violeta_consensus::Message as Graph;
use violeta_replica::message::Answer;
use violeta_replica::{Block, Message, Notice, Record, SubmitError};
use violeta_types::{Commit, Height, Refusal, Seal, TxId, ValidatorIndex, Vertex};

use super::World;
use crate::checkers::{Property, Verdict, Violation, ensure};
use crate::marks::Mark;

/// What is remembered of a validator between two observations.
#[derive(Clone, Default)]
pub(super) struct Observed {
    /// The message that was looked at last: a broadcast is looked at once.
    last_sent: Bytes,
    /// The newest height that it ever executed, over all lives.
    pub(super) executed_ever: Height,
}

impl Observed {
    /// A new life begins.
    pub(super) fn restart(&mut self) {
        let executed_ever = self.executed_ever;
        *self = Observed {
            executed_ever,
            ..Observed::default()
        };
    }
}

impl World<'_> {
    /// A validator that never contradicts itself sends something.
    pub(super) fn observe_send(&mut self, process: usize, bytes: &Bytes) -> Verdict {
        let observed = &mut self.observed[process];
        if observed.last_sent.as_ptr() == bytes.as_ptr() && observed.last_sent == *bytes {
            return Ok(());
        }
        observed.last_sent = bytes.clone();
        let me = ValidatorIndex(process as u16);
        match Message::decode(bytes) {
            Ok(Message::Consensus(Graph::Vertices(vertices))) => vertices
                .iter()
                .try_for_each(|vertex| self.observe_vertex(me, vertex)),
            Ok(Message::Attestation(attestation)) => self.checkers.sent_attestation(&attestation),
            Ok(Message::Heartbeat(heartbeat)) => match &heartbeat.attestation {
                Some(attestation) => self.checkers.sent_attestation(attestation),
                None => Ok(()),
            },
            Ok(Message::Answer(answer)) => {
                if let Answer::Vertices(part) = answer
                    && !part.vertices.is_empty()
                {
                    self.marks.note(Mark::CommitsServed);
                    if part.question.from.vertex > 0 {
                        self.marks.note(Mark::CommitInParts);
                    }
                }
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(error) => {
                let what = format!("validator {me} sent what can't be decoded: {error}");
                Err(Violation::new(Property::NoHalt, what))
            }
        }
    }

    fn observe_vertex(&mut self, me: ValidatorIndex, bytes: &Bytes) -> Verdict {
        let Ok(vertex) = Vertex::decode(bytes) else {
            let what = format!("validator {me} sent a vertex that can't be decoded");
            return Err(Violation::new(Property::NoHalt, what));
        };
        let header = &vertex.signed.header;
        if header.author != me {
            return Ok(());
        }
        self.checkers
            .sent_vertex(&header.vertex_ref(self.cast.epoch.chain()))
    }

    /// An honest validator's life ends: how did it decide?
    pub(super) fn observe_decisions(&mut self, process: usize) {
        let Some(life) = &self.processes[process].life else {
            return;
        };
        if self.is_honest(process) {
            let counts = life.replica.decisions();
            self.marks
                .note_times(Mark::DirectCommit, counts.direct_commits);
            self.marks.note_times(Mark::DirectSkip, counts.direct_skips);
            self.marks
                .note_times(Mark::IndirectCommit, counts.indirect_commits);
            self.marks
                .note_times(Mark::IndirectSkip, counts.indirect_skips);
        }
    }

    /// A validator appends a record to its journal.
    pub(super) fn observe_record(&mut self, process: usize, record: &Record) {
        if let Record::Vertex(vertex) = record
            && self.is_honest(process)
        {
            let reference = *vertex.reference();
            // It is appended in the instant in which it is made.
            if reference.author.as_usize() == process {
                let clock = self.processes[process].clock.read(self.now).wall;
                self.checkers.made(reference, clock);
            }
            self.checkers
                .accepted(reference, vertex.header(), vertex.payload().items());
        }
    }

    /// A validator has news.
    pub(super) fn observe_notice(&mut self, process: usize, notice: Notice) -> Verdict {
        if let Notice::Rejoined { floor } = notice {
            self.line(Some(process), format_args!("goes on above round {floor}"));
            self.marks.note(Mark::Rejoined);
        }
        if !self.is_honest(process) {
            return Ok(());
        }
        match notice {
            Notice::Submitted { verdicts, .. } => self.observe_verdicts(process, &verdicts),
            Notice::Committed { commit, digest } => {
                self.trace
                    .event(self.now, "committed", process, digest.as_ref());
                self.say_commit(process, &commit);
                let who = ValidatorIndex(process as u16);
                self.checkers.committed(who, &commit, digest)
            }
            Notice::Executed(block) => self.observe_block(process, &block),
            Notice::Certified(certified) => {
                let height = certified.head.height;
                self.line(
                    Some(process),
                    format_args!("has a certificate of height {height}"),
                );
                let who = ValidatorIndex(process as u16);
                self.checkers.certified(who, &certified)
            }
            Notice::Sealed(seal) => self.observe_seal(process, &seal),
            Notice::Evidence { validator, what } => {
                self.observe_evidence(process, validator, &what)
            }
            Notice::Proposed { vertex, .. } => {
                self.line(Some(process), format_args!("proposes {vertex:?}"));
                Ok(())
            }
            Notice::Expired(_) | Notice::Rejoined { .. } => Ok(()),
        }
    }

    fn observe_verdicts(
        &mut self,
        process: usize,
        verdicts: &[Result<TxId, SubmitError>],
    ) -> Verdict {
        for verdict in verdicts {
            if let Err(error @ (SubmitError::Invalid(_) | SubmitError::OnlyFollows)) = verdict {
                let what = format!("validator {process} turns a good transaction away: {error}");
                return Err(Violation::new(Property::NoFalseBlame, what));
            }
        }
        Ok(())
    }

    fn say_commit(&mut self, process: usize, commit: &Commit) {
        self.line(
            Some(process),
            format_args!(
                "commits {} (leader {:?}, {} vertices)",
                commit.index,
                commit.leader,
                commit.vertices.len()
            ),
        );
    }

    fn observe_block(&mut self, process: usize, block: &Block) -> Verdict {
        let (who, height) = (ValidatorIndex(process as u16), block.head.height);
        self.trace.event(
            self.now,
            "executed",
            process,
            block.head.state_root.as_ref(),
        );
        self.line(
            Some(process),
            format_args!(
                "executes height {height}: {} transactions",
                block.outcomes.len()
            ),
        );
        let ever = &mut self.observed[process].executed_ever;
        if height <= *ever {
            self.marks.note(Mark::ExecutedAgain);
        }
        *ever = height.max(*ever);
        for outcome in &block.outcomes {
            match outcome.refused {
                Some((_, Refusal::Expired)) => self.marks.note(Mark::Expired),
                Some(_) => self.marks.note(Mark::Refused),
                None => {}
            }
        }
        self.checkers.executed(who, &block.head, &block.outcomes)
    }

    fn observe_seal(&mut self, process: usize, seal: &Seal) -> Verdict {
        self.marks.note(Mark::Seal);
        if let Some(head) = self.checkers.blocks.head(seal.height) {
            ensure!(
                head.id() == seal.head,
                Property::Certificates,
                "validator {process} has a seal of {} at height {}, where the head is {}",
                seal.head,
                seal.height,
                head.id()
            );
        }
        Ok(())
    }

    fn observe_evidence(
        &mut self,
        process: usize,
        validator: ValidatorIndex,
        what: &str,
    ) -> Verdict {
        self.line(
            Some(process),
            format_args!("has evidence: {validator} {what}"),
        );
        ensure!(
            !self.checkers.is_honest(validator),
            Property::NoFalseBlame,
            "validator {process} says of validator {validator}, which is honest: it {what}"
        );
        ensure!(
            !self.plan.only_forgets(validator) || what.contains("journal"),
            Property::NoEquivocation,
            "validator {validator} lost its journal, and then it {what}"
        );
        if what.contains("two vertices") {
            self.marks.note(Mark::Equivocation);
        } else if what.contains("two heads") {
            self.marks.note(Mark::ConflictingAttestations);
        } else if what.contains("share") {
            self.marks.note(Mark::BadShare);
        }
        Ok(())
    }
}
