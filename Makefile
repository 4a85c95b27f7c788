# make book   the website from the published records, from a bare machine with Python 3.11 to 3.14 and make
# make smoke  a small study from nothing: trained, built, and some of it trained again
# make test   lint, unit tests, notebooks and the site in a real browser
# make soak   kill a sweep at random moments, many times, and compare every record
# make bench  the performance claims, each beside a peer
PRESET ?= reduced
PYTHON ?= python3
# What nbmake opens in "make test". The site runs every notebook; these two show that a reader can run one as it is,
# on published records or on none. "make test NOTEBOOKS=notebooks" opens all, as the weekly workflow does.
NOTEBOOKS ?= notebooks/04*.ipynb notebooks/07*.ipynb
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: book archive test lint smoke sweep soak bench clean lock newest

# A preset without published records is trained first.
book: $(READY)
	test -f results/$(PRESET)/records.jsonl || $(BIN)/tinynet sweep $(PRESET)
	$(BIN)/tinynet book $(PRESET)

# The same as one file with its checksum in _build/release; the same site gives the same bytes.
archive: book
	mkdir -p _build/release
	tar --directory _build/html --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX \
	  --transform 's,^\.,site,' --create . | gzip --no-name > _build/release/site.tar.gz
	cd _build/release && sha256sum site.tar.gz > SHA256SUMS

# The preset smoke from nothing: trained, built, and some of it trained again.
smoke: $(READY)
	rm -rf _build/smoke
	$(BIN)/tinynet sweep smoke --store _build/smoke/records
	$(BIN)/tinynet book smoke --store _build/smoke/records --build _build/smoke
	$(BIN)/tinynet verify smoke --store _build/smoke/records --records 3

# The trainings of a preset, or with PAGE=fig1 those of one page.
sweep: $(READY)
	$(BIN)/tinynet sweep $(PRESET) --store runs/$(PRESET) $(if $(PAGE),--page $(PAGE))

# The nodes of a simulated cluster need the machine to themselves. The site and the notebooks rest on the published records,
# of which two are trained again and compared; "make smoke" trains a whole study from nothing.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest tests --ignore=tests/book --ignore=tests/test_ray.py -n 2 --dist loadfile --no-loadscope-reorder
	$(BIN)/pytest tests/test_ray.py
	$(BIN)/tinynet book reduced
	OMP_NUM_THREADS=1 TINYNET_BUILT=1 $(BIN)/pytest tests/book -n 2
	OMP_NUM_THREADS=1 $(BIN)/pytest --nbmake --nbmake-timeout=900 -n 2 $(NOTEBOOKS)
	$(BIN)/tinynet verify reduced --records 2

lint: $(READY)
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/mypy

soak: $(READY)
	$(BIN)/python tests/soak.py

bench: $(READY)
	@for script in complexity solve store latency scaling training page; do \
	  echo "== $$script"; $(BIN)/python benchmarks/$$script.py || exit 1; done

# The environment is rebuilt only when the lock or the project's metadata changes.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; found = sys.version_info[:2]; sys.exit(0 if (3, 11) <= found < (3, 15) else "Python 3.11 to 3.14 is needed, this is %d.%d: make PYTHON=/path/to/python3.11" % found)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

# The environment from the newest releases that pyproject.toml allows, instead of the locked ones: "make newest test".
newest:
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet -e ".[book,ray,test]"
	touch $(READY)

# Needs uv. Ranges live in pyproject.toml; this pins them for every platform.
lock:
	uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-annotate --no-header -c requirements.lock -o requirements.lock

clean:
	rm -rf _build runs .pytest_cache .mypy_cache .ruff_cache
