//! What is sent: made and signed before the clock starts.
//!
//! ```text
//!  opaque    256 random bytes                          on the machine that does nothing
//!  puts      one put, 256 bytes with signature         on the Database machine
//!  puts100   a hundred puts of 16 + 64 bytes each
//!  single    as puts, one at a time on an idle cluster
//!  kill      as puts, one validator killed half-way
//! ```

use bytes::Bytes;
use clap::ValueEnum;
use serde::Serialize;
use violeta_crypto::signing::ClientSecretKey;
use violeta_node::config::MachineKind;
use violeta_types::transaction::{NamespaceName, Right};
use violeta_types::{
    ChainId, ClientPublicKey, Nonce, Operation, TimeMs, Transaction, TransactionBody,
};

use crate::error::{CliError, CliResult};

/// Bytes of a transaction of `opaque`, `puts`, `single` and `kill`.
pub(crate) const TRANSACTION_BYTES: usize = 256;
/// Puts in a transaction of `puts100`.
pub(crate) const PUTS_MANY: usize = 100;
const KEY_BYTES: usize = 16;
const VALUE_BYTES_MANY: usize = 64;
/// Distinct keys that are written.
const KEY_SPACE: u64 = 1_000_000;
/// The namespace that is written to.
pub(crate) const NAMESPACE: &str = "bench";

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Workload {
    /// Opaque payloads of 256 bytes on the machine that does nothing: consensus alone.
    Opaque,
    /// Signed transactions of one put, 256 bytes in all.
    Puts,
    /// Signed transactions of 100 puts.
    Puts100,
    /// One transaction at a time on an idle cluster.
    Single,
    /// As puts, with one validator killed half-way.
    Kill,
}

impl Workload {
    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Workload::Opaque => "opaque",
            Workload::Puts => "puts",
            Workload::Puts100 => "puts100",
            Workload::Single => "single",
            Workload::Kill => "kill",
        }
    }

    /// The machine that it runs on.
    pub(crate) fn machine(self) -> MachineKind {
        match self {
            Workload::Opaque => MachineKind::Null,
            _ => MachineKind::Database,
        }
    }

    /// Puts in each transaction; one for opaque payloads.
    pub(crate) fn puts(self) -> usize {
        match self {
            Workload::Puts100 => PUTS_MANY,
            _ => 1,
        }
    }

    /// Transactions in a request.
    pub(crate) fn batch(self) -> usize {
        match self {
            Workload::Opaque => 1_000,
            Workload::Puts | Workload::Kill => 250,
            Workload::Puts100 => 20,
            Workload::Single => 1,
        }
    }

    /// Transactions sent and not yet committed, at most: enough to keep all validators busy, too few to overload them.
    pub(crate) fn window(self) -> usize {
        match self {
            Workload::Opaque => 24_000,
            Workload::Puts | Workload::Kill => 6_000,
            Workload::Puts100 => 128,
            Workload::Single => 1,
        }
    }

    /// Signed transactions prepared for each second of the run: more than can be committed in one, by what has been
    /// measured (BENCHMARKS.md) and a third of it again.
    pub(crate) fn prepared_per_second(self) -> usize {
        match self {
            Workload::Opaque => 0,
            Workload::Puts | Workload::Kill => 25_000,
            Workload::Puts100 => 1_000,
            Workload::Single => 200,
        }
    }
}

/// Numbers that look random and are the same in every run (SplitMix64; Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    /// The next one.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let number = self.next().to_le_bytes();
            chunk.copy_from_slice(&number[..chunk.len()]);
        }
    }
}

/// An opaque payload; no two of one run are the same.
pub(crate) fn opaque(numbers: &mut Numbers) -> Bytes {
    let mut bytes = vec![0; TRANSACTION_BYTES];
    numbers.fill(&mut bytes);
    bytes.into()
}

/// A client that signs, and its next nonce.
pub(crate) struct Signer {
    key: ClientSecretKey,
    chain: ChainId,
    expires: TimeMs,
    nonce: u64,
}

impl Signer {
    /// A client that hasn't signed anything yet on this chain.
    pub(crate) fn new(seed: [u8; 32], chain: ChainId, expires: TimeMs) -> Signer {
        Signer {
            key: ClientSecretKey::from_seed(seed),
            chain,
            expires,
            nonce: 0,
        }
    }

    /// Its public key.
    pub(crate) fn public_key(&self) -> ClientPublicKey {
        self.key.public_key()
    }

    /// The encoding of its next transaction.
    ///
    /// # Errors
    /// If there are more operations than a transaction may have.
    pub(crate) fn sign(&mut self, operations: Vec<Operation>) -> CliResult<Bytes> {
        self.nonce += 1;
        let body = TransactionBody {
            chain: self.chain,
            key: self.key.public_key(),
            nonce: Nonce(self.nonce),
            expires: self.expires,
            operations: operations.try_into().map_err(CliError::usage)?,
        };
        let signature = self.key.sign_transaction(&body.id());
        Ok(Transaction { body, signature }.to_bytes())
    }
}

/// The operations that let `clients` write: run before the clock starts.
///
/// # Errors
/// Never for the namespace's name that this module has.
pub(crate) fn setup_operations(clients: &[ClientPublicKey]) -> CliResult<Vec<Operation>> {
    let namespace = namespace()?;
    let mut operations = vec![Operation::CreateNamespace {
        namespace: namespace.clone(),
    }];
    for &key in clients {
        operations.push(Operation::RegisterClient { key });
        operations.push(Operation::Grant {
            namespace: namespace.clone(),
            client: key.client_id(),
            right: Right::Write,
        });
    }
    Ok(operations)
}

fn namespace() -> CliResult<NamespaceName> {
    NamespaceName::try_from(NAMESPACE.as_bytes()).map_err(CliError::failed)
}

/// What makes the operations of one transaction after another.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    puts: usize,
    value_bytes: usize,
}

impl Shape {
    /// Of a workload's transactions.
    ///
    /// # Errors
    /// Never for the sizes that this module has.
    pub(crate) fn of(workload: Workload) -> CliResult<Shape> {
        if workload.puts() > 1 {
            return Ok(Shape {
                puts: workload.puts(),
                value_bytes: VALUE_BYTES_MANY,
            });
        }
        let empty = Shape {
            puts: 1,
            value_bytes: 0,
        };
        let mut signer = Signer::new([0; 32], ChainId::default(), TimeMs(0));
        let len = signer.sign(empty.operations(&mut Numbers(0))?)?.len();
        Ok(Shape {
            puts: 1,
            value_bytes: TRANSACTION_BYTES.saturating_sub(len),
        })
    }

    /// The operations of a transaction.
    ///
    /// # Errors
    /// Never for the sizes that this module has.
    pub(crate) fn operations(&self, numbers: &mut Numbers) -> CliResult<Vec<Operation>> {
        let put = |_| {
            let key = format!("{:0width$}", numbers.next() % KEY_SPACE, width = KEY_BYTES);
            let mut value = vec![0; self.value_bytes];
            numbers.fill(&mut value);
            Ok(Operation::Put {
                namespace: namespace()?,
                key: key.into_bytes().try_into().map_err(CliError::failed)?,
                value: value.try_into().map_err(CliError::failed)?,
            })
        };
        (0..self.puts).map(put).collect()
    }
}

/// `count` signed transactions of each client, by client, signed by as many threads as there are cores.
///
/// # Errors
/// If one can't be made.
pub(crate) fn presign(
    signers: &mut [Signer],
    count: usize,
    workload: Workload,
) -> CliResult<Vec<Vec<Bytes>>> {
    let shape = Shape::of(workload)?;
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let share = signers.len().div_ceil(threads).max(1);
    let sign_share = |first: usize, signers: &mut [Signer]| -> CliResult<Vec<Vec<Bytes>>> {
        let each = signers.iter_mut().enumerate().map(|(i, signer)| {
            let mut numbers = Numbers((first + i) as u64);
            (0..count)
                .map(|_| signer.sign(shape.operations(&mut numbers)?))
                .collect()
        });
        each.collect()
    };
    let shares: Vec<CliResult<Vec<Vec<Bytes>>>> = std::thread::scope(|scope| {
        let threads: Vec<_> = signers
            .chunks_mut(share)
            .enumerate()
            .map(|(i, chunk)| scope.spawn(move || sign_share(i * share, chunk)))
            .collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
            thread
                .join()
                .unwrap_or_else(|_| Err(CliError::failed("a signing thread ended early")))
        };
        threads.into_iter().map(join).collect()
    });
    let mut all = Vec::new();
    for share in shares {
        all.extend(share?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(n: u8) -> Signer {
        Signer::new([n; 32], ChainId::default(), TimeMs(9))
    }

    #[test]
    fn a_transaction_of_one_put_has_256_bytes() {
        for workload in [Workload::Puts, Workload::Single, Workload::Kill] {
            let shape = Shape::of(workload).unwrap();
            let bytes = signer(1)
                .sign(shape.operations(&mut Numbers(5)).unwrap())
                .unwrap();
            assert_eq!(bytes.len(), TRANSACTION_BYTES);
        }
        assert_eq!(opaque(&mut Numbers(1)).len(), TRANSACTION_BYTES);
    }

    #[test]
    fn each_client_signs_rising_nonces_and_every_signature_is_good() {
        let mut signers = vec![signer(1), signer(2), signer(3)];
        let all = presign(&mut signers, 4, Workload::Puts100).unwrap();
        assert_eq!(all.len(), 3);
        for (signer, transactions) in signers.iter().zip(&all) {
            for (i, bytes) in transactions.iter().enumerate() {
                let Transaction { body, signature } = Transaction::decode(bytes).unwrap();
                assert_eq!(body.nonce.0, i as u64 + 1);
                assert_eq!(body.key, signer.public_key());
                assert_eq!(body.operations.len(), PUTS_MANY);
                violeta_crypto::signing::verify_transaction(&body.key, &body.id(), &signature)
                    .unwrap();
            }
        }
    }

    #[test]
    fn windows_leave_every_client_within_its_nonces() {
        use violeta_types::limits::CLIENT_NONCE_SPREAD;
        let signed = Workload::value_variants()
            .iter()
            .filter(|w| **w != Workload::Opaque);
        for workload in signed {
            let each = workload.window().div_ceil(super::super::CLIENTS_DEFAULT);
            assert!(each as u64 <= CLIENT_NONCE_SPREAD, "{workload:?}");
        }
    }

    #[test]
    fn the_setup_fits_one_transaction_for_the_most_clients() {
        let keys: Vec<_> = (0..super::super::CLIENTS_MAX as u32)
            .map(|i| {
                let mut key = [0; 32];
                key[..4].copy_from_slice(&i.to_le_bytes());
                ClientPublicKey(key)
            })
            .collect();
        let operations = setup_operations(&keys).unwrap();
        assert!(signer(1).sign(operations).is_ok());
    }
}
