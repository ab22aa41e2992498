# Every command works on a bare machine with python3.11 or newer: it makes .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export OMP_WAIT_POLICY = PASSIVE

.PHONY: install demo test bench lint chromium reference
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
