//! What the gateway needs of a node, and nothing more.
//!
//! ```text
//!   gateway ──▶ dyn Source ◀── Handle (a running node)
//!                          ◀── a small chain in memory (tests)
//! ```
//!
//! The gateway knows neither the replica nor the store. Calls that aren't futures may read files: the gateway makes
//! them on threads where that hurts nobody.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use violeta_proof::tree::Sides;
use violeta_proof::{ChangesProof, EntriesProof, HeadProof, KeyProof, OutcomeProof, ValuesProof};
use violeta_types::api::{
    AccountAnswer, BatchVerdict, BlockSummary, ChainEvent, Cursor, HeadAnswer, HealthAnswer,
    HistoryAnswer, KeysAnswer, NamespaceAnswer, StatusAnswer, TransactionStatus, VouchKind, Wait,
    WrittenValue,
};
use violeta_types::transaction::{Key, NamespaceName};
use violeta_types::{ClientId, Committee, Genesis, Height, TimeMs, TxId, ValidatorIndex};

pub use crate::chain::Recorded;
pub use violeta_replica::Block;

/// Why a node can't answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// There is no such thing here.
    #[error("there is no {0}")]
    NotFound(String),
    /// Nothing can be proved of what was asked for.
    #[error("{0}")]
    Question(String),
    /// The version is too old.
    #[error("height {height} is no longer retained")]
    NotRetained {
        /// What was asked for.
        height: Height,
        /// The oldest that there is.
        oldest: Height,
    },
    /// The version is too new.
    #[error("height {height} isn't certified yet; {newest} is")]
    NotYetCertified {
        /// What was asked for.
        height: Height,
        /// The newest that there is.
        newest: Height,
    },
    /// No seal vouches for the version yet.
    #[error("height {height} isn't sealed yet; {newest} is")]
    NotYetSealed {
        /// What was asked for.
        height: Height,
        /// The newest that there is.
        newest: Height,
    },
    /// The head has no certificate of its own, and the path to a newer one that has can't be made.
    #[error(
        "the head at height {height} has no certificate or seal of its own, and its place in the history isn't indexed here yet"
    )]
    NoCertificate {
        /// What was asked for.
        height: Height,
        /// The next height that has one.
        next: Option<Height>,
    },
    /// Transactions aren't indexed here.
    #[error(
        "this node keeps no index of transactions (tuning.index_transactions = false), and its memory doesn't have {0}"
    )]
    NotIndexed(TxId),
    /// The node runs another machine.
    #[error("this node runs no database")]
    NoDatabase,
    /// Too many event streams.
    #[error("too many event streams are open")]
    TooManySubscribers,
    /// The node is on its way out.
    #[error("this node is shutting down")]
    ShuttingDown,
    /// Something failed.
    #[error("this node failed: {0}")]
    Failed(String),
}

/// A stream of events; ends with an error if the node stops.
pub type Events = BoxStream<'static, Result<ChainEvent, SourceError>>;

/// A running node, as the gateway sees it.
pub trait Source: Send + Sync + 'static {
    /// What the chain began with.
    fn genesis(&self) -> Arc<Genesis>;
    /// The committee of now.
    fn committee(&self) -> Arc<Committee>;
    /// Which validator this is; none if it only follows.
    fn validator(&self) -> Option<ValidatorIndex>;
    /// What the node is doing.
    fn status(&self) -> StatusAnswer;
    /// How it is.
    fn health(&self) -> HealthAnswer;
    /// The node's metrics in the OpenMetrics text format, without the end mark.
    fn metrics(&self) -> String;
    /// The newest height that has a certificate; 0 for none.
    fn certified_height(&self) -> Height;
    /// The time of the newest block in memory; 0 for none.
    fn block_time(&self) -> TimeMs;
    /// The newest height that a seal vouches for; 0 for none.
    fn sealed_height(&self) -> Height;

    /// Submits items; verdicts come in order.
    fn submit(
        &self,
        items: Vec<Bytes>,
    ) -> BoxFuture<'static, Result<Vec<BatchVerdict>, SourceError>>;
    /// What became of a transaction so far.
    ///
    /// # Errors
    /// If the node can't say.
    fn transaction(&self, id: TxId) -> Result<TransactionStatus, SourceError>;
    /// Of each of these transactions whether a block records it. Costs a look-up each, and no block is read.
    ///
    /// # Errors
    /// If the node can't say.
    fn recorded(&self, ids: &[TxId]) -> Result<Vec<Recorded>, SourceError>;
    /// Resolves when the transaction has got as far as `wait` asks, or `at_most` has passed: with its status then.
    fn wait(
        &self,
        id: TxId,
        wait: Wait,
        at_most: Duration,
    ) -> BoxFuture<'static, Result<TransactionStatus, SourceError>>;
    /// A transaction's result and what convinces of it.
    ///
    /// # Errors
    /// If it has none, or none that is provable yet.
    fn outcome_proof(&self, id: TxId, vouch: VouchKind) -> Result<OutcomeProof, SourceError>;

    /// A head and whose word there is for it.
    ///
    /// # Errors
    /// If there is none.
    fn head(&self, height: Height) -> Result<HeadAnswer, SourceError>;
    /// The same as a proof; of a head that has no word of its own too, as long as a newer one has.
    ///
    /// # Errors
    /// If there is none, or nobody vouches for it yet.
    fn head_proof(&self, height: Height, vouch: VouchKind) -> Result<HeadProof, SourceError>;
    /// A block.
    ///
    /// # Errors
    /// If there is none.
    fn block(&self, height: Height) -> Result<Arc<Block>, SourceError>;
    /// Summaries of up to `limit` blocks from a height on, by rising height; fewer where blocks are large, but one at
    /// least if there is one.
    ///
    /// # Errors
    /// If they are gone.
    fn blocks(&self, from: Height, limit: usize) -> Result<Vec<BlockSummary>, SourceError>;
    /// Events after a cursor, then those to come; without one, those to come.
    ///
    /// # Errors
    /// If the stream can't be resumed there.
    fn events(&self, after: Option<Cursor>) -> Result<Events, SourceError>;

    /// A key's value at a certified height.
    ///
    /// # Errors
    /// If the version isn't there; that the key has no value is no error.
    fn read(
        &self,
        namespace: &NamespaceName,
        key: &Key,
        at: Height,
    ) -> Result<Option<WrittenValue>, SourceError>;
    /// The same with what convinces of it.
    ///
    /// # Errors
    /// If the version isn't there, or nobody vouches for it yet.
    fn prove(
        &self,
        namespace: &NamespaceName,
        key: &Key,
        at: Height,
        vouch: VouchKind,
    ) -> Result<KeyProof, SourceError>;
    /// What the first of many keys have, as many as an answer holds, one at least; with what convinces of it.
    ///
    /// # Errors
    /// As [`Self::prove`]; also if there is no key.
    fn prove_values(
        &self,
        namespace: &NamespaceName,
        keys: &[Key],
        at: Height,
        vouch: VouchKind,
    ) -> Result<ValuesProof, SourceError>;
    /// All that a namespace has after a key, up to `limit` entries and to what an answer holds, with what convinces of
    /// it. One that isn't there has nothing.
    ///
    /// # Errors
    /// As [`Self::prove`].
    fn prove_entries(
        &self,
        namespace: &NamespaceName,
        after: Option<Key>,
        limit: usize,
        at: Height,
        vouch: VouchKind,
    ) -> Result<EntriesProof, SourceError>;
    /// All that differs in a namespace between two heights, as [`Self::prove_entries`].
    ///
    /// # Errors
    /// As [`Self::prove`]; also if the heights are out of order.
    fn prove_changes(
        &self,
        namespace: &NamespaceName,
        after: Option<Key>,
        limit: usize,
        heights: Sides<Height>,
        vouch: VouchKind,
    ) -> Result<ChangesProof, SourceError>;
    /// A key's versions at and below a height, newest first.
    ///
    /// # Errors
    /// If the version isn't there.
    fn history(
        &self,
        namespace: &NamespaceName,
        key: &Key,
        at: Height,
        limit: usize,
    ) -> Result<HistoryAnswer, SourceError>;
    /// A namespace.
    ///
    /// # Errors
    /// If there is none.
    fn namespace(
        &self,
        namespace: &NamespaceName,
        at: Height,
    ) -> Result<NamespaceAnswer, SourceError>;
    /// A page of a namespace's keys.
    ///
    /// # Errors
    /// If there is no such namespace.
    fn keys(
        &self,
        namespace: &NamespaceName,
        after: Option<&Key>,
        limit: usize,
        at: Height,
    ) -> Result<KeysAnswer, SourceError>;
    /// A client's account after the newest block executed here; one that isn't registered has executed nothing.
    ///
    /// # Errors
    /// If it can't be read.
    fn account(&self, client: &ClientId) -> Result<AccountAnswer, SourceError>;
}
