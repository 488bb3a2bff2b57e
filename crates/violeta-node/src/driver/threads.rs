//! Threads with names, whose panics are no secret.

use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use super::Answer;

/// The threads of a driver.
pub(super) struct Threads {
    handles: Vec<(&'static str, JoinHandle<()>)>,
    answers: Option<Sender<Answer>>,
}

/// Tells the replica's thread if the thread that holds it panics.
struct Witness {
    name: &'static str,
    answers: Sender<Answer>,
}

impl Drop for Witness {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let reason = format!(
                "the {} thread panicked; this is a bug: please report it with the log",
                self.name
            );
            // Where nobody listens any more, the node is stopping, and the join tells.
            let _ = self.answers.send(Answer::Failed(reason));
        }
    }
}

impl Threads {
    pub(super) fn new(answers: Sender<Answer>) -> Self {
        Threads {
            handles: Vec::new(),
            answers: Some(answers),
        }
    }

    pub(super) fn start(
        &mut self,
        name: &'static str,
        body: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<()> {
        let witness = self
            .answers
            .clone()
            .map(|answers| Witness { name, answers });
        let thread = Builder::new()
            .name(format!("violeta-{name}"))
            .spawn(move || {
                let _witness = witness;
                body();
            })?;
        self.handles.push((name, thread));
        Ok(())
    }

    /// Waits for all, until `deadline`; names those that panicked or didn't end.
    pub(super) fn join(mut self, deadline: Instant) -> Vec<String> {
        self.answers = None;
        let mut complaints = Vec::new();
        for (name, thread) in self.handles {
            while !thread.is_finished() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(2));
            }
            if !thread.is_finished() {
                complaints.push(format!("the {name} thread didn't end in time"));
            } else if thread.join().is_err() {
                complaints.push(format!("the {name} thread panicked"));
            }
        }
        complaints
    }
}
