# Needs Python 3.11 or later with venv, and the package index. Everything else comes from requirements-dev.txt.
#
#   make help            what there is
#   make test PYTHON=... with a Python of your choice

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON  ?=
VENV    := .venv
BIN     := $(VENV)/bin
STAGE   := .wheel
PYTHONS := $(if $(PYTHON),$(PYTHON),python3.13 python3.12 python3.11 python3)
PIP     := -m pip --disable-pip-version-check --no-input
SOURCES := core transports tests benchmarks examples
EXTRAS  := cli,h11,httpx,httpx2,trio
NODE    := tests/real/node

# The parts of the suite that `make test` leaves to other targets, or runs apart: only core is measured for coverage.
APART   := --ignore=tests/core --ignore=tests/real --ignore=tests/wheel

.PHONY: help test demo lint simulate ablations timeline real wheel bench pins clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1 \t\2/p' Makefile

test: $(VENV)/.ready ## run the tests; core must be covered whole, branches included
	$(BIN)/python -m pytest -n auto --dist worksteal tests/core --cov
	$(BIN)/python -m pytest -n auto --dist worksteal $(APART)

demo: $(VENV)/.ready ## keep a token alive over real HTTP for twenty seconds of fair and foul weather
	@$(BIN)/evertoken demo

lint: $(VENV)/.ready ## ruff, mypy strict and basedpyright strict
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/basedpyright --pythonpath $(BIN)/python

# SEEDS=0-99 YEARS=1 OUT=years.json for other runs: a file that is there is continued where it ends.
simulate: $(VENV)/.ready ## run 1,000 simulated hostile days, and one that the commit draws, on all cores
	$(BIN)/evertoken simulate --seeds $(or $(SEEDS),0-999) $(if $(YEARS),--years $(YEARS),--days $(or $(DAYS),1)) \
	    --commit $$(git rev-parse HEAD) --out $(or $(OUT),simulation-$$(git rev-parse --short HEAD).json)

ablations: $(VENV)/.ready ## take each safeguard away, count the seeds until a check fires, and write docs/ablations.md
	$(BIN)/python -m tests.ablations.table > docs/ablations.new && mv docs/ablations.new docs/ablations.md

timeline: $(VENV)/.ready ## draw docs/timeline.svg, the picture of the README, anew
	$(BIN)/evertoken simulate --seed 704 --days 0.5 --clients 3 --quiet --svg docs/timeline.svg --faults \
	    partition,outage,revoked,crash,restart,suspend,late,token:server-error,token:rate-limited-reset,token:hang,api:unauthorized

real: $(VENV)/.ready $(NODE)/node_modules/.ready ## run the tests against servers that others wrote
	$(BIN)/python -m pytest -n auto tests/real

bench: $(VENV)/.ready ## what a token costs: while it lives, a herd without one, the loop meanwhile; and simulated time
	$(BIN)/python benchmarks/hot_path.py
	$(BIN)/python benchmarks/herd.py
	$(BIN)/python benchmarks/stall.py
	$(BIN)/python benchmarks/server_model.py
	$(BIN)/python benchmarks/simulation.py

# The wheel goes into an environment of its own, and the tests run beside it in a folder that has no source tree.
# First with nothing but what the wheel itself asks for, then with the extras and the tools of the tests.
wheel: $(VENV)/.ready ## build the wheel and test it without the source tree
	rm -rf $(STAGE)
	$(BIN)/python -m build --no-isolation --outdir $(STAGE)/dist .
	$(BIN)/python -m venv $(STAGE)/venv
	sed -n 's/^\([a-z0-9][^ ]*==[^\]*\).*/\1/p' requirements-dev.txt > $(STAGE)/constraints.txt
	mkdir $(STAGE)/alone
	cp -R tests pyproject.toml README.md $(STAGE)/alone
	$(STAGE)/venv/bin/python $(PIP) install -q -c $(STAGE)/constraints.txt $(STAGE)/dist/evertoken-*.whl
	cd $(STAGE)/alone && ../venv/bin/python tests/wheel/smoke.py
	wheel=$$(echo $(STAGE)/dist/evertoken-*.whl) && $(STAGE)/venv/bin/python $(PIP) install -q \
	    -c $(STAGE)/constraints.txt "$$wheel[$(EXTRAS)]" hypothesis pytest pytest-asyncio pytest-trio pytest-xdist
	cd $(STAGE)/alone && ../venv/bin/python -m pytest -n auto tests/core

pins: $(VENV)/.ready ## write requirements-dev.txt anew with the latest releases
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --generate-hashes --no-strip-extras --upgrade --quiet \
	    --no-config --no-emit-index-url --no-emit-find-links --custom-compile-command 'make pins' -o requirements-dev.txt

clean: ## remove what make and the tools made
	rm -rf $(VENV) $(STAGE) dist build htmlcov .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +

# ---------------------------------------------------------------------------------------------------------------------

$(VENV)/.made:
	@found=; \
	for python in $(PYTHONS); do \
	    if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	    echo 'missing: Python 3.11 or later (looked for: $(PYTHONS); name another with PYTHON=...)' >&2; exit 1; \
	fi; \
	if ! "$$found" -c 'import venv, ensurepip' 2>/dev/null; then \
	    echo "missing: the venv module of $$found (Debian has it in the package python3-venv)" >&2; exit 1; \
	fi; \
	rm -rf $(VENV); "$$found" -m venv $(VENV)
	@touch $@

$(VENV)/.pins: $(VENV)/.made requirements-dev.txt
	@echo 'installing requirements-dev.txt into $(VENV) (once; a minute or so)'
	@$(BIN)/python $(PIP) install --require-hashes -r requirements-dev.txt > $(VENV)/install.log 2>&1 || { \
	    echo 'missing: a package index that has what requirements-dev.txt names (pip says why in $(VENV)/install.log)' >&2; \
	    exit 1; }
	@touch $@

$(VENV)/.ready: $(VENV)/.pins pyproject.toml
	@$(BIN)/python $(PIP) install --no-build-isolation --no-deps -e . > $(VENV)/install.log 2>&1 || { \
	    echo 'evertoken itself does not install (pip says why in $(VENV)/install.log)' >&2; exit 1; }
	@touch $@

# Mangopay's SDK for Node.js, which only `make real` needs.
$(NODE)/node_modules/.ready: $(NODE)/package.json $(NODE)/package-lock.json | $(VENV)/.ready
	@if ! node -e 'process.exit(parseInt(process.versions.node) < 18 ? 1 : 0)' 2>/dev/null || ! npm --version >/dev/null 2>&1; then \
	    echo 'missing: Node.js 18 or later with npm (Debian has them in the packages nodejs and npm)' >&2; exit 1; \
	fi
	@echo 'installing $(NODE)/package-lock.json into $(NODE)/node_modules (once; half a minute or so)'
	@cd $(NODE) && npm ci --ignore-scripts --no-audit --no-fund > $(CURDIR)/$(VENV)/npm.log 2>&1 || { \
	    echo 'missing: a package registry that has what $(NODE)/package-lock.json names (npm says why in $(VENV)/npm.log)' >&2; \
	    exit 1; }
	@touch $@
