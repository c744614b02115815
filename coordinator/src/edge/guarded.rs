//! Wraps a gRPC service so that only callers with the role's token reach it, and not too often.

use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;

use super::{Edge, Peer, Role};

/// A service behind a token.
#[derive(Clone)]
pub struct Guarded<S> {
    inner: S,
    role: Option<Role>,
    edge: Arc<Edge>,
}

impl<S> Guarded<S> {
    /// Asks callers of `inner` for a token of this role; none: for none.
    pub fn new(inner: S, role: Option<Role>, edge: Arc<Edge>) -> Guarded<S> {
        Guarded { inner, role, edge }
    }
}

impl<S: NamedService> NamedService for Guarded<S> {
    const NAME: &'static str = S::NAME;
}

impl<S, B> Service<http::Request<B>> for Guarded<S>
where
    S: Service<http::Request<B>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let peer = request.extensions().get::<Peer>().expect("every connection has a peer");
        let shown = request.headers().get(http::header::AUTHORIZATION);
        let shown = shown.and_then(|header| header.to_str().ok());
        // A worker's stream and what it hands over come as often as trials end.
        let paced = match self.role {
            Some(Role::Agent) => Ok(()),
            Some(Role::Client) | None => self.edge.pace(peer),
        };
        let admitted = paced.and_then(|()| match self.role {
            Some(role) => self.edge.admit(role, shown, peer),
            None => Ok(()),
        });
        match admitted {
            Ok(()) => Box::pin(self.inner.call(request)),
            Err(answer) => Box::pin(ready(Ok(answer.status().into_http()))),
        }
    }
}
