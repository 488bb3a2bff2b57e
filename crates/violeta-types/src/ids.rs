//! Numbers and names that can't be mixed up: a [`Height`] isn't a [`Round`].

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::digest::Digest;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize,
            BorshDeserialize, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl $name {
            /// The number after this one (saturating).
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }

            /// The number before this one, if there is one.
            pub const fn checked_previous(self) -> Option<Self> {
                match self.0.checked_sub(1) {
                    Some(n) => Some(Self(n)),
                    None => None,
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl From<$inner> for $name {
            fn from(n: $inner) -> Self {
                Self(n)
            }
        }
    };
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize,
            BorshDeserialize, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub Digest);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({}…)", stringify!($name), &self.0.to_string()[..8])
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                self.0.as_ref()
            }
        }

        impl std::str::FromStr for $name {
            type Err = crate::codec::DecodeError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}
pub(crate) use name;

number! {
    /// A committee's term, from 0.
    Epoch(u64)
}
number! {
    /// A layer of the graph, from 1; round 0 holds the epoch's virtual vertices.
    Round(u64)
}
number! {
    /// A validator's position in the committee, from 0.
    ValidatorIndex(u16)
}
number! {
    /// Voting weight of a validator or of several.
    Stake(u64)
}
number! {
    /// Position in the commit log, from 1; 0 is before the first.
    CommitIndex(u64)
}
number! {
    /// A block's height and the store's version, from 1; 0 is the state of genesis.
    Height(u64)
}
number! {
    /// Milliseconds since the Unix epoch.
    TimeMs(u64)
}
number! {
    /// A client's number for one of its transactions, from 1.
    Nonce(u64)
}

name! {
    /// Digest of the genesis: names the chain, and is bound by everything signed on it.
    ChainId
}
name! {
    /// A client: the digest of the typed public key that it first registered.
    ClientId
}
name! {
    /// A transaction: the digest of all of it but the signature.
    TxId
}

impl Round {
    /// This round less `depth`, not below 0.
    #[must_use]
    pub const fn back(self, depth: u64) -> Round {
        Round(self.0.saturating_sub(depth))
    }

    /// This round plus `n` (saturating).
    #[must_use]
    pub const fn forward(self, n: u64) -> Round {
        Round(self.0.saturating_add(n))
    }
}

impl ValidatorIndex {
    /// As an index into slices of the committee's length.
    pub const fn as_usize(self) -> usize {
        self.0 as usize
    }
}
