//! Who is let in and who is not: certificates, tokens, names and limits, against a server in this
//! process and against the programs themselves. Whoever is refused is named in the log.
#![allow(clippy::unwrap_used, reason = "a test says by its panic what is wrong")]

mod browser;
mod harness;
mod limits;
mod programs;
#[path = "../chaos/stub_trainer.rs"]
mod stub_trainer;

use std::fs;

use common::access;
use common::telemetry::chain;
use common::wire::{FromWorker, ListSweepsRequest};
use coordinator::edge;
use coordinator::edge::authority::{self, Request};
use harness::{
    Log, Server, channel, client, credentials, get, https, in_time, request, secured, signed,
    stranger, sweeps, token, workers,
};
use tokio::net::TcpListener;
use tonic::Code;
use tonic::transport::Channel;

async fn list(channel: &Channel, token: Option<&str>) -> Code {
    let asked = sweeps(channel).list_sweeps(request(ListSweepsRequest {}, token)).await;
    asked.map_or_else(|status| status.code(), |_| Code::Ok)
}

/// What becomes of a worker that says nothing: let in, it is asked for its hello.
async fn attach(channel: &Channel, token: Option<&str>) -> (Code, String) {
    let nothing = tokio_stream::iter([FromWorker { message: None }]);
    let asked = workers(channel).attach(request(nothing, token)).await;
    let status = asked.expect_err("no worker says nothing");
    (status.code(), status.message().to_owned())
}

#[tokio::test]
async fn each_service_wants_the_token_of_its_role() {
    let folder = tempfile::tempdir().unwrap();
    let tls = credentials(folder.path());
    let server = Server::start(&folder.path().join("state"), secured(&tls, false)).await;
    let channel = channel(&server, &tls, None).await.expect("TLS without a certificate");
    let (agent, person) = (token(&tls.join("worker")), token(&tls.join("client")));
    let stranger = stranger();

    assert_eq!(list(&channel, Some(&person)).await, Code::Ok);
    assert_eq!(list(&channel, None).await, Code::Unauthenticated);
    assert_eq!(list(&channel, Some(&stranger)).await, Code::Unauthenticated);
    assert_eq!(list(&channel, Some(&agent)).await, Code::PermissionDenied);

    let (code, told) = attach(&channel, Some(&agent)).await;
    assert_eq!((code, told.as_str()), (Code::InvalidArgument, "the first message is not a hello"));
    assert_eq!(attach(&channel, None).await.0, Code::Unauthenticated);
    assert_eq!(attach(&channel, Some(&stranger)).await.0, Code::Unauthenticated);
    let (code, told) = attach(&channel, Some(&person)).await;
    assert_eq!(code, Code::PermissionDenied);
    assert_eq!(told, "it is a client's token, and an agent's is needed");
    server.stop().await;
}

#[tokio::test]
async fn the_log_and_a_series_say_who_was_refused_and_why() {
    let folder = tempfile::tempdir().unwrap();
    let tls = credentials(folder.path());
    let (agent, person) = (token(&tls.join("worker")), token(&tls.join("client")));
    let cases = [
        (None, "an agent's", "no token came with the request"),
        (Some(stranger()), "an agent's", "the token is not known here"),
        (Some(person.clone()), "an agent's", "it is a client's token"),
        (Some(agent.clone()), "a client's", "it is an agent's token"),
    ];
    let server = Server::start(&folder.path().join("state"), secured(&tls, false)).await;
    for (index, (token, asked, why)) in cases.into_iter().enumerate() {
        let who = format!("caller-{index}");
        let (certificate, key) = signed(&tls, &who, false);
        let channel = channel(&server, &tls, Some((&certificate, &key))).await.unwrap();
        match asked {
            "a client's" => drop(list(&channel, token.as_deref()).await),
            _ => drop(attach(&channel, token.as_deref()).await),
        }
        let (asked, who) = (format!("asked=\"{asked}\""), format!("(certificate CN={who})"));
        let words = ["refused:", "peer=127.0.0.1:", &asked, &who, "times=1", why];
        Log::start().says(&words).await;
    }
    let metrics = get("/metrics", &[&format!("Authorization: Bearer {person}")]);
    let told = https(server.http, &tls, None, &metrics).await.unwrap().body;
    for (reason, count) in [("no_token", 1), ("unknown_token", 1), ("wrong_role", 2), ("rate", 0)] {
        let line = format!("gradsweep_refused_total{{reason=\"{reason}\"}} {count}\n");
        assert!(told.contains(&line), "{line} in {told}");
    }
    server.stop().await;
    let text = Log::start().text();
    assert!(!text.contains(&agent) && !text.contains(&person), "a token is in the log");
}

/// The first is told at once, and at the latest when the server stops how many came after it.
#[tokio::test]
async fn the_log_says_how_many_were_refused() {
    let folder = tempfile::tempdir().unwrap();
    let tls = credentials(folder.path());
    let server = Server::start(&folder.path().join("state"), secured(&tls, false)).await;
    let (certificate, key) = signed(&tls, "often", false);
    let channel = channel(&server, &tls, Some((&certificate, &key))).await.unwrap();
    for _ in 0..4 {
        assert_eq!(list(&channel, Some(&stranger())).await, Code::Unauthenticated);
    }
    Log::start().says(&["refused:", "(certificate CN=often)", "times=1"]).await;
    server.stop().await;
    Log::start().says(&["refused:", "(certificate CN=often)", "times=3"]).await;
}

/// A worker ends by the code, and tries again where it only hears of too many.
#[tokio::test]
async fn however_many_are_refused_the_reason_stays() {
    let folder = tempfile::tempdir().unwrap();
    let tls = credentials(folder.path());
    let server = Server::start(&folder.path().join("state"), secured(&tls, false)).await;
    let connected = channel(&server, &tls, None).await.unwrap();
    for _ in 0..12 {
        assert_eq!(list(&connected, Some(&stranger())).await, Code::Unauthenticated);
    }
    let (code, told) = attach(&connected, Some(&token(&tls.join("client")))).await;
    assert_eq!(code, Code::PermissionDenied);
    let why = "it is a client's token, and an agent's is needed; too many refused requests";
    assert!(told.starts_with(why), "{told}");
    assert_eq!(list(&connected, Some(&token(&tls.join("client")))).await, Code::Ok);
    server.stop().await;
}

/// How a call ends over a connection with this certificate.
async fn called(server: &Server, tls: &std::path::Path, identity: (&str, &str)) -> String {
    let told = |error: &(dyn std::error::Error + 'static)| {
        access::explain(error).unwrap_or_else(|| chain(error))
    };
    let channel = match channel(server, tls, Some(identity)).await {
        Ok(channel) => channel,
        Err(error) => return told(&error),
    };
    let person = token(&tls.join("client"));
    let called = sweeps(&channel).list_sweeps(request(ListSweepsRequest {}, Some(&person))).await;
    called.map_or_else(|status| told(&status), |_| "let in".into())
}

#[tokio::test]
async fn certificates_that_are_expired_or_foreign_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let tls = credentials(folder.path());
    let foreign = credentials(&folder.path().join("elsewhere"));
    for mutual in [false, true] {
        let state = folder.path().join(format!("state-{mutual}"));
        let server = Server::start(&state, secured(&tls, mutual)).await;
        let (certificate, key) = signed(&tls, "good", false);
        assert_eq!(called(&server, &tls, (&certificate, &key)).await, "let in");
        let name = format!("late-{mutual}");
        let (certificate, key) = signed(&tls, &name, true);
        let told = called(&server, &tls, (&certificate, &key)).await;
        assert!(told.contains("the certificate in --credentials has expired"), "{told}");
        let who = format!("(certificate CN={name})");
        Log::start().says(&["turned away:", "peer=127.0.0.1:", &who, "expired"]).await;
        let name = format!("foreign-{mutual}");
        let (certificate, key) = signed(&foreign, &name, false);
        let told = called(&server, &tls, (&certificate, &key)).await;
        assert!(told.contains("it is of another CA"), "{told}");
        let who = format!("(certificate CN={name})");
        Log::start().says(&["turned away:", &who, "UnknownIssuer"]).await;
        server.stop().await;
    }
}

#[tokio::test]
async fn mutual_tls_takes_no_connection_without_a_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let tls = credentials(folder.path());
    let server = Server::start(&folder.path().join("state"), secured(&tls, true)).await;
    let mut with = client(&server.url(), &tls.join("client")).await.expect("let in");
    with.list_sweeps(ListSweepsRequest {}).await.expect("let in");

    let bare = folder.path().join("bare");
    fs::create_dir(&bare).unwrap();
    for file in ["ca.pem", "token"] {
        fs::copy(tls.join("client").join(file), bare.join(file)).unwrap();
    }
    let told = match client(&server.url(), &bare).await {
        Ok(mut without) => {
            let status = without.list_sweeps(ListSweepsRequest {}).await.expect_err("refused");
            access::explain(&status).unwrap_or_else(|| chain(&status))
        }
        Err(told) => told,
    };
    assert!(told.contains("the coordinator runs --mutual-tls and wants a certificate"), "{told}");

    let live = get("/live", &[]);
    let answer = https(server.http, &tls, Some(&tls.join("client")), &live).await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, "live\n"));
    https(server.http, &tls, None, &live).await.map(|_| ()).expect_err("no certificate");
    Log::start().says(&["turned away:", "peer=127.0.0.1:", "peer sent no certificates"]).await;
    server.stop().await;
}

#[tokio::test]
async fn a_client_is_told_what_is_wrong_with_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let tls = credentials(folder.path());
    let foreign = credentials(&folder.path().join("elsewhere"));
    let server = Server::start(&folder.path().join("state"), secured(&tls, false)).await;
    let told = client(&server.url(), &foreign.join("client")).await.map(drop);
    let told = told.expect_err("another CA");
    assert!(told.contains("of another CA than the ca.pem in --credentials"), "{told}");
    server.stop().await;

    let state = folder.path().join("other-state");
    let server = Server::start_on("127.0.0.2", &state, secured(&tls, false)).await;
    let told = client(&server.url(), &tls.join("client")).await.map(drop).expect_err("no name");
    assert!(told.contains("a certificate for other names"), "{told}");
    assert!(told.contains("--renew --host NAME"), "{told}");
    server.stop().await;

    let (certificate, key) = signed(&tls, "old server", true);
    let url = tls_server(&certificate, &key).await;
    let told = client(&url, &tls.join("client")).await.map(drop).expect_err("expired");
    assert!(told.contains("the coordinator's certificate has expired"), "{told}");
}

/// A port that ends handshakes with this certificate, and nothing else.
async fn tls_server(certificate: &str, key: &str) -> String {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let config = config.with_single_cert(chain, key).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(acceptor.accept(stream).await);
        }
    });
    url
}

#[tokio::test]
async fn tls_and_no_tls_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let tls = credentials(folder.path());
    let server = Server::start(&folder.path().join("secured"), secured(&tls, false)).await;
    let plain = Server::start(&folder.path().join("plain"), edge::Options::default()).await;

    let told = client(&format!("https://{}", plain.grpc), &tls.join("client")).await.map(drop);
    let told = told.expect_err("no TLS");
    assert!(told.contains("no TLS is spoken at this address"), "{told}");

    let unencrypted = client(&format!("http://{}", server.grpc), &tls.join("client")).await;
    let mut unencrypted = unencrypted.expect("a connection");
    let status = unencrypted.list_sweeps(ListSweepsRequest {}).await.expect_err("TLS");
    let told = access::explain(&status).expect("known");
    assert!(told.contains("TLS is spoken at this address"), "{told}");
    Log::start().says(&["turned away:", "peer=127.0.0.1:", "no TLS was spoken"]).await;

    let answer = harness::http(server.http, &get("/live", &[])).await.unwrap();
    assert_eq!((answer.status, answer.body.contains("use https://")), (400, true));
    server.stop().await;
    plain.stop().await;
}

#[tokio::test]
async fn new_tokens_and_certificates_are_taken_while_it_serves() {
    let folder = tempfile::tempdir().unwrap();
    let tls = credentials(folder.path());
    let server = Server::start(&folder.path().join("state"), secured(&tls, false)).await;
    let connected = channel(&server, &tls, None).await.unwrap();
    let (old, new) = (token(&tls.join("client")), stranger());
    assert_eq!(list(&connected, Some(&new)).await, Code::Unauthenticated);
    fs::write(tls.join("coordinator/client.token"), format!("{new}\n")).unwrap();
    let taken = async {
        while list(&connected, Some(&new)).await != Code::Ok {
            tokio::time::sleep(harness::POLL).await;
        }
    };
    in_time("the new token", taken).await;
    assert_ne!(list(&connected, Some(&old)).await, Code::Ok);

    // Half of a pair is not taken; the old pair goes on, and then the new one.
    let key = fs::read(tls.join("coordinator/key.pem")).unwrap();
    fs::copy(tls.join("client/key.pem"), tls.join("coordinator/key.pem")).unwrap();
    Log::start().says(&["new credentials are not taken", "is not the key of"]).await;
    channel(&server, &tls, None).await.expect("the old pair");
    fs::write(tls.join("coordinator/key.pem"), key).unwrap();
    let hosts = vec!["renewed.example".into()];
    let renewed = Request { folder: tls.clone(), hosts, days: 1, renew: true };
    authority::make(&renewed).expect("renewed");
    let taken = async {
        while !server_names(&server, &tls).await.contains("renewed.example") {
            tokio::time::sleep(harness::POLL).await;
        }
    };
    in_time("the new certificate", taken).await;
    server.stop().await;
}

/// What the server's certificate says that it is for.
async fn server_names(server: &Server, tls: &std::path::Path) -> String {
    let ca = fs::read(tls.join("ca.pem")).unwrap();
    let ca = tonic::transport::Certificate::from_pem(ca);
    let wrong = tonic::transport::ClientTlsConfig::new().ca_certificate(ca).domain_name("other");
    let endpoint = tonic::transport::Endpoint::from_shared(server.url()).unwrap();
    let refused = endpoint.tls_config(wrong).unwrap().connect().await.map(drop);
    chain(&refused.expect_err("no server of this name"))
}
