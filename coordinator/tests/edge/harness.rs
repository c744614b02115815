//! A server with credentials in this process, what it logs, and ways to speak to it that the
//! programs themselves would not take.

use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use common::access::{Access, Authorized};
use common::spec;
use common::telemetry;
use common::token::Token;
use common::wire::sweep_service_client::SweepServiceClient;
use common::wire::worker_service_client::WorkerServiceClient;
use coordinator::config::Config;
use coordinator::edge;
use coordinator::edge::authority::{self, Request};
use coordinator::progress::Bars;
use coordinator::serve::{self, Display, End, Listeners, ServeError};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// The slowest wait of these tests, on a machine that does other things.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Between two looks at a state.
pub const POLL: Duration = Duration::from_millis(10);

pub const SWEEP: &str = "name: tiny\nmodel: mlp\ndata: strokes\nbase: {width: 16, depth: 2}\n";

/// Waits for something, with the deadline.
pub async fn in_time<F: Future>(what: &str, future: F) -> F::Output {
    timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("waited too long for {what}"))
}

/// What every server of this process logs.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// The log of this process.
    pub fn start() -> &'static Log {
        static LOG: OnceLock<Log> = OnceLock::new();
        LOG.get_or_init(|| {
            let log = Log::default();
            let writer = log.clone();
            telemetry::init(move || writer.clone());
            log
        })
    }

    /// All of it so far.
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// Waits for a line with all of these.
    pub async fn says(&self, words: &[&str]) {
        let has = async {
            loop {
                if self.text().lines().any(|line| words.iter().all(|words| line.contains(words))) {
                    return;
                }
                tokio::time::sleep(POLL).await;
            }
        };
        in_time(&format!("{words:?} in the log"), has).await;
    }
}

/// A folder as `init-tls` makes it.
pub fn credentials(folder: &Path) -> PathBuf {
    let folder = folder.join("tls");
    let hosts = vec!["node.example".into()];
    let request = Request { folder: folder.clone(), hosts, days: 1, renew: false };
    authority::make(&request).expect("made");
    folder
}

/// A coordinator in this process, on addresses of the loopback.
pub struct Server {
    pub grpc: SocketAddr,
    pub http: SocketAddr,
    stop: CancellationToken,
    running: JoinHandle<Result<End, ServeError>>,
}

impl Server {
    pub async fn start(state: &Path, edge: edge::Options) -> Server {
        Server::start_on("127.0.0.1", state, edge).await
    }

    pub async fn start_on(ip: &str, state: &Path, edge: edge::Options) -> Server {
        Log::start();
        let any = SocketAddr::new(ip.parse().unwrap(), 0);
        let sweep = spec::load(SWEEP, "test.yaml", &spec::Options::default()).unwrap().0;
        let config = Config {
            sweeps: vec![sweep],
            state: state.into(),
            local: None,
            exit_when_done: true,
            listen: any,
            http: any,
            edge,
        };
        let opened = serve::open(state).await.expect("the state directory is free");
        let listeners = Listeners::bind(any, any).await.expect("free ports");
        let grpc = listeners.grpc.local_addr().unwrap();
        let http = listeners.http.local_addr().unwrap();
        let display = Display { bars: Bars::new(), output: Box::new(io::sink()) };
        let stop = CancellationToken::new();
        let running = tokio::spawn(serve::run(config, opened, listeners, display, stop.clone()));
        Server { grpc, http, stop, running }
    }

    pub async fn stop(self) {
        self.stop.cancel();
        in_time("the server's end", self.running).await.unwrap().expect("no error");
    }

    pub fn url(&self) -> String {
        format!("https://{}", self.grpc)
    }
}

/// With credentials, `mutual` or not.
pub fn secured(tls: &Path, mutual_tls: bool) -> edge::Options {
    let credentials = Some(tls.join("coordinator"));
    edge::Options { credentials, mutual_tls, ..edge::Options::default() }
}

pub fn token(folder: &Path) -> String {
    fs::read_to_string(folder.join("token")).unwrap().trim().to_owned()
}

/// A client with these credentials, as the commands have it.
pub async fn client(url: &str, folder: &Path) -> Result<SweepServiceClient<Authorized>, String> {
    let access = Access::to(url, Some(folder)).map_err(|error| telemetry::chain(&error))?;
    let (endpoint, bearer) = access.endpoint().map_err(|error| telemetry::chain(&error))?;
    let channel = in_time("a connection", endpoint.connect()).await;
    let channel = channel.map_err(|error| {
        common::access::explain(&error).unwrap_or_else(|| telemetry::chain(&error))
    })?;
    Ok(SweepServiceClient::new(Authorized::new(channel, bearer)))
}

/// A channel by TLS that shows what it is told to, however wrong.
pub async fn channel(
    server: &Server,
    tls: &Path,
    identity: Option<(&str, &str)>,
) -> Result<Channel, tonic::transport::Error> {
    let ca = fs::read(tls.join("ca.pem")).unwrap();
    let mut config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
    if let Some((certificate, key)) = identity {
        config = config.identity(Identity::from_pem(certificate, key));
    }
    let endpoint = Endpoint::from_shared(server.url()).unwrap().tls_config(config).unwrap();
    in_time("a connection", endpoint.connect()).await
}

/// A request that carries this token.
pub fn request<T>(message: T, token: Option<&str>) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    if let Some(token) = token {
        let header = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", header);
    }
    request
}

pub fn sweeps(channel: &Channel) -> SweepServiceClient<Channel> {
    SweepServiceClient::new(channel.clone())
}

pub fn workers(channel: &Channel) -> WorkerServiceClient<Channel> {
    WorkerServiceClient::new(channel.clone())
}

/// A token that nobody knows.
pub fn stranger() -> String {
    Token::generate().secret().to_owned()
}

/// Certificate and key of this CA, ended an hour ago or good for a day.
pub fn signed(tls: &Path, name: &str, is_expired: bool) -> (String, String) {
    let key = KeyPair::from_pem(&fs::read_to_string(tls.join("ca-key.pem")).unwrap()).unwrap();
    let ca = fs::read_to_string(tls.join("ca.pem")).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&ca, key).unwrap();
    let mut params = CertificateParams::new(vec!["127.0.0.1".into()]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    let now = time::OffsetDateTime::now_utc();
    params.not_before = now - time::Duration::days(2);
    params.not_after =
        if is_expired { now - time::Duration::hours(1) } else { now + time::Duration::days(1) };
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// A server's answer by HTTP.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

async fn asked(mut stream: impl AsyncRead + AsyncWrite + Unpin, text: &str) -> io::Result<Answer> {
    stream.write_all(text.as_bytes()).await?;
    let mut answer = Vec::new();
    // A peer that closes without the farewell of TLS has said everything all the same.
    match stream.read_to_end(&mut answer).await {
        Err(error) if answer.is_empty() => return Err(error),
        _ => {}
    }
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Ok(Answer { status, head: head.to_owned(), body: body.to_owned() })
}

/// A request by HTTP without TLS.
pub async fn http(address: SocketAddr, text: &str) -> io::Result<Answer> {
    let stream = TcpStream::connect(address).await?;
    in_time("an answer", asked(stream, text)).await
}

/// A request by HTTPS, with the certificate of a credentials folder or none.
pub async fn https(
    address: SocketAddr,
    ca: &Path,
    identity: Option<&Path>,
    text: &str,
) -> io::Result<Answer> {
    let stream = shaken(address, ca, identity).await?;
    in_time("an answer", asked(stream, text)).await
}

/// A connection by TLS on which nothing was said yet.
pub async fn shaken(
    address: SocketAddr,
    ca: &Path,
    identity: Option<&Path>,
) -> io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca.join("ca.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots);
    let config = match identity {
        None => config.with_no_client_auth(),
        Some(folder) => {
            let certificate = CertificateDer::from_pem_file(folder.join("cert.pem")).unwrap();
            let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).unwrap();
            config.with_client_auth_cert(vec![certificate], key).unwrap()
        }
    };
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    in_time("a handshake", TlsConnector::from(Arc::new(config)).connect(name, stream)).await
}

/// The text of a request.
pub fn get(path: &str, headers: &[&str]) -> String {
    message("GET", path, headers, "")
}

/// The text of a form that is sent.
pub fn post(path: &str, headers: &[&str], body: &str) -> String {
    let kind = "Content-Type: application/x-www-form-urlencoded";
    message("POST", path, &[headers, &[kind]].concat(), body)
}

fn message(method: &str, path: &str, headers: &[&str], body: &str) -> String {
    let mut text = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    if !headers.iter().any(|header| header.starts_with("Host:")) {
        text.push_str("Host: localhost\r\n");
    }
    for header in headers {
        text.push_str(header);
        text.push_str("\r\n");
    }
    text.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    text
}
