//! The stream of events, and how it is resumed.
//!
//! ```text
//!   id: 17.3                       cursor: 3rd event of height 17
//!   event: certified
//!   data: {"cursor":"17.3","kind":"certified","height":17,"head":"…"}
//! ```
//!
//! (Server-sent events.) Whoever comes back with the last cursor that it has seen gets what comes after it, each once.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::codec::DecodeError;
use crate::head::HeadId;
use crate::ids::{Height, TimeMs, TxId, ValidatorIndex};
use crate::transaction::Outcome;

/// A place in the stream: what comes after it has a greater cursor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor {
    /// The newest height executed when the event happened.
    pub height: Height,
    /// Which event since then, from 0.
    pub sequence: u64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.height, self.sequence)
    }
}

impl FromStr for Cursor {
    type Err = DecodeError;

    fn from_str(text: &str) -> Result<Self, DecodeError> {
        let fail = || DecodeError::new("cursor", format!("{text:?} isn't HEIGHT.SEQUENCE"));
        let (height, sequence) = text.split_once('.').ok_or_else(fail)?;
        let number = |digits: &str| digits.parse::<u64>().map_err(|_| fail());
        Ok(Cursor {
            height: Height(number(height)?),
            sequence: number(sequence)?,
        })
    }
}

impl Serialize for Cursor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EventKind {
    /// A block was executed.
    Block {
        /// Its height.
        height: Height,
        /// Its head.
        head: HeadId,
        /// Its commit's time.
        time: TimeMs,
        /// How many transactions it records.
        transactions: u32,
    },
    /// A height, and all below, became certified.
    Certified {
        /// The height.
        height: Height,
        /// Its head.
        head: HeadId,
    },
    /// A height got its seal.
    Sealed {
        /// The height.
        height: Height,
        /// Its head.
        head: HeadId,
    },
    /// A validator was caught lying.
    Evidence {
        /// Who.
        validator: ValidatorIndex,
        /// What, for people.
        what: String,
    },
    /// The transaction that was asked for was executed; told again when it is certified.
    Transaction {
        /// Its result.
        outcome: Outcome,
        /// Whether a quorum has vouched for its block.
        certified: bool,
    },
    /// The transaction that was asked for wasn't ordered, and can't be any more.
    Expired {
        /// The transaction.
        transaction: TxId,
    },
}

impl EventKind {
    /// The name of the kind.
    pub fn name(&self) -> &'static str {
        match self {
            EventKind::Block { .. } => "block",
            EventKind::Certified { .. } => "certified",
            EventKind::Sealed { .. } => "sealed",
            EventKind::Evidence { .. } => "evidence",
            EventKind::Transaction { .. } => "transaction",
            EventKind::Expired { .. } => "expired",
        }
    }

    /// The transaction that it is about, if it is about one.
    pub fn transaction(&self) -> Option<TxId> {
        match self {
            EventKind::Transaction { outcome, .. } => Some(outcome.transaction),
            EventKind::Expired { transaction } => Some(*transaction),
            _ => None,
        }
    }
}

/// An event and its place in the stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChainEvent {
    /// Where to go on after it.
    pub cursor: Cursor,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_orders_by_height_then_sequence() {
        let cursor = |height, sequence| Cursor {
            height: Height(height),
            sequence,
        };
        assert_eq!(cursor(17, 3).to_string(), "17.3");
        assert_eq!("17.3".parse::<Cursor>().unwrap(), cursor(17, 3));
        assert!(cursor(9, 100) < cursor(17, 3) && cursor(17, 3) < cursor(17, 10));
        for bad in ["", "17", ".", "17.", "-1.0", "1.2.3", "a.b"] {
            let error = bad.parse::<Cursor>().unwrap_err();
            assert!(error.to_string().contains("HEIGHT.SEQUENCE"), "{error}");
        }
    }

    #[test]
    fn the_kind_in_json_is_the_kind_that_is_named() {
        let event = ChainEvent {
            cursor: Cursor::default(),
            kind: EventKind::Evidence {
                validator: ValidatorIndex(2),
                what: "two vertices in round 9".into(),
            },
        };
        let json = serde_json::to_value(&event).unwrap();
        assert_eq!(json["kind"], event.kind.name());
        assert_eq!(json["cursor"], "0.0");
        assert_eq!(serde_json::from_value::<ChainEvent>(json).unwrap(), event);
    }
}
