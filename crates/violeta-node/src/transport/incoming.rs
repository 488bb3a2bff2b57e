//! Connections that others make: received from, never sent to (but for the answer to the hello).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, info, warn};
use violeta_types::limits::MESSAGE_BYTES_MAX;
use violeta_types::{ValidatorIndex, decode, encode};

use super::frame::{FrameError, FrameReader, header};
use super::hello::{Answer, HANDSHAKE_TIMEOUT, HELLO_BYTES_MAX, Hello};
use super::{
    HANDSHAKES_MAX, HANDSHAKES_PER_ADDRESS_MAX, MESSAGE_COST, PeerEvent, Shared, prepare,
    replace_incoming, tls,
};

/// Accepts connections for ever.
pub(super) async fn listen(shared: Arc<Shared>, listener: TcpListener, acceptor: TlsAcceptor) {
    let gate = Arc::new(Gate::default());
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, address)) => {
                    let Some(pass) = Gate::enter(&gate, address.ip()) else {
                        debug!(%address, "too many handshakes under way; connection dropped");
                        shared.metrics.refused_connections.inc();
                        continue;
                    };
                    connections.spawn(serve(shared.clone(), acceptor.clone(), socket, pass));
                }
                Err(error) => {
                    // Out of file descriptors, most likely: give those who hold them time to go.
                    warn!(%error, "can't accept connections of validators; trying again");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Counts handshakes under way, in all and for each address.
#[derive(Default)]
struct Gate {
    /// Addresses with their handshakes; at most `HANDSHAKES_MAX` entries.
    by_address: Mutex<BTreeMap<IpAddr, usize>>,
}

/// The right to be in a handshake, given back when dropped.
struct Pass {
    gate: Arc<Gate>,
    address: IpAddr,
}

impl Gate {
    fn enter(gate: &Arc<Gate>, address: IpAddr) -> Option<Pass> {
        let mut by_address = gate
            .by_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let total: usize = by_address.values().sum();
        let from_here = by_address.get(&address).copied().unwrap_or(0);
        if total >= HANDSHAKES_MAX || from_here >= HANDSHAKES_PER_ADDRESS_MAX {
            return None;
        }
        by_address.insert(address, from_here + 1);
        let gate = gate.clone();
        Some(Pass { gate, address })
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut by_address = self
            .gate
            .by_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&self.address);
            }
        }
    }
}

async fn serve(shared: Arc<Shared>, acceptor: TlsAcceptor, socket: TcpStream, pass: Pass) {
    let address = socket.peer_addr().ok();
    let opened = timeout(HANDSHAKE_TIMEOUT, handshake(&shared, &acceptor, socket)).await;
    drop(pass);
    let (peer, reader) = match opened {
        Ok(Ok(opened)) => opened,
        Ok(Err(reason)) => {
            shared.metrics.refused_connections.inc();
            return info!(?address, %reason, "connection refused");
        }
        Err(_) => {
            shared.metrics.refused_connections.inc();
            return info!(?address, "connection refused: no handshake in time");
        }
    };
    let task = tokio::spawn(receive(shared.clone(), peer, reader));
    if let Some(peer) = shared.peer(peer) {
        replace_incoming(peer, Some(task.abort_handle()));
    }
    // The task ends with its connection, is aborted by a newer one, or by the end of the transport.
    let _ = AbortOnDrop(task).await;
}

/// A task that doesn't outlive who waits for it.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Future for AbortOnDrop {
    type Output = Result<(), tokio::task::JoinError>;

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        std::pin::Pin::new(&mut self.0).poll(context)
    }
}

type Reader = FrameReader<TlsStream<TcpStream>>;

async fn handshake(
    shared: &Shared,
    acceptor: &TlsAcceptor,
    socket: TcpStream,
) -> Result<(ValidatorIndex, Reader), String> {
    prepare(&socket).map_err(|e| e.to_string())?;
    let stream = acceptor
        .accept(socket)
        .await
        .map_err(|e| format!("TLS: {e}"))?;
    let index = who(shared, &stream)?;
    let mut reader = FrameReader::new(stream, HELLO_BYTES_MAX);
    let first = reader
        .next()
        .await
        .map_err(|e| format!("validator {index}: {e}"))?
        .ok_or_else(|| format!("validator {index} said nothing"))?;
    let hello: Hello = decode(&first).map_err(|e| format!("validator {index}: {e}"))?;
    let peer = shared.peer(index).ok_or("not in the committee")?;
    let answer = match shared.refused_for(peer) {
        Some(_) => Answer::Refused,
        None => hello.answer(shared.chain),
    };
    let bytes = encode(&answer);
    let frame = [&header(bytes.len())[..], &bytes].concat();
    let stream = reader.stream_mut();
    stream.write_all(&frame).await.map_err(|e| e.to_string())?;
    stream.flush().await.map_err(|e| e.to_string())?;
    if answer != Answer::Welcome {
        return Err(format!("validator {index} was told: {answer:?}"));
    }
    reader.set_length_max(MESSAGE_BYTES_MAX);
    Ok((index, reader))
}

fn who(shared: &Shared, stream: &TlsStream<TcpStream>) -> Result<ValidatorIndex, String> {
    let (_, connection) = stream.get_ref();
    let certificates = connection.peer_certificates().unwrap_or_default();
    let first = certificates.first().ok_or("no certificate")?;
    let key = tls::key_of(first).map_err(|e| e.to_string())?;
    shared
        .committee
        .index_of_node(&key)
        .ok_or_else(|| format!("node key {key} is in no committee"))
}

async fn receive(shared: Arc<Shared>, from: ValidatorIndex, mut reader: Reader) {
    debug!(validator = %from, "incoming connection");
    match receive_all(&shared, from, &mut reader).await {
        Ok(()) => debug!(validator = %from, "incoming connection ended"),
        Err(error) => info!(validator = %from, %error, "incoming connection dropped"),
    }
}

async fn receive_all(
    shared: &Shared,
    from: ValidatorIndex,
    reader: &mut Reader,
) -> Result<(), FrameError> {
    let Some(peer) = shared.peer(from) else {
        return Ok(());
    };
    while let Some(bytes) = reader.next().await? {
        shared.metrics.received(from, bytes.len());
        let cost = (bytes.len() + MESSAGE_COST) as u32;
        // Waits for what it sent before to be handled; the semaphore is never closed.
        let Ok(quota) = peer.quota.clone().acquire_many_owned(cost).await else {
            return Ok(());
        };
        shared.event(PeerEvent::Message { from, bytes, quota });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_all_handshakes() {
        let gate = Arc::new(Gate::default());
        let flood = IpAddr::from([10, 0, 0, 1]);
        let passes: Vec<_> = (0..100).filter_map(|_| Gate::enter(&gate, flood)).collect();
        assert_eq!(passes.len(), HANDSHAKES_PER_ADDRESS_MAX);
        assert!(Gate::enter(&gate, IpAddr::from([10, 0, 0, 2])).is_some());
        drop(passes);
        assert!(Gate::enter(&gate, flood).is_some());
        assert!(gate.by_address.lock().unwrap().is_empty());
    }

    #[test]
    fn all_addresses_together_are_bounded() {
        let gate = Arc::new(Gate::default());
        let passes: Vec<_> = (0..=255)
            .filter_map(|i| Gate::enter(&gate, IpAddr::from([10, 0, 0, i])))
            .collect();
        assert_eq!(passes.len(), HANDSHAKES_MAX);
    }
}
