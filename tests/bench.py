"""Benchmarks, each against the plain reference in the same run: make bench; results in runs/bench/*.json."""

import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from rfsep.iq import to_channels
from rfsep.metrics import row_bit_errors, row_mse, score
from rfsep.mixtures.mix import Mixer
from rfsep.models.unet import UNet
from rfsep.models.wavenet import WaveNet
from rfsep.separators.cyclic_lmmse import CyclicLmmse
from rfsep.separators.inference.gaussian import GaussianModel
from rfsep.separators.joint_detection import JointDetection
from rfsep.separators.tokens.aligned import Aligned
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.nr.uplink import NrUplink
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.periodic_covariance import modem_periodic_covariance
from rfsep.signals.random_crop import RandomCrop
from rfsep.signals.single_carrier import BurstyQam
from rfsep.signals.statistics import modem_covariance
from rfsep.storage.submissions import find_submissions, list_submissions, read_submission

OUT = Path("runs/bench")
FRAME = 40960
NUM_BITS = 5120


def machine() -> dict[str, Any]:
    """Returns the origin of a result: machine and versions."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "?")
    return {
        "cpu": model,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def best(work: Callable[[], object], seconds: float = 3.0) -> float:
    """Returns the shortest time of a call in seconds, out of as many calls as fit (at least two)."""
    work()
    times, end = [], time.perf_counter() + seconds
    while len(times) < 2 or time.perf_counter() < end:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def write(name: str, result: dict[str, Any]) -> None:
    """Prints and keeps a result."""
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / f"{name}.json").write_text(json.dumps({"machine": machine(), **result}, indent=1) + "\n")
    print(name, json.dumps(result, indent=1))


def forward_flops(model: torch.nn.Module, mixture: torch.Tensor) -> int:
    """Returns the floating-point operations of one forward pass."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(to_channels(mixture))
    return counter.get_total_flops()


def generation() -> None:
    """Measures mixture generation in millions of complex samples per second, beside Sionna's own generator."""
    from sionna.phy import config
    from sionna.phy.mapping import BinarySource, Mapper
    from sionna.phy.ofdm import OFDMModulator, ResourceGrid, ResourceGridMapper
    from sionna.phy.signal import RootRaisedCosineFilter, Upsampling

    config.device = "cpu"
    batch = 64
    qpsk, ofdm = LinearModem(), RandomCrop(OfdmModem(), power=56 / 64)
    mixer = Mixer(qpsk, ofdm)
    generator = torch.Generator().manual_seed(0)
    level = torch.full((batch,), -10.0)
    source, mapper, upsample = BinarySource(), Mapper("qam", 2), Upsampling(16)
    pulse = RootRaisedCosineFilter(8, 16, 0.5)
    grid = ResourceGrid(
        num_ofdm_symbols=513,
        fft_size=64,
        subcarrier_spacing=20e6 / 64,
        cyclic_prefix_length=16,
        num_guard_carriers=(4, 3),
        dc_null=True,
    )
    to_grid, modulate = ResourceGridMapper(grid), OFDMModulator(16)

    def sionna_qpsk() -> torch.Tensor:
        symbols = mapper(source([batch, 2 * FRAME // 16]))
        return 4 * pulse(torch.roll(upsample(symbols), 8, -1), padding="same")

    def sionna_mixture() -> torch.Tensor:
        data = to_grid(mapper(source([batch, 1, 1, 2 * int(grid.num_data_symbols)])))
        waveform = modulate(data)[:, 0, 0]
        start = torch.randint(0, 80, (batch, 1))
        crop = waveform.gather(1, start + torch.arange(FRAME))
        phase = torch.polar(torch.full((batch, 1), 10**0.5), 2 * torch.pi * torch.rand(batch, 1))
        return sionna_qpsk() + phase * crop

    samples = batch * FRAME / 1e6
    rates = {
        "qpsk": samples / best(lambda: qpsk.sample(batch, FRAME, generator)),
        "qpsk_sionna": samples / best(sionna_qpsk),
        "ofdm_qpsk": samples / best(lambda: ofdm.sample(batch, FRAME, generator)),
        "single_carrier": samples / best(lambda: BurstyQam().sample(batch, FRAME, generator)),
        "nr_uplink": samples / best(lambda: NrUplink().sample(batch, FRAME, generator)),
        "nr_uplink_1280": batch * 1280 / 1e6 / best(lambda: NrUplink().sample(batch, 1280, generator)),
        "qpsk_in_ofdm": samples / best(lambda: mixer.draw(level, FRAME, generator)),
        "qpsk_in_ofdm_sionna": samples / best(sionna_mixture),
    }
    ratios = {name: rates[name] / rates[f"{name}_sionna"] for name in ("qpsk", "qpsk_in_ofdm")}
    write("generation", {"million_samples_per_second": rates, "times_sionna": ratios})


def scoring_child(folder: str) -> None:
    """Scores one official-size pair in a process of its own; prints seconds and peak memory in MB.

    This covers everything: checks of both files for shape, NaN and bits, MSE and bit errors, bootstrap intervals.
    """
    start = time.perf_counter()
    (entry,) = find_submissions(Path(folder), "Set")
    (submission,) = list_submissions(entry, "Set")
    soi, bits = read_submission(submission, 1100, FRAME, NUM_BITS)
    truth = np.load(Path(folder) / "truth.npy", mmap_mode="r")
    counts = np.full(1100, NUM_BITS)
    score(row_mse(soi, truth), row_bit_errors(bits, bits, counts), counts, np.repeat(np.arange(-30.0, 1.0, 3.0), 100))
    seconds = time.perf_counter() - start
    # This does not use ru_maxrss, which remembers the parent's memory from before exec.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    print(json.dumps([seconds, int(status["VmHWM"].split()[0]) / 1024]))


def scoring() -> None:
    """Measures the MSE of 1,100 x 40,960 memory-mapped estimates against the truth, beside plain numpy row by row."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        names = ("A_Set_estimated_soi_QPSK_X.npy", "truth.npy")
        np.save(Path(folder) / "A_Set_estimated_bits_QPSK_X", rng.integers(0, 2, (1100, NUM_BITS), np.uint8))
        for name in names:
            file = np.lib.format.open_memmap(Path(folder) / name, "w+", np.complex64, (1100, FRAME))
            for row in range(1100):
                file[row] = rng.standard_normal(2 * FRAME, np.float32).view(np.complex64)
            file.flush()
            del file
        pair = [np.load(Path(folder) / name, mmap_mode="r") for name in names]
        plain = best(lambda: [np.mean(np.abs(pair[0][row] - pair[1][row]) ** 2) for row in range(1100)])
        ours = best(lambda: row_mse(*pair))
        child = subprocess.run(
            [sys.executable, __file__, "scoring-child", folder], check=True, capture_output=True, text=True
        )
    whole, peak = json.loads(child.stdout)
    size = 2 * 1100 * FRAME * 8 / 1e9
    result = {"seconds": ours, "gb_per_second": size / ours, "plain_seconds": plain, "times_plain": plain / ours}
    write("scoring", {"mse_alone": result, "with_all_checks_seconds": whole, "with_all_checks_peak_memory_mb": peak})


def matrix_peak(dtype: torch.dtype) -> float:
    """Returns the largest rate of a square matrix product here, in FLOP per second."""
    a, b = (torch.randn(2048, 2048).to(dtype) for _ in range(2))
    return 2 * 2048**3 / best(lambda: a @ b, 2.0)


def top_operators(step: Callable[[], object], count: int = 8) -> list[dict[str, Any]]:
    """Returns the operators that take most of a step's CPU time by themselves, with their shares."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        for _ in range(3):
            step()
    events = sorted(profiler.key_averages(), key=lambda event: event.self_cpu_time_total, reverse=True)
    total = sum(event.self_cpu_time_total for event in events)
    return [
        {
            "operator": event.key,
            "calls_per_step": event.count / 3,
            "self_cpu_ms_per_step": event.self_cpu_time_total / 3e3,
            "share": event.self_cpu_time_total / total,
        }
        for event in events[:count]
    ]


def training() -> None:
    """Measures U-Net training steps: samples per second in both precisions, fraction of the matrix peak, profile."""
    results: dict[str, Any] = {}
    mixture = torch.randn(32, 1280, dtype=torch.complex64)
    for name, arguments in {
        "unet_small": {"channels": 32, "decoder_divisors": (1, 1, 1, 1, 1), "dropout": (0.0, 0.0)},
        "unet_published": {},
    }.items():
        model = UNet(**arguments)  # type: ignore[arg-type]
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
        batch = mixture if name == "unet_small" else mixture[:8]
        work = 3 * forward_flops(model, batch)
        for precision, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):

            def step(model: UNet = model, batch: torch.Tensor = batch, dtype: torch.dtype = dtype) -> None:
                with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
                    estimate = model(to_channels(batch))
                (estimate - to_channels(batch)).square().mean().backward()
                optimizer.step()  # noqa: B023
                optimizer.zero_grad()  # noqa: B023

            seconds = best(step, 6.0)
            peak = matrix_peak(dtype)
            results[f"{name}_{precision}"] = {
                "samples_per_second": batch.numel() / seconds,
                "flops_per_second": work / seconds,
                "matrix_peak_flops_per_second": peak,
                "fraction_of_peak": work / seconds / peak,
                "top_operators": top_operators(step),
            }
    write("training", results)


class PlainWaveNet(torch.nn.Module):
    """The weights of a `WaveNet` in a straightforward loop: Conv1d, float32, eager."""

    def __init__(self, model: WaveNet) -> None:
        super().__init__()
        self.enter, self.collect, self.head = (
            self.convolution(one) for one in (model.enter, model.collect, model.head)
        )
        self.dilated = torch.nn.ModuleList(self.convolution(block.dilated) for block in model.blocks)
        self.mix = torch.nn.ModuleList(self.convolution(block.mix) for block in model.blocks)

    @staticmethod
    def convolution(layer: Any) -> torch.nn.Conv1d:
        """Returns a Conv1d with the weights of a convolution over images one sample high."""
        sizes = layer.in_channels, layer.out_channels, layer.kernel_size[1]
        plain = torch.nn.Conv1d(*sizes, dilation=layer.dilation[1], padding="same")
        plain.weight.data = layer.weight.detach()[:, :, 0].contiguous()
        plain.bias.data = layer.bias.detach().clone()  # type: ignore[union-attr]
        return plain

    def forward(self, mixture: torch.Tensor) -> torch.Tensor:
        """Returns the estimate float32 [B, 2, T] for a mixture float32 [B, 2, T]."""
        x, total = self.enter(mixture).relu(), torch.zeros(())
        for dilated, mix in zip(self.dilated, self.mix, strict=True):
            gate, value = dilated(x).chunk(2, 1)
            residual, skip = mix(gate.sigmoid() * value.tanh()).chunk(2, 1)
            x, total = (x + residual) / math.sqrt(2), total + skip
        estimate: torch.Tensor = self.head(self.collect(total / math.sqrt(len(self.mix))).relu())
        return estimate


def wavenet_width(channels: int, num_steps: int) -> dict[str, float]:
    """Compares a WaveNet of 30 blocks with the plain loop: training step, inference eager and compiled, error, peak.

    Args:
        channels: channels of both networks.
        num_steps: training steps before the errors are measured, as random weights say little about rounding.
    """
    mixer = Mixer(LinearModem(), RandomCrop(OfdmModem(), power=56 / 64))
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    model = WaveNet(channels)
    batch = mixer.draw(torch.full((4,), -6.0), 4096, generator)
    frame = mixer.draw(torch.full((1,), -6.0), FRAME, generator)

    def stepper(network: torch.nn.Module, half: bool) -> Callable[[], None]:
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)

        def step() -> None:
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                estimate = network(to_channels(batch.mixture))
            (estimate - to_channels(batch.soi)).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()

        return step

    def infer(network: Callable[[torch.Tensor], torch.Tensor], half: bool) -> torch.Tensor:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=half):
            return network(to_channels(frame.mixture))

    step = stepper(model, half=True)
    for _ in range(num_steps):
        batch = mixer.draw(torch.full((4,), -6.0), 4096, generator)
        step()
    plain, compiled = PlainWaveNet(model), torch.compile(model)
    reference = infer(plain, half=False)
    error = (infer(compiled, half=True) - reference).square().mean() / reference.square().mean()
    seconds = {
        "plain_step": best(stepper(PlainWaveNet(model), half=False), 6.0),
        "step": best(step, 6.0),
        "plain_inference": best(lambda: infer(plain, half=False), 6.0),
        "eager_inference": best(lambda: infer(model, half=True), 6.0),
        "inference": best(lambda: infer(compiled, half=True), 6.0),
    }
    peak = matrix_peak(torch.bfloat16)
    work = {"step": 3 * forward_flops(model, batch.mixture), "inference": forward_flops(model, frame.mixture)}
    return {
        **{f"{name}_seconds": value for name, value in seconds.items()},
        "times_plain_step": seconds["plain_step"] / seconds["step"],
        "times_plain_inference": seconds["plain_inference"] / seconds["inference"],
        "error_db": 10 * math.log10(float(error)),
        "matrix_peak_flops_per_second": peak,
        "step_fraction_of_peak": work["step"] / seconds["step"] / peak,
        "inference_fraction_of_peak": work["inference"] / seconds["inference"] / peak,
    }


def wavenet() -> None:
    """Measures a WaveNet of 30 blocks in bfloat16, channels last, against the float32 loop of the same weights."""
    write("wavenet", {f"30x{channels}": wavenet_width(channels, 60) for channels in (64, 128)})


def dense_solve(mixture: torch.Tensor, soi: torch.Tensor, interference: torch.Tensor) -> float:
    """Times one window's log-likelihood and linear estimate by dense algebra, which the structured solve replaces."""
    total = soi + interference + 0.01 * torch.eye(len(soi))
    root = torch.linalg.cholesky(total)
    half = torch.linalg.solve_triangular(root, mixture[:, None], upper=False)
    estimate = soi @ torch.linalg.solve_triangular(root.mH, half, upper=True)
    likelihood = -half.abs().square().sum() - 2 * root.diagonal().real.log().sum()
    return float(likelihood) + 0 * float(estimate.real.sum())


def posterior_mean() -> dict[str, float]:
    """Measures cyclic_mmse on windows of csgaussian/comm, against dense solves for as many hypotheses."""
    modem = LinearModem("qpsk_axes", num_taps=127, unit_energy=False)
    soi, interference = (
        RandomCrop(one, power=power, random_phase=False, symbols="gaussian")
        for one, power in ((modem, 1.0), (OfdmModem(), 56 / 64))
    )
    mixer = Mixer(soi, interference, empirical=True, random_phase=False, noise_power=0.01)
    batch = mixer.draw(torch.full((64,), -12.0), 1280, torch.Generator().manual_seed(0))
    nothing = torch.zeros((0, 0), dtype=torch.complex64)
    separator = CyclicLmmse(modem, nothing, OfdmModem(), "estimated", 0.01, average=True)
    seconds = best(lambda: separator.separate(batch.mixture)) / 64
    solved, solve = [], GaussianModel.solve

    def counted(model: GaussianModel, reduced: Any, gain: torch.Tensor, noise: torch.Tensor) -> Any:
        solved.append(len(gain))
        return solve(model, reduced, gain, noise)

    GaussianModel.solve = counted  # type: ignore[method-assign]
    try:
        separator.separate(batch.mixture)
    finally:
        GaussianModel.solve = solve  # type: ignore[method-assign]
    covariances = modem_covariance(modem, 1280, 8), 16 * modem_periodic_covariance(OfdmModem()).window(3, 1280)
    dense = best(lambda: dense_solve(batch.mixture[0].to(torch.complex128), *covariances))
    return {
        "seconds_per_window": seconds,
        "hypotheses_per_window": sum(solved) / 64,
        "dense_seconds_per_hypothesis": dense,
        "times_dense": dense * sum(solved) / 64 / seconds,
    }


def separators() -> None:
    """Measures the structured separators and their set-up: windows of both lengths, official mixtures."""
    modem, nothing = LinearModem(), torch.zeros((0, 0), dtype=torch.complex64)
    mixer = Mixer(modem, RandomCrop(OfdmModem(), power=56 / 64))
    noisy = Mixer(RandomCrop(modem, random_phase=False), RandomCrop(OfdmModem(), power=56 / 64), noise_power=0.01)
    results: dict[str, Any] = {"cyclic_mmse_comm": posterior_mean()}
    for name, separator in {
        "cyclic_lmmse": partial(CyclicLmmse, modem, nothing, OfdmModem()),
        "joint_detection": partial(JointDetection, modem, nothing, OfdmModem()),
        "token_detection": partial(Aligned, modem, nothing, None, OfdmModem(), iterations=10),
    }.items():
        for kind, draw, length, rows, told in (
            ("window_1280_noise", noisy, 1280, 64, {"soi_timing": "estimated", "noise_power": 0.01}),
            ("window_2560", mixer, 2560, 32, {}),
            ("official_40960", mixer, FRAME, 1, {}),
        ):
            mixture = draw.draw(torch.full((rows,), -12.0), length, torch.Generator().manual_seed(0)).mixture
            start = time.perf_counter()
            made = separator(**told)
            made.separate(mixture)
            first = time.perf_counter() - start
            seconds = best(lambda: made.separate(mixture))  # noqa: B023
            results[f"{name}_{kind}"] = {"seconds": seconds / rows, "set_up_seconds": max(0.0, first - seconds)}
    write("separators", results)


if __name__ == "__main__":
    if sys.argv[1:2] == ["scoring-child"]:
        scoring_child(sys.argv[2])
    else:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        benchmarks = {one.__name__: one for one in (generation, scoring, training, wavenet, separators)}
        for name in sys.argv[1:] or benchmarks:
            benchmarks[name]()
