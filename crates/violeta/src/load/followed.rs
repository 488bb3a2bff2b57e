//! A text of separated columns, followed as the csv crate reads it: whether one of its records is too long, and whether its
//! quotes swallow others.
//!
//! ```text
//!            ┌──── , or line end ─────┐
//!            ▼                        │
//!      start of field ── other ──▶ unquoted ◀─ other ─┐ text behind a quote
//!            └── " ──▶ quoted ◀─── " ───▶ quote in quoted
//!                         └─ end of the text: never closed
//! ```
//!
//! A record is in memory whole, so it is bounded. Where there are no quotes, as between tabs, it is a line. Where there are,
//! a stray one at the beginning of a field swallows all rows up to the next quote, wherever that is, or to the end of the
//! text. The csv crate takes what it swallowed for a field, in either case: rows would be lost without a word. So what it
//! reads is followed here, by its own rules, and told apart by what no writer of such files writes: a quoted field that
//! goes on behind its closing quote, or never ends. One that ends before a comma or a line end is well written; what it
//! holds, nobody can know to be rows.

use std::collections::VecDeque;
use std::io::Read;

use super::rows::RECORD_BYTES_MAX;

const QUOTE: u8 = b'"';
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

/// A source that knows of quoted fields that aren't, and ends with an error in a record that is too long.
pub(super) struct Followed<R> {
    source: R,
    delimiter: u8,
    has_quotes: bool,
    at: At,
    line: u64,
    /// Where records begin, and in which line: of the one that was given last, and those behind it that have been read.
    begins: VecDeque<(u64, u64)>,
    /// What has been read of the newest record.
    record_bytes: usize,
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

impl<R> Followed<R> {
    /// At the beginning of `source`.
    pub(super) fn new(source: R, delimiter: u8, has_quotes: bool) -> Self {
        Followed {
            source,
            delimiter,
            has_quotes,
            at: At::FieldStart,
            line: 1,
            begins: VecDeque::new(),
            record_bytes: 0,
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

    /// What stands between columns.
    pub(super) fn delimiter(&self) -> u8 {
        self.delimiter
    }

    /// Whether a field may stand in quotes.
    pub(super) fn has_quotes(&self) -> bool {
        self.has_quotes
    }

    /// The line in which the record begins that ends at `offset`. Those before it are forgotten.
    pub(super) fn line_of_record_to(&mut self, offset: u64) -> u64 {
        while self.begins.get(1).is_some_and(|&(at, _)| at < offset) {
            self.begins.pop_front();
        }
        self.begins.front().map_or(self.line, |&(_, line)| line)
    }

    /// The line in which the record begins, or would, that hasn't been read to its end.
    pub(super) fn line_of_rest(&self) -> u64 {
        match self.begins.back() {
            Some(&(_, line)) if self.record_bytes > 0 => line,
            _ => self.line,
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
        let ends_line = matches!(byte, b'\r' | b'\n');
        if self.record_bytes == 0 && !ends_line {
            self.begins.push_back((offset, self.line));
        }
        self.at = match self.at {
            At::FieldStart if byte == QUOTE && self.has_quotes => {
                self.quoted_from = self.line;
                At::Quoted
            }
            At::Quoted if byte == QUOTE => At::QuoteInQuoted,
            At::Quoted => At::Quoted,
            At::QuoteInQuoted if byte == QUOTE => At::Quoted,
            _ if ends_line || byte == self.delimiter => At::FieldStart,
            At::QuoteInQuoted => {
                self.goes_on.get_or_insert((offset, self.quoted_from));
                At::Unquoted
            }
            At::FieldStart | At::Unquoted => At::Unquoted,
        };
        self.line += u64::from(byte == b'\n');
        self.record_bytes = match ends_line && self.at == At::FieldStart {
            true => 0,
            false => self.record_bytes + 1,
        };
    }
}

impl<R: Read> Read for Followed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.ended = count == 0 && !buffer.is_empty();
        for &byte in buffer.iter().take(count) {
            self.follow(byte);
            // What came before it in the buffer is of the same record, unless the buffer is larger than a record.
            if self.record_bytes > RECORD_BYTES_MAX {
                let hint = match self.has_quotes {
                    true => "a quote too many may have swallowed rows",
                    false => "is it a file of lines?",
                };
                return Err(std::io::Error::other(format!(
                    "the record that begins in this line has more than {RECORD_BYTES_MAX} bytes; {hint}"
                )));
            }
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn misquoted(text: &str) -> Option<Misquoted> {
        let mut source = Followed::new(text.as_bytes(), b',', true);
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
        let mut source = Followed::new(text.as_bytes(), b',', true);
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

    #[test]
    fn records_begin_in_the_lines_that_an_editor_numbers() {
        for (text, lines) in [
            ("k\na\n\n\nb\n", [1, 2, 5]),
            ("\u{feff}k\r\na\r\n\r\n\"b\r\n\"\r\n", [1, 2, 4]),
            ("\n\n\"k\n\"\na\nb", [3, 5, 6]),
        ] {
            let source = Followed::new(text.as_bytes(), b',', true);
            let mut reader = csv::ReaderBuilder::new()
                .has_headers(false)
                .from_reader(source);
            let mut record = csv::StringRecord::new();
            for line in lines {
                assert!(reader.read_record(&mut record).unwrap(), "{text:?}");
                let end = reader.position().byte();
                assert_eq!(reader.get_mut().line_of_record_to(end), line, "{text:?}");
            }
        }
    }

    /// The line of what can't be read of `parts`, one after another, or of their end; and why it can't be.
    fn read_of(parts: &[&str], delimiter: u8, has_quotes: bool) -> (u64, Option<String>) {
        let text = parts.concat();
        let mut source = Followed::new(text.as_bytes(), delimiter, has_quotes);
        let mut buffer = [0; 8_192];
        loop {
            match source.read(&mut buffer) {
                Ok(0) => return (source.line_of_rest(), None),
                Ok(_) => {}
                Err(error) => return (source.line_of_rest(), Some(error.to_string())),
            }
        }
    }

    #[test]
    fn a_record_has_so_many_bytes_and_no_more_whatever_it_consists_of() {
        let longest = "x".repeat(RECORD_BYTES_MAX);
        let lines = "x,1\n".repeat(RECORD_BYTES_MAX / 3);
        let tsv = |parts: &[&str]| read_of(parts, b'\t', false);
        let csv = |parts: &[&str]| read_of(parts, b',', true);
        for read in [tsv, csv] {
            let (line, error) = read(&["k\n", &longest, "\r\n", &longest, "\n"]);
            assert_eq!((line, error), (4, None));
            let (line, error) = read(&["k\n", &longest, "x\n1\n"]);
            assert_eq!(line, 2);
            assert!(error.unwrap().contains("has more than"));
        }
        // Quotes hide line ends where there are any, and nowhere else.
        let (_, error) = tsv(&["k\n\"", &lines, "\"\n"]);
        assert_eq!(error, None);
        let (line, error) = csv(&["k\n\"", &lines, "\"\n"]);
        assert_eq!(line, 2);
        assert!(error.unwrap().contains("a quote too many"));
    }
}
