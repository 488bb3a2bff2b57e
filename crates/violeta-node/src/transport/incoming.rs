//! Connections that others make: received from, never sent to (but for the answer to the hello).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
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
                    let pass = Gate::enter(&gate, address.ip());
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

/// Counts handshakes under way, in all and for each address. Where there are too many, the oldest gives way: a validator's
/// own takes milliseconds, while whoever holds a place by being slow is soon the oldest. So strangers can't keep a
/// validator out, even from its own address, without opening places faster than it shakes hands.
#[derive(Default)]
struct Gate {
    state: Mutex<GateState>,
}

#[derive(Default)]
struct GateState {
    entered: u64,
    /// By number, so oldest first: whence, and what tells it to give way when dropped. At most `HANDSHAKES_MAX`.
    under_way: BTreeMap<u64, (IpAddr, oneshot::Sender<()>)>,
}

impl GateState {
    /// Who gives way to one more from `address`: the oldest from there if it has all its places, the oldest of whoever
    /// has most if there are no more.
    fn in_the_way(&self, address: IpAddr) -> Option<u64> {
        let mut by_address: BTreeMap<IpAddr, (usize, u64)> = BTreeMap::new();
        for (number, (from, _)) in &self.under_way {
            by_address.entry(*from).or_insert((0, *number)).0 += 1;
        }
        match by_address.get(&address) {
            Some((count, oldest)) if *count >= HANDSHAKES_PER_ADDRESS_MAX => Some(*oldest),
            _ if self.under_way.len() < HANDSHAKES_MAX => None,
            _ => by_address
                .into_values()
                .max_by_key(|(count, _)| *count)
                .map(|(_, oldest)| oldest),
        }
    }
}

/// The right to be in a handshake, given back when dropped.
struct Pass {
    gate: Arc<Gate>,
    number: u64,
    /// Ends when another takes the place.
    gave_way: oneshot::Receiver<()>,
}

impl Gate {
    fn enter(gate: &Arc<Gate>, address: IpAddr) -> Pass {
        let mut state = gate.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(oldest) = state.in_the_way(address) {
            state.under_way.remove(&oldest);
        }
        let (keep, gave_way) = oneshot::channel();
        state.entered += 1;
        let number = state.entered;
        state.under_way.insert(number, (address, keep));
        assert!(
            state.under_way.len() <= HANDSHAKES_MAX,
            "one came, one went"
        );
        Pass {
            gate: gate.clone(),
            number,
            gave_way,
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut state = (self.gate.state.lock()).unwrap_or_else(PoisonError::into_inner);
        state.under_way.remove(&self.number);
    }
}

async fn serve(shared: Arc<Shared>, acceptor: TlsAcceptor, socket: TcpStream, mut pass: Pass) {
    let address = socket.peer_addr().ok();
    let opened = tokio::select! {
        opened = timeout(HANDSHAKE_TIMEOUT, handshake(&shared, &acceptor, socket)) => opened,
        _ = &mut pass.gave_way => {
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
    use tokio::sync::oneshot::error::TryRecvError;

    fn from(i: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, i])
    }

    /// Which of these are still under way.
    fn stay(passes: &mut [Pass]) -> Vec<usize> {
        let open = |pass: &mut Pass| pass.gave_way.try_recv() == Err(TryRecvError::Empty);
        let passes = passes.iter_mut().enumerate();
        passes
            .filter_map(|(i, pass)| open(pass).then_some(i))
            .collect()
    }

    #[test]
    fn of_too_many_from_one_address_the_oldest_give_way() {
        let gate = Arc::new(Gate::default());
        let mut other = [Gate::enter(&gate, from(2))];
        let mut flood: Vec<_> = (0..100).map(|_| Gate::enter(&gate, from(1))).collect();
        let newest: Vec<_> = (100 - HANDSHAKES_PER_ADDRESS_MAX..100).collect();
        assert_eq!(stay(&mut flood), newest);
        assert_eq!(stay(&mut other), [0], "another address isn't touched");
        drop((flood, other));
        assert!(gate.state.lock().unwrap().under_way.is_empty());
    }

    #[test]
    fn all_addresses_together_are_bounded_and_whoever_has_most_gives_way() {
        let gate = Arc::new(Gate::default());
        let mut flood: Vec<_> = (0..HANDSHAKES_PER_ADDRESS_MAX)
            .map(|_| Gate::enter(&gate, from(0)))
            .collect();
        let mut singles: Vec<_> = (1..=60).map(|i| Gate::enter(&gate, from(i))).collect();
        let left = HANDSHAKES_MAX - singles.len();
        let newest: Vec<_> = (flood.len() - left..flood.len()).collect();
        assert_eq!(stay(&mut flood), newest);
        assert_eq!(stay(&mut singles).len(), 60);
        assert_eq!(gate.state.lock().unwrap().under_way.len(), HANDSHAKES_MAX);
    }
}
