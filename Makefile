# Two commands set everything up: `make demo` and `make test`. Both install what they need by apt,
# cargo and go, and keep builds under $MOORING_CACHE (~/.cache/mooring) and target/.

CARGO ?= cargo
LAB = $(CARGO) run --quiet --package mooring-lab --bin

.PHONY: accidents bench demo demo-shell demo-down test unit e2e engines engines-fast fuzz fuzz-smoke lint fmt binaries image clean properties safety soak

demo: setup            ## the main job on a Kubernetes of its own (or yours: KUBECONFIG, IMAGE)
	$(LAB) demo

demo-shell:            ## a shell in the demo's network, with kubectl
	tests/kube/exec demo bash

demo-down:             ## remove the demo's Kubernetes
	tests/kube/down demo

test: setup lint unit fuzz-smoke engines-fast e2e  ## everything that has to hold before a change lands

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --quiet -- --deny warnings

# The same cases at every run, so that a change is judged by what it changes; `properties` draws new ones.
unit: export PROPTEST_RNG_SEED = 11
unit:
	$(CARGO) test --workspace

properties:            ## the property tests of the core with new random cases, 40 times as many: CASES=
	PROPTEST_CASES=$(or $(CASES),10000) $(CARGO) test --package mooring-cluster

e2e: setup             ## real servers on the test Kubernetes
	$(LAB) e2e

safety: setup          ## accidents that lose data without Mooring, on the test Kubernetes
	$(LAB) e2e -- --safety

# Static binaries: they run in images that hold nothing else, and in any pod.
TARGET = x86_64-unknown-linux-gnu
STATIC = RUSTFLAGS='-C target-feature=+crt-static' $(CARGO) build --target $(TARGET)

# So many versions beside each other; those cases whose time is compared run alone.
JOBS ?= 4

engines: setup         ## thirteen real engine versions: what they read, and repaired clusters (needs root)
	tests/engines/fetch
	$(CARGO) test --package mooring-config-tests -- --ignored --nocapture
	$(CARGO) run --quiet --package mooring-engines -- --jobs $(JOBS)

accidents:             ## docs/accidents.md: the figures of the last `make engines` and `make safety`
	$(CARGO) run --quiet --package mooring-engines -- --page

engines-fast: setup    ## the same, but only what `--fast` names
	tests/engines/fetch
	$(CARGO) run --quiet --package mooring-engines -- --fast

SECONDS ?= 3600
soak:                  ## simulated clusters for an hour, or SECONDS=; one with a trace: SEED=; one accident each: ONE=1
	$(CARGO) run --quiet --release --package mooring-sim --bin soak -- $(if $(ONE),--one) \
	  $(if $(SEED),--seed $(SEED),--go-on --seconds $(SECONDS) --from $(shell date +%s)00000)

fuzz:                  ## ten minutes for each parser of what comes from outside
	fuzz/run long

fuzz-smoke: setup      ## the same for seconds
	fuzz/run smoke

bench: binaries        ## out/core.json: time, memory and size of the core
	$(CARGO) run --quiet --release --package mooring-bench

binaries: setup        ## static mooring and step
	$(STATIC) --release --package mooring
	$(STATIC) --profile step --package mooring-step

image: binaries        ## build the image, and push it to the registry that IMAGE names
	@test -n "$(IMAGE)" || { echo 'say where to: make image IMAGE=registry.example/team/mooring:0.1.0' >&2; exit 1; }
	tests/images/image push \
	  "$$(tests/images/build mooring --mooring target/$(TARGET)/release/mooring --step target/$(TARGET)/step/step --tag $(IMAGE))" $(IMAGE)

fmt:
	$(CARGO) fmt --all

.PHONY: setup
setup:
	@tests/setup

clean:
	$(CARGO) clean
	rm -rf out
