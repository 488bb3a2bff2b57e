//! What is read from the journal for other validators: parts of what they catch up with (replica.md §4b), and old
//! vertices that they ask for by name (consensus.md §8).
//!
//! ```text
//!   peer ──Ask──────▶ serving? ──no──▶ Load(ForPeer) ─────▶ Loaded ─▶ Answer
//!                        └─yes─▶ dropped: it has one question under way
//!   core ──SendStored▶ loading? ──no──▶ Load(Vertices) ────▶ Loaded ─▶ Vertices, and the next that waits
//!                        └─yes─▶ waits, if there is room
//! ```
//!
//! For each peer one load of each kind is under way at most, however fast it asks and however often it connects anew:
//! each is answered, and until then there is no other. So what waits for the loader is bounded.

use bytes::Bytes;
use violeta_consensus::limits::MESSAGE_VERTICES_MAX;
use violeta_types::{ValidatorIndex, VertexRef};

use super::Replica;
use crate::io::{LoadRequest, Output};
use crate::limits::{PART_BYTES_MAX, STORED_WAITING_MAX};
use crate::message::{Answer, Message, Question};

impl Replica {
    pub(super) fn serve(&mut self, peer: ValidatorIndex, question: Question) {
        let state = self.peers.entry(peer).or_default();
        // One answer at a time: serving is bounded by what a peer can take.
        if !std::mem::replace(&mut state.serving, true) {
            self.output(Output::Load(LoadRequest::ForPeer { peer, question }));
        }
    }

    pub(super) fn served(&mut self, peer: ValidatorIndex, answer: Option<Answer>) {
        self.peers.entry(peer).or_default().serving = false;
        if let Some(answer) = answer {
            self.send(peer, &Message::Answer(answer));
        }
    }

    /// Reads vertices that the core no longer holds whole, for a peer that asked for them.
    pub(super) fn serve_stored(&mut self, peer: ValidatorIndex, references: Vec<VertexRef>) {
        let state = self.peers.entry(peer).or_default();
        if !std::mem::replace(&mut state.loading, true) {
            self.output(Output::Load(LoadRequest::Vertices { references, peer }));
        } else if state.stored.len() < STORED_WAITING_MAX {
            state.stored.push_back(references);
        }
    }

    pub(super) fn served_stored(&mut self, peer: ValidatorIndex, vertices: Vec<Bytes>) {
        let state = self.peers.entry(peer).or_default();
        assert!(state.loading, "what is answered was asked for");
        state.loading = false;
        let next = state.stored.pop_front();
        for vertices in message_sized(vertices) {
            let message = violeta_consensus::Message::Vertices(vertices);
            self.send(peer, &Message::Consensus(message));
        }
        if let Some(references) = next {
            self.serve_stored(peer, references);
        }
    }
}

/// Splits vertices into portions that fit a message.
fn message_sized(vertices: Vec<Bytes>) -> Vec<Vec<Bytes>> {
    let mut portions: Vec<Vec<Bytes>> = Vec::new();
    let mut bytes = 0;
    for vertex in vertices {
        bytes += vertex.len();
        match portions.last_mut() {
            Some(portion) if bytes <= PART_BYTES_MAX && portion.len() < MESSAGE_VERTICES_MAX => {
                portion.push(vertex);
            }
            _ => {
                bytes = vertex.len();
                portions.push(vec![vertex]);
            }
        }
    }
    portions
}
