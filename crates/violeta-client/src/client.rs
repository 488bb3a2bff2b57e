//! The client: what it is told, what it keeps, and how it asks.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use reqwest::Url;
use tokio::sync::OnceCell;
use violeta_crypto::ClientSecretKey;
use violeta_proof::{ProofError, Trust, TrustedHead};
use violeta_types::api::{BINARY, ErrorCode, StatusAnswer};
use violeta_types::{ChainId, ClientId, ClientPublicKey, Height, TimeMs, ValidatorIndex};

use crate::beginning::Beginning;
use crate::error::{Attempt, ClientError};
use crate::http::{Answer, Failure, Http, json};
use crate::incident::{Incident, Incidents, Part};
use crate::limits::{ENDPOINTS_MAX, EXPIRY_MS_DEFAULT, READ_MS_MAX};
use crate::nonces::Nonces;
use crate::read::{NoProof, Request};
use crate::roster::Roster;

/// Where a validator's gateway is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Which validator it is, if the caller knows; else it is what the gateway says.
    pub validator: Option<ValidatorIndex>,
    /// `http://host:port`.
    pub url: Url,
}

/// What a client is told.
pub struct ClientConfig {
    /// The gateways; one of each validator, best.
    pub endpoints: Vec<Endpoint>,
    /// What the client believes.
    pub trust: Trust,
    /// The key that it signs with; none for a client that only reads.
    pub key: Option<ClientSecretKey>,
    /// Whose account the key acts for, where it came by rotation; else the key's own client.
    pub account: Option<ClientId>,
    /// Where it keeps which nonces were signed: one file for each key and chain. Needed to sign.
    pub state_path: Option<PathBuf>,
    /// How long a transaction stays valid, and the client tries.
    pub expiry: Duration,
}

impl ClientConfig {
    /// A client that only reads.
    ///
    /// # Errors
    /// If an address is no URL.
    pub fn reader<'a>(
        endpoints: impl IntoIterator<Item = &'a str>,
        trust: Trust,
    ) -> Result<Self, ClientError> {
        let endpoints = endpoints
            .into_iter()
            .map(|text| {
                let url = Url::parse(text)
                    .map_err(|e| ClientError::Config(format!("{text} is no address: {e}")))?;
                Ok(Endpoint {
                    validator: None,
                    url,
                })
            })
            .collect::<Result<_, ClientError>>()?;
        Ok(ClientConfig {
            endpoints,
            trust,
            key: None,
            account: None,
            state_path: None,
            expiry: Duration::from_millis(EXPIRY_MS_DEFAULT),
        })
    }
}

/// Who signs, and with which nonces.
pub(crate) struct Signer {
    pub(crate) key: ClientSecretKey,
    pub(crate) client: ClientId,
    pub(crate) nonces: Arc<Nonces>,
}

pub(crate) struct Inner {
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) trust: Trust,
    pub(crate) http: Http,
    pub(crate) signer: Option<Signer>,
    pub(crate) expiry: Duration,
    roster: Mutex<Roster>,
    incidents: Incidents,
    /// The newest height that this client has seen certified: nothing older is taken for the newest.
    seen: AtomicU64,
    measured: OnceCell<()>,
    /// Where the signer's nonces begin.
    pub(crate) beginning: Beginning,
}

/// A client of a cluster. Cheap to clone; clones share all they know.
#[derive(Clone)]
pub struct Client(pub(crate) Arc<Inner>);

impl Client {
    /// A client. Opens and locks the state file, if it is to sign; connects to nobody yet.
    ///
    /// # Errors
    /// If the configuration makes no client, or the state file can't be used.
    pub fn new(config: ClientConfig) -> Result<Self, ClientError> {
        let count = config.endpoints.len();
        if count == 0 || count > ENDPOINTS_MAX {
            let message = format!("{count} endpoints; give 1 to {ENDPOINTS_MAX}");
            return Err(ClientError::Config(message));
        }
        let signer = match (config.key, config.state_path) {
            (None, _) => None,
            (Some(_), None) => {
                let message = "a client that signs needs a state_path for its nonces";
                return Err(ClientError::Config(message.into()));
            }
            (Some(key), Some(path)) => {
                let public = key.public_key();
                Some(Signer {
                    client: config.account.unwrap_or_else(|| public.client_id()),
                    nonces: Arc::new(Nonces::open(&path, config.trust.chain(), public)?),
                    key,
                })
            }
        };
        let roster = Roster::new(config.endpoints.iter().map(|e| e.validator));
        Ok(Client(Arc::new(Inner {
            endpoints: config.endpoints,
            trust: config.trust,
            http: Http::new()?,
            signer,
            expiry: config.expiry,
            roster: Mutex::new(roster),
            incidents: Incidents::default(),
            seen: AtomicU64::new(0),
            measured: OnceCell::new(),
            beginning: Beginning::default(),
        })))
    }

    /// The chain.
    pub fn chain(&self) -> ChainId {
        self.0.trust.chain()
    }

    /// What the client believes.
    pub fn trust(&self) -> &Trust {
        &self.0.trust
    }

    /// The client's id, if it signs.
    pub fn id(&self) -> Option<ClientId> {
        self.0.signer.as_ref().map(|signer| signer.client)
    }

    /// The key that it signs with, if it signs.
    pub fn public_key(&self) -> Option<ClientPublicKey> {
        self.0.signer.as_ref().map(|signer| signer.key.public_key())
    }

    /// Whether it signs, and its nonces' file is new: where to begin is yet to be learnt, of a quorum.
    pub fn begins_anew(&self) -> bool {
        let signer = self.0.signer.as_ref();
        signer.is_some_and(|signer| signer.nonces.begun().is_none())
    }

    /// Transactions whose fate this client doesn't know.
    pub fn unresolved(&self) -> usize {
        let signer = self.0.signer.as_ref();
        signer.map_or(0, |signer| signer.nonces.unresolved())
    }

    /// The newest answers that were refused because they don't verify.
    pub fn incidents(&self) -> Vec<Incident> {
        self.0.incidents.list()
    }

    /// What every endpoint says that it is doing. Not proved.
    pub async fn status(&self) -> Vec<(Endpoint, Result<StatusAnswer, String>)> {
        self.status_within(Duration::from_millis(READ_MS_MAX)).await
    }

    /// As [`Client::status`], for whoever can't wait: who hasn't answered in time hasn't answered.
    pub async fn status_within(
        &self,
        at_most: Duration,
    ) -> Vec<(Endpoint, Result<StatusAnswer, String>)> {
        let asks = (0..self.0.endpoints.len()).map(|at| async move {
            match tokio::time::timeout(at_most, self.status_of(at)).await {
                Ok(answer) => answer.map_err(describe),
                Err(_) => Err(format!("no answer in {} ms", at_most.as_millis())),
            }
        });
        let answers = futures::future::join_all(asks).await;
        self.0.endpoints.iter().cloned().zip(answers).collect()
    }

    async fn status_of(&self, at: usize) -> Result<StatusAnswer, Failure> {
        json(&self.get_from(at, "/v1/status", false).await?)
    }

    /// Whom to ask, best first. Measures everybody once.
    pub(crate) async fn order(&self) -> Vec<usize> {
        self.0
            .measured
            .get_or_init(|| async {
                let mut asks: FuturesUnordered<_> = (0..self.0.endpoints.len())
                    .map(|at| self.status_of(at))
                    .collect();
                // A quorum's worth of answers, or some time, is enough to begin with.
                let enough = self.0.endpoints.len().div_ceil(2);
                let mut good = 0;
                while let Some(answer) = asks.next().await {
                    good += usize::from(answer.is_ok());
                    if good >= enough {
                        break;
                    }
                }
            })
            .await;
        self.roster().order()
    }

    pub(crate) fn roster(&self) -> MutexGuard<'_, Roster> {
        self.0.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gets a path from one endpoint, and notes how that went.
    pub(crate) async fn get_from(
        &self,
        at: usize,
        path: &str,
        binary: bool,
    ) -> Result<Answer, Failure> {
        let url = &self.0.endpoints[at].url;
        let at_most = Duration::from_millis(READ_MS_MAX);
        let result = match binary {
            true => self.0.http.get_binary(url, path, at_most).await,
            false => self.0.http.get(url, path, at_most).await,
        };
        self.note(at, &result, true);
        result
    }

    /// Asks one endpoint for a proof, in borsh.
    pub(crate) async fn fetch(&self, at: usize, request: &Request) -> Result<Answer, Failure> {
        let (url, path) = (&self.0.endpoints[at].url, &request.path);
        let at_most = Duration::from_millis(READ_MS_MAX);
        let http = &self.0.http;
        let result = match &request.body {
            None => http.get_binary(url, path, at_most).await,
            Some(body) => http.post(url, path, body.clone(), BINARY, at_most).await,
        };
        self.note(at, &result, request.small);
        result
    }

    /// Notes how a request went; `small` ones tell the distance.
    pub(crate) fn note(&self, at: usize, result: &Result<Answer, Failure>, small: bool) {
        let mut roster = self.roster();
        match result {
            Ok(answer) => {
                roster.answered(at, small.then_some(answer.took));
                if let Some(validator) = answer.validator {
                    roster.says(at, validator);
                }
            }
            Err(Failure::Answer(detail)) if !crate::http::is_busy(detail.code) => {
                roster.answered(at, None);
            }
            Err(_) => roster.failed(at),
        }
    }

    /// Whether one of these endpoints is honest.
    pub(crate) fn exceeds_faults(&self, endpoints: impl IntoIterator<Item = usize>) -> bool {
        let committee = self.0.trust.committee();
        self.roster().exceeds_faults(endpoints, committee)
    }

    /// Whether these endpoints are a quorum.
    pub(crate) fn is_quorum(&self, endpoints: impl IntoIterator<Item = usize>) -> bool {
        let committee = self.0.trust.committee();
        self.roster().is_quorum(endpoints, committee)
    }

    /// How an endpoint is called in messages.
    pub(crate) fn name(&self, at: usize) -> String {
        let url = self.0.endpoints[at].url.as_str().trim_end_matches('/');
        match self.roster().validator(at) {
            Some(index) => format!("v{index} ({url})"),
            None => url.to_owned(),
        }
    }

    /// The query for a proof that this client can verify: who knows no committee needs a seal.
    pub(crate) fn proof_query(&self) -> &'static str {
        match self.0.trust.committee() {
            Some(_) => "proof=true",
            None => "proof=true&vouch=seal",
        }
    }

    /// An endpoint gave an answer that doesn't verify.
    pub(crate) fn caught(&self, at: usize, asked: &str, part: Part) -> Incident {
        let incident = Incident {
            validator: self.name(at),
            asked: asked.to_owned(),
            part,
        };
        self.roster().lied(at);
        self.0.incidents.add(incident.clone());
        incident
    }

    /// A head was verified: nothing below it is the newest any more.
    pub(crate) fn has_seen(&self, head: &TrustedHead) {
        let height = head.head().height.0;
        self.0.seen.fetch_max(height, Ordering::AcqRel);
    }

    /// The newest height that this client has seen certified; 0 for none.
    pub fn seen(&self) -> Height {
        Height(self.0.seen.load(Ordering::Acquire))
    }

    pub(crate) fn signer(&self) -> Result<&Signer, ClientError> {
        self.0.signer.as_ref().ok_or_else(|| {
            ClientError::Config("this client has no key: give it one, and a state_path".into())
        })
    }
}

/// The failures of a round of asking, and what they come to.
#[derive(Clone, Default)]
pub(crate) struct Failures {
    pub(crate) attempts: Vec<Attempt>,
    answer: Option<(String, violeta_types::api::ErrorDetail)>,
    pub(crate) incident: Option<Incident>,
    not_judged: Option<(String, ProofError)>,
}

impl Failures {
    /// An answer was refused. It is held against who gave it, unless it is this client that can't judge it.
    pub(crate) fn refuse(&mut self, client: &Client, at: usize, asked: &str, part: Part) {
        match part {
            Part::Proof(error) if error.lacks_trust() => {
                self.not_judged = Some((client.name(at), error));
            }
            part => self.incident = Some(client.caught(at, asked, part)),
        }
    }

    pub(crate) fn add(&mut self, client: &Client, at: usize, asked: &str, failure: Failure) {
        let validator = client.name(at);
        match failure {
            Failure::NotSent(why) | Failure::Gone(why) => {
                self.attempts.push(Attempt { validator, why });
            }
            Failure::Answer(detail) => {
                // What is said of the thing tells more than what is said of the gateway.
                let tells_more = |d: &violeta_types::api::ErrorDetail| is_of_the_gateway(d.code);
                if self.answer.as_ref().is_none_or(|(_, d)| tells_more(d)) {
                    self.answer = Some((validator, detail));
                }
            }
            Failure::Form(reason) => {
                self.incident = Some(client.caught(at, asked, Part::Form(reason)));
            }
        }
    }

    pub(crate) fn add_no_proof(
        &mut self,
        client: &Client,
        at: usize,
        asked: &str,
        no_proof: NoProof,
    ) {
        match no_proof {
            NoProof::Failed(failure) => self.add(client, at, asked, failure),
            NoProof::Refused(part) => self.refuse(client, at, asked, part),
        }
    }

    /// As [`into_error`](Self::into_error); none if nobody failed.
    pub(crate) fn into_found(self) -> Option<ClientError> {
        let nobody = self.attempts.is_empty()
            && self.answer.is_none()
            && self.incident.is_none()
            && self.not_judged.is_none();
        (!nobody).then(|| self.into_error())
    }

    /// The error that says most: a lie over what can't be judged, that over a no, a no over silence.
    pub(crate) fn into_error(self) -> ClientError {
        if let (None, Some((validator, reason))) = (&self.incident, self.not_judged) {
            return ClientError::NotJudged { validator, reason };
        }
        match (self.incident, self.answer) {
            (Some(incident), _) => ClientError::Unverified {
                incident: Box::new(incident),
            },
            (None, Some((_, detail))) if detail.code == ErrorCode::Overloaded => {
                ClientError::Overloaded {
                    retry_ms: detail.retry_ms.unwrap_or(crate::limits::PAUSE_MS),
                }
            }
            (None, Some((validator, detail))) => ClientError::Answer { validator, detail },
            (None, None) => ClientError::Unreachable {
                attempts: self.attempts,
            },
        }
    }
}

fn is_of_the_gateway(code: ErrorCode) -> bool {
    crate::http::is_busy(code)
}

/// A failure, for people.
pub(crate) fn describe(failure: Failure) -> String {
    match failure {
        Failure::NotSent(why) | Failure::Gone(why) => why,
        Failure::Answer(detail) => detail.to_string(),
        Failure::Form(reason) => format!("no answer: {reason}"),
    }
}

/// Milliseconds since the epoch, by this machine's clock. Only expiries depend on it: never what is believed.
pub(crate) fn now_ms() -> TimeMs {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH);
    TimeMs(elapsed.map_or(0, |elapsed| elapsed.as_millis() as u64))
}
