//! What the types of this crate look like in an OpenAPI document.
//!
//! Hexadecimal strings, numbers, and objects whose fields the Rust documentation explains. Only for gateways: behind
//! the feature `openapi`.

use std::borrow::Cow;

use utoipa::openapi::schema::{ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

fn hexadecimal(len: usize, description: &str) -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(format!("^[0-9a-f]{{{}}}$", 2 * len)))
        .description(Some(description))
        .into()
}

fn number(description: &str) -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(SchemaFormat::Custom("uint64".into())))
        .minimum(Some(0))
        .description(Some(description))
        .into()
}

fn text(description: &str) -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(description))
        .into()
}

fn object(description: &str) -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .description(Some(description))
        .into()
}

macro_rules! schemas {
    ($($type:path, $name:literal = $schema:expr;)*) => {$(
        impl PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                $schema
            }
        }

        impl ToSchema for $type {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed($name)
            }
        }
    )*};
}

schemas! {
    crate::Digest, "Digest" = hexadecimal(32, "A BLAKE3 digest");
    crate::ChainId, "ChainId" = hexadecimal(32, "Names the chain: digest of its genesis");
    crate::ClientId, "ClientId" = hexadecimal(32, "Names a client: digest of its first key");
    crate::TxId, "TxId" = hexadecimal(32, "Names a transaction");
    crate::HeadId, "HeadId" = hexadecimal(32, "Names a head: what attestations and seals sign");
    crate::ClientPublicKey, "ClientPublicKey" = hexadecimal(32, "Ed25519 key of a client");
    crate::Epoch, "Epoch" = number("A committee's term, from 0");
    crate::Round, "Round" = number("A layer of the graph");
    crate::ValidatorIndex, "ValidatorIndex" = number("Position in the committee, from 0");
    crate::Stake, "Stake" = number("Voting weight");
    crate::CommitIndex, "CommitIndex" = number("Position in the commit log, from 1");
    crate::Height, "Height" = number("A block's height and the store's version, from 1");
    crate::TimeMs, "TimeMs" = number("Milliseconds since the Unix epoch");
    crate::Nonce, "Nonce" = number("A client's number for a transaction, from 1");
    crate::Head, "Head" = object("The small record that describes a block");
    crate::Certificate, "Certificate" = object("A quorum's signatures over a head");
    crate::Seal, "Seal" = object("The group's signature over a head");
    crate::Committee, "Committee" = object("The validators of an epoch, and their keys by purpose");
    crate::Genesis, "Genesis" = object("What a chain begins with; its digest names the chain");
    crate::Outcome, "Outcome" = object(
        "What became of a transaction: height, index, transaction, and refused: null if executed, else \
         [index of the operation or null, why]"
    );
    crate::transaction::Right, "Right" = text("write or admin");
    crate::api::Readable, "Readable" = text("Text, or hex: and hexadecimal digits for bytes that aren't");
    crate::api::Cursor, "Cursor" = text("HEIGHT.SEQUENCE: a place in the stream of events");
}
