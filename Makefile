# `make serve` and `make test` need nothing but Python 3.11 or newer, a Linux, and an index of Python packages.
PYTHON ?= python3
VENV   := .venv
VENV4  := .venv-opencv4
VENVP  := .venv-peers
BIN    := $(VENV)/bin
PIP    := -m pip install --quiet --disable-pip-version-check
PARTS  := setup.cfg pyproject.toml
PYTEST := -m pytest -p no:cacheprovider
# Folders of tests that take longer, or need programs of the system: make test-bench test-browser test-deploy ...
ASIDE  := bench browser deploy docs faults release
# What `make stress` is told: make stress USERS=1,10,100 SECONDS=20 URL=http://127.0.0.1:8000 PRESET=spec002 ...
STRESS  = $(if $(URL),--url $(URL)) $(if $(PID),--pid $(PID)) $(if $(PRESET),--preset $(PRESET)) \
          $(if $(USERS),--users $(USERS)) $(if $(SPAWN),--spawn $(SPAWN)) $(if $(SECONDS),--seconds $(SECONDS)) \
          $(if $(THINK),--think $(THINK)) $(if $(PICTURES),--pictures $(PICTURES)) $(if $(SHAPE),--shape $(SHAPE)) \
          $(if $(PATIENCE),--patience $(PATIENCE)) $(ARGS)
# Adds a pipeline to the settings of conf/faceattr.toml.
HOLISTIC := FACEATTR_PIPELINES__HOLISTIC__PATH=/predict

.PHONY: serve models test fuzz overload soak bench-peers bench-scaling test-opencv4 test-opencv5 lint types format accuracy calibrate clean capacity stress stress-soak stress-chaos stress-compare $(ASIDE:%=test-%)

serve: models  ## Serve on http://127.0.0.1:5000; ARGS="--port 8000" and the like are passed on
	exec $(BIN)/faceattr-aio serve $(ARGS)

models: $(VENV)/installed  ## Fetch the model files that the settings use
	$(BIN)/faceattr-aio models pull

test: $(VENV)/developing  ## What decides over a change, on OpenCV 5; ARGS="-k upload" and the like are passed on
	$(HOLISTIC) $(BIN)/faceattr-aio models pull
	$(BIN)/python $(PYTEST) $(ASIDE:%=--ignore=tests/%) $(ARGS)

$(ASIDE:%=test-%): test-%: $(VENV)/developing  ## A server in trouble; what measures; the page in a real browser; the daemons beside us; what pages say
	$(HOLISTIC) $(BIN)/faceattr-aio models pull
	$(BIN)/python $(PYTEST) tests/$* $(ARGS)

fuzz: $(VENV)/developing  ## Damaged pictures and odd requests for the real server; FACEATTR_FUZZ_INPUTS says how many
	$(BIN)/faceattr-aio models pull
	FACEATTR_FUZZ_INPUTS=$${FACEATTR_FUZZ_INPUTS:-20000} $(BIN)/python $(PYTEST) tests/fuzz $(ARGS)

overload: $(VENV)/developing  ## Goodput, waiting and refusals at 1, 2, 4 and 8 times what the server can do; then hostile clients
	$(BIN)/faceattr-aio models pull
	$(BIN)/python -m bench.overload $(ARGS)
	$(BIN)/python -m bench.hostile

soak: $(VENV)/developing  ## Ten minutes at one and a half times what the server can do, bad clients mixed in
	$(BIN)/faceattr-aio models pull
	$(BIN)/python -m bench.soak $(ARGS)

capacity: $(VENV)/developing  ## Cores, instances, waiting and cost for 100 to a million users, and what breaks first; see docs/capacity.md
	$(BIN)/faceattr-aio models pull
	$(BIN)/python -m bench.stress.capacity $(ARGS)

stress: $(VENV)/developing  ## 1 to 100 users in steps, and a report; USERS, SPAWN, SECONDS, THINK, PICTURES, URL, PRESET, SHAPE
	$(BIN)/faceattr-aio models pull
	$(BIN)/python -m bench.stress $(STRESS)

stress-soak: $(VENV)/developing  ## Does anything grow? MINUTES=10
	$(BIN)/faceattr-aio models pull
	$(BIN)/python -m bench.stress.soak --minutes $(or $(MINUTES),10) $(ARGS)

stress-chaos: $(VENV)/developing  ## Workers, instances, wires and disks that fail under load
	$(BIN)/faceattr-aio models pull
	$(BIN)/python -m bench.stress.chaos $(ARGS)

stress-compare: $(VENV)/developing  ## Two reports side by side: A=folder B=folder
	$(BIN)/python -m bench.stress.compare $(A) $(B)

bench-peers: $(VENVP)/installed  ## The same pipeline behind Flask, FastAPI, LitServe, BentoML and plain aiohttp, beside ours
	$(VENVP)/bin/faceattr-aio models pull
	$(VENVP)/bin/python -m bench.peers $(ARGS)

bench-scaling: $(VENV)/developing  ## Goodput against picture size, faces, workers and processes, and the figure of it
	$(BIN)/faceattr-aio models pull
	$(BIN)/python -m bench.scaling --output bench/plots/scaling.json $(ARGS)
	$(BIN)/python -m bench.plot bench/plots/scaling.json

bench-%: $(VENV)/developing  ## One of the other measurements of bench/RESULTS.md: bench-upload, bench-processes, bench-decode ...
	$(HOLISTIC) $(BIN)/faceattr-aio models pull
	$(BIN)/python -m bench.$* $(ARGS)

test-opencv5: $(VENV)/developing  ## The tests that depend on pixels, on OpenCV 5
	$(HOLISTIC) $(BIN)/faceattr-aio models pull
	FACEATTR_TEST_OPENCV=5 $(BIN)/python $(PYTEST) -m pixels $(ARGS)

test-opencv4: $(VENV4)/developing  ## The same on OpenCV 4
	$(HOLISTIC) $(VENV4)/bin/faceattr-aio models pull
	$(VENV4)/bin/faceattr-aio models pull res10-ssd res10-ssd-layers
	FACEATTR_TEST_OPENCV=4 $(VENV4)/bin/python $(PYTEST) -m pixels $(ARGS)

lint: $(VENV)/developing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/developing
	$(BIN)/mypy

format: $(VENV)/developing
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

accuracy: $(VENV)/developing  ## FACES=folder with labels.csv
	$(BIN)/python -m bench.accuracy $(FACES)

calibrate: $(VENV)/developing  ## FACES=folder with labels.csv; writes the constants beside the age model
	$(BIN)/python -m bench.calibrate $(FACES)

clean:
	rm -rf $(VENV) $(VENV4) $(VENVP) build dist *.egg-info .mypy_cache .ruff_cache .hypothesis .fuzz

$(VENV)/installed: $(PARTS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP) --editable .
	touch $@

$(VENV)/developing: $(VENV)/installed
	$(BIN)/python $(PIP) --editable '.[dev]' 'opencv-python-headless>=5,<6'
	touch $@

$(VENV4)/developing: $(PARTS)
	$(PYTHON) -m venv $(VENV4)
	$(VENV4)/bin/python $(PIP) --editable '.[dev]' 'opencv-python-headless>=4.12,<5'
	touch $@

$(VENVP)/installed: $(PARTS)
	$(PYTHON) -m venv $(VENVP)
	$(VENVP)/bin/python $(PIP) --editable '.[peers]' 'opencv-python-headless>=5,<6'
	touch $@
