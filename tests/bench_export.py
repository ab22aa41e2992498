"""Measures the gain of `rfsep export`: networks as they are, in bfloat16 by torch, and exported.

python tests/bench_export.py [THREADS ...]: 1 and 2 by default. With one thread it measures processor time, as the
machine may be shared; else time by the clock, with the load of the machine beside it.
"""

import contextlib
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import Any

import torch
from bench import write

from rfsep.app.config import instantiate, option
from rfsep.app.networks.export import DTYPES, Exported, compiled_network, converted
from rfsep.iq import to_channels
from rfsep.mixtures.endless import Purpose, batch_generator
from rfsep.mixtures.mix import Mixer
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.random_crop import RandomCrop

# option of conf/model, samples per window, windows per batch
CASES = [
    *((name, 2560, rows) for name in ("unet_small", "wavenet_small") for rows in (1, 16)),
    *((name, 40960, rows) for name in ("unet_small", "wavenet_small") for rows in (1, 16)),
    *((name, 2560, 1) for name in ("unet", "wavenet", "demucs_small", "transformer_unet_small")),
]
# Errors are measured after some training steps, as random weights say little about rounding.
STEPS = 10
SECONDS = 1.0  # work per figure, in at least three calls


def trained(name: str) -> torch.nn.Module:
    """Returns a network of conf/model after a few steps on QPSK in OFDM-QPSK."""
    torch.manual_seed(0)
    model = instantiate(option("model", name).network)
    mixer, generator = Mixer(LinearModem(), RandomCrop(OfdmModem(), power=56 / 64)), batch_generator(Purpose.TEST, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(STEPS):
        batch = mixer.draw(torch.full((2,), -6.0), 2560, generator)
        with torch.autocast("cpu", torch.bfloat16):
            estimate = model(to_channels(batch.mixture))
        (estimate - to_channels(batch.soi)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    evaluated: torch.nn.Module = model.eval()
    return evaluated


def seconds(work: Callable[[], object]) -> float:
    """Returns the shortest time of a call: processor time with one thread, clock time with more."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    work()
    times: list[float] = []
    while len(times) < 3 or sum(times) < SECONDS:
        started = clock()
        work()
        times.append(clock() - started)
    return min(times)


def rows(name: str, num_samples: int, num_windows: int, model: torch.nn.Module) -> dict[str, Any]:
    """Returns seconds, speed-up and difference in dB for each way to run a network."""
    mixer = Mixer(LinearModem(), RandomCrop(OfdmModem(), power=56 / 64))
    generator = batch_generator(Purpose.TEST, 0)
    inputs = to_channels(mixer.draw(torch.full((num_windows,), -6.0), num_samples, generator).mixture)

    def half(windows: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            estimate: torch.Tensor = model(windows)
        return estimate

    ways: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {"torch_float32": model, "torch_bfloat16": half}
    started = time.process_time()
    parts = converted(model, inputs[:1].expand(2, -1, -1))
    converting = time.process_time() - started
    for dtype in DTYPES:
        ways[f"export_{dtype}"] = Exported(compiled_network(*parts, dtype), num_samples, "")
    found: dict[str, Any] = {"model": name, "num_samples": num_samples, "windows": num_windows}
    found |= {"threads": torch.get_num_threads(), "load": os.getloadavg()[0], "converting_seconds": converting}
    with torch.inference_mode():
        expected = model(inputs)
        for way, network in ways.items():
            error = float((network(inputs) - expected).square().mean() / expected.square().mean())
            spent = seconds(partial(network, inputs))
            found[way] = {
                "seconds": spent,
                "times_float32": found.get("torch_float32", {}).get("seconds", spent) / spent,
            }
            found[way]["error_db"] = None if error == 0 else 10 * math.log10(error)
    return found


def child(threads: int) -> None:
    """Prints the rows of all cases with so many threads, as one JSON line each."""
    torch.set_num_threads(threads)
    models = {name: trained(name) for name in dict.fromkeys(case[0] for case in CASES)}
    for name, num_samples, num_windows in CASES:
        with contextlib.redirect_stdout(sys.stderr):
            row = rows(name, num_samples, num_windows, models[name])
        print(json.dumps(row), flush=True)


def main() -> None:
    """Runs each number of threads in a separate process."""
    found = []
    for threads in sys.argv[1:] or ["1", "2"]:
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "OMP_WAIT_POLICY": "PASSIVE"}
        command = [sys.executable, __file__, "child", threads]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
        found += [json.loads(line) for line in done.stdout.splitlines()]
    write("export", {"engine": f"OpenVINO {version('openvino')}", "rows": found})


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        child(int(sys.argv[2]))
    else:
        main()
