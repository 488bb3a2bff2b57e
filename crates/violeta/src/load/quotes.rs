//! Whether a comma-separated text ends inside a quoted field.
//!
//! ```text
//!            ┌──── , or line end ─────┐
//!            ▼                        │
//!      start of field ── other ──▶ unquoted ◀─ other ─┐
//!            └── " ──▶ quoted ◀─── " ───▶ quote in quoted
//! ```
//!
//! The csv crate takes such a text's last field for a whole one, with all that lies behind its quote: rows would be lost
//! without a word. So what it reads is followed here, by its own rules.

use std::io::Read;

const QUOTE: u8 = b'"';
const DELIMITER: u8 = b',';
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    FieldStart,
    Unquoted,
    Quoted,
    /// After a quote within a quoted field: it ends the field, or is one of two that stand for one.
    QuoteInQuoted,
}

/// A source that knows where a quoted field began that its end cuts off.
pub(super) struct QuotesFollowed<R> {
    source: R,
    at: At,
    line: u64,
    /// The line in which the newest quoted field began.
    quoted_from: u64,
    /// Bytes of a byte order mark that have been read, as long as there were no others.
    mark: Option<usize>,
    ended: bool,
}

impl<R> QuotesFollowed<R> {
    /// At the beginning of `source`.
    pub(super) fn new(source: R) -> Self {
        QuotesFollowed {
            source,
            at: At::FieldStart,
            line: 1,
            quoted_from: 0,
            mark: Some(0),
            ended: false,
        }
    }

    /// The line in which the quoted field began that the source ended in, once it has ended.
    pub(super) fn cut_off(&self) -> Option<u64> {
        (self.ended && self.at == At::Quoted).then_some(self.quoted_from)
    }

    fn follow(&mut self, byte: u8) {
        if let Some(read) = self.mark {
            let goes_on = BYTE_ORDER_MARK.get(read) == Some(&byte);
            self.mark = goes_on.then_some(read + 1);
            if goes_on {
                return;
            }
        }
        self.at = match (self.at, byte) {
            (At::FieldStart, QUOTE) => {
                self.quoted_from = self.line;
                At::Quoted
            }
            (At::Quoted, QUOTE) => At::QuoteInQuoted,
            (At::QuoteInQuoted, QUOTE) | (At::Quoted, _) => At::Quoted,
            (_, DELIMITER | b'\r' | b'\n') => At::FieldStart,
            _ => At::Unquoted,
        };
        self.line += u64::from(byte == b'\n');
    }
}

impl<R: Read> Read for QuotesFollowed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.ended = count == 0 && !buffer.is_empty();
        buffer
            .iter()
            .take(count)
            .for_each(|&byte| self.follow(byte));
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut_off(text: &str) -> Option<u64> {
        let mut source = QuotesFollowed::new(text.as_bytes());
        std::io::copy(&mut source, &mut std::io::sink()).unwrap();
        source.cut_off()
    }

    #[test]
    fn a_text_that_ends_inside_quotes_says_where_they_began() {
        for (text, line) in [
            ("\"", 1),
            ("\u{feff}\"k", 1),
            ("k,v\na,1\nb,\"unclosed\nc,3\nd,4", 3),
            ("k,v\na,1\nb,\"unclosed\nc,3\nd,4\n", 3),
            ("k,v\r\na,\"1\r\n2\"\r\n\"b\r\n", 4),
            ("k,v\na,\"one \"\" of two", 2),
            ("k,v\na,\"\"\"", 2),
        ] {
            assert_eq!(cut_off(text), Some(line), "{text:?}");
        }
    }

    #[test]
    fn quotes_that_are_closed_or_inside_an_unquoted_field_cut_nothing_off() {
        for text in [
            "",
            "\u{feff}\"k\"",
            "k,v\na,\"1\"",
            "k,v\na,\"1\"\n",
            "k,v\na,\"\"",
            "k,v\na,5\"\nb,6",
            "k,v\na,\"1\"\"\"",
            "k,v\na,\"1\" and \"more",
        ] {
            assert_eq!(cut_off(text), None, "{text:?}");
        }
    }
}
