# Everything sets itself up: `make demo` and `make test` each work alone on a fresh machine (Python 3.11 and make).
PYTHON ?= python3
BIN := .venv/bin
PLUGINS := driving logs minitown learning splat diffusion ray
CONTRIB := crowd
EDITABLE := -e . $(PLUGINS:%=-e plugins/wetoolkit-%) $(CONTRIB:%=-e contrib/wetoolkit-%)

.DEFAULT_GOAL := help
# every target that says what it does
.PHONY: $(shell sed -nE 's/^([a-z-]+):.*\#\#.*/\1/p' Makefile)

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

install: .venv/installed  ## a virtual environment in .venv with the tested versions

.venv/installed: pyproject.toml constraints.txt $(wildcard plugins/*/pyproject.toml contrib/*/pyproject.toml)
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --disable-pip-version-check -q -c constraints.txt torch==2.13.0
	$(BIN)/pip install --disable-pip-version-check -q -c constraints.txt $(EDITABLE) -e '.[dev]'
	touch $@

demo: install  ## the whole loop on the embedded town (at most 10 minutes on 2 cores)
	$(BIN)/wetool run docs/quickstart.toml

test: install  ## the test suite (under 15 minutes on 2 cores)
	$(BIN)/pytest -n 2 --dist loadgroup -m "not slow and not realdata"

test-core: install  ## the core's tests with every plugin hidden
	WETOOLKIT_PLUGINS=wetoolkit $(BIN)/pytest tests

test-slow: install  ## tests of minutes
	$(BIN)/pytest -m "slow and not realdata"

test-realdata: install  ## tests on the logs in ../shared/data or $$WETOOL_DATA
	$(BIN)/pytest -m realdata

# The oldest that pyproject.toml admits and the newest; what is bound to one of them (scipy) follows it.
NUMPY := 1.26.0 2.4.6
PDM_TESTS = $(wildcard $(addprefix plugins/wetoolkit-driving/tests/test_,pdm_*.py conformance.py dynamics.py geometry.py))

test-numpy:  ## the PDM score on the oldest and the newest numpy, the parity cases included where they lie
	mkdir -p build
	grep -vE '^(numpy|scipy)==' constraints.txt > build/numpy-constraints.txt
	for version in $(NUMPY); do \
	  venv=build/numpy-$$version; \
	  test -e $$venv/installed || { $(PYTHON) -m venv $$venv \
	    && $$venv/bin/pip install --disable-pip-version-check -q -c build/numpy-constraints.txt "numpy==$$version" pytest hypothesis \
	      -e . -e plugins/wetoolkit-driving && touch $$venv/installed; } || exit 1; \
	  $$venv/bin/python -c "import numpy, scipy, numba; print('numpy', numpy.__version__, 'scipy', scipy.__version__, 'numba', numba.__version__)"; \
	  NUMBA_CACHE_DIR=$$venv/numba $$venv/bin/pytest -q $(PDM_TESTS) || exit 1; \
	done

test-peers: install  ## the PDM score against its origins, the bridge against nuplan-devkit: make test-peers PEERS=/folder/of/sources
	@test -n "$(PEERS)" || (echo "give PEERS: a folder with navsim-v1.1, navsim-v2.2, WorldEngine and nuplan-devkit"; exit 2)
	test -n "$(PEERS_PYTHON)" -o -x build/peers/venv/bin/python || $(PYTHON) -m venv build/peers/venv
	@test -n "$(PEERS_PYTHON)" || echo "installing what the peers need in build/peers/venv (once, minutes)"
	test -n "$(PEERS_PYTHON)" || build/peers/venv/bin/pip install --disable-pip-version-check -q -r tests/peers/requirements.txt
	$(BIN)/python tests/peers/compare.py --peers $(PEERS) --python $(or $(PEERS_PYTHON),build/peers/venv/bin/python) $(PEERS_OPTIONS)
	$(BIN)/python tests/peers/nuplan_bridge.py --peers $(PEERS) --python $(or $(PEERS_PYTHON),build/peers/venv/bin/python)

test-formats: install  ## what we write under its makers' own checks: MetaDrive's for ScenarioNet, ASAM's for OpenDRIVE and OpenSCENARIO
	test -x build/formats/bin/python || $(PYTHON) -m venv build/formats
	build/formats/bin/pip install --disable-pip-version-check -q metadrive-simulator==0.4.3 \
	  asam-qc-opendrive==1.0.0 asam-qc-openscenarioxml==1.0.0
	WETOOL_METADRIVE=$(CURDIR)/build/formats/bin/python WETOOL_ASAM=$(CURDIR)/build/formats/bin/python \
	  $(BIN)/pytest plugins/wetoolkit-logs/tests/test_scenarionet_writer.py plugins/wetoolkit-logs/tests/test_openscenario.py

lint: install  ## ruff, mypy --strict on the core, import-linter, current schemas
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/mypy
	MYPYPATH=contrib/wetoolkit-crowd:plugins/wetoolkit-learning $(BIN)/mypy -p wetoolkit_crowd
	$(BIN)/lint-imports
	$(BIN)/wetool schemas --check

LONG := loop diffusion worth behaviour_real react attacks trust splat_views

bench: install  ## ratios of everything that must be fast
	for file in $(filter-out $(LONG:%=tests/benchmarks/bench_%.py),$(wildcard tests/benchmarks/bench_*.py)); do $(BIN)/python $$file || exit 1; done

bench-pdm: install  ## the PDM score: N x variant x threads, to build/bench/pdm.json (with PEERS=/folder/of/sources: and navsim)
	$(BIN)/python tests/benchmarks/bench_pdm.py $(if $(PEERS),--peers $(PEERS) --python $(or $(PEERS_PYTHON),build/peers/venv/bin/python))

bench-sim: install  ## scene-steps/s of the closed loop: agents, batches, workers, peers, growth (build/bench/sim.json)
	$(BIN)/python tests/benchmarks/bench_sim.py

bench-sensors: install  ## images/s and lidar sweeps/s of minitown's sensors (build/bench/sensors.json)
	$(BIN)/python tests/benchmarks/bench_sensors.py

bench-splat: install  ## 3D Gaussians on a CPU: implementation x scene x threads, memory, error (build/bench/splat.json)
	$(BIN)/python tests/benchmarks/bench_splat.py

bench-data: install  ## windows/s of the log readers, indexing, memory against size (build/bench/data.json)
	$(BIN)/python tests/benchmarks/bench_data.py

bench-loop: install  ## the honest loop: plateaued base, controls, five seeds (at most 90 minutes)
	$(BIN)/python tests/benchmarks/bench_loop.py

bench-diffusion: install  ## realism, controls and speed of behaviour/diffusion; trains a model first (build/bench/diffusion.json)
	$(BIN)/python tests/benchmarks/bench_diffusion.py

bench-attacks: install  ## what attacks, perturbations and the log do to policies in closed loop (build/bench/attacks.json)
	$(BIN)/python tests/benchmarks/bench_attacks.py $(ARGS)

bench-react: install  ## the model of traffic in closed loop: steps, cold and warm (build/bench/react.json)
	$(BIN)/python tests/benchmarks/bench_react.py

bench-behaviour-real: install  ## realism on nuScenes and Argoverse 2 logs, before and after fine-tuning (build/bench/behaviour_real.json)
	$(BIN)/python tests/benchmarks/bench_behaviour_real.py

bench-worth: install  ## the loop with learned, rule-based and no variants, five seeds (build/bench/worth.json)
	$(BIN)/python tests/benchmarks/bench_worth.py

bench-pictures: install  ## what pictures cost: compressing, decoding, experience (build/bench/pictures.json)
	$(BIN)/python tests/benchmarks/bench_pictures.py

bench-camera: install  ## what the camera policy costs a picture, forward and backward (build/bench/camera.json)
	$(BIN)/python tests/benchmarks/bench_camera.py

bench-splat-views: install  ## what a fitted scene is worth by distance off the path, and on KITTI (build/bench/splat_views.json)
	$(BIN)/python tests/benchmarks/bench_splat_views.py

bench-trust: install  ## how well a render's trust tells its errors, on unseen towns (build/bench/trust.json)
	$(BIN)/python tests/benchmarks/bench_trust.py

calibrate-trust: install  ## make the calibration of trust that wetoolkit-splat ships anew
	$(BIN)/python tests/benchmarks/bench_trust.py --calibrate

camera: install  ## the whole loop with cameras (at most 40 minutes on 2 cores)
	$(BIN)/wetool run docs/camera.toml

gallery: install  ## eight films of reactive traffic and a sheet of stills in build/gallery
	$(BIN)/wetool run docs/gallery.toml --out build/gallery/run --to vary-1
	$(BIN)/wetool rollout build/gallery/run --video --films 8
	cp build/gallery/run/videos/*.mp4 build/gallery/run/videos/*.png build/gallery/

gallery-minitown: install  ## each kind of rare event at four moments, from above: build/gallery/minitown.png
	$(BIN)/python -m wetoolkit_minitown.gallery

clean:  ## remove what was built (runs are kept)
	rm -rf .venv build
