//! Folders that are made, renewed and mended.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::edge::keys::Keys;

fn request(folder: &Path, hosts: &[&str], renew: bool) -> Request {
    let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
    Request { folder: folder.to_owned(), hosts, days: 30, renew }
}

#[test]
fn every_folder_can_be_used_and_secrets_are_their_owners() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path().join("tls");
    let made = make(&request(&folder, &["node1.example", "10.0.0.7"], false)).expect("made");
    assert_eq!(made.hosts, ["localhost", "127.0.0.1", "::1", "node1.example", "10.0.0.7"]);
    let keys = Keys::read(&folder.join(COORDINATOR), true).expect("a server's folder");
    assert_eq!(keys.names, made.hosts);
    let days = (keys.ends_at - OffsetDateTime::now_utc().unix_timestamp()) / (24 * 3600);
    assert!((29..=30).contains(&days), "{days}");
    for kind in [WORKER, CLIENT] {
        let found = common::credentials::read(&folder.join(kind)).expect("a client's folder");
        assert!(found.identity.is_some());
    }
    let mode = |path: &str| {
        let path = folder.join(path);
        fs::metadata(&path).expect("it is there").permissions().mode() & 0o777
    };
    for secret in ["ca-key.pem", "coordinator/key.pem", "worker/key.pem", "client/key.pem"] {
        assert_eq!(mode(secret), MODE_SECRET, "{secret}");
    }
    let tokens = ["coordinator/agent.token", "coordinator/client.token", "worker/token"];
    for secret in tokens.into_iter().chain(["client/token"]) {
        assert_eq!(mode(secret), MODE_SECRET, "{secret}");
    }
    assert_eq!(mode("."), MODE_FOLDER);
    assert!(!folder.join("coordinator/token").exists(), "it shows none");
}

#[test]
fn nothing_is_overwritten() {
    let folder = tempfile::tempdir().expect("a folder");
    make(&request(folder.path(), &["a"], false)).expect("made");
    let ca = fs::read(folder.path().join(CA_FILE)).expect("it is there");
    let error = make(&request(folder.path(), &["a"], false)).expect_err("it is there");
    assert!(error.to_string().contains("nothing is overwritten"), "{error}");
    assert_eq!(fs::read(folder.path().join(CA_FILE)).expect("it is there"), ca);
}

#[test]
fn renewed_certificates_keep_ca_tokens_and_names() {
    let folder = tempfile::tempdir().expect("a folder");
    let error = make(&request(folder.path(), &[], true)).expect_err("no CA");
    assert!(error.to_string().contains("without --renew"), "{error}");
    let first = make(&request(folder.path(), &["a.example", "10.0.0.7"], false));
    let first = first.expect("made");
    let content = |file: &str| fs::read(folder.path().join(file)).expect("it is there");
    let kept = ["ca.pem", "ca-key.pem", "worker/token", "coordinator/client.token"];
    let new = ["coordinator/cert.pem", "coordinator/key.pem", "worker/cert.pem"];
    let (kept_before, new_before) = (kept.map(content), new.map(content));
    let again = make(&request(folder.path(), &[], true)).expect("renewed");
    assert_eq!(again.hosts, first.hosts);
    assert_eq!(kept.map(content), kept_before);
    for (now, before) in new.map(content).iter().zip(&new_before) {
        assert_ne!(now, before);
    }
    let other = make(&request(folder.path(), &["b.example"], true)).expect("renewed");
    assert_eq!(other.hosts.last().map(String::as_str), Some("b.example"));
    assert_eq!(other.hosts.len(), OWN_NAMES.len() + 1);
}

/// What was interrupted is begun anew, or the error says what to do.
#[test]
fn an_interrupted_ca_is_made_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |file: &str| folder.path().join(file);
    fs::write(at("ca-key.partial"), "").expect("writable");
    make(&request(folder.path(), &["a"], false)).expect("made");
    assert!(!at("ca-key.partial").exists() && !at("worker/token.partial").exists());

    fs::remove_file(at(CA_FILE)).expect("it is there");
    fs::write(at(CA_KEY_FILE), "").expect("writable");
    for kind in [COORDINATOR, WORKER, CLIENT] {
        fs::remove_dir_all(at(kind)).expect("it is there");
    }
    let told = make(&request(folder.path(), &["a"], false)).expect_err("half").to_string();
    assert!(told.contains("remove the key to make another CA"), "{told}");
    fs::remove_file(at(CA_KEY_FILE)).expect("it is there");
    make(&request(folder.path(), &["a"], false)).expect("made");

    // The CA alone is there: what it signs is made by --renew, which has to be told for whom.
    for kind in [COORDINATOR, WORKER, CLIENT] {
        fs::remove_dir_all(at(kind)).expect("it is there");
    }
    let told = make(&request(folder.path(), &[], true)).expect_err("for whom?").to_string();
    assert!(told.contains("--renew needs --host NAME"), "{told}");
    make(&request(folder.path(), &["a"], true)).expect("made");
    Keys::read(&at(COORDINATOR), true).expect("a server's folder");
}

#[test]
fn a_token_that_is_missing_is_made_of_its_other_half() {
    let folder = tempfile::tempdir().expect("a folder");
    let content = |file: &str| fs::read(folder.path().join(file)).expect("it is there");
    make(&request(folder.path(), &["a"], false)).expect("made");
    let halves =
        [("coordinator/client.token", "client/token"), ("worker/token", "coordinator/agent.token")];
    for (missing, other) in halves {
        let before = content(other);
        fs::remove_file(folder.path().join(missing)).expect("it is there");
        make(&request(folder.path(), &[], true)).expect("renewed");
        assert_eq!((content(missing), content(other)), (before.clone(), before));
    }
    Keys::read(&folder.path().join(COORDINATOR), true).expect("a server's folder");
    fs::write(folder.path().join("client/token"), "").expect("writable");
    let error = make(&request(folder.path(), &[], true)).expect_err("no token");
    let told = common::telemetry::chain(&error);
    assert!(told.contains("client/token`: remove it for a new one: no token in it"), "{told}");
}

#[test]
fn a_folder_that_others_write_into_is_closed_to_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let mode = || fs::metadata(folder.path()).expect("it is there").permissions().mode() & 0o777;
    let set = |mode| fs::set_permissions(folder.path(), Permissions::from_mode(mode));
    set(0o777).expect("ours");
    make(&request(folder.path(), &["a"], false)).expect("made");
    assert_eq!(mode(), MODE_FOLDER);
    set(0o750).expect("ours");
    make(&request(folder.path(), &[], true)).expect("renewed");
    assert_eq!(mode(), 0o750, "who only reads finds no secret");
}

#[test]
fn hosts_are_names_or_addresses() {
    for host in ["a", "a.example", "*.a.example", "10.0.0.1", "2001:db8::1"] {
        check_host(host).expect("accepted");
    }
    for host in ["", "a b", "http://a", "a:1", "/", "*", "*.", "*.*.x", "a.*.x"] {
        check_host(host).expect_err("refused");
    }
}
