//! `violeta verify`: a proof file against a trust file, without any network.

use std::path::{Path, PathBuf};

use clap::Args;
use violeta_proof::{KeyProof, OutcomeProof, ProofError, Trust};
use violeta_types::api::Readable;

use crate::connect::TRUST_LACKS_KEY;
use crate::context::{ContextArgs, read_trust};
use crate::error::{CliError, CliResult};
use crate::proof_view::{AnswerView, OutcomeView};
use crate::terminal::{Terminal, Tone};

/// Bytes of the largest proof file.
const PROOF_FILE_BYTES_MAX: u64 = 8 << 20;

/// Arguments of `violeta verify`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  violeta prove packages openssl -o openssl.proof
  violeta verify openssl.proof --trust trust.json

It reads two files and asks nobody. The trust file must come from somebody whom you believe about who the \
validators are; the proof file may come from anybody.

Exit code 4 if the proof is false; it says which part. Also if the file is no proof, or the trust file is of another \
network or lacks the key that it takes to tell.")]
pub(crate) struct VerifyArgs {
    /// The proof: JSON, or the binary form.
    file: PathBuf,
    /// What is trusted; by default that of the network around here.
    #[arg(long, value_name = "FILE")]
    trust: Option<PathBuf>,
    /// Be satisfied only with a proof of this namespace.
    #[arg(long, value_name = "NAME")]
    namespace: Option<Readable>,
    /// Be satisfied only with a proof of this key.
    #[arg(long)]
    key: Option<Readable>,
    /// Be satisfied only with a proof of this value.
    #[arg(long)]
    value: Option<Readable>,
}

enum Proof {
    Key(Box<KeyProof>),
    Outcome(Box<OutcomeProof>),
}

/// Verifies a proof file.
///
/// # Errors
/// If a file can't be read, or the proof is false.
pub(crate) fn run(args: &VerifyArgs, terminal: &Terminal) -> CliResult {
    let trust = match &args.trust {
        Some(path) => read_trust(path)?,
        None => ContextArgs::default().trust().map_err(|error| {
            error.help(
                "give the trust file with --trust FILE, or run it inside a network's directory",
            )
        })?,
    };
    let bytes = read(&args.file)?;
    let false_proof = |error: ProofError| not_proved(&args.file, error);
    match parse(&bytes).map_err(false_proof)? {
        Proof::Key(proof) => {
            let view = AnswerView::from(&proof.verify(&trust).map_err(false_proof)?);
            args.check_claim(&view)?;
            show_answer(&view, &trust, terminal)
        }
        Proof::Outcome(proof) => {
            args.check_claims_nothing_of_a_key()?;
            let view = OutcomeView::from(&proof.verify(&trust).map_err(false_proof)?);
            terminal.object(&view)?;
            terminal.line(format!(
                "transaction {}\n{}",
                view.transaction,
                terminal.paint(Tone::Strong, view.sentence())
            ))?;
            view.show_steps(trust.committee(), terminal)
        }
    }
}

/// A proof that isn't good; or that nothing can be said of with this trust; or something that is no proof.
fn not_proved(file: &Path, error: ProofError) -> CliError {
    let file = file.display();
    match error {
        error if error.lacks_trust() => CliError::unverified(format!(
            "{file} can't be judged with this trust file: {error}"
        ))
        .help(TRUST_LACKS_KEY),
        ProofError::OtherChain { .. } => CliError::unverified(format!(
            "{file} can't be judged with this trust file: {error}"
        ))
        .help("is it the trust file of the network that the proof is from?"),
        ProofError::Encoding(_) | ProofError::Json(_) => CliError::unverified(format!(
            "{file} isn't a whole proof, so it proves nothing: {error}"
        ))
        .help("is it the file that `violeta prove` made, whole and unchanged?"),
        error => CliError::unverified(format!("{file} is false: {error}")).help(
            "don't believe what it says; ask another validator, or whoever gave you the file",
        ),
    }
}

fn show_answer(view: &AnswerView, trust: &Trust, terminal: &Terminal) -> CliResult {
    terminal.object(view)?;
    let name = format!("{} / {}", view.namespace, view.key);
    terminal.line(match &view.value {
        Some(value) => format!("{name} = {}", terminal.paint(Tone::Strong, value)),
        None => format!("{name} {}", terminal.paint(Tone::Strong, "has no value")),
    })?;
    view.show_steps(trust.committee(), terminal)
}

impl VerifyArgs {
    /// Of a transaction's outcome only the transaction is proved, whatever it wrote.
    fn check_claims_nothing_of_a_key(&self) -> CliResult {
        match self.namespace.is_some() || self.key.is_some() || self.value.is_some() {
            true => Err(CliError::unverified(
                "this proves what became of a transaction, and nothing of a key or a value",
            )
            .help("`violeta prove NAMESPACE KEY` makes a proof of a key's value")),
            false => Ok(()),
        }
    }

    /// A true proof of something else convinces of nothing.
    fn check_claim(&self, view: &AnswerView) -> CliResult {
        let claims = [
            ("namespace", &self.namespace, Some(&view.namespace)),
            ("key", &self.key, Some(&view.key)),
            ("value", &self.value, view.value.as_ref()),
        ];
        for (what, wanted, proved) in claims {
            let Some(wanted) = wanted else { continue };
            if proved != Some(wanted) {
                let proved = proved.map_or("none".into(), ToString::to_string);
                return Err(CliError::unverified(format!(
                    "the proof is true, but its {what} is {proved}, not {wanted}"
                )));
            }
        }
        Ok(())
    }
}

fn read(path: &Path) -> CliResult<Vec<u8>> {
    let failed = |e: std::io::Error| {
        CliError::failed(format!("can't read {}: {e}", path.display()))
            .help("`violeta prove` writes proof files")
    };
    let len = std::fs::metadata(path).map_err(failed)?.len();
    if len > PROOF_FILE_BYTES_MAX {
        return Err(CliError::unverified(format!(
            "{} is {len} bytes long; no proof is longer than {PROOF_FILE_BYTES_MAX}",
            path.display()
        )));
    }
    std::fs::read(path).map_err(failed)
}

/// JSON begins with a brace; a proof in binary with the length of its namespace's name, at most 64 then three zeros.
fn parse(bytes: &[u8]) -> Result<Proof, ProofError> {
    let Some(text) = std::str::from_utf8(bytes)
        .ok()
        .filter(|t| t.trim_start().starts_with('{'))
    else {
        return KeyProof::decode(bytes).map(|p| Proof::Key(Box::new(p)));
    };
    let is_outcome = serde_json::from_str::<serde_json::Value>(text)
        .is_ok_and(|value| value.get("outcome").is_some());
    match is_outcome {
        true => OutcomeProof::from_json(text).map(|p| Proof::Outcome(Box::new(p))),
        false => KeyProof::from_json(text).map(|p| Proof::Key(Box::new(p))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use violeta_types::{ChainId, Digest};

    proptest! {
        #[test]
        fn garbage_is_no_proof_and_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(parse(&bytes).is_err());
        }
    }

    #[test]
    fn a_proof_that_the_trust_file_has_no_key_for_isnt_called_false() {
        let said = |error| not_proved(Path::new("k.proof"), error);
        let lacking = said(ProofError::NoCommittee);
        assert!(!lacking.message.contains("is false"), "{}", lacking.message);
        assert_eq!(lacking.cause, crate::error::Cause::Unverified);
        let bad = said(ProofError::BadSeal);
        assert!(bad.message.contains("is false"), "{}", bad.message);
    }

    #[test]
    fn what_is_of_another_network_or_no_proof_at_all_isnt_called_false() {
        let said = |error| not_proved(Path::new("k.proof"), error);
        let (expected, found) = (ChainId(Digest([1; 32])), ChainId(Digest([2; 32])));
        let elsewhere = said(ProofError::OtherChain { expected, found });
        assert!(
            elsewhere.message.contains("can't be judged"),
            "{}",
            elsewhere.message
        );
        for bytes in [&b""[..], b"{", b"{}", b"\x7fELF"] {
            let error = said(parse(bytes).err().unwrap());
            assert!(
                error.message.contains("isn't a whole proof"),
                "{}",
                error.message
            );
            assert_eq!(error.cause, crate::error::Cause::Unverified);
        }
    }

    #[test]
    fn a_file_too_long_to_be_a_proof_isnt_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p");
        std::fs::File::create(&path)
            .unwrap()
            .set_len(PROOF_FILE_BYTES_MAX + 1)
            .unwrap();
        assert_eq!(
            read(&path).unwrap_err().cause,
            crate::error::Cause::Unverified
        );
        assert_eq!(
            read(&dir.path().join("none")).unwrap_err().cause,
            crate::error::Cause::Failed
        );
    }
}
