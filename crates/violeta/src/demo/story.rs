//! How the demo is told: numbered steps for people, one JSON object a step for programs.

use std::fmt::Display;
use std::time::Instant;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::CliResult;
use crate::table::Table;
use crate::terminal::{Terminal, Tone, shortened};

/// Columns that prose is wrapped at.
const WIDTH: usize = 79;
const INDENT: &str = "    ";
/// Hexadecimal digits of a digest.
const DIGEST_DIGITS: usize = 64;
/// So many of them are shown in prose.
const SHOWN_DIGITS: usize = 16;

/// The demo's narrator.
pub(crate) struct Story<'a> {
    terminal: &'a Terminal,
    number: u32,
    title: String,
    facts: Map<String, Value>,
    begun: Instant,
}

impl<'a> Story<'a> {
    /// Nothing told yet.
    pub(crate) fn new(terminal: &'a Terminal) -> Self {
        Story {
            terminal,
            number: 0,
            title: String::new(),
            facts: Map::new(),
            begun: Instant::now(),
        }
    }

    /// Where it is told.
    pub(crate) fn terminal(&self) -> &'a Terminal {
        self.terminal
    }

    /// Begins a step: what is done, and why that is worth seeing. Ends the one before.
    ///
    /// # Errors
    /// If standard output can't be written to.
    pub(crate) fn step(&mut self, title: &str, why: &str) -> CliResult {
        self.end()?;
        self.number += 1;
        title.clone_into(&mut self.title);
        self.begun = Instant::now();
        self.terminal.line("")?;
        let number = self
            .terminal
            .paint(Tone::Accent, format!("{:>2}.", self.number));
        self.terminal.line(format!(
            "{number} {}",
            self.terminal.paint(Tone::Strong, title)
        ))?;
        for line in wrapped(why, WIDTH - INDENT.len()) {
            self.terminal.line(format!(
                "{INDENT}{}",
                self.terminal.paint(Tone::Faint, line)
            ))?;
        }
        Ok(())
    }

    /// Ends the step; programs get its object now.
    ///
    /// # Errors
    /// If standard output can't be written to.
    pub(crate) fn end(&mut self) -> CliResult {
        if self.title.is_empty() {
            return Ok(());
        }
        self.terminal.object(&serde_json::json!({
            "step": self.number,
            "title": self.title,
            "ok": true,
            "seconds": (self.begun.elapsed().as_secs_f64() * 1_000.0).round() / 1_000.0,
            "facts": Value::Object(std::mem::take(&mut self.facts)),
        }))?;
        self.title.clear();
        Ok(())
    }

    /// Notes a fact for programs.
    ///
    /// # Errors
    /// If it can't be written as JSON.
    pub(crate) fn fact(&mut self, name: &str, value: impl Serialize) -> CliResult {
        self.facts
            .insert(name.to_owned(), serde_json::to_value(value)?);
        Ok(())
    }

    /// Something is as it should be.
    ///
    /// # Errors
    /// If standard output can't be written to.
    pub(crate) fn good(&self, text: impl Display) -> CliResult {
        self.marked(Tone::Good, "✓", &text.to_string())
    }

    /// Something bad happened, as was meant to.
    ///
    /// # Errors
    /// If standard output can't be written to.
    pub(crate) fn bad(&self, text: impl Display) -> CliResult {
        self.marked(Tone::Bad, "✗", &text.to_string())
    }

    /// Something to know.
    ///
    /// # Errors
    /// If standard output can't be written to.
    pub(crate) fn say(&self, text: impl Display) -> CliResult {
        self.terminal.line(format!("{INDENT}{text}"))
    }

    /// A table, indented.
    ///
    /// # Errors
    /// If standard output can't be written to.
    pub(crate) fn table(&self, table: &Table) -> CliResult {
        let width = self.terminal.width();
        for line in table.lines(width.map(|w| w.saturating_sub(INDENT.len()))) {
            self.say(line)?;
        }
        Ok(())
    }

    fn marked(&self, tone: Tone, mark: &str, text: &str) -> CliResult {
        let mut lines = wrapped(&without_digests(text), WIDTH - INDENT.len() - 2).into_iter();
        let first = lines.next().unwrap_or_default();
        self.say(format!("{} {first}", self.terminal.paint(tone, mark)))?;
        for line in lines {
            self.say(format!("  {line}"))?;
        }
        Ok(())
    }
}

/// Shortens whatever is as long as a digest: a person compares beginnings, programs get all of it.
fn without_digests(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(begin) = rest.find(|c: char| c.is_ascii_hexdigit()) {
        let run = &rest[begin..];
        let end = run
            .find(|c: char| !c.is_ascii_hexdigit())
            .unwrap_or(run.len());
        out.push_str(&rest[..begin]);
        match end >= DIGEST_DIGITS {
            true => out.push_str(&shortened(&run[..end], SHOWN_DIGITS)),
            false => out.push_str(&run[..end]),
        }
        rest = &run[end..];
    }
    out + rest
}

/// Breaks text between words so that no line is longer than `width`, unless a word is.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().map_or(0, |l| l.chars().count());
        if line > 0 && line + 1 + word.chars().count() > width {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_shortened_and_nothing_else() {
        let digest = "ab".repeat(32);
        let text = format!("root {digest}, not {}, at 12 cafe", &digest[1..]);
        let expected = format!("root abababababababab…, not {}, at 12 cafe", &digest[1..]);
        assert_eq!(without_digests(&text), expected);
        assert_eq!(without_digests(""), "");
    }

    #[test]
    fn prose_is_broken_between_words() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("a-word-too-long b", 5), ["a-word-too-long", "b"]);
        assert_eq!(wrapped("", 5), [""]);
    }
}
