//! A running node, by its [`Handle`], as a [`Source`].
//!
//! Puts proofs together: the path from the store's snapshot, the head's vouch from the chain. A head that has a
//! certificate of its own is vouched for by that, else by its seal, else by the next head that has a certificate and the
//! path between the two. Who knows only the group's key asks for a seal: the head's own, or that of the next one sealed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use violeta_db::reader::{At, DbReader};
use violeta_db::{DbError, records};
use violeta_proof::tree::Sides;
use violeta_proof::{
    ChangesProof, EntriesProof, HeadProof, KeyClaim, KeyProof, OutcomeProof, Successor,
    ValuesProof, Vouch, Word,
};
use violeta_replica::SubmitError;
use violeta_types::api::{
    AccountAnswer, BatchVerdict, BlockSummary, Cursor, ErrorCode, ErrorDetail, GrantEntry,
    HeadAnswer, HealthAnswer, HistoryAnswer, KeyVersion, KeysAnswer, NamespaceAnswer, Readable,
    StatusAnswer, TransactionStatus, VouchKind, Wait, WrittenValue,
};
use violeta_types::transaction::{Key, NamespaceName};
use violeta_types::{
    Bounded, ClientId, Committee, Genesis, Head, Height, Nonce, StakeTally, TimeMs, TxId,
    ValidatorIndex, merkle,
};
use violeta_vlsm::StoreError;

use super::source::{Block, Events, Recorded, Source, SourceError};
use crate::chain::ChainError;
use crate::events::EventError;
use crate::handle::{Handle, Stopped};
use crate::provision::{amnesia, progress, why_amnesia};

/// What ends the OpenMetrics text.
const METRICS_END: &str = "# EOF\n";

fn reader(handle: &Handle) -> Result<Arc<DbReader>, SourceError> {
    handle.reader().ok_or(SourceError::NoDatabase)
}

/// Whose word there is for a head: its own, or that of the next one that has such a word.
fn vouch(handle: &Handle, head: &Head, kind: VouchKind) -> Result<Vouch, SourceError> {
    match kind {
        VouchKind::Any => any_vouch(handle, head),
        VouchKind::Seal => sealed_vouch(handle, head),
    }
}

fn any_vouch(handle: &Handle, head: &Head) -> Result<Vouch, SourceError> {
    let height = head.height;
    if let Some(certified) = handle.certified_head(height)? {
        return Ok(Vouch::Certificate(certified.certificate.clone()));
    }
    if let Some(seal) = handle.seal(height)? {
        return Ok(Vouch::Seal(seal));
    }
    let newest = handle.tip().certified;
    if height > newest {
        return Err(SourceError::NotYetCertified { height, newest });
    }
    let newer = handle.certified_from(height.next())?;
    let path = match &newer {
        Some(newer) => handle.history_path(height, newer.head.height)?,
        None => None,
    };
    match (newer, path) {
        (Some(newer), Some(path)) => Ok(Vouch::Successor(Box::new(Successor {
            head: newer.head.clone(),
            word: Word::Certificate(newer.certificate.clone()),
            path,
        }))),
        (newer, _) => Err(SourceError::NoCertificate {
            height,
            next: newer.map(|newer| newer.head.height),
        }),
    }
}

fn sealed_vouch(handle: &Handle, head: &Head) -> Result<Vouch, SourceError> {
    let height = head.height;
    let Some(seal) = handle.sealed_from(height)? else {
        let newest = handle.sealed_height();
        return Err(SourceError::NotYetSealed { height, newest });
    };
    if seal.height == height {
        return Ok(Vouch::Seal(seal));
    }
    let newer = handle.head(seal.height)?;
    match (newer, handle.history_path(height, seal.height)?) {
        (Some(newer), Some(path)) => Ok(Vouch::Successor(Box::new(Successor {
            head: newer,
            word: Word::Seal(seal),
            path,
        }))),
        _ => Err(SourceError::NoCertificate {
            height,
            next: Some(seal.height),
        }),
    }
}

/// What keeps this node from taking transactions or answering reads.
fn reasons(handle: &Handle) -> Vec<String> {
    let mut reasons = handle.complaints();
    let status = handle.replica_status();
    if let Some(why) = &status.halted {
        reasons.push(format!("the replica has stopped: {why}"));
    }
    if status.catching_up {
        reasons.push("it catches up with the others".into());
    }
    if let Some(kind) = why_amnesia(&status) {
        reasons.push(amnesia(kind, progress(&status)));
    } else if !status.accepts {
        reasons.push("it takes no transactions now: execution or disk lag behind".into());
    }
    let committee = handle.committee();
    let mut connected = StakeTally::default();
    for index in status.peers.into_iter().chain(handle.validator()) {
        connected.add(committee, index);
    }
    if !connected.is_quorum(committee) {
        let (have, need) = (connected.stake(), committee.quorum_stake());
        reasons.push(format!(
            "it is connected to a stake of {have}, a quorum needs {need}"
        ));
    }
    reasons
}

impl From<Stopped> for SourceError {
    fn from(Stopped: Stopped) -> Self {
        SourceError::ShuttingDown
    }
}

impl From<ChainError> for SourceError {
    fn from(error: ChainError) -> Self {
        SourceError::Failed(error.to_string())
    }
}

impl From<EventError> for SourceError {
    fn from(error: EventError) -> Self {
        match error {
            EventError::TooMany(_) => SourceError::TooManySubscribers,
            EventError::Stopped => SourceError::ShuttingDown,
            EventError::Index(error) => SourceError::Failed(error.to_string()),
        }
    }
}

impl From<DbError> for SourceError {
    fn from(error: DbError) -> Self {
        match error {
            DbError::Future { asked, latest } => SourceError::NotYetCertified {
                height: asked,
                newest: latest,
            },
            DbError::Store(StoreError::NoSuchVersion { asked, oldest, .. }) => {
                SourceError::NotRetained {
                    height: asked,
                    oldest,
                }
            }
            DbError::Question(_) => SourceError::Question(error.to_string()),
            error => SourceError::Failed(error.to_string()),
        }
    }
}

/// The database gives no more than a proof holds.
fn fits<T, const MAX: usize>(items: Vec<T>) -> Result<Bounded<T, MAX>, SourceError> {
    Bounded::try_from(items).map_err(|error| SourceError::Failed(error.to_string()))
}

/// A head with somebody's word for it.
fn vouched(handle: &Handle, head: Head, kind: VouchKind) -> Result<HeadProof, SourceError> {
    let vouch = vouch(handle, &head, kind)?;
    Ok(HeadProof { head, vouch })
}

fn verdict(verdict: Result<TxId, SubmitError>) -> BatchVerdict {
    let error = match verdict {
        Ok(id) => return BatchVerdict::Taken(id),
        Err(error) => error,
    };
    let message = error.to_string();
    let (code, help, retry_ms) = match error {
        SubmitError::Invalid(_) => (
            ErrorCode::InvalidTransaction,
            "check chain, form, limits and signature: these bytes will never be taken",
            None,
        ),
        SubmitError::NotAdmitted(_) => (
            ErrorCode::NotAdmitted,
            "see /v1/accounts/{client} for key and nonces; sign anew with what fits",
            None,
        ),
        SubmitError::Overloaded { retry_ms, .. } => (
            ErrorCode::Overloaded,
            "wait as Retry-After says, or ask another validator",
            Some(retry_ms),
        ),
        SubmitError::OnlyFollows => (ErrorCode::OnlyFollows, "ask another validator", None),
    };
    BatchVerdict::Refused(ErrorDetail {
        code,
        message,
        help: help.into(),
        retry_ms,
    })
}

impl Source for Handle {
    fn genesis(&self) -> Arc<Genesis> {
        Arc::new(self.genesis().clone())
    }

    fn committee(&self) -> Arc<Committee> {
        Arc::new(self.committee().clone())
    }

    fn validator(&self) -> Option<ValidatorIndex> {
        self.validator()
    }

    fn status(&self) -> StatusAnswer {
        let (tip, status) = (self.tip(), self.replica_status());
        StatusAnswer {
            version: env!("CARGO_PKG_VERSION").into(),
            name: self.genesis().name.clone(),
            chain: self.chain_id(),
            validator: self.validator(),
            validators: self.committee().len() as u32,
            epoch: self.committee().epoch(),
            round: status.round,
            commit_index: tip.commit_index,
            height: tip.executed,
            certified_height: tip.certified,
            sealed_height: tip.sealed,
            mempool_count: status.mempool_count as u64,
            mempool_bytes: status.mempool_bytes as u64,
            amnesia: why_amnesia(&status),
            rejoining: progress(&status),
            peers: status.peers,
        }
    }

    fn health(&self) -> HealthAnswer {
        let reasons = reasons(self);
        HealthAnswer {
            healthy: reasons.is_empty(),
            reasons,
        }
    }

    fn metrics(&self) -> String {
        let text = self.metrics().encode();
        let open = text.strip_suffix(METRICS_END);
        open.map_or(text.clone(), str::to_owned)
    }

    fn certified_height(&self) -> Height {
        let certified = self.tip().certified;
        match self.reader() {
            // A certificate may be here before its block was executed.
            Some(reader) => certified.min(reader.latest_height()),
            None => certified,
        }
    }

    fn block_time(&self) -> TimeMs {
        self.block_time()
    }

    fn sealed_height(&self) -> Height {
        let sealed = self.tip().sealed;
        match self.reader() {
            Some(reader) => sealed.min(reader.latest_height()),
            None => sealed,
        }
    }

    fn submit(
        &self,
        items: Vec<Bytes>,
    ) -> BoxFuture<'static, Result<Vec<BatchVerdict>, SourceError>> {
        let handle = self.clone();
        async move {
            let verdicts = handle.submit(items).await?;
            Ok(verdicts.into_iter().map(verdict).collect())
        }
        .boxed()
    }

    fn transaction(&self, id: TxId) -> Result<TransactionStatus, SourceError> {
        Ok(self.status(&id)?)
    }

    fn recorded(&self, ids: &[TxId]) -> Result<Vec<Recorded>, SourceError> {
        Ok(self.recorded(ids)?)
    }

    fn wait(
        &self,
        id: TxId,
        wait: Wait,
        at_most: Duration,
    ) -> BoxFuture<'static, Result<TransactionStatus, SourceError>> {
        let handle = self.clone();
        async move { Ok(handle.wait(id, wait, at_most).await?) }.boxed()
    }

    fn outcome_proof(&self, id: TxId, kind: VouchKind) -> Result<OutcomeProof, SourceError> {
        let (outcome, block) = self.outcome(&id)?.ok_or_else(|| match self.finds_all() {
            true => SourceError::NotFound(format!("outcome of transaction {id}")),
            false => SourceError::NotIndexed(id),
        })?;
        let vouch = vouch(self, &block.head, kind)?;
        let leaves: Vec<_> = block.outcomes.iter().map(|o| o.digest()).collect();
        let path = merkle::RESULTS
            .path(&leaves, outcome.index as usize)
            .ok_or_else(|| {
                let height = outcome.height;
                SourceError::Failed(format!("block {height} lacks the outcome of {id}"))
            })?;
        Ok(OutcomeProof {
            outcome,
            path,
            head: block.head.clone(),
            vouch,
        })
    }

    fn head(&self, height: Height) -> Result<HeadAnswer, SourceError> {
        let certified = self.certified_head(height)?;
        let head = match &certified {
            Some(certified) => Some(certified.head.clone()),
            None => self.head(height)?,
        };
        let head = head.ok_or_else(|| SourceError::NotFound(format!("head at height {height}")))?;
        Ok(HeadAnswer {
            id: head.id(),
            head,
            certificate: certified.map(|certified| certified.certificate.clone()),
            seal: self.seal(height)?,
        })
    }

    fn head_proof(&self, height: Height, kind: VouchKind) -> Result<HeadProof, SourceError> {
        let newest = self.tip().certified;
        if height > newest {
            return Err(SourceError::NotYetCertified { height, newest });
        }
        let HeadAnswer { head, .. } = Source::head(self, height)?;
        let vouch = vouch(self, &head, kind)?;
        Ok(HeadProof { head, vouch })
    }

    fn block(&self, height: Height) -> Result<Arc<Block>, SourceError> {
        self.block(height)?
            .ok_or_else(|| SourceError::NotFound(format!("block at height {height}")))
    }

    fn blocks(&self, from: Height, limit: usize) -> Result<Vec<BlockSummary>, SourceError> {
        Ok(self.blocks(from, limit)?)
    }

    fn events(&self, after: Option<Cursor>) -> Result<Events, SourceError> {
        let stream = self.events(after)?.into_stream();
        Ok(stream.map(|event| event.map_err(SourceError::from)).boxed())
    }

    fn read(
        &self,
        namespace: &NamespaceName,
        key: &Key,
        at: Height,
    ) -> Result<Option<WrittenValue>, SourceError> {
        let (_, found) = reader(self)?.get(namespace, key, At::Height(at))?;
        Ok(found.map(|stored| WrittenValue {
            written_at: stored.written_at,
            value: Readable::from(&stored.value[..]),
        }))
    }

    fn prove(
        &self,
        namespace: &NamespaceName,
        key: &Key,
        at: Height,
        kind: VouchKind,
    ) -> Result<KeyProof, SourceError> {
        let read = reader(self)?.prove(namespace, key, At::Height(at))?;
        let vouch = vouch(self, &read.head, kind)?;
        Ok(KeyProof {
            namespace: namespace.clone(),
            key: key.clone(),
            value: read.value,
            tree: read.tree,
            head: read.head,
            vouch,
        })
    }

    fn prove_values(
        &self,
        namespace: &NamespaceName,
        keys: &[Key],
        at: Height,
        kind: VouchKind,
    ) -> Result<ValuesProof, SourceError> {
        let read = reader(self)?.prove_values(namespace, keys, At::Height(at))?;
        let claims = keys.iter().cloned().zip(read.values);
        let claims = claims.map(|(key, value)| KeyClaim { key, value });
        Ok(ValuesProof {
            namespace: namespace.clone(),
            claims: fits(claims.collect())?,
            tree: read.tree,
            head: vouched(self, read.head, kind)?,
        })
    }

    fn prove_entries(
        &self,
        namespace: &NamespaceName,
        after: Option<Key>,
        limit: usize,
        at: Height,
        kind: VouchKind,
    ) -> Result<EntriesProof, SourceError> {
        let reader = reader(self)?;
        let read = reader.prove_entries(namespace, after.as_ref(), limit, At::Height(at))?;
        Ok(EntriesProof {
            namespace: namespace.clone(),
            after,
            values: fits(read.values)?,
            tree: read.tree,
            head: vouched(self, read.head, kind)?,
        })
    }

    fn prove_changes(
        &self,
        namespace: &NamespaceName,
        after: Option<Key>,
        limit: usize,
        heights: Sides<Height>,
        kind: VouchKind,
    ) -> Result<ChangesProof, SourceError> {
        let read = reader(self)?.prove_changes(namespace, after.as_ref(), limit, heights)?;
        Ok(ChangesProof {
            namespace: namespace.clone(),
            after,
            values: fits(read.values)?,
            tree: read.tree,
            heads: Sides {
                old: vouched(self, read.heads.old, kind)?,
                new: vouched(self, read.heads.new, kind)?,
            },
        })
    }

    fn history(
        &self,
        namespace: &NamespaceName,
        key: &Key,
        at: Height,
        limit: usize,
    ) -> Result<HistoryAnswer, SourceError> {
        let page = reader(self)?.history(namespace, key, Some(at), limit)?;
        let version = |entry: violeta_db::reader::HistoryEntry| KeyVersion {
            height: entry.height,
            value: entry.value.map(|value| Readable(value.to_vec())),
        };
        Ok(HistoryAnswer {
            namespace: Readable::from(&namespace[..]),
            key: Readable::from(&key[..]),
            height: at,
            versions: page.versions.into_iter().map(version).collect(),
            next: page.next,
        })
    }

    fn namespace(
        &self,
        namespace: &NamespaceName,
        at: Height,
    ) -> Result<NamespaceAnswer, SourceError> {
        let no_such = || SourceError::NotFound(format!("namespace {}", readable(namespace)));
        let system = records::SYSTEM_SPACES.contains(&&namespace[..]);
        let info = match system {
            true => None,
            false => {
                let found = reader(self)?.namespace(namespace, At::Height(at))?;
                Some(found.ok_or_else(no_such)?)
            }
        };
        let grants = info.iter().flat_map(|info| &info.namespace.grants);
        Ok(NamespaceAnswer {
            namespace: readable(namespace),
            height: at,
            owner: info.as_ref().map(|info| info.namespace.owner),
            grants: grants
                .map(|(client, right)| GrantEntry {
                    client: *client,
                    right: *right,
                })
                .collect(),
            keys: info.as_ref().map(|info| info.keys),
        })
    }

    fn keys(
        &self,
        namespace: &NamespaceName,
        after: Option<&Key>,
        limit: usize,
        at: Height,
    ) -> Result<KeysAnswer, SourceError> {
        let after = after.map(|key| &key[..]);
        let page = reader(self)?
            .keys(namespace, after, limit, At::Height(at))?
            .ok_or_else(|| SourceError::NotFound(format!("namespace {}", readable(namespace))))?;
        Ok(KeysAnswer {
            namespace: readable(namespace),
            height: page.height,
            keys: page.keys.iter().map(|key| readable(key)).collect(),
            next: page.next.map(|key| readable(&key)),
        })
    }

    fn account(&self, client: &ClientId) -> Result<AccountAnswer, SourceError> {
        let reader = reader(self)?;
        let height = reader.latest_height();
        Ok(match reader.account(client)? {
            Some(info) => AccountAnswer {
                client: *client,
                height,
                key: Some(info.key),
                administrator: info.administrator,
                highest_nonce: info.highest_nonce,
                next_nonce: info.next_nonce,
            },
            None => AccountAnswer {
                client: *client,
                height,
                key: None,
                administrator: false,
                highest_nonce: Nonce(0),
                next_nonce: Nonce(1),
            },
        })
    }
}

fn readable(bytes: &[u8]) -> Readable {
    Readable::from(bytes)
}
