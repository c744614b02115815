//! Whoever is slow, silent or asks without end holds up nobody else.

use std::path::PathBuf;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;

use crate::harness::{
    Log, POLL, Server, channel, credentials, get, https, in_time, secured, shaken, signed, token,
};
use crate::{attach, list};

async fn start() -> (TempDir, PathBuf, Server) {
    let folder = tempfile::tempdir().unwrap();
    let tls = credentials(folder.path());
    let server = Server::start(&folder.path().join("state"), secured(&tls, false)).await;
    (folder, tls, server)
}

/// More than there are turns.
const SLOW_COUNT: usize = 80;
/// More than there are handshakes of one address at a time.
const SILENT_COUNT: usize = 200;

#[tokio::test]
async fn slow_log_ins_hold_up_nobody() {
    let (_folder, tls, server) = start().await;
    let head = "POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\
                Content-Type: application/x-www-form-urlencoded\r\n\r\nt";
    let mut slow = Vec::new();
    for _ in 0..SLOW_COUNT {
        let mut stream = shaken(server.http, &tls, None).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    let bearer = format!("Authorization: Bearer {}", token(&tls.join("client")));
    for path in ["/live", "/ready", "/metrics"] {
        let answer = https(server.http, &tls, None, &get(path, &[&bearer])).await.unwrap();
        assert_eq!(answer.status, 200, "{path}");
    }
    for mut stream in slow {
        let mut told = Vec::new();
        in_time("the end of a slow one", stream.read_to_end(&mut told)).await.unwrap();
        let told = String::from_utf8(told).unwrap();
        assert!(told.starts_with("HTTP/1.1 408 ") && told.contains("within 5 seconds"), "{told}");
    }
    server.stop().await;
}

/// What is read until the other end closes or resets.
async fn heard(stream: &mut TcpStream) -> usize {
    let mut bytes = Vec::new();
    let _ = in_time("the end of a connection", stream.read_to_end(&mut bytes)).await;
    bytes.len()
}

#[tokio::test]
async fn silent_connections_hold_up_nobody() {
    let (_folder, tls, server) = start().await;
    for address in [server.http, server.grpc] {
        let mut silent = Vec::new();
        for _ in 0..SILENT_COUNT {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind("127.0.0.9:0".parse().unwrap()).unwrap();
            silent.push(socket.connect(address).await.unwrap());
        }
        let mut last = silent.pop().unwrap();
        tokio::select! {
            biased;
            _ = heard(&mut silent[0]) => panic!("one that is too many is closed at once"),
            length = heard(&mut last) => assert_eq!(length, 0),
        }
        drop(shaken(address, &tls, None).await.expect("another address is heard"));
        for mut stream in silent {
            assert_eq!(heard(&mut stream).await, 0);
        }
    }
    let told = "turned away: too many handshakes at a time";
    // The first at once, and how many came after it while the server goes on.
    let is_told = |one: bool| {
        let text = Log::start().text();
        let mut lines =
            text.lines().filter(|line| line.contains(told) && line.contains("=127.0.0.9"));
        lines.any(|line| line.ends_with("times=1") == one)
    };
    let both = async {
        while !is_told(true) || !is_told(false) {
            tokio::time::sleep(POLL).await;
        }
    };
    in_time("lines on too many handshakes", both).await;
    let told = "turned away: the TLS handshake was not ended in time";
    Log::start().says(&[told, "peer=127.0.0.9:"]).await;
    server.stop().await;
}

#[tokio::test]
async fn a_connection_that_asks_nothing_is_closed() {
    let (_folder, tls, server) = start().await;
    let (certificate, key) = signed(&tls, "talker", false);
    let talker = channel(&server, &tls, Some((&certificate, &key))).await.unwrap();
    let person = token(&tls.join("client"));
    assert_eq!(list(&talker, Some(&person)).await, Code::Ok);
    let mut silent = shaken(server.grpc, &tls, None).await.unwrap();
    let mut page = shaken(server.http, &tls, None).await.unwrap();
    for stream in [&mut silent, &mut page] {
        let mut rest = Vec::new();
        let _ = in_time("the end of a silent connection", stream.read_to_end(&mut rest)).await;
    }
    Log::start().says(&["turned away: no call that may be made came in time"]).await;
    assert_eq!(list(&talker, Some(&person)).await, Code::Ok);
    server.stop().await;
}

#[tokio::test]
async fn a_connection_that_keeps_being_refused_is_closed() {
    let (_folder, tls, server) = start().await;
    let mut stream = shaken(server.http, &tls, None).await.unwrap();
    let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(request.repeat(100).as_bytes()).await.unwrap();
    let mut told = Vec::new();
    let _ = in_time("the end of a connection", stream.read_to_end(&mut told)).await;
    let told = String::from_utf8(told).unwrap();
    assert_eq!(told.matches("HTTP/1.1 4").count(), 20, "{told}");
    assert_eq!(told.matches("connection: close").count(), 1, "{told}");

    let (certificate, key) = signed(&tls, "insistent", false);
    let channel = channel(&server, &tls, Some((&certificate, &key))).await.unwrap();
    let mut calls = 0;
    while list(&channel, None).await == Code::Unauthenticated {
        calls += 1;
        assert!(calls < 100, "the connection goes on");
    }
    server.stop().await;
}

#[tokio::test]
async fn requests_have_a_rate() {
    let (_folder, tls, server) = start().await;
    let bearer = token(&tls.join("client"));
    let request = format!(
        "GET /nowhere HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {bearer}\r\n\r\n"
    );
    let mut stream = shaken(server.http, &tls, None).await.unwrap();
    let mut answered = 0;
    let refused = in_time("too many requests", async {
        loop {
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut told = String::new();
            while !told.contains("\r\n\r\n") {
                let mut bytes = [0; 4096];
                let length = stream.read(&mut bytes).await.unwrap();
                told.push_str(std::str::from_utf8(&bytes[..length]).unwrap());
            }
            if !told.starts_with("HTTP/1.1 404") {
                return told;
            }
            answered += 1;
        }
    });
    let told = refused.await;
    assert!(told.starts_with("HTTP/1.1 429") && told.contains("retry-after: 1"), "{told}");
    assert!(answered >= 1000, "{answered}");
    // By gRPC it is the same rate; what a worker does has none.
    let (certificate, key) = signed(&tls, "hasty", false);
    let channel = channel(&server, &tls, Some((&certificate, &key))).await.unwrap();
    let mut code = Code::Ok;
    while code == Code::Ok {
        code = list(&channel, Some(&bearer)).await;
    }
    assert_eq!(code, Code::ResourceExhausted);
    let (code, _) = attach(&channel, Some(&token(&tls.join("worker")))).await;
    assert_eq!(code, Code::InvalidArgument, "let in, and asked for its hello");
    // Who only looks whether it works is answered.
    assert_eq!(https(server.http, &tls, None, &get("/live", &[])).await.unwrap().status, 200);
    server.stop().await;
}
