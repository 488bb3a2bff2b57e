//! The formats of the wire, byte by byte: `vectors/vectors.json`, for whoever implements them again (replica.md §9).
//!
//! This makes the file's content from fixed values and compares; a format that changes is a visible act there. That the
//! file is right is checked by `vectors/check.py`, which shares nothing with this code.

#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::collections::BTreeMap;

use bytes::Bytes;
use expect_test::expect_file;
use serde_json::{Value, json};
use violeta_consensus::leaders::leaders;
use violeta_consensus::{EpochData, Frontier, Message as Graph, RejoinAnswer, RejoinNonce};
use violeta_crypto::{
    BlsThreshold, ClientSecretKey, ShareSecretKey, ShareSigner, Threshold, ThresholdMessage,
    ValidatorSecretKey, deal,
};
use violeta_node::transport::frame;
use violeta_node::transport::hello::{Answer, Hello};
use violeta_replica::Message;
use violeta_replica::message::{
    Answer as Part, Heartbeat, Place, Question, RecordsPart, RecordsQuestion, VerticesPart,
    VerticesQuestion,
};
use violeta_types::{
    Admission, Attestation, Blob, Certificate, CertifiedHead, ClientPublicKey, Commit, CommitIndex,
    Committee, Digest, Domain, Election, Epoch, Genesis, Head, HeadId, Height, Item, Member,
    NodePublicKey, Nonce, Operation, OperatorPublicKey, Parameters, Payload, Round, SignedHeader,
    Stake, ThresholdSignature, TimeMs, Transaction, TransactionBody, ValidatorIndex, Vertex,
    VertexHeader, encode,
};

fn key(i: u8) -> ValidatorSecretKey {
    ValidatorSecretKey::from_seed([i + 1; 32])
}

fn client() -> ClientSecretKey {
    ClientSecretKey::from_seed([0x63; 32])
}

fn genesis(stakes: &[u64], election: Election) -> Genesis {
    let member = |(i, stake): (u8, &u64)| Member {
        stake: Stake(*stake),
        validator_key: key(i).public_key(),
        share_key: None,
        node_key: NodePublicKey([0x40 + i; 32]),
        operator_key: OperatorPublicKey([0x50 + i; 32]),
    };
    let members = (0..).zip(stakes).map(member).collect();
    Genesis {
        name: "vectors".into(),
        time: TimeMs(1_700_000_000_000),
        committee: Committee::new(Epoch(0), members, None).unwrap(),
        parameters: Parameters {
            wave_length: 4,
            leaders: 2,
            election,
            gc_depth: 64,
        },
        admission: Admission::Open,
        administrators: vec![ClientPublicKey([0x60; 32])].try_into().unwrap(),
    }
}

fn network() -> Genesis {
    genesis(&[1, 1, 1, 1], Election::Seeded)
}

fn transaction() -> Transaction {
    let put = |key: &[u8], value: &[u8]| Operation::Put {
        namespace: b"greetings"[..].try_into().unwrap(),
        key: key.try_into().unwrap(),
        value: value.try_into().unwrap(),
    };
    let body = TransactionBody {
        chain: network().chain_id(),
        key: client().public_key(),
        nonce: Nonce(7),
        expires: TimeMs(1_700_000_060_000),
        operations: vec![
            Operation::CreateNamespace {
                namespace: b"greetings"[..].try_into().unwrap(),
            },
            put(b"hello", b"world"),
        ]
        .try_into()
        .unwrap(),
    };
    let signature = client().sign_transaction(&body.id());
    Transaction { body, signature }
}

/// Validator 2's vertex of round 1: on the four of round 0, its own first.
fn vertex() -> Vertex {
    let (genesis, author) = (network(), ValidatorIndex(2));
    let epoch = EpochData::genesis(&genesis);
    let mut parents = epoch.virtual_vertices().to_vec();
    parents.sort_by_key(|parent| (parent.author != author, parent.author));
    let items = [&transaction().to_bytes()[..], b"no transaction", b""];
    let items = items.map(|item| Item::Client(Bytes::copy_from_slice(item)));
    let payload = Payload::new(items.to_vec()).unwrap();
    let header = VertexHeader {
        epoch: Epoch(0),
        round: Round(1),
        author,
        parents: parents.try_into().unwrap(),
        payload: payload.commitment(),
        coin_share: None,
        end_mark: false,
        timestamp: TimeMs(1_700_000_000_250),
    };
    let signature = key(2).sign_vertex(&header.id(&genesis.chain_id()));
    let signed = SignedHeader { header, signature };
    Vertex { signed, payload }
}

fn head() -> Head {
    let digest = |i| Digest([i; 32]);
    let committee = network().committee.digest();
    Head {
        chain: network().chain_id(),
        epoch: Epoch(0),
        height: Height(5),
        previous: HeadId(digest(0x70)),
        commit_index: CommitIndex(9),
        commit_digest: digest(0x71),
        time: TimeMs(1_700_000_001_000),
        transactions_root: digest(0x72),
        results_root: digest(0x73),
        state_root: digest(0x74),
        history_root: digest(0x75),
        committee,
        next_committee: committee,
    }
}

fn attestation(i: u8) -> Attestation {
    let id = head().id();
    Attestation {
        height: Height(5),
        head: id,
        validator: ValidatorIndex(u16::from(i)),
        signature: key(i).sign_attestation(&id),
        seal_share: None,
    }
}

fn certified() -> CertifiedHead {
    let signatures = [0, 1, 3].map(|i| (ValidatorIndex(u16::from(i)), attestation(i).signature));
    let certificate = Certificate {
        height: Height(5),
        head: head().id(),
        signatures: signatures.to_vec().try_into().unwrap(),
    };
    CertifiedHead {
        head: head(),
        certificate,
    }
}

fn framed(message: &[u8]) -> String {
    hex::encode([&frame::header(message.len())[..], message].concat())
}

fn frames() -> Value {
    let chain = network().chain_id();
    let heartbeat = Heartbeat {
        commit_index: CommitIndex(9),
        attestation: Some(attestation(2)),
        certified: Some(certified()),
    };
    let frontier = Frontier {
        rounds: [0, 3, 4, 4].map(Round).to_vec().try_into().unwrap(),
        exposed: 0b0100,
    };
    let vertices = vec![Bytes::from(encode(&vertex()))];
    let nonce = RejoinNonce([5; 32]);
    let own = vertex().signed.header.vertex_ref(&chain);
    let rejoin_answer = RejoinAnswer {
        nonce,
        newest: own,
        of_asker: Some(EpochData::genesis(&network()).virtual_vertices()[1]),
    };
    let message = |message: Message| framed(&message.to_bytes());
    json!({
        "hello": framed(&encode(&Hello::new(chain))),
        "welcome": framed(&encode(&Answer::Welcome)),
        "other_version": framed(&encode(&Answer::OtherVersion { version: 9 })),
        "other_chain": framed(&encode(&Answer::OtherChain { chain })),
        "refused": framed(&encode(&Answer::Refused)),
        "vertices": message(Message::Consensus(Graph::Vertices(vertices))),
        "frontier": message(Message::Consensus(Graph::Frontier(frontier))),
        "rejoin_question": message(Message::Consensus(Graph::RejoinQuestion(nonce))),
        "rejoin_answer": message(Message::Consensus(Graph::RejoinAnswer(rejoin_answer))),
        "attestation": message(Message::Attestation(attestation(2))),
        "heartbeat": message(Message::Heartbeat(heartbeat)),
    })
}

/// A commit of two vertices, whose leader a coin elected.
fn commit() -> Commit {
    let epoch = EpochData::genesis(&network());
    let below = epoch.virtual_vertices()[3];
    let leader = vertex().signed.header.vertex_ref(&network().chain_id());
    Commit {
        epoch: Epoch(0),
        index: CommitIndex(9),
        previous: Digest([0x76; 32]),
        leader,
        vertices: vec![below, leader].try_into().unwrap(),
        time: TimeMs(1_700_000_000_900),
        coin: Some(ThresholdSignature([9; 48])),
    }
}

/// What one asks who catches up, and what it is answered.
fn catch_up() -> Value {
    let records = RecordsQuestion {
        after: CommitIndex(4),
        upto: Some(CommitIndex(9)),
        bytes_max: 2_000_000,
    };
    let vertices = VerticesQuestion {
        from: Place {
            commit: CommitIndex(5),
            vertex: 1,
        },
        last: CommitIndex(9),
        bytes_max: 2_000_000,
    };
    let records_part = RecordsPart {
        question: RecordsQuestion {
            upto: None,
            ..records
        },
        certified: Some(certified()),
        records: vec![commit()].try_into().unwrap(),
    };
    let bytes = Blob::try_from(&encode(&vertex())[..]).unwrap();
    let vertices_part = VerticesPart {
        question: vertices,
        vertices: vec![bytes].try_into().unwrap(),
    };
    let message = |message: Message| framed(&message.to_bytes());
    json!({
        "commit": {
            "value": commit(), "bytes": hex::encode(encode(&commit())),
            "digest": commit().digest(&network().chain_id()),
        },
        "records_question": message(Message::Ask(Question::Records(records))),
        "vertices_question": message(Message::Ask(Question::Vertices(vertices))),
        "records": message(Message::Answer(Part::Records(records_part))),
        "vertices": message(Message::Answer(Part::Vertices(vertices_part))),
    })
}

/// The secret 1: what it makes of a message is the message's own point, which is no secret.
fn one() -> ShareSecretKey {
    let mut bytes = [0; 32];
    bytes[31] = 1;
    ShareSecretKey::from_bytes(&bytes).unwrap()
}

/// A coin and a seal of a group of four, any three of whom can sign.
fn threshold() -> Value {
    let dealing = deal(4, 3, [0x64; 32]).unwrap();
    let group = BlsThreshold::new(&dealing.group_key, &dealing.share_keys, 3).unwrap();
    let coin = ThresholdMessage::coin(&network().chain_id(), Epoch(0), Round(6));
    let signed = [coin, ThresholdMessage::seal(&head().id())].map(|message| {
        let shares: Vec<_> = (0..)
            .zip(&dealing.secret_shares)
            .map(|(i, secret)| (ValidatorIndex(i), secret.share(&message)))
            .collect();
        let signature = group.combine(&message, &shares[1..]).signature.unwrap();
        assert_eq!(
            group.combine(&message, &shares[..3]).signature,
            Some(signature)
        );
        json!({
            "digest": message.digest(), "point": one().share(&message).to_string(),
            "shares": shares.iter().map(|(_, share)| share.to_string()).collect::<Vec<_>>(),
            "signature": signature.to_string(),
        })
    });
    let [coin, seal] = signed;
    let secrets: Vec<String> = (dealing.secret_shares.iter())
        .map(|secret| hex::encode(*secret.to_bytes()))
        .collect();
    json!({
        "threshold": 3, "secrets": secrets, "share_keys": dealing.share_keys,
        "group_key": dealing.group_key, "coin_of_round_6": coin, "seal": seal,
    })
}

/// Who leads rounds 1 to 6, by each election.
fn elections() -> Vec<Value> {
    let coin = ThresholdSignature([9; 48]);
    let stakes: [&[u64]; 2] = [&[1; 4], &[3, 1, 4, 1, 5]];
    let mut elections = Vec::new();
    for (name, election) in [
        ("coin", Election::Coin),
        ("seeded", Election::Seeded),
        ("round-robin", Election::RoundRobin),
    ] {
        for stakes in stakes {
            let epoch = EpochData::genesis(&genesis(stakes, election));
            let led = (1..=6).map(|r| leaders(&epoch, Round(r), Some(&coin)).unwrap());
            elections.push(json!({
                "election": name, "stakes": stakes, "count": 2, "coin": coin.to_string(),
                "epoch_seed": epoch.seed().to_string(), "rounds_from_1": led.collect::<Vec<_>>(),
            }));
        }
    }
    elections
}

fn vectors() -> Value {
    let (genesis, vertex, head, transaction) = (network(), vertex(), head(), transaction());
    let chain = genesis.chain_id();
    let epoch = EpochData::genesis(&genesis);
    let header = &vertex.signed.header;
    let keys: BTreeMap<&str, String> = (Domain::ALL.iter())
        .map(|domain| (domain.context(), hex::encode(domain.key())))
        .collect();
    let round_0: Vec<String> = (epoch.virtual_vertices().iter())
        .map(|vertex| vertex.id.to_string())
        .collect();
    let items: Vec<String> = (vertex.payload.items().iter())
        .map(|item| hex::encode(item.bytes()))
        .collect();
    json!({
        "domain_keys": keys,
        "genesis": {
            "value": genesis, "bytes": hex::encode(encode(&genesis)), "chain": chain,
            "epoch_seed": genesis.seed(), "committee": genesis.committee.digest(),
        },
        "round_0": round_0,
        "transaction": {
            "client_key": client().public_key(), "client": client().public_key().client_id(),
            "body": hex::encode(encode(&transaction.body)), "id": transaction.id(),
            "signature": transaction.signature, "bytes": hex::encode(transaction.to_bytes()),
        },
        "vertex": {
            "header": header, "items": items, "header_bytes": hex::encode(encode(header)),
            "id": header.id(&chain), "signature": vertex.signed.signature,
            "bytes": hex::encode(encode(&vertex)),
        },
        "leaders": elections(),
        "head": {
            "value": head, "bytes": hex::encode(encode(&head)), "id": head.id(),
            "attestation_of_2": hex::encode(encode(&attestation(2))),
            "certified": hex::encode(encode(&certified())),
        },
        "frames": frames(),
        "catch_up": catch_up(),
        "threshold": threshold(),
    })
}

#[test]
fn no_format_changes_unseen() {
    let mut text = serde_json::to_string_pretty(&vectors()).unwrap();
    text.push('\n');
    expect_file!["../../../vectors/vectors.json"].assert_eq(&text);
}

#[test]
fn what_the_vectors_say_is_taken() {
    let (genesis, vertex) = (network(), vertex());
    assert_eq!(genesis.check(), Ok(()));
    let epoch = EpochData::genesis(&genesis);
    let bytes = Bytes::from(encode(&vertex));
    assert_eq!(Vertex::decode(&bytes).unwrap(), vertex);
    violeta_consensus::trust_vertex(&bytes, &epoch).unwrap();
    let trust = violeta_proof::Trust::in_genesis(&genesis);
    let CertifiedHead { head, certificate } = certified();
    let vouch = violeta_proof::Vouch::Certificate(certificate);
    assert_eq!(trust.head(&head, &vouch).unwrap().0.head(), &head);
}
