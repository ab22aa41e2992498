#!/usr/bin/env bash
# sionna-no-rt 2.2.0: whether its PUSCH can send an MCS of the standard depends on how many resource blocks are asked for.
#
# Versions: sionna-no-rt 2.2.0, torch 2.13.0, Python 3.11.
# Behaviour: of MCS 3 to 16 of TS 38.214 table 5.1.3.1-1, 25 resource blocks lack 10, 51 lack 4 and 10, and 106 lack 4: the
#   transmitter raises "Only coderate>1/3 supported for BG1". Base graph 1 has the mother rate 1/3, and the standard sends the
#   circular buffer's first bits again beneath it (TS 38.212 5.4.2.1); Sionna does not. Both transport blocks and code blocks
#   have to be looked at: MCS 10 of rate .332 is under 1/3 as one whole, but passes where its split and CRCs raise the rate.
# Guess beforehand: rates under 1/5 are refused, as the class says, and every other row works for any number of blocks.
# Why it matters: a set of uplink waveforms "for all QPSK rows" made at 5 MHz raises at 20 MHz, and an MCS sweep of a
#   separator or receiver has holes that move with the bandwidth.
# Output seen:
#   25 resource blocks: refused 10
#   51 resource blocks: refused 4 10
#   106 resource blocks: refused 4
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 sionna-no-rt==2.2.0
cat > "$place/show.py" <<'PYTHON'
import sys
import warnings

from sionna.phy import config
from sionna.phy.nr import PUSCHConfig, PUSCHTransmitter

warnings.filterwarnings("ignore")
config.device = "cpu"
REFUSAL = "Only coderate>1/3 supported for BG1"


def refused(num_resource_blocks):
    """Gives the MCS whose transmitter is not built, of those of rate 1/5 and more in QPSK and 16-QAM."""
    found = []
    for mcs in range(3, 17):
        pusch = PUSCHConfig()
        pusch.carrier.n_size_grid = num_resource_blocks
        pusch.tb.mcs_table, pusch.tb.mcs_index = 1, mcs
        try:
            PUSCHTransmitter(pusch)
        except ValueError as error:
            if REFUSAL not in str(error):
                raise
            found.append(mcs)
    return found


seen = {blocks: refused(blocks) for blocks in (25, 51, 106)}
for blocks, indices in seen.items():
    print(f"{blocks} resource blocks: refused", *indices)
sys.exit(0 if seen == {25: [10], 51: [4, 10], 106: [4]} else 1)
PYTHON
"$place/venv/bin/python" "$place/show.py"
