# `make serve` and `make test` need only Linux, Python 3.11 or newer, and a package index.
PYTHON ?= python3
VENV   := .venv
VENV4  := .venv-opencv4
VENVP  := .venv-peers
BIN    := $(VENV)/bin
PIP    := -m pip install --quiet --disable-pip-version-check
PARTS  := setup.cfg pyproject.toml
PYTEST := -m pytest -p no:cacheprovider
# Folders of tests that take longer or need system programs: make test-bench test-browser test-deploy ...
ASIDE  := bench browser deploy docs faults release
# Options of `make stress`: make stress USERS=1,10,100 SECONDS=20 URL=http://127.0.0.1:8000 PRESET=spec002 ...
STRESS  = $(if $(URL),--url $(URL)) $(if $(PID),--pid $(PID)) $(if $(PRESET),--preset $(PRESET)) \
          $(if $(USERS),--users $(USERS)) $(if $(SPAWN),--spawn $(SPAWN)) $(if $(SECONDS),--seconds $(SECONDS)) \
          $(if $(THINK),--think $(THINK)) $(if $(PICTURES),--pictures $(PICTURES)) $(if $(SHAPE),--shape $(SHAPE)) \
          $(if $(PATIENCE),--patience $(PATIENCE)) $(ARGS)
# Adds the pipeline holistic to the settings of conf/faceattr.toml.
HOLISTIC := FACEATTR_PIPELINES__HOLISTIC__PATH=/predict

.PHONY: serve models test fuzz overload soak bench-peers bench-scaling test-opencv4 test-opencv5 lint types format accuracy calibrate clean capacity stress stress-soak stress-chaos stress-compare $(ASIDE:%=test-%)

serve: models  ## Start the server on http://127.0.0.1:5000; ARGS="--port 8000" passes options
	exec $(BIN)/faceattr-aio serve $(ARGS)

models: $(VENV)/installed  ## Download the model files that the settings use
	$(BIN)/faceattr-aio models pull

test: $(VENV)/developing  ## Run the tests that every change has to pass, on OpenCV 5; ARGS="-k upload" passes options
	$(HOLISTIC) $(BIN)/faceattr-aio models pull
	$(BIN)/python $(PYTEST) $(ASIDE:%=--ignore=tests/%) $(ARGS)

$(ASIDE:%=test-%): test-%: $(VENV)/developing  ## Run one folder of other tests: faults, benchmarks, the web page in a browser, daemons, releases, documentation
	$(HOLISTIC) $(BIN)/faceattr-aio models pull
	$(BIN)/python $(PYTEST) tests/$* $(ARGS)

fuzz: $(VENV)/developing  ## Send damaged pictures and malformed requests to a real server; FACEATTR_FUZZ_INPUTS is their number
	$(BIN)/faceattr-aio models pull
	FACEATTR_FUZZ_INPUTS=$${FACEATTR_FUZZ_INPUTS:-20000} $(BIN)/python $(PYTEST) tests/fuzz $(ARGS)

overload: $(VENV)/developing  ## Measure goodput, waits and refusals at 1, 2, 4 and 8 times the capacity; then send hostile requests
	$(BIN)/faceattr-aio models pull
	$(BIN)/python -m bench.overload $(ARGS)
	$(BIN)/python -m bench.hostile

soak: $(VENV)/developing  ## Run ten minutes at 1.5 times the capacity, including misbehaving clients
	$(BIN)/faceattr-aio models pull
	$(BIN)/python -m bench.soak $(ARGS)

capacity: $(VENV)/developing  ## Compute cores, instances, waits, cost and the first bottleneck for 100 to a million users; see docs/capacity.md
	$(BIN)/faceattr-aio models pull
	$(BIN)/python -m bench.stress.capacity $(ARGS)

stress: $(VENV)/developing  ## Run 1 to 100 users in steps and write a report; USERS, SPAWN, SECONDS, THINK, PICTURES, URL, PRESET, SHAPE
	$(BIN)/faceattr-aio models pull
	$(BIN)/python -m bench.stress $(STRESS)

stress-soak: $(VENV)/developing  ## Measure the growth of memory, descriptors and waits; MINUTES=10
	$(BIN)/faceattr-aio models pull
	$(BIN)/python -m bench.stress.soak --minutes $(or $(MINUTES),10) $(ARGS)

stress-chaos: $(VENV)/developing  ## Measure failures of workers, instances, network links and disks under load
	$(BIN)/faceattr-aio models pull
	$(BIN)/python -m bench.stress.chaos $(ARGS)

stress-compare: $(VENV)/developing  ## Compare two reports: A=folder B=folder
	$(BIN)/python -m bench.stress.compare $(A) $(B)

bench-peers: $(VENVP)/installed  ## Compare with the same pipeline behind Flask, FastAPI, LitServe, BentoML and plain aiohttp
	$(VENVP)/bin/faceattr-aio models pull
	$(VENVP)/bin/python -m bench.peers $(ARGS)

bench-scaling: $(VENV)/developing  ## Measure and plot goodput by picture size, faces, workers and processes
	$(BIN)/faceattr-aio models pull
	$(BIN)/python -m bench.scaling --output bench/plots/scaling.json $(ARGS)
	$(BIN)/python -m bench.plot bench/plots/scaling.json

bench-%: $(VENV)/developing  ## Run another benchmark of bench/RESULTS.md: bench-upload, bench-processes, bench-decode ...
	$(HOLISTIC) $(BIN)/faceattr-aio models pull
	$(BIN)/python -m bench.$* $(ARGS)

test-opencv5: $(VENV)/developing  ## Run the tests that depend on pixels, on OpenCV 5
	$(HOLISTIC) $(BIN)/faceattr-aio models pull
	FACEATTR_TEST_OPENCV=5 $(BIN)/python $(PYTEST) -m pixels $(ARGS)

test-opencv4: $(VENV4)/developing  ## Run the same tests on OpenCV 4
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

accuracy: $(VENV)/developing  ## Measure the accuracy on labelled faces: FACES=folder with labels.csv
	$(BIN)/python -m bench.accuracy $(FACES)

calibrate: $(VENV)/developing  ## Fit the constants of the age model to labelled faces: FACES=folder with labels.csv
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
