//! Answers that didn't verify: who gave them, and what was wrong.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use violeta_proof::ProofError;
use violeta_types::Height;

use crate::limits::INCIDENTS_MAX;

/// The part of an answer that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Part {
    /// The proof doesn't prove its claim.
    #[error("{0}")]
    Proof(#[from] ProofError),
    /// It proves something that wasn't asked for.
    #[error("it proves the {what} {found}, asked for was {asked}")]
    OtherQuestion {
        /// What differs: namespace, key, height, transaction.
        what: &'static str,
        /// What was asked for.
        asked: String,
        /// What the answer is about.
        found: String,
    },
    /// It proves a state older than one that this client has seen.
    #[error(
        "it proves the state at height {found}, and this client has seen height {seen}: it is old"
    )]
    Old {
        /// The height of the answer.
        found: Height,
        /// The height that the client knows to be certified.
        seen: Height,
    },
    /// It says of a key's history what is proved not to be so.
    #[error("it says that the key lost its value at height {height}: {reason}")]
    History {
        /// The height.
        height: Height,
        /// What is proved instead.
        reason: &'static str,
    },
    /// It isn't the form of an answer at all.
    #[error("it can't be read: {0}")]
    Form(String),
}

/// An answer that a client refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incident {
    /// Who gave it.
    pub validator: String,
    /// What was asked, for people.
    pub asked: String,
    /// What was wrong with it.
    pub part: Part,
}

impl fmt::Display for Incident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Incident {
            validator,
            asked,
            part,
        } = self;
        write!(
            f,
            "the answer of {validator} about {asked} was refused: {part}"
        )
    }
}

/// The newest incidents.
#[derive(Debug, Default)]
pub(crate) struct Incidents(Mutex<VecDeque<Incident>>);

impl Incidents {
    pub(crate) fn add(&self, incident: Incident) {
        tracing::warn!(%incident, "an answer was refused");
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == INCIDENTS_MAX {
            kept.pop_front();
        }
        kept.push_back(incident);
    }

    pub(crate) fn list(&self) -> Vec<Incident> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_and_no_more_than_the_bound() {
        let incidents = Incidents::default();
        for i in 0..INCIDENTS_MAX + 5 {
            incidents.add(Incident {
                validator: format!("v{i}"),
                asked: "bank/alice".into(),
                part: Part::Form("cut short".into()),
            });
        }
        let kept = incidents.list();
        assert_eq!(kept.len(), INCIDENTS_MAX);
        assert_eq!(kept[0].validator, "v5");
        assert_eq!(
            kept[0].to_string(),
            "the answer of v5 about bank/alice was refused: it can't be read: cut short"
        );
    }
}
