//! The first record of a validator's journal, and what it is good for (consensus.md §9).
//!
//! ```text
//!   set up, once        ▶ [ Provision │                      nothing was ever signed with this key
//!   a life              ▶ [ Provision │ Vertex │ Commit │ …   all that was signed is in here: go on
//!   journal lost        ▶ [                                   amnesia: something may have been signed
//!   the life after that ▶ [ Amnesia │ Vertex │ Commit │ …     amnesia, to the end of the epoch
//! ```
//!
//! A validator that finds an empty journal can't tell its first start from the loss of its disk, and its peers can't
//! tell it: at the first start up to f of them may be down, and those that are up may not have seen what it sent. So
//! the first start is made known by hand: whoever sets a validator up writes a [`Provision`] into its journal, once.
//! A journal that doesn't begin with one may lack vertices that were sent.
//!
//! **What an amnesiac does.** It makes no vertex and takes no transactions. It follows, serves, executes and attests:
//! an attestation says nothing but which head the agreed log has at a height, the log is the same everywhere, and
//! execution is deterministic; so what it attests again is what it attested before. A vertex is different: what goes
//! into it is the author's choice.
//!
//! **What this doesn't see**: a journal that was put back from a copy begins with a [`Provision`] and yet lacks what
//! was sent since. When such a vertex comes back from a peer the core says so, and that is amnesia, too; until then
//! the validator may make one that it has made before. Never go on with a copy of a journal.

use borsh::{BorshDeserialize, BorshSerialize};
use violeta_types::{ChainId, ValidatorPublicKey};

/// Says that a journal was made before its validator signed anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Provision {
    /// The chain.
    pub chain: ChainId,
    /// The validator's key on it.
    pub validator: ValidatorPublicKey,
}

/// What a journal that is being read says of the validator's past.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Past {
    /// No record has been read yet.
    #[default]
    Unread,
    /// It begins by saying it: with a provision, or with the epoch in which it was lost.
    Told,
    /// It begins with something else.
    Untold,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{CHAIN, key};
    use violeta_types::{decode, encode};

    #[test]
    fn the_bytes_of_a_provision_are_chain_and_key() {
        let provision = Provision {
            chain: CHAIN,
            validator: key(4).public_key(),
        };
        let bytes = encode(&provision);
        assert_eq!(bytes, [CHAIN.0.0, key(4).public_key().0].concat());
        assert_eq!(decode::<Provision>(&bytes), Ok(provision));
        for len in 0..bytes.len() {
            assert!(decode::<Provision>(&bytes[..len]).is_err(), "{len} bytes");
        }
    }
}
