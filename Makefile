# GradSweep's tasks. `make help` lists them; each sets up what it needs.
#
# Tests, lints and the demo share the release profile, so that libtorch's bindings and the gRPC
# stack are compiled once.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help libtorch build demo test sim lint bench gpu-check clean

PYTHON ?= python3
SEED ?= 1
TARGET := $(or $(CARGO_TARGET_DIR),target)
BIN := $(TARGET)/release
DEMO_STATE := $(TARGET)/demo-state
# How much `bench` asks of the coordinator: short takes a minute, full about half an hour.
LOAD ?= short
CARGO_FLAGS := --release --locked
PROGRAMS := -p coordinator -p worker -p trainer

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 14

libtorch: ## fetch libtorch 2.11.0 for the CPU (deploy/libtorch.sh --cuda: with CUDA)
	@deploy/libtorch.sh

build: libtorch ## build coordinator, worker and trainer in release
	cargo build $(CARGO_FLAGS) $(PROGRAMS)

demo: build ## run sweeps/quickstart.yaml on this machine and print its table
	rm -rf $(DEMO_STATE)
	$(BIN)/coordinator --sweep sweeps/quickstart.yaml --local --exit-when-done \
	    --state $(DEMO_STATE) --listen 127.0.0.1:0 --http 127.0.0.1:0

# One libtorch thread per test: two on busy cores are many times slower than one. Property tests
# draw the same cases in every run; `cargo test` without the variable draws new ones.
test: build ## run every test
	$(PYTHON) deploy/tests/test_libtorch.py
	$(PYTHON) deploy/tests/test_gpu_check.py
	$(PYTHON) deploy/tests/test_deploy.py
	$(PYTHON) deploy/tests/test_deploy_scripts.py
	$(PYTHON) deploy/tests/test_page.py
	$(PYTHON) deploy/tests/test_watch.py
	$(PYTHON) deploy/tests/test_prometheus.py
	$(PYTHON) python/test_gradsweep_model.py
	OMP_NUM_THREADS=1 PROPTEST_RNG_SEED=$(SEED) GRADSWEEP_TEST_PYTHON=$(PYTHON) \
	    cargo test $(CARGO_FLAGS) --workspace

sim: ## simulate SEEDS=10000 worlds with faults, from SEED=1 on; failures are in target/simulation
	SIM_SEEDS=$(or $(SEEDS),10000) SIM_SEED=$(SEED) cargo run $(CARGO_FLAGS) -p simulation

lint: libtorch ## formatting, clippy, and the checks that are installed
	cargo fmt --all --check
	cargo clippy $(CARGO_FLAGS) --workspace --all-targets -- -D warnings
	@deploy/lint-optional.sh

bench: build ## load on the coordinator (LOAD=full: all), a training step against PyTorch eager
	cargo bench --locked -p coordinator --bench load -- $(LOAD)
	$(PYTHON) worker/trainer/benches/step_against_pytorch.py --trainer $(BIN)/trainer
	$(PYTHON) worker/trainer/benches/step_against_pytorch.py --trainer $(BIN)/trainer \
	    --model cnn --steps 1

gpu-check: build ## pack dist/gpu-check, a folder to run on a GPU host
	deploy/gpu-check/pack.sh $(BIN) dist/gpu-check

clean: ## remove what was built; the shared libtorch cache stays
	cargo clean
	rm -rf dist
	[ ! -L .libtorch ] || rm .libtorch
