# What a person types. `make demo` and `make test` work from a bare clone: they make .venv first, in about a minute.
# Delete .venv to start again. On a shared machine: make PYTHON=python3.12 …

SHELL := /bin/bash
.ONESHELL:
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

# The first of these that is a Python 3.11 or 3.12 makes the environment.
PYTHON ?= $(shell for python in python3 python3.12 python3.11 /usr/bin/python3; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null && echo $$python && break; done)

VENV := .venv
BIN := $(VENV)/bin
# -qq: pip says nothing but errors; the line above each call says what happens and how long it takes.
PIP := $(BIN)/python -m pip --no-input --disable-pip-version-check -qq
# One exact set of versions for each Python; chosen when the environment is there.
CONSTRAINTS = constraints/$$($(BIN)/python -c 'import sys; print("py%d%d" % sys.version_info[:2])').txt
# Built with the pinned tools of the environment, not with whatever is newest today.
INSTALL = $(PIP) install --no-build-isolation --constraint "$(CONSTRAINTS)"

DEBIAN := redis-server gir1.2-gst-rtsp-server-1.0 python3-gi glib-networking \
	gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad g++

# make demo SOURCE=clip.mp4 | CONFIG=cameras.yaml   MODEL=model.onnx   DURATION=0
SOURCE ?=
CONFIG ?=
MODEL ?=
DURATION ?=

.PHONY: help install models demo test test-gpu check audit fuzz soak schema bench constraints debian clean

help:  ## say what there is
	@echo "make TARGET, where TARGET is one of"
	@sed -nE 's/^([a-z-]+):.*## (.*)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

install: $(VENV)/.installed  ## make the environment (.venv) with the pipeline and its demonstration
	@echo "Ready: $(BIN)/vedette --help, or make demo"

models: $(VENV)/.installed-for-models  ## add what making models needs: torch for CPUs, ONNX, NNCF (another 1 GB)
	@echo "Ready: $(BIN)/vedette model --help"

demo: $(VENV)/.installed  ## see it work: 30 s of rendered cameras, or SOURCE=clip.mp4, or CONFIG=cameras.yaml; DURATION=0 is for ever
	@exec $(BIN)/vedette demo $(if $(SOURCE),--source "$$SOURCE") $(if $(CONFIG),--config "$$CONFIG") \
		$(if $(MODEL),--model "$$MODEL") $(if $(DURATION),--duration "$$DURATION")

test: $(VENV)/.installed-for-tests debian  ## run every test, with a real Redis and a real RTSP server, then `make check`
	@for part in $(TESTS); do
		$(BIN)/python -m pytest -q -m "not gpu" --durations=10 $${part//,/ }
	done
	$(MAKE) check
# Room by room, a process each: what one leaves behind is nothing to the next.
TESTS ?= tests/engines,tests/stages,tests/support,tests/test_architecture.py tests/pipeline tests/vedette tests/fuzz tests/system

# In an environment of its own, since .venv has torch for CPUs; or in GPU_PYTHON's.
test-gpu: export PYTHON := $(PYTHON)
test-gpu:  ## build, check and measure what needs an NVIDIA GPU; about ten minutes, results in out/gpu
	@exec tests/gpu/run.sh

check: $(VENV)/.installed-for-tests  ## lint, format, types, import rules: what the pre-commit hooks run
	@$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# pip-audit has an environment of its own. --strict: a package that cannot be looked up is no package without faults.
audit:  ## look every pinned package up in the database of known vulnerabilities; needs the network
	@echo "Fetching pip-audit into a fresh environment, a few seconds …"
	fresh=$$(mktemp -d)
	trap 'rm -rf "$$fresh"' EXIT
	$(PYTHON) -m venv "$$fresh"
	"$$fresh/bin/python" -m pip --no-input --disable-pip-version-check -qq install 'pip-audit>=2.10,<3'
	found=0
	for file in constraints/py3*.txt constraints/gpu.txt; do
		echo "$$file:"
		# What comes from torch's own index is there under its version without +cpu.
		sed 's/+cpu$$//' "$$file" > "$$fresh/pinned.txt"
		"$$fresh/bin/pip-audit" --strict --disable-pip --no-deps --progress-spinner off \
			--vulnerability-service $(ADVISORIES) --requirement "$$fresh/pinned.txt" || found=1
	done
	exit $$found
# pypi or osv
ADVISORIES ?= pypi

fuzz: $(VENV)/.installed-for-tests  ## go on where the tests of tests/fuzz stop: SECONDS=60 at each DOOR="spec spool"
	@$(BIN)/python -c 'import atheris' 2>/dev/null || $(PIP) install 'atheris>=3,<4'
	for door in $(DOOR); do
		echo "$$door, for $(SECONDS) s …"
		$(BIN)/python -m tests.fuzz.by_hand "$$door" $(SECONDS)
	done
DOOR ?= config spec message spool bitstream
SECONDS ?= 60

# The environment is the unit's (deploy/vedette.service): what glibc keeps by thread would look like a leak for minutes.
soak: $(VENV)/.installed-for-tests debian  ## let one process run under faults: HOURS=2, SEED=1; out/soak.json and out/soak.svg
	@minutes=$$($(BIN)/python -c 'import sys; print(float(sys.argv[1]) * 60)' "$(HOURS)")
	GLIBC_TUNABLES=glibc.malloc.tcache_count=0 exec $(BIN)/vedette bench faults --soak --seed $(SEED) --minutes $$minutes \
		--json out/soak.json --plot out/soak.svg
HOURS ?= 2
SEED ?= 1

schema: $(VENV)/.installed  ## write the JSON Schemas of configuration and messages anew
	@$(BIN)/python -m pipeline.config_schema > $(VENV)/schema.json
	mv $(VENV)/schema.json configs/vedette.schema.json
	$(BIN)/python -m vedette.schema

# In the environment for these two alone: quoting is safe there, and ${NAME} in a configuration sees no more than it did.
demo bench: export SOURCE := $(SOURCE)
demo bench: export CONFIG := $(CONFIG)
demo bench: export MODEL := $(MODEL)
demo bench: export DURATION := $(DURATION)

bench: $(VENV)/.installed  ## measure the pipeline of CONFIG= against its roofline
	@exec $(BIN)/vedette bench pipeline "$${CONFIG:?which configuration? make bench CONFIG=FILE}"

constraints:  ## pin the newest versions that fit together, for the Python that PYTHON= names
	@echo "Resolving with $(PYTHON) in a fresh environment, about a minute …"
	fresh=$$(mktemp -d)
	trap 'rm -rf "$$fresh"' EXIT
	$(PYTHON) -m venv "$$fresh"
	pip="$$fresh/bin/python -m pip --no-input --disable-pip-version-check -qq"
	$$pip install --upgrade pip setuptools wheel hatchling editables
	$(call torch_for_cpus,$$pip)
	$$pip install --no-build-isolation -e '.[cpu,demo,test,dev]'
	tag=$$("$$fresh/bin/python" -c 'import sys; print("py%d%d" % sys.version_info[:2])')
	{
		echo "# Exact versions for Python $${tag:2:1}.$${tag:3}, so that a release made tomorrow breaks nothing." \
			"Made by \`make constraints\`; not edited by hand."
		"$$fresh/bin/python" -m pip freeze --all --exclude-editable
	} > "constraints/$$tag.txt"
	echo "constraints/$$tag.txt has $$(grep -c == "constraints/$$tag.txt") packages"

clean:  ## remove the environment and what tools left behind
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist

# The environment. Each stamp is younger than what it was made of, so a second `make` installs nothing.

$(BIN)/.tools: constraints/py311.txt constraints/py312.txt
	@if [ -z "$(PYTHON)" ]; then
		echo "Vedette needs Python 3.11 or 3.12; python3 is $$(python3 -V 2>&1). Give one: make install PYTHON=/path/to/python3.12" >&2
		exit 1
	fi
	if ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then
		version=$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
		command="apt-get install -y --no-install-recommends python$$version-venv"
		echo "Installing python$$version-venv, which Debian keeps apart from Python …"
		$(call as_root,$$command,"$(PYTHON) cannot make a virtual environment (no ensurepip).")
	fi
	echo "Making .venv with $$($(PYTHON) -V) …"
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --constraint "$(CONSTRAINTS)" --upgrade pip setuptools wheel hatchling editables
	touch $@

$(VENV)/.installed: $(BIN)/.tools pyproject.toml
	@echo "Installing Vedette and what it needs, about half a minute (1 GB in .venv) …"
	$(INSTALL) -e '.[cpu,demo]'
	touch $@

$(VENV)/.installed-for-models: $(VENV)/.installed
	@echo "Installing what making models needs, about half a minute (another 1 GB in .venv) …"
	$(call torch_for_cpus,$(PIP))
	$(INSTALL) -e '.[cpu,demo,train]'
	touch $@

$(VENV)/.installed-for-tests: $(VENV)/.installed
	@echo "Installing what the tests need, about a minute (another 1.3 GB in .venv) …"
	$(call torch_for_cpus,$(PIP))
	$(INSTALL) -e '.[cpu,demo,test,dev]'
	touch $@

# $(call torch_for_cpus,PIP): torch without gigabytes of CUDA, from the indexes that pip knows or from torch's own.
define torch_for_cpus
$(1) install --no-deps torch==2.13.0+cpu 2>/dev/null || \
	$(1) install --no-deps torch==2.13.0+cpu --index-url https://download.pytorch.org/whl/cpu
endef

# A real RTSP server, Debian's Redis and a compiler for the host's copy of the CUDA kernels, for the tests alone.
debian:
	@missing=
	for package in $(DEBIAN); do
		dpkg-query -W -f='$${db:Status-Status}' "$$package" 2>/dev/null | grep -qx installed || missing+=" $$package"
	done
	[ -n "$$missing" ] || exit 0
	echo "Installing$$missing …"
	$(call as_root,apt-get install -y --no-install-recommends $$missing,"The tests need Debian packages that are not there:$$missing.")

# $(call as_root,COMMAND,WHY): run an apt-get command if we may; otherwise say what a person has to run.
# RUNLEVEL=1 keeps the packages from starting their services: the tests start their own servers.
define as_root
if [ "$$(id -u)" = 0 ]; then sudo=; \
elif sudo -n true 2>/dev/null; then sudo="sudo -n env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1"; \
else echo $(2) "Run this and start again:" >&2; echo "  sudo $(1)" >&2; exit 1; fi; \
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1; $$sudo apt-get update -qq && $$sudo $(1) -qq >/dev/null || { \
	echo $(2) "This failed; run it yourself and start again:" >&2; echo "  sudo $(1)" >&2; exit 1; }
endef
