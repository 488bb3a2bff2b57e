//! Verified reads (replica.md §7): of the newest certified version, after a barrier, or of a height.
//!
//! An answer is taken if all of this holds: the proof verifies against the client's trust; it is about the namespace and
//! key that were asked for; it is of the height that was asked for, or, for the newest, of none below what this client
//! has seen. An older one is no lie (the validator may lag), so the next one is asked, and after a while again.

use std::collections::BTreeSet;

use std::time::Duration;

use borsh::BorshDeserialize;
use bytes::Bytes;
use violeta_proof::{
    HeadProof, KeyProof, OutcomeProof, StoredValue, TrustedHead, VerifiedAnswer, Vouchers,
};
use violeta_types::api::{ErrorCode, ErrorDetail, KeysAnswer, NamespaceAnswer};
use violeta_types::limits::{KEY_BYTES_MAX, NAMESPACE_BYTES_MAX};
use violeta_types::{Blob, ClientId, Height, TxId};

use crate::account::{ACCOUNTS, KEYS, Standing};
use crate::asks::Asks;
use crate::client::{Client, Failures};
use crate::error::ClientError;
use crate::http::{Failure, json};
use crate::incident::Part;
use crate::limits::{FRESHNESS_TRIES_MAX, PAUSE_MS};
use crate::submit::Receipt;
use crate::transaction::Operations;

/// The space that has a record of each namespace.
const NAMESPACES: &[u8] = b"_namespaces";
/// What the names of the chain's own spaces begin with; no client's namespace does.
const SYSTEM_MARK: u8 = b'_';

/// Which version to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum At {
    /// The newest certified one that a validator has, and none older than this client has seen.
    #[default]
    Certified,
    /// One that holds all that was certified anywhere before the read began. Submits a barrier, so it needs a key.
    Linearizable,
    /// This height.
    Height(Height),
}

/// A value, or its absence, that was proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proved {
    /// The value with the height that wrote it; none if the key has none.
    pub value: Option<StoredValue>,
    /// The head that it was proved against.
    pub head: TrustedHead,
    /// Whose word was taken for the head.
    pub vouchers: Vouchers,
    /// The height that their word was given for: the head's own, or a newer one whose history leads to it.
    pub vouched_height: Height,
    /// Who gave the answer.
    pub validator: String,
    /// The proof itself: whoever has the trust can check it again.
    pub proof: KeyProof,
}

/// What must be true of the height of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    AtLeast(Height),
    Exactly(Height),
}

impl Wanted {
    pub(crate) fn check(self, head: &TrustedHead) -> Result<(), Part> {
        let found = head.head().height;
        match self {
            Wanted::Exactly(height) if found != height => Err(Part::OtherQuestion {
                what: "height",
                asked: height.to_string(),
                found: found.to_string(),
            }),
            Wanted::AtLeast(seen) if found < seen => Err(Part::Old { found, seen }),
            _ => Ok(()),
        }
    }
}

impl Client {
    /// A key's value, proved; none if it has none.
    ///
    /// # Errors
    /// If no validator gives an answer that verifies.
    pub async fn get(
        &self,
        namespace: impl AsRef<[u8]>,
        key: impl AsRef<[u8]>,
        at: At,
    ) -> Result<Option<Bytes>, ClientError> {
        let proved = self.get_proved(namespace, key, at).await?;
        Ok(proved.value.map(|stored| stored.value.into_inner()))
    }

    /// The proof of a key's value or absence, verified.
    ///
    /// # Errors
    /// If no validator gives one that verifies.
    pub async fn prove(
        &self,
        namespace: impl AsRef<[u8]>,
        key: impl AsRef<[u8]>,
        at: At,
    ) -> Result<KeyProof, ClientError> {
        Ok(self.get_proved(namespace, key, at).await?.proof)
    }

    /// A key's value or absence, with all that was proved.
    ///
    /// # Errors
    /// If no validator gives an answer that verifies.
    pub async fn get_proved(
        &self,
        namespace: impl AsRef<[u8]>,
        key: impl AsRef<[u8]>,
        at: At,
    ) -> Result<Proved, ClientError> {
        let question = Question::new(namespace.as_ref(), key.as_ref())?;
        let wanted = self.wanted(at).await?;
        self.answer(&question, wanted).await
    }

    /// What the height of an answer must be, so that it is of that version.
    pub(crate) async fn wanted(&self, at: At) -> Result<Wanted, ClientError> {
        Ok(match at {
            At::Certified => Wanted::AtLeast(self.seen()),
            At::Height(height) => Wanted::Exactly(height),
            At::Linearizable => {
                let barrier = self.transaction(Operations::new()).await?;
                Wanted::AtLeast(barrier.outcome.height)
            }
        })
    }

    /// An answer to a question that may be believed, from whoever has one.
    pub(crate) async fn answer(
        &self,
        question: &Question,
        wanted: Wanted,
    ) -> Result<Proved, ClientError> {
        let request = Request::get(self.path(question, wanted));
        let asked = question.to_string();
        let check = |bytes: &[u8]| self.check(question, wanted, bytes);
        let (at, (proof, verified)) = self.ask(&asked, &request, wanted, check).await?;
        self.has_seen(&verified.head);
        Ok(Proved {
            value: verified.value,
            head: verified.head,
            vouchers: verified.vouchers,
            vouched_height: verified.vouched_height,
            validator: self.name(at),
            proof,
        })
    }

    /// Asks everybody until an answer passes `check`, and says whose it is. While all that answer are behind what is
    /// wanted, asks again.
    pub(crate) async fn ask<T>(
        &self,
        asked: &str,
        request: &Request,
        wanted: Wanted,
        check: impl Fn(&[u8]) -> Result<T, Part>,
    ) -> Result<(usize, T), ClientError> {
        let (Wanted::AtLeast(height) | Wanted::Exactly(height)) = wanted;
        for _ in 0..FRESHNESS_TRIES_MAX {
            match self.ask_everybody(asked, request, height, &check).await {
                Asked::Answered(at, answer) => return Ok((at, answer)),
                Asked::Failed(error) => return Err(error),
                Asked::AllOld => tokio::time::sleep(Duration::from_millis(PAUSE_MS)).await,
            }
        }
        let asked = asked.to_owned();
        Err(ClientError::Behind { asked, height })
    }

    async fn ask_everybody<T>(
        &self,
        asked: &str,
        request: &Request,
        height: Height,
        check: impl Fn(&[u8]) -> Result<T, Part>,
    ) -> Asked<T> {
        let mut failures = Failures::default();
        let mut old = false;
        for at in self.order().await {
            match self.fetch(at, request).await {
                Ok(answer) => match check(&answer.bytes) {
                    Ok(answer) => return Asked::Answered(at, answer),
                    Err(Part::Old { .. }) => old = true,
                    Err(part) => failures.refuse(self, at, asked, part),
                },
                // This client has seen it certified: who hasn't yet lags, like one whose answer is old.
                Err(Failure::Answer(detail))
                    if (Height(1)..=self.seen()).contains(&height)
                        && detail.code == ErrorCode::NotYetCertified =>
                {
                    old = true;
                }
                Err(failure) => failures.add(self, at, asked, failure),
            }
        }
        match old {
            true => Asked::AllOld,
            false => Asked::Failed(failures.into_error()),
        }
    }

    /// Whether bytes are an answer to this question that may be believed.
    fn check(
        &self,
        question: &Question,
        wanted: Wanted,
        bytes: &[u8],
    ) -> Result<(KeyProof, VerifiedAnswer), Part> {
        let proof = KeyProof::decode(bytes)?;
        let other = |what, asked: String, found: String| Part::OtherQuestion { what, asked, found };
        if proof.namespace[..] != question.namespace[..] {
            let found = readable(&proof.namespace);
            return Err(other("namespace", readable(&question.namespace), found));
        }
        if proof.key[..] != question.key[..] {
            return Err(other("key", readable(&question.key), readable(&proof.key)));
        }
        let verified = proof.verify(&self.0.trust)?;
        wanted.check(&verified.head)?;
        Ok((proof, verified))
    }

    /// The newest certified head, verified: none older than this client has seen.
    ///
    /// # Errors
    /// If no validator gives one that verifies.
    pub async fn head(&self) -> Result<TrustedHead, ClientError> {
        let (head, _) = self.head_as(Wanted::AtLeast(self.seen())).await?;
        Ok(head)
    }

    /// The head at a height, verified, and whose word was taken: its own, or that for a newer head whose history leads
    /// to it.
    ///
    /// # Errors
    /// If no validator gives one that verifies.
    pub async fn head_at(&self, height: Height) -> Result<(TrustedHead, Vouchers), ClientError> {
        self.head_as(Wanted::Exactly(height)).await
    }

    async fn head_as(&self, wanted: Wanted) -> Result<(TrustedHead, Vouchers), ClientError> {
        let (asked, path) = match wanted {
            Wanted::AtLeast(_) => ("the newest head".to_owned(), "/v1/head".to_owned()),
            Wanted::Exactly(height) => (format!("head {height}"), format!("/v1/heads/{height}")),
        };
        let request = Request::get(format!("{path}?{}", self.proof_query()));
        let check = |bytes: &[u8]| {
            let good = HeadProof::decode(bytes)?.verify(&self.0.trust)?;
            wanted.check(&good.0)?;
            Ok(good)
        };
        let (_, good) = self.ask(&asked, &request, wanted, check).await?;
        self.has_seen(&good.0);
        Ok(good)
    }

    /// What became of a transaction, proved; none if validators of more than f of the stake say that they have no proof
    /// of it, so an honest one among them hasn't (yet); who says nothing is waited for a short time only then.
    ///
    /// None is no proof that it wasn't executed: an honest validator may lag, and until the transaction expires it may
    /// come. [`Client::fate`] finds out for certain.
    ///
    /// # Errors
    /// [`ClientError::TooFewSay`] if those who say so may all be faulty; else what those said who gave no answer.
    pub async fn outcome(&self, transaction: TxId) -> Result<Option<Receipt>, ClientError> {
        let mut failures = Failures::default();
        let mut unknown = BTreeSet::new();
        // All at once: those who don't answer would keep from it those who know.
        let order = self.order().await.into_iter();
        let mut asks = Asks::new(
            order.map(|at| async move { (at, self.outcome_from(at, transaction).await) }),
        );
        while let Some((at, outcome)) = asks.next().await {
            match outcome {
                Ok(receipt) => return Ok(Some(receipt)),
                Err(NoProof::Failed(Failure::Answer(detail))) if has_no_proof_yet(&detail) => {
                    unknown.insert(at);
                    if self.exceeds_faults(unknown.iter().copied()) {
                        asks.hurry();
                    }
                }
                Err(no_proof) => {
                    failures.add_no_proof(self, at, &asked_outcome(transaction), no_proof);
                }
            }
        }
        if self.exceeds_faults(unknown.iter().copied()) {
            return Ok(None);
        }
        if unknown.is_empty() || failures.incident.is_some() {
            return Err(failures.into_error());
        }
        Err(ClientError::TooFewSay {
            transaction,
            validators: unknown.into_iter().map(|at| self.name(at)).collect(),
            others: failures.into_found().map(Box::new),
        })
    }

    /// One validator's proof of what became of a transaction.
    pub(crate) async fn outcome_from(
        &self,
        at: usize,
        transaction: TxId,
    ) -> Result<Receipt, NoProof> {
        let path = format!("/v1/transactions/{transaction}?{}", self.proof_query());
        let answer = self.get_from(at, &path, true).await;
        let answer = answer.map_err(NoProof::Failed)?;
        let check = || -> Result<Receipt, Part> {
            let proof = OutcomeProof::decode(&answer.bytes)?;
            if proof.outcome.transaction != transaction {
                return Err(Part::OtherQuestion {
                    what: "transaction",
                    asked: transaction.to_string(),
                    found: proof.outcome.transaction.to_string(),
                });
            }
            let verified = proof.verify(&self.0.trust)?;
            Ok(Receipt {
                outcome: verified.outcome,
                head: verified.head,
                vouchers: verified.vouchers,
                vouched_height: verified.vouched_height,
                validator: self.name(at),
                proof: Box::new(proof),
            })
        };
        let receipt = check().map_err(NoProof::Refused)?;
        self.has_seen(&receipt.head);
        Ok(receipt)
    }

    /// Whether there is such a namespace, proved: `_namespaces` has a record of each. What the chain keeps for itself has
    /// none, and is there from the beginning.
    ///
    /// # Errors
    /// If no validator gives an answer that verifies.
    pub async fn has_namespace(
        &self,
        namespace: impl AsRef<[u8]>,
        at: At,
    ) -> Result<bool, ClientError> {
        let namespace = namespace.as_ref();
        if namespace.first() == Some(&SYSTEM_MARK) {
            return Ok(true);
        }
        Ok(self.get(NAMESPACES, namespace, at).await?.is_some())
    }

    /// A namespace's owner, grants and size. A validator's word; `_namespaces` can be read with proof.
    ///
    /// # Errors
    /// If no validator answers.
    pub async fn namespace(
        &self,
        namespace: impl AsRef<[u8]>,
    ) -> Result<NamespaceAnswer, ClientError> {
        let path = format!("/v1/namespaces/hex:{}", hex::encode(namespace));
        self.ask_json(&path).await
    }

    /// A page of a namespace's keys. A validator's word: with proof, and values, [`Client::entries`] has them.
    ///
    /// # Errors
    /// If no validator answers.
    pub async fn keys(
        &self,
        namespace: impl AsRef<[u8]>,
        after: Option<&[u8]>,
        limit: u32,
    ) -> Result<KeysAnswer, ClientError> {
        let namespace = hex::encode(namespace);
        let mut path = format!("/v1/namespaces/hex:{namespace}/keys?limit={limit}");
        if let Some(after) = after {
            path += &format!("&after=hex:{}", hex::encode(after));
        }
        self.ask_json(&path).await
    }

    /// The first answer that anybody gives.
    async fn ask_json<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let mut failures = Failures::default();
        for at in self.order().await {
            let answer = self.get_from(at, path, false).await;
            match answer.and_then(|answer| json(&answer)) {
                Ok(answer) => return Ok(answer),
                Err(failure) => failures.add(self, at, path, failure),
            }
        }
        Err(failures.into_error())
    }

    /// This client's account as one validator's newest certified state has it (none if it hasn't one), and that state's
    /// head, however old that is.
    pub(crate) async fn account_from(&self, at: usize) -> Result<Standing, NoProof> {
        let signer = self.signer().map_err(NoProof::not_asked)?;
        let newest = Wanted::AtLeast(Height(0));
        let client = signer.client.as_ref();
        let (account, head) = self.record_from(at, ACCOUNTS, client, newest).await?;
        if account.is_some() {
            return Ok((account, head));
        }
        // A key that came by rotation acts for another client than its own. Of the same state: what an older one lacks
        // says nothing of this one.
        let same = Wanted::Exactly(head.head().height);
        let key = signer.key.public_key();
        match self.record_from::<ClientId>(at, KEYS, &key.0, same).await? {
            (Some(holder), _) => self.record_from(at, ACCOUNTS, holder.as_ref(), same).await,
            (None, _) => Ok((None, head)),
        }
    }

    /// A record of the chain's own, as one validator's certified state has it, and that state's head.
    async fn record_from<T: BorshDeserialize>(
        &self,
        at: usize,
        space: &[u8],
        key: &[u8],
        wanted: Wanted,
    ) -> Result<(Option<T>, TrustedHead), NoProof> {
        let question = Question::new(space, key).map_err(NoProof::not_asked)?;
        let path = self.path(&question, wanted);
        let answer = self.get_from(at, &path, true).await;
        let answer = answer.map_err(NoProof::Failed)?;
        let (_, verified) = self
            .check(&question, wanted, &answer.bytes)
            .map_err(NoProof::Refused)?;
        self.has_seen(&verified.head);
        let decode = |stored: StoredValue| {
            violeta_types::decode(&stored.value).map_err(|e| {
                let reason = format!("{question} has a form that isn't known here: {e}");
                NoProof::not_asked(ClientError::Invalid(reason))
            })
        };
        let record = verified.value.map(decode).transpose()?;
        Ok((record, verified.head))
    }

    /// What to ask a gateway for.
    fn path(&self, question: &Question, wanted: Wanted) -> String {
        let path = format!("{}?{}", question.path(), self.proof_query());
        match wanted {
            Wanted::Exactly(height) => format!("{path}&at={height}"),
            Wanted::AtLeast(_) => path,
        }
    }
}

/// Why one validator gave no proof.
pub(crate) enum NoProof {
    Failed(Failure),
    Refused(Part),
}

impl NoProof {
    /// The validator has said nothing at all.
    pub(crate) fn is_silence(&self) -> bool {
        matches!(self, NoProof::Failed(failure) if failure.is_silence())
    }

    /// It is this client that couldn't ask, or couldn't read the answer.
    fn not_asked(error: ClientError) -> Self {
        NoProof::Failed(Failure::NotSent(error.to_string()))
    }
}

pub(crate) fn asked_outcome(transaction: TxId) -> String {
    format!("transaction {transaction}")
}

/// Whether a gateway says that there is nothing to prove, or not yet.
pub(crate) fn has_no_proof_yet(detail: &ErrorDetail) -> bool {
    matches!(
        detail.code,
        ErrorCode::NotFound | ErrorCode::NotYetCertified
    )
}

enum Asked<T> {
    /// By whom, and what.
    Answered(usize, T),
    /// Everybody who answered is behind what this client has seen.
    AllOld,
    Failed(ClientError),
}

pub(crate) fn readable(bytes: &[u8]) -> String {
    violeta_types::api::Readable::from(bytes).to_string()
}

/// What a gateway is asked for a proof with.
pub(crate) struct Request {
    pub(crate) path: String,
    /// What doesn't fit a path.
    pub(crate) body: Option<Bytes>,
    /// The answer is: the time that it takes tells the distance.
    pub(crate) small: bool,
}

impl Request {
    /// For a small answer.
    pub(crate) fn get(path: String) -> Self {
        Request {
            path,
            body: None,
            small: true,
        }
    }

    /// For a large answer.
    pub(crate) fn large(path: String, body: Option<Bytes>) -> Self {
        Request {
            path,
            body,
            small: false,
        }
    }
}

/// A name or key within its bound.
pub(crate) fn bounded<const MAX: usize>(
    what: &str,
    bytes: &[u8],
) -> Result<Blob<MAX>, ClientError> {
    Blob::try_from(bytes).map_err(|error| {
        let (len, max) = (error.len, error.max);
        ClientError::Invalid(format!(
            "a {what} of {len} bytes, at most {max} are allowed"
        ))
    })
}

/// A namespace and a key, within their bounds.
pub(crate) struct Question {
    namespace: Vec<u8>,
    key: Vec<u8>,
}

impl Question {
    pub(crate) fn new(namespace: &[u8], key: &[u8]) -> Result<Self, ClientError> {
        let check = |what: &str, len: usize, max: usize| match len <= max {
            true => Ok(()),
            false => Err(ClientError::Invalid(format!(
                "a {what} of {len} bytes, at most {max} are allowed"
            ))),
        };
        check("namespace", namespace.len(), NAMESPACE_BYTES_MAX)?;
        check("key", key.len(), KEY_BYTES_MAX)?;
        Ok(Question {
            namespace: namespace.to_vec(),
            key: key.to_vec(),
        })
    }

    /// Hexadecimal: libraries for URLs rewrite paths like `..` behind one's back.
    pub(crate) fn path(&self) -> String {
        let (namespace, key) = (hex::encode(&self.namespace), hex::encode(&self.key));
        format!("/v1/namespaces/hex:{namespace}/keys/hex:{key}")
    }
}

impl std::fmt::Display for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", readable(&self.namespace), readable(&self.key))
    }
}
