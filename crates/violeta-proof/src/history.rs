//! That an older head is an ancestor of a newer one, by the newer one's `history_root` (replica.md §2, §7).
//!
//! ```text
//!   head 1 ─┐
//!   head 2 ─┼─ Merkle tree over the ids of heads 1 … h−1 ──▶ history_root in head h
//!     …     │      leaf index = height − 1, count = h − 1
//!   head h−1┘
//! ```
//!
//! Both numbers that shape the path are bound by heads: the count by the height of the trusted one, the index by the
//! height of the older one, whose id is the leaf. So a path carries siblings only, and there is nothing in it to lie
//! with but digests.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use violeta_types::codec::Bounded;
use violeta_types::merkle::{self, PATH_MAX, Path};
use violeta_types::{Certificate, Digest, Head, Seal};

use crate::error::ProofError;
use crate::head::TrustedHead;

/// The way from an older head's id to a newer head's `history_root`: digests beside it, bottom up.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HistoryPath {
    siblings: Bounded<Digest, PATH_MAX>,
}

impl HistoryPath {
    /// The path of `path`, whose index and count the heads will say again.
    pub fn new(path: Path) -> Self {
        HistoryPath {
            siblings: path.siblings,
        }
    }
}

/// A signed word for a head itself.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// A quorum's signatures.
    Certificate(Certificate),
    /// The group's threshold signature.
    Seal(Seal),
}

/// What convinces of a head that has no word of its own: a newer one that has, with the older one in its history.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Successor {
    /// The newer head.
    pub head: Head,
    /// Who vouches for it.
    pub word: Word,
    /// From the older head's id to the newer one's history root.
    pub path: HistoryPath,
}

impl TrustedHead {
    /// Trusts `older`, because `path` leads from it into this head's history.
    ///
    /// # Errors
    /// [`ProofError::OtherChain`], or [`ProofError::History`] if `older` isn't below this head or the path leads
    /// elsewhere.
    pub fn ancestor(&self, older: &Head, path: &HistoryPath) -> Result<TrustedHead, ProofError> {
        let newer = self.head();
        if older.chain != newer.chain {
            return Err(ProofError::OtherChain {
                expected: newer.chain,
                found: older.chain,
            });
        }
        let fail = ProofError::History {
            older: older.height,
            newer: newer.height,
        };
        let index = older.height.checked_previous().ok_or(fail.clone())?;
        let count = newer.height.checked_previous().ok_or(fail.clone())?;
        let path = Path {
            index: index.0,
            count: count.0,
            siblings: path.siblings.clone(),
        };
        let id = older.id();
        // A path whose index isn't below its count leads nowhere: a head isn't its own ancestor.
        if path.root(merkle::HISTORY, &id.0) != Some(newer.history_root) {
            return Err(fail);
        }
        Ok(TrustedHead::new_checked(older.clone(), id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{certificate, committee, head};
    use violeta_types::merkle::HISTORY;
    use violeta_types::{ChainId, Height};

    /// Heads 1 … n, each with the history of those before it.
    fn heads(n: u64) -> Vec<Head> {
        let committee = committee(&[1]);
        let mut heads: Vec<Head> = Vec::new();
        for height in 1..=n {
            let history_root = HISTORY.root(heads.iter().map(|h| h.id().0));
            heads.push(Head {
                history_root,
                ..head(height, &committee)
            });
        }
        heads
    }

    fn trusted(head: &Head) -> TrustedHead {
        let committee = committee(&[1]);
        let certificate = certificate(head, &[0]);
        let checked = crate::head::check_certificate(&certificate, head, &committee);
        checked.unwrap().0
    }

    fn path(heads: &[Head], older: usize, newer: usize) -> HistoryPath {
        let leaves: Vec<_> = heads[..newer].iter().map(|h| h.id().0).collect();
        HistoryPath::new(HISTORY.path(&leaves, older).unwrap())
    }

    #[test]
    fn every_older_head_is_proved_by_every_newer_one() {
        let heads = heads(12);
        for newer in 0..heads.len() {
            let trusted = trusted(&heads[newer]);
            for older in 0..newer {
                let path = path(&heads, older, newer);
                let ancestor = trusted.ancestor(&heads[older], &path).unwrap();
                assert_eq!(ancestor.head(), &heads[older]);
                assert_eq!(ancestor.id(), heads[older].id());
            }
        }
    }

    #[test]
    fn a_head_with_another_height_content_or_path_is_no_ancestor() {
        let heads = heads(12);
        let newest = trusted(&heads[11]);
        let good = path(&heads, 4, 11);
        for other in &heads {
            let proved = newest.ancestor(other, &good).is_ok();
            assert_eq!(proved, other.height == Height(5), "{}", other.height);
        }
        for height in [0, 4, 6, 12, 13, u64::MAX] {
            let moved = Head {
                height: Height(height),
                ..heads[4].clone()
            };
            assert!(newest.ancestor(&moved, &good).is_err(), "{height}");
        }
        for i in 0..good.siblings.len() {
            let mut siblings = good.siblings.clone().into_inner();
            siblings[i].0[0] ^= 1;
            let bent = HistoryPath {
                siblings: siblings.try_into().unwrap(),
            };
            assert!(newest.ancestor(&heads[4], &bent).is_err());
        }
        let mut longer = good.siblings.clone().into_inner();
        longer.push(Digest::ZERO);
        let longer = HistoryPath {
            siblings: longer.try_into().unwrap(),
        };
        assert!(newest.ancestor(&heads[4], &longer).is_err());
    }

    #[test]
    fn a_head_of_another_chain_is_no_ancestor() {
        let heads = heads(3);
        let other = Head {
            chain: ChainId(Digest::ZERO),
            ..heads[0].clone()
        };
        assert!(matches!(
            trusted(&heads[2]).ancestor(&other, &path(&heads, 0, 2)),
            Err(ProofError::OtherChain { .. })
        ));
    }

    #[test]
    fn the_first_head_has_no_ancestors() {
        let heads = heads(1);
        let empty = HistoryPath {
            siblings: Bounded::default(),
        };
        assert!(trusted(&heads[0]).ancestor(&heads[0], &empty).is_err());
    }
}
