//! Questions to the node for which it may read files: where they run.
//!
//! ```text
//!   handler (a runtime's thread: carries consensus traffic too) ──ask──▶ blocking thread ──▶ index, journal, store
//! ```
//!
//! The runtime's threads are few, and read and write what validators tell each other. One of them that waits for a disk,
//! or decodes a large block, holds up the round.

use std::sync::Arc;

use super::source::{Source, SourceError};

/// Asks the node something for which it may read files: on a thread where that holds up nobody.
pub(crate) async fn ask<T: Send + 'static>(
    source: &Arc<dyn Source>,
    question: impl FnOnce(&dyn Source) -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    let source = source.clone();
    match tokio::task::spawn_blocking(move || question(&*source)).await {
        Ok(answer) => answer,
        // The task panicked, or the runtime goes down.
        Err(error) => Err(SourceError::Failed(error.to_string())),
    }
}
