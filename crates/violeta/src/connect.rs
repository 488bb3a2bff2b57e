//! A client of the network that a command is about.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Url;
use violeta_client::{At, Client, ClientConfig, ClientError, Endpoint, Part, Proved, Receipt};
use violeta_proof::ProofError;
use violeta_types::{ChainId, Height, Refusal, StakeTally};

use crate::context::ContextArgs;
use crate::error::{CliError, CliResult};
use crate::proof_view::{AnswerView, VouchersView};
use crate::terminal::{Terminal, Tone};
use crate::testnet::directory::Unreadable;
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
    // What it reads is proved, whoever else could have been asked.
    let (config, _) = config(context)?;
    Ok(Client::new(config)?)
}

/// A client that signs, too. Of whom it can't ask, the terminal is told: a transaction that few get may be late, or lost.
///
/// # Errors
/// As [`reader`]; also if the key can't be used, or another process signs with it now; or if its nonces' file is new, and
/// too few can be asked to learn of them which nonces are spent.
pub(crate) fn writer(context: &ContextArgs, terminal: &Terminal) -> CliResult<Client> {
    let (mut config, unreadable) = config(context)?;
    for (index, error) in &unreadable {
        terminal.note(format!("warning: v{index} isn't asked: {error}"));
    }
    let path = context.key_file()?;
    config.key = Some(violeta_client::keys::load(&path).map_err(ClientError::from)?);
    let nonces = nonce_file(&path, config.trust.chain());
    config.state_path = Some(nonces.clone());
    let lacks_quorum = !unreadable.is_empty() && !has_quorum(&config);
    let client = Client::new(config)?;
    match lacks_quorum && client.begins_anew() {
        true => Err(no_beginning(&nonces, &unreadable)),
        false => Ok(client),
    }
}

/// Whom to ask and what to trust; and who can't be asked.
fn config(context: &ContextArgs) -> CliResult<(ClientConfig, Vec<Unreadable>)> {
    let (endpoints, unreadable) = context.endpoints_and_unreadable()?;
    let endpoints = endpoints.into_iter().map(|(validator, text)| {
        let url = Url::parse(&text).map_err(|e| {
            CliError::usage(format!("{text:?} isn't the address of a validator: {e}"))
        })?;
        Ok(Endpoint { validator, url })
    });
    let config = ClientConfig {
        endpoints: endpoints.collect::<CliResult<_>>()?,
        trust: context.trust()?,
        key: None,
        account: None,
        state_path: None,
        expiry: EXPIRY,
    };
    Ok((config, unreadable))
}

/// Whether those whom a client can ask are a quorum of the committee that it trusts. Without one it isn't known.
fn has_quorum(config: &ClientConfig) -> bool {
    let Some(committee) = config.trust.committee() else {
        return true;
    };
    let mut tally = StakeTally::default();
    for validator in config.endpoints.iter().filter_map(|e| e.validator) {
        tally.add(committee, validator);
    }
    tally.is_quorum(committee)
}

/// Few who can be asked may all be behind, and wouldn't know of nonces that are spent.
fn no_beginning(nonces: &Path, unreadable: &[Unreadable]) -> CliError {
    let why: Vec<_> = (unreadable.iter())
        .map(|(index, error)| format!("v{index}: {error}"))
        .collect();
    CliError::failed(format!(
        "{} is new, and too few validators can be asked to learn which nonces of this key are spent: nothing is signed",
        nonces.display()
    ))
    .help(format!("mend what keeps the others from being asked: {}", why.join("; ")))
}

/// Beside the key: `alice.key` signs on chain `80cc8b68…` with the nonces of `alice.key.80cc8b68.nonces`.
fn nonce_file(key: &Path, chain: ChainId) -> PathBuf {
    let digits = &chain.to_string()[..CHAIN_DIGITS];
    let mut name = key.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{digits}.nonces"));
    key.with_file_name(name)
}

/// What to do where a transaction isn't even queued: the validator's own help names routes, not commands.
const NOT_ADMITTED: &str = "is this the right --key? Where clients have to be registered, the administrator does that with \
    violeta-client's Operations::register_client: no command does. If it is only that the nonce is used, run it again";

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
            ClientError::TooFewSay { .. } | ClientError::NoBeginning { .. } => {
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
            ClientError::Answer { detail, .. } | ClientError::NotTaken { detail }
                if detail.code == ErrorCode::NotAdmitted =>
            {
                CliError::failed(detail.message).help(NOT_ADMITTED)
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
            error.help(
                "only its owner, and whom the owner granted the right, may write: is this the right --key? No command \
                 grants rights or registers clients: violeta-client's Operations::grant and register_client do",
            )
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

/// A height that something can be read at.
///
/// # Errors
/// If it is none.
pub(crate) fn parse_height(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(0) => Err("the first block has height 1".into()),
        parsed => parsed.map_err(|e: std::num::ParseIntError| e.to_string()),
    }
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
    use crate::terminal::ColorChoice;
    use crate::testnet::directory::Network;
    use std::sync::Arc;
    use violeta_client::nonces::Nonces;
    use violeta_node::testnet::Options;
    use violeta_types::Nonce;
    use violeta_types::api::ErrorDetail;

    #[test]
    fn nonces_lie_beside_the_key_one_file_for_each_chain() {
        let path = nonce_file(Path::new("keys/alice.key"), ChainId::default());
        assert_eq!(path, Path::new("keys/alice.key.00000000.nonces"));
    }

    /// A network of four of which the configurations of some can't be read.
    fn network_without(unreadable: &[u16]) -> (tempfile::TempDir, Network) {
        let dir = tempfile::tempdir().unwrap();
        let network = Network::create(&dir.path().join("net"), 4, &Options::default()).unwrap();
        for index in unreadable {
            let config = network.dir.join(format!("v{index}/violeta.toml"));
            std::fs::write(config, "x = 1").unwrap();
        }
        (dir, network)
    }

    #[test]
    fn a_new_nonce_file_isnt_begun_on_the_word_of_less_than_a_quorum() {
        let terminal = Terminal::new(true, ColorChoice::Never);
        for (unreadable, begins) in [(&[][..], true), (&[1], true), (&[1, 3], false)] {
            let (_dir, network) = network_without(unreadable);
            let context = ContextArgs::of_network(&network.dir);
            let first = writer(&context, &terminal);
            assert_eq!(first.is_ok(), begins, "without {unreadable:?}");
            if let Err(error) = first {
                assert!(error.message.contains(".nonces is new"), "{error}");
                let help = error.help.unwrap();
                assert!(
                    help.contains("v1: ") && help.contains("v3/violeta.toml"),
                    "{help}"
                );
            }
            assert!(reader(&context).is_ok());
        }
    }

    #[test]
    fn a_nonce_file_that_has_begun_serves_whoever_can_be_asked() {
        let (_dir, network) = network_without(&[1, 3]);
        let context = ContextArgs::of_network(&network.dir);
        let (key, chain) = (network.administrator(), network.genesis.chain_id());
        let public = violeta_client::keys::load(&key).unwrap().public_key();
        let nonces = Nonces::open(&nonce_file(&key, chain), chain, public).unwrap();
        Arc::new(nonces).begin_above(Nonce(0)).unwrap();
        let terminal = Terminal::new(true, ColorChoice::Never);
        assert!(writer(&context, &terminal).is_ok());
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
        let no_beginning = CliError::from(ClientError::NoBeginning {
            needed: Some(3),
            asked: 4,
            answered: vec!["v0".into(), "v1".into()],
            others: None,
        });
        assert_eq!(no_beginning.cause, crate::error::Cause::Failed);
        assert!(
            no_beginning
                .message
                .contains("3 of the 4 validators that are asked must")
        );
        let invalid = ClientError::Invalid("x".into());
        assert_eq!(CliError::from(invalid).cause, crate::error::Cause::Usage);
        let not_admitted = CliError::from(ClientError::NotTaken {
            detail: ErrorDetail {
                code: ErrorCode::NotAdmitted,
                message: "no such client".into(),
                help: "see /v1/accounts/{client}".into(),
                retry_ms: None,
            },
        });
        assert_eq!(not_admitted.message, "no such client");
        assert_eq!(not_admitted.help.as_deref(), Some(NOT_ADMITTED));
        assert_eq!(
            with_refusal_help("no".into(), Refusal::ConditionFailed)
                .help
                .unwrap(),
            "read the key again and decide anew"
        );
    }

    #[test]
    fn a_namespace_that_is_missing_is_named_with_what_to_do() {
        let name = Readable(b"greetings".to_vec());
        let invalid = ClientError::Invalid("x".into());
        let error = refusal(Refusal::NoSuchNamespace, invalid, &name);
        assert!(error.message.contains("greetings"), "{error}");
        assert!(error.help.unwrap().contains("with --create makes it"));
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
