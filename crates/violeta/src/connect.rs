//! A client of the network that a command is about.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Url;
use violeta_client::{At, Client, ClientConfig, ClientError, Endpoint, Part, Proved, Receipt};
use violeta_proof::ProofError;
use violeta_types::{ChainId, Height, Refusal};

use crate::context::ContextArgs;
use crate::error::{CliError, CliResult};
use crate::proof_view::{AnswerView, VouchersView};
use crate::terminal::{Terminal, Tone};
use violeta_types::api::{ErrorCode, Readable};

/// How long a transaction stays valid: as long as a person waits.
const EXPIRY: Duration = Duration::from_secs(30);
/// What to do where neither a proof is false nor the trust wrong: one is of another kind than the other.
pub(crate) const TRUST_LACKS_KEY: &str = "nothing is known to be wrong: get a trust file with the key that is lacking, \
                                          or a proof that was asked for with this one";
/// Digits of the chain's id in the name of a nonce file.
const CHAIN_DIGITS: usize = 8;

/// A client that only reads.
///
/// # Errors
/// If it isn't known whom to ask, or what to trust.
pub(crate) fn reader(context: &ContextArgs) -> CliResult<Client> {
    Ok(Client::new(config(context)?)?)
}

/// A client that signs, too.
///
/// # Errors
/// As [`reader`]; also if the key can't be used, or another process signs with it now.
pub(crate) fn writer(context: &ContextArgs) -> CliResult<Client> {
    let mut config = config(context)?;
    let path = context.key_file()?;
    config.key = Some(violeta_client::keys::load(&path).map_err(ClientError::from)?);
    config.state_path = Some(nonce_file(&path, config.trust.chain()));
    Ok(Client::new(config)?)
}

fn config(context: &ContextArgs) -> CliResult<ClientConfig> {
    let endpoints = context.endpoints()?.into_iter().map(|(validator, text)| {
        let url = Url::parse(&text).map_err(|e| {
            CliError::usage(format!("{text:?} isn't the address of a validator: {e}"))
        })?;
        Ok(Endpoint { validator, url })
    });
    Ok(ClientConfig {
        endpoints: endpoints.collect::<CliResult<_>>()?,
        trust: context.trust()?,
        key: None,
        account: None,
        state_path: None,
        expiry: EXPIRY,
    })
}

/// Beside the key: `alice.key` signs on chain `80cc8b68…` with the nonces of `alice.key.80cc8b68.nonces`.
fn nonce_file(key: &Path, chain: ChainId) -> PathBuf {
    let digits = &chain.to_string()[..CHAIN_DIGITS];
    let mut name = key.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{digits}.nonces"));
    key.with_file_name(name)
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        let message = error.to_string();
        match error {
            ClientError::Unreachable { attempts } => {
                let asked: Vec<String> = attempts.iter().map(|a| format!("\n  {a}")).collect();
                CliError::unreachable(format!("no validator could be reached:{}", asked.concat()))
                    .help(
                        "`violeta status` shows which validators answer; is it the right network?",
                    )
            }
            ClientError::Unverified { incident } => {
                CliError::unverified(message).help(unverified_help(&incident.part))
            }
            ClientError::NotJudged { .. } => CliError::unverified(message).help(TRUST_LACKS_KEY),
            ClientError::Behind { .. } => CliError::failed(message).help(
                "that is no lie: `violeta status` shows how far each validator is; wait, or name more of them",
            ),
            ClientError::TooFewSay { .. } => {
                CliError::failed(message).help("`violeta status` shows which validators answer")
            }
            ClientError::Unresolved { transaction, .. } => CliError::failed(message).help(format!(
                "once the network commits again, and before you write anew, ask what became of it: violeta outcome \
                 {transaction}"
            )),
            ClientError::Refused { refusal, .. } => with_refusal_help(message, refusal),
            ClientError::Invalid(_) => CliError::usage(message),
            ClientError::Key(error) => error.into(),
            ClientError::Answer { detail, .. } if detail.code == ErrorCode::NotYetCertified => {
                CliError::failed(detail.message).help(
                    "write something first, or wait until the validator has caught up: `violeta status` shows that",
                )
            }
            ClientError::Answer { detail, .. } | ClientError::NotTaken { detail } => {
                CliError::failed(detail.message).help(detail.help)
            }
            _ => CliError::failed(message),
        }
    }
}

/// Who is to be doubted: whoever answered, or first the trust file.
fn unverified_help(part: &Part) -> &'static str {
    match part {
        Part::Proof(ProofError::OtherChain { .. } | ProofError::UnknownCommittee { .. }) => {
            "is --trust the trust file of this network? If it is, the validators that were asked lie"
        }
        _ => "no answer was believed: the validators that were asked lie, or are broken",
    }
}

fn with_refusal_help(message: String, refusal: Refusal) -> CliError {
    let error = CliError::failed(message);
    match refusal {
        Refusal::Unauthorised => {
            error.help("only its owner, and whom the owner granted the right, may write: is this the right --key?")
        }
        Refusal::ConditionFailed => error.help("read the key again and decide anew"),
        _ => error,
    }
}

/// A refusal, in the words of what was asked for.
pub(crate) fn refusal(refusal: Refusal, error: ClientError, namespace: &Readable) -> CliError {
    match refusal {
        Refusal::NoSuchNamespace => CliError::failed(format!(
            "there is no namespace {namespace}; nothing was written"
        ))
        .help("is it the right name? The same command with --create makes it"),
        Refusal::NamespaceExists => CliError::failed(format!(
            "there is a namespace {namespace} already; nothing was written"
        ))
        .help("leave --create out"),
        _ => error.into(),
    }
}

/// What a verified read says.
pub(crate) fn answer_view(namespace: &Readable, key: &Readable, proved: &Proved) -> AnswerView {
    let head = proved.head.head();
    AnswerView {
        namespace: namespace.clone(),
        key: key.clone(),
        value: proved.value.as_ref().map(|v| Readable(v.value.to_vec())),
        written_at: proved.value.as_ref().map(|v| v.written_at),
        height: head.height,
        state_root: head.state_root.to_string(),
        head: proved.head.id(),
        vouched_by: VouchersView::from(&proved.vouchers),
        vouched_height: proved.vouched_height,
    }
}

/// A key's value or absence, verified; and, if it has none, whether that is because there is no such namespace at that
/// height, which is proved too.
///
/// # Errors
/// If no validator gives an answer that verifies.
pub(crate) async fn read(
    client: &Client,
    namespace: &Readable,
    key: &Readable,
    at: At,
) -> Result<(Proved, bool), ClientError> {
    let proved = client.get_proved(&namespace.0, &key.0, at).await?;
    if proved.value.is_some() {
        return Ok((proved, false));
    }
    let at = At::Height(proved.head.head().height);
    // What can't be found out isn't claimed: that the key has no value is proved without it.
    let has_namespace = client.has_namespace(&namespace.0, at).await.unwrap_or(true);
    Ok((proved, !has_namespace))
}

/// How a missing namespace is made.
pub(crate) fn namespace_help(namespace: &Readable) -> String {
    format!(
        "is it the right name? This makes it, with a first key: violeta put {namespace} KEY VALUE --create"
    )
}

/// Which version `--at` and `--linearizable` ask for.
pub(crate) fn version(at: Option<u64>, linearizable: bool) -> At {
    match at {
        Some(height) => At::Height(Height(height)),
        None if linearizable => At::Linearizable,
        None => At::Certified,
    }
}

/// Shows that a transaction was executed, and who vouches for it.
///
/// # Errors
/// If standard output can't be written to.
pub(crate) fn show_receipt(what: &str, receipt: &Receipt, terminal: &Terminal) -> CliResult {
    let vouchers = VouchersView::from(&receipt.vouchers);
    terminal.object(&serde_json::json!({
        "transaction": receipt.outcome.transaction,
        "height": receipt.outcome.height,
        "index": receipt.outcome.index,
        "head": receipt.head.id(),
        "vouched_by": vouchers,
    }))?;
    terminal.line(format!(
        "{} {what} at height {}, {}",
        terminal.paint(Tone::Good, "✓"),
        receipt.outcome.height,
        vouchers.sentence(None)
    ))?;
    terminal.line(terminal.paint(
        Tone::Faint,
        format!("  transaction {}", receipt.outcome.transaction),
    ))
}

/// Tells about answers that were refused on the way.
pub(crate) fn show_incidents(client: &Client, terminal: &Terminal) {
    for incident in client.incidents() {
        terminal.note(format!("warning: {incident}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonces_lie_beside_the_key_one_file_for_each_chain() {
        let path = nonce_file(Path::new("keys/alice.key"), ChainId::default());
        assert_eq!(path, Path::new("keys/alice.key.00000000.nonces"));
    }

    #[test]
    fn exit_codes_follow_what_the_client_says() {
        let unreachable = ClientError::Unreachable {
            attempts: Vec::new(),
        };
        assert_eq!(
            CliError::from(unreachable).cause,
            crate::error::Cause::Unreachable
        );
        let not_judged = CliError::from(ClientError::NotJudged {
            validator: "v0".into(),
            reason: ProofError::NoCommittee,
        });
        assert_eq!(not_judged.cause, crate::error::Cause::Unverified);
        assert_eq!(not_judged.help.as_deref(), Some(TRUST_LACKS_KEY));
        let invalid = ClientError::Invalid("x".into());
        assert_eq!(CliError::from(invalid).cause, crate::error::Cause::Usage);
        assert_eq!(
            with_refusal_help("no".into(), Refusal::ConditionFailed)
                .help
                .unwrap(),
            "read the key again and decide anew"
        );
    }

    #[test]
    fn a_namespace_that_is_missing_or_there_already_is_named_with_what_to_do() {
        let name = Readable(b"greetings".to_vec());
        for (why, flag) in [
            (Refusal::NoSuchNamespace, "with --create makes it"),
            (Refusal::NamespaceExists, "leave --create out"),
        ] {
            let error = refusal(why, ClientError::Invalid("x".into()), &name);
            assert!(error.message.contains("greetings"), "{error}");
            assert!(error.help.unwrap().contains(flag));
        }
    }

    #[test]
    fn validators_are_called_liars_only_where_no_other_trust_file_could_clear_them() {
        let help = |error: ProofError| unverified_help(&Part::Proof(error));
        let other = ProofError::OtherChain {
            expected: ChainId::default(),
            found: ChainId::default(),
        };
        assert!(help(other).starts_with("is --trust"));
        assert!(!help(ProofError::BadSeal).contains("--trust"));
    }
}
