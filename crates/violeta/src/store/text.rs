//! Words and lines that the looks into a store share.

use std::fmt::Display;

use serde::Serialize;
use violeta_db::records::PARAMETERS;
use violeta_proof::StoredValue;
use violeta_types::Height;
use violeta_types::api::Readable;
use violeta_vlsm::Snapshot;

use super::Opened;
use crate::error::CliResult;
use crate::terminal::{Terminal, count};

/// Bytes that are written at once.
const WRITE_BYTES: usize = 64 << 10;

/// Bytes in the unit that leaves few digits.
pub(super) fn bytes_text(bytes: u64) -> String {
    for (size, unit) in [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")] {
        if bytes >= size {
            return format!("{:.1} {unit}", bytes as f64 / size as f64);
        }
    }
    count(bytes, "byte")
}

/// Results of which there may be many: written some at a time, never held whole.
pub(super) struct Stream<'a> {
    terminal: &'a Terminal,
    text: String,
}

impl<'a> Stream<'a> {
    pub(super) fn new(terminal: &'a Terminal) -> Self {
        Stream {
            terminal,
            text: String::new(),
        }
    }

    /// Writes a line for people, or an object for programs.
    pub(super) fn tell(&mut self, line: impl Display, object: &impl Serialize) -> CliResult {
        match self.terminal.is_json() {
            true => self.text.push_str(&serde_json::to_string(object)?),
            false => self.text.push_str(&line.to_string()),
        }
        self.text.push('\n');
        match self.text.len() < WRITE_BYTES {
            true => Ok(()),
            false => self.flush(),
        }
    }

    /// Writes what hasn't been.
    pub(super) fn flush(&mut self) -> CliResult {
        let written = self.terminal.bytes(self.text.as_bytes());
        self.text.clear();
        written
    }
}

/// How the values of a store are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Values {
    /// As bytes.
    AsStored,
    /// As the Database machine writes them: a height, then the value.
    OfTheMachine,
}

impl Values {
    /// As those who wrote the store mean them, unless `raw`.
    pub(super) fn of(opened: &Opened, snapshot: &Snapshot, raw: bool) -> CliResult<Values> {
        let is_machines = opened.tell(snapshot.contains(PARAMETERS, b"chain"))?;
        Ok(match is_machines && !raw {
            true => Values::OfTheMachine,
            false => Values::AsStored,
        })
    }

    pub(super) fn read(self, stored: bytes::Bytes) -> ValueView {
        if self == Values::OfTheMachine
            && let Ok(value) = StoredValue::from_stored(&stored)
        {
            return ValueView {
                value: Readable(value.value.to_vec()),
                written_at: Some(value.written_at),
            };
        }
        ValueView {
            value: Readable(stored.to_vec()),
            written_at: None,
        }
    }
}

/// A value, for programs.
#[derive(Debug, Serialize)]
pub(super) struct ValueView {
    /// The value.
    pub(super) value: Readable,
    /// When it was written, where the store says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) written_at: Option<Height>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_the_unit_that_leaves_few_digits() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (999, "999 bytes"),
            (1_000, "1.0 kB"),
            (67_108_864, "67.1 MB"),
            (2_000_000_000, "2.0 GB"),
        ] {
            assert_eq!(bytes_text(bytes), text);
        }
    }

    #[test]
    fn what_isnt_a_machines_value_is_shown_as_it_is_stored() {
        let stored = StoredValue::stored(Height(7), b"pear");
        let read = Values::OfTheMachine.read(stored.clone());
        assert_eq!(read.value.to_string(), "pear");
        assert_eq!(read.written_at, Some(Height(7)));
        let raw = Values::AsStored.read(stored);
        assert_eq!(raw.value.to_string(), "hex:070000000000000070656172");
        assert_eq!(raw.written_at, None);
        let short = Values::OfTheMachine.read("pear".into());
        assert_eq!(
            (short.value.to_string(), short.written_at),
            ("pear".into(), None)
        );
    }
}
