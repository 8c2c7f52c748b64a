# Two commands do everything: `make demo` and `make test`. Both set the project up first; a second run starts at once.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.9
STAMP := $(VENV)/.kloister-$(shell cat requirements/dev.txt pyproject.toml .ci/setup 2>/dev/null | cksum | cut -d' ' -f1)

.PHONY: setup debian demo test debian-cluster cluster cluster-test cluster-down check format lint types imports docs coverage fuzz mutants images helm bench requirements clean

setup: $(STAMP)

$(STAMP):
	@.ci/setup "$(PYTHON)" "$(VENV)" "$(UV_VERSION)"
	@rm -f $(VENV)/.kloister-* && touch $@

debian: ## installs the Debian packages that tests and the demo can use (skipped with a message without root)
	@.ci/debian

demo: setup debian
	@$(BIN)/kloister demo

# Files are the units of a parallel run: documents with fixed ports, and platforms that tests of one file share.
PARALLEL := -n auto --dist loadfile --no-loadscope-reorder

test: setup debian
	@$(BIN)/python -m tests.attempts $(PARALLEL) $(PYTEST)

debian-cluster: debian
	@.ci/debian requirements/debian-cluster.txt

cluster: setup debian-cluster ## a Kubernetes cluster of two nodes in namespaces of its own; the first time it is built, ten minutes
	@$(BIN)/python -m tests.cluster.bed up

cluster-test: setup debian-cluster ## tests/cluster, on the cluster of `make cluster` or on that of KUBECONFIG
	@$(BIN)/python -m tests.cluster.bed test -- $(PYTEST)

cluster-down: setup ## removes everything that `make cluster` has started
	@$(BIN)/python -m tests.cluster.bed down

format: setup
	@$(BIN)/ruff format --check .

lint: setup
	@$(BIN)/ruff check .

types: setup
	@$(BIN)/mypy

imports: setup
	@$(BIN)/lint-imports --no-logo

docs: setup
	@$(BIN)/python -m pytest -q tests/docs

coverage: setup ## branch coverage of the pure rooms, 95 % or more
	@$(BIN)/python -m pytest -q $(PARALLEL) tests/unit/formats tests/unit/trust tests/unit/simulator tests/conformance \
	  --cov=kloister.formats --cov=kloister.trust --cov=kloister.simulator --cov-branch --cov-report=term --cov-fail-under=95

# `make test` runs the documents' examples with everything else.
check: format lint types imports coverage test

FUZZ_SECONDS ?= 20
fuzz: setup ## every parser for FUZZ_SECONDS each (FUZZ="quote crl" for some), guided by atheris where it has a wheel
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --only-binary :all: -r requirements/fuzz.txt \
	  || echo "atheris cannot be installed here; mutation is random"
	@$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS) $(FUZZ)

mutants: setup ## changes the verifier in one place after the other and lists what no test notices (MUTANTS="src/.../tcb.py" for some files)
	@$(BIN)/python -m tests.mutants $(MUTANTS)

images: setup ## the images of our own daemons, as an OCI layout in build/images
	@$(BIN)/python -m deploy.images

HELM := $(or $(KLOISTER_CACHE),$(HOME)/.cache/kloister)/bin/helm
helm: ## helm for the chart's tests, built by the machine's Go 1.23 or newer
	@test -x $(HELM) || GOBIN=$(dir $(HELM)) go install helm.sh/helm/v3/cmd/helm@v3.17.4

bench: setup debian
	@for b in bench/*.py; do echo "== $$b"; $(BIN)/python $$b || exit 1; done

requirements: setup ## recompile the hashed pins
	@for f in base service node dev fuzz; do $(BIN)/uv pip compile -q --upgrade --generate-hashes --no-emit-index-url \
	  --python-version 3.11 --universal --no-header requirements/$$f.in -o requirements/$$f.txt; done

clean:
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
