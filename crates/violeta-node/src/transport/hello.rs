//! The first words on a connection.
//!
//! ```text
//!  who dials    ── Hello { protocol version, chain } ──▶  who listens
//!               ◀── Answer: Welcome, or why not ─────────
//!               ── messages, to the end of the connection ──▶
//! ```
//!
//! TLS has already shown each who the other is. The hello makes sure that both speak the same protocol on the same
//! chain; the chain's id is the digest of its genesis, so it is the same genesis too (replica.md §9).

use std::time::Duration;

use borsh::{BorshDeserialize, BorshSerialize};
use violeta_types::ChainId;

/// Version of the protocol between validators. Another version is refused.
pub const PROTOCOL_VERSION: u32 = 3;
/// How long TLS and hello may take together.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of the longest first word.
pub const HELLO_BYTES_MAX: usize = 128;

const MAGIC: [u8; 8] = *b"violeta\n";

/// What who dials says first.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Hello {
    magic: [u8; 8],
    version: u32,
    chain: ChainId,
}

/// What who listens answers.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Answer {
    /// Go on.
    Welcome,
    /// Another protocol is spoken here.
    OtherVersion {
        /// Which.
        version: u32,
    },
    /// This is another chain.
    OtherChain {
        /// Which.
        chain: ChainId,
    },
    /// This validator is refused for a while, because of what it sent before.
    Refused,
}

impl Hello {
    /// The hello of a validator of `chain`.
    pub fn new(chain: ChainId) -> Self {
        Hello {
            magic: MAGIC,
            version: PROTOCOL_VERSION,
            chain,
        }
    }

    /// What a validator of `chain` answers.
    pub fn answer(&self, chain: ChainId) -> Answer {
        if self.magic != MAGIC || self.version != PROTOCOL_VERSION {
            return Answer::OtherVersion {
                version: PROTOCOL_VERSION,
            };
        }
        if self.chain != chain {
            return Answer::OtherChain { chain };
        }
        Answer::Welcome
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Answer::Welcome => f.write_str("welcome"),
            Answer::OtherVersion { version } => write!(
                f,
                "it speaks protocol version {version}, this node {PROTOCOL_VERSION}: run the same release on both"
            ),
            Answer::OtherChain { chain } => write!(
                f,
                "it is on chain {chain}: compare the genesis files, they must be the same to the last byte"
            ),
            Answer::Refused => {
                f.write_str("it refuses this node for a while because of what it sent")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use violeta_types::{Digest, encode};

    #[test]
    fn another_version_or_chain_is_told_so() {
        let (ours, theirs) = (ChainId(Digest([1; 32])), ChainId(Digest([2; 32])));
        assert_eq!(Hello::new(ours).answer(ours), Answer::Welcome);
        let other = Answer::OtherChain { chain: ours };
        assert_eq!(Hello::new(theirs).answer(ours), other);
        let mut newer = Hello::new(theirs);
        newer.version += 1;
        assert!(matches!(newer.answer(ours), Answer::OtherVersion { .. }));
    }

    #[test]
    fn first_words_fit_their_bound() {
        let chain = ChainId(Digest([9; 32]));
        assert!(encode(&Hello::new(chain)).len() <= HELLO_BYTES_MAX);
        assert!(encode(&Answer::OtherChain { chain }).len() <= HELLO_BYTES_MAX);
    }
}
