//! `violeta put` and `violeta delete`: one signed transaction, and what became of it.

use std::io::Read;
use std::path::PathBuf;

use clap::Args;
use violeta_client::Operations;
use violeta_types::Height;
use violeta_types::api::Readable;
use violeta_types::limits::VALUE_BYTES_MAX;
use violeta_types::transaction::Condition;

use crate::connect::{show_incidents, show_receipt, writer};
use crate::context::ContextArgs;
use crate::error::{CliError, CliResult};
use crate::gateway::block_on;
use crate::terminal::Terminal;

/// Arguments of `violeta put`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  violeta put greetings hello world --create
  violeta put greetings hello 'good day' --if-value world
  violeta put pictures logo --file logo.png

Keys and values are text, or hex: and hexadecimal digits. The answer comes when a quorum of validators has vouched \
for the block that holds the transaction; that is verified.")]
pub(crate) struct PutArgs {
    /// The namespace.
    namespace: Readable,
    /// The key.
    key: Readable,
    /// The value.
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    value: Option<Readable>,
    /// Read the value from a file; - is standard input.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Make the namespace in the same transaction.
    #[arg(long)]
    create: bool,
    /// Only if the key has no value.
    #[arg(long, group = "condition")]
    if_absent: bool,
    /// Only if the key has this value.
    #[arg(long, value_name = "VALUE", group = "condition")]
    if_value: Option<Readable>,
    /// Only if the key was last written at this height.
    #[arg(long, value_name = "HEIGHT", group = "condition")]
    if_written_at: Option<u64>,
    #[command(flatten)]
    context: ContextArgs,
}

/// Arguments of `violeta delete`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  violeta delete greetings hello

Older versions stay readable and provable: see violeta history.")]
pub(crate) struct DeleteArgs {
    /// The namespace.
    namespace: Readable,
    /// The key.
    key: Readable,
    #[command(flatten)]
    context: ContextArgs,
}

impl PutArgs {
    fn value(&self) -> CliResult<Vec<u8>> {
        let Some(path) = &self.file else {
            return Ok(self.value.clone().unwrap_or_default().0);
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

    fn operations(&self) -> CliResult<Operations> {
        let mut operations = Operations::new();
        if self.create {
            operations = operations.create_namespace(&self.namespace.0)?;
        }
        let (namespace, key, value) = (&self.namespace.0, &self.key.0, self.value()?);
        Ok(match self.condition()? {
            None => operations.put(namespace, key, value)?,
            Some(condition) => operations
                .require(namespace, key, condition)?
                .put(namespace, key, value)?,
        })
    }
}

/// Writes a value.
///
/// # Errors
/// If it isn't known to have been written.
pub(crate) fn run(args: &PutArgs, terminal: &Terminal) -> CliResult {
    let operations = args.operations()?;
    submit(&args.context, operations, "written", terminal)
}

/// Takes a value away.
///
/// # Errors
/// If it isn't known to have been taken away.
pub(crate) fn delete(args: &DeleteArgs, terminal: &Terminal) -> CliResult {
    let operations = Operations::new().delete(&args.namespace.0, &args.key.0)?;
    submit(&args.context, operations, "deleted", terminal)
}

fn submit(
    context: &ContextArgs,
    operations: Operations,
    what: &str,
    terminal: &Terminal,
) -> CliResult {
    let client = writer(context)?;
    let receipt = block_on(async { Ok(client.transaction(operations).await?) });
    show_incidents(&client, terminal);
    show_receipt(what, &receipt?, terminal)
}
