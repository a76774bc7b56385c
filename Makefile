# The verbs of this repository; `make` alone prints them. Everything is installed into .venv.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
READY := .venv/.ready
COMPILE := $(BIN)/uv pip compile -q --universal -p 3.11 --generate-hashes --no-emit-index-url --no-header
# Before the rules that need it: make reads a rule's prerequisites at once.
SUPPLY := build/supply/.ready
UNPACKED_PGBOUNCER := build/pgbouncer/.ready
LOCKS := requirements requirements-dev requirements-bench requirements-supply
MIGRATIONS := $(wildcard services/*/migrations/*.sql) $(wildcard chassis/foundation/[0-9]*.sql)
# What contracts must stay compatible with: the main that others have, else the one here.
BASE ?= $(shell git rev-parse -q --verify origin/main || git rev-parse -q --verify main || echo HEAD)

.PHONY: help
help: ## Print these verbs
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

$(READY): requirements-dev.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -qq --disable-pip-version-check --require-hashes -r requirements-dev.txt
	$(BIN)/pip install -qq --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $@

.PHONY: demo
demo: $(READY) ## Start everything, run the main job on real filings, show the result (under a minute)
	@$(BIN)/prospect demo

.PHONY: dev
dev: $(READY) ## Keep the whole stack running for development, until Ctrl-C
	@$(BIN)/prospect dev

.PHONY: test
test: $(READY) $(SUPPLY) ## Run the tests on real PostgreSQL and NATS (five to fifteen minutes)
	$(BIN)/pytest -n 4 --dist worksteal -m "not chaos and not pgbouncer"

.PHONY: chaos
chaos: $(READY) $(if $(PGBOUNCER),$(UNPACKED_PGBOUNCER)) ## Run the long tests that kill, then break a cluster at random: SEED=… MINUTES=5 PGBOUNCER=1
	$(if $(SEED)$(MINUTES),,$(BIN)/pytest -n 2 -m chaos)
	$(BIN)/python -m tests.chaos.campaign $(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES)) \
	  $(if $(PGBOUNCER),--pgbouncer)

# The last and first days of a month and a year, 28 and 29 February, in hours when the day in Tokyo or in
# New York is another than in UTC; the minutes before summer time begins in New York and in Europe.
DAYS := 2026-12-31T23:45 2027-01-01T00:15 2027-02-28T23:30 2028-02-29T23:30 \
  2027-03-14T06:58 2027-03-28T00:58

.PHONY: days
days: $(READY) $(SUPPLY) ## Run the tests with each of six awkward days as today, or ONLY=tests/metrics
	@for day in $(DAYS); do \
	  echo "today is $$day"; \
	  $(BIN)/pytest -n 4 --dist worksteal -m "not chaos and not pgbouncer" --today $$day $(ONLY) || exit 1; \
	done

# PgBouncer and the two libraries that it needs beside a usual system's, unpacked without root.
$(UNPACKED_PGBOUNCER):
	mkdir -p build/pgbouncer
	cd build/pgbouncer && apt-get download -q pgbouncer \
	  $$(apt-cache depends pgbouncer | sed -nE 's/.*Depends: (lib(c-?ares|event)[^ ]*)$$/\1/p')
	for package in build/pgbouncer/*.deb; do dpkg-deb -x $$package build/pgbouncer || exit 1; done
	@touch $@

.PHONY: pgbouncer
pgbouncer: $(READY) $(UNPACKED_PGBOUNCER) ## Run the services' tests behind PgBouncer (needs apt-get), or ONLY=tests/metrics
	$(BIN)/pytest -n 4 --dist worksteal -m "not chaos" --pgbouncer \
	  $(or $(ONLY),tests/chassis/postgres tests/activity tests/enrichment tests/metrics)

DBOS := build/dbos/.ready
$(DBOS): requirements-bench.txt
	$(PYTHON) -m venv build/dbos
	build/dbos/bin/pip install -qq --disable-pip-version-check --require-hashes -r requirements-bench.txt
	@touch $@

# Lists and audits what the product is made of, in an environment of its own: the product lacks these.
$(SUPPLY): requirements-supply.txt
	$(PYTHON) -m venv build/supply
	build/supply/bin/pip install -qq --disable-pip-version-check --require-hashes -r requirements-supply.txt
	@touch $@

.PHONY: sbom
sbom: $(READY) $(SUPPLY) ## Write build/sbom.cdx.json: the product's packages, hashes and licences
	@build/supply/bin/python -m deploy.supply.sbom .venv requirements.txt build/sbom.cdx.json

.PHONY: audit
audit: $(SUPPLY) ## Name known vulnerabilities of all locked packages, OSV_URL=… for another database
	@build/supply/bin/python -m deploy.supply.audit $(if $(OSV_URL),--osv-url $(OSV_URL)) \
	  $(LOCKS:%=%.txt) deploy/requirements-build.txt

.PHONY: mutants
mutants: $(READY) ## Change the code and name each change no test notices: ONLY=folder LIMIT=n SEED=n
	$(BIN)/python -m tests.mutants $(if $(ONLY),--only $(ONLY)) $(if $(LIMIT),--limit $(LIMIT)) $(if $(SEED),--seed $(SEED))

.PHONY: fuzz
fuzz: $(READY) ## Send drawn requests and events to a stack of its own: SEED=… MINUTES=10
	$(BIN)/python -m tests.fuzz $(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES))

.PHONY: bench
bench: $(READY) $(DBOS) ## Run the benchmarks, or with ONLY=activity those of one service
	$(BIN)/python -m tests.benchmarks $(ONLY)

.PHONY: check
check: $(READY) ## Lint and type-check code, contracts, migrations, manifests and locks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint
	$(BIN)/buf format -d --exit-code
	$(BIN)/buf breaking --against '.git#ref=$(BASE)'
	$(BIN)/python protos/generate.py --check
	$(BIN)/python -m tests.queries --check
	$(BIN)/squawk $(MIGRATIONS)
	$(BIN)/python deploy/check.py
	$(BIN)/python -m deploy.supply.licences requirements.txt
	$(MAKE) --no-print-directory check-lock

.PHONY: check-lock
check-lock: $(READY) ## Fail where a lock file does not follow from its .in file
	@mkdir -p build/locks
	@for name in $(LOCKS); do \
	  cp $$name.txt build/locks/$$name.txt; \
	  $(COMPILE) $$name.in -o build/locks/$$name.txt || exit 1; \
	  cmp -s $$name.txt build/locks/$$name.txt || { echo "$$name.txt is stale: run make lock"; exit 1; }; \
	done

.PHONY: protos
protos: $(READY) ## Generate the committed Python from the contracts
	$(BIN)/buf format -w
	$(BIN)/python protos/generate.py

.PHONY: schema
schema: $(READY) ## Write each service's schema.sql: what its migrations add up to
	$(BIN)/python -m tests.schema

.PHONY: sql
sql: $(READY) ## Write metrics' queries.sql from its template and the table of counters
	$(BIN)/python -m tests.queries

.PHONY: lock
lock: $(READY) ## Lock the dependencies with hashes
	for name in $(LOCKS); do $(COMPILE) $$name.in -o $$name.txt || exit 1; done

.PHONY: clean
clean: ## Remove what was installed, built and stored
	rm -rf .venv .state build
