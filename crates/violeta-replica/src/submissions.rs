//! Clients' items on their way into the mempool: rules (a job), then the machine's word, then a place.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use violeta_consensus::{ItemMeta, Rejection};
use violeta_types::TxId;

use crate::io::SubmitError;
use crate::limits::{CHECK_ITEMS_MAX, PUT_OFF_BYTES_MAX};
use crate::machine::{NotAdmitted, Ticket};
use crate::mempool::{Full, Mempool, Pooled};

/// When a client may try again, in ms.
const RETRY_MS: u64 = 250;
/// Marks the tickets of the replica's own submissions; the shell's are below.
const OWN: Ticket = 1 << 63;

#[derive(Debug)]
struct Submission {
    /// A verdict for each item, as far as there is one.
    verdicts: Vec<Option<Result<TxId, SubmitError>>>,
    /// The items that wait for the machine's word, with their places.
    admitting: Vec<(usize, Bytes, ItemMeta)>,
}

/// Submissions under way. Bounded in items.
#[derive(Debug, Default)]
pub struct Submissions {
    open: BTreeMap<Ticket, Submission>,
    items: usize,
    own: Ticket,
    /// Submissions of the replica's own that wait for room: one a returned vertex.
    put_off: VecDeque<Vec<Bytes>>,
    put_off_bytes: usize,
}

/// The error for whoever meets a full queue.
pub fn overloaded(what: &'static str) -> SubmitError {
    SubmitError::Overloaded {
        what,
        retry_ms: RETRY_MS,
    }
}

impl Submissions {
    /// Whether `count` more items may be checked.
    pub fn has_room(&self, count: usize) -> bool {
        self.items + count <= CHECK_ITEMS_MAX
    }

    /// Takes items of an own vertex that was never ordered: they are judged anew when there is room. Beyond
    /// [`PUT_OFF_BYTES_MAX`] those that wait longest are let go of: their clients hear nothing of them, and send them
    /// again.
    pub fn put_off(&mut self, items: Vec<Bytes>) {
        if items.is_empty() {
            return;
        }
        self.put_off_bytes += bytes_of(&items);
        self.put_off.push_back(items);
        while self.put_off_bytes > PUT_OFF_BYTES_MAX {
            let Some(oldest) = self.put_off.pop_front() else {
                break;
            };
            self.put_off_bytes -= bytes_of(&oldest);
        }
    }

    /// Opens the next submission of the replica's own, if there is one and room for it.
    pub fn next_put_off(&mut self) -> Option<(Ticket, Vec<Bytes>)> {
        let room = self.put_off.front().map(Vec::len)?;
        if !self.has_room(room) {
            return None;
        }
        let items = self.put_off.pop_front()?;
        self.put_off_bytes -= bytes_of(&items);
        self.own += 1;
        let ticket = OWN | self.own;
        self.open(ticket, items.len());
        Some((ticket, items))
    }

    /// Whether a ticket is of a submission of the replica's own.
    pub fn is_own(ticket: Ticket) -> bool {
        ticket & OWN != 0
    }

    /// Opens a submission of `count` items.
    pub fn open(&mut self, ticket: Ticket, count: usize) {
        self.items += count;
        let submission = Submission {
            verdicts: vec![None; count],
            admitting: Vec::new(),
        };
        let before = self.open.insert(ticket, submission);
        assert!(before.is_none(), "the shell gives each ticket once");
    }

    /// Takes the rules' verdicts; returns what the machine is to be asked.
    pub fn judged(
        &mut self,
        ticket: Ticket,
        verdicts: Vec<(Bytes, Result<ItemMeta, Rejection>)>,
    ) -> Vec<(Bytes, ItemMeta)> {
        let Some(submission) = self.open.get_mut(&ticket) else {
            return Vec::new();
        };
        let mut asked = Vec::new();
        for (place, (bytes, verdict)) in verdicts.into_iter().enumerate() {
            match verdict {
                Ok(meta) => {
                    asked.push((bytes.clone(), meta));
                    submission.admitting.push((place, bytes, meta));
                }
                Err(rejection) => {
                    let invalid = SubmitError::Invalid(rejection.to_string());
                    submission.verdicts[place] = Some(Err(invalid));
                }
            }
        }
        asked
    }

    /// Takes the machine's verdicts, puts what it admits into the mempool, and closes the submission.
    pub fn admitted(
        &mut self,
        ticket: Ticket,
        verdicts: Vec<Result<(), NotAdmitted>>,
        mempool: &mut Mempool,
    ) -> Option<Vec<Result<TxId, SubmitError>>> {
        let mut submission = self.open.remove(&ticket)?;
        self.items -= submission.verdicts.len();
        for ((place, bytes, meta), verdict) in submission.admitting.into_iter().zip(verdicts) {
            submission.verdicts[place] = Some(match verdict {
                // What waits here already was admitted then: sending it again is no error.
                Err(_) if mempool.contains(&meta.id) => Ok(meta.id),
                Err(NotAdmitted(reason)) => Err(SubmitError::NotAdmitted(reason)),
                Ok(()) => queue(mempool, bytes, meta),
            });
        }
        let unanswered = || Err(overloaded("the machine gave no answer"));
        let verdicts = submission.verdicts.into_iter();
        Some(verdicts.map(|v| v.unwrap_or_else(unanswered)).collect())
    }
}

fn bytes_of(items: &[Bytes]) -> usize {
    items.iter().map(Bytes::len).sum()
}

fn queue(mempool: &mut Mempool, bytes: Bytes, meta: ItemMeta) -> Result<TxId, SubmitError> {
    // A copy: the item is a part of the batch that it came in, and would hold all of it in memory for as long as it
    // waits, uncounted.
    let bytes = Bytes::copy_from_slice(&bytes);
    match mempool.insert(Pooled { meta, bytes }) {
        Ok(_) => Ok(meta.id),
        Err(Full::Pool) => Err(overloaded("the mempool is full")),
        Err(Full::Client) => Err(overloaded(
            "this client has as many transactions waiting as it may",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use violeta_types::{Digest, Nonce, TimeMs};

    fn meta(n: u8) -> ItemMeta {
        ItemMeta {
            id: TxId(Digest([n; 32])),
            client: None,
            nonce: Nonce(1),
            expires: TimeMs(9),
        }
    }

    fn good(n: u8) -> (Bytes, Result<ItemMeta, Rejection>) {
        (Bytes::from(vec![n]), Ok(meta(n)))
    }

    #[test]
    fn what_waits_in_the_mempool_holds_nothing_of_the_batch_that_it_came_in() {
        struct Received(
            Vec<u8>,
            #[expect(dead_code, reason = "counted")] std::sync::Arc<()>,
        );
        impl AsRef<[u8]> for Received {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        let held = std::sync::Arc::new(());
        let batch = Bytes::from_owner(Received(vec![1; 1 << 20], held.clone()));
        let (mut submissions, mut mempool) = (Submissions::default(), Mempool::default());
        submissions.open(7, 2);
        let junk = (batch.slice(10..), Err(Rejection("junk".to_owned())));
        let verdicts = vec![(batch.slice(..10), Ok(meta(1))), junk];
        drop(batch);
        submissions.judged(7, verdicts);
        assert_eq!(std::sync::Arc::strong_count(&held), 2, "under check");
        submissions.admitted(7, vec![Ok(())], &mut mempool).unwrap();
        assert_eq!((mempool.len(), mempool.bytes()), (1, 10));
        assert_eq!(std::sync::Arc::strong_count(&held), 1);
    }

    #[test]
    fn each_item_gets_its_own_verdict_in_its_place() {
        let (mut submissions, mut mempool) = (Submissions::default(), Mempool::default());
        submissions.open(7, 4);
        let bad = (Bytes::new(), Err(Rejection("garbage".to_owned())));
        let asked = submissions.judged(7, vec![good(1), bad, good(2), good(3)]);
        assert_eq!(asked.len(), 3);
        let machine = vec![Ok(()), Err(NotAdmitted("used".to_owned())), Ok(())];
        let verdicts = submissions.admitted(7, machine, &mut mempool).unwrap();
        assert_eq!(
            verdicts,
            [
                Ok(meta(1).id),
                Err(SubmitError::Invalid("garbage".to_owned())),
                Err(SubmitError::NotAdmitted("used".to_owned())),
                Ok(meta(3).id),
            ]
        );
        assert_eq!(mempool.len(), 2);
        assert!(
            submissions.admitted(7, Vec::new(), &mut mempool).is_none(),
            "closed"
        );
    }

    #[test]
    fn sending_again_what_is_queued_is_no_error() {
        let (mut submissions, mut mempool) = (Submissions::default(), Mempool::default());
        for (ticket, verdict) in [(1, Ok(())), (2, Err(NotAdmitted("used".to_owned())))] {
            submissions.open(ticket, 1);
            submissions.judged(ticket, vec![good(5)]);
            let verdicts = submissions.admitted(ticket, vec![verdict], &mut mempool);
            assert_eq!(verdicts, Some(vec![Ok(meta(5).id)]));
        }
        assert_eq!(mempool.len(), 1);
    }

    #[test]
    fn items_under_check_are_bounded_and_freed() {
        let (mut submissions, mut mempool) = (Submissions::default(), Mempool::default());
        assert!(!submissions.has_room(CHECK_ITEMS_MAX + 1));
        submissions.open(1, CHECK_ITEMS_MAX);
        assert!(!submissions.has_room(1));
        submissions.admitted(1, Vec::new(), &mut mempool);
        assert!(submissions.has_room(CHECK_ITEMS_MAX));
    }

    #[test]
    fn own_tickets_are_apart_from_the_shell_s() {
        let mut submissions = Submissions::default();
        submissions.put_off(vec![Bytes::from_static(b"item")]);
        let (ticket, _) = submissions.next_put_off().unwrap();
        assert!(Submissions::is_own(ticket));
        assert!(!Submissions::is_own(u64::MAX >> 1));
    }

    #[test]
    fn returned_items_wait_for_room_in_their_order() {
        let mut submissions = Submissions::default();
        let mut mempool = Mempool::default();
        submissions.open(1, CHECK_ITEMS_MAX);
        for n in 0..3 {
            submissions.put_off(vec![Bytes::from(vec![n])]);
        }
        submissions.put_off(Vec::new());
        assert!(submissions.next_put_off().is_none(), "no room");
        submissions.admitted(1, Vec::new(), &mut mempool);
        for n in 0..3 {
            let (_, items) = submissions.next_put_off().unwrap();
            assert_eq!(items, [vec![n]]);
        }
        assert!(submissions.next_put_off().is_none());
        assert_eq!(submissions.put_off_bytes, 0);
    }

    #[test]
    fn of_too_many_returned_items_the_newest_stay() {
        let mut submissions = Submissions::default();
        for n in 0..3 {
            submissions.put_off(vec![Bytes::from(vec![n; PUT_OFF_BYTES_MAX / 2])]);
        }
        let (_, items) = submissions.next_put_off().unwrap();
        assert_eq!(items[0][0], 1);
    }
}
