//! By which names the HTTP listener is asked. A browser can be led to a foreign name that points at
//! this host, and then lets that name's page read what it is answered; so only names that no
//! stranger can point anywhere are answered.

use std::net::IpAddr;

use common::access::is_loopback;

/// Names beside those that anybody may use.
pub struct Names(Vec<String>);

impl Names {
    /// The machine's own, and those that were given.
    pub fn new(given: &[String]) -> Names {
        let own = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Names(given.iter().chain([&own]).map(|name| bare(name)).collect())
    }

    /// Whether a request with this `Host` is answered, where the certificate has these names.
    pub fn has(&self, host: Option<&str>, certified: &[String]) -> bool {
        // Every browser says one; a load balancer's probe or a script need not.
        let Some(host) = host else { return true };
        let name = without_port(host);
        if name.parse::<IpAddr>().is_ok() || is_loopback(name) {
            return true;
        }
        let name = bare(name);
        // A name of one label is the local network's: nobody can register one.
        let is_of_label = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        let is_label = !name.is_empty() && name.chars().all(is_of_label);
        is_label || self.0.contains(&name) || certified.iter().any(|it| covers(&bare(it), &name))
    }
}

/// What is compared of a name.
fn bare(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// Whether a certificate's name is this one; a star stands for one label.
fn covers(certified: &str, name: &str) -> bool {
    match (certified.strip_prefix("*."), name.split_once('.')) {
        (Some(parent), Some((_, of_name))) => parent == of_name,
        _ => certified == name,
    }
}

/// A `Host` header's name or address.
fn without_port(host: &str) -> &str {
    if let Some((address, _)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address;
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_a_stranger_can_point_here_are_not_answered() {
        let names = Names::new(&["Sweeps.example.org".into()]);
        let certified = ["node.example".to_owned(), "*.cluster.example".into(), "10.1.1.1".into()];
        let own = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let known = [
            "localhost",
            "a.localhost:9600",
            "[::1]:9600",
            "10.0.0.1:9600",
            "[2001:db8::1]",
            "coordinator:9600",
            "sweeps.example.org.",
            "NODE.example",
            "a.cluster.example:1",
            &own,
        ];
        for host in known {
            assert!(names.has(Some(host), &certified), "{host}");
        }
        let foreign = [
            "evil.example",
            "evil.example:9600",
            "localhost.evil.example",
            "10.0.0.1.evil.example",
            "a.b.cluster.example",
            "cluster.example",
            "",
            ":9600",
        ];
        for host in foreign {
            assert!(!names.has(Some(host), &certified), "{host}");
        }
        assert!(names.has(None, &certified));
        assert!(!names.has(Some("node.example"), &[]), "only while the certificate has it");
    }
}
