# make book  - the report;  make test - every check;  make help - the rest
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help env book chapter multiverse experiment test test-slurm test-nightly reference pdf readme results bench sbom audit clean

PROFILE ?= default
SET ?=
RUN ?=
CHAPTER ?=
CLUSTER ?=
GRID ?=
TIMEOUT ?=
PYTHON ?=
CHROME ?=
FIGURES ?=
# a misspelt name would start hours of work with other settings than were asked for
KNOWN := PROFILE SET RUN CHAPTER CLUSTER GRID TIMEOUT PYTHON CHROME FIGURES
UNKNOWN := $(strip $(foreach v,$(filter-out $(KNOWN) FACE_DECISIONS_% SHELL,$(.VARIABLES)),\
  $(if $(filter command,$(origin $v)),$v)))
ifneq ($(UNKNOWN),)
  $(error There is no setting $(UNKNOWN): make takes $(KNOWN), and SET="name=value" those of params/)
endif
# to the letter: neither make nor the shell expands what they hold
override PROFILE := $(value PROFILE)
override SET := $(value SET)
override RUN := $(value RUN)
override FACE_DECISIONS_TIMEOUT := $(value TIMEOUT)
override FACE_DECISIONS_FIGURES := $(value FIGURES)
override CHAPTER := $(value CHAPTER)
override CLUSTER := $(value CLUSTER)
override GRID := $(value GRID)
export PROFILE SET RUN CHAPTER CLUSTER GRID PYTHON CHROME FACE_DECISIONS_TIMEOUT FACE_DECISIONS_FIGURES
export PYTHONNOUSERSITE := 1

PY := .venv/bin/python
PARTS :=
ENGINE := .venv-dag/bin/python

help:  ## this list
	@echo "How face-classifying networks decide, measured."
	@echo
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /  make \1\t/' | expand -t 22
	@echo
	@echo '  PROFILE=ci|default|paper        which settings (params/*.yml)'
	@echo '  SET="name=value chapter.name=value"   departures; they make a run of their own name'
	@echo '  RUN=name                        a name of your own for the run'
	@echo '  TIMEOUT=minutes                 after which a chapter counts as hanging (a day; 0: never)'
	@echo '  FIGURES=svg                     keep every figure as SVG too, in data/runs/<run>/figures'
	@echo '  CLUSTER=slurm                   each chapter a job of a cluster (cluster/)'
	@echo '  e.g.  make book PROFILE=default SET="size=224"'

env:  ## the two virtual environments (make does this by itself)
	@for p in "$$PYTHON" python3.11 python3; do \
	  if [ -n "$$p" ] && command -v "$$p" >/dev/null 2>&1 && "$$p" -c '' >/dev/null 2>&1; then \
	    exec "$$p" scripts/setup_env.py $(PARTS); fi; done; \
	echo "Python 3.11 is needed and no working Python was found: install it, then run make again."; exit 1

book: env  ## the whole report, from faces to pages
	@[ -z "$$CHAPTER" ] || { echo "make book makes the whole report; for one chapter and what it" \
	  "needs: make chapter CHAPTER=$$CHAPTER" >&2; exit 2; }
	@$(ENGINE) scripts/report.py --profile "$$PROFILE" --set "$$SET" --run "$$RUN" --cluster "$$CLUSTER"

chapter: env  ## one chapter and what it needs: make chapter CHAPTER=01_faces
	@$(ENGINE) scripts/report.py --profile "$$PROFILE" --set "$$SET" --run "$$RUN" \
	  --chapter "$$CHAPTER" --cluster "$$CLUSTER"

multiverse: env  ## every open choice in a run of its own, and the curve (GRID=yes: all combinations)
	@$(ENGINE) scripts/multiverse.py --profile "$$PROFILE" --set "$$SET" --run "$$RUN" --grid "$$GRID"

experiment: PARTS := science engine page
experiment: env  ## the experiment page of a run, named and opened
	@$(ENGINE) scripts/report.py --profile "$$PROFILE" --set "$$SET" --run "$$RUN" --experiment

test: env  ## every check: linter, tests, notebooks, the book (as .ci/run does)
	@$(PY) scripts/check.py

test-nightly: export FACE_DECISIONS_FUZZ ?= 400
test-nightly: env  ## rules killed, runs damaged, hostile files, published networks (hours)
	@$(PY) -m pytest -q -rA tests/test_hostile.py tests/nightly/inputs.py tests/nightly/faults.py \
	  tests/nightly/published.py

test-slurm: env  ## a run on a Slurm of two nodes, started and ended here (tests/slurm)
	@$(PY) tests/slurm/check.py

reference: env  ## make tests/reference/ anew, the notebooks that nbval replays
	@$(ENGINE) scripts/report.py --profile ci --run reference
	@$(PY) scripts/make_reference.py

pdf: env  ## a finished book as one PDF (needs Chromium or Chrome; CHROME=/path)
	@$(PY) scripts/print_book.py --profile "$$PROFILE" --set "$$SET" --run "$$RUN" --browser "$$CHROME"

readme: env  ## the answer of a finished run, its figure and the speeds into README.md
	@$(PY) scripts/write_readme.py --profile "$$PROFILE" --set "$$SET" --run "$$RUN"

results: env  ## tables and figures of a finished run into data/results, shown beside later runs
	@$(PY) scripts/keep_results.py --profile "$$PROFILE" --set "$$SET" --run "$$RUN"

bench: env  ## benchmarks against other packages; writes benchmarks/results.csv
	@$(PY) scripts/setup_env.py bench || echo "Zennit will not be timed; the others will."
	@$(PY) -m benchmarks

sbom: env  ## bill of materials of the pinned packages: sbom.json
	@$(PY) scripts/make_sbom.py

audit: env  ## known vulnerabilities of the pinned packages; asks a public list
	@$(PY) scripts/setup_env.py audit
	@$(PY) scripts/audit.py

clean:  ## remove what runs made (environments and weights stay)
	@rm -rf data/runs book/executed book/_build .snakemake .pytest_cache .ruff_cache
	@echo "Removed data/runs, book/executed and book/_build."
