//! How things look: colour on a terminal only, tables for people, one JSON object a line for programs.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::error::{CliError, CliResult};
use crate::table::Table;

/// Columns that text is wrapped at, however wide the terminal is.
pub(crate) const WIDTH_MAX: usize = 100;

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What a piece of text is, which decides its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// What matters most.
    Strong,
    /// What matters least.
    Faint,
    /// It is as it should be.
    Good,
    /// It isn't.
    Bad,
    /// Somebody should know.
    Warn,
    /// A name, a number, a command to type.
    Accent,
}

impl Tone {
    const fn code(self) -> &'static str {
        match self {
            Tone::Strong => "1",
            Tone::Faint => "2",
            Tone::Good => "32",
            Tone::Bad => "1;31",
            Tone::Warn => "33",
            Tone::Accent => "36",
        }
    }
}

/// Where a command writes: results to standard output, everything else to standard error.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terminal {
    json: bool,
    out_colored: bool,
    err_colored: bool,
    interactive: bool,
    width: Option<usize>,
}

impl Terminal {
    /// What the flags and the environment ask for.
    pub(crate) fn new(json: bool, color: ColorChoice) -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty())
            || std::env::var_os("TERM").is_some_and(|v| v == "dumb");
        let colored = |terminal: bool| match color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => terminal && !plain,
        };
        Terminal {
            json,
            out_colored: colored(io::stdout().is_terminal()),
            err_colored: colored(io::stderr().is_terminal()),
            interactive: io::stderr().is_terminal(),
            width: width(),
        }
    }

    /// Whether a program reads the output.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether a person sees the output as it comes.
    pub(crate) fn is_interactive(&self) -> bool {
        self.interactive && !self.json
    }

    /// Columns of standard output, if it is a terminal.
    pub(crate) fn width(&self) -> Option<usize> {
        self.width
    }

    /// Text for standard output in its tone.
    pub(crate) fn paint(&self, tone: Tone, text: impl Display) -> String {
        painted(self.out_colored, tone, text)
    }

    /// Bytes as they are, and nothing else: for a file or another program.
    ///
    /// # Errors
    /// If standard output can't be written.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> CliResult {
        write_out(bytes)
    }

    /// Writes a line of the result. Nothing if a program reads: it gets JSON.
    ///
    /// # Errors
    /// If standard output can't be written to.
    pub(crate) fn line(&self, text: impl Display) -> CliResult {
        if self.json {
            return Ok(());
        }
        write_out(format!("{text}\n"))
    }

    /// Writes one JSON object on one line, if a program reads.
    ///
    /// # Errors
    /// If standard output can't be written to.
    pub(crate) fn object(&self, value: &impl Serialize) -> CliResult {
        if !self.json {
            return Ok(());
        }
        write_out(format!("{}\n", serde_json::to_string(value)?))
    }

    /// As [`Terminal::object`], with a further field `proof`: what was verified, as it is written to proof files.
    ///
    /// # Errors
    /// If standard output can't be written to.
    pub(crate) fn object_with_proof(&self, view: &impl Serialize, proof: &str) -> CliResult {
        #[derive(Serialize)]
        struct Proven<'a, T: Serialize> {
            #[serde(flatten)]
            view: &'a T,
            proof: serde_json::Value,
        }
        let proof = serde_json::from_str(proof)?;
        self.object(&Proven { view, proof })
    }

    /// Writes a table, if a person reads.
    ///
    /// # Errors
    /// If standard output can't be written to.
    pub(crate) fn table(&self, table: &Table) -> CliResult {
        for line in table.lines(self.width) {
            self.line(line)?;
        }
        Ok(())
    }

    /// Says something to a person beside the result.
    pub(crate) fn note(&self, text: impl Display) {
        if !self.json {
            // Nothing can be said where standard error can't be written to.
            let _ = writeln!(io::stderr(), "{text}");
        }
    }

    /// Shows an error on standard error.
    pub(crate) fn error(&self, error: &CliError) {
        let mut text = String::new();
        if self.json {
            let body = serde_json::json!({ "error": error });
            text = format!("{body}\n");
        } else {
            let mark = painted(self.err_colored, Tone::Bad, "error:");
            text.push_str(&format!("{mark} {}\n", error.message));
            if let Some(help) = &error.help {
                let mark = painted(self.err_colored, Tone::Accent, " help:");
                text.push_str(&format!("{mark} {help}\n"));
            }
        }
        // Nothing can be said where standard error can't be written to; the exit code still speaks.
        let _ = io::stderr().write_all(text.as_bytes());
    }

    /// A progress bar of `len` steps; hidden where nobody watches.
    pub(crate) fn progress(&self, len: u64, unit: &str) -> ProgressBar {
        let target = match self.is_interactive() {
            true => ProgressDrawTarget::stderr_with_hz(10),
            false => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(Some(len), target);
        let colors = if self.err_colored { ".cyan/dim" } else { "" };
        let template = format!(
            "   {{bar:28{colors}}} {{human_pos:>7}} of {{human_len}} {unit}  {{per_sec:>10}}  {{msg}}"
        );
        // The template is ours; if it were wrong, the bar would only look different.
        let style = ProgressStyle::with_template(&template)
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .with_key(
                "per_sec",
                |state: &indicatif::ProgressState, w: &mut dyn std::fmt::Write| {
                    let _ = write!(w, "{:.0}/s", state.per_sec());
                },
            )
            .progress_chars("━╸─");
        bar.with_style(style)
    }
}

fn width() -> Option<usize> {
    let out = Term::stdout();
    let (_, columns) = out.is_term().then(|| out.size_checked()).flatten()?;
    Some(usize::from(columns))
}

fn painted(colored: bool, tone: Tone, text: impl Display) -> String {
    match colored {
        true => format!("\u{1b}[{}m{text}\u{1b}[0m", tone.code()),
        false => text.to_string(),
    }
}

fn write_out(bytes: impl AsRef<[u8]>) -> CliResult {
    let mut out = io::stdout().lock();
    match out.write_all(bytes.as_ref()).and_then(|()| out.flush()) {
        // Whoever read the output has seen enough (`| head`): that is no error, and nothing more is to be done.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        result => Ok(result?),
    }
}

/// A table without lines around it: a header, then rows. Columns named in `right` are numbers.
pub(crate) fn table(header: &[&str], right: &[usize]) -> Table {
    Table::new(header, right)
}

/// Shortens long text in the middle of nowhere: the first `len` characters and an ellipsis.
pub(crate) fn shortened(text: &str, len: usize) -> String {
    match text.char_indices().nth(len) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A number with its thousands apart.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// How many of something: `1 row`, `2,000 rows`.
pub(crate) fn count(number: impl TryInto<u64>, one: &str) -> String {
    let number = number.try_into().unwrap_or(u64::MAX);
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {one}{ending}", thousands(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_something_is_written_without_an_s() {
        assert_eq!(count(0_u64, "row"), "0 rows");
        assert_eq!(count(1_usize, "row"), "1 row");
        assert_eq!(count(2_000_u16, "row"), "2,000 rows");
    }

    #[test]
    fn thousands_are_set_apart() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(thousands(number), text);
        }
    }

    #[test]
    fn shortening_counts_characters_not_bytes() {
        assert_eq!(shortened("größe", 3), "grö…");
        assert_eq!(shortened("abc", 3), "abc");
    }

    #[test]
    fn colour_is_put_on_only_where_it_is_wanted() {
        let never = Terminal::new(false, ColorChoice::Never);
        assert_eq!(never.paint(Tone::Good, "x"), "x");
        let always = Terminal::new(false, ColorChoice::Always);
        assert_eq!(always.paint(Tone::Good, "x"), "\u{1b}[32mx\u{1b}[0m");
    }
}
