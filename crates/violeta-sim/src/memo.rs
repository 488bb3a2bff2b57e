//! Each vertex is judged once a world, not once a validator.
//!
//! Judging is pure (consensus.md §2): a function of the bytes and the epoch's data, the same for all validators of a
//! world. So the verdict may be shared, and with it the price of the signatures.

use std::collections::BTreeMap;

use violeta_consensus::{Invalid, ValidVertex};
use violeta_replica::{Job, JobDone, Workshop};

/// Verdicts that are remembered; then all are forgotten.
const VERDICTS_MAX: usize = 20_000;

/// The verdicts so far.
#[derive(Default)]
pub(crate) struct Memo {
    verdicts: BTreeMap<[u8; 32], Result<ValidVertex, Invalid>>,
}

impl Memo {
    /// Does a job with a validator's workshop, or remembers what came of it elsewhere.
    pub(crate) fn run(&mut self, workshop: &Workshop, job: Job) -> Option<JobDone> {
        let Job::CheckVertex { from, bytes } = &job else {
            return workshop.run(job);
        };
        let (from, size) = (*from, bytes.len());
        let name = *blake3::hash(bytes).as_bytes();
        if let Some(verdict) = self.verdicts.get(&name) {
            let verdict = verdict.clone();
            return Some(JobDone::Vertex {
                from,
                size,
                verdict,
            });
        }
        let done = workshop.run(job)?;
        if let JobDone::Vertex { verdict, .. } = &done {
            if self.verdicts.len() >= VERDICTS_MAX {
                self.verdicts.clear();
            }
            self.verdicts.insert(name, verdict.clone());
        }
        Some(done)
    }
}
