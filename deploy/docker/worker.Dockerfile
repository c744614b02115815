# The worker and its trainer with libtorch, for the CPU (the default) or for NVIDIA GPUs. From the
# repository's root:
#
#   docker build -f deploy/docker/worker.Dockerfile --target cpu -t gradsweep/worker:local-cpu .
#   docker build -f deploy/docker/worker.Dockerfile --target cuda -t gradsweep/worker:local-cuda .
#
# Both have the same programs, which are linked against the CPU's library alone. The CUDA libraries
# come from the pinned wheels; the driver's come from the host (NVIDIA's container toolkit).
ARG RUST_VERSION=1.95
ARG DEBIAN_VERSION=bookworm

FROM debian:${DEBIAN_VERSION}-slim AS libtorch-tools
# Debian removes superseded versions, so a pinned one would not last.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 python3-pip \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY deploy/libtorch.sh deploy/libtorch_unpack.py deploy/

FROM libtorch-tools AS libtorch-cpu
RUN GRADSWEEP_CACHE=/opt deploy/libtorch.sh --cpu \
    && mv "$(readlink -f .libtorch)" /opt/libtorch

FROM libtorch-tools AS libtorch-cuda
RUN GRADSWEEP_CACHE=/opt deploy/libtorch.sh --cuda \
    && mv "$(readlink -f .libtorch)" /opt/libtorch

FROM rust:${RUST_VERSION}-slim-${DEBIAN_VERSION} AS build
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*
COPY --from=libtorch-cpu /opt/libtorch /opt/libtorch
ENV LIBTORCH=/opt/libtorch
WORKDIR /src
COPY . .
# The caches stay with the builder: a change compiles what it touches, and no layer holds them.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,id=gradsweep-worker,target=/src/target,sharing=locked \
    cargo build --release --locked -p worker -p trainer \
    && install -D --strip -t /out target/release/worker target/release/trainer

FROM debian:${DEBIAN_VERSION}-slim AS programs
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libstdc++6 \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 gradsweep \
    && useradd --uid 10001 --gid gradsweep --no-create-home --home-dir /state \
        --shell /usr/sbin/nologin gradsweep \
    && install -d -o gradsweep -g gradsweep /state /data /artifacts
COPY --from=build /out/worker /out/trainer /usr/local/bin/
# CUDA keeps compiled kernels below HOME, which must be writable.
ENV LIBTORCH=/opt/libtorch \
    GRADSWEEP_WORKER_STATE=/state \
    GRADSWEEP_DATA=/data \
    HOME=/state
# By number: Kubernetes cannot tell of a name that it is not root's.
USER 10001:10001
VOLUME ["/state", "/data"]
# Without a shell in between, so that SIGTERM reaches the worker alone: it drains. It listens
# nowhere, so there is no health check; that the coordinator hears it shows in `workers`.
ENTRYPOINT ["worker"]

FROM programs AS cuda
COPY --from=libtorch-cuda /opt/libtorch/licenses /opt/libtorch/licenses
COPY --from=libtorch-cuda /opt/libtorch/build-version /opt/libtorch/
COPY --from=libtorch-cuda /opt/libtorch/lib /opt/libtorch/lib
# What the container toolkit brings in: the driver's CUDA library, and NVML for the gauges.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

FROM programs AS cpu
COPY --from=libtorch-cpu /opt/libtorch/licenses /opt/libtorch/licenses
COPY --from=libtorch-cpu /opt/libtorch/build-version /opt/libtorch/
COPY --from=libtorch-cpu /opt/libtorch/lib /opt/libtorch/lib
