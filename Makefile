# Every command works on a bare machine with python3.11 or newer: it makes .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export OMP_WAIT_POLICY = PASSIVE

.PHONY: installed install demo demo_lte test bench lint chromium results ablation rft_ablation leaderboard docs bench_scale bench_against
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

# Trains and scores the demo's network on real recordings in RFSEP_RECORDINGS.
demo_lte: $(STAMP)
	$(BIN)/python data/prepare.py testset soi=qpsk interference=lte20 num_samples=2560 num_per_sinr=200 \
	  'sinr_db=[-30,-24,-18,-12,-6,0]' seed=1 out=runs/lte_test
	$(BIN)/python train.py experiment=demo_lte run=unet
	$(BIN)/python evaluate.py separator=neural run=runs/demo_lte/unet testset=runs/lte_test out=runs/demo_lte/scores

# Runs every command on made-up frames in the layout of the challenge's organisers, and compares scores with plain numpy.
official_check: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python tests/official_check.py

# Runs every separator and every network of the zoo on two small sets: mini, with real types if RFSEP_RECORDINGS is set,
# and robust, whose signals come through channels. Finished work is kept; after 14 minutes per set the page shows the
# results so far.
MINI := qpsk:ofdm_qpsk qpsk:emi_bursts qpsk:nr_uplink ofdm_qpsk:ofdm_qpsk $(if $(RFSEP_RECORDINGS),qpsk:wifi20 qpsk:lte20)
leaderboard: $(STAMP)
	@set -e; for pair in $(MINI); do \
	  OMP_NUM_THREADS=1 $(BIN)/python data/prepare.py testset soi=$${pair%:*} interference=$${pair#*:} num_samples=2560 \
	    num_per_sinr=5 'sinr_db=[-30,-24,-18,-12,-6,0]' seed=1 out=runs/leaderboard/mini; done
	OMP_NUM_THREADS=1 $(BIN)/python data/prepare.py testset challenge=robust seed=1 out=runs/leaderboard/robust
	$(BIN)/rfsep compete runs/leaderboard/mini --out runs/leaderboard --minutes 14 --max-seconds 1.5
	$(BIN)/rfsep compete runs/leaderboard/robust --out runs/leaderboard/through_channels --minutes 14 --max-seconds 1.5
	$(BIN)/python evaluate.py leaderboard=runs/leaderboard

# Measures everything that the README shows again, in several hours on two cores; finished parts are kept.
COMPARISONS := args/ofdm_qpsk args/ofdm_qpsk_span8 args/ofdm_bpsk args/alpha_rgs args/learned_priors args/published args/omega args/basis \
  args/lte args/toy csgaussian/cyclo csgaussian/comm csgaussian/comm2 csgaussian/qpskcomm \
  sync/noiseless sync/timing_error sync/snr10 dnn_comparison aligned/ablation learned rfc2021/emisignal1 rfc2021/commsignal2 rfc2021/commsignal3 real/wifi20 real/lte20 \
  nr/uplink rf_transformer/white_noise rf_transformer/ablation rf_transformer/ablation_emi rf_transformer/alignment \
  through_channels/none through_channels/fraction through_channels/carrier through_channels/rays
results: demo demo_lte bench ablation leaderboard rft_ablation
	mkdir -p docs/results
	$(BIN)/python train.py experiment=corrected/wifi run=headline data.repeat_after=40 trainer.max_steps=1500 trainer.val_every=300
	$(BIN)/python train.py experiment=corrected/lte run=headline
	$(BIN)/python train.py experiment=prior/lte run=headline model.network.channels=16 model.network.blocks=7 model.network.cycle=7 trainer.max_steps=4000
	$(BIN)/python train.py experiment=rf_transformer/qpskcomm channel@interference.channel=rays run=rays \
	  'separator.front.inputs=[band,carriers,detection]' separator.front.iterations=1 model.network.num_inputs=253 init_from=zoo:rft_qpskcomm \
	  objective.module.optimisation.warmup_steps=20 data.batch_size=32 trainer.max_steps=400 trainer.val_every=50 data.val_per_sinr=8
	for name in $(COMPARISONS); do $(BIN)/python evaluate.py experiment=$$name && \
	  cp runs/$$name/results.json docs/results/$$(echo $$name | tr / _).json || exit; done
	cp runs/demo/scores.json docs/results/demo.json
	cp runs/demo_lte/scores/scores.json docs/results/demo_lte.json
	cp runs/bench/*.json docs/results/
	cp runs/leaderboard/leaderboard.json docs/results/
	$(BIN)/python docs/screenshot.py runs/leaderboard/index.html docs/leaderboard.png \
	  '.type, .inside, [aria-labelledby$$=cost], [aria-labelledby$$=versus], .board tbody tr:nth-child(n+13)'
	cp runs/learned/learning.png docs/learning.png
	cp runs/args/toy/figure.png docs/args_toy.png
	cp runs/args/omega/omega.png docs/omega.png
	$(BIN)/python docs/tables.py

# Trains the ablations of the radio-frequency transformer and of the aligned network; conf/experiment has their comparisons.
rft_ablation: $(STAMP)
	$(BIN)/python docs/ablations.py rf_transformer

ablation: $(STAMP)
	$(BIN)/python docs/ablations.py aligned
	$(BIN)/python evaluate.py experiment=aligned/ablation
	$(BIN)/rfsep curves $(addprefix runs/aligned/,unaligned/UNet unaligned/WaveNet qpskcomm/time qpskcomm/band qpskcomm/linear \
	  qpskcomm/linear_long) --out docs/curves.png

# Tests of the pages need a browser: Debian's is installed where possible. Without it they skip, and in CI they fail.
chromium:
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	  apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; } || \
	  echo "chromium is not there and cannot be installed: tests of the pages skip"

# A test process that dies fails the tests: with a replacement, pytest-xdist 3.8 waits for ever (its issue 1323).
test: $(STAMP) chromium
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadgroup --max-worker-restart 0 --durations 10

# Runs every command once from the wheel, in an empty environment outside this folder.
installed:
	tests/installed.sh $(PYTHON)

bench: $(STAMP)
	$(BIN)/python tests/bench.py
	$(BIN)/python tests/bench_alpha_rgs.py
	$(BIN)/python tests/bench_rf_transformer.py
	$(BIN)/python tests/bench_separate.py
	$(BIN)/python tests/bench_decisions.py

# Compares speed and outputs with those of an older commit: make bench_against REF=COMMIT ROWS='nr_detection "draw ofdm"'
# (parts of rows' names; default: all, some hours), MIXTURES per condition, PAIRS of runs.
bench_against: $(STAMP)
	$(BIN)/python docs/against.py $(or $(REF),$(error REF=COMMIT is missing)) $(ROWS) $(if $(MIXTURES),--mixtures $(MIXTURES)) $(if $(PAIRS),--pairs $(PAIRS))

# Makes a site of README.md and docs/ with a reference of modules, commands and options, runs/docs/index.html; warnings
# are errors.
docs: $(STAMP)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	OMP_NUM_THREADS=1 $(BIN)/python docs/build.py

bench_scale: $(STAMP) ## eight types at official size: 12 GB of disk, half an hour
	$(BIN)/python tests/bench_scale.py

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
