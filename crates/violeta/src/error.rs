//! What can go wrong at the command line, and the exit code that says so.
//!
//! ```text
//!  0 done · 1 failed · 2 wrong usage · 3 nobody could be reached · 4 something didn't verify
//! ```

use std::{fmt, io};

use serde::Serialize;
use violeta_client::keys::KeyError;

/// Why a command ends without having done what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Cause {
    /// Anything that has no exit code of its own.
    Failed,
    /// The command can't be understood, or lacks something that the user must say.
    Usage,
    /// No validator answered.
    Unreachable,
    /// A proof, or an answer, is false.
    Unverified,
}

impl Cause {
    /// The process's exit code.
    pub(crate) const fn exit_code(self) -> u8 {
        match self {
            Cause::Failed => 1,
            Cause::Usage => 2,
            Cause::Unreachable => 3,
            Cause::Unverified => 4,
        }
    }
}

/// An error for a person: what happened, to what, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize)]
#[error("{message}")]
pub(crate) struct CliError {
    /// What the exit code says.
    pub(crate) cause: Cause,
    /// What happened, to what.
    pub(crate) message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) help: Option<String>,
}

impl CliError {
    fn new(cause: Cause, message: impl fmt::Display) -> Self {
        CliError {
            cause,
            message: message.to_string(),
            help: None,
        }
    }

    /// Something failed.
    pub(crate) fn failed(message: impl fmt::Display) -> Self {
        Self::new(Cause::Failed, message)
    }

    /// The user must say something else.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::new(Cause::Usage, message)
    }

    /// Nobody answered.
    pub(crate) fn unreachable(message: impl fmt::Display) -> Self {
        Self::new(Cause::Unreachable, message)
    }

    /// Something is false.
    pub(crate) fn unverified(message: impl fmt::Display) -> Self {
        Self::new(Cause::Unverified, message)
    }

    /// Says what to do.
    #[must_use]
    pub(crate) fn help(mut self, help: impl fmt::Display) -> Self {
        self.help = Some(help.to_string());
        self
    }

    /// Says what was being done when it happened.
    #[must_use]
    pub(crate) fn during(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }
}

macro_rules! plain_failure {
    ($($error:ty),* $(,)?) => {$(
        impl From<$error> for CliError {
            fn from(error: $error) -> Self {
                CliError::failed(error)
            }
        }
    )*};
}

plain_failure!(
    std::io::Error,
    serde_json::Error,
    violeta_node::files::FileError,
    violeta_node::config::ConfigError,
);

impl From<KeyError> for CliError {
    fn from(error: KeyError) -> Self {
        let message = error.to_string();
        match error {
            KeyError::Io { path, source, .. } if source.kind() == io::ErrorKind::NotFound => {
                CliError::failed(format!("there is no key file {}", path.display())).help(format!(
                    "make one: violeta key new {0}; it signs with --key {0}",
                    path.display()
                ))
            }
            _ => CliError::failed(message),
        }
    }
}

/// What a command gives.
pub(crate) type CliResult<T = ()> = Result<T, CliError>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_the_exit_code_that_the_help_promises() {
        let codes = [
            CliError::failed(""),
            CliError::usage(""),
            CliError::unreachable(""),
            CliError::unverified(""),
        ]
        .map(|error| error.cause.exit_code());
        assert_eq!(codes, [1, 2, 3, 4]);
    }

    #[test]
    fn a_key_file_that_is_missing_can_be_made() {
        let error = violeta_client::keys::load("none.key".as_ref()).unwrap_err();
        let error = CliError::from(error);
        assert_eq!(error.message, "there is no key file none.key");
        assert!(error.help.unwrap().contains("violeta key new none.key"));
    }

    #[test]
    fn an_error_says_what_was_done_what_happened_and_what_to_do() {
        let error = CliError::failed("disk full")
            .during("writing x")
            .help("make room");
        assert_eq!(error.to_string(), "writing x: disk full");
        assert_eq!(
            serde_json::to_string(&error).unwrap(),
            r#"{"cause":"failed","message":"writing x: disk full","help":"make room"}"#
        );
    }
}
