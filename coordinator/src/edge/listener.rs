//! Takes connections: bounds their number, speaks TLS with them where there are credentials, and
//! hands on those that came about. Handshakes run beside each other, so that one peer that does not
//! answer holds up nobody.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use common::access::NO_TLS;
use common::credentials;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::Stream;
use tokio_util::either::Either;
use tonic::transport::server::Connected;

use super::verifier::PRESENTED;
use super::{Edge, Peer, Port};

/// Connections of one listener at a time: a worker holds one, a client and a browser a few. Each
/// costs a descriptor and some kilobytes.
const CONNECTIONS_MAX: usize = 8192;
/// Of them those of one address: a gateway may have a cluster behind it, and one that goes wild
/// leaves as many for the others.
const PEER_CONNECTIONS_MAX: usize = 4096;
/// Handshakes at a time; more wait in the system's queue. Each is a few milliseconds of a core.
const HANDSHAKES_MAX: usize = 128;
/// A handshake takes two round trips; who needs longer than this does not mean to end it.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(10);
/// A peer that speaks no TLS has said what it wants when it pauses for this long.
const PAUSE: Duration = Duration::from_millis(200);
/// Reads of what it says; who goes on longer is not heard out.
const READS_MAX: usize = 64;
/// Connections that wait to be served.
const READY_WAITING_MAX: usize = 64;
/// Without descriptors left the system refuses a connection; trying at once changes nothing.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The first byte of every TLS connection.
const TLS_HANDSHAKE_BYTE: u8 = 22;
/// What a client by HTTP/2 begins with that does not speak TLS.
const HTTP2_FIRST_BYTES: &[u8] = b"PRI";

/// The connections of one port.
pub struct Listener {
    ready: mpsc::Receiver<Connection>,
    sender: mpsc::Sender<Connection>,
    accepting: JoinSet<()>,
    port: Port,
    edge: Arc<Edge>,
    places: Places,
}

impl Listener {
    /// Takes connections until it is dropped.
    pub fn start(tcp: TcpListener, port: Port, edge: Arc<Edge>) -> Listener {
        let (sender, ready) = mpsc::channel(READY_WAITING_MAX);
        let (accepting, places) = (JoinSet::new(), Places::default());
        let mut listener = Listener { ready, sender, accepting, port, edge, places };
        listener.accept(tcp, true);
        listener
    }

    /// Takes connections here as well, and without TLS: for the worker of this host.
    pub fn also_plainly(&mut self, tcp: TcpListener) {
        self.accept(tcp, false);
    }

    fn accept(&mut self, tcp: TcpListener, is_secured: bool) {
        let entrance = Entrance {
            port: self.port,
            is_secured,
            edge: Arc::clone(&self.edge),
            places: self.places.clone(),
            ready: self.sender.clone(),
        };
        self.accepting.spawn(entrance.run(tcp));
    }

    /// The next connection.
    pub async fn next(&mut self) -> Connection {
        self.ready.recv().await.expect("the listener has a sender itself")
    }
}

impl Stream for Listener {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.ready.poll_recv(cx).map(|ready| ready.map(Ok))
    }
}

/// Takes the connections of one socket.
struct Entrance {
    port: Port,
    is_secured: bool,
    edge: Arc<Edge>,
    places: Places,
    ready: mpsc::Sender<Connection>,
}

impl Entrance {
    async fn run(self, tcp: TcpListener) {
        let mut handshakes = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = tcp.accept(), if handshakes.len() < HANDSHAKES_MAX => accepted,
                Some(_) = handshakes.join_next() => continue,
            };
            match accepted {
                Ok((stream, address)) => {
                    let Some(connection) = self.admit(stream, address) else { continue };
                    let (edge, ready) = (Arc::clone(&self.edge), self.ready.clone());
                    let tls = self.edge.tls(self.port).filter(|_| self.is_secured);
                    handshakes.spawn(async move {
                        if let Some(connection) = connection.secure(tls, &edge).await {
                            // Nobody takes it where the server ends.
                            drop(ready.send(connection).await);
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// A new connection, where there is a place for it.
    fn admit(&self, stream: TcpStream, address: SocketAddr) -> Option<Connection> {
        let peer = Peer::at(address);
        let Some(place) = self.places.take(address.ip()) else {
            self.edge.turned_away(&peer, "too many connections");
            return None;
        };
        // Small messages go at once; where that cannot be set, they go a little later.
        let _ = stream.set_nodelay(true);
        Some(Connection { stream: Either::Left(stream), peer, place })
    }
}

/// A connection that may be served.
pub struct Connection {
    stream: Either<TcpStream, Box<TlsStream<TcpStream>>>,
    peer: Peer,
    place: Place,
}

impl Connection {
    /// The other end.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    async fn secure(self, tls: Option<Arc<ServerConfig>>, edge: &Edge) -> Option<Connection> {
        let Some(tls) = tls else { return Some(self) };
        let Either::Left(stream) = self.stream else { return Some(self) };
        let mut peer = self.peer;
        let handshake = PRESENTED.scope(None.into(), async {
            let stream = shaken(stream, tls).await;
            (stream, PRESENTED.with(|presented| presented.take()))
        });
        let Ok((stream, presented)) = timeout(HANDSHAKE_WAIT, handshake).await else {
            edge.turned_away(&peer, "the TLS handshake was not ended in time");
            return None;
        };
        peer.certificate = presented.map(Arc::from);
        match stream {
            Ok(stream) => {
                let shown = stream.get_ref().1.peer_certificates();
                let shown = shown.and_then(<[_]>::first).map(credentials::subject);
                peer.certificate = shown.map(Arc::from);
                let stream = Either::Right(Box::new(stream));
                Some(Connection { stream, peer, place: self.place })
            }
            // Whoever only looks whether the port is open, as a load balancer does, says nothing.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
            Err(error) => {
                edge.turned_away(&peer, &error.to_string());
                None
            }
        }
    }
}

/// Ends the handshake; tells a peer that does not speak TLS so in its own language.
async fn shaken(mut stream: TcpStream, tls: Arc<ServerConfig>) -> io::Result<TlsStream<TcpStream>> {
    let mut first = [0; HTTP2_FIRST_BYTES.len()];
    let peeked = stream.peek(&mut first).await?;
    match first[0] {
        _ if peeked == 0 => Err(io::ErrorKind::UnexpectedEof.into()),
        TLS_HANDSHAKE_BYTE => TlsAcceptor::from(tls).accept(stream).await,
        _ => {
            let is_http2 = HTTP2_FIRST_BYTES.starts_with(&first[..peeked]);
            let answer = if is_http2 { http2_refusal() } else { http1_refusal() };
            // Heard out first: a call that is under way is told the reason, one that comes later
            // finds a closed connection; and closed with bytes unread, it would be reset.
            hear_out(&mut stream).await;
            stream.write_all(&answer).await?;
            stream.shutdown().await?;
            hear_out(&mut stream).await;
            Err(io::Error::other("no TLS was spoken"))
        }
    }
}

/// Reads until the peer pauses or hangs up.
async fn hear_out(stream: &mut TcpStream) {
    let mut bytes = [0; 4096];
    for _ in 0..READS_MAX {
        match timeout(PAUSE, stream.read(&mut bytes)).await {
            Ok(Ok(1..)) => {}
            Ok(Ok(0) | Err(_)) | Err(_) => return,
        }
    }
}

fn http1_refusal() -> Vec<u8> {
    format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{NO_TLS}\n",
        NO_TLS.len() + 1
    )
    .into_bytes()
}

/// Empty settings, then the end of the connection for want of security, by RFC 9113.
fn http2_refusal() -> Vec<u8> {
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    const GO_AWAY: u8 = 7;
    const INADEQUATE_SECURITY: u32 = 12;
    let length = u8::try_from(8 + NO_TLS.len()).expect("a short text");
    let mut answer = SETTINGS.to_vec();
    answer.extend([0, 0, length, GO_AWAY, 0, 0, 0, 0, 0]);
    answer.extend([0; 4]);
    answer.extend(INADEQUATE_SECURITY.to_be_bytes());
    answer.extend(NO_TLS.bytes());
    answer
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// How many connections there are, by address.
#[derive(Clone, Default)]
struct Places(Arc<Mutex<Taken>>);

#[derive(Default)]
struct Taken {
    count: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// One connection's place; free again when it is dropped.
struct Place {
    places: Places,
    address: IpAddr,
}

impl Places {
    fn take(&self, address: IpAddr) -> Option<Place> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_address = taken.by_address.get(&address).copied().unwrap_or(0);
        if taken.count >= CONNECTIONS_MAX || of_address >= PEER_CONNECTIONS_MAX {
            return None;
        }
        taken.count += 1;
        taken.by_address.insert(address, of_address + 1);
        Some(Place { places: self.clone(), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.count -= 1;
        match taken.by_address.get_mut(&self.address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(taken.by_address.remove(&self.address)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_leavesplaces_for_others() {
        let places = Places::default();
        let address = |last: u8| IpAddr::from([10, 0, 0, last]);
        let mut taken = Vec::new();
        while let Some(place) = places.take(address(1)) {
            taken.push(place);
        }
        assert_eq!(taken.len(), PEER_CONNECTIONS_MAX);
        let other = places.take(address(2)).expect("a place");
        taken.pop();
        assert!(places.take(address(1)).is_some(), "a place that is left is free");
        drop((taken, other));
        let left = places.0.lock().expect("no panic");
        assert_eq!((left.count, left.by_address.len()), (0, 0));
    }

    #[tokio::test]
    async fn a_client_by_http2_without_tls_is_told_so() {
        let listens = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listens.local_addr().expect("bound"));
        let server = tokio::spawn(async move {
            let (mut stream, _) = listens.accept().await.expect("a connection");
            hear_out(&mut stream).await;
            stream.write_all(&http2_refusal()).await.expect("written");
            stream
        });
        let endpoint = tonic::transport::Endpoint::from_shared(url).expect("an address");
        let channel = endpoint.connect().await.expect("a connection");
        let mut client = common::wire::sweep_service_client::SweepServiceClient::new(channel);
        let answer = client.list_sweeps(common::wire::ListSweepsRequest {}).await;
        let told = common::access::explain(&answer.expect_err("refused"));
        assert_eq!(
            told.as_deref(),
            Some("TLS is spoken at this address: give https:// and --credentials")
        );
        server.await.expect("no panic");
    }
}
