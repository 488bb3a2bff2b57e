//! What a chain begins with: who its validators are, and its parameters. Its digest is the chain id.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::codec::Bounded;
use crate::committee::Committee;
use crate::digest::{Digest, Domain};
use crate::ids::{ChainId, Epoch, TimeMs};
use crate::keys::ClientPublicKey;
use crate::limits::LEADERS_MAX;

/// How leaders are elected (consensus.md §4).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Election {
    /// By the common coin, known only after the votes are cast.
    Coin,
    /// By the epoch's seed: the same for the whole epoch.
    Seeded,
    /// In turn.
    RoundRobin,
}

/// Who may become a client (replica.md §1).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Admission {
    /// An administrator registers clients.
    Closed,
    /// A first valid transaction creates the account.
    Open,
}

/// Epoch data of the consensus (consensus.md §4).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    /// Wave length `w`, in rounds: 3, 4 or 5.
    pub wave_length: u64,
    /// Leaders per round, `L`.
    pub leaders: u32,
    /// How leaders are elected.
    pub election: Election,
    /// Garbage collection depth `G`, in rounds.
    pub gc_depth: u64,
}

/// Parameters that no chain may have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GenesisError {
    /// See the message.
    #[error("wave_length is {0}; it must be 3, 4 or 5")]
    WaveLength(u64),
    /// See the message.
    #[error(
        "leaders is {0}; it must be from 1 to {LEADERS_MAX}, and no more than there are validators"
    )]
    Leaders(u32),
    /// See the message.
    #[error("gc_depth is {0}; it must be from 32 to 65536 rounds")]
    GcDepth(u64),
    /// See the message.
    #[error("the coin needs a group key, which needs equal stakes: choose election = \"seeded\"")]
    CoinWithoutKey,
    /// See the message.
    #[error("the committee of a genesis serves epoch 0, not {0}")]
    Epoch(Epoch),
    /// See the message.
    #[error("a closed chain needs at least one administrator")]
    NoAdministrator,
    /// See the message.
    #[error("the chain's name must be 1 to 64 printable ASCII characters")]
    Name,
}

impl Parameters {
    /// The defaults for `n` validators: w = 4, two leaders by coin, `G` falling from 1,024 to 64.
    pub fn for_validators(n: usize) -> Self {
        Parameters {
            wave_length: 4,
            leaders: n.clamp(1, 2) as u32,
            election: Election::Coin,
            gc_depth: (4_096 / n.max(1) as u64).clamp(64, 1_024),
        }
    }
}

/// What a chain begins with.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Genesis {
    /// The chain's name, for people.
    pub name: String,
    /// When the chain began: the commit log's time starts here.
    pub time: TimeMs,
    /// The first committee.
    pub committee: Committee,
    /// Epoch data of the consensus.
    pub parameters: Parameters,
    /// Who may become a client.
    pub admission: Admission,
    /// Keys of the administrators' accounts, which exist from the beginning.
    pub administrators: Bounded<ClientPublicKey, 64>,
}

impl Genesis {
    /// Whether a chain can begin with this.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), GenesisError> {
        let Parameters {
            wave_length,
            leaders,
            election,
            gc_depth,
        } = self.parameters;
        let name_fits = (1..=64).contains(&self.name.len());
        if !name_fits || !self.name.bytes().all(|b| (0x20..0x7f).contains(&b)) {
            return Err(GenesisError::Name);
        }
        if !(3..=5).contains(&wave_length) {
            return Err(GenesisError::WaveLength(wave_length));
        }
        if leaders == 0 || leaders as usize > LEADERS_MAX.min(self.committee.len()) {
            return Err(GenesisError::Leaders(leaders));
        }
        if !(32..=65_536).contains(&gc_depth) {
            return Err(GenesisError::GcDepth(gc_depth));
        }
        if election == Election::Coin && self.committee.group_key().is_none() {
            return Err(GenesisError::CoinWithoutKey);
        }
        if self.committee.epoch() != Epoch(0) {
            return Err(GenesisError::Epoch(self.committee.epoch()));
        }
        if self.admission == Admission::Closed && self.administrators.is_empty() {
            return Err(GenesisError::NoAdministrator);
        }
        Ok(())
    }

    /// The chain's id: the digest of all of this.
    pub fn chain_id(&self) -> ChainId {
        ChainId(Domain::Genesis.hash_encoded(self))
    }

    /// The seed of epoch 0.
    pub fn seed(&self) -> Digest {
        Domain::EpochSeed.hash_parts(&[self.chain_id().as_ref(), &0u64.to_le_bytes()])
    }
}
