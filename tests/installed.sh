#!/usr/bin/env bash
# Builds the wheel, installs it into an empty environment and walks through the commands in an empty folder: tests/installed.sh PYTHON
set -euo pipefail
source=$(cd "$(dirname "$0")/.." && pwd)
python=${1:-python3}
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
export OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS=1 RFSEP_HOST_KEY="$place/host.key" RFSEP_CACHE="$place/cache"
unset PYTHONPATH
"$python" -m venv "$place/venv"
"$place/venv/bin/pip" wheel --quiet --disable-pip-version-check --no-deps --wheel-dir "$place" "$source"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check -c "$source/constraints.txt" "$place"/rfsep-*.whl
mkdir "$place/work"
cd "$place/work"
PATH="$place/venv/bin:$PATH"
run() { echo "\$ $*"; "$@"; }

run python -c "import rfsep; from pathlib import Path; assert Path(rfsep.__file__).is_relative_to('$place'), rfsep.__file__"
run rfsep --help >/dev/null
run rfsep prepare testset soi=qpsk interference=ofdm_qpsk num_samples=640 num_per_sinr=4 'sinr_db=[-12,0]' seed=1 out=set
run rfsep train interference=ofdm_qpsk name=first run=tiny model.network.channels=4 model.network.first_kernel=5 data.num_samples=320 \
  data.batch_size=4 data.val_per_sinr=2 trainer.max_steps=10 trainer.val_every=10
run rfsep evaluate separator=neural run=runs/first/tiny testset=set out=unet
run rfsep evaluate separator=lmmse testset=set out=lmmse
run rfsep evaluate leaderboard=. >/dev/null
run rfsep compete set --out compete --max-seconds 0.05 >/dev/null
run rfsep identify ofdm_qpsk --num-frames 50 --num-samples 2048
run rfsep train interference=white_noise objective=ddpm model=token_prior_qpsk name=prior run=tiny data.num_samples=320 data.batch_size=4 \
  data.val_per_sinr=2 trainer.max_steps=2 trainer.val_every=2
run rfsep prior runs/prior/tiny --num-windows 4 --num-samples 320
run rfsep tokenizer zoo:tokenizer_qpsk --num-bits 10000
run rfsep export runs/first/tiny --out kept/tiny.safetensors
run rfsep curves runs/first/tiny --out curves.png --metric val/mse_db
python -c "
import numpy as np
rng = np.random.default_rng(0)
np.save('noise.npy', (rng.standard_normal(81920) + 1j * rng.standard_normal(81920)).astype(np.complex64) * 0.1)"
run rfsep embed noise.npy --sample-rate 25e6 --sinr-db 3 --out heard
run rfsep separate heard/capture.sigmf-meta --separator matched_filter --truth heard/truth_bits.npy --out separated
run rfsep learn noise.npy --minutes 0.01 --out learned
run rfsep separate heard/capture.sigmf-meta --run learned --truth heard/truth_bits.npy --out by_learned
for file in learned/report.html set/mixture/QPSK_OFDMQPSK.h5 unet/scores.json index.html compete/index.html runs/identify/ofdm_qpsk/interference.yaml separated/bits.npy curves.png; do
  test -s "$file" || { echo "$file is missing"; exit 1; }
done
echo "installed: every command works outside of the checkout"
