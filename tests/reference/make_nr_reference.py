"""Writes nr_py3gpp.npz: sequences and a slot of 5G NR by py3gpp, against which ours are tested.

    python tests/reference/make_nr_reference.py

Made with py3gpp 0.6.0 (AGPL-3), which is not installed with the project; these are numbers that it gave. ``pss`` int8
[3, 127] of cells 0, 1, 2; ``sss`` int8 [cells, 127]; ``pbch`` complex64 [cells, 8, 144], pilots of the broadcast
channel; ``pbch_data`` int32 [4, 432], its data's places by cell modulo 4; ``dmrs`` complex64 [cells, 3, 306],
pilots of the shared channel in (slot, symbol) of ``dmrs_places``; points of constellations by their bits; ``slot``
complex64 [960], every 16th sample of a slot with the block of cell 500, index 2, without data.
"""

from pathlib import Path

import numpy as np

CELLS = (0, 77, 500, 1007)
PLACES = ((0, 2), (7, 11), (19, 2))


def main() -> None:
    """Asks py3gpp for every array."""
    import py3gpp as nr
    from py3gpp.configs.nrCarrierConfig import nrCarrierConfig
    from py3gpp.nrPDSCHDMRS import PDSCHDMRScinit

    arrays = {
        "cells": np.array(CELLS),
        "dmrs_places": np.array(PLACES),
        "pss": np.stack([nr.nrPSS(cell) for cell in range(3)]).astype(np.int8),
        "sss": np.stack([nr.nrSSS(cell) for cell in CELLS]).astype(np.int8),
        "pbch": np.stack([[nr.nrPBCHDMRS(cell, index) for index in range(8)] for cell in CELLS]).astype(np.complex64),
        "pbch_data": np.stack([nr.nrPBCHIndices(cell) for cell in range(4)]).astype(np.int32),
    }
    seeds = [[PDSCHDMRScinit(14, *place, cell, 0) for place in PLACES] for cell in CELLS]
    pilots = [[nr.nrSymbolModulate(nr.nrPRBS(seed, 612), "QPSK") for seed in row] for row in seeds]
    arrays["dmrs"] = np.array(pilots).astype(np.complex64)
    for name, count in (("qpsk", 2), ("16qam", 4), ("64qam", 6)):
        labels = np.arange(1 << count)[:, None] >> np.arange(count)[::-1] & 1
        arrays[name] = nr.nrSymbolModulate(labels.ravel(), name).astype(np.complex64)
    grid = np.zeros((612, 14), complex)
    block = np.zeros(960, complex)
    block[nr.nrPSSIndices()], block[nr.nrSSSIndices()] = nr.nrPSS(500), nr.nrSSS(500)
    block[nr.nrPBCHDMRSIndices(500)] = nr.nrPBCHDMRS(500, 2)
    grid[180:420, 2:6] = block.reshape(4, 240).T
    waveform, _ = nr.nrOFDMModulate(nrCarrierConfig(NSizeGrid=51, SubcarrierSpacing=30), grid, SampleRate=30_720_000)
    arrays["slot"] = waveform[::16].astype(np.complex64)
    np.savez_compressed(Path(__file__).with_name("nr_py3gpp.npz"), **arrays)


if __name__ == "__main__":
    main()
