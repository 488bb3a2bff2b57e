//! Rows of a file, as the keys and values that they become.
//!
//! ```text
//!  package  version  sha256           key column(s)      the others
//!  openssl  3.0.11   4d2a…     ──▶    openssl        =   {"sha256":"4d2a…","version":"3.0.11"}
//! ```
//!
//! The object's names are sorted: equal rows give equal values, whatever the order of the columns.
//!
//! Reading never stops at a bad row: it says what is wrong with it, so that it can be counted and shown. It does stop
//! where nothing more can be read ([`Unread::Rest`]): how many rows lie behind that, nobody knows.

use std::io::Read;
use std::path::Path;

use clap::ValueEnum;
use violeta_types::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};

use super::followed::{Followed, Misquoted};
use crate::error::{CliError, CliResult};
use crate::terminal::count;

/// Bytes of a line of JSON, or of a record of columns.
pub(super) const RECORD_BYTES_MAX: usize = 2 * (VALUE_BYTES_MAX + KEY_BYTES_MAX);
/// What stands between the parts of a key that is made of several columns.
const KEY_SEPARATOR: &str = "/";

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns with a header, set apart by tabs.
    Tsv,
    /// Columns with a header, set apart by commas.
    Csv,
    /// A JSON object on each line.
    Jsonl,
}

impl Format {
    /// What a file's name says.
    pub(crate) fn of_name(path: &Path) -> Option<Format> {
        match path.extension()?.to_str()? {
            "tsv" => Some(Format::Tsv),
            "csv" => Some(Format::Csv),
            "jsonl" | "ndjson" => Some(Format::Jsonl),
            _ => None,
        }
    }
}

/// Which columns become key and value.
#[derive(Clone, Debug)]
pub(crate) struct Columns {
    /// They make the key, in this order.
    pub(crate) key: Vec<String>,
    /// This one alone is the value; if none, an object of all that aren't the key's.
    pub(crate) value: Option<String>,
}

/// A row that can be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// The key.
    pub(crate) key: Vec<u8>,
    /// The value.
    pub(crate) value: Vec<u8>,
}

/// A row that can't, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadRow {
    /// The line that it begins in, from 1.
    pub(crate) line: u64,
    /// What is wrong.
    pub(crate) reason: String,
}

/// Why there is no row to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    /// This row can't be loaded; those after it may.
    Row(BadRow),
    /// Nothing from this line on can be read. No row follows.
    Rest(BadRow),
}

impl From<BadRow> for Unread {
    fn from(bad: BadRow) -> Self {
        Unread::Row(bad)
    }
}

/// The rows of a file, one after another.
pub(crate) type Rows = Box<dyn Iterator<Item = Result<Row, Unread>> + Send>;

/// The rows of a file that can be loaded, as far as it can be read.
pub(crate) struct Loadable<'a> {
    rows: Rows,
    ended: &'a mut Option<BadRow>,
}

impl<'a> Loadable<'a> {
    /// Those of `rows`. Where reading ends before the file does, `ended` says why.
    pub(crate) fn of(rows: Rows, ended: &'a mut Option<BadRow>) -> Self {
        Loadable { rows, ended }
    }
}

impl Iterator for Loadable<'_> {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        while self.ended.is_none() {
            match self.rows.next()? {
                Ok(row) => return Some(row),
                Err(Unread::Row(_)) => {}
                Err(Unread::Rest(bad)) => *self.ended = Some(bad),
            }
        }
        None
    }
}

/// The rows of `source`.
///
/// # Errors
/// If its header hasn't the columns.
pub(crate) fn read(
    source: impl Read + Send + 'static,
    format: Format,
    columns: &Columns,
) -> CliResult<Rows> {
    match format {
        // Tab-separated files have no quotes.
        Format::Tsv => separated(Followed::new(source, b'\t', false), columns),
        Format::Csv => separated(Followed::new(source, b',', true), columns),
        Format::Jsonl => Ok(json_lines(source, columns.clone())),
    }
}

fn separated<R: Read + Send + 'static>(source: Followed<R>, columns: &Columns) -> CliResult<Rows> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(source.delimiter())
        .quoting(source.has_quotes())
        .from_reader(source);
    let header = reader.headers().cloned();
    let header = unless_misquoted(header, &mut reader).map_err(|unread| {
        let (Unread::Row(bad) | Unread::Rest(bad)) = unread;
        CliError::failed(format!(
            "the header can't be read from line {} on: {}",
            bad.line, bad.reason
        ))
    })?;
    let header: Vec<String> = header.1.iter().map(ToOwned::to_owned).collect();
    let place = |name: &String| {
        header.iter().position(|h| h == name).ok_or_else(|| {
            let help = match header.is_empty() {
                true => "the file is empty: it has not even a header".into(),
                false => format!("the file has: {}", header.join(", ")),
            };
            CliError::usage(format!("there is no column {name:?}")).help(help)
        })
    };
    let keys = columns
        .key
        .iter()
        .map(place)
        .collect::<CliResult<Vec<_>>>()?;
    let value = columns.value.as_ref().map(place).transpose()?;
    let mut ended = false;
    let records = std::iter::from_fn(move || {
        if ended {
            return None;
        }
        let mut record = csv::StringRecord::new();
        let read = match reader.read_record(&mut record) {
            Ok(false) => return None,
            Ok(true) => Ok(record),
            Err(error) => Err(error),
        };
        let record = unless_misquoted(read, &mut reader);
        ended = matches!(record, Err(Unread::Rest(_)));
        Some(record)
    });
    Ok(Box::new(records.map(
        move |record| -> Result<Row, Unread> {
            let (line, record) = record?;
            let parts: Vec<&str> = keys.iter().filter_map(|&i| record.get(i)).collect();
            let value = match value {
                Some(i) => record.get(i).unwrap_or_default().to_owned(),
                None => {
                    let others = header.iter().zip(&record).enumerate();
                    let object: serde_json::Map<_, _> = others
                        .filter(|(i, _)| !keys.contains(i))
                        .map(|(_, (name, field))| (name.clone(), field.into()))
                        .collect();
                    serde_json::Value::Object(object).to_string()
                }
            };
            Ok(row(line, &parts, value)?)
        },
    )))
}

/// A record that was just read, with its line; unless it is none: quotes may have swallowed others.
fn unless_misquoted<R: Read>(
    record: Result<csv::StringRecord, csv::Error>,
    reader: &mut csv::Reader<Followed<R>>,
) -> Result<(u64, csv::StringRecord), Unread> {
    let end = reader.position().byte();
    let source = reader.get_mut();
    if let Some(quotes) = source.misquoted_before(end) {
        return Err(Unread::Rest(quotes.into()));
    }
    let line = source.line_of_record_to(end);
    let bad = |reason: String| BadRow { line, reason };
    record
        .map(|record| (line, record))
        .map_err(|error| match error.kind() {
            csv::ErrorKind::UnequalLengths {
                expected_len, len, ..
            } => {
                let fields = count(*len, "field");
                Unread::Row(bad(format!("it has {fields}, the header {expected_len}")))
            }
            csv::ErrorKind::Utf8 { err, .. } => {
                let field = err.field() + 1;
                Unread::Row(bad(format!("its field {field} isn't UTF-8 text")))
            }
            _ => Unread::Rest(BadRow {
                line: source.line_of_rest(),
                reason: error.to_string(),
            }),
        })
}

impl From<Misquoted> for BadRow {
    fn from(quotes: Misquoted) -> Self {
        let (line, reason) = match quotes {
            Misquoted::NeverClosed(line) => (
                line,
                "the quote that opens a field in this line is never closed",
            ),
            Misquoted::GoesOn(line) => (
                line,
                "the quoted field that begins in this line goes on behind its closing quote; a quote too many may have \
                 swallowed rows (within quotes, two stand for one)",
            ),
        };
        BadRow {
            line,
            reason: reason.into(),
        }
    }
}

fn json_lines(source: impl Read + Send + 'static, columns: Columns) -> Rows {
    let lines = BoundedLines {
        source: std::io::BufReader::new(source),
        line: 0,
        ended: false,
    };
    let rows = lines.filter(|line| !matches!(line, Ok((_, text)) if text.trim_ascii().is_empty()));
    Box::new(rows.map(move |line| -> Result<Row, Unread> {
        let (line, text) = line?;
        let bad = |reason: String| BadRow { line, reason };
        let mut object: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(&text).map_err(|e| bad(format!("no JSON object: {e}")))?;
        let mut parts = Vec::with_capacity(columns.key.len());
        for name in &columns.key {
            let field = object.remove(name);
            parts.push(text_of(
                &field.ok_or_else(|| bad(format!("no field {name:?}")))?,
            ));
        }
        let value = match &columns.value {
            Some(name) => text_of(
                object
                    .get(name)
                    .ok_or_else(|| bad(format!("no field {name:?}")))?,
            ),
            None => serde_json::Value::Object(object).to_string(),
        };
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        Ok(row(line, &parts, value)?)
    }))
}

fn text_of(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn row(line: u64, key: &[&str], value: String) -> Result<Row, BadRow> {
    let bad = |reason: String| Err(BadRow { line, reason });
    let key = key.join(KEY_SEPARATOR).into_bytes();
    if key.is_empty() {
        return bad("its key is empty".into());
    }
    if key.len() > KEY_BYTES_MAX {
        return bad(format!(
            "its key has {} bytes, at most {KEY_BYTES_MAX}",
            key.len()
        ));
    }
    if value.len() > VALUE_BYTES_MAX {
        return bad(format!(
            "its value has {} bytes, at most {VALUE_BYTES_MAX}",
            value.len()
        ));
    }
    Ok(Row {
        key,
        value: value.into_bytes(),
    })
}

/// Lines of bounded length: a file without line ends isn't read into memory whole.
struct BoundedLines<R> {
    source: std::io::BufReader<R>,
    line: u64,
    ended: bool,
}

impl<R: Read> Iterator for BoundedLines<R> {
    type Item = Result<(u64, Vec<u8>), Unread>;

    fn next(&mut self) -> Option<Self::Item> {
        use std::io::BufRead;
        if self.ended {
            return None;
        }
        self.line += 1;
        let line = self.line;
        let mut text = Vec::new();
        let limit = RECORD_BYTES_MAX as u64 + 1;
        match (&mut self.source).take(limit).read_until(b'\n', &mut text) {
            Ok(0) => None,
            Ok(_) if text.len() > RECORD_BYTES_MAX => {
                self.ended = true;
                let reason = format!("more than {RECORD_BYTES_MAX} bytes in a line");
                Some(Err(Unread::Rest(BadRow { line, reason })))
            }
            Ok(_) => Some(Ok((line, text))),
            Err(e) => {
                self.ended = true;
                let reason = e.to_string();
                Some(Err(Unread::Rest(BadRow { line, reason })))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(
        text: &'static str,
        format: Format,
        key: &[&str],
        value: Option<&str>,
    ) -> Vec<Result<Row, Unread>> {
        let columns = Columns {
            key: key.iter().map(ToString::to_string).collect(),
            value: value.map(ToOwned::to_owned),
        };
        read(text.as_bytes(), format, &columns).unwrap().collect()
    }

    fn good(key: &str, value: &str) -> Result<Row, Unread> {
        Ok(Row {
            key: key.into(),
            value: value.into(),
        })
    }

    #[test]
    fn columns_become_key_and_value() {
        let text = "name\tversion\tsize\na\t1\t2\nb\t\"3\t4\n";
        assert_eq!(
            rows(text, Format::Tsv, &["name"], None),
            [
                good("a", r#"{"size":"2","version":"1"}"#),
                good("b", r#"{"size":"4","version":"\"3"}"#),
            ]
        );
        assert_eq!(
            rows(text, Format::Tsv, &["name", "version"], Some("size"))[0],
            good("a/1", "2")
        );
    }

    #[test]
    fn commas_may_be_quoted() {
        let text = "k,v\n\"a,b\",\"say \"\"x\"\"\"\n";
        assert_eq!(
            rows(text, Format::Csv, &["k"], Some("v")),
            [good("a,b", "say \"x\"")]
        );
    }

    #[test]
    fn a_quote_that_is_never_closed_ends_the_rows_where_it_opens() {
        let first = good("a", "1");
        for text in [
            "k,v\na,1\nb,\"unclosed\nc,3\nd,4",
            "k,v\na,1\nb,\"unclosed\nc,3\nd,4\n",
            "k,v\na,1\n\"b",
            "k,v\na,1\n\"",
        ] {
            let found = rows(text, Format::Csv, &["k"], Some("v"));
            let rest = Err(Unread::Rest(Misquoted::NeverClosed(3).into()));
            assert_eq!(found, [first.clone(), rest], "{text:?}");
        }
        let text = "k,v\na,1\nb,\"closed\nin the next line\"";
        let second = good("b", "closed\nin the next line");
        assert_eq!(
            rows(text, Format::Csv, &["k"], Some("v")),
            [first, second],
            "a file may end without a line end"
        );
        let columns = Columns {
            key: vec!["k".into()],
            value: None,
        };
        let header = read("k,\"v\na,1\n".as_bytes(), Format::Csv, &columns);
        let error = header.err().unwrap();
        assert!(error.message.contains("never closed"), "{error}");
    }

    #[test]
    fn a_stray_quote_that_a_later_quote_closes_ends_the_rows_where_it_opens() {
        let first = good("a", "1");
        let rest = Err(Unread::Rest(Misquoted::GoesOn(3).into()));
        for text in [
            "k,v\na,1\nb,\"5 inches\nc,3\nd,\"hello\"\n",
            "k,v\na,1\nb,\"5\" wide\nc,3\n",
            "k,v\na,1\nb,\"5 inches\nc,3\nd,\"hello\"\ne,\"unclosed",
        ] {
            let found = rows(text, Format::Csv, &["k"], Some("v"));
            assert_eq!(found, [first.clone(), rest.clone()], "{text:?}");
        }
        // Far ahead of it the source has been read, and the rows in between are good.
        let mut text = String::from("k,v\n");
        (0..400).for_each(|i| text += &format!("{i},\"1\"\n"));
        text += "b,\"5 inches\nc,\"x\"\n";
        let found = rows(text.leak(), Format::Csv, &["k"], Some("v"));
        assert_eq!(found.len(), 401);
        assert!(found[..400].iter().all(Result::is_ok));
        let rest = Err(Unread::Rest(Misquoted::GoesOn(402).into()));
        assert_eq!(found[400], rest);
        // One with too few fields for a row, besides.
        let found = rows("k,v\nb \"5\n\"x\"y\n", Format::Csv, &["k"], Some("v"));
        assert!(matches!(found[0], Err(Unread::Row(_))), "{found:?}");
        assert_eq!(found[1], Err(Unread::Rest(Misquoted::GoesOn(3).into())));

        let columns = Columns {
            key: vec!["k".into()],
            value: None,
        };
        let header = read("k,\"v\na,1\nb,\"2\"\n".as_bytes(), Format::Csv, &columns);
        let error = header.err().unwrap();
        assert!(error.message.contains("from line 1 on"), "{error}");
    }

    #[test]
    fn json_lines_keep_their_types_in_the_value() {
        let text = "{\"k\":7,\"v\":[1,null]}\n\n{\"k\":\"x\",\"v\":true}\n";
        assert_eq!(
            rows(text, Format::Jsonl, &["k"], None),
            [good("7", r#"{"v":[1,null]}"#), good("x", r#"{"v":true}"#)]
        );
    }

    #[test]
    fn bad_rows_say_line_and_reason_and_the_next_is_read() {
        let text = "k,v\na,1\nb\n,2\nc,3\n";
        let found = rows(text, Format::Csv, &["k"], Some("v"));
        let bad_line = |row: &Result<Row, Unread>| match row {
            Ok(_) => None,
            Err(Unread::Row(bad)) => Some(bad.line),
            Err(Unread::Rest(bad)) => panic!("{bad:?}"),
        };
        let lines: Vec<_> = found.iter().map(bad_line).collect();
        assert_eq!(lines, [None, Some(3), Some(4), None]);

        let text = "{\"k\":1}\nnonsense\n[1]\n{\"v\":1}\n{\"k\":2}";
        let found = rows(text, Format::Jsonl, &["k"], None);
        let lines: Vec<_> = found.iter().map(bad_line).collect();
        assert_eq!(lines, [None, Some(2), Some(3), Some(4), None]);
    }

    #[test]
    fn a_missing_column_is_wrong_usage_and_names_those_there_are() {
        let columns = Columns {
            key: vec!["nam".into()],
            value: None,
        };
        let error = read("name,v\n".as_bytes(), Format::Csv, &columns)
            .err()
            .unwrap();
        assert_eq!(error.cause, crate::error::Cause::Usage);
        assert_eq!(error.help.unwrap(), "the file has: name, v");
        let source = std::io::empty();
        let error = read(source, Format::Csv, &columns).err().unwrap();
        assert!(error.help.unwrap().starts_with("the file is empty"));
    }

    #[test]
    fn oversized_keys_values_and_lines_are_refused() {
        let key = "k".repeat(KEY_BYTES_MAX + 1);
        assert!(row(1, &[&key], String::new()).is_err());
        assert!(row(1, &[&key[1..]], "v".repeat(VALUE_BYTES_MAX)).is_ok());
        assert!(row(1, &["k"], "v".repeat(VALUE_BYTES_MAX + 1)).is_err());
        let endless = std::io::repeat(b'x');
        let columns = Columns {
            key: vec!["k".into()],
            value: None,
        };
        let found: Vec<_> = read(endless, Format::Jsonl, &columns).unwrap().collect();
        let [Err(Unread::Rest(bad))] = &found[..] else {
            panic!("{found:?}");
        };
        assert!(bad.reason.starts_with("more than"), "{bad:?}");
    }

    #[test]
    fn a_record_of_columns_that_is_too_long_ends_the_rows_where_it_begins() {
        let columns = Columns {
            key: vec!["k".into()],
            value: Some("v".into()),
        };
        let endless = |text: &'static str| text.as_bytes().chain(std::io::repeat(b'x'));
        for (format, text) in [
            (Format::Tsv, "k\tv\na\t1\nb\t"),
            (Format::Csv, "k,v\na,1\nb,"),
            (Format::Csv, "k,v\r\na,1\r\n\"b\r\n"),
        ] {
            let found: Vec<_> = read(endless(text), format, &columns).unwrap().collect();
            let [Ok(_), Err(Unread::Rest(bad))] = &found[..] else {
                panic!("{format:?}: {found:?}");
            };
            assert_eq!(bad.line, 3, "{format:?}");
            assert!(bad.reason.contains("has more than"), "{bad:?}");
        }
        let header = read(endless("k\t"), Format::Tsv, &columns).err().unwrap();
        assert!(header.message.contains("from line 1 on"), "{header}");
    }

    #[test]
    fn what_is_wrong_with_a_row_is_said_in_the_words_of_its_format() {
        let reason = |format: Format, text: &'static [u8]| {
            let columns = Columns {
                key: vec!["k".into()],
                value: None,
            };
            let found: Vec<_> = read(text, format, &columns).unwrap().collect();
            let [Err(Unread::Row(bad)), Ok(_)] = &found[..] else {
                panic!("{found:?}");
            };
            assert_eq!(bad.line, 2);
            bad.reason.clone()
        };
        for (format, text) in [
            (Format::Tsv, &b"k\tv\na\nb\t1\n"[..]),
            (Format::Csv, b"k,v\r\na\r\nb,1\r\n"),
        ] {
            assert_eq!(reason(format, text), "it has 1 field, the header 2");
        }
        assert_eq!(
            reason(Format::Tsv, b"k\tv\na\t\xff\nb\t1\n"),
            "its field 2 isn't UTF-8 text"
        );
    }

    /// A disk that gives this much and then fails, and whose next read gives more.
    struct FailsOnce(std::collections::VecDeque<std::io::Result<&'static str>>);

    impl Read for FailsOnce {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            match self.0.pop_front() {
                None => Ok(0),
                Some(text) => text?.as_bytes().read(buffer),
            }
        }
    }

    #[test]
    fn a_disk_that_fails_in_the_middle_ends_the_rows_and_isnt_a_bad_row() {
        for (format, parts) in [
            (Format::Csv, ["k,v\na,1\n", "b,2\n"]),
            (
                Format::Jsonl,
                ["{\"k\":\"a\",\"v\":1}\n", "{\"k\":\"b\"}\n"],
            ),
        ] {
            let source = || {
                let broken = std::io::Error::other("bad sector");
                FailsOnce([Ok(parts[0]), Err(broken), Ok(parts[1])].into())
            };
            let columns = Columns {
                key: vec!["k".into()],
                value: Some("v".into()),
            };
            let found: Vec<_> = read(source(), format, &columns).unwrap().collect();
            let [Ok(_), Err(Unread::Rest(bad))] = &found[..] else {
                panic!("{format:?}: {found:?}");
            };
            assert!(bad.reason.contains("bad sector"), "{bad:?}");
            let line = parts[0].lines().count() as u64 + 1;
            assert_eq!(bad.line, line, "{format:?}");
            let mut ended = None;
            let rows = Loadable::of(read(source(), format, &columns).unwrap(), &mut ended);
            assert_eq!(rows.count(), 1, "{format:?}");
            assert_eq!(ended.as_ref(), Some(bad), "{format:?}");
        }
    }

    #[test]
    fn the_name_says_the_format() {
        for (name, format) in [
            ("a.tsv", Some(Format::Tsv)),
            ("a.b.csv", Some(Format::Csv)),
            ("a.ndjson", Some(Format::Jsonl)),
            ("a", None),
            ("a.txt", None),
        ] {
            assert_eq!(Format::of_name(Path::new(name)), format, "{name}");
        }
    }
}
