//! Connections that this node makes: sent on, never received from (but for the answer to the hello).
//!
//! ```text
//!  ┌──▶ wait (0.1 s, doubling to 5 s, ± half) ──▶ dial ──▶ TLS ──▶ hello ──▶ Up ── send ──▶ Down ──┐
//!  └───────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing::{debug, info, warn};
use violeta_types::{ValidatorIndex, decode, encode};

use super::frame::{FrameReader, HEADER_BYTES, header};
use super::hello::{Answer, HANDSHAKE_TIMEOUT, HELLO_BYTES_MAX, Hello};
use super::{Peer, PeerEvent, Shared, prepare, tls};
use crate::lock::lock;

/// The first wait before dialling again.
const BACK_OFF_MIN: Duration = Duration::from_millis(100);
/// The longest wait before dialling again.
const BACK_OFF_MAX: Duration = Duration::from_secs(5);
/// Bytes of messages that are written at once.
const BATCH_BYTES: usize = 256 << 10;
/// Messages below this are put together before they are written.
const JOIN_BYTES_MAX: usize = 16 << 10;

/// Keeps a connection to a validator, for ever.
pub(super) async fn keep_connected(shared: Arc<Shared>, index: ValidatorIndex) {
    let Some(peer) = shared.peer(index) else {
        return;
    };
    let Some((address, connector)) = &peer.connector else {
        warn!(validator = %index, "no address in [peers]: nothing will be sent to this validator");
        return;
    };
    let mut back_off = BACK_OFF_MIN;
    let mut told = String::new();
    loop {
        if let Some(left) = shared.refused_for(peer) {
            sleep(left).await;
        }
        match connect(&shared, peer, address, connector).await {
            Ok(stream) => {
                told.clear();
                let since = Instant::now();
                stay(&shared, peer, stream).await;
                // One that closes at once is no better than one that doesn't answer.
                if since.elapsed() > BACK_OFF_MAX {
                    back_off = BACK_OFF_MIN;
                }
            }
            // The same failure again and again is said once.
            Err(reason) if reason != told => {
                info!(validator = %index, %address, %reason, "can't connect; trying again");
                told = reason;
            }
            Err(_) => {}
        }
        sleep(jittered(back_off)).await;
        back_off = (back_off * 2).min(BACK_OFF_MAX);
    }
}

/// Between half of a wait and one and a half: so that nodes that lost each other don't meet in step.
fn jittered(wait: Duration) -> Duration {
    let mut random = [0; 2];
    // Without randomness the wait is merely not spread.
    let drawn = getrandom::fill(&mut random).map_or(u16::MAX / 2, |()| u16::from_le_bytes(random));
    wait.mul_f64(0.5 + f64::from(drawn) / f64::from(u16::MAX))
}

async fn connect(
    shared: &Shared,
    peer: &Peer,
    address: &str,
    connector: &TlsConnector,
) -> Result<TlsStream<TcpStream>, String> {
    let open = async {
        let resolved = lookup_host(address).await.map_err(|e| e.to_string())?;
        let addresses: Vec<_> = resolved.collect();
        if let Some(first) = addresses.first() {
            lock(&peer.known).configured = Some(first.ip().to_canonical());
        }
        let socket = TcpStream::connect(&addresses[..])
            .await
            .map_err(|e| e.to_string())?;
        prepare(&socket).map_err(|e| e.to_string())?;
        let stream = connector
            .connect(tls::server_name(), socket)
            .await
            .map_err(|e| format!("TLS: {e}"))?;
        greet(shared, stream).await
    };
    match timeout(HANDSHAKE_TIMEOUT, open).await {
        Ok(result) => result,
        Err(_) => Err("no answer in time".into()),
    }
}

async fn greet<S: AsyncRead + AsyncWrite + Unpin>(
    shared: &Shared,
    mut stream: S,
) -> Result<S, String> {
    let hello = encode(&Hello::new(shared.chain));
    let frame = [&header(hello.len())[..], &hello].concat();
    stream.write_all(&frame).await.map_err(|e| e.to_string())?;
    stream.flush().await.map_err(|e| e.to_string())?;
    let mut reader = FrameReader::new(stream, HELLO_BYTES_MAX);
    let answer = reader
        .next()
        .await
        .map_err(|e| e.to_string())?
        .ok_or("it closed the connection: does its committee hold this node's key?")?;
    match decode(&answer) {
        Ok(Answer::Welcome) => Ok(reader.into_stream()),
        Ok(other) => Err(other.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

async fn stay(shared: &Shared, peer: &Peer, stream: TlsStream<TcpStream>) {
    let open = Open::new(shared, peer);
    let (reader, writer) = tokio::io::split(stream);
    let ended = tokio::select! {
        error = send(shared, peer, writer) => format!("{error}"),
        () = silent(reader) => "closed by the other side".to_owned(),
        () = peer.drop_outgoing.notified() => "refused for a while".to_owned(),
    };
    drop(open);
    debug!(validator = %peer.index, reason = ended, "outgoing connection ended");
}

/// While it lives, messages may be queued; whatever ends it, also the task's abortion, closes the queue.
struct Open<'a> {
    shared: &'a Shared,
    peer: &'a Peer,
}

impl<'a> Open<'a> {
    fn new(shared: &'a Shared, peer: &'a Peer) -> Self {
        peer.queue.open();
        shared.metrics.connected(peer.index, true);
        shared.event(PeerEvent::Up(peer.index));
        info!(validator = %peer.index, "connected");
        Open { shared, peer }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.peer.queue.close();
        self.shared.metrics.connected(self.peer.index, false);
        self.shared.event(PeerEvent::Down(self.peer.index));
    }
}

/// Ends when the connection does. Nothing is to be said on it but the hello's answer.
async fn silent(mut reader: impl AsyncRead + Unpin) {
    let mut byte = [0];
    // One byte, an end or an error: each means that this connection is over.
    let _ = reader.read(&mut byte).await;
}

async fn send(shared: &Shared, peer: &Peer, mut writer: impl AsyncWrite + Unpin) -> std::io::Error {
    let mut joined = Vec::with_capacity(BATCH_BYTES.min(64 << 10));
    loop {
        let batch = peer.queue.pop(BATCH_BYTES).await;
        let bytes: usize = batch.iter().map(|m| HEADER_BYTES + m.len()).sum();
        let written = async {
            for message in batch {
                joined.extend_from_slice(&header(message.len()));
                if message.len() <= JOIN_BYTES_MAX {
                    joined.extend_from_slice(&message);
                    continue;
                }
                writer.write_all(&joined).await?;
                joined.clear();
                writer.write_all(&message).await?;
            }
            writer.write_all(&joined).await?;
            joined.clear();
            writer.flush().await
        };
        if let Err(error) = written.await {
            return error;
        }
        shared.metrics.sent(peer.index, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_spread_around_what_they_should_be() {
        for _ in 0..1_000 {
            let wait = jittered(BACK_OFF_MAX);
            assert!(wait >= BACK_OFF_MAX / 2 && wait <= BACK_OFF_MAX * 3 / 2);
        }
    }
}
