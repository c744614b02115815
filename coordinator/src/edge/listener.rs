//! Takes connections: bounds their number, speaks TLS with them where there are credentials, and
//! hands on those that came about. Handshakes run beside each other, so that one peer that does not
//! answer holds up nobody.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use common::access::NO_TLS;
use common::credentials;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::Stream;
use tokio_util::either::Either;
use tonic::transport::server::Connected;

use super::places::{Place, Places};
use super::refusals::Reason;
use super::verifier::PRESENTED;
use super::{Edge, Peer, Port};

/// A handshake takes two round trips; who needs longer than this does not mean to end it.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(5);
/// Until a request comes that is let in: who connects to ask asks at once.
const REQUEST_WAIT: Duration = Duration::from_secs(10);
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
        let (accepting, places) = (JoinSet::new(), Places::new());
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
                accepted = tcp.accept() => accepted,
                Some(_) = handshakes.join_next() => continue,
            };
            match accepted {
                // One that is not admitted is closed at once.
                Ok((stream, address)) => self.admit(stream, address, &mut handshakes),
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Begins with a new connection, where there is a place for it.
    fn admit(&self, stream: TcpStream, address: SocketAddr, handshakes: &mut JoinSet<()>) {
        let mut peer = Peer::at(address);
        let tls = self.edge.tls(self.port).filter(|_| self.is_secured);
        let handshake = tls.is_some().then(|| self.places.take_handshake(peer.network()));
        if matches!(handshake, Some(None)) {
            self.edge.turned_away(&peer, Reason::Handshakes, "too many handshakes at a time");
            return;
        }
        let Some(place) = self.places.take(peer.network(), self.edge.is_secured()) else {
            self.edge.turned_away(&peer, Reason::Connections, "too many connections");
            return;
        };
        peer.place = Some(Arc::clone(&place));
        // Small messages go at once; where that cannot be set, they go a little later.
        let _ = stream.set_nodelay(true);
        let (edge, ready, port) = (Arc::clone(&self.edge), self.ready.clone(), self.port);
        handshakes.spawn(async move {
            let secured = secure(stream, peer, tls, &edge).await;
            drop(handshake);
            let Some((stream, peer)) = secured else { return };
            let until = Some(Box::pin(sleep(REQUEST_WAIT)));
            let connection = Connection { stream, peer, place, port, edge, until };
            // Nobody takes it where the server ends.
            drop(ready.send(connection).await);
        });
    }
}

type Secured = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// Speaks TLS where that is to be spoken.
async fn secure(
    stream: TcpStream,
    mut peer: Peer,
    tls: Option<Arc<ServerConfig>>,
    edge: &Edge,
) -> Option<(Secured, Peer)> {
    let Some(tls) = tls else { return Some((Either::Left(stream), peer)) };
    let handshake = PRESENTED.scope(None.into(), async {
        let stream = shaken(stream, tls).await;
        (stream, PRESENTED.with(|presented| presented.take()))
    });
    let Ok((stream, presented)) = timeout(HANDSHAKE_WAIT, handshake).await else {
        let told = "the TLS handshake was not ended in time";
        edge.turned_away(&peer, Reason::Handshake, told);
        return None;
    };
    peer.certificate = presented.map(Arc::from);
    match stream {
        Ok(stream) => {
            let shown = stream.get_ref().1.peer_certificates();
            let shown = shown.and_then(<[_]>::first).map(credentials::subject);
            peer.certificate = shown.map(Arc::from);
            Some((Either::Right(Box::new(stream)), peer))
        }
        // Whoever only looks whether the port is open, as a load balancer does, says nothing.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
        Err(error) => {
            let is_tls = error.kind() != io::ErrorKind::Unsupported;
            let reason = if is_tls { Reason::Handshake } else { Reason::NoTls };
            edge.turned_away(&peer, reason, &error.to_string());
            None
        }
    }
}

/// A connection that may be served.
pub struct Connection {
    stream: Secured,
    peer: Peer,
    place: Arc<Place>,
    port: Port,
    edge: Arc<Edge>,
    /// When it is closed, as long as nothing that it asked was let in.
    until: Option<Pin<Box<Sleep>>>,
}

impl Connection {
    /// The other end.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Fails where the connection is to be closed.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Some(until) = &mut self.until else { return Ok(()) };
        if self.place.is_known() {
            // A proxy's connection has workers' streams beside what is refused.
            self.until = None;
        } else if self.port == Port::Grpc && self.place.is_worn() {
            // By HTTP/1 the answer itself says that the connection ends.
            return Err(io::Error::other("too many requests in a row were refused"));
        } else if until.as_mut().poll(cx).is_ready() {
            // Browsers and probes hold connections by HTTP for later.
            if self.port == Port::Grpc {
                let told = "no call that may be made came in time";
                self.edge.turned_away(&self.peer, Reason::Silent, told);
            }
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
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
            Err(io::Error::new(io::ErrorKind::Unsupported, "no TLS was spoken"))
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
        self.check(cx)?;
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

#[cfg(test)]
mod tests {
    use super::*;

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
