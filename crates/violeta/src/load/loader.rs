//! Many rows, many puts a transaction, several transactions under way.
//!
//! ```text
//!   rows ─▶ batch of puts ─▶ sign ─▶ ledger.begun ─▶ send ─▶ proved result ─▶ ledger.done
//!                                    (durable)
//! ```
//!
//! The ledger hears of a transaction before it leaves: whoever resumes can ask what became of it. A transaction waits for
//! those under way that put one of its keys: so the last row of a key wins, as in the file, and a row is loaded only once
//! all rows of its key before it are.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::iter::Peekable;
use std::pin::Pin;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use violeta_client::{Client, ClientError, Operations, Receipt};
use violeta_types::api::Readable;
use violeta_types::limits::{OPERATIONS_MAX, TRANSACTION_BYTES_MAX};
use violeta_types::{Nonce, TimeMs, TxId};

use super::row_set::RowSet;
use super::rows::Row;
use crate::connect;
use crate::error::CliResult;
use crate::quorum::explain;

/// Bytes of operations that a transaction has at most, unless it has only one, which may be larger.
const BYTES_MAX: usize = TRANSACTION_BYTES_MAX / 2;
/// What an operation takes beside namespace, key and value.
const OPERATION_BYTES: usize = 16;
/// Operations of a transaction where the user doesn't say.
pub(crate) const OPERATIONS_DEFAULT: usize = 200;
/// Transactions under way where the user doesn't say.
pub(crate) const WINDOW_DEFAULT: usize = 8;
/// Transactions under way at most: well below what a client may sign ahead.
pub(crate) const WINDOW_MAX: usize = 128;

const _: () = assert!(OPERATIONS_DEFAULT <= OPERATIONS_MAX);
const _: () = assert!(2 * WINDOW_MAX as u64 <= violeta_client::nonces::UNDER_WAY_MAX);

/// How rows are put together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Puts in a transaction.
    pub(crate) operations: usize,
    /// Transactions under way.
    pub(crate) window: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            operations: OPERATIONS_DEFAULT,
            window: WINDOW_DEFAULT,
        }
    }
}

/// A transaction, as the ledger knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its id.
    pub(crate) transaction: TxId,
    /// Its nonce.
    pub(crate) nonce: Nonce,
    /// After this time it can't be executed any more.
    pub(crate) expires: TimeMs,
    /// The rows that it stands for.
    pub(crate) rows: RowSet,
}

/// Who keeps account of what has been loaded.
pub(crate) trait Ledger {
    /// A transaction is signed and about to leave.
    ///
    /// # Errors
    /// If that can't be written down: then it doesn't leave.
    fn begun(&mut self, entry: &Entry) -> CliResult;

    /// A transaction was executed.
    ///
    /// # Errors
    /// If that can't be written down.
    fn done(&mut self, entry: &Entry, receipt: &Receipt) -> CliResult;

    /// A transaction was refused, which is proved: its rows aren't loaded.
    fn void(&mut self, entry: &Entry);
}

type Carried<'a> = Pin<Box<dyn Future<Output = (Entry, Result<Receipt, ClientError>)> + Send + 'a>>;

/// Loads numbered rows into a namespace.
///
/// # Errors
/// If a transaction is refused, or nobody takes it. Those before it are loaded.
pub(crate) async fn load(
    client: &Client,
    namespace: &[u8],
    rows: &mut (dyn Iterator<Item = (u64, Row)> + Send),
    pace: Pace,
    ledger: &mut (dyn Ledger + Send),
) -> CliResult {
    let rows = &mut rows.peekable();
    let mut under_way: FuturesUnordered<Carried<'_>> = FuturesUnordered::new();
    let mut keys_under_way: BTreeMap<TxId, Keys> = BTreeMap::new();
    let mut staged = batch(namespace, rows, pace.operations)?;
    loop {
        let room = under_way.len() < pace.window;
        let may_leave = |batch: &mut Batch| {
            room && (keys_under_way.values()).all(|keys| keys.is_disjoint(&batch.keys))
        };
        if let Some(batch) = staged.take_if(may_leave) {
            let pending = client.submit(batch.operations).await?;
            let entry = Entry {
                transaction: pending.id(),
                nonce: pending.nonce(),
                expires: pending.expires(),
                rows: batch.rows,
            };
            ledger.begun(&entry)?;
            keys_under_way.insert(entry.transaction, batch.keys);
            under_way.push(Box::pin(async move { (entry, pending.wait().await) }));
            staged = self::batch(namespace, rows, pace.operations)?;
            continue;
        }
        let Some((entry, receipt)) = under_way.next().await else {
            return Ok(());
        };
        match receipt {
            Ok(receipt) => ledger.done(&entry, &receipt)?,
            Err(error @ ClientError::Refused { refusal, .. }) => {
                ledger.void(&entry);
                settle(under_way, ledger).await?;
                let namespace = Readable(namespace.to_vec());
                return Err(connect::refusal(refusal, error, &namespace));
            }
            Err(error) => return Err(explain(client, error).await),
        }
        keys_under_way.remove(&entry.transaction);
    }
}

/// Those that have left already: what becomes of them is known soon, and needn't be asked for by whoever goes on. Of one
/// whose fate isn't found out the ledger knows that it is under way.
async fn settle(
    mut under_way: FuturesUnordered<Carried<'_>>,
    ledger: &mut (dyn Ledger + Send),
) -> CliResult {
    while let Some((entry, receipt)) = under_way.next().await {
        match receipt {
            Ok(receipt) => ledger.done(&entry, &receipt)?,
            Err(ClientError::Refused { .. }) => ledger.void(&entry),
            Err(error) => tracing::debug!(%error, "unknown what became of a transaction"),
        }
    }
    Ok(())
}

type Keys = BTreeSet<Vec<u8>>;

/// The next transaction.
struct Batch {
    operations: Operations,
    /// The keys that it puts.
    keys: Keys,
    /// The rows that it stands for.
    rows: RowSet,
}

/// The next transaction's puts. Rows with the same key as one before, in one transaction, simply come later in it.
fn batch(
    namespace: &[u8],
    rows: &mut Peekable<impl Iterator<Item = (u64, Row)>>,
    operations_max: usize,
) -> CliResult<Option<Batch>> {
    let mut operations = Operations::new();
    let (mut keys, mut numbers) = (Keys::new(), RowSet::default());
    let mut bytes = 0;
    while operations.len() < operations_max {
        let size = |row: &Row| OPERATION_BYTES + namespace.len() + row.key.len() + row.value.len();
        let fits = |(_, row): &(u64, Row)| bytes == 0 || bytes + size(row) <= BYTES_MAX;
        let Some((number, row)) = rows.next_if(fits) else {
            break;
        };
        numbers.add(number, number + 1);
        bytes += size(&row);
        keys.insert(row.key.clone());
        operations = operations.put(namespace, row.key, row.value)?;
    }
    Ok((!operations.is_empty()).then_some(Batch {
        operations,
        keys,
        rows: numbers,
    }))
}

/// Makes the namespace, unless it is there.
///
/// # Errors
/// If the transaction isn't executed for another reason.
pub(crate) async fn make_namespace(client: &Client, namespace: &[u8]) -> CliResult {
    let operations = Operations::new().create_namespace(namespace)?;
    match client.transaction(operations).await {
        Err(ClientError::Refused {
            refusal: violeta_types::Refusal::NamespaceExists,
            ..
        }) => Ok(()),
        Ok(_) => Ok(()),
        Err(error) => Err(explain(client, error).await),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(key: usize, bytes: usize) -> Row {
        Row {
            key: key.to_string().into_bytes(),
            value: vec![0; bytes],
        }
    }

    fn counts(rows: Vec<Row>, operations: usize) -> Vec<u64> {
        let mut rows = (0..).zip(rows).peekable();
        let next = || batch(b"n", &mut rows, operations).unwrap();
        std::iter::from_fn(next)
            .map(|batch| batch.rows.len())
            .collect()
    }

    #[test]
    fn a_transaction_is_full_by_operations_or_by_bytes() {
        assert_eq!(counts((0..7).map(|i| row(i, 1)).collect(), 3), [3, 3, 1]);
        let large: Vec<Row> = (0..3).map(|i| row(i, BYTES_MAX - 30)).collect();
        assert_eq!(counts(large, 100), [1, 1, 1]);
        assert!(counts(Vec::new(), 3).is_empty());
    }

    #[test]
    fn a_large_row_after_many_small_ones_gets_a_transaction_of_its_own() {
        let largest = violeta_types::limits::VALUE_BYTES_MAX;
        let mut rows: Vec<Row> = (0..199).map(|i| row(i, 2_600)).collect();
        rows.push(row(199, largest));
        assert_eq!(
            counts(rows, 200),
            [199, 1],
            "together they are 1,041,688 bytes"
        );
        let mut rows: Vec<Row> = (0..4_095).map(|i| row(i, 160)).collect();
        rows.push(row(4_095, 400_000));
        let counts = counts(rows, OPERATIONS_MAX);
        assert_eq!(counts.iter().sum::<u64>(), 4_096);
        assert_eq!(counts.last(), Some(&1));
    }
}
