//! Validity (consensus.md §2): from bytes to [`ValidVertex`].
//!
//! ```text
//!  bytes ── form ── V1 ── V3 V4 V5 ── V7 ── V6: limits, root ── V2 ── V6: Rules ──▶ ValidVertex
//!           decode  epoch  parents     coin       payload       signature  items
//! ```
//!
//! Valid is a function of the bytes and the epoch's data alone: no graph, no clock, no state. Cheap checks come
//! first. Whatever fails is its *sender's* fault: it never marks an id as invalid, else a corrupted copy, sent
//! first, would censor a vertex (§1). Timestamps are no validity matter, nor is whether a coin share is a good one.

use std::sync::Arc;

use bytes::Bytes;
use violeta_types::codec::decode_prefix;
use violeta_types::{
    DecodeError, Payload, Round, SignedHeader, StakeTally, ValidatorIndex, ValidatorSignature,
    Vertex, VertexHeader, VertexRef,
};

use crate::epoch::EpochData;
use crate::rules::{ItemMeta, Rejection, Rules};

/// Why bytes aren't a valid vertex, by the rule that they break.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Not the canonical encoding of a vertex within the limits.
    #[error("not the canonical encoding of a vertex: {0}")]
    Form(#[from] DecodeError),
    /// V1: another epoch, round 0, or an author that isn't in the committee.
    #[error("V1: epoch, round or author {0} doesn't belong here")]
    Place(ValidatorIndex),
    /// V2: the signature isn't the author's over the id.
    #[error("V2: not signed by validator {0}")]
    Signature(ValidatorIndex),
    /// V3: two parents of one author, or a parent whose round isn't allowed.
    #[error("V3: parent {0:?} is one of two by its author, unknown, of no lower round, or too old")]
    Parent(VertexRef),
    /// V4: the first parent isn't the author's own previous vertex.
    #[error("V4: the first parent isn't the author's own previous vertex")]
    OwnPrevious,
    /// V5: no quorum among the parents of the round before.
    #[error("V5: parents of round {0} come from less than a quorum")]
    Quorum(Round),
    /// V6: the payload doesn't match what the header says of it.
    #[error("V6: the payload isn't the one that the header names")]
    Payload,
    /// V6: an item isn't well formed by the machine's rules.
    #[error("V6: item {index} is not well formed: {rejection}")]
    Item {
        /// Which.
        index: usize,
        /// Why.
        rejection: Rejection,
    },
    /// V7: a coin share is missing or not due.
    #[error("V7: a coin share is missing, or there where none is due")]
    CoinShare,
}

#[derive(Debug)]
struct Head {
    reference: VertexRef,
    signed: SignedHeader,
}

#[derive(Debug)]
struct Body {
    bytes: Bytes,
    payload: Payload,
    metas: Vec<ItemMeta>,
}

/// A header that was judged together with its payload. What the graph keeps once the payload may go.
#[derive(Clone, Debug)]
pub(crate) struct ValidHead(Arc<Head>);

impl ValidHead {
    pub(crate) fn reference(&self) -> &VertexRef {
        &self.0.reference
    }

    pub(crate) fn header(&self) -> &VertexHeader {
        &self.0.signed.header
    }

    pub(crate) fn signed(&self) -> &SignedHeader {
        &self.0.signed
    }
}

/// A vertex judged valid. Only [`check_vertex`] and [`trust_vertex`] make one. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ValidVertex {
    head: ValidHead,
    body: Arc<Body>,
}

impl ValidVertex {
    /// Names it.
    pub fn reference(&self) -> &VertexRef {
        self.head.reference()
    }

    /// All of it but signature and items.
    pub fn header(&self) -> &VertexHeader {
        self.head.header()
    }

    /// Its author's signature over the id.
    pub fn signature(&self) -> &ValidatorSignature {
        &self.head.signed().signature
    }

    /// Header and signature.
    pub fn signed_header(&self) -> &SignedHeader {
        self.head.signed()
    }

    /// The full canonical encoding, shared.
    pub fn bytes(&self) -> &Bytes {
        &self.body.bytes
    }

    /// The items; they share the encoding's buffer.
    pub fn payload(&self) -> &Payload {
        &self.body.payload
    }

    /// What [`Rules`] said of each item. Empty for a vertex of [`trust_vertex`], until
    /// [`with_metas`](Self::with_metas).
    pub fn metas(&self) -> &[ItemMeta] {
        &self.body.metas
    }

    /// The same vertex with what is known of its items, for the vertex that this validator has just made.
    ///
    /// # Panics
    /// If there isn't one for each item.
    #[must_use]
    pub fn with_metas(self, metas: Vec<ItemMeta>) -> Self {
        assert_eq!(
            metas.len(),
            self.payload().items().len(),
            "one meta an item"
        );
        let body = Body {
            bytes: self.body.bytes.clone(),
            payload: self.body.payload.clone(),
            metas,
        };
        ValidVertex {
            head: self.head,
            body: Arc::new(body),
        }
    }

    pub(crate) fn head(&self) -> &ValidHead {
        &self.head
    }
}

/// Judges bytes from outside: V1–V7. Pure; any thread.
///
/// # Errors
/// The first rule that they break.
pub fn check_vertex(
    bytes: &Bytes,
    epoch: &EpochData,
    rules: &dyn Rules,
) -> Result<ValidVertex, Invalid> {
    let (reference, vertex) = check_bytes(bytes, epoch)?;
    check_signature(epoch, &reference, &vertex.signed.signature)?;
    let items = vertex.payload.items();
    let verdicts = rules.check(items);
    assert_eq!(verdicts.len(), items.len(), "rules judge every item");
    let metas = (verdicts.into_iter().enumerate())
        .map(|(index, verdict)| verdict.map_err(|rejection| Invalid::Item { index, rejection }))
        .collect::<Result<_, _>>()?;
    Ok(assemble(bytes, reference, vertex, metas))
}

/// Takes a vertex from one's own journal, from one's own hand, or from commits up to a certified head, on whose
/// validity a quorum has given its word: V1, V3–V5, V7 and the payload's root are checked, signature and items
/// aren't, and [`ValidVertex::metas`] is empty.
///
/// # Errors
/// The first rule that the bytes break.
pub fn trust_vertex(bytes: &Bytes, epoch: &EpochData) -> Result<ValidVertex, Invalid> {
    let (reference, vertex) = check_bytes(bytes, epoch)?;
    Ok(assemble(bytes, reference, vertex, Vec::new()))
}

/// Names what bytes claim to be, without judging any of it: only good to look whether that vertex is here already.
/// None if they don't begin with a header.
pub(crate) fn claimed_reference(bytes: &Bytes, epoch: &EpochData) -> Option<VertexRef> {
    let signed: SignedHeader = decode_prefix(&mut &bytes[..]).ok()?;
    Some(signed.header.vertex_ref(epoch.chain()))
}

fn assemble(
    bytes: &Bytes,
    reference: VertexRef,
    vertex: Vertex,
    metas: Vec<ItemMeta>,
) -> ValidVertex {
    let head = Head {
        reference,
        signed: vertex.signed,
    };
    let body = Body {
        bytes: bytes.clone(),
        payload: vertex.payload,
        metas,
    };
    ValidVertex {
        head: ValidHead(Arc::new(head)),
        body: Arc::new(body),
    }
}

/// All that needs neither keys nor rules.
fn check_bytes(bytes: &Bytes, epoch: &EpochData) -> Result<(VertexRef, Vertex), Invalid> {
    let vertex = Vertex::decode(bytes)?;
    let header = &vertex.signed.header;
    check_place(header, epoch)?;
    check_parents(header, epoch)?;
    // V7.
    if header.coin_share.is_some() != epoch.coin_due(header.round).is_some() {
        return Err(Invalid::CoinShare);
    }
    // V6, first half. The limits were checked in decoding.
    if vertex.payload.commitment() != header.payload {
        return Err(Invalid::Payload);
    }
    // V1, the chain: the id binds it, so the signature speaks for one chain only.
    let reference = header.vertex_ref(epoch.chain());
    Ok((reference, vertex))
}

/// V1.
fn check_place(header: &VertexHeader, epoch: &EpochData) -> Result<(), Invalid> {
    let known = epoch.committee().member(header.author).is_some();
    if header.epoch != epoch.epoch() || header.round < Round(1) || !known {
        return Err(Invalid::Place(header.author));
    }
    Ok(())
}

/// V2. The one place of this crate where a validator's signature is checked.
pub(crate) fn check_signature(
    epoch: &EpochData,
    reference: &VertexRef,
    signature: &ValidatorSignature,
) -> Result<(), Invalid> {
    let invalid = Invalid::Signature(reference.author);
    let member = (epoch.committee().member(reference.author)).ok_or(invalid.clone())?;
    violeta_crypto::signing::verify_vertex(&member.validator_key, &reference.id, signature)
        .map_err(|_| invalid)
}

/// V3, V4, V5.
fn check_parents(header: &VertexHeader, epoch: &EpochData) -> Result<(), Invalid> {
    let own = header.parents.first().ok_or(Invalid::OwnPrevious)?;
    if own.author != header.author {
        return Err(Invalid::OwnPrevious);
    }
    let oldest = header.round.back(epoch.gc_depth());
    let (mut authors, mut before) = (StakeTally::default(), StakeTally::default());
    for (position, parent) in header.parents.iter().enumerate() {
        let once = authors.add(epoch.committee(), parent.author);
        let known = parent.round > Round(0) || epoch.is_virtual(parent);
        let recent = position == 0 || parent.round >= oldest;
        if !once || !known || !recent || parent.round >= header.round {
            return Err(Invalid::Parent(*parent));
        }
        if parent.round.next() == header.round {
            before.add(epoch.committee(), parent.author);
        }
    }
    if !before.is_quorum(epoch.committee()) {
        return Err(Invalid::Quorum(header.round.back(1)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use violeta_types::{Domain, Election, Epoch, Item, ThresholdShare, TimeMs, VertexId};

    use super::*;
    use crate::fixture;

    /// Refuses what begins with `!`.
    struct TestRules;

    impl Rules for TestRules {
        fn check(&self, items: &[Item]) -> Vec<Result<ItemMeta, Rejection>> {
            items.iter().map(fixture::judge).collect()
        }
    }

    fn header(epoch: &EpochData, round: u64) -> VertexHeader {
        fixture::header(epoch, round, 1)
    }

    fn check(epoch: &EpochData, header: VertexHeader) -> Result<ValidVertex, Invalid> {
        let bytes = fixture::sign(epoch, header, Payload::default());
        check_vertex(&bytes, epoch, &TestRules)
    }

    fn edit(round: u64, edit: impl FnOnce(&mut VertexHeader, &EpochData)) -> Option<Invalid> {
        let epoch = fixture::epoch(4, 4);
        let mut header = header(&epoch, round);
        edit(&mut header, &epoch);
        check(&epoch, header).err()
    }

    /// Edits the parents.
    fn parents(round: u64, change: impl FnOnce(&mut Vec<VertexRef>)) -> Option<Invalid> {
        edit(round, |header, _| {
            let mut parents = std::mem::take(&mut header.parents).into_inner();
            change(&mut parents);
            header.parents = parents.try_into().unwrap();
        })
    }

    #[test]
    fn a_good_vertex_is_valid_and_says_what_it_is() {
        let epoch = fixture::epoch(4, 4);
        let payload = Payload::new(vec![Item::Client("a".into()), Item::System("b".into())]);
        let mut header = header(&epoch, 70);
        let payload = payload.unwrap();
        header.payload = payload.commitment();
        let bytes = fixture::sign(&epoch, header.clone(), payload.clone());
        let vertex = check_vertex(&bytes, &epoch, &TestRules).unwrap();
        assert_eq!(vertex.reference(), &header.vertex_ref(epoch.chain()));
        assert_eq!(vertex.header(), &header);
        assert_eq!(vertex.bytes(), &bytes);
        assert_eq!(vertex.payload(), &payload);
        assert_eq!(vertex.metas().len(), 2);
        let trusted = trust_vertex(&bytes, &epoch).unwrap();
        assert_eq!(trusted.reference(), vertex.reference());
        assert!(trusted.metas().is_empty());
        let item = payload.items()[0].bytes();
        let shared = vertex.payload().items()[0].bytes();
        assert_eq!(item, shared);
        assert!(bytes.as_ptr_range().contains(&shared.as_ptr()), "no copy");
    }

    #[test]
    fn v1_another_epoch_round_0_or_a_stranger() {
        let place = |i| Some(Invalid::Place(ValidatorIndex(i)));
        assert_eq!(edit(5, |h, _| h.epoch = Epoch(1)), place(1));
        assert_eq!(edit(5, |h, _| h.round = Round(0)), place(1));
        assert_eq!(edit(5, |h, _| h.author = ValidatorIndex(4)), place(4));
    }

    #[test]
    fn v1_another_chain() {
        let epoch = fixture::epoch(4, 4);
        let other = fixture::epoch_of_chain("another");
        let bytes = fixture::sign(&epoch, header(&epoch, 5), Payload::default());
        let verdict = check_vertex(&bytes, &other, &TestRules);
        assert_eq!(verdict.err(), Some(Invalid::Signature(ValidatorIndex(1))));
    }

    #[test]
    fn v2_a_bad_signature_and_a_reencoded_one_keep_the_id() {
        let epoch = fixture::epoch(4, 4);
        let good = fixture::sign(&epoch, header(&epoch, 5), Payload::default());
        let mut vertex = Vertex::decode(&good).unwrap();
        vertex.signed.signature.0[3] ^= 1;
        let bad = Bytes::from(violeta_types::encode(&vertex));
        let verdict = check_vertex(&bad, &epoch, &TestRules);
        assert_eq!(verdict.err(), Some(Invalid::Signature(ValidatorIndex(1))));
        // The corrupted copy, sent first, doesn't censor the vertex.
        assert!(check_vertex(&good, &epoch, &TestRules).is_ok());
        let id = |bytes| *trust_vertex(bytes, &epoch).unwrap().reference();
        assert_eq!(id(&good), id(&bad));
    }

    #[test]
    fn v3_two_parents_of_one_author() {
        let verdict = parents(5, |parents| {
            let mut twin = parents[1];
            twin.id = VertexId(Domain::Vertex.hash(b"twin"));
            parents.push(twin);
        });
        assert!(matches!(verdict, Some(Invalid::Parent(_))));
    }

    #[test]
    fn v3_a_parent_of_no_lower_round_or_by_a_stranger() {
        for round in [5, 6] {
            let verdict = parents(5, |parents| parents[2].round = Round(round));
            assert!(matches!(verdict, Some(Invalid::Parent(_))));
        }
        let verdict = parents(5, |parents| parents[2].author = ValidatorIndex(9));
        assert!(matches!(verdict, Some(Invalid::Parent(_))));
    }

    #[test]
    fn v3_a_parent_older_than_g_unless_it_is_the_own_previous() {
        let g = 64;
        for (position, age, good) in [(3, g, true), (3, g + 1, false), (0, g + 1, true)] {
            let verdict = parents(100, |parents| parents[position].round = Round(100 - age));
            assert_eq!(
                verdict.is_none(),
                good,
                "parent {position}, {age} rounds back"
            );
        }
    }

    #[test]
    fn v3_round_0_is_known_by_its_references() {
        assert_eq!(parents(1, |_| ()), None);
        let verdict = parents(1, |parents| {
            parents[2].id = VertexId(Domain::Vertex.hash(b"made up"))
        });
        assert!(matches!(verdict, Some(Invalid::Parent(_))));
        let verdict = parents(1, |parents| parents[0].id.0.0[0] ^= 1);
        assert!(matches!(verdict, Some(Invalid::Parent(_))));
    }

    #[test]
    fn v4_the_own_previous_comes_first() {
        assert_eq!(parents(5, |p| p.swap(0, 1)), Some(Invalid::OwnPrevious));
        assert_eq!(parents(5, |p| p.clear()), Some(Invalid::OwnPrevious));
        assert_eq!(parents(5, |p| p.rotate_left(1)), Some(Invalid::OwnPrevious));
    }

    #[test]
    fn v5_parents_of_the_round_before_come_from_a_quorum() {
        let quorum = Some(Invalid::Quorum(Round(4)));
        assert_eq!(parents(5, |p| p.truncate(3)), None);
        assert_eq!(parents(5, |p| p.truncate(2)), quorum);
        // The own previous counts only if it is of the round before.
        let old_own = |parents: &mut Vec<VertexRef>| {
            parents[0].round = Round(3);
            parents.truncate(3);
        };
        assert_eq!(parents(5, old_own), quorum);
    }

    #[test]
    fn v5_counts_stake() {
        let epoch = fixture::epoch_with_stakes(&[1, 1, 1, 7], 4, Election::Seeded);
        let mut light = header(&epoch, 5);
        light.parents = light.parents[..3].to_vec().try_into().unwrap();
        let verdict = check(&epoch, light).err();
        assert_eq!(verdict, Some(Invalid::Quorum(Round(4))), "3 of 10 stakes");
        assert!(check(&epoch, header(&epoch, 5)).is_ok());
    }

    #[test]
    fn v6_a_payload_other_than_the_headers() {
        let epoch = fixture::epoch(4, 4);
        let payload = Payload::new(vec![Item::Client("a".into())]).unwrap();
        let bytes = fixture::sign(&epoch, header(&epoch, 5), payload);
        let verdict = check_vertex(&bytes, &epoch, &TestRules);
        assert_eq!(verdict.err(), Some(Invalid::Payload));
        assert_eq!(edit(5, |h, _| h.payload.bytes += 1), Some(Invalid::Payload));
        assert_eq!(edit(5, |h, _| h.payload.count += 1), Some(Invalid::Payload));
    }

    #[test]
    fn v6_an_item_that_the_rules_refuse() {
        let epoch = fixture::epoch(4, 4);
        let payload = Payload::new(vec![Item::Client("a".into()), Item::Client("!".into())]);
        let payload = payload.unwrap();
        let mut header = header(&epoch, 5);
        header.payload = payload.commitment();
        let bytes = fixture::sign(&epoch, header, payload);
        let verdict = check_vertex(&bytes, &epoch, &TestRules);
        assert!(matches!(
            verdict.err(),
            Some(Invalid::Item { index: 1, .. })
        ));
        assert!(
            trust_vertex(&bytes, &epoch).is_ok(),
            "a quorum vouched for it"
        );
    }

    #[test]
    fn v7_a_share_exactly_when_due() {
        let share = Some(ThresholdShare([1; 48]));
        assert_eq!(
            edit(3, |h, _| h.coin_share = share),
            Some(Invalid::CoinShare)
        );
        assert_eq!(
            edit(4, |h, _| h.coin_share = None),
            Some(Invalid::CoinShare)
        );
        assert_eq!(edit(4, |h, _| h.coin_share = share), None, "good or not");
    }

    #[test]
    fn timestamps_are_no_validity_matter() {
        assert_eq!(edit(5, |h, _| h.timestamp = TimeMs(u64::MAX)), None);
        assert_eq!(edit(5, |h, _| h.timestamp = TimeMs(0)), None);
    }

    #[test]
    fn bytes_that_are_no_vertex() {
        let epoch = fixture::epoch(4, 4);
        let good = fixture::sign(&epoch, header(&epoch, 5), Payload::default());
        for end in 0..good.len() {
            let verdict = check_vertex(&good.slice(..end), &epoch, &TestRules);
            assert!(matches!(verdict, Err(Invalid::Form(_))), "cut at {end}");
        }
        let mut longer = good.to_vec();
        longer.push(0);
        let verdict = check_vertex(&longer.into(), &epoch, &TestRules);
        assert!(matches!(verdict, Err(Invalid::Form(_))));
    }

    #[test]
    fn no_flipped_bit_goes_unseen() {
        let epoch = fixture::epoch(4, 4);
        let good = fixture::sign(&epoch, header(&epoch, 5), Payload::default());
        for at in 0..good.len() {
            let mut bad = good.to_vec();
            bad[at] ^= 1 << (at % 8);
            assert!(
                check_vertex(&bad.into(), &epoch, &TestRules).is_err(),
                "byte {at}"
            );
        }
    }
}
