//! The whole proof of a key: what a client needs to believe a value, or that there is none.
//!
//! ```text
//!   (namespace, key) ─▶ written_at: u64 LE ‖ value ── path in the space ── path in the top tree ──▶ state_root
//!                                                                          head at that height ◀────┘── vouched for
//! ```
//!
//! A namespace of the Database machine is a space of the store, so the claim is bound by both paths. The stored value
//! holds the height at which it was written (replica.md §1), so that is proved too. What is proved holds *at the
//! head's height*; whether that is the newest is for the client to ask.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use violeta_types::transaction::{Key, NamespaceName};
use violeta_types::{Head, Height};

use crate::error::ProofError;
use crate::head::{TrustedHead, Vouch, Vouchers};
use crate::stored_value::StoredValue;
use crate::tree::TreeProof;
use crate::trust::Trust;

/// Bytes of a key proof, as JSON: twice the largest value, and room for paths and signatures.
pub const KEY_PROOF_JSON_BYTES_MAX: usize = 2 * violeta_types::limits::VALUE_BYTES_MAX + (2 << 20);

/// A key's value or absence at a height, and what convinces of it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyProof {
    /// The namespace: the name of the space.
    pub namespace: NamespaceName,
    /// The key.
    pub key: Key,
    /// The claim: this value, or none.
    pub value: Option<StoredValue>,
    /// From the claim to the head's state root.
    pub tree: TreeProof,
    /// The head of the version.
    pub head: Head,
    /// Who vouches for the head.
    pub vouch: Vouch,
}

/// An answer that was proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedAnswer {
    /// The namespace.
    pub namespace: NamespaceName,
    /// The key.
    pub key: Key,
    /// Its value, or none, at the head's height.
    pub value: Option<StoredValue>,
    /// The head that it was proved against.
    pub head: TrustedHead,
    /// Whose word was taken for the head.
    pub vouchers: Vouchers,
    /// The height that their word was given for: the head's own, or a newer one whose history leads to it.
    pub vouched_height: Height,
}

impl KeyProof {
    /// Checks the whole proof.
    ///
    /// # Errors
    /// The part that failed.
    pub fn verify(&self, trust: &Trust) -> Result<VerifiedAnswer, ProofError> {
        let (head, vouchers) = trust.head(&self.head, &self.vouch)?;
        self.verify_under(&head)?;
        Ok(VerifiedAnswer {
            namespace: self.namespace.clone(),
            key: self.key.clone(),
            value: self.value.clone(),
            head,
            vouchers,
            vouched_height: self.vouch.height(&self.head),
        })
    }

    /// Checks all but the vouch, under a head that is trusted already.
    fn verify_under(&self, trusted: &TrustedHead) -> Result<(), ProofError> {
        let head = trusted.head();
        let stored = self.value.as_ref().map(StoredValue::to_stored);
        self.tree.verify(
            &head.state_root,
            &self.namespace,
            &self.key,
            stored.as_deref(),
        )?;
        match &self.value {
            Some(value) if value.written_at > head.height => Err(ProofError::WrittenLater {
                written_at: value.written_at,
                height: head.height,
            }),
            _ => Ok(()),
        }
    }

    /// Decodes a whole proof.
    ///
    /// # Errors
    /// If the bytes aren't the canonical encoding of one.
    pub fn decode(bytes: &[u8]) -> Result<Self, ProofError> {
        Ok(violeta_types::decode(bytes)?)
    }

    /// Reads the JSON form.
    ///
    /// # Errors
    /// If it isn't one.
    pub fn from_json(text: &str) -> Result<Self, ProofError> {
        crate::json::read(text, KEY_PROOF_JSON_BYTES_MAX)
    }

    /// The JSON form.
    pub fn to_json(&self) -> String {
        crate::json::write(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{HistoryPath, Successor, Word};
    use crate::testing::{certificate, chain, committee, damaged, digest, head};
    use crate::tree::{
        Branch, End, FANOUT, KeyPath, Place, SpaceRecord, TreeProofError, leaf_hash, node_hash,
        slots_root, top_hash,
    };
    use violeta_types::Digest;
    use violeta_types::merkle::HISTORY;
    use violeta_types::transaction::Value;

    const SPACE: &[u8] = b"shop";
    const KEYS: [&[u8]; 3] = [b"pear", b"fig", b"plum"];

    fn stored(key: &[u8]) -> StoredValue {
        StoredValue {
            written_at: Height(3),
            value: Value::try_from([b"price of ", key].concat()).unwrap(),
        }
    }

    fn slots() -> [Option<Digest>; FANOUT] {
        let mut slots = [None; FANOUT];
        for key in KEYS {
            let slot = &mut slots[KeyPath::of(key).slot(0)];
            assert!(slot.is_none(), "the test wants one node");
            *slot = Some(leaf_hash(key, &stored(key).to_stored()));
        }
        slots
    }

    /// The branch of a key in the one node: of the halves beside its slot those that aren't empty.
    fn branch(key: &[u8]) -> Branch {
        let (slots, slot) = (slots(), KeyPath::of(key).slot(0));
        let beside = |width: usize| {
            let start = (slot ^ width) & !(width - 1);
            let mut half = [None; FANOUT];
            half[start..start + width].copy_from_slice(&slots[start..start + width]);
            slots_root(&half)
        };
        let siblings: Vec<_> = [1, 2, 4, 8].into_iter().filter_map(beside).collect();
        Branch {
            bitmaps: vec![bitmap()].try_into().unwrap(),
            siblings: siblings.try_into().unwrap(),
        }
    }

    fn bitmap() -> u16 {
        let filled = slots().map(|slot| u16::from(slot.is_some()));
        filled.iter().zip(0..).map(|(bit, i)| bit << i).sum()
    }

    fn proof(key: &[u8]) -> KeyProof {
        let record = SpaceRecord {
            count: KEYS.len() as u64,
            root: node_hash(bitmap(), &slots_root(&slots()).unwrap()),
            ..SpaceRecord::EMPTY
        };
        let head = Head {
            state_root: top_hash(&record.leaf_hash(SPACE)),
            ..head(7, &committee(&[1, 1, 1, 1]))
        };
        let value = KEYS.contains(&key).then(|| stored(key));
        let end = match value {
            Some(_) => End::Leaf,
            None => End::Empty,
        };
        let branch = branch(key);
        KeyProof {
            namespace: SPACE.try_into().unwrap(),
            key: key.try_into().unwrap(),
            value,
            tree: TreeProof {
                top: Branch::default(),
                place: Place::Present {
                    record,
                    branch,
                    end,
                },
            },
            vouch: Vouch::Certificate(certificate(&head, &[1, 2, 3])),
            head,
        }
    }

    fn absent_key() -> Vec<u8> {
        let free = |key: &Vec<u8>| bitmap() >> KeyPath::of(key).slot(0) & 1 == 0;
        (0u8..).map(|i| vec![i]).find(free).unwrap()
    }

    fn trust() -> Trust {
        Trust::in_committee(chain(), committee(&[1, 1, 1, 1]))
    }

    fn claim(answer: &VerifiedAnswer) -> (&[u8], &[u8], &Option<StoredValue>, &Head) {
        let VerifiedAnswer {
            namespace,
            key,
            value,
            head,
            ..
        } = answer;
        (namespace, key, value, head.head())
    }

    #[test]
    fn values_and_absence_are_proved() {
        for key in KEYS {
            let answer = proof(key).verify(&trust()).unwrap();
            let expected = (SPACE, key, &Some(stored(key)), &proof(key).head);
            assert_eq!(claim(&answer), expected);
        }
        let key = absent_key();
        let answer = proof(&key).verify(&trust()).unwrap();
        assert_eq!(answer.value, None);
        assert_eq!(&answer.key[..], key);
    }

    #[test]
    fn no_damaged_proof_proves_what_is_not_so() {
        let by_successor = KeyProof {
            vouch: successor(&proof(KEYS[0]).head),
            ..proof(KEYS[0])
        };
        for good in [proof(KEYS[0]), proof(&absent_key()), by_successor] {
            let bytes = violeta_types::encode(&good);
            assert_eq!(KeyProof::decode(&bytes).unwrap(), good);
            for damaged in damaged(&bytes) {
                let Ok(proof) = KeyProof::decode(&damaged) else {
                    continue;
                };
                if proof.verify(&trust()).is_err() {
                    continue;
                }
                // A proof has one form, so it can't change at all; except that an empty slot shows every key absent
                // whose way ends there. That is true of them.
                let renamed = KeyProof {
                    key: proof.key.clone(),
                    ..good.clone()
                };
                assert_eq!(proof, renamed);
                assert_eq!(proof.value, None);
                assert!(!KEYS.contains(&&proof.key[..]));
            }
        }
    }

    /// The word for head 10 with the path to `head`, which is head 7.
    fn successor(head: &Head) -> Vouch {
        let mut leaves: Vec<_> = (1..10).map(|h| digest(&format!("head {h}"))).collect();
        leaves[6] = head.id().0;
        let newer = Head {
            history_root: HISTORY.root(leaves.iter().copied()),
            ..crate::testing::head(10, &committee(&[1, 1, 1, 1]))
        };
        Vouch::Successor(Box::new(Successor {
            word: Word::Certificate(certificate(&newer, &[0, 1, 3])),
            path: HistoryPath::new(HISTORY.path(&leaves, 6).unwrap()),
            head: newer,
        }))
    }

    #[test]
    fn a_height_without_a_word_of_its_own_is_proved_by_a_newer_one() {
        let mut good = proof(KEYS[0]);
        good.vouch = successor(&good.head);
        let answer = good.verify(&trust()).unwrap();
        assert_eq!(claim(&answer).3, &good.head);
        assert_eq!(
            (answer.head.head().height, answer.vouched_height),
            (Height(7), Height(10))
        );
        let of = |change: &dyn Fn(&mut Successor)| {
            let mut proof = good.clone();
            let Vouch::Successor(successor) = &mut proof.vouch else {
                unreachable!("made above")
            };
            change(successor);
            proof.verify(&trust()).unwrap_err()
        };
        // Each of the three parts is needed.
        assert!(matches!(
            of(&|s| s.head.time.0 += 1),
            ProofError::OtherHead { .. }
        ));
        let few = |s: &mut Successor| s.word = Word::Certificate(certificate(&s.head, &[0, 1]));
        assert!(matches!(of(&few), ProofError::TooLittleStake { .. }));
        let elsewhere = |s: &mut Successor| {
            let leaves = [Digest::ZERO; 9];
            s.path = HistoryPath::new(HISTORY.path(&leaves, 6).unwrap());
        };
        assert!(matches!(of(&elsewhere), ProofError::History { .. }));
        assert_eq!(KeyProof::from_json(&good.to_json()).unwrap(), good);
    }

    #[test]
    fn the_part_that_fails_is_named() {
        let good = proof(KEYS[0]);
        let verdict = |change: &dyn Fn(&mut KeyProof)| {
            let mut proof = good.clone();
            change(&mut proof);
            proof.verify(&trust()).unwrap_err()
        };
        let tree = |error| matches!(error, ProofError::Tree(TreeProofError::Root { .. }));
        assert!(tree(verdict(&|p| p.value = Some(stored(b"fig")))));
        assert!(tree(verdict(&|p| {
            p.value.as_mut().unwrap().written_at = Height(4);
        })));
        assert!(matches!(
            verdict(&|p| p.key = KEYS[1].try_into().unwrap()),
            ProofError::Tree(_)
        ));
        assert!(tree(verdict(&|p| {
            p.namespace = b"other"[..].try_into().unwrap();
        })));
        assert_eq!(
            verdict(&|p| p.value = None),
            ProofError::Tree(TreeProofError::ProvesPresence)
        );
        assert!(matches!(
            verdict(&|p| p.head.height = Height(8)),
            ProofError::OtherHead { .. }
        ));
        assert!(matches!(
            verdict(&|p| p.head.chain.0 = Digest::ZERO),
            ProofError::OtherChain { .. }
        ));
    }

    #[test]
    fn a_value_from_the_future_is_refused() {
        // Only a committee of liars could certify such a state; the client still shows no impossible date.
        let mut proof = proof(KEYS[0]);
        let late = StoredValue {
            written_at: Height(8),
            ..stored(KEYS[0])
        };
        let record = SpaceRecord {
            count: 1,
            root: leaf_hash(KEYS[0], &late.to_stored()),
            ..SpaceRecord::EMPTY
        };
        proof.value = Some(late);
        proof.tree.place = Place::Present {
            record,
            branch: Branch::default(),
            end: End::Leaf,
        };
        proof.head.state_root = top_hash(&record.leaf_hash(SPACE));
        proof.vouch = Vouch::Certificate(certificate(&proof.head, &[0, 1, 2]));
        assert!(matches!(
            proof.verify(&trust()),
            Err(ProofError::WrittenLater { .. })
        ));
    }

    #[test]
    fn a_proof_is_worth_nothing_to_who_trusts_another_committee() {
        let other = Trust::in_committee(chain(), committee(&[1, 1, 1, 2]));
        assert!(matches!(
            proof(KEYS[0]).verify(&other),
            Err(ProofError::UnknownCommittee { .. })
        ));
    }

    #[test]
    fn the_json_form_says_the_same_in_hexadecimal() {
        for good in [proof(KEYS[1]), proof(&absent_key())] {
            let json = good.to_json();
            assert!(json.contains("\"namespace\": \"73686f70\""), "{json}");
            assert_eq!(KeyProof::from_json(&json).unwrap(), good);
            assert!(KeyProof::from_json(&json.replace("\"key\"", "\"k\"")).is_err());
        }
        let huge = " ".repeat(KEY_PROOF_JSON_BYTES_MAX + 1);
        assert!(KeyProof::from_json(&huge).is_err());
    }
}
