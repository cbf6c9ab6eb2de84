# Everything from a bare machine with Python 3.11 to 3.14, venv and make: the first target that needs it makes .venv, once.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
TIER ?= demo
CORES ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 1)
READY := $(VENV)/.ready
export PYTHONDONTWRITEBYTECODE :=
# This checkout's code, whichever the environment was made for; its notebooks there, not in a kernel of the user's.
export PYTHONPATH := $(CURDIR)$(if $(PYTHONPATH),:$(PYTHONPATH))
export JUPYTER_PREFER_ENV_PATH := 1

# .ready holds where its environment was made. Copied or moved, it would run the old checkout's code, or nothing at all.
MADE := $(shell cat $(READY) 2>/dev/null)
HERE := $(shell cd $(VENV) 2>/dev/null && pwd -P)
ifneq "$(MADE)" ""
ifneq "$(MADE)" "$(HERE)"
MOVED := yes
$(info $(VENV) was made as $(MADE): making it again here)
.PHONY: $(READY)
endif
endif

.PHONY: help env demo test chaos slurm-test lint audit licences bench book book-test slides course lock release archive pythons clean

help:
	@echo "make demo    the whole pipeline on embedded data: every table and figure, minutes on two cores"
	@echo "make test    the tests and the notebooks"
	@echo "make book    the executed notebooks, the report and the reference as a site: results/book/html"
	@echo "make slides  the method notebook as slides in one file, without network: results/slides/method.html"
	@echo "make course  the exercises as two bundles: dist/course-student and dist/course-teacher"
	@echo "make chaos   at least 100 kills at random moments, and what is lost: nothing"
	@echo "make slurm-test   the workflow through a real Slurm of one node, jobs killed on the way (root, Debian)"
	@echo "make lint    ruff, mypy, the layers, and that notebooks are committed without outputs"
	@echo "make audit   whether a pinned version was yanked or is known to be vulnerable"
	@echo "make licences   the licence of each installed package, as its metadata states it"
	@echo "make pythons   the oldest and the newest Python of this machine, each in a new folder, minutes each"
	@echo "make archive TIER=demo   a tier's results as one RO-Crate: advdpnp-demo.crate.zip"
	@echo "make release the archive, the metadata and the container's recipe, each by its own validator"
	@echo "make lock    requirements.lock again, after a change of pyproject.toml or constraints.txt"
	@echo "make env     only the virtual environment in $(VENV)"
	@echo "make bench   the benchmarks"
	@echo "make clean   remove the demo's results and caches (trained networks of other tiers are kept)"

env: $(READY)

$(READY): pyproject.toml requirements.lock
	@if test "$(MOVED)" && test -L $(VENV); then \
	echo "error: $(VENV) leads to an environment that was made as $(MADE); remove the link, and make one here" >&2; exit 2; fi
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' || { \
	  echo "expected Python 3.11 to 3.14, got $(PYTHON), which is $$($(PYTHON) -V 2>&1 || true): name another, as in make PYTHON=python3.11 (conda, uv and pyenv have them)"; exit 2; }
	$(PYTHON) -m venv $(if $(MOVED),--clear) $(VENV)
	$(BIN)/python tools/install.py
	@cd $(VENV) && pwd -P > .ready

demo: $(READY)
	$(BIN)/python -m snakemake --quiet host reason --cores $(CORES) demo
	@echo "open results/demo/report.html: every table and verdict; results/demo/notebooks holds the executed notebooks"

test: export OMP_NUM_THREADS = 1
test: $(READY)
	$(BIN)/python -m pytest -n $(CORES) --dist loadfile tests
	$(BIN)/python -m pytest -n $(CORES) --dist loadfile --nbval-lax --nbval-cell-timeout=900 --ignore=notebooks/exercises notebooks

chaos: export OMP_NUM_THREADS = 1
chaos: $(READY)
	$(BIN)/python tests/chaos --kills 100

audit: $(READY)
	$(BIN)/python tools/audit.py

licences: $(READY)
	$(BIN)/python -m piplicenses --from=mixed --order=license

slurm-test: $(READY)
	$(BIN)/python tests/slurm

lint: $(READY)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy
	$(BIN)/python $(BIN)/lint-imports --no-cache --no-logo
	$(BIN)/python -m nbstripout --verify --keep-id notebooks/*.ipynb notebooks/exercises/*.ipynb

# What checks and locks a release wants other versions than the project: an environment of its own.
RELEASE := $(VENV)/release

$(RELEASE)/.ready: $(READY) requirements-release.lock
	$(BIN)/python -m venv --clear $(RELEASE)
	$(RELEASE)/bin/python tools/install.py release
	@touch $@

lock: $(RELEASE)/.ready
	$(RELEASE)/bin/python tools/lock.py

release: $(RELEASE)/.ready
	$(BIN)/python tools/croissant.py --check
	$(BIN)/python -m pytest -m release tests/test_release.py

archive: $(READY)
	$(BIN)/python tools/archive.py --tier $(TIER)

pythons: $(READY)
	$(BIN)/python tools/pythons.py

$(VENV)/.book: $(READY)
	$(BIN)/python tools/install.py book
	@touch $@

book: $(VENV)/.book demo
	$(BIN)/python book/build.py

# The notebook is executed where it was not, or has changed; nothing else of the tier is made.
slides: $(VENV)/.book
	$(BIN)/python -m snakemake --quiet all --cores $(CORES) results/$(TIER)/notebooks/method.ipynb
	$(BIN)/python book/slides.py results/$(TIER)/notebooks/method.ipynb

book-test: $(VENV)/.book
	$(BIN)/python -m pytest -m book tests/test_book.py tests/test_slides.py

$(VENV)/.course: $(READY)
	$(BIN)/python tools/install.py course
	@touch $@

course: $(VENV)/.course slides
	$(BIN)/python -m advdpnp course

bench: $(READY)
	$(BIN)/python -m benchmarks

clean:
	rm -rf results/demo results/book results/slides .snakemake .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
