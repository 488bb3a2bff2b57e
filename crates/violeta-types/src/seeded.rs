//! Bugs on purpose: a test for the tests.
//!
//! Each is a mistake that somebody made, or nearly made, in a system like this one. `scripts/seeded-bugs` builds the
//! suite with the feature `seeded-bugs`, switches one on after the other, and demands that the suite fails each time; without the feature, [`is`] is `false` at compile time
//! and nothing of them is in the binary. Never enable the feature for anything but those tests.

macro_rules! bugs {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A mistake that the suite must find.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Bug { $($(#[$doc])* $name,)* }

        impl Bug {
            /// All of them.
            pub const ALL: &'static [Bug] = &[$(Bug::$name,)*];

            /// The bug of this name, as it is written here.
            pub fn named(name: &str) -> Option<Bug> {
                match name {
                    $(stringify!($name) => Some(Bug::$name),)*
                    _ => None,
                }
            }
        }
    };
}

bugs! {
    /// `Q` is one too small.
    QuorumOneTooSmall,
    /// A quorum counts vertices, not authors: twins count twice.
    AuthorsNotCountedOnce,
    /// A slot is skipped when any of its twins has a quorum of blames.
    SkipOnAnyTwin,
    /// A vertex that doesn't link the leader has no vote, though its parents have one.
    VoteNotInherited,
    /// A vertex is sent before it is durable.
    PersistenceAfterSending,
    /// What was committed before a restart is forgotten.
    DeduplicationLostAtRestart,
    /// Garbage collection goes by one's own round, not by committed leaders.
    GcByLocalState,
    /// The coin is combined from f + 1 shares.
    CoinAtTooFewShares,
    /// Leaves and inner nodes of a tree are hashed alike.
    LeafInnerDomainMissing,
    /// An exclusion proof may end in any leaf, whatever its path.
    ExclusionWithoutPathCheck,
    /// A nonce may be used again once it is out of the newest hundred.
    NonceWindowTooShort,
    /// An attestation leaves before the store is durable.
    AttestBeforeDurable,
    /// An empty journal is taken for that of a validator that has never run.
    LostJournalNotNoticed,
    /// Whoever lost its journal goes on when f + 1 others have answered.
    RejoinAtTooFewAnswers,
}

/// The environment variable that names the bug to switch on, for the whole process.
pub const VARIABLE: &str = "VIOLETA_SEEDED_BUG";

/// Whether this bug is switched on.
#[cfg(feature = "seeded-bugs")]
pub fn is(bug: Bug) -> bool {
    static ACTIVE: std::sync::OnceLock<Option<Bug>> = std::sync::OnceLock::new();
    #[expect(
        clippy::disallowed_methods,
        reason = "switches a test's bug on, nothing else"
    )]
    let active = ACTIVE.get_or_init(|| Bug::named(&std::env::var(VARIABLE).ok()?));
    *active == Some(bug)
}

/// Whether this bug is switched on: never, without the feature `seeded-bugs`.
#[cfg(not(feature = "seeded-bugs"))]
#[inline(always)]
pub const fn is(_bug: Bug) -> bool {
    false
}
