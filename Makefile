# Two commands set everything up: `make demo` and `make test`. Both install what they need by apt,
# cargo and go, and keep builds under $MOORING_CACHE (~/.cache/mooring) and target/.

CARGO ?= cargo
LAB = $(CARGO) run --quiet --package mooring-lab --bin

.PHONY: demo demo-shell demo-down test unit e2e lint fmt binaries image clean

demo: setup            ## the main job on a Kubernetes of its own (or yours: KUBECONFIG, IMAGE)
	$(LAB) demo

demo-shell:            ## a shell in the demo's network, with kubectl
	tests/kube/exec demo bash

demo-down:             ## remove the demo's Kubernetes
	tests/kube/down demo

test: setup lint unit e2e  ## everything that has to hold before a change lands

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --quiet -- --deny warnings

unit:
	$(CARGO) test --workspace

e2e: setup             ## real servers on the test Kubernetes
	$(LAB) e2e

fmt:
	$(CARGO) fmt --all

.PHONY: setup
setup:
	@tests/setup

clean:
	$(CARGO) clean
	rm -rf out
