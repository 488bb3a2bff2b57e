//! What validators say to one another about the graph (consensus.md §3, §8, §9), and its encoding.
//!
//! ```text
//!  message   = tag: u8 ‖ body
//!  0 vertices  count: u32 ‖ (length: u32 ‖ encoded vertex) …     at most MESSAGE_VERTICES_MAX
//!  1 request   refs ‖ frontier                                   bounded borsh, like all that follow
//!  2 frontier  frontier ‖ exposed: u128
//!  3 evidence  signed header ‖ signed header
//!  4 pruned    round: u64
//!  5 question  nonce: 32 bytes                                 who lost its journal asks
//!  6 answer    nonce ‖ ref ‖ option of a ref
//! ```
//!
//! Decoding shares the buffer: no payload is copied.

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::{Buf, Bytes};
use violeta_types::limits::{MESSAGE_BYTES_MAX, VALIDATORS_MAX, VERTEX_BYTES_MAX};
use violeta_types::{Bounded, DecodeError, Round, VertexRef, codec, decode};

use crate::evidence::UncheckedEvidence;
use crate::limits::{MESSAGE_VERTICES_MAX, REQUEST_REFS_MAX};

/// A message of the graph's protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Encoded vertices. Whoever receives them judges each ([`check_vertex`](crate::check_vertex)) and hands the core
    /// the valid ones as [`Event::Vertex`](crate::Event::Vertex), in order.
    Vertices(Vec<Bytes>),
    /// Asks for vertices.
    Request(Request),
    /// The heartbeat's part of the graph.
    Frontier(Frontier),
    /// Proof of an equivocation.
    Evidence(UncheckedEvidence),
    /// Answers a request: the sender holds nothing below this round any more; who needs it must catch up by commits.
    Pruned(Round),
    /// The sender has lost its journal, and asks for the newest vertices (§9).
    RejoinQuestion(RejoinNonce),
    /// Answers it.
    RejoinAnswer(RejoinAnswer),
}

/// Asks for vertices: those named, and, lowest round first, those above the frontier.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Request {
    /// Wanted by name.
    pub wanted: Bounded<VertexRef, REQUEST_REFS_MAX>,
    /// The highest round accepted of each author: what lies above is wanted too. None: only what is named.
    pub above: Option<Bounded<Round, VALIDATORS_MAX>>,
}

/// How far one's graph reaches.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Frontier {
    /// The highest round accepted of each author.
    pub rounds: Bounded<Round, VALIDATORS_MAX>,
    /// Bit `i`: evidence against validator `i` is held. Who holds more sends it.
    pub exposed: u128,
}

/// Names the life that asks: drawn at its start, from true randomness, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RejoinNonce(pub [u8; 32]);

/// What a validator says to one that lost its journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RejoinAnswer {
    /// The question's.
    pub nonce: RejoinNonce,
    /// The newest vertex of the one that answers: a virtual one if it has made none.
    pub newest: VertexRef,
    /// The newest vertex of the one that asks that is held, if one is.
    pub of_asker: Option<VertexRef>,
}

const VERTICES: u8 = 0;
const REQUEST: u8 = 1;
const FRONTIER: u8 = 2;
const EVIDENCE: u8 = 3;
const PRUNED: u8 = 4;
const REJOIN_QUESTION: u8 = 5;
const REJOIN_ANSWER: u8 = 6;

impl Message {
    /// The encoding.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.len_hint());
        match self {
            Message::Vertices(vertices) => {
                assert!(vertices.len() <= MESSAGE_VERTICES_MAX);
                out.push(VERTICES);
                out.extend_from_slice(&(vertices.len() as u32).to_le_bytes());
                for bytes in vertices {
                    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
                    out.extend_from_slice(bytes);
                }
            }
            Message::Request(request) => tagged(REQUEST, request, &mut out),
            Message::Frontier(frontier) => tagged(FRONTIER, frontier, &mut out),
            Message::Evidence(evidence) => tagged(EVIDENCE, evidence, &mut out),
            Message::Pruned(floor) => tagged(PRUNED, floor, &mut out),
            Message::RejoinQuestion(nonce) => tagged(REJOIN_QUESTION, nonce, &mut out),
            Message::RejoinAnswer(answer) => tagged(REJOIN_ANSWER, answer, &mut out),
        }
        out.into()
    }

    fn len_hint(&self) -> usize {
        match self {
            Message::Vertices(vertices) => {
                5 + vertices.iter().map(|bytes| 4 + bytes.len()).sum::<usize>()
            }
            _ => 256,
        }
    }

    /// Decodes a message; vertices share `bytes`.
    ///
    /// # Errors
    /// If the bytes aren't the canonical encoding of a message within the limits.
    pub fn decode(bytes: &Bytes) -> Result<Self, DecodeError> {
        let fail = |reason: &str| DecodeError::new("message", reason);
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(fail("too long"));
        }
        let (&tag, rest) = bytes.split_first().ok_or_else(|| fail("empty"))?;
        match tag {
            VERTICES => decode_vertices(bytes.slice(1..)).map(Message::Vertices),
            REQUEST => decode(rest).map(Message::Request),
            FRONTIER => decode(rest).map(Message::Frontier),
            EVIDENCE => decode(rest).map(Message::Evidence),
            PRUNED => decode(rest).map(Message::Pruned),
            REJOIN_QUESTION => decode(rest).map(Message::RejoinQuestion),
            REJOIN_ANSWER => decode(rest).map(Message::RejoinAnswer),
            _ => Err(fail("unknown tag")),
        }
    }
}

fn tagged<T: BorshSerialize>(tag: u8, body: &T, out: &mut Vec<u8>) {
    out.push(tag);
    codec::encode_into(body, out);
}

fn decode_vertices(mut bytes: Bytes) -> Result<Vec<Bytes>, DecodeError> {
    let fail = |reason: &str| DecodeError::new("vertices", reason);
    let read_len = |bytes: &mut Bytes| {
        bytes
            .try_get_u32_le()
            .map(|len| len as usize)
            .map_err(|_| fail("cut short"))
    };
    let count = read_len(&mut bytes)?;
    if count > MESSAGE_VERTICES_MAX {
        return Err(fail("too many"));
    }
    let mut vertices = Vec::with_capacity(count);
    for _ in 0..count {
        let len = read_len(&mut bytes)?;
        if len > VERTEX_BYTES_MAX || len > bytes.len() {
            return Err(fail("a vertex is too long or cut short"));
        }
        vertices.push(bytes.split_to(len));
    }
    if !bytes.is_empty() {
        return Err(fail("bytes too many"));
    }
    Ok(vertices)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use proptest::prelude::*;

    fn messages() -> Vec<Message> {
        let epoch = fixture::epoch(4, 4);
        let nonce = RejoinNonce([6; 32]);
        let rounds = || {
            vec![Round(3), Round(9), Round(0), Round(7)]
                .try_into()
                .unwrap()
        };
        vec![
            Message::Vertices(vec![]),
            Message::Vertices(vec![Bytes::from_static(b"one"), Bytes::new()]),
            Message::Request(Request {
                wanted: epoch.virtual_vertices().to_vec().try_into().unwrap(),
                above: Some(rounds()),
            }),
            Message::Request(Request {
                wanted: Bounded::default(),
                above: None,
            }),
            Message::Frontier(Frontier {
                rounds: rounds(),
                exposed: 5,
            }),
            Message::Pruned(Round(77)),
            Message::RejoinQuestion(nonce),
            Message::RejoinAnswer(RejoinAnswer {
                nonce,
                newest: epoch.virtual_vertices()[1],
                of_asker: Some(epoch.virtual_vertices()[2]),
            }),
            Message::RejoinAnswer(RejoinAnswer {
                nonce,
                newest: epoch.virtual_vertices()[1],
                of_asker: None,
            }),
        ]
    }

    #[test]
    fn round_trip() {
        for message in messages() {
            let bytes = message.encode();
            assert_eq!(Message::decode(&bytes), Ok(message));
        }
    }

    #[test]
    fn every_cut_and_every_trailing_byte_is_refused() {
        for message in messages() {
            let bytes = message.encode();
            for end in 0..bytes.len() {
                assert!(Message::decode(&bytes.slice(..end)).is_err());
            }
            let mut longer = bytes.to_vec();
            longer.push(0);
            assert!(Message::decode(&longer.into()).is_err());
        }
    }

    #[test]
    fn a_length_that_lies_allocates_nothing() {
        let lie = Bytes::from_static(&[0, 255, 255, 255, 255]);
        assert!(Message::decode(&lie).is_err());
        let lie = Bytes::from_static(&[0, 1, 0, 0, 0, 255, 255, 255, 255]);
        assert!(Message::decode(&lie).is_err());
        let lie = Bytes::from_static(&[1, 255, 255, 255, 255]);
        assert!(Message::decode(&lie).is_err());
    }

    #[test]
    fn decoding_shares_the_buffer() {
        let bytes = Message::Vertices(vec![Bytes::from(vec![7; 1_000])]).encode();
        let Ok(Message::Vertices(vertices)) = Message::decode(&bytes) else {
            panic!("round trip")
        };
        assert_eq!(vertices[0].as_ptr(), bytes[9..].as_ptr());
    }

    proptest! {
        #[test]
        fn whatever_decodes_is_canonical(bytes in proptest::collection::vec(0u8..6, 0..80)) {
            let bytes = Bytes::from(bytes);
            if let Ok(message) = Message::decode(&bytes) {
                prop_assert_eq!(message.encode(), bytes);
            }
        }
    }
}
