//! Committees and epochs for tests.

use bytes::Bytes;
use violeta_crypto::ValidatorSecretKey;
use violeta_types::{
    ChainId, CommitIndex, Committee, Digest, Domain, Election, Epoch, GroupPublicKey, Item, Member,
    NodePublicKey, Nonce, OperatorPublicKey, Parameters, Payload, Round, SharePublicKey,
    SignedHeader, Stake, ThresholdShare, TimeMs, TxId, ValidatorIndex, Vertex, VertexHeader,
    VertexId, VertexRef,
};

use crate::epoch::EpochData;
use crate::rules::{ItemMeta, Rejection};
use crate::vertex::{ValidVertex, trust_vertex};

/// When test epochs begin.
pub(crate) const START: TimeMs = TimeMs(1_000_000);

pub(crate) fn key(index: usize) -> ValidatorSecretKey {
    ValidatorSecretKey::from_seed([index as u8 + 1; 32])
}

pub(crate) fn epoch(n: usize, w: u64) -> EpochData {
    epoch_with_stakes(&vec![1; n], w, Election::Coin)
}

pub(crate) fn epoch_with_stakes(stakes: &[u64], w: u64, election: Election) -> EpochData {
    let parameters = Parameters {
        wave_length: w,
        leaders: stakes.len().min(2) as u32,
        election,
        gc_depth: 64,
    };
    epoch_with(stakes, parameters)
}

pub(crate) fn epoch_with(stakes: &[u64], parameters: Parameters) -> EpochData {
    let coin = parameters.election == Election::Coin;
    let members = (stakes.iter().enumerate())
        .map(|(i, &stake)| Member {
            stake: Stake(stake),
            validator_key: key(i).public_key(),
            share_key: coin.then_some(SharePublicKey([i as u8; 96])),
            node_key: NodePublicKey([i as u8; 32]),
            operator_key: OperatorPublicKey([i as u8; 32]),
        })
        .collect();
    let group = coin.then_some(GroupPublicKey([1; 96]));
    let committee = Committee::new(Epoch(0), members, group).unwrap();
    let chain = ChainId(Domain::Genesis.hash(b"test"));
    let seed = Domain::EpochSeed.hash(b"test");
    let base = (CommitIndex(0), Digest::ZERO);
    EpochData::new(chain, committee, parameters, seed, START, base)
}

/// An epoch of four on another chain.
pub(crate) fn epoch_of_chain(name: &str) -> EpochData {
    let like = epoch(4, 4);
    EpochData::new(
        ChainId(Domain::Genesis.hash(name.as_bytes())),
        like.committee().clone(),
        *like.parameters(),
        *like.seed(),
        like.start(),
        like.base(),
    )
}

/// Whether an item passes the rules of tests: not if it begins with `!`.
pub(crate) fn judge(item: &Item) -> Result<ItemMeta, Rejection> {
    if item.bytes().starts_with(b"!") {
        return Err(Rejection("begins with an exclamation mark".into()));
    }
    Ok(ItemMeta {
        id: TxId(item.digest()),
        client: None,
        nonce: Nonce(0),
        expires: TimeMs(u64::MAX),
    })
}

/// A reference to some vertex.
pub(crate) fn reference(epoch: &EpochData, round: u64, author: u16) -> VertexRef {
    let author = ValidatorIndex(author);
    if round == 0 {
        return epoch.virtual_vertices()[author.as_usize()];
    }
    let name = format!("{author} {round}");
    VertexRef {
        round: Round(round),
        author,
        id: VertexId(Domain::Vertex.hash(name.as_bytes())),
    }
}

/// A valid header with made-up parents of the round before, own first.
pub(crate) fn header(epoch: &EpochData, round: u64, author: u16) -> VertexHeader {
    let n = epoch.committee().len() as u16;
    let others = (0..n).filter(|&i| i != author);
    let parents: Vec<VertexRef> = [author]
        .into_iter()
        .chain(others)
        .map(|i| reference(epoch, round - 1, i))
        .collect();
    header_on(epoch, round, author, parents)
}

/// A header on these parents.
pub(crate) fn header_on(
    epoch: &EpochData,
    round: u64,
    author: u16,
    parents: Vec<VertexRef>,
) -> VertexHeader {
    let due = epoch.coin_due(Round(round)).is_some();
    VertexHeader {
        epoch: epoch.epoch(),
        round: Round(round),
        author: ValidatorIndex(author),
        parents: parents.try_into().unwrap(),
        payload: Payload::default().commitment(),
        coin_share: due.then_some(ThresholdShare([author as u8; 48])),
        end_mark: false,
        timestamp: TimeMs(START.0 + round),
    }
}

/// The encoded vertex, signed by the header's author (by validator 0, if that isn't in the committee).
pub(crate) fn sign(epoch: &EpochData, header: VertexHeader, payload: Payload) -> Bytes {
    let signer = Some(header.author.as_usize()).filter(|&i| i < epoch.committee().len());
    let signature = key(signer.unwrap_or(0)).sign_vertex(&header.id(epoch.chain()));
    let signed = SignedHeader { header, signature };
    violeta_types::encode(&Vertex { signed, payload }).into()
}

/// A vertex of this header and items, signed.
pub(crate) fn vertex_of(
    epoch: &EpochData,
    mut header: VertexHeader,
    items: &[&str],
) -> ValidVertex {
    let item = |text: &&str| Item::Client(Bytes::copy_from_slice(text.as_bytes()));
    let payload = Payload::new(items.iter().map(item).collect()).unwrap();
    header.payload = payload.commitment();
    trust_vertex(&sign(epoch, header, payload), epoch).unwrap()
}

/// A vertex without payload.
pub(crate) fn vertex(
    epoch: &EpochData,
    round: u64,
    author: u16,
    parents: &[VertexRef],
) -> ValidVertex {
    vertex_of(
        epoch,
        header_on(epoch, round, author, parents.to_vec()),
        &[],
    )
}

/// Rounds `1..=upto` in which each of `authors` links each of them.
pub(crate) fn layers(epoch: &EpochData, authors: &[u16], upto: u64) -> Vec<Vec<ValidVertex>> {
    let mut before: Vec<VertexRef> = epoch.virtual_vertices().to_vec();
    let mut layers = Vec::new();
    for round in 1..=upto {
        let layer: Vec<ValidVertex> = (authors.iter())
            .map(|&author| vertex(epoch, round, author, &own_first(author, &before)))
            .collect();
        before = layer.iter().map(|vertex| *vertex.reference()).collect();
        layers.push(layer);
    }
    layers
}

/// The same parents, the author's own first.
pub(crate) fn own_first(author: u16, parents: &[VertexRef]) -> Vec<VertexRef> {
    let mut parents = parents.to_vec();
    parents.sort_by_key(|parent| (parent.author != ValidatorIndex(author), parent.author));
    parents
}
