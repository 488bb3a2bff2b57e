//! The first record of a validator's journal, and what it is good for (consensus.md §9).
//!
//! ```text
//!   set up, once        ▶ [ Provision │                      nothing was ever signed with this key
//!   a life              ▶ [ Provision │ Vertex │ Commit │ …   all that was signed is in here: go on
//!   journal lost        ▶ [                                   amnesia: something may have been signed
//!   the life after that ▶ [ Amnesia │ Vertex │ Commit │ …     amnesia, to the end of the epoch, or until
//!   told by a quorum    ▶ [ Amnesia │ Vertex │ … │ Rejoin │ …  all that was signed above the floor is in here
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
//! **Coming back.** If it is configured to ([`Setup::rejoin`](crate::Setup::rejoin)), an amnesiac asks the others how far
//! its lost lives can have got, and goes on above that once Q of them have answered; why that is safe stands in
//! `violeta-consensus`, `core/rejoin.rs`. The floor is durable before the first vertex is made, so a crash right after
//! doesn't lose it; if the journal is lost once more, all begins anew.
//!
//! **What this doesn't see**: a journal that was put back from a copy begins with a [`Provision`] and yet lacks what
//! was sent since. When such a vertex comes back from a peer the core says so, and that is amnesia, too; until then
//! the validator may make one that it has made before. Never go on with a copy of a journal. Such a validator doesn't ask:
//! it has been speaking in the meantime, and what has put a copy there may do so again.

use borsh::{BorshDeserialize, BorshSerialize};
use violeta_types::{ChainId, Epoch, Round, ValidatorPublicKey};

/// Says that a journal was made before its validator signed anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Provision {
    /// The chain.
    pub chain: ChainId,
    /// The validator's key on it.
    pub validator: ValidatorPublicKey,
}

/// Says that a quorum has told a validator that lost its journal how far its lost lives may have got (consensus.md §9).
/// It is durable before a vertex is made; what is made from then on is in the journal behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Rejoin {
    /// In which epoch.
    pub epoch: Epoch,
    /// No vertex is made of this round or below.
    pub floor: Round,
}

/// What a journal says of the validator's past.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Past {
    /// No record has been read yet.
    #[default]
    Unread,
    /// It began before anything was signed.
    Whole,
    /// It begins with something else than its beginning.
    Untold,
    /// It says that the one before it was lost: amnesia, until a quorum has told.
    Lost,
    /// A quorum has told: what was signed above this round is in here.
    Rejoined(Round),
    /// In the midst of a life it turned out to lack something: a copy was put back, or the key is in other hands.
    /// Amnesia, and asking doesn't help: whatever the cause is goes on.
    Broken,
}

impl Past {
    /// Whether own vertices may exist that could be made again.
    pub(crate) fn is_amnesia(self) -> bool {
        matches!(self, Past::Lost | Past::Broken)
    }

    /// What a record of amnesia makes of it: the first thing in a journal that was begun after a loss, or, when the
    /// beginning alone was lost, the first thing that is told.
    pub(crate) fn with_amnesia(self) -> Past {
        match self {
            Past::Unread | Past::Untold => Past::Lost,
            Past::Whole | Past::Lost | Past::Rejoined(_) | Past::Broken => Past::Broken,
        }
    }

    /// What a floor makes of it; none if nobody asked for one.
    pub(crate) fn with_floor(self, floor: Round) -> Option<Past> {
        (self == Past::Lost).then_some(Past::Rejoined(floor))
    }
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

    #[test]
    fn the_bytes_of_a_rejoin_are_epoch_and_floor() {
        let (epoch, floor) = (Epoch(3), Round(258));
        let bytes = encode(&Rejoin { epoch, floor });
        assert_eq!(bytes, [3, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(decode::<Rejoin>(&bytes), Ok(Rejoin { epoch, floor }));
    }

    #[test]
    fn only_a_journal_that_was_lost_before_its_first_record_is_made_good_by_a_quorum() {
        let floor = Round(9);
        let lost = Past::Unread.with_amnesia();
        assert_eq!(lost.with_floor(floor), Some(Past::Rejoined(floor)));
        assert_eq!(Past::Untold.with_amnesia(), Past::Lost);
        for past in [Past::Whole, Past::Rejoined(floor), Past::Broken] {
            assert_eq!(past.with_amnesia(), Past::Broken);
            assert_eq!(past.with_floor(floor), None);
        }
        let amnesiacs = [Past::Lost, Past::Broken];
        assert!(amnesiacs.iter().all(|past| past.is_amnesia()));
        let others = [Past::Whole, Past::Rejoined(floor)];
        assert!(!others.iter().any(|past| past.is_amnesia()));
    }
}
