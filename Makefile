# Every command works on a bare machine with python3.11 or newer: it makes .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export OMP_WAIT_POLICY = PASSIVE

.PHONY: install demo demo_lte test bench lint chromium results
install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,nr,report]'
	touch $@

demo: $(STAMP) ## prepare, train, score, page: runs/demo/index.html
	@start=$$(date +%s); set -e; \
	for pair in emi_bursts:EMIBursts ofdm_qpsk:OFDMQPSK; do \
	  type=$${pair%:*}; name=$${pair#*:}; \
	  $(BIN)/python data/prepare.py testset soi=qpsk interference=$$type num_samples=2560 num_per_sinr=100 \
	    'sinr_db=[-30,-24,-18,-12,-6,0]' seed=1 out=runs/demo/testset; \
	  $(BIN)/python train.py experiment=demo interference=$$type run=QPSK_$$name; done; \
	$(BIN)/python evaluate.py separator=neural run=runs/demo testset=runs/demo/testset out=runs/demo; \
	echo "demo: $$(( $$(date +%s) - start )) s after installation; look at runs/demo/index.html"

# the same network on real recordings; RFSEP_RECORDINGS says where they are
demo_lte: $(STAMP)
	$(BIN)/python data/prepare.py testset soi=qpsk interference=lte20 num_samples=2560 num_per_sinr=200 \
	  'sinr_db=[-30,-24,-18,-12,-6,0]' seed=1 out=runs/lte_test
	$(BIN)/python train.py experiment=demo_lte run=unet
	$(BIN)/python evaluate.py separator=neural run=runs/demo_lte/unet testset=runs/lte_test out=runs/demo_lte/scores

# everything that the README shows, measured again (about half an hour on two cores)
results: demo demo_lte bench
	$(BIN)/python evaluate.py experiment=args/ofdm_qpsk num_mixtures=4000
	for name in emisignal1 commsignal2 commsignal3; do $(BIN)/python evaluate.py experiment=rfc2021/$$name || exit; done
	mkdir -p docs/results
	cp runs/demo/scores.json docs/results/demo.json
	cp runs/demo_lte/scores/scores.json docs/results/demo_lte.json
	cp runs/args/ofdm_qpsk/results.json docs/results/args_ofdm_qpsk.json
	for name in emisignal1 commsignal2 commsignal3; do cp runs/rfc2021/$$name/results.json docs/results/rfc2021_$$name.json; done
	cp runs/bench/*.json docs/results/
	$(BIN)/python docs/tables.py

# tests of the pages need a browser: Debian's, installed where that is allowed; without it they skip (in CI they fail)
chromium:
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	  apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; } || \
	  echo "chromium is not there and cannot be installed: tests of the pages skip"

test: $(STAMP) chromium
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadgroup --durations 10

bench: $(STAMP)
	$(BIN)/python tests/bench.py

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
