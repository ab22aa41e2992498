"""Writes peer_*.npz: transmissions that GNU Radio and liquid made, framed, and off in carrier, clock and timing.

    apt-get install gnuradio libliquid-dev gcc                  # 3.10.5, 1.5.0
    python tests/reference/make_peer_captures.py make           # with the interpreter that has GNU Radio

Each file holds ``iq``, int16 [T, 2] with ``scale`` (complex = iq / scale, unit power of the SOI), ``bits``, uint8 [N],
as sent, one pair per symbol centre, ``preamble``, uint8 [64], ``frame_bits``, ``carrier`` in cycles per sample,
``clock_ppm`` (above zero where a symbol takes longer), ``samples_per_symbol``, ``roll_off``, ``program`` (whose label
map the bits have), and ``first_centre``, the place of the first symbol in samples. A frame is the preamble and a
payload of random bits; frames follow one another. A transmission begins anywhere in a frame.

    python tests/reference/make_peer_captures.py receive FOLDER BITS TITLE    # FOLDER: what `rfsep separate` wrote

The reverse: GNU Radio's own chain (matched filter and symbol synchroniser, Costas loop, decoder) demodulates
FOLDER/soi.sigmf-data, and its errors are written into docs/results/peers.json. BITS is a .npy of the bits sent, TITLE
names the capture there.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
RESULTS = HERE.parents[1] / "docs" / "results" / "peers.json"
PREAMBLE = np.unpackbits(np.frombuffer(bytes.fromhex("1ACFFC1D34D815CA"), np.uint8))
FRAME_BITS = 512
LOOP = 0.03  # bandwidth of the loops of clock and carrier, in cycles per symbol
CASES = {  # program, samples per symbol, roll-off, symbols, carrier in cycles per sample, clock in ppm
    "gnuradio_16": ("gnuradio", 16, 0.5, 2250, 3.1e-4, 20.0),
    "gnuradio_8": ("gnuradio", 8, 0.35, 4500, -7e-4, -35.0),
    "liquid_16": ("liquid", 16, 0.5, 2250, -2.3e-4, 40.0),
    "liquid_8": ("liquid", 8, 0.35, 4500, 9e-4, -15.0),
}
LIQUID = """
#include <complex.h>
#include <liquid/liquid.h>
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv) {
  unsigned sps = atoi(argv[1]), delay = 8;
  float roll_off = atof(argv[2]), carrier = atof(argv[3]), ppm = atof(argv[4]);
  modemcf modem = modemcf_create(LIQUID_MODEM_QPSK);
  firinterp_crcf pulse = firinterp_crcf_create_prototype(LIQUID_FIRFILT_RRC, sps, delay, roll_off, 0.3f);
  resamp_crcf clock = resamp_crcf_create(1.0f + 1e-6f * ppm, 24, 0.45f, 100.0f, 512);
  nco_crcf oscillator = nco_crcf_create(LIQUID_VCO);
  nco_crcf_set_frequency(oscillator, 2.0f * 3.14159265f * carrier);
  nco_crcf_set_phase(oscillator, 1.0f);
  int first, second;
  while ((first = getchar()) != EOF && (second = getchar()) != EOF) {
    float complex symbol, samples[64], out[8];
    modemcf_modulate(modem, 2 * first + second, &symbol);
    firinterp_crcf_execute(pulse, symbol, samples);
    for (unsigned i = 0; i < sps; i++) {
      unsigned count;
      resamp_crcf_execute(clock, samples[i], out, &count);
      for (unsigned k = 0; k < count; k++) {
        float complex turned;
        nco_crcf_mix_up(oscillator, out[k], &turned);
        nco_crcf_step(oscillator);
        fwrite(&turned, sizeof turned, 1, stdout);
      }
    }
  }
  return 0;
}
"""


def framed(symbols: int, seed: int) -> np.ndarray:
    """Bits of frames behind half a frame of random bits."""
    random = np.random.default_rng(seed)
    bits = random.integers(0, 2, 2 * symbols, np.uint8)
    for start in range(FRAME_BITS // 2, len(bits) - len(PREAMBLE), FRAME_BITS):
        bits[start : start + len(PREAMBLE)] = PREAMBLE
    return bits


def gnuradio(bits: np.ndarray, sps: int, roll_off: float, carrier: float, ppm: float) -> np.ndarray:
    """constellation_modulator on constellation_qpsk, and channel_model with an offset of carrier and clock."""
    from gnuradio import blocks, channels, digital, gr
    from gnuradio.digital import generic_mod

    flow = gr.top_block()
    source = blocks.vector_source_b(np.packbits(bits).tolist(), False)
    modulator = generic_mod(
        digital.constellation_qpsk().base(),
        differential=False,
        samples_per_symbol=sps,
        pre_diff_code=False,
        excess_bw=roll_off,
    )
    # The channel takes every (1 + epsilon)-th sample.
    channel = channels.channel_model(0.0, carrier, 1.0 / (1.0 + 1e-6 * ppm), [1.0 + 0j])
    sink = blocks.vector_sink_c()
    flow.connect(source, modulator, channel, sink)
    flow.run()
    return np.array(sink.data(), np.complex64)


def liquid(bits: np.ndarray, sps: int, roll_off: float, carrier: float, ppm: float) -> np.ndarray:
    """LIQUID_MODEM_QPSK, firinterp_crcf with a root raised cosine .3 samples late, resamp_crcf, nco_crcf."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "send.c").write_text(LIQUID)
        subprocess.run(["gcc", f"{folder}/send.c", "-o", f"{folder}/send", "-lliquid", "-lm"], check=True)
        command = [f"{folder}/send", str(sps), str(roll_off), str(carrier), str(ppm)]
        said = subprocess.run(command, input=bits.tobytes(), check=True, capture_output=True).stdout
    return np.frombuffer(said, np.complex64)


def place(wave: np.ndarray, bits: np.ndarray, case: tuple) -> tuple[float, int]:
    """Centre of the first whole symbol in samples, to an eighth of a sample, and its number among those sent."""
    from gnuradio import filter as filters
    from scipy.interpolate import CubicSpline

    program, sps, roll_off, _, carrier, ppm = case
    times = np.arange(len(wave))
    taps = filters.firdes.root_raised_cosine(1.0, sps, 1.0, roll_off, 24 * sps + 1)
    matched = CubicSpline(times, np.convolve(wave * np.exp(-2j * np.pi * carrier * times), taps, "same"))
    starts = np.arange(0, sps, 0.125)
    symbols = [matched(np.arange(one, len(wave) - sps, sps * (1 + 1e-6 * ppm))) for one in starts]
    best = int(np.argmin([np.std(np.abs(one[30:-30])) / np.mean(np.abs(one[30:-30])) for one in symbols]))
    points = np.array(json.loads((HERE / "label_maps.json").read_text())[program]["4"]) @ [1, 1j]
    sent = points[2 * bits[::2].astype(int) + bits[1::2]]
    likeness = np.abs(np.correlate(sent, symbols[best][30:-30], "valid"))
    first = int(likeness.argmax()) - 30
    assert likeness.max() > 0.99 * np.abs(sent[0]) * np.abs(symbols[best][30:-30]).sum()
    return float(starts[best]), first


def make() -> None:
    """Writes the captures: the middle of longer transmissions, which begin and end with transients of filters."""
    for seed, (name, case) in enumerate(CASES.items()):
        program, sps, roll_off, symbols, carrier, ppm = case
        sent = framed(symbols + 400, seed)
        wave = {"gnuradio": gnuradio, "liquid": liquid}[program](sent, sps, roll_off, carrier, ppm)
        wave = wave[(200 * sps) : (200 + symbols) * sps]
        wave = wave / np.sqrt(np.mean(np.abs(wave) ** 2))
        centre, first = place(wave, sent, case)
        bits = sent[2 * first :][: 2 * len(np.arange(centre, len(wave), sps * (1 + 1e-6 * ppm)))]
        scale = 32000 / max(np.abs(wave.real).max(), np.abs(wave.imag).max())
        iq = np.rint(scale * np.stack((wave.real, wave.imag), -1)).astype(np.int16)
        facts = {"program": program, "samples_per_symbol": sps, "roll_off": roll_off, "carrier": carrier}
        facts |= {"clock_ppm": ppm, "first_centre": centre, "scale": scale, "frame_bits": FRAME_BITS}
        np.savez_compressed(HERE / f"peer_{name}.npz", iq=iq, bits=bits, preamble=PREAMBLE, **facts)
        print(name, len(wave), centre, first, flush=True)


def received(samples: np.ndarray, sps: int, roll_off: float) -> np.ndarray:
    """Symbols complex64 [S] of GNU Radio's matched filter, symbol_sync_cc and costas_loop_cc, in that order."""
    from gnuradio import blocks, digital, gr
    from gnuradio import filter as filters

    flow = gr.top_block()
    taps = filters.firdes.root_raised_cosine(1.0, sps, 1.0, roll_off, 16 * sps + 1)
    level = float(np.sqrt(np.mean(np.abs(samples) ** 2)))
    points = digital.constellation_qpsk().base()
    clock = digital.symbol_sync_cc(
        digital.TED_GARDNER, sps, LOOP, 1.0, 1.0, 0.01 * sps, 1, points, digital.IR_MMSE_8TAP, 128, []
    )
    carrier = digital.costas_loop_cc(LOOP, 4, False)
    sink = blocks.vector_sink_c()
    source = blocks.vector_source_c((samples / level).tolist(), False)
    flow.connect(source, filters.fir_filter_ccf(1, taps), clock, carrier, sink)
    flow.run()
    return np.array(sink.data(), np.complex64)


def errors(symbols: np.ndarray, bits: np.ndarray, points: np.ndarray) -> tuple[int, int]:
    """Wrong bits and all bits of symbols behind the loops' first 200, at the best shift and turn by 90 degrees."""
    sent = points[2 * bits[::2].astype(int) + bits[1::2]]
    kept = symbols[200:]
    most = min(len(kept), len(sent) - 256)
    shifts = [np.vdot(sent[shift : shift + most], kept[:most]) for shift in range(150, 256)]
    best = int(np.argmax(np.abs(shifts)))
    turn = np.exp(0.5j * np.pi * np.rint(np.angle(shifts[best]) * 2 / np.pi))
    found = np.abs((kept[:most] / turn)[:, None] / np.abs(kept).mean() * np.abs(points[0]) - points).argmin(1)
    numbers = np.abs(sent[150 + best :][:most, None] - points).argmin(1)
    wrong = np.bitwise_xor(found, numbers)
    return int(((wrong & 1) + (wrong >> 1)).sum()), 2 * most


def receive(folder: str, truth: str, title: str) -> None:
    """Demodulates what `rfsep separate` wrote, and keeps the errors beside those of its own bits."""
    from gnuradio import gr

    facts = json.loads(Path(folder, "separate.json").read_text())
    samples, bits = np.fromfile(Path(folder, "soi.sigmf-data"), np.complex64), np.load(truth)
    own = np.load(Path(folder, "bits.npy"))
    shorter = min(len(own), len(bits))
    points = np.array([1 + 1j, 1 - 1j, -1 + 1j, -1 - 1j]) / np.sqrt(2)
    wrong, compared = errors(received(samples, 16, 0.5), bits, points)
    row = {"capture": title, "separator": facts["separator"], "command": facts["command"], "num_bits": compared}
    row |= {"ber_gnuradio": wrong / compared, "ber_rfsep": float((own[:shorter] != bits[:shorter]).mean())}
    print(row)
    kept = json.loads(RESULTS.read_text())["rows"] if RESULTS.exists() else []
    rows = [one for one in kept if (one["capture"], one["separator"]) != (title, row["separator"])] + [row]
    content = {"schema": 1, "program": f"GNU Radio {gr.version()}", "rows": rows}
    RESULTS.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    {"make": make, "receive": receive}[sys.argv[1]](*sys.argv[2:])
