//! Every limit of the protocol, in one place, related to one another by compile-time assertions.
//!
//! Limits of one process (queues, caches, connections) are in the crate that has them.

/// Members of a committee.
pub const VALIDATORS_MAX: usize = 128;
/// Leaders per round.
pub const LEADERS_MAX: usize = 8;

/// Bytes of an encoded transaction.
pub const TRANSACTION_BYTES_MAX: usize = 1 << 20;
/// Operations of a transaction.
pub const OPERATIONS_MAX: usize = 4_096;
/// Bytes of a namespace's name.
pub const NAMESPACE_BYTES_MAX: usize = 64;
/// Bytes of a key.
pub const KEY_BYTES_MAX: usize = 1_024;
/// Bytes of a value.
pub const VALUE_BYTES_MAX: usize = 512 << 10;
/// Bytes of a key in the store (namespaces prefix nothing: a namespace is a space).
pub const STORE_KEY_BYTES_MAX: usize = 4 << 10;
/// Bytes of a value in the store.
pub const STORE_VALUE_BYTES_MAX: usize = 16 << 20;
/// Bytes of a space's name in the store.
pub const STORE_SPACE_BYTES_MAX: usize = 255;

/// Clients that hold rights in a namespace besides its owner. Few, since one grant rewrites the whole record.
pub const GRANTS_MAX: usize = 64;
/// Bytes of values that a transaction's conditions and deletes may look at, the last one aside.
pub const TRANSACTION_READ_BYTES_MAX: usize = 16 << 20;
/// Key rotations of a transaction: each costs the executor a signature check.
pub const ROTATIONS_MAX: usize = 1;

/// Nonces below the highest that an account remembers; also how far ahead of it a nonce may be.
pub const NONCE_WINDOW: u64 = 1_024;
/// How far above its lowest unresolved nonce a client may sign.
pub const CLIENT_NONCE_SPREAD: u64 = 512;
/// How far ahead of the clock an expiry may be.
pub const EXPIRY_AHEAD_MS_MAX: u64 = 10 * 60 * 1_000;

/// Bytes of one client item.
pub const CLIENT_ITEM_BYTES_MAX: usize = TRANSACTION_BYTES_MAX;
/// Bytes of one system item.
pub const SYSTEM_ITEM_BYTES_MAX: usize = 64 << 10;
/// System items of a vertex.
pub const SYSTEM_ITEMS_MAX: usize = 64;
/// Items of a vertex.
pub const VERTEX_ITEMS_MAX: usize = 16 << 10;
/// Bytes of a vertex's payload, encoded.
pub const PAYLOAD_BYTES_MAX: usize = 4 << 20;
/// Bytes of an encoded vertex header: the parents are nearly all of it.
pub const HEADER_BYTES_MAX: usize = 512 + VALIDATORS_MAX * 48;
/// Bytes of an encoded vertex.
pub const VERTEX_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + HEADER_BYTES_MAX;
/// Vertices of a commit: so many that its record still fits a message, and a record of the journal.
pub const COMMIT_VERTICES_MAX: usize = 1 << 17;
/// Bytes of an encoded commit: the references to its vertices are nearly all of it.
pub const COMMIT_BYTES_MAX: usize = 256 + COMMIT_VERTICES_MAX * 42;
/// Bytes of one message between validators.
pub const MESSAGE_BYTES_MAX: usize = 8 << 20;

const _: () = assert!(2 * CLIENT_NONCE_SPREAD <= NONCE_WINDOW);
const _: () = assert!(VALUE_BYTES_MAX + KEY_BYTES_MAX + 1_024 <= TRANSACTION_BYTES_MAX);
const _: () = assert!(64 + GRANTS_MAX * 33 <= VALUE_BYTES_MAX);
const _: () = assert!(VALUE_BYTES_MAX <= TRANSACTION_READ_BYTES_MAX);
const _: () = assert!(VALUE_BYTES_MAX + 8 <= STORE_VALUE_BYTES_MAX);
const _: () = assert!(KEY_BYTES_MAX <= STORE_KEY_BYTES_MAX);
const _: () = assert!(NAMESPACE_BYTES_MAX < STORE_SPACE_BYTES_MAX);
const _: () = assert!(CLIENT_ITEM_BYTES_MAX + 64 <= PAYLOAD_BYTES_MAX);
const _: () = assert!(SYSTEM_ITEMS_MAX * SYSTEM_ITEM_BYTES_MAX <= PAYLOAD_BYTES_MAX);
const _: () = assert!(SYSTEM_ITEMS_MAX <= VERTEX_ITEMS_MAX);
const _: () = assert!(VERTEX_BYTES_MAX + (64 << 10) <= MESSAGE_BYTES_MAX);
const _: () = assert!(COMMIT_BYTES_MAX + (64 << 10) <= MESSAGE_BYTES_MAX);
