//! The replica's side of catching up by commits: what [`CatchUp`](crate::catch_up::CatchUp) decides is carried out
//! here. What others catch up with is served in `serving`.

use violeta_consensus::{CommittedCone, ValidVertex};
use violeta_types::{Commit, ValidatorIndex};

use super::Replica;
use crate::catch_up::Unchecked;
use crate::io::Output;
use crate::job::Job;
use crate::limits::ADOPTED_AHEAD_COMMITS_MAX;
use crate::message::{Answer, Message, Place, RecordsPart, VerticesPart};

impl Replica {
    pub(super) fn ask_for_commits(&mut self) {
        // Execution sets the pace. Who was asked before is waited for, and replaced if it doesn't answer.
        let executes_first = self.handover.lag() > ADOPTED_AHEAD_COMMITS_MAX;
        if executes_first && self.catch_up.deadline_us().is_none() {
            return;
        }
        let log_end = self.log.last_index();
        let next = (self.catch_up).next_question(log_end, self.now.monotonic_us);
        if let Some((peer, question)) = next {
            self.send(peer, &Message::Ask(question));
        }
    }

    pub(super) fn part(&mut self, from: ValidatorIndex, answer: Answer) {
        // What wasn't asked for, or long ago, is no lie, but no use either.
        if !self.catch_up.answered(from, answer.question()) {
            return;
        }
        match answer {
            Answer::Records(part) => self.records(from, part),
            Answer::Vertices(part) => self.vertices(from, part),
        }
    }

    fn records(&mut self, from: ValidatorIndex, part: RecordsPart) {
        if let Some(certified) = &part.certified {
            let is_news = certified.head.commit_index > self.log.last_index();
            if is_news && !self.adopt_head(from, certified.clone()) {
                return self.catch_up.failed(from);
            }
        }
        let log_end = self.log.last_index();
        if let Err(bad) = self.catch_up.take_records(from, part, log_end) {
            self.refuse_part(from, bad.to_string());
        }
    }

    fn vertices(&mut self, from: ValidatorIndex, part: VerticesPart) {
        let log_end = self.log.last_index();
        match self.catch_up.take_vertices(from, part, log_end) {
            Err(bad) => self.refuse_part(from, bad.to_string()),
            Ok(None) => {}
            Ok(Some(Unchecked { place, vertices })) => {
                self.output(Output::Job(Job::CheckCommitted {
                    from,
                    place,
                    vertices,
                }));
            }
        }
    }

    /// Vertices of certified commits have been checked: what is whole now is adopted.
    pub(super) fn committed_checked(
        &mut self,
        from: ValidatorIndex,
        place: Place,
        good: Vec<ValidVertex>,
        bad: Option<String>,
    ) {
        if let Some(reason) = bad {
            self.refuse_part(from, reason);
        }
        let log_end = self.log.last_index();
        let commits = self.catch_up.checked(place, good, log_end);
        self.adopt(commits);
    }

    fn refuse_part(&mut self, from: ValidatorIndex, reason: String) {
        self.catch_up.failed(from);
        self.refuse(from, format!("when asked for commits: {reason}"));
    }

    /// What was fetched comes without what the rules say of its items. Where the vertex was here before, it is known:
    /// so the items leave the mempool even if they leave no outcome.
    fn with_metas(
        &self,
        commits: Vec<(Commit, Vec<ValidVertex>)>,
    ) -> Vec<(Commit, Vec<ValidVertex>)> {
        let known = |vertex: ValidVertex| {
            let here = self.core.vertex(vertex.reference());
            here.cloned().unwrap_or(vertex)
        };
        commits
            .into_iter()
            .map(|(commit, vertices)| (commit, vertices.into_iter().map(known).collect()))
            .collect()
    }

    /// Takes commits without the decision rule: the core learns of them, the log and the machine get them.
    fn adopt(&mut self, commits: Vec<(Commit, Vec<ValidVertex>)>) {
        let Some(end) = commits.last().map(|(commit, _)| commit.index) else {
            return;
        };
        let commits = self.with_metas(commits);
        let event = violeta_consensus::Event::Adopt {
            commits: commits.clone(),
        };
        self.core.handle(self.now, event);
        let mut effects = Vec::new();
        while let Some(effect) = self.core.poll() {
            match effect {
                // In the journal, vertices come before the commits that name them, and the word that own ones were lost
                // before the first of these, wherever power cuts it off …
                violeta_consensus::Effect::Persist(_) | violeta_consensus::Effect::Amnesia(_) => {
                    self.core_effect(effect);
                }
                other => effects.push(other),
            }
        }
        if self.core.last_commit().index >= end {
            for (commit, vertices) in commits {
                let digest = commit.digest(self.epoch.chain());
                self.committed(CommittedCone {
                    commit,
                    digest,
                    vertices,
                });
            }
        }
        // … and commits that the graph yields now come after those that were adopted.
        for effect in effects {
            if self.halted.is_none() {
                self.core_effect(effect);
            }
        }
        self.drain_core();
    }
}
