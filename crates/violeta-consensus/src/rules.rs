//! What validity asks of a payload's items (consensus.md V6).

use violeta_types::{ClientPublicKey, Item, Nonce, TimeMs, TxId};

/// Judges items by their bytes and the genesis or epoch data alone, so that all honest validators judge alike,
/// however far each has executed. Pure, batched, called from any thread.
pub trait Rules: Send + Sync {
    /// The verdict on each item, in order.
    fn check(&self, items: &[Item]) -> Vec<Result<ItemMeta, Rejection>>;
}

/// What is known of an item that passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ItemMeta {
    /// Identity for the duplicate check. For a system item: the item's digest.
    pub id: TxId,
    /// Who signed it; none for a system item.
    pub client: Option<ClientPublicKey>,
    /// The client's number for it; 0 for a system item.
    pub nonce: Nonce,
    /// When it expires; [`TimeMs`] `u64::MAX` for a system item.
    pub expires: TimeMs,
}

/// Why an item isn't well formed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Rejection(pub String);
