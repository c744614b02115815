//! HTTP, as far as a download needs it: one request, its head, its bytes, and errors in words.

use std::io::{self, Read};
use std::time::Duration;

use ureq::{Agent, Body, Error, Timeout, http::HeaderMap};

use super::plan::{self, Head, Request};

/// How long a mirror may be silent.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Until it is found and connected to, TLS included.
    pub connect: Duration,
    /// Between bytes, and until the first one.
    pub stall: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts { connect: Duration::from_secs(15), stall: Duration::from_secs(30) }
    }
}

/// Asks mirrors.
pub(super) struct Client {
    agent: Agent,
    timeouts: Timeouts,
}

impl Client {
    pub fn new(timeouts: Timeouts) -> Client {
        let config = Agent::config_builder()
            .user_agent(concat!("gradsweep/", env!("CARGO_PKG_VERSION")))
            // The bytes as they are stored: they are what is counted and continued.
            .accept_encoding("identity")
            .http_status_as_error(false)
            .timeout_resolve(Some(timeouts.connect))
            .timeout_connect(Some(timeouts.connect))
            .timeout_per_read(Some(timeouts.stall))
            .timeout_per_write(Some(timeouts.stall))
            .build();
        Client { agent: config.into(), timeouts }
    }

    /// Sends a request; the error says why there is no answer.
    pub fn get(&self, url: &str, request: &Request) -> Result<(Head, Reply), String> {
        let mut call = self.agent.get(url);
        if let Request::Rest { from, source } = request {
            call = call.header("Range", format!("bytes={from}-"));
            if let Some(validator) = &source.validator {
                call = call.header("If-Range", validator);
            }
        }
        let answer = call.call().map_err(|error| self.reason(&error))?;
        let (parts, body) = answer.into_parts();
        let head = Head {
            status: parts.status.as_u16(),
            length: body.content_length(),
            validator: validator(&parts.headers),
            range: text(&parts.headers, "content-range").and_then(plan::content_range),
        };
        Ok((head, Reply { body, timeouts: self.timeouts }))
    }

    fn reason(&self, error: &Error) -> String {
        reason(error, self.timeouts)
    }
}

/// The bytes of an answer.
pub(super) struct Reply {
    body: Body,
    timeouts: Timeouts,
}

impl Reply {
    /// Gives all bytes to `each`, until that fails. The outer error is `each`'s, the inner one says
    /// why the bytes ended early.
    pub fn read<E>(
        self,
        mut each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<Result<(), String>, E> {
        let timeouts = self.timeouts;
        let mut reader = self.body.into_with_config().limit(u64::MAX).reader();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(Ok(())),
                Ok(count) => each(&buffer[..count])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Ok(Err(reason(&Error::from(error), timeouts))),
            }
        }
    }
}

/// A weak ETag promises no equal bytes, so it cannot join two parts.
fn validator(headers: &HeaderMap) -> Option<String> {
    let strong = text(headers, "etag").filter(|tag| tag.starts_with('"'));
    strong.or_else(|| text(headers, "last-modified")).map(Into::into)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn reason(error: &Error, timeouts: Timeouts) -> String {
    match error {
        Error::Timeout(Timeout::PerRead) => {
            format!("sent nothing for {:?}", timeouts.stall)
        }
        Error::Timeout(Timeout::Resolve | Timeout::Connect) => {
            format!("no connection within {:?}", timeouts.connect)
        }
        Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            "closed the connection before the end".into()
        }
        Error::Io(error) => error.to_string(),
        error => error.to_string(),
    }
}
