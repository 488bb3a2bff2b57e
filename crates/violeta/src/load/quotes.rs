//! Whether the quotes of a comma-separated text swallow rows.
//!
//! ```text
//!            ┌──── , or line end ─────┐
//!            ▼                        │
//!      start of field ── other ──▶ unquoted ◀─ other ─┐ text behind a quote
//!            └── " ──▶ quoted ◀─── " ───▶ quote in quoted
//!                         └─ end of the text: never closed
//! ```
//!
//! A stray quote at the beginning of a field swallows all rows up to the next quote, wherever that is, or to the end of
//! the text. The csv crate takes what it swallowed for a field, in either case: rows would be lost without a word. So what
//! it reads is followed here, by its own rules, and told apart by what no writer of such files writes: a quoted field that
//! goes on behind its closing quote, or never ends. One that ends before a comma or a line end is well written; what it
//! holds, nobody can know to be rows.

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

/// Why a quoted field isn't one, and the line that it begins in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Misquoted {
    /// The text ends inside it.
    NeverClosed(u64),
    /// Behind its closing quote comes neither a comma nor a line end.
    GoesOn(u64),
}

/// A source that knows of quoted fields that aren't.
pub(super) struct QuotesFollowed<R> {
    source: R,
    at: At,
    line: u64,
    /// The line in which the newest quoted field began.
    quoted_from: u64,
    /// Bytes that were read.
    offset: u64,
    /// The first quoted field that goes on behind its closing quote: the offset at which it does, and its line.
    goes_on: Option<(u64, u64)>,
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
            offset: 0,
            goes_on: None,
            mark: Some(0),
            ended: false,
        }
    }

    /// What is wrong with the text before `offset`, which is where a record ends.
    pub(super) fn misquoted_before(&self, offset: u64) -> Option<Misquoted> {
        match self.goes_on {
            Some((at, line)) if at < offset => Some(Misquoted::GoesOn(line)),
            // The reader asks for more only once it has given all records that are whole: so this is the last one.
            _ if self.ended && self.at == At::Quoted => {
                Some(Misquoted::NeverClosed(self.quoted_from))
            }
            _ => None,
        }
    }

    fn follow(&mut self, byte: u8) {
        let offset = self.offset;
        self.offset += 1;
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
            (At::QuoteInQuoted, _) => {
                self.goes_on.get_or_insert((offset, self.quoted_from));
                At::Unquoted
            }
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

    fn misquoted(text: &str) -> Option<Misquoted> {
        let mut source = QuotesFollowed::new(text.as_bytes());
        let len = std::io::copy(&mut source, &mut std::io::sink()).unwrap();
        source.misquoted_before(len)
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
            let found = misquoted(text);
            assert_eq!(found, Some(Misquoted::NeverClosed(line)), "{text:?}");
        }
    }

    #[test]
    fn a_quoted_field_that_goes_on_behind_its_quote_says_where_it_began() {
        for (text, line) in [
            ("\"k\" ", 1),
            ("\u{feff}\"k\"v", 1),
            ("k,v\na,\"1\" and \"more", 2),
            ("k,v\na,1\nb,\"5 inches\nc,3\nd,\"hello\"\n", 3),
            // The first of two; the second one is never closed.
            ("k,v\r\na,\"1\"2\r\nb,\"3", 2),
        ] {
            let found = misquoted(text);
            assert_eq!(found, Some(Misquoted::GoesOn(line)), "{text:?}");
        }
    }

    #[test]
    fn what_lies_behind_a_record_says_nothing_of_it() {
        let text = "a,1\nb,\"2\"x\n";
        let mut source = QuotesFollowed::new(text.as_bytes());
        std::io::copy(&mut source, &mut std::io::sink()).unwrap();
        let at = text.find('x').unwrap() as u64;
        assert_eq!(source.misquoted_before(4), None);
        assert_eq!(source.misquoted_before(at), None);
        assert_eq!(source.misquoted_before(at + 1), Some(Misquoted::GoesOn(2)));
    }

    #[test]
    fn quotes_that_are_closed_or_inside_an_unquoted_field_swallow_nothing() {
        for text in [
            "",
            "\u{feff}\"k\"",
            "k,v\na,\"1\"",
            "k,v\na,\"1\"\n",
            "k,v\r\n\"a\",\"1\"\r\n",
            "k,v\na,\"\"",
            "k,v\na,5\"\nb,6",
            "k,v\na,\"1\"\"\"",
            "k,v\na,\"1\n2\"\nb,3",
        ] {
            assert_eq!(misquoted(text), None, "{text:?}");
        }
    }
}
