//! A puppet: a validator without a replica. It follows the graph, and makes the vertices that its puppeteer wants.
//!
//! - upon vertices: they are kept, by round and author; nothing about them is checked.
//! - upon a quorum of round r − 1: the vertices of round r are made, one or several; each links one's own of the round
//!   before (any of them) and, for each other author, any of its vertices there.
//! - upon a request: what is asked for is sent, now and then.
//!
//! It makes no round that nobody else is near to, so it can't drive the graph by itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use violeta_consensus::{EpochData, Message as Graph};
use violeta_crypto::threshold::{ShareSigner, ThresholdMessage};
use violeta_crypto::{MockThreshold, ValidatorSecretKey};
use violeta_replica::Message;
use violeta_types::{
    Item, Payload, Round, SignedHeader, TimeMs, ValidatorIndex, Vertex, VertexHeader, VertexRef,
    encode,
};

use crate::dice::Dice;

/// Rounds that are kept: more than any puppet needs to follow.
const ROUNDS_KEPT: u64 = 64;
/// Items remembered from others' vertices.
const ITEMS_SEEN_MAX: usize = 256;
/// Variants of one slot that are remembered.
const VARIANTS_MAX: usize = 8;

/// What a puppet is made to do.
pub(crate) trait Puppeteer {
    /// How many vertices it makes in a round.
    fn variants(&mut self, dice: &mut Dice) -> usize;
    /// Whether it shows one of them to a validator.
    fn shows(
        &mut self,
        dice: &mut Dice,
        variant: usize,
        variants: usize,
        to: ValidatorIndex,
    ) -> bool;
    /// What a vertex carries, given items of others.
    fn items(&mut self, dice: &mut Dice, seen: &[Item]) -> Vec<Item>;
}

/// A message of a puppet's.
pub(crate) type Outgoing = (ValidatorIndex, Bytes);

type Slot = Vec<(VertexRef, Bytes)>;

/// See the module.
pub(crate) struct Puppet {
    me: ValidatorIndex,
    key: ValidatorSecretKey,
    epoch: Arc<EpochData>,
    threshold: MockThreshold,
    puppeteer: Box<dyn Puppeteer>,
    dice: Dice,
    slots: BTreeMap<Round, BTreeMap<ValidatorIndex, Slot>>,
    seen: Vec<Item>,
    round: Round,
    /// It makes no more vertices.
    tired: bool,
}

impl Puppet {
    pub(crate) fn new(
        me: ValidatorIndex,
        key: ValidatorSecretKey,
        epoch: Arc<EpochData>,
        threshold: MockThreshold,
        puppeteer: Box<dyn Puppeteer>,
        dice: Dice,
    ) -> Self {
        let mut first: BTreeMap<ValidatorIndex, Slot> = BTreeMap::new();
        for reference in epoch.virtual_vertices() {
            first.insert(reference.author, vec![(*reference, Bytes::new())]);
        }
        Puppet {
            me,
            key,
            epoch,
            threshold,
            puppeteer,
            dice,
            slots: BTreeMap::from([(Round(0), first)]),
            seen: Vec::new(),
            round: Round(0),
            tired: false,
        }
    }

    /// Makes no more vertices; goes on answering.
    pub(crate) fn rest(&mut self) {
        self.tired = true;
    }

    /// Takes a message; says what the puppet sends.
    pub(crate) fn receive(
        &mut self,
        from: ValidatorIndex,
        bytes: &Bytes,
        wall: TimeMs,
    ) -> Vec<Outgoing> {
        match Message::decode(bytes) {
            Ok(Message::Consensus(Graph::Vertices(vertices))) => {
                for bytes in vertices {
                    self.keep(&bytes);
                }
                self.advance(wall)
            }
            Ok(Message::Consensus(Graph::Request(request))) => {
                let wanted: Vec<VertexRef> = request.wanted.iter().copied().collect();
                self.answer(from, &wanted)
            }
            _ => Vec::new(),
        }
    }

    fn keep(&mut self, bytes: &Bytes) {
        let Ok(vertex) = Vertex::decode(bytes) else {
            return;
        };
        let reference = vertex.signed.header.vertex_ref(self.epoch.chain());
        let near = reference.round.0 + ROUNDS_KEPT > self.round.0;
        let known = self.epoch.committee().member(reference.author).is_some();
        if !known || !near || reference.author == self.me {
            return;
        }
        for item in vertex.payload.into_items() {
            if self.seen.len() < ITEMS_SEEN_MAX && !self.seen.contains(&item) {
                self.seen.push(item);
            }
        }
        self.place(reference, bytes.clone());
    }

    fn place(&mut self, reference: VertexRef, bytes: Bytes) {
        let slot = self.slots.entry(reference.round).or_default();
        let slot = slot.entry(reference.author).or_default();
        if slot.len() < VARIANTS_MAX && slot.iter().all(|(known, _)| *known != reference) {
            slot.push((reference, bytes));
        }
    }

    fn answer(&mut self, to: ValidatorIndex, wanted: &[VertexRef]) -> Vec<Outgoing> {
        if self.dice.chance(300) {
            return Vec::new();
        }
        let find = |reference: &VertexRef| {
            let slot = self.slots.get(&reference.round)?.get(&reference.author)?;
            let (_, bytes) = slot.iter().find(|(known, _)| known == reference)?;
            (!bytes.is_empty()).then(|| bytes.clone())
        };
        let found: Vec<Bytes> = wanted.iter().filter_map(find).collect();
        match found.is_empty() {
            true => Vec::new(),
            false => vec![(to, Message::Consensus(Graph::Vertices(found)).to_bytes())],
        }
    }

    /// Makes the vertices of every round that can be made, in turn.
    fn advance(&mut self, wall: TimeMs) -> Vec<Outgoing> {
        let mut out = Vec::new();
        while !self.tired && self.may_enter(self.round.next()) {
            self.round = self.round.next();
            out.extend(self.make(self.round, wall));
            let lowest = self.round.back(ROUNDS_KEPT);
            self.slots.retain(|round, _| *round >= lowest);
        }
        out
    }

    /// Whether a quorum of the round before is here, and somebody else is in this round or it is the first one free.
    fn may_enter(&self, round: Round) -> bool {
        let quorum = self.epoch.committee().share_threshold();
        let authors = self.slots.get(&round.back(1)).map_or(0, BTreeMap::len);
        authors >= quorum && self.slots.contains_key(&round)
    }

    fn make(&mut self, round: Round, wall: TimeMs) -> Vec<Outgoing> {
        let variants = self.puppeteer.variants(&mut self.dice);
        let mut made = Vec::new();
        for _ in 0..variants {
            if let Some((reference, bytes)) = self.vertex(round, wall) {
                self.place(reference, bytes.clone());
                made.push(bytes);
            }
        }
        let mut out = Vec::new();
        for to in self.epoch.committee().indices().filter(|to| *to != self.me) {
            for (variant, bytes) in made.iter().enumerate() {
                if self
                    .puppeteer
                    .shows(&mut self.dice, variant, made.len(), to)
                {
                    let message = Message::Consensus(Graph::Vertices(vec![bytes.clone()]));
                    out.push((to, message.to_bytes()));
                }
            }
        }
        out
    }

    fn vertex(&mut self, round: Round, wall: TimeMs) -> Option<(VertexRef, Bytes)> {
        let parents = self.parents(round)?;
        let items = self.puppeteer.items(&mut self.dice, &self.seen);
        let payload = Payload::new(items).ok()?;
        let header = VertexHeader {
            epoch: self.epoch.epoch(),
            round,
            author: self.me,
            parents: parents.try_into().ok()?,
            payload: payload.commitment(),
            coin_share: self.epoch.coin_due(round).map(|coin| {
                let message = ThresholdMessage::coin(self.epoch.chain(), self.epoch.epoch(), coin);
                self.threshold.signer(self.me).share(&message)
            }),
            end_mark: false,
            timestamp: self.timestamp(wall),
        };
        let reference = header.vertex_ref(self.epoch.chain());
        let signature = self.key.sign_vertex(&reference.id);
        let signed = SignedHeader { header, signature };
        Some((reference, encode(&Vertex { signed, payload }).into()))
    }

    /// Own previous first, then any vertex of each other author, or of a quorum of them.
    fn parents(&mut self, round: Round) -> Option<Vec<VertexRef>> {
        let before = self.slots.get(&round.back(1))?;
        let own = match before.get(&self.me) {
            Some(slot) => self.dice.pick(slot).0,
            None => return None,
        };
        let mut others: Vec<ValidatorIndex> = before
            .keys()
            .copied()
            .filter(|author| *author != self.me)
            .collect();
        let quorum = self.epoch.committee().share_threshold();
        if self.dice.coin() && others.len() + 1 > quorum {
            others = self.dice.sample(&others, quorum - 1);
        }
        let mut parents = vec![own];
        for author in others {
            parents.push(self.dice.pick(&before[&author]).0);
        }
        Some(parents)
    }

    /// Mostly the truth; now and then far behind it, or ahead.
    fn timestamp(&mut self, wall: TimeMs) -> TimeMs {
        match self.dice.below(20) {
            0 => TimeMs(0),
            1 => TimeMs(wall.0 + self.dice.below(5_000)),
            _ => wall,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cast::Cast;
    use violeta_consensus::trust_vertex;
    use violeta_types::Parameters;

    struct Twins;

    impl Puppeteer for Twins {
        fn variants(&mut self, _: &mut Dice) -> usize {
            2
        }
        fn shows(&mut self, _: &mut Dice, variant: usize, _: usize, to: ValidatorIndex) -> bool {
            usize::from(to.0) % 2 == variant
        }
        fn items(&mut self, dice: &mut Dice, _: &[Item]) -> Vec<Item> {
            vec![Item::Client(Bytes::copy_from_slice(&dice.bytes()))]
        }
    }

    fn puppet(cast: &Cast, who: u16, puppeteer: Box<dyn Puppeteer>) -> Puppet {
        let who = ValidatorIndex(who);
        let (key, epoch) = (cast.validator_key(who), cast.epoch.clone());
        Puppet::new(
            who,
            key,
            epoch,
            cast.threshold.clone(),
            puppeteer,
            Dice::new(1),
        )
    }

    #[test]
    fn a_puppet_follows_with_valid_twins_of_which_each_side_sees_one() {
        let cast = Cast::new(4, Parameters::for_validators(4), 1, Dice::new(1));
        let mut liar = puppet(&cast, 3, Box::new(Twins));
        let mut other = puppet(&cast, 0, Box::new(Twins));
        // Somebody must be in round 1 before the liar is.
        let (_, bytes) = other.vertex(Round(1), TimeMs(5)).unwrap();
        let message = Message::Consensus(Graph::Vertices(vec![bytes])).to_bytes();
        let out = liar.receive(ValidatorIndex(0), &message, TimeMs(5));
        let to: Vec<u16> = out.iter().map(|(to, _)| to.0).collect();
        assert_eq!(to, [0, 1, 2]);
        let vertices: Vec<Bytes> = out
            .iter()
            .map(|(_, bytes)| match Message::decode(bytes) {
                Ok(Message::Consensus(Graph::Vertices(mut vertices))) => vertices.remove(0),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(vertices[0], vertices[2], "one side");
        assert_ne!(vertices[0], vertices[1], "and the other");
        for bytes in &vertices {
            let vertex = trust_vertex(bytes, &cast.epoch).unwrap();
            assert_eq!(vertex.reference().author, ValidatorIndex(3));
        }
        assert!(
            liar.receive(ValidatorIndex(0), &message, TimeMs(5))
                .is_empty(),
            "once a round"
        );
    }
}
