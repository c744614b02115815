//! Wraps a gRPC service so that every call is timed by method and status code.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use prometheus::HistogramVec;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;
use tonic::{Code, Status};

/// Methods of our own services; any other is one label, so that a scanner makes no series.
const METHODS: [&str; 19] = [
    "/gradsweep.v1.WorkerService/Attach",
    "/gradsweep.v1.WorkerService/OfferWeights",
    "/gradsweep.v1.WorkerService/PutWeights",
    "/gradsweep.v1.SweepService/ListSweeps",
    "/gradsweep.v1.SweepService/GetSweep",
    "/gradsweep.v1.SweepService/WatchSweep",
    "/gradsweep.v1.SweepService/GetTable",
    "/gradsweep.v1.SweepService/GetExpectations",
    "/gradsweep.v1.SweepService/GetProbe",
    "/gradsweep.v1.SweepService/GetTrial",
    "/gradsweep.v1.SweepService/GetLog",
    "/gradsweep.v1.SweepService/GetModel",
    "/gradsweep.v1.SweepService/ListWorkers",
    "/gradsweep.v1.SweepService/ApplySweep",
    "/gradsweep.v1.SweepService/PauseSweep",
    "/gradsweep.v1.SweepService/ResumeSweep",
    "/gradsweep.v1.SweepService/CancelSweep",
    "/gradsweep.v1.SweepService/RetrySweep",
    "/gradsweep.v1.SweepService/DrainWorker",
];

/// A service whose calls are timed until their first answer.
#[derive(Clone, Debug)]
pub struct Timed<S> {
    inner: S,
    seconds: HistogramVec,
}

impl<S> Timed<S> {
    /// Times the calls of `inner` into a histogram with the labels method and code.
    pub fn new(inner: S, seconds: HistogramVec) -> Timed<S> {
        Timed { inner, seconds }
    }
}

impl<S: NamedService> NamedService for Timed<S> {
    const NAME: &'static str = S::NAME;
}

impl<S, B> Service<http::Request<B>> for Timed<S>
where
    S: Service<http::Request<B>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let path = request.uri().path();
        let known = METHODS.into_iter().find(|method| *method == path);
        let method = known.and_then(|path| path.rsplit('/').next()).unwrap_or("other");
        let seconds = self.seconds.clone();
        let started = Instant::now();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            // An error before the first message stands in the headers; a stream that begins is ok.
            let code = match &answer {
                Ok(response) => Status::from_header_map(response.headers())
                    .map_or(Code::Ok, |status| status.code()),
                Err(_) => Code::Unknown,
            };
            let labels = [method, &format!("{code:?}")];
            seconds.with_label_values(&labels).observe(started.elapsed().as_secs_f64());
            answer
        })
    }
}

#[cfg(test)]
mod tests {
    use super::METHODS;

    #[test]
    fn every_method_of_the_services_has_a_label_of_its_own() {
        let mut declared = Vec::new();
        for (service, proto) in [
            ("WorkerService", include_str!("../../../proto/gradsweep/v1/worker.proto")),
            ("SweepService", include_str!("../../../proto/gradsweep/v1/sweeps.proto")),
        ] {
            let rpcs = proto.lines().filter_map(|line| line.trim().strip_prefix("rpc "));
            let names = rpcs.filter_map(|rpc| rpc.split('(').next());
            declared.extend(names.map(|name| format!("/gradsweep.v1.{service}/{name}")));
        }
        let mut methods = METHODS.map(str::to_owned);
        declared.sort();
        methods.sort();
        assert_eq!(methods.as_slice(), declared);
    }
}
