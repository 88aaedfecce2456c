# Needs Python 3.11 or later with venv, and a package index. Everything else comes from requirements-dev.txt, by hash, and
# for `make embedders` from requirements-embedders.txt.
#
#   make help                    what there is
#   make test PYTHON=...         with a Python of your choice
#   make newer PYTHON_NEWER=...  the same for the second one, 3.12 or later

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# What is set for other programs. Tests start many interpreters, which need what the first of them has compiled.
unexport PYTHONHOME PYTHONPATH PYTHONDONTWRITEBYTECODE
# Many tests wait for threads and sockets: with half as many processes again as there are cores, none of these is idle.
# Those of core wait for nothing.
CORES := $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
export PYTEST_XDIST_AUTO_NUM_WORKERS ?= $(shell echo $$(( ($(CORES) * 3 + 1) / 2 )))

PYTHON       ?=
PYTHON_NEWER ?=
# `make newer` and `make embedders` set these to others.
VENV     := .venv
PINS     := requirements-dev.txt
OLDEST   := 3.11
VARIABLE := PYTHON
NAMED    := $(PYTHON)
BIN      := $(VENV)/bin
STAGE    := .wheel
INSTALL  := $(BIN)/python tests/environments/install.py
SOURCES  := core transports tests benchmarks examples docs/conf.py
SITE     := .site
SPHINX    = $(BIN)/sphinx-build -q -E -W -j auto
NODE     := tests/real/node

IN_NEWER     = VENV=.venv-newer OLDEST=3.12 VARIABLE=PYTHON_NEWER NAMED='$(PYTHON_NEWER)'
IN_EMBEDDERS = VENV=.venv-embedders PINS=requirements-embedders.txt

# The parts of the suite that `make test` leaves to other targets.
APART    := --ignore=tests/real --ignore=tests/searches --ignore=tests/embedders
# What depends on the event loop, on the interpreter, or on what is installed for it.
LOOPS    := tests/loops tests/hygiene/test_pins.py $(addprefix tests/transports/test_,asyncio.py async_sources.py \
               cancellation.py threads.py trio.py virtual_time.py)

.PHONY: help test demo docs lint style types strict site simulate ablations timeline picture real node fleet histories \
    newer loops embedders stories typed wheel minimums bench pins clean ready environments in-newer in-embedders FORCE

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1 \t\2/p' Makefile

test: $(VENV)/.ready ## run the tests; core must be covered whole, branches included
	$(BIN)/python -m pytest -n $(CORES) --dist worksteal --cov -m 'not no_cover' tests/core
	$(BIN)/python -m pytest -n auto --dist worksteal -m no_cover $(APART)

demo: $(VENV)/.ready ## keep a token alive over real HTTP for twenty seconds of fair and foul weather
	@$(BIN)/evertoken demo

docs: $(VENV)/.ready ## build the site from docs/ and the docstrings: open .site/html/index.html
	$(SPHINX) -b html docs $(SITE)/html

lint: $(VENV)/.ready ## ruff, mypy strict, basedpyright strict, and every link and reference of the site
	@$(MAKE) --no-print-directory -j 2 style types strict site

style:
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)

types:
	$(BIN)/mypy

strict:
	$(BIN)/basedpyright --pythonpath $(BIN)/python

site:
	$(SPHINX) -b dummy docs $(SITE)/checked

# SEEDS=0-99 YEARS=1 OUT=years.json for other runs: a file that is there is continued where it ends.
simulate: $(VENV)/.ready ## search for what breaks a law, and run 1,000 simulated hostile days, on all cores
	$(BIN)/python -m pytest -n auto --dist worksteal -o faulthandler_timeout=3600 tests/searches
	$(BIN)/evertoken simulate --seeds $(or $(SEEDS),0-999) $(if $(YEARS),--years $(YEARS),--days $(or $(DAYS),1)) \
	    --commit $$(git rev-parse HEAD) --out $(or $(OUT),simulation-$$(git rev-parse --short HEAD).json)

ablations: $(VENV)/.ready ## take each safeguard away, count the seeds until a check fires, and write docs/ablations.md
	$(BIN)/python -m tests.ablations.table > docs/ablations.new && mv docs/ablations.new docs/ablations.md

timeline: $(VENV)/.ready ## draw docs/timeline.svg, the picture of a few hostile hours, anew
	$(BIN)/evertoken simulate --seed 704 --days 0.5 --clients 3 --quiet --svg docs/timeline.svg --faults \
	    partition,outage,revoked,crash,restart,suspend,late,token:server-error,token:rate-limited-reset,token:hang,api:unauthorized

# Two minutes: a real run of 50 processes, in which a minute takes a second.
picture: $(VENV)/.ready ## draw docs/fleet.svg, what 50 processes ask in an hour with and without a store, anew
	$(BIN)/python -m benchmarks.fleet_picture docs/fleet.svg

real: $(VENV)/.ready ## run the tests against servers and clients that others wrote
	$(BIN)/python -m pytest -n auto $(addprefix --ignore=,tests/real/fleet tests/real/stores $(NODE)) tests/real

node: $(VENV)/.ready $(NODE)/node_modules/.ready ## the same with clients for Node.js, which has to be there
	$(BIN)/python -m pytest -n auto $(NODE)

# FLEET=200 for a larger one. It tries the servers that the pins bring (Valkey, and Redis for Python 3.11), and every
# redis-server and valkey-server that this system has besides; with SYSTEM=1 it fails where the system has neither.
# Most of the tests wait: so several stand beside one another, and each process of pytest takes one after the other.
fleet: $(VENV)/.ready ## 50 processes that share a token: cold starts, deploys, deaths, a lock, stores in trouble
	@test -z '$(SYSTEM)' || command -v redis-server || command -v valkey-server || { \
	    echo 'missing: the redis-server of this system (Debian has it in the package redis-server)' >&2; exit 1; }
	FLEET=$(or $(FLEET),50) DEATHS=20 LOOPS=200 HISTORIES=12 $(BIN)/python -m pytest -n $$(( $(CORES) + 3 )) \
	    --maxschedchunk 1 -o faulthandler_timeout=600 tests/real/fleet tests/real/stores

# HOURS=8 for a longer search, SEED=1000 for another one.
histories: $(VENV)/.ready ## search for an hour for a history of a store that no single register can have
	HISTORIES=$$(( $(or $(HOURS),1) * 720 )) SEED=$(or $(SEED),0) $(BIN)/python -m pytest -n0 -s \
	    -o faulthandler_timeout=$$(( $(or $(HOURS),1) * 7200 )) tests/real/stores/test_histories.py

newer: ## the same pins under Python 3.12 or later: every event loop, also those that need it
	@$(MAKE) --no-print-directory $(IN_NEWER) loops

loops: $(VENV)/.ready
	$(BIN)/python -m pytest -n auto $(LOOPS)

# Its packages are too many for `make test`, and none of them is a dependency.
embedders: $(VENV)/.ready ## the adapters beside the packages that they are for, by count; and write docs/embedders_table.md
	@$(MAKE) --no-print-directory -j2 -O $(IN_EMBEDDERS) stories typed

stories: $(VENV)/.ready
	$(BIN)/python -m pytest --write-table docs/embedders_table.md tests/embedders

typed: $(VENV)/.ready
	.venv/bin/mypy --python-executable $(BIN)/python --config-file tests/embedders/mypy.ini --cache-dir $(VENV)/mypy \
	    transports/evertoken_transports/adapters tests/embedders

# The wheel goes into environments of their own, where no source tree is near: one for each extra, and one with all of
# them and the tools of the tests, in which these run.
wheel: $(STAGE)/.built ## build the wheel, and try it with no extra, each extra and all of them, as pinned
	$(BIN)/python -m tests.environments.extras $(STAGE) pins
	rm -rf $(STAGE)/alone && mkdir $(STAGE)/alone && cp -R tests docs pyproject.toml $(STAGE)/alone
	cd $(STAGE)/alone && ../pins-all/bin/python -m pytest -n auto --dist worksteal -m 'not no_cover' tests/core

minimums: $(STAGE)/.built ## the same with the oldest releases that pyproject.toml says will do
	$(BIN)/python -m tests.environments.extras $(STAGE) minimums

$(STAGE)/.built: $(VENV)/.ready FORCE
	rm -rf $(STAGE)/dist
	$(BIN)/python -m build --no-isolation --outdir $(STAGE)/dist .
	@touch $@

# PROCESSES=500 for a larger fleet.
bench: $(VENV)/.ready ## what a token costs: while it lives, a herd without one, the loop meanwhile, memory; and simulated time
	$(BIN)/python benchmarks/hot_path.py
	$(BIN)/python benchmarks/herd.py
	$(BIN)/python benchmarks/stall.py
	$(BIN)/python benchmarks/server_model.py
	$(BIN)/python benchmarks/scrub.py
	$(BIN)/python benchmarks/tenants.py
	$(BIN)/python benchmarks/simulation.py
	$(BIN)/python benchmarks/fleet.py --processes $(or $(PROCESSES),100)

COMPILE := $(BIN)/uv pip compile --universal --python-version $(OLDEST) --generate-hashes --no-strip-extras --upgrade --quiet \
               --no-config --no-emit-index-url --no-emit-find-links --custom-compile-command 'make pins'

# Extras stay in the pins: pip before 23.3 takes `coverage` for another package than `coverage[toml]`.
pins: $(VENV)/.ready ## write requirements-dev.txt and requirements-embedders.txt anew with the latest releases
	$(COMPILE) --extra dev pyproject.toml -o requirements-dev.txt
	$(COMPILE) -c requirements-dev.txt tests/embedders/requirements.in -o requirements-embedders.txt

clean: ## remove what make and the tools made
	rm -rf .venv .venv-newer .venv-embedders $(STAGE) $(SITE) $(NODE)/node_modules dist build htmlcov .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +

# ---------------------------------------------------------------------------------------------------------------------

# All of them, for `.ci/run`. An installation keeps one core busy.
environments: ready in-newer in-embedders

ready: $(VENV)/.ready

in-newer:
	@$(MAKE) --no-print-directory $(IN_NEWER) ready

in-embedders:
	@$(MAKE) --no-print-directory $(IN_EMBEDDERS) ready

# Looked at in every run, and left alone if it is whole: the script says when it is not.
$(VENV)/.made: FORCE
	@sh tests/environments/venv.sh $(VENV) $(OLDEST) $(VARIABLE) $(NAMED)

# The pins are all that is needed, so pip is to look for nothing else: then no release of tomorrow can come between.
# The file that goes away at last is urllib3-future's (for niquests): at the next start of Python it would write that over
# urllib3, which is to be tried as well. Both work side by side.
$(VENV)/.pins: $(VENV)/.made $(PINS)
	@echo 'installing $(PINS) into $(VENV) (once; a minute or so)'
	@$(INSTALL) $(VENV)/install.log --no-deps --require-hashes -r $(PINS)
	@rm -f $(VENV)/lib/python*/site-packages/urllib3_future.pth
	@touch $@

$(VENV)/.ready: $(VENV)/.pins pyproject.toml
	@$(INSTALL) $(VENV)/evertoken.log --no-build-isolation --no-deps -e .
	@touch $@

# Mangopay's SDK for Node.js and an authorization server, which only `make node` needs.
$(NODE)/node_modules/.ready: $(NODE)/package.json $(NODE)/package-lock.json | $(VENV)/.ready
	@if ! node -e 'process.exit(parseInt(process.versions.node) < 18 ? 1 : 0)' 2>/dev/null || ! npm --version >/dev/null 2>&1; then \
	    echo 'missing: Node.js 18 or later with npm (Debian has them in the packages nodejs and npm)' >&2; exit 1; \
	fi
	@echo 'installing $(NODE)/package-lock.json into $(NODE)/node_modules (once; half a minute or so)'
	@cd $(NODE) && npm ci --ignore-scripts --no-audit --no-fund > $(CURDIR)/$(VENV)/npm.log 2>&1 || { \
	    echo 'missing: a package registry that has what $(NODE)/package-lock.json names (npm says why in $(VENV)/npm.log)' >&2; \
	    exit 1; }
	@touch $@

FORCE:
