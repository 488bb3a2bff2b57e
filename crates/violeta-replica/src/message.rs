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

use crate::limits::{RANGE_COMMITS_MAX, RANGE_VERTICES_MAX};

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Between the consensus cores: vertices, requests, frontiers, evidence.
    Consensus(violeta_consensus::Message),
    /// One's word for a head.
    Attestation(Attestation),
    /// What repairs whatever was lost, also in a quiet cluster (consensus.md §3).
    Heartbeat(Heartbeat),
    /// Asks for commits after this one, up to a certified head.
    CommitsRequest {
        /// The last commit that the sender has.
        after: CommitIndex,
    },
    /// Answers it.
    Commits(CommitRange),
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

/// Commits with their vertices, up to a certified head.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct CommitRange {
    /// The commits, without gaps.
    pub commits: Bounded<RangeCommit, RANGE_COMMITS_MAX>,
    /// The certified head that binds the last of them, and through it all.
    pub certified: CertifiedHead,
}

/// One commit of a range.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RangeCommit {
    /// The record.
    pub commit: Commit,
    /// Its vertices, encoded, in the record's order.
    pub vertices: Bounded<Blob<VERTEX_BYTES_MAX>, RANGE_VERTICES_MAX>,
}

const CONSENSUS: u8 = 0;
const ATTESTATION: u8 = 1;
const HEARTBEAT: u8 = 2;
const COMMITS_REQUEST: u8 = 3;
const COMMITS: u8 = 4;

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
            Message::CommitsRequest { after } => tagged(COMMITS_REQUEST, after, &mut out),
            Message::Commits(range) => tagged(COMMITS, range, &mut out),
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
            COMMITS_REQUEST => decode(rest).map(|after| Message::CommitsRequest { after }),
            COMMITS => decode(rest).map(Message::Commits),
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
        let entry = RangeCommit {
            commit: commit(1, Digest::ZERO),
            vertices: vec![vec![1, 2, 3].try_into().unwrap()].try_into().unwrap(),
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
            Message::CommitsRequest {
                after: CommitIndex(9),
            },
            Message::Commits(CommitRange {
                commits: vec![entry].try_into().unwrap(),
                certified,
            }),
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
