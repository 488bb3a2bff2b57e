//! What validators say to one another.
//!
//! On the wire a message is a tag of one byte and its body; the shell frames it. Everything in it is bounded, and unchecked until
//! the replica has checked it.

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use violeta_types::limits::MESSAGE_BYTES_MAX;
use violeta_types::limits::VERTEX_BYTES_MAX;
use violeta_types::{
    Attestation, Blob, Bounded, CertifiedHead, Commit, CommitIndex, DecodeError, codec, decode,
};

use crate::limits::{PART_RECORDS_MAX, PART_VERTICES_MAX};

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Between the consensus cores: vertices, requests, frontiers, evidence.
    Consensus(violeta_consensus::Message),
    /// One's word for a head.
    Attestation(Attestation),
    /// What repairs whatever was lost, also in a quiet cluster (consensus.md §3).
    Heartbeat(Heartbeat),
    /// Asks for a part of what one needs to catch up (replica.md §4b).
    Ask(Question),
    /// Answers it.
    Answer(Answer),
}

/// Where a validator stands.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Heartbeat {
    /// The sender's last commit.
    pub commit_index: CommitIndex,
    /// Its newest attestation.
    pub attestation: Option<Attestation>,
    /// The newest head that it knows a certificate of.
    pub certified: Option<CertifiedHead>,
}

/// A place in the log's sequence of vertices: those of the first commit in their order, then those of the second …
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct Place {
    /// The commit.
    pub commit: CommitIndex,
    /// Which of its vertices.
    pub vertex: u32,
}

/// What one that catches up asks a peer for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Question {
    /// For commit records, the newest first.
    Records(RecordsQuestion),
    /// For the vertices that they name.
    Vertices(VerticesQuestion),
}

/// Asks for commit records, from a certified head downwards: each is bound by the one before it in the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RecordsQuestion {
    /// The last commit that the sender has: records above it are wanted.
    pub after: CommitIndex,
    /// Where to begin; none: at a certified head of the peer's choice. It may also choose one that is nearer, if this
    /// is further ahead than [`HOP_COMMITS`](crate::limits::HOP_COMMITS).
    pub upto: Option<CommitIndex>,
    /// Bytes that are enough.
    pub bytes_max: u32,
}

/// Asks for vertices of commits whose records the sender has verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct VerticesQuestion {
    /// Where to begin.
    pub from: Place,
    /// The last commit whose vertices are wanted.
    pub last: CommitIndex,
    /// Bytes that are enough.
    pub bytes_max: u32,
}

/// What the asked peer has: at least one of what was asked for, unless it has none.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Answer {
    /// To [`Question::Records`].
    Records(RecordsPart),
    /// To [`Question::Vertices`].
    Vertices(VerticesPart),
}

impl Answer {
    /// What it answers.
    pub fn question(&self) -> Question {
        match self {
            Answer::Records(part) => Question::Records(part.question),
            Answer::Vertices(part) => Question::Vertices(part.question),
        }
    }
}

/// Commit records, going down.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RecordsPart {
    /// What is answered.
    pub question: RecordsQuestion,
    /// The head that binds the first record, if the peer chose where to begin.
    pub certified: Option<CertifiedHead>,
    /// The records, each naming the next one by its digest.
    pub records: Bounded<Commit, PART_RECORDS_MAX>,
}

/// Vertices of commits, going up.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct VerticesPart {
    /// What is answered.
    pub question: VerticesQuestion,
    /// The vertices, encoded, in the order of the log; a part may end within a commit.
    pub vertices: Bounded<Blob<VERTEX_BYTES_MAX>, PART_VERTICES_MAX>,
}

const CONSENSUS: u8 = 0;
const ATTESTATION: u8 = 1;
const HEARTBEAT: u8 = 2;
const ASK: u8 = 3;
const ANSWER: u8 = 4;

impl Message {
    /// The bytes that travel.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = Vec::with_capacity(256);
        match self {
            Message::Consensus(message) => {
                out.push(CONSENSUS);
                out.extend_from_slice(&message.encode());
            }
            Message::Attestation(attestation) => tagged(ATTESTATION, attestation, &mut out),
            Message::Heartbeat(heartbeat) => tagged(HEARTBEAT, heartbeat, &mut out),
            Message::Ask(question) => tagged(ASK, question, &mut out),
            Message::Answer(answer) => tagged(ANSWER, answer, &mut out),
        }
        out.into()
    }

    /// Decodes a message; vertices share `bytes`.
    ///
    /// # Errors
    /// If the bytes aren't the canonical encoding of a message within the limits.
    pub fn decode(bytes: &Bytes) -> Result<Self, DecodeError> {
        let fail = |reason: String| DecodeError::new("message", reason);
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(fail(format!(
                "{} bytes, at most {MESSAGE_BYTES_MAX}",
                bytes.len()
            )));
        }
        let (&tag, rest) = bytes
            .split_first()
            .ok_or_else(|| fail("empty".to_owned()))?;
        match tag {
            CONSENSUS => {
                violeta_consensus::Message::decode(&bytes.slice(1..)).map(Message::Consensus)
            }
            ATTESTATION => decode(rest).map(Message::Attestation),
            HEARTBEAT => decode(rest).map(Message::Heartbeat),
            ASK => decode(rest).map(Message::Ask),
            ANSWER => decode(rest).map(Message::Answer),
            _ => Err(fail(format!("unknown tag {tag}"))),
        }
    }
}

fn tagged<T: BorshSerialize>(tag: u8, body: &T, out: &mut Vec<u8>) {
    out.push(tag);
    codec::encode_into(body, out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{attestation, commit, head};
    use proptest::prelude::*;
    use violeta_types::{Certificate, Digest, Round};

    fn messages() -> Vec<Message> {
        let head = head(1, 2);
        let certificate = Certificate {
            height: head.height,
            head: head.id(),
            signatures: Vec::new().try_into().unwrap(),
        };
        let certified = CertifiedHead {
            head: head.clone(),
            certificate,
        };
        let records = RecordsQuestion {
            after: CommitIndex(9),
            upto: None,
            bytes_max: 1_000,
        };
        let vertices = VerticesQuestion {
            from: Place {
                commit: CommitIndex(10),
                vertex: 3,
            },
            last: CommitIndex(12),
            bytes_max: 1_000,
        };
        vec![
            Message::Consensus(violeta_consensus::Message::Pruned(Round(4))),
            Message::Consensus(violeta_consensus::Message::Vertices(vec![
                Bytes::from_static(b"vertex"),
            ])),
            Message::Attestation(attestation(0, &head)),
            Message::Heartbeat(Heartbeat {
                commit_index: CommitIndex(5),
                attestation: Some(attestation(1, &head)),
                certified: Some(certified.clone()),
            }),
            Message::Ask(Question::Records(records)),
            Message::Ask(Question::Vertices(vertices)),
            Message::Answer(Answer::Records(RecordsPart {
                question: records,
                certified: Some(certified),
                records: vec![commit(1, Digest::ZERO)].try_into().unwrap(),
            })),
            Message::Answer(Answer::Vertices(VerticesPart {
                question: vertices,
                vertices: vec![vec![1, 2, 3].try_into().unwrap()].try_into().unwrap(),
            })),
        ]
    }

    #[test]
    fn round_trip_and_every_cut_or_trailing_byte_is_refused() {
        for message in messages() {
            let bytes = message.to_bytes();
            assert_eq!(Message::decode(&bytes).unwrap(), message);
            for end in 0..bytes.len() {
                assert!(Message::decode(&bytes.slice(..end)).is_err());
            }
            let longer = Bytes::from([&bytes[..], &[0]].concat());
            assert!(Message::decode(&longer).is_err());
        }
    }

    proptest! {
        #[test]
        fn whatever_decodes_is_canonical(bytes in proptest::collection::vec(0u8..6, 0..120)) {
            let bytes = Bytes::from(bytes);
            if let Ok(message) = Message::decode(&bytes) {
                prop_assert_eq!(message.to_bytes(), bytes);
            }
        }
    }
}
