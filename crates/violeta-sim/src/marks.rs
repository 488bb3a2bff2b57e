//! What must happen *sometimes*: a suite whose worlds never skip a leader or cut a torn tail proves little.

use std::collections::BTreeMap;
use std::fmt;

macro_rules! marks {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Something that some worlds must show.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Mark { $($(#[$doc])* $name,)* }

        impl Mark {
            /// All of them.
            pub const ALL: &'static [Mark] = &[$(Mark::$name,)*];
        }

        impl fmt::Display for Mark {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Mark::$name => $text,)* })
            }
        }
    };
}

marks! {
    /// A leader was committed by certificates of a quorum.
    DirectCommit = "direct commit",
    /// A leader's slot was skipped by blames of a quorum.
    DirectSkip = "direct skip",
    /// A leader was committed by a later one.
    IndirectCommit = "indirect commit",
    /// A leader's slot was skipped by a later one.
    IndirectSkip = "indirect skip",
    /// An honest validator proved an equivocation.
    Equivocation = "equivocation proved",
    /// A bad coin or seal share was found.
    BadShare = "bad share found",
    /// A validator was refused for what it sent.
    Refusal = "liar refused",
    /// A validator attested two heads, and was caught.
    ConflictingAttestations = "conflicting attestations seen",
    /// A validator lost power.
    Crash = "crash",
    /// A validator started again.
    Restart = "restart",
    /// All lost power at once.
    Blackout = "blackout",
    /// A sync was cut short: some of its records survived, the rest was torn off.
    SyncCutShort = "torn tail cut",
    /// A validator lost its disk, and knew it when it started again.
    Amnesia = "lost journal noticed",
    /// A validator that lost its disk went on by a quorum's word.
    Rejoined = "lost journal made good by a quorum",
    /// The store had blocks that the journal lacked, and went back.
    StoreWentBack = "store rolled back to the journal",
    /// A store was lost, and begun anew under a journal with blocks.
    StoreRebuilt = "lost store rebuilt from the journal",
    /// Commits were executed again after a restart.
    ExecutedAgain = "block executed again",
    /// A validator that caught up by commits was given their vertices.
    CommitsServed = "catch-up by commits",
    /// A commit's vertices came in several parts.
    CommitInParts = "commit caught up with in parts",
    /// A vertex was served from the journal.
    VerticesServed = "vertices served from the journal",
    /// A partition was there.
    Partition = "partition",
    /// A transaction was refused, and recorded.
    Refused = "transaction refused",
    /// A transaction expired before it was ordered, and was recorded.
    Expired = "transaction expired",
    /// A transaction was committed again, and skipped.
    Duplicate = "duplicate transaction skipped",
    /// A client had to turn to another validator.
    Intervention = "client intervention",
    /// A head was sealed.
    Seal = "seal made",
}

/// How often each happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    counts: BTreeMap<Mark, u64>,
}

impl Marks {
    /// It happened.
    pub(crate) fn note(&mut self, mark: Mark) {
        self.note_times(mark, 1);
    }

    /// It happened several times.
    pub(crate) fn note_times(&mut self, mark: Mark, times: u64) {
        *self.counts.entry(mark).or_default() += times;
    }

    /// How often it happened.
    pub fn count(&self, mark: Mark) -> u64 {
        self.counts.get(&mark).copied().unwrap_or(0)
    }

    /// Adds another world's.
    pub fn add(&mut self, other: &Marks) {
        for (mark, count) in &other.counts {
            *self.counts.entry(*mark).or_default() += count;
        }
    }

    /// What never happened.
    pub fn missing(&self) -> Vec<Mark> {
        Mark::ALL
            .iter()
            .copied()
            .filter(|mark| self.count(*mark) == 0)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_add_up_and_say_what_is_missing() {
        let mut one = Marks::default();
        one.note(Mark::Crash);
        let mut sum = Marks::default();
        sum.add(&one);
        sum.add(&one);
        assert_eq!(sum.count(Mark::Crash), 2);
        assert_eq!(sum.missing().len(), Mark::ALL.len() - 1);
        assert!(!sum.missing().contains(&Mark::Crash));
    }
}
