//! Connections: accepted while there is room, timed, cut when they stall.
//!
//! ```text
//!   accept ─▶ pass (all, address) ─▶ head within HEAD_READ_MS_MAX, HEAD_BYTES_MAX ─▶ router
//!        └ no room: 503 and closed          └ slow-loris: closed
//! ```

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tower::ServiceExt;
use violeta_types::api::ErrorBody;

use super::admission::{Gate, Pass};
use super::answer::Cut;
use super::error::ApiError;
use super::limits::{HEAD_BYTES_MAX, HEAD_READ_MS_MAX, SHUTDOWN_MS_MAX, UNSENT_BYTES_MAX};
use super::source::Source;
use super::{App, GatewayConfig, Peer, routes};
use crate::descriptors::Trouble;

/// What a connection for which there is no room is told. There is no request to answer yet, so it is written by hand.
fn no_room() -> String {
    let detail = ApiError::overloaded("too many connections").detail;
    let body = ErrorBody { error: detail };
    // Writing strings and numbers to memory doesn't fail; should it, an empty body says as much as is left to say.
    let json = serde_json::to_string(&body).unwrap_or_default();
    format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{json}",
        json.len()
    )
}

/// A gateway that runs.
pub struct Gateway {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Gateway {
    /// Serves `source` on `listener`, until it is stopped.
    ///
    /// # Errors
    /// If the listener can't be used.
    pub fn start(
        listener: TcpListener,
        config: GatewayConfig,
        source: Arc<dyn Source>,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let gate = Gate::new("connections", config.connections_max);
        let write_stall = config.write_stall;
        let router = routes::router(App::new(config, source));
        let (stop, stopped) = oneshot::channel();
        let door = Door {
            listener,
            gate,
            router,
            write_stall,
        };
        let task = tokio::spawn(door.serve(stopped));
        Ok(Gateway {
            address,
            stop,
            task,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more connections, lets requests under way end for a while, and returns.
    pub async fn stop(self) {
        // If the task is gone already there is nobody to tell.
        let _ = self.stop.send(());
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the gateway ended badly");
        }
    }
}

/// Where connections come in, and what each is given.
struct Door {
    listener: TcpListener,
    gate: Arc<Gate>,
    router: Router,
    write_stall: Duration,
}

impl Door {
    async fn serve(self, mut stopped: oneshot::Receiver<()>) {
        let graceful = GracefulShutdown::new();
        let mut connections = JoinSet::new();
        let mut trouble = Trouble::new("clients");
        loop {
            tokio::select! {
                // The gateway was stopped, or dropped.
                _ = &mut stopped => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, peer)) => match self.gate.enter(peer.ip()) {
                        Ok(pass) => {
                            let connection = self.connection(stream, peer, &graceful);
                            connections.spawn(hold(connection, pass));
                        }
                        Err(_) => refuse(stream).await,
                    },
                    Err(error) => trouble.wait(&error).await,
                },
            }
        }
        drop(self.listener);
        let limit = Duration::from_millis(SHUTDOWN_MS_MAX);
        if tokio::time::timeout(limit, graceful.shutdown())
            .await
            .is_err()
        {
            tracing::debug!("connections still open are cut");
        }
    }

    fn connection(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        graceful: &GracefulShutdown,
    ) -> impl Future<Output = ()> + use<> {
        tune(&stream, self.write_stall);
        http1(stream, peer, self.router.clone(), graceful)
    }
}

async fn hold(connection: impl Future<Output = ()>, _pass: Pass) {
    connection.await;
}

fn http1(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    graceful: &GracefulShutdown,
) -> impl Future<Output = ()> + use<> {
    let cut = Cut::default();
    let of_requests = cut.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer.ip()));
        request.extensions_mut().insert(of_requests.clone());
        router.clone().oneshot(request.map(Body::new))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(HEAD_READ_MS_MAX))
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let connection = graceful.watch(connection);
    async move {
        tokio::select! {
            ended = connection => if let Err(error) = ended {
                tracing::debug!(%peer, %error, "connection ended");
            },
            () = cut.told() => {
                tracing::debug!(%peer, "connection cut: an answer wasn't read in time");
            }
        }
    }
}

/// Small answers leave at once; the kernel holds little for a peer that reads slowly, and cuts off one that stops.
fn tune(stream: &TcpStream, write_stall: Duration) {
    let socket = SockRef::from(stream);
    let set = stream
        .set_nodelay(true)
        .and_then(|()| socket.set_tcp_user_timeout(Some(write_stall)))
        .and_then(|()| socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX));
    if let Err(error) = set {
        // The peer has gone already, or the system lacks the option; neither keeps us from serving.
        tracing::debug!(%error, "can't tune a connection");
    }
}

async fn refuse(mut stream: TcpStream) {
    // Whoever doesn't take it within a moment goes without: nothing waits for a peer here.
    let text = no_room();
    let told = stream.write_all(text.as_bytes());
    if tokio::time::timeout(Duration::from_millis(10), told)
        .await
        .is_err()
    {
        tracing::debug!("a connection was refused without a word");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use violeta_types::api::ErrorCode;

    #[test]
    fn the_refusal_is_as_long_as_it_says_and_json() {
        let text = no_room();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("content-length: {}", body.len())));
        let body: ErrorBody = serde_json::from_str(body).unwrap();
        assert_eq!(body.error.code, ErrorCode::Overloaded);
    }
}
