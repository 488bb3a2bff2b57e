//! What happened in a world, in one digest, and, if somebody watches, in words.
//!
//! Two runs of one seed are the same run exactly if their digests are: every event of the world goes in, with its
//! time, its validator and its content, where it has any (what is long by its digest or its name: [`content`]).
//!
//! [`content`]: crate::content

use std::fmt;

use violeta_types::Digest;

use crate::clock::Micros;

/// Where lines of a trace go.
pub type Sink<'a> = &'a mut dyn FnMut(&str);

/// The running digest of a world's events.
pub(crate) struct Trace<'a> {
    hasher: blake3::Hasher,
    events: u64,
    sink: Option<Sink<'a>>,
}

impl<'a> Trace<'a> {
    pub(crate) fn new(sink: Option<Sink<'a>>) -> Self {
        Trace {
            hasher: blake3::Hasher::new_derive_key("violeta simulation trace"),
            events: 0,
            sink,
        }
    }

    /// An event: when, what kind, who, and its content.
    pub(crate) fn event(&mut self, now: Micros, kind: &str, who: usize, content: &[u8]) {
        self.events += 1;
        let mut head = [0; 24];
        head[..8].copy_from_slice(&now.to_le_bytes());
        head[8..16].copy_from_slice(&(who as u64).to_le_bytes());
        head[16..].copy_from_slice(&(content.len() as u64).to_le_bytes());
        self.hasher.update(&head);
        self.hasher.update(kind.as_bytes());
        self.hasher.update(content);
    }

    /// A line for people. Not part of the digest.
    pub(crate) fn line(&mut self, now: Micros, who: Option<usize>, what: fmt::Arguments<'_>) {
        if let Some(sink) = &mut self.sink {
            let (seconds, micros) = (now / 1_000_000, now % 1_000_000);
            match who {
                Some(who) => sink(&format!("{seconds:4}.{micros:06} v{who} {what}")),
                None => sink(&format!("{seconds:4}.{micros:06} -- {what}")),
            }
        }
    }

    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    pub(crate) fn digest(&self) -> Digest {
        Digest(*self.hasher.finalize().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_tells_time_kind_validator_and_content_apart() {
        let digest = |now, kind: &str, who, content: &[u8]| {
            let mut trace = Trace::new(None);
            trace.event(now, kind, who, content);
            trace.digest()
        };
        let base = digest(1, "message", 2, b"x");
        assert_eq!(base, digest(1, "message", 2, b"x"));
        assert_ne!(base, digest(2, "message", 2, b"x"));
        assert_ne!(base, digest(1, "messagf", 2, b"x"));
        assert_ne!(base, digest(1, "message", 3, b"x"));
        assert_ne!(base, digest(1, "message", 2, b"y"));
    }

    #[test]
    fn lines_go_to_who_watches_and_leave_the_digest_alone() {
        let mut lines = Vec::new();
        let mut sink = |line: &str| lines.push(line.to_owned());
        let mut trace = Trace::new(Some(&mut sink));
        let before = trace.digest();
        trace.line(1_500_000, Some(3), format_args!("crashes"));
        trace.line(2, None, format_args!("all heal"));
        assert_eq!(trace.digest(), before);
        assert_eq!(lines, ["   1.500000 v3 crashes", "   0.000002 -- all heal"]);
    }
}
