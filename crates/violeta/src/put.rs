//! `violeta put` and `violeta delete`: one signed transaction, and what became of it.

use std::cell::OnceCell;
use std::io::Read;
use std::path::PathBuf;

use clap::Args;
use violeta_client::{Client, ClientError, Operations, Pending, Receipt};
use violeta_db::records::is_client_name;
use violeta_types::api::{HEX_MARK, Readable};
use violeta_types::limits::VALUE_BYTES_MAX;
use violeta_types::transaction::Condition;
use violeta_types::{DecodeError, Height, Refusal};

use crate::connect::{self, show_incidents, show_receipt, writer};
use crate::context::ContextArgs;
use crate::error::{CliError, CliResult};
use crate::gateway::block_on;
use crate::quorum::{self, noted};
use crate::signals::Ending;
use crate::terminal::{Terminal, shortened};

/// Characters of a value in a message.
const VALUE_CHARACTERS: usize = 40;

/// Arguments of `violeta put`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  violeta put greetings hello world --create
  violeta put greetings hello 'good day' --if-value world
  violeta put pictures logo --file logo.png

Keys and values are text, or hex: and hexadecimal digits; the empty key is hex: alone. The answer comes when a quorum \
of validators has vouched for the block that holds the transaction; that is verified.")]
pub(crate) struct PutArgs {
    /// The namespace.
    namespace: Readable,
    /// The key.
    #[arg(value_parser = parse_key)]
    key: Readable,
    /// The value, unless it comes from a file; one that begins with a hyphen and is no number goes last, behind --.
    #[arg(conflicts_with = "file", allow_negative_numbers = true)]
    value: Option<Readable>,
    /// Read the value from a file; - is standard input.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Make the namespace in the same transaction, unless it is there.
    #[arg(long)]
    create: bool,
    /// Only if the key has no value.
    #[arg(long, group = "condition")]
    if_absent: bool,
    /// Only if the key has this value.
    #[arg(
        long,
        value_name = "VALUE",
        group = "condition",
        allow_negative_numbers = true
    )]
    if_value: Option<Readable>,
    /// Only if the key was last written at this height.
    #[arg(long, value_name = "HEIGHT", group = "condition")]
    if_written_at: Option<u64>,
    #[command(flatten)]
    context: ContextArgs,
}

/// Arguments of `violeta delete`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  violeta delete greetings hello

Older versions stay readable and provable: see violeta history.")]
pub(crate) struct DeleteArgs {
    /// The namespace.
    namespace: Readable,
    /// The key.
    #[arg(value_parser = parse_key)]
    key: Readable,
    #[command(flatten)]
    context: ContextArgs,
}

impl PutArgs {
    fn value(&self) -> CliResult<Vec<u8>> {
        let path = match (&self.file, &self.value) {
            (Some(path), _) => path,
            (None, Some(value)) => return Ok(value.0.clone()),
            (None, None) => {
                let PutArgs { namespace, key, .. } = self;
                return Err(CliError::usage("the value is missing").help(format!(
                    "violeta put {namespace} {key} VALUE, or --file FILE, which may be - for standard input"
                )));
            }
        };
        let name = path.display();
        let source: Box<dyn Read> = match path.as_os_str() == "-" {
            true => Box::new(std::io::stdin()),
            false => Box::new(
                std::fs::File::open(path)
                    .map_err(|e| CliError::failed(format!("can't open {name}: {e}")))?,
            ),
        };
        let mut bytes = Vec::new();
        source
            .take(VALUE_BYTES_MAX as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| CliError::failed(format!("can't read {name}: {e}")))?;
        if bytes.len() > VALUE_BYTES_MAX {
            return Err(
                CliError::usage(format!("{name} is too large to be a value")).help(format!(
                    "a value has at most {VALUE_BYTES_MAX} bytes: split it over several keys"
                )),
            );
        }
        Ok(bytes)
    }

    fn condition(&self) -> CliResult<Option<Condition>> {
        if self.if_absent {
            return Ok(Some(Condition::Absent));
        }
        if let Some(value) = &self.if_value {
            let value = value.0.clone().try_into().map_err(CliError::usage)?;
            return Ok(Some(Condition::Value(value)));
        }
        Ok(self
            .if_written_at
            .map(|height| Condition::WrittenAt(Height(height))))
    }

    /// What the transaction consists of; with `create` it makes the namespace first.
    fn operations(&self, value: &[u8], create: bool) -> CliResult<Operations> {
        let (namespace, key) = (&self.namespace.0, &self.key.0);
        let mut operations = Operations::new();
        if create {
            operations = operations.create_namespace(namespace)?;
        }
        if let Some(condition) = self.condition()? {
            operations = operations.require(namespace, key, condition)?;
        }
        Ok(operations.put(namespace, key, value)?)
    }

    /// Whether a refusal says that it is needless to make the namespace.
    fn is_there_already(&self, error: &ClientError) -> bool {
        let refused = matches!(
            error,
            ClientError::Refused {
                refusal: Refusal::NamespaceExists,
                ..
            }
        );
        self.create && refused
    }
}

/// Writes a value.
///
/// # Errors
/// If it isn't known to have been written.
pub(crate) fn run(args: &PutArgs, terminal: &Terminal) -> CliResult {
    check_name(&args.namespace)?;
    let value = args.value()?;
    let operations = args.operations(&value, args.create)?;
    let client = writer(&args.context, terminal)?;
    let receipt = block_on(async {
        let mut ending = Ending::listen()?;
        let mut result = carried(&client, operations, &mut ending, terminal).await?;
        if let Err(error) = &result
            && args.is_there_already(error)
        {
            let operations = args.operations(&value, false)?;
            result = carried(&client, operations, &mut ending, terminal).await?;
        }
        explained(&client, result, |refusal, error| {
            args.explain(refusal, error)
        })
        .await
    });
    show_incidents(&client, terminal);
    show_receipt("written", &receipt?, terminal)
}

/// Takes a value away.
///
/// # Errors
/// If it isn't known to have been taken away.
pub(crate) fn delete(args: &DeleteArgs, terminal: &Terminal) -> CliResult {
    check_name(&args.namespace)?;
    let operations = Operations::new().delete(&args.namespace.0, &args.key.0)?;
    let client = writer(&args.context, terminal)?;
    let receipt = block_on(async {
        let mut ending = Ending::listen()?;
        let result = carried(&client, operations, &mut ending, terminal).await?;
        explained(&client, result, |refusal, error| {
            args.explain(refusal, error)
        })
        .await
    });
    show_incidents(&client, terminal);
    show_receipt("deleted", &receipt?, terminal)
}

/// A name that no namespace can have is refused here, before a transaction is spent on it.
///
/// # Errors
/// If it is one.
pub(crate) fn check_name(namespace: &Readable) -> CliResult {
    match is_client_name(&namespace.0) {
        true => Ok(()),
        false => Err(CliError::usage(format!(
            "{:?} is {}",
            namespace.to_string(),
            Refusal::BadName
        ))),
    }
}

/// A key of the command line. That of no bytes has to be meant: a shell's variable that isn't set looks the same.
///
/// # Errors
/// If it is empty, or no hexadecimal digits follow `hex:`.
pub(crate) fn parse_key(text: &str) -> Result<Readable, String> {
    match text.is_empty() {
        true => Err(format!(
            "the key is empty; if that is meant, write {HEX_MARK} for it"
        )),
        false => text.parse().map_err(|e: DecodeError| e.to_string()),
    }
}

/// Submits a transaction and waits for what becomes of it, or until the process is asked to end.
///
/// # Errors
/// If it is asked to end: what may happen nevertheless.
async fn carried(
    client: &Client,
    operations: Operations,
    ending: &mut Ending,
    terminal: &Terminal,
) -> CliResult<Result<Receipt, ClientError>> {
    let signed = OnceCell::new();
    let carry = async {
        let pending = client.submit(operations).await?;
        signed.get_or_init(|| pending).wait().await
    };
    tokio::select! {
        biased;
        result = noted(client, terminal, carry) => Ok(result),
        _ = ending.asked() => Err(interruption(signed.get())),
    }
}

/// What Ctrl-C leaves behind: a transaction that has left may be executed, though nobody waits for it.
fn interruption(signed: Option<&Pending>) -> CliError {
    match signed.filter(|pending| pending.may_have_left()) {
        None => CliError::failed("interrupted: nothing was sent, so nothing is written"),
        Some(pending) => {
            let unresolved = ClientError::Unresolved {
                transaction: pending.id(),
                expires: pending.expires(),
            };
            CliError::from(unresolved).during("interrupted")
        }
    }
}

/// What became of a transaction; `explain` has the words for a refusal.
async fn explained(
    client: &Client,
    result: Result<Receipt, ClientError>,
    explain: impl Fn(Refusal, ClientError) -> CliError,
) -> CliResult<Receipt> {
    match result {
        Ok(receipt) => Ok(receipt),
        Err(error @ ClientError::Refused { refusal, .. }) => Err(explain(refusal, error)),
        Err(error) => Err(quorum::explain(client, error).await),
    }
}

impl PutArgs {
    /// A refusal, in the words of what was asked.
    fn explain(&self, refusal: Refusal, error: ClientError) -> CliError {
        let PutArgs { namespace, key, .. } = self;
        match (refusal, self.broken_condition()) {
            (Refusal::ConditionFailed, Some(condition)) => CliError::failed(format!(
                "not written, because the condition doesn't hold: {namespace} / {key} {condition}"
            ))
            .help(format!(
                "`violeta get {namespace} {key} --proof` shows its value and when it was written"
            )),
            _ => connect::refusal(refusal, error, namespace),
        }
    }

    /// What isn't so, if the condition doesn't hold.
    fn broken_condition(&self) -> Option<String> {
        if self.if_absent {
            return Some("has a value (--if-absent)".into());
        }
        if let Some(value) = &self.if_value {
            let value = shortened(&value.to_string(), VALUE_CHARACTERS);
            return Some(format!("hasn't the value {value} (--if-value)"));
        }
        let height = self.if_written_at?;
        Some(format!(
            "wasn't last written at height {height} (--if-written-at)"
        ))
    }
}

impl DeleteArgs {
    /// A refusal, in the words of what was asked.
    fn explain(&self, refusal: Refusal, error: ClientError) -> CliError {
        let DeleteArgs { namespace, key, .. } = self;
        match refusal {
            Refusal::NoSuchNamespace => {
                CliError::failed(format!("there is no namespace {namespace}"))
                    .help("is it the right name? There is nothing in it to delete")
            }
            Refusal::NoSuchKey => {
                CliError::failed(format!("{namespace} / {key} has no value to delete")).help(
                    format!("`violeta history {namespace} {key}` shows what it had before"),
                )
            }
            _ => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn parsed(args: &[&str]) -> PutArgs {
        #[derive(Parser)]
        struct Only {
            #[command(flatten)]
            put: PutArgs,
        }
        Only::parse_from(args).put
    }

    #[test]
    fn a_condition_that_fails_is_named() {
        let said = |further: &[&str]| {
            let refused = ClientError::Invalid("refused".into());
            let error = parsed(&[&["put", "n", "k", "v"], further].concat())
                .explain(Refusal::ConditionFailed, refused);
            error.message.split_once("n / k ").unwrap().1.to_owned()
        };
        assert_eq!(said(&["--if-absent"]), "has a value (--if-absent)");
        assert_eq!(
            said(&["--if-value", "w"]),
            "hasn't the value w (--if-value)"
        );
        assert_eq!(
            said(&["--if-written-at", "7"]),
            "wasn't last written at height 7 (--if-written-at)"
        );
        let args = parsed(&["put", "n", "k", "v", "--if-absent"]);
        let other = args.explain(Refusal::Unauthorised, ClientError::Config("x".into()));
        assert_eq!(other.message, "the client can't be made: x");
    }

    #[test]
    fn a_value_may_be_a_negative_number_and_options_still_follow_it() {
        let args = parsed(&["put", "n", "k", "-5", "--create", "--if-value", "-4.5"]);
        assert_eq!(args.value().unwrap(), b"-5");
        assert!(args.create);
        assert_eq!(args.if_value.unwrap().0, b"-4.5");
        let args = parsed(&["put", "--create", "n", "k", "--", "-x"]);
        assert_eq!((args.value().unwrap(), args.create), (b"-x".to_vec(), true));
    }

    #[test]
    fn the_empty_key_is_taken_only_where_it_is_meant() {
        assert!(parse_key("").unwrap_err().contains("write hex: for it"));
        assert_eq!(parse_key("hex:").unwrap().0, b"");
        assert_eq!(parse_key("hex:00").unwrap().0, [0]);
        assert_eq!(parse_key("k").unwrap().0, b"k");
        assert!(parse_key("hex:0").is_err());
    }

    #[test]
    fn a_value_that_is_missing_may_come_from_a_file() {
        let error = parsed(&["put", "greetings", "a"]).value().unwrap_err();
        assert_eq!(error.cause, crate::error::Cause::Usage);
        assert!(error.help.unwrap().contains("--file FILE"));
        assert_eq!(parsed(&["put", "n", "k", "v"]).value().unwrap(), b"v");
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&path, "from a file").unwrap();
        let path = path.path().to_str().unwrap();
        let value = parsed(&["put", "n", "k", "--file", path]).value().unwrap();
        assert_eq!(value, b"from a file");
    }
}
