//! What stands before the pages: the host's name, the origin of what changes something, the token
//! or session, and limits of size, time, rate and number. It decides by path and refuses what it
//! does not know; `/live`, `/ready` and the log-in itself are for everybody.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Extension, Form, FromRequest, Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use maud::html;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::codegen::Service;

use super::listener::Connection;
use super::refusals::Reason;
use super::sessions::SESSION_LENGTH;
use super::turns::Turns;
use super::{Answer, Edge, Listener, Peer, Refusal, Role};
use common::token::TokenHash;

/// Pages that tell nothing but whether the process works, and tell it at once: who asks them ends
/// or restarts what does not answer.
const PROBE_PATHS: [&str; 2] = ["/live", "/ready"];
const LOGIN_PATH: &str = "/login";
const LOGOUT_PATH: &str = "/logout";
const COOKIE: &str = "gradsweep_session";
const LOGIN: &str = include_str!("login/login.html");
const LOGOUT: &str = include_str!("login/logout.html");
/// A request's head, cookies included, is well below; the longest address is a table's.
const HEADER_BYTES_MAX: usize = 32 << 10;
const HEADERS_MAX: usize = 64;
/// A head that takes longer, or a connection that is idle for longer, is closed.
const HEADER_WAIT: Duration = Duration::from_secs(30);
/// A sweep file is the largest that is sent; as by gRPC.
const BODY_BYTES_MAX: usize = common::wire::MESSAGE_BYTES_MAX;
/// A token and its name.
const LOGIN_BYTES_MAX: usize = 4 << 10;
/// Until a request's body has come.
const BODY_WAIT: Duration = Duration::from_secs(5);
/// Until an answer begins, with the wait for the others.
const ANSWER_WAIT: Duration = Duration::from_secs(120);
/// How long open requests may take to end at shutdown; then they are cut.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(5);

/// The pages with everything before them.
pub fn guarded(pages: Router, edge: Arc<Edge>) -> Router {
    let login = Router::new()
        .route(LOGIN_PATH, get(login_page).post(login))
        .route(LOGOUT_PATH, post(logout))
        .with_state(Arc::clone(&edge));
    let entry = Entry { edge, turns: Arc::new(Turns::new()) };
    // Bodies are bounded where they are received.
    pages.merge(login).layer(DefaultBodyLimit::disable()).layer(from_fn_with_state(entry, auth))
}

/// Serves until shutdown.
pub async fn serve(mut listener: Listener, pages: Router, shutdown: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            connection = listener.next() => {
                connections.spawn(converse(connection, pages.clone(), shutdown.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    // Those that are left are cut with the set.
    let _ = timeout(SHUTDOWN_WAIT, ended).await;
}

async fn converse(connection: Connection, pages: Router, shutdown: CancellationToken) {
    let peer = connection.peer().clone();
    let service = service_fn(|mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        let mut pages: Router = pages.clone();
        async move { Service::<hyper::Request<Incoming>>::call(&mut pages, request).await }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_WAIT)
        .max_headers(HEADERS_MAX)
        .max_header_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(connection), service);
    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = shutdown.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a connection broke");
    }
}

#[derive(Clone)]
struct Entry {
    edge: Arc<Edge>,
    turns: Arc<Turns>,
}

/// Lets through what may pass.
async fn auth(State(entry): State<Entry>, request: Request, next: Next) -> Response {
    let peer = peer(&request).clone();
    let mut response = match entry.edge.judge(&request) {
        Err(refused) => *refused,
        Ok(()) if is_probe(&request) => next.run(request).await,
        Ok(()) => match received(request).await {
            Err(refused) => refused,
            Ok(request) => answered(&entry, &peer, request, next).await,
        },
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "same-origin"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    if peer.place.is_some_and(|place| place.is_worn()) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The request with its whole body: whoever sends slowly does so before it takes a turn.
async fn received(request: Request) -> Result<Request, Response> {
    let is_login = [LOGIN_PATH, LOGOUT_PATH].contains(&request.uri().path());
    let bytes_max = if is_login { LOGIN_BYTES_MAX } else { BODY_BYTES_MAX };
    let (head, body) = request.into_parts();
    let mut bounded = Request::new(body);
    DefaultBodyLimit::max(bytes_max).apply(&mut bounded);
    let mut refused = match timeout(BODY_WAIT, Bytes::from_request(bounded, &())).await {
        Ok(Ok(bytes)) => return Ok(Request::from_parts(head, Body::from(bytes))),
        Ok(Err(rejection)) => rejection.into_response(),
        Err(_) => {
            let seconds = BODY_WAIT.as_secs();
            let told = format!("the request was not sent whole within {seconds} seconds\n");
            (StatusCode::REQUEST_TIMEOUT, told).into_response()
        }
    };
    // What is left of the body is not read.
    refused.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    Err(refused)
}

async fn answered(entry: &Entry, peer: &Peer, request: Request, next: Next) -> Response {
    let made = timeout(ANSWER_WAIT, async {
        let _turn = entry.turns.take(peer.network()).await;
        next.run(request).await
    });
    let late = (StatusCode::SERVICE_UNAVAILABLE, "the answer took too long\n");
    made.await.unwrap_or_else(|_| late.into_response())
}

fn is_probe(request: &Request) -> bool {
    PROBE_PATHS.contains(&request.uri().path())
}

impl Edge {
    /// Passes a request, or gives what is answered instead.
    fn judge(&self, request: &Request) -> Result<(), Box<Response>> {
        let (headers, path, peer) = (request.headers(), request.uri().path(), peer(request));
        let host = headers.get(header::HOST).map(|host| host.to_str().unwrap_or_default());
        let host = host.or(request.uri().authority().map(Authority::as_str));
        if !self.is_known_host(host) {
            let why = "a request under a name that is not this host's";
            self.turned_away(peer, Reason::Host, why);
            let told = "nothing is answered under this name: ask by this host's address or its own \
                        name, or start the coordinator with --http-name and this name\n";
            return Err(Box::new((StatusCode::MISDIRECTED_REQUEST, told).into_response()));
        }
        if is_probe(request) {
            return Ok(());
        }
        let refuse = |answer| Box::new(refused(answer));
        self.pace(peer).map_err(refuse)?;
        if !is_safe(request.method()) && is_foreign(headers, host) {
            let why = "a request that a page of another site sent";
            self.turned_away(peer, Reason::Origin, why);
            let told = "another site's page sent this request\n";
            return Err(Box::new((StatusCode::FORBIDDEN, told).into_response()));
        }
        if self.has_session(headers) {
            self.on_admitted(peer);
            return Ok(());
        }
        if [LOGIN_PATH, LOGOUT_PATH].contains(&path) {
            return Ok(());
        }
        let shown = text(headers, &header::AUTHORIZATION);
        let wants_page = text(headers, &header::ACCEPT).is_some_and(|it| it.contains("text/html"));
        if self.is_secured() && shown.is_none() && wants_page && is_safe(request.method()) {
            let next = request.uri().path_and_query().map_or("/", |address| address.as_str());
            return Err(Box::new((StatusCode::UNAUTHORIZED, page("", next)).into_response()));
        }
        self.admit(Role::Client, shown, peer).map_err(refuse)
    }

    fn has_session(&self, headers: &HeaderMap) -> bool {
        let (Some(keys), Some(secret)) = (self.keys(), cookie(headers)) else { return false };
        self.sessions.is_valid(secret, &keys.clients, Instant::now())
    }

    /// A session for a client's token.
    fn log_in(&self, token: &str, peer: &Peer) -> Result<HeaderValue, Answer> {
        let token = token.trim();
        self.admit(Role::Client, Some(&format!("Bearer {token}")), peer)?;
        let secret = self.sessions.begin(TokenHash::of(token), Instant::now());
        Ok(self.set_cookie(secret.secret(), SESSION_LENGTH))
    }

    fn set_cookie(&self, secret: &str, length: Duration) -> HeaderValue {
        let secure = if self.is_secured() { "; Secure" } else { "" };
        let seconds = length.as_secs();
        let cookie = format!(
            "{COOKIE}={secret}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}"
        );
        HeaderValue::try_from(cookie).expect("letters and digits")
    }
}

/// Every connection's requests carry their peer.
fn peer(request: &Request) -> &Peer {
    request.extensions().get::<Peer>().expect("every connection has a peer")
}

fn refused(answer: Answer) -> Response {
    let told = format!("{answer}\n");
    let wait = |seconds| {
        let wait = [(header::RETRY_AFTER, seconds)];
        (StatusCode::TOO_MANY_REQUESTS, wait, told.clone()).into_response()
    };
    match answer.refusal {
        Refusal::Rate => wait("1"),
        _ if answer.is_over => wait("60"),
        Refusal::NoToken | Refusal::Unknown => {
            let challenge = [(header::WWW_AUTHENTICATE, "Bearer realm=\"gradsweep\"")];
            (StatusCode::UNAUTHORIZED, challenge, told).into_response()
        }
        Refusal::Role { .. } => (StatusCode::FORBIDDEN, told).into_response(),
    }
}

#[derive(serde::Deserialize)]
struct LoginForm {
    token: String,
    /// The page that was asked for.
    #[serde(default)]
    next: String,
}

async fn login_page(State(edge): State<Arc<Edge>>, headers: HeaderMap) -> Response {
    match edge.is_secured() {
        false => Redirect::to("/").into_response(),
        true if edge.has_session(&headers) => in_frame(LOGOUT),
        true => page("", "/"),
    }
}

async fn login(
    State(edge): State<Arc<Edge>>,
    Extension(peer): Extension<Peer>,
    Form(form): Form<LoginForm>,
) -> Response {
    match edge.log_in(&form.token, &peer) {
        Ok(cookie) => {
            let next = if is_local(&form.next) { &form.next } else { "/" };
            ([(header::SET_COOKIE, cookie)], Redirect::to(next)).into_response()
        }
        Err(answer) => {
            let status = refused(answer).status();
            let told = format!("<p role=\"alert\">Not logged in: {answer}.</p>");
            (status, page(&told, &form.next)).into_response()
        }
    }
}

async fn logout(State(edge): State<Arc<Edge>>, headers: HeaderMap) -> Response {
    if let Some(secret) = cookie(&headers) {
        edge.sessions.end(secret);
    }
    let cookie = edge.set_cookie("", Duration::ZERO);
    ([(header::SET_COOKIE, cookie)], Redirect::to(LOGIN_PATH)).into_response()
}

/// Whether this is an address of this host alone.
fn is_local(address: &str) -> bool {
    let is_path = address.starts_with('/') && !address.starts_with("//");
    is_path && address.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
}

/// The form that leads to the page that was asked for.
fn page(message: &str, next: &str) -> Response {
    in_frame(&format!("{message}{}", LOGIN.replace("{{next}}", &html! { (next) }.into_string())))
}

fn in_frame(content: &str) -> Response {
    let policy = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'";
    let headers = [(header::CONTENT_SECURITY_POLICY, policy), (header::CACHE_CONTROL, "no-store")];
    let html = include_str!("login/frame.html").replace("{{content}}", content);
    (headers, Html(html)).into_response()
}

fn text<'h>(headers: &'h HeaderMap, name: &header::HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// The session's secret.
fn cookie(headers: &HeaderMap) -> Option<&str> {
    let all = headers.get_all(header::COOKIE).iter();
    let all = all.filter_map(|header| header.to_str().ok()).flat_map(|header| header.split(';'));
    all.filter_map(|cookie| cookie.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE)
        .map(|(_, secret)| secret)
}

/// Whether a method only reads.
fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Whether a browser says that another site's page sends this. Programs say nothing of the kind.
fn is_foreign(headers: &HeaderMap, host: Option<&str>) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return !matches!(site.as_bytes(), b"same-origin" | b"none");
    }
    match text(headers, &header::ORIGIN) {
        Some(origin) => origin.split_once("://").map(|(_, host)| host) != host,
        None => headers.contains_key(header::ORIGIN),
    }
}
