//! Sessions of browsers that showed a token once: kept in memory, so a restart ends them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use common::token::{Token, TokenHash, Tokens};

/// How long one lasts: a working day.
pub const SESSION_LENGTH: Duration = Duration::from_secs(12 * 3600);
/// Sessions at a time; of more, the one that ends first is ended.
const SESSIONS_MAX: usize = 1024;

/// The sessions, by the hash of the secret that the cookie holds.
#[derive(Default)]
pub struct Sessions(Mutex<HashMap<[u8; 32], Session>>);

struct Session {
    ends_at: Instant,
    /// Of the token that began it: where that is withdrawn, the session ends.
    token: TokenHash,
}

impl Sessions {
    /// Begins one; gives the cookie's secret.
    pub fn begin(&self, token: TokenHash, now: Instant) -> Token {
        let secret = Token::generate();
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|_, session| session.ends_at > now);
        if sessions.len() >= SESSIONS_MAX {
            let first = sessions.iter().min_by_key(|(_, session)| session.ends_at);
            if let Some(first) = first.map(|(key, _)| *key) {
                sessions.remove(&first);
            }
        }
        let session = Session { ends_at: now + SESSION_LENGTH, token };
        sessions.insert(key(secret.secret()), session);
        secret
    }

    /// Whether the secret is that of a session whose token still counts.
    pub fn is_valid(&self, secret: &str, accepted: &Tokens, now: Instant) -> bool {
        let sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let session = sessions.get(&key(secret));
        session.is_some_and(|session| session.ends_at > now && accepted.accept(&session.token))
    }

    /// Ends one.
    pub fn end(&self, secret: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&key(secret));
    }
}

/// Looked up by its hash, so that the time of the look-up tells nothing of the secret.
fn key(secret: &str) -> [u8; 32] {
    *blake3::hash(secret.as_bytes()).as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_lasts_until_its_end_its_token_or_its_time() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let token = Token::generate();
        let accepted = Tokens::parse(token.secret()).expect("a token");
        let one = sessions.begin(token.hash(), now);
        let other = sessions.begin(token.hash(), now);
        let is_valid = |secret: &Token, at| sessions.is_valid(secret.secret(), &accepted, at);
        assert!(is_valid(&one, now) && is_valid(&other, now));
        sessions.end(one.secret());
        assert!(!is_valid(&one, now) && is_valid(&other, now));
        assert!(!is_valid(&other, now + SESSION_LENGTH));
        assert!(!is_valid(&token, now), "a token is no session");
        let rotated = Tokens::parse(Token::generate().secret()).expect("a token");
        assert!(!sessions.is_valid(other.secret(), &rotated, now));
    }

    #[test]
    fn memory_is_bounded() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        for index in 0..=SESSIONS_MAX as u64 {
            sessions.begin(TokenHash::of("x"), now + Duration::from_nanos(index));
        }
        assert_eq!(sessions.0.lock().expect("no panic").len(), SESSIONS_MAX);
    }
}
