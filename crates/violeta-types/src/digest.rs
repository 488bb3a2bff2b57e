//! Digests, and the domains that keep one kind of hash from passing for another.
//!
//! Every hash in Violeta is BLAKE3 in keyed mode, the key derived from the name of its purpose: a vertex, a leaf of
//! a tree and a transaction that happen to have the same bytes have different digests.

use std::sync::LazyLock;

use borsh::{BorshDeserialize, BorshSerialize};

/// A 32-byte BLAKE3 digest.
#[derive(
    Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest that stands for "nothing": the root of an empty tree, the predecessor of the first.
    pub const ZERO: Digest = Digest([0; 32]);

    /// The digest's bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl AsRef<[u8]> for Digest {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

crate::codec::hex_format!(Digest, 32);

macro_rules! domains {
    ($($(#[$doc:meta])* $name:ident = $context:literal,)*) => {
        /// A purpose of hashing. Each has a key of its own.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        pub enum Domain { $($(#[$doc])* $name,)* }

        impl Domain {
            /// Every domain, in order of declaration.
            pub const ALL: &'static [Domain] = &[$(Domain::$name,)*];

            /// The context string that the domain's key is derived from. Part of every format: never change one.
            pub const fn context(self) -> &'static str {
                match self { $(Domain::$name => $context,)* }
            }
        }
    };
}

domains! {
    /// Genesis file: its digest is the chain id.
    Genesis = "violeta v1 genesis",
    /// Committee of an epoch.
    Committee = "violeta v1 committee",
    /// Seed of an epoch.
    EpochSeed = "violeta v1 epoch seed",
    /// The virtual vertices of round 0.
    GenesisVertex = "violeta v1 round-0 vertex",
    /// Vertex header: the vertex id.
    Vertex = "violeta v1 vertex",
    /// A full payload item, signature included.
    Item = "violeta v1 payload item",
    /// Leaf of a Merkle tree over payload items.
    PayloadLeaf = "violeta v1 payload leaf",
    /// Inner node of a Merkle tree over payload items.
    PayloadInner = "violeta v1 payload inner",
    /// Commit record.
    Commit = "violeta v1 commit",
    /// Head of a block.
    Head = "violeta v1 head",
    /// Transaction without its signature: the transaction id.
    Transaction = "violeta v1 transaction",
    /// A client's public key: the client id.
    Client = "violeta v1 client",
    /// Leaf of the Merkle tree over a block's transactions.
    TransactionsLeaf = "violeta v1 transactions leaf",
    /// Inner node of the Merkle tree over a block's transactions.
    TransactionsInner = "violeta v1 transactions inner",
    /// Leaf of the Merkle tree over a block's results.
    ResultsLeaf = "violeta v1 results leaf",
    /// Inner node of the Merkle tree over a block's results.
    ResultsInner = "violeta v1 results inner",
    /// Leaf of the Merkle tree over all heads.
    HistoryLeaf = "violeta v1 history leaf",
    /// Inner node of the Merkle tree over all heads.
    HistoryInner = "violeta v1 history inner",
    /// Sampling of leaders from a coin or a seed.
    Leaders = "violeta v1 leaders",
    /// What coin shares sign.
    Coin = "violeta v1 coin",
    /// What seal shares sign.
    Seal = "violeta v1 seal",
    /// VLSM tree: leaf.
    TreeLeaf = "violeta v1 tree leaf",
    /// VLSM tree: a value, so that a proof may leave it out.
    TreeValue = "violeta v1 tree value",
    /// VLSM tree: inner node of the binary tree over 16 slots.
    TreeInner = "violeta v1 tree inner",
    /// VLSM tree: index node (bitmap and compressed root).
    TreeNode = "violeta v1 tree node",
    /// VLSM tree: record of a space in the top tree.
    TreeSpace = "violeta v1 tree space",
    /// VLSM tree: root record of a version.
    TreeTop = "violeta v1 tree top",
    /// VLSM tree: path of a key in a hashed space.
    TreePath = "violeta v1 tree path",
    /// Integrity of records in files.
    File = "violeta v1 file",
    /// Hash mock of threshold signatures, for tests and simulation.
    MockThreshold = "violeta v1 mock threshold",
    /// Coefficients of batched signature checks; part of no format.
    BatchCoefficients = "violeta v1 batch coefficients",
}

static KEYS: LazyLock<Vec<[u8; 32]>> = LazyLock::new(|| {
    Domain::ALL
        .iter()
        .map(|domain| blake3::derive_key(domain.context(), b""))
        .collect()
});

impl Domain {
    /// The BLAKE3 key of the domain: `derive_key(context, "")`.
    pub fn key(self) -> &'static [u8; 32] {
        &KEYS[self as usize]
    }

    /// An incremental hasher of the domain.
    pub fn hasher(self) -> blake3::Hasher {
        blake3::Hasher::new_keyed(self.key())
    }

    /// The digest of `bytes`.
    pub fn hash(self, bytes: &[u8]) -> Digest {
        Digest(*blake3::keyed_hash(self.key(), bytes).as_bytes())
    }

    /// The digest of the concatenation of `parts`. Callers make sure that it can be parsed in one way only: fixed
    /// lengths, or one variable part at the end.
    pub fn hash_parts(self, parts: &[&[u8]]) -> Digest {
        let mut hasher = self.hasher();
        for part in parts {
            hasher.update(part);
        }
        Digest(*hasher.finalize().as_bytes())
    }

    /// The digest of `value`'s canonical encoding.
    pub fn hash_encoded<T: BorshSerialize + ?Sized>(self, value: &T) -> Digest {
        let mut hasher = self.hasher();
        crate::codec::encode_into(value, &mut hasher);
        Digest(*hasher.finalize().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_domains_share_a_context() {
        let mut contexts: Vec<_> = Domain::ALL.iter().map(|d| d.context()).collect();
        contexts.sort_unstable();
        contexts.dedup();
        assert_eq!(contexts.len(), Domain::ALL.len());
    }

    #[test]
    fn same_bytes_in_two_domains_have_two_digests() {
        assert_ne!(Domain::Vertex.hash(b"x"), Domain::Transaction.hash(b"x"));
    }

    #[test]
    fn parts_hash_like_their_concatenation() {
        assert_eq!(
            Domain::Vertex.hash_parts(&[b"ab", b"", b"c"]),
            Domain::Vertex.hash(b"abc")
        );
    }

    #[test]
    fn hex_round_trip_and_bad_hex_is_refused() {
        let digest = Domain::Vertex.hash(b"x");
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        assert!("zz".parse::<Digest>().is_err());
        assert!(digest.to_string()[2..].parse::<Digest>().is_err());
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
    }
}
