//! Where a record lies in the journal.

use std::fmt;

/// Bytes of records before this one, from the journal's beginning: later records have greater positions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

impl Position {
    /// The first record's.
    pub const ZERO: Position = Position(0);
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<u64> for Position {
    fn from(position: u64) -> Self {
        Position(position)
    }
}

impl From<Position> for u64 {
    fn from(position: Position) -> Self {
        position.0
    }
}

/// A record that was read back and found good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it begins.
    pub position: Position,
    /// Where the next one begins.
    pub end: Position,
    /// What sort of record it is; never 0.
    pub kind: u8,
    /// What was appended.
    pub bytes: Vec<u8>,
}
