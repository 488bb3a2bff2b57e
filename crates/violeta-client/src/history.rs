//! A key's versions, newest first, each of them proved (replica.md §7).
//!
//! ```text
//!   state at h ─┬─ a value, written at w ──────────────▶ entry w ─── then the state at w − 1
//!               └─ none ── who knows of a deletion? ─ d ▶ none at d, a value at d − 1: entry d ─── then the state at d − 1
//! ```
//!
//! The proof of a value says when it was written, and the state just before that shows what was there until then: so
//! between two values nothing can be left out, and nothing made up. Where the key has no value, validators say when it
//! lost the last one, and that is proved too: it was there just before. That it wasn't there in between is the word of
//! validators of more than f of the stake, as is that there was nothing earlier; fewer, if fewer can be asked.

use bytes::Bytes;
use violeta_types::Height;
use violeta_types::api::HistoryAnswer;

use crate::client::{Client, Failures};
use crate::error::ClientError;
use crate::http::{Failure, json};
use crate::incident::Part;
use crate::limits::HISTORY_PAGES_MAX;
use crate::read::{Proved, Question, Wanted};

/// One version in a key's history, proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The height at which the key got this value, or lost it.
    pub height: Height,
    /// The value; none if it was deleted.
    pub value: Option<Bytes>,
}

/// What validators say of where a key lost its value.
#[derive(Default)]
struct Hints(Vec<(usize, Option<Height>)>);

impl Hints {
    /// The highest of them: who knows of a later deletion knows more.
    fn highest(&self) -> Option<Height> {
        self.0.iter().filter_map(|(_, height)| *height).max()
    }

    /// Takes out those who say this height.
    fn take(&mut self, height: Height) -> Vec<usize> {
        let said = |hint: &mut (usize, Option<Height>)| hint.1 == Some(height);
        self.0.extract_if(.., said).map(|(at, _)| at).collect()
    }
}

impl Client {
    /// A key's versions, newest first, at most `limit`, from the newest certified version down; none if it never had a
    /// value. Nothing is listed that isn't proved. See the module for what may be missing: only what lies before or
    /// between times at which the key has no value, and what was deleted so many versions earlier that
    /// [`HISTORY_PAGES_MAX`] pages don't reach it.
    ///
    /// # Errors
    /// If no validator gives a history, or a part of it isn't proved.
    pub async fn history(
        &self,
        namespace: impl AsRef<[u8]>,
        key: impl AsRef<[u8]>,
        limit: u32,
    ) -> Result<Vec<Entry>, ClientError> {
        let question = Question::new(namespace.as_ref(), key.as_ref())?;
        let newest = Wanted::AtLeast(self.seen());
        let mut state = self.answer(&question, newest).await?;
        let mut entries = Vec::new();
        while entries.len() < limit as usize {
            let at = state.head.head().height;
            let (entry, before) = match state.value {
                Some(stored) => {
                    let entry = Entry {
                        height: stored.written_at,
                        value: Some(stored.value.into_inner()),
                    };
                    (entry, None)
                }
                None => {
                    let Some((height, before)) = self.deletion(&question, at).await? else {
                        break;
                    };
                    let value = None;
                    (Entry { height, value }, Some(before))
                }
            };
            let below = entry.height.checked_previous();
            entries.push(entry);
            state = match (before, below) {
                (Some(before), _) => before,
                (None, Some(below)) if below > Height(0) && entries.len() < limit as usize => {
                    self.answer(&question, Wanted::Exactly(below)).await?
                }
                _ => break,
            };
        }
        Ok(entries)
    }

    /// Where a key that has no value at a height lost the last one that it had, and the state just before; none if it
    /// never had any.
    async fn deletion(
        &self,
        question: &Question,
        absent: Height,
    ) -> Result<Option<(Height, Proved)>, ClientError> {
        let asked = question.to_string();
        let mut failures = Failures::default();
        let mut order = self.order().await.into_iter();
        let mut hints = Hints::default();
        loop {
            while !self.exceeds_faults(hints.0.iter().map(|(at, _)| *at)) {
                let Some(at) = order.next() else { break };
                match self.deletion_hint(at, question, absent).await {
                    Ok(height) => hints.0.push((at, height)),
                    Err(failure) => failures.add(self, at, &asked, failure),
                }
            }
            let Some(height) = hints.highest() else {
                return match hints.0.is_empty() {
                    true => Err(failures.into_error()),
                    false => Ok(None),
                };
            };
            match self.prove_deletion(question, height).await? {
                Ok(before) => return Ok(Some((height, before))),
                Err(reason) => {
                    for liar in hints.take(height) {
                        let part = Part::History { height, reason };
                        failures.refuse(self, liar, &asked, part);
                    }
                }
            }
        }
    }

    /// That a key had a value until a height, and none at it: the state just before; or what is proved instead.
    async fn prove_deletion(
        &self,
        question: &Question,
        height: Height,
    ) -> Result<Result<Proved, &'static str>, ClientError> {
        let Some(before) = height.checked_previous().filter(|h| *h > Height(0)) else {
            return Ok(Err("there was nothing before the first height"));
        };
        let after = self.answer(question, Wanted::Exactly(height)).await?;
        if after.value.is_some() {
            return Ok(Err("it is proved to have a value"));
        }
        let before = self.answer(question, Wanted::Exactly(before)).await?;
        Ok(match before.value {
            Some(_) => Ok(before),
            None => Err("it is proved to have had no value just before"),
        })
    }

    /// Where one validator says that a key lost its value, at or below a height where it has none.
    async fn deletion_hint(
        &self,
        at: usize,
        question: &Question,
        absent: Height,
    ) -> Result<Option<Height>, Failure> {
        let mut from = absent;
        for _ in 0..HISTORY_PAGES_MAX {
            let path = format!("{}/history?limit=1&at={from}", question.path());
            let answer = self.get_from(at, &path, false).await?;
            let page: HistoryAnswer = json(&answer)?;
            match (page.versions.first(), page.next) {
                (Some(version), _) if version.value.is_some() || version.height > from => {
                    let reason = format!("a version at {} where none can be", version.height);
                    return Err(Failure::Form(reason));
                }
                (Some(version), _) => return Ok(Some(version.height)),
                (None, Some(next)) if next < from => from = next,
                (None, Some(_)) => return Err(Failure::Form("pages that go nowhere".into())),
                (None, None) => return Ok(None),
            }
        }
        Ok(None)
    }
}
