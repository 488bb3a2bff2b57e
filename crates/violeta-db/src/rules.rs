//! Which items may be in a vertex at all: judged by their bytes and the genesis alone (consensus.md §2, V6).
//!
//! A client item is well formed iff it is the canonical encoding of a transaction within the limits, for this chain,
//! with a nonce from 1, at most [`ROTATIONS_MAX`] key rotations, and signed by the key that it carries. All signatures
//! of a call are checked in one batch. Whether the key has an account, whether names are well formed and conditions
//! hold is decided at execution and recorded (replica.md §1).
//!
//! There are no system items in this version: one in a vertex makes it invalid.

use violeta_crypto::signing::verify_transactions;
use violeta_replica::{ItemMeta, Rejection, Rules};
use violeta_types::limits::ROTATIONS_MAX;
use violeta_types::{
    ChainId, ClientPublicKey, ClientSignature, Item, Nonce, Operation, Transaction, TxId,
};

/// The Database machine's rules.
#[derive(Clone, Copy, Debug)]
pub struct DbRules {
    chain: ChainId,
}

impl DbRules {
    /// The rules of a chain.
    pub fn new(chain: ChainId) -> Self {
        DbRules { chain }
    }

    /// All but the signature.
    fn form(&self, item: &Item) -> Result<(ItemMeta, ClientSignature), Rejection> {
        let Item::Client(bytes) = item else {
            return reject("the Database machine takes no system items");
        };
        let transaction = Transaction::decode(bytes).map_err(|e| Rejection(e.to_string()))?;
        let Some(id) = Transaction::id_of_encoded(bytes) else {
            return reject("too short for a transaction");
        };
        let body = &transaction.body;
        if body.chain != self.chain {
            return reject(&format!("for chain {}, this is {}", body.chain, self.chain));
        }
        if body.nonce == Nonce(0) {
            return reject("nonce 0: nonces count from 1");
        }
        let is_rotation = |operation: &&Operation| matches!(operation, Operation::RotateKey { .. });
        if body.operations.iter().filter(is_rotation).count() > ROTATIONS_MAX {
            return reject("more than one key rotation in a transaction");
        }
        let meta = ItemMeta {
            id,
            client: Some(body.key),
            nonce: body.nonce,
            expires: body.expires,
        };
        Ok((meta, transaction.signature))
    }
}

fn reject<T>(reason: &str) -> Result<T, Rejection> {
    Err(Rejection(reason.to_owned()))
}

impl Rules for DbRules {
    fn check(&self, items: &[Item]) -> Vec<Result<ItemMeta, Rejection>> {
        let formed: Vec<_> = items.iter().map(|item| self.form(item)).collect();
        let signed: Vec<(ClientPublicKey, TxId, ClientSignature)> = formed
            .iter()
            .flatten()
            .filter_map(|(meta, signature)| Some((meta.client?, meta.id, *signature)))
            .collect();
        let mut verdicts = verify_transactions(&signed).into_iter();
        formed
            .into_iter()
            .map(|form| {
                let (meta, _) = form?;
                match verdicts.next() {
                    Some(true) => Ok(meta),
                    _ => reject("the signature is wrong"),
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use bytes::Bytes;
    use violeta_types::{Admission, Digest, TransactionBody};

    const ALICE: Client = Client(1);

    fn rules() -> DbRules {
        DbRules::new(genesis(Admission::Closed).chain_id())
    }

    fn reason(item: Item) -> String {
        let [verdict] = &rules().check(&[item])[..] else {
            panic!("one verdict for one item");
        };
        verdict.as_ref().unwrap_err().0.clone()
    }

    #[test]
    fn a_well_formed_transaction_passes_and_says_who_it_is() {
        let body = body(ALICE, 7, vec![create("shop")]);
        let item = Item::Client(sign(ALICE, body.clone()));
        let expected = ItemMeta {
            id: body.id(),
            client: Some(ALICE.key()),
            nonce: Nonce(7),
            expires: body.expires,
        };
        assert_eq!(rules().check(&[item]), [Ok(expected)]);
    }

    #[test]
    fn what_is_decided_at_execution_passes() {
        // A key without an account, a name that nobody may use, a condition that can't hold: all well formed.
        let stranger = transaction(Client(99), 1, vec![create("_accounts")]);
        let empty = transaction(ALICE, u64::MAX, vec![]);
        let verdicts = rules().check(&[Item::Client(stranger), Item::Client(empty)]);
        assert!(verdicts.iter().all(Result::is_ok));
    }

    #[test]
    fn each_fault_of_form_is_named() {
        assert!(reason(Item::System(Bytes::new())).contains("no system items"));
        assert!(reason(Item::Client(Bytes::new())).contains("not a valid"));
        let good = transaction(ALICE, 1, vec![]);
        let longer = Bytes::from([&good[..], &[0]].concat());
        assert!(reason(Item::Client(longer)).contains("too many"));
        let foreign = TransactionBody {
            chain: violeta_types::ChainId(Digest::ZERO),
            ..body(ALICE, 1, vec![])
        };
        assert!(reason(Item::Client(sign(ALICE, foreign))).contains("for chain 0000"));
        let zero = transaction(ALICE, 0, vec![]);
        assert!(reason(Item::Client(zero)).contains("count from 1"));
        let twice = vec![rotate(ALICE, Client(50)), rotate(ALICE, Client(51))];
        let twice = transaction(ALICE, 1, twice);
        assert!(reason(Item::Client(twice)).contains("more than one key rotation"));
        let unsigned = sign(Client(2), body(ALICE, 1, vec![]));
        assert!(reason(Item::Client(unsigned)).contains("signature"));
    }

    #[test]
    fn one_bad_item_in_a_batch_spoils_no_other() {
        let mut items: Vec<Item> = (1..20)
            .map(|nonce| Item::Client(transaction(ALICE, nonce, vec![])))
            .collect();
        items[3] = Item::Client(sign(Client(2), body(ALICE, 1, vec![])));
        items[7] = Item::System(Bytes::new());
        items[11] = Item::Client(Bytes::from_static(b"?"));
        let verdicts = rules().check(&items);
        let bad: Vec<_> = (0..).zip(&verdicts).filter(|(_, v)| v.is_err()).collect();
        let bad: Vec<usize> = bad.into_iter().map(|(i, _)| i).collect();
        assert_eq!(bad, [3, 7, 11]);
        assert!(rules().check(&[]).is_empty());
    }

    #[test]
    fn no_bit_of_a_transaction_can_change() {
        let good = transaction(ALICE, 1, vec![put("shop", "k", "v")]);
        let items: Vec<Item> = (0..good.len() * 8)
            .map(|bit| {
                let mut bytes = good.to_vec();
                bytes[bit / 8] ^= 1 << (bit % 8);
                Item::Client(bytes.into())
            })
            .collect();
        assert!(rules().check(&items).iter().all(Result::is_err));
    }
}
