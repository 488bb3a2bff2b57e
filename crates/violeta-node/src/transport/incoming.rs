//! Connections that others make: received from, never sent to (but for the answer to the hello).

use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, info};
use violeta_types::limits::MESSAGE_BYTES_MAX;
use violeta_types::{ValidatorIndex, decode, encode};

use super::frame::{FrameError, FrameReader, header};
use super::gate::{Gate, Pass};
use super::hello::{Answer, HANDSHAKE_TIMEOUT, HELLO_BYTES_MAX, Hello};
use super::{MESSAGE_COST, PeerEvent, Shared, prepare, replace_incoming, tls};
use crate::descriptors::Trouble;
use crate::lock::lock;

/// Accepts connections for ever.
pub(super) async fn listen(shared: Arc<Shared>, listener: TcpListener, acceptor: TlsAcceptor) {
    let gate = Arc::new(Gate::default());
    let mut connections = JoinSet::new();
    let mut trouble = Trouble::new("validators");
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, address)) => {
                    let ip = address.ip().to_canonical();
                    let pass = Gate::enter(&gate, ip, shared.known_at(ip));
                    connections.spawn(serve(shared.clone(), acceptor.clone(), socket, pass));
                }
                Err(error) => trouble.wait(&error).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(shared: Arc<Shared>, acceptor: TlsAcceptor, socket: TcpStream, mut pass: Pass) {
    let address = socket.peer_addr().ok();
    let opened = tokio::select! {
        opened = timeout(HANDSHAKE_TIMEOUT, handshake(&shared, &acceptor, socket)) => opened,
        () = pass.displaced() => {
            shared.metrics.refused_connections.inc();
            return debug!(?address, "too many handshakes under way; the oldest was dropped");
        }
    };
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
        if let Some(address) = address {
            lock(&peer.known).came_from = Some(address.ip().to_canonical());
        }
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
