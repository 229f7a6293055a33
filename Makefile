# GNU make (3.81 or newer) and a POSIX shell; `make help` lists the targets.

PORT ?= 8080
DATA ?= ./data

VENV := .venv
PYTHON_IN_VENV := $(VENV)/bin/python
# Stamps: an installation is repeated only when a lock file or pyproject.toml has changed since.
RUNTIME := $(VENV)/.installed-runtime
DEV := $(VENV)/.installed-dev

# Where Python may not write what it has compiled, each process of a test compiles the whole program, and what it uses of libraries.
unexport PYTHONDONTWRITEBYTECODE

.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' Makefile

.PHONY: up
up: $(RUNTIME) ## Set up and start the whole system on PORT (8080), data in DATA (./data)
	@exec $(VENV)/bin/ticketmaster standalone -p "$(PORT)" -d "$(DATA)"

SERVER ?= localhost:8080
REQUESTS ?= 100000

.PHONY: sale
sale: $(DEV) ## Sell out 40,000 seats of the server at SERVER (localhost:8080) to REQUESTS (100000), and check every answer
	@$(PYTHON_IN_VENV) scripts/perf/spike --host "$(SERVER)" --areas 100 --requests "$(REQUESTS)" --http2

.PHONY: setup
setup: $(DEV) ## Set up .venv with everything that check, test and bench need

.PHONY: check
check: $(DEV) ## Check format, lint, types and deployment
	$(PYTHON_IN_VENV) -m ruff format --check .
	$(PYTHON_IN_VENV) -m ruff check .
	$(PYTHON_IN_VENV) -m mypy
	$(PYTHON_IN_VENV) scripts/deploy/check

.PHONY: test
test: $(DEV) ## Run all tests but those of the benchmark
	$(PYTHON_IN_VENV) scripts/test

.PHONY: test-bench
test-bench: $(DEV) ## Run the tests of the benchmark: each of its parts on a small scale, in ten minutes
	TICKETMASTER_REQUIRE_KAFKA=1 $(PYTHON_IN_VENV) -m pytest -q tests/bench

.PHONY: test-versions
test-versions: $(DEV) ## Run the suites that need no broker on every other Python of this machine (3.11 to 3.14)
	$(PYTHON_IN_VENV) scripts/versions/test

.PHONY: release
release: $(DEV) ## Build a release of this commit into dist/: archive, wheel, SBOM, checksums; prints what to publish
	@$(PYTHON_IN_VENV) scripts/release/release

.PHONY: bare-machine
bare-machine: $(DEV) ## Follow README.md and docs/quickstart.md on a bare Debian, which this makes in a folder (root; OPTIONS="--help" for more)
	$(PYTHON_IN_VENV) scripts/bare/follow $(OPTIONS)

FAULTS ?= 100
SEED ?=

.PHONY: chaos
chaos: $(DEV) ## Sell on a cluster of three while FAULTS (100) of all kinds happen; SEED repeats a run
	TICKETMASTER_REQUIRE_KAFKA=1 TICKETMASTER_CHAOS_FAULTS="$(FAULTS)" TICKETMASTER_CHAOS_SEED="$(SEED)" \
		$(PYTHON_IN_VENV) -m pytest -q -s -o faulthandler_timeout=0 tests/chaos

.PHONY: reliability-report
reliability-report: $(DEV) ## Run all that docs/reliability.md shows, for hours, and write it (OPTIONS="--help" for parts)
	$(PYTHON_IN_VENV) scripts/reliability/report $(OPTIONS)

.PHONY: docs
docs: $(DEV) ## Write what documents have from the code: the page at /docs, lists in docs/, the manual
	$(PYTHON_IN_VENV) scripts/docs/render.py
	$(PYTHON_IN_VENV) scripts/docs/reference.py
	$(PYTHON_IN_VENV) scripts/docs/manual.py

.PHONY: format
format: $(DEV) ## Format the code and fix what ruff can fix
	$(PYTHON_IN_VENV) -m ruff check --fix-only .
	$(PYTHON_IN_VENV) -m ruff format .

BENCH ?= .cache/bench

.PHONY: bench
bench: $(DEV) ## Measure cost, speed, memory and disk, half an hour or more; results and report in BENCH (.cache/bench)
	mkdir -p "$(BENCH)"
	$(PYTHON_IN_VENV) scripts/perf/bench run --json "$(BENCH)/results.json" --html "$(BENCH)/report.html" $(OPTIONS)

.PHONY: bench-quick
bench-quick: $(DEV) ## Measure the few figures that matter, as ratios to a calibration loop, in a minute or two
	$(PYTHON_IN_VENV) scripts/perf/bench quick $(OPTIONS)

PERF_TYPE ?= 1-instance-perf
PARTITIONS_COUNT ?=
IMAGE ?=
# In a cloud: which deployment, the name by which the world reaches it, and the bucket with Terraform's state.
ENVIRONMENT ?=
DOMAIN ?=
STATE_BUCKET ?=
# The answer to the question before anything is changed or deleted, for where nobody is to be asked.
CONFIRM ?=
DEPLOY_WHERE = --perf-type "$(PERF_TYPE)" --environment "$(ENVIRONMENT)" --domain "$(DOMAIN)" \
	--state-bucket "$(STATE_BUCKET)" --confirm "$(CONFIRM)"

.PHONY: deploy
deploy: ## Put it on Kubernetes as deploy/overlays/PERF_TYPE (1-instance-perf) says, with IMAGE and PARTITIONS_COUNT
	@scripts/deploy/deploy apply $(DEPLOY_WHERE) --partitions "$(PARTITIONS_COUNT)" --image "$(IMAGE)"

.PHONY: upgrade
upgrade: ## Change what runs on Kubernetes to IMAGE, without Terraform
	@scripts/deploy/deploy upgrade $(DEPLOY_WHERE) --partitions "$(PARTITIONS_COUNT)" --image "$(IMAGE)"

.PHONY: destroy
destroy: ## Take all that away again, clusters and data included
	@scripts/deploy/deploy destroy $(DEPLOY_WHERE)

.PHONY: deploy-check
deploy-check: $(DEV) ## Check manifests, docker-compose.yml and Terraform files; apply the manifests, where scripts/controlplane/install was run
	@$(PYTHON_IN_VENV) scripts/deploy/check

.PHONY: image-check
image-check: $(DEV) ## Build the image without Docker, and run it as each role (root, Debian; OPTIONS="--help" for more)
	@$(PYTHON_IN_VENV) scripts/image/check $(OPTIONS)

COMPILE = $(PYTHON_IN_VENV) -m uv pip compile --quiet --upgrade --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --custom-compile-command 'make lock' pyproject.toml

.PHONY: lock
lock: $(VENV)/pyvenv.cfg ## Write the lock files anew with the latest versions that pyproject.toml allows
	$(PYTHON_IN_VENV) -m pip install --quiet --disable-pip-version-check uv
	$(COMPILE) --output-file requirements.lock
	$(COMPILE) --constraints requirements.lock --extra dev --extra parquet --extra perf --output-file requirements-dev.lock

.PHONY: clean
clean: ## Remove .venv, caches and builds; the data directory stays
	rm -rf $(VENV) .cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The version is asked of each candidate, and whether it can make a venv: Debian's python3 comes without ensurepip.
$(VENV)/pyvenv.cfg:
	@for candidate in $(PYTHON) python3.13 python3.12 python3.11 python3; do \
		if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$candidate; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo "make: no Python 3.11 or newer found. Install one, or name it: make PYTHON=/path/to/python3.12 …" >&2; exit 2; \
	fi; \
	if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
		echo "make: $$python cannot make a virtual environment. On Debian and Ubuntu: sudo apt install python3-venv" >&2; exit 2; \
	fi; \
	echo "Making $(VENV) with $$("$$python" --version) …"; \
	"$$python" -m venv --clear $(VENV)

# Installs the lock file $(1), every file by its hash, then the package itself, editable.
define install
	@echo "Installing $(1) …"
	@$(PYTHON_IN_VENV) -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $(1) && \
	$(PYTHON_IN_VENV) -m pip install --quiet --disable-pip-version-check --no-deps --editable . || { \
		echo "make: the installation failed, see above. It needs the network, or a package registry that pip is configured for." >&2; \
		exit 2; \
	}
	@touch $@
endef

$(RUNTIME): $(VENV)/pyvenv.cfg requirements.lock pyproject.toml
	$(call install,requirements.lock)

# Holds the runtime's packages too, in the same versions.
$(DEV): $(VENV)/pyvenv.cfg requirements-dev.lock pyproject.toml
	$(call install,requirements-dev.lock)
	@touch $(RUNTIME)
