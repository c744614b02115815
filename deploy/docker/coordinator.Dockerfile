# The coordinator: server and client in one program, without libtorch. From the repository's root:
#
#   docker build -f deploy/docker/coordinator.Dockerfile -t gradsweep/coordinator:local .
ARG RUST_VERSION=1.95
ARG DEBIAN_VERSION=bookworm

FROM rust:${RUST_VERSION}-slim-${DEBIAN_VERSION} AS build
WORKDIR /src
COPY . .
# The caches stay with the builder: a change compiles what it touches, and no layer holds them.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,id=gradsweep-coordinator,target=/src/target,sharing=locked \
    cargo build --release --locked -p coordinator \
    && install -D --strip target/release/coordinator /out/coordinator

FROM debian:${DEBIAN_VERSION}-slim
# curl is for the health check. Debian removes superseded versions, so a pinned one would not last.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends curl \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 gradsweep \
    && useradd --uid 10001 --gid gradsweep --no-create-home --home-dir /state \
        --shell /usr/sbin/nologin gradsweep \
    && install -d -o gradsweep -g gradsweep /state /data
COPY --from=build /out/coordinator /usr/local/bin/
COPY deploy/docker/health.sh /usr/local/bin/gradsweep-health
COPY sweeps /sweeps
# Every address of the container: refused at the start without credentials or --insecure.
ENV GRADSWEEP_STATE=/state \
    GRADSWEEP_DATA=/data \
    GRADSWEEP_LISTEN=0.0.0.0:50051 \
    GRADSWEEP_HTTP=0.0.0.0:9600
# By number: Kubernetes cannot tell of a name that it is not root's.
USER 10001:10001
VOLUME ["/state", "/data"]
EXPOSE 50051 9600
# It answers when the store is open, which takes a while where that is large.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30m CMD ["gradsweep-health", "/ready"]
# Without a shell in between, so that SIGTERM reaches the program: it stops cleanly.
ENTRYPOINT ["coordinator"]
