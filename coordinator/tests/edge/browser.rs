//! The HTTP listener: tokens, log-in, names and origins.

use std::io;
use std::path::PathBuf;

use coordinator::edge;
use tempfile::TempDir;

use crate::harness::{
    Answer, Log, Server, credentials, get, http, https, post, secured, stranger, token,
};

/// A server with credentials, and its folders.
struct Scene {
    folder: TempDir,
    tls: PathBuf,
    server: Server,
}

impl Scene {
    async fn start() -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let tls = credentials(folder.path());
        let server = Server::start(&folder.path().join("state"), secured(&tls, false)).await;
        Scene { folder, tls, server }
    }

    async fn ask(&self, text: &str) -> Answer {
        https(self.server.http, &self.tls, None, text).await.expect("an answer")
    }

    fn bearer(&self, kind: &str) -> String {
        format!("Authorization: Bearer {}", token(&self.tls.join(kind)))
    }

    async fn stop(self) {
        self.server.stop().await;
        drop(self.folder);
    }
}

#[tokio::test]
async fn pages_want_a_clients_token_and_probes_want_none() {
    let scene = Scene::start().await;
    for path in ["/live", "/ready"] {
        assert_eq!(scene.ask(&get(path, &[])).await.status, 200, "{path}");
    }
    let metrics = scene.ask(&get("/metrics", &[&scene.bearer("client")])).await;
    assert!(metrics.status == 200 && metrics.body.contains("gradsweep_"), "{}", metrics.head);
    assert_eq!(metrics.header("x-content-type-options"), Some("nosniff"));
    let expiry = metrics.body.lines().find_map(|line| {
        line.strip_prefix("gradsweep_certificate_expiry_seconds ")?.parse::<f64>().ok()
    });
    assert!(expiry.is_some_and(|seconds| seconds > 80_000.0 && seconds <= 86_400.0), "{expiry:?}");

    let refused = scene.ask(&get("/metrics", &[])).await;
    assert_eq!(refused.status, 401);
    assert!(refused.header("www-authenticate").unwrap().starts_with("Bearer"));
    let agent = scene.ask(&get("/metrics", &[&scene.bearer("worker")])).await;
    assert_eq!(agent.status, 403);
    assert_eq!(agent.body, "it is an agent's token, and a client's is needed\n");
    // What is not there is no more open than what is, however it is spelt.
    for path in ["/", "/api/v1/sweeps", "/live/../metrics", "//live", "/LIVE", "/%6cive"] {
        assert_eq!(scene.ask(&get(path, &[])).await.status, 401, "{path}");
    }
    scene.stop().await;
}

#[tokio::test]
async fn wrong_tokens_of_one_address_are_answered_shortly() {
    let scene = Scene::start().await;
    let wrong = format!("Authorization: Bearer {}", stranger());
    let mut last = 401;
    for _ in 0..12 {
        last = scene.ask(&get("/metrics", &[&wrong])).await.status;
    }
    assert_eq!(last, 429);
    let told = scene.ask(&get("/metrics", &[&wrong])).await.body;
    assert!(told.starts_with("the token is not known here; too many refused"), "{told}");
    assert_eq!(scene.ask(&get("/metrics", &[])).await.status, 429, "without a token as well");
    let form = format!("token={}", stranger());
    assert_eq!(scene.ask(&post("/login", &[], &form)).await.status, 429);
    Log::start().says(&["refused: the token is not known here", "peer=127.0.0.1:"]).await;
    // Others behind the same address have done nothing.
    let right = scene.ask(&get("/metrics", &[&scene.bearer("client")])).await;
    assert_eq!(right.status, 200);
    scene.stop().await;
}

const HTML: &str = "Accept: text/html,application/xhtml+xml";

#[tokio::test]
async fn a_browser_logs_in_and_out() {
    let scene = Scene::start().await;
    let asked = scene.ask(&get("/sweeps/tiny?rows=%22depth&x=1", &[HTML])).await;
    assert_eq!(asked.status, 401);
    let next = "name=\"next\" type=\"hidden\" value=\"/sweeps/tiny?rows=%22depth&amp;x=1\"";
    assert!(asked.body.contains(next), "{}", asked.body);
    let page = scene.ask(&get("/login", &[HTML])).await;
    assert!(page.status == 200 && page.body.contains("<form method=\"post\" action=\"/login\">"));
    assert!(!page.body.contains("{{"), "{}", page.body);

    for wrong in [stranger(), token(&scene.tls.join("worker"))] {
        let refused = scene.ask(&post("/login", &[], &format!("token={wrong}"))).await;
        assert!(matches!(refused.status, 401 | 403), "{}", refused.status);
        assert!(refused.body.contains("role=\"alert\">Not logged in:"), "{}", refused.body);
        assert_eq!(refused.header("set-cookie"), None);
    }
    let form = format!("token={}", token(&scene.tls.join("client")));
    for (next, leads_to) in [
        ("/sweeps/tiny?rows=depth%26x=1", "/sweeps/tiny?rows=depth&x=1"),
        ("https://evil.example/", "/"),
        ("//evil.example/", "/"),
        ("/%5Cevil.example/", "/"),
        ("/a%0D%0ALocation:+x", "/"),
    ] {
        let next = next.replace('?', "%3F").replace('=', "%3D");
        let entered = scene.ask(&post("/login", &[], &format!("{form}&next={next}"))).await;
        assert_eq!((entered.status, entered.header("location")), (303, Some(leads_to)));
    }
    let entered = scene.ask(&post("/login", &[], &form)).await;
    assert_eq!((entered.status, entered.header("location")), (303, Some("/")));
    let cookie = entered.header("set-cookie").unwrap().to_owned();
    for attribute in ["HttpOnly", "SameSite=Strict", "Secure", "Path=/", "Max-Age=43200"] {
        assert!(cookie.contains(attribute), "{attribute} in {cookie}");
    }
    assert!(!cookie.contains(&token(&scene.tls.join("client"))), "the cookie is not the token");

    let session = format!("Cookie: other=1; {}", cookie.split(';').next().unwrap());
    let metrics = scene.ask(&get("/metrics", &[HTML, &session])).await;
    assert_eq!(metrics.status, 200);
    let again = scene.ask(&get("/login", &[HTML, &session])).await;
    let way_out = "<form method=\"post\" action=\"/logout\">";
    assert!(again.status == 200 && again.body.contains(way_out), "{}", again.body);
    let out = scene.ask(&post("/logout", &[&session], "")).await;
    assert_eq!((out.status, out.header("location")), (303, Some("/login")));
    assert!(out.header("set-cookie").unwrap().contains("Max-Age=0"));
    assert_eq!(scene.ask(&get("/metrics", &[&session])).await.status, 401);
    scene.stop().await;
}

#[tokio::test]
async fn a_page_of_another_site_changes_nothing() {
    let scene = Scene::start().await;
    let form = format!("token={}", token(&scene.tls.join("client")));
    let from = |headers: &[&str]| post("/login", headers, &form);
    for foreign in ["Origin: https://evil.example", "Origin: null", "Sec-Fetch-Site: cross-site"] {
        let answer = scene.ask(&from(&[foreign])).await;
        assert_eq!((answer.status, answer.header("set-cookie")), (403, None), "{foreign}");
    }
    Log::start().says(&["turned away: a request that a page of another site sent"]).await;
    let own = ["Origin: https://localhost", "Sec-Fetch-Site: same-origin"];
    assert_eq!(scene.ask(&from(&own)).await.status, 303);
    assert_eq!(scene.ask(&from(&own[..1])).await.status, 303);
    scene.stop().await;
}

#[tokio::test]
async fn only_names_that_nobody_can_point_here_are_answered() {
    let folder = tempfile::tempdir().unwrap();
    let own = ["localhost", "127.0.0.1", "[::1]", "a.localhost", "10.0.0.1", "coordinator"];
    let foreign = ["evil.example", "evil.example:9600", "localhost.evil.example", "node.example"];
    for insecure in [false, true] {
        let names = vec!["sweeps.example".to_owned()];
        let options = edge::Options { insecure, http_names: names, ..edge::Options::default() };
        let state = folder.path().join(format!("state-{insecure}"));
        let server = Server::start(&state, options).await;
        let port = server.http.port();
        let ask = async |host: &str| {
            let host = format!("Host: {host}");
            http(server.http, &get("/metrics", &[&host])).await.map(|answer| answer.status)
        };
        let known = own.iter().chain(&["sweeps.example"]);
        for host in known.flat_map(|host| [(*host).to_owned(), format!("{host}:{port}")]) {
            assert_eq!(ask(&host).await.unwrap(), 200, "{host}");
        }
        let metrics = http(server.http, &get("/metrics", &[])).await.unwrap().body;
        assert!(!metrics.contains("gradsweep_certificate_expiry_seconds"), "there is none");
        for host in foreign.iter().chain(&[""]) {
            assert_eq!(ask(host).await.unwrap(), 421, "{host}");
        }
        let evil = http(server.http, &get("/metrics", &["Host: evil.example"])).await.unwrap();
        assert!(evil.body.contains("--http-name"), "{}", evil.body);
        let none = "GET /metrics HTTP/1.0\r\n\r\n";
        assert_eq!(http(server.http, none).await.unwrap().status, 200, "no browser's");
        let none = "GET http://evil.example/metrics HTTP/1.0\r\n\r\n";
        assert_eq!(http(server.http, none).await.unwrap().status, 421);
        // There is nothing to log in to.
        let login = http(server.http, &get("/login", &[HTML])).await.unwrap();
        assert_eq!((login.status, login.header("location")), (303, Some("/")));
        server.stop().await;
    }
    Log::start().says(&["turned away: a request under a name that is not this host's"]).await;

    let scene = Scene::start().await;
    for (host, expected) in [("node.example", 200), ("coordinator", 200), ("evil.example", 421)] {
        let host = format!("Host: {host}");
        let answer = scene.ask(&get("/metrics", &[&host, &scene.bearer("client")])).await;
        assert_eq!(answer.status, expected, "{host}");
    }
    scene.stop().await;
}

#[tokio::test]
async fn requests_have_limits() {
    let scene = Scene::start().await;
    let long = format!("X-Long: {}", "x".repeat(40 << 10));
    assert_eq!(scene.ask(&get("/live", &[&long])).await.status, 431);
    let many = (0..70).map(|index| format!("X-{index}: 1")).collect::<Vec<_>>();
    let many = many.iter().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(scene.ask(&get("/live", &many)).await.status, 431);
    let large = format!("token={}", "x".repeat(8 << 10));
    assert_eq!(scene.ask(&post("/login", &[], &large)).await.status, 413);
    let garbage: io::Result<Answer> =
        https(scene.server.http, &scene.tls, None, "nonsense\r\n\r\n").await;
    assert_eq!(garbage.expect("an answer").status, 400);
    scene.stop().await;
}
