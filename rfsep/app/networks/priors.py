"""Opens trained diffusion priors, and samples them beside the signals that they learned."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

from rfsep.app.config import (
    TIMING,
    build_soi,
    build_source,
    console,
    instantiate,
    interference_named,
    interference_option,
    soi_named,
    soi_option,
)
from rfsep.app.networks.kinds import learned_signal
from rfsep.app.networks.runs import open_run
from rfsep.app.networks.timing import open_timing
from rfsep.app.settings import NetworkConfig, Node
from rfsep.app.trust import trusted_signal
from rfsep.mixtures.endless import Purpose, batch_generator
from rfsep.separators.inference.timing import TimingNetwork
from rfsep.separators.score_based.curvature import symbol_energy
from rfsep.separators.score_based.learned_prior import LearnedPrior
from rfsep.separators.score_based.ofdm_prior import OfdmPrior
from rfsep.separators.score_based.priors import Prior as AnalyticPrior
from rfsep.separators.score_based.priors import PulsePrior
from rfsep.signals.diffusion_schedule import ancestral_samples, gaussian_like, linear_schedule
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.storage.atomic import write_json
from rfsep.types import Modem, Sampled

if TYPE_CHECKING:
    from rfsep.pages.studies.prior_check import Learned, Noise

# A signal without a modem is examined at the cycle frequency of this period, that of Wi-Fi's symbols at 20 MHz.
_NO_PERIOD = 80


class OpenedPrior(NamedTuple):
    """An opened prior.

    Attributes:
        prior: the network with its noise levels.
        which: the learned signal: soi or interference.
        signal: untrusted settings of that signal, as in conf/soi or conf/interference.
        num_samples: samples per training window.
    """

    prior: LearnedPrior
    which: str
    signal: Node
    num_samples: int


def open_prior(source: str, bfloat16: bool = False) -> OpenedPrior:
    """Opens the diffusion prior of a run folder, of an exported one or of the zoo.

    Args:
        source: see `rfsep.app.networks.runs.locate`.
        bfloat16: run the network in bfloat16.

    Raises:
        InputError: no such run, or its network is not a prior.
    """
    run = open_run(source)
    settings = learned_signal(run.config, "prior", source)
    levels = {key: settings["schedule"][key] for key in ("num_steps", "first", "last")}
    prior = LearnedPrior(run.model, linear_schedule(**levels), settings["period"], bfloat16)
    which = str(settings["which"])
    return OpenedPrior(prior, which, signal_settings(run.config, which), run.config.num_samples)


def open_beside(key: str, source: str) -> LearnedPrior | TimingNetwork:
    """Opens the network that a separator's constructor takes for one of the keys `rfsep.app.config.BESIDE`.

    Args:
        key: key of the separator's config.
        source: see `rfsep.app.networks.runs.locate`.

    Raises:
        InputError: no such run, or a network of another kind.
    """
    return open_timing(source) if key == TIMING else open_prior(source).prior


def signal_settings(config: NetworkConfig, which: str) -> Node:
    """Returns the settings of the signal that a network learned: its own, or those of the option that its card names.

    Args:
        config: config of the network.
        which: soi or interference.
    """
    if (own := config.signal(which)) is not None:
        return own
    name = str((config.card or {}).get(which))
    return (soi_named(name) if which == "soi" else interference_named(name)).settings


class SampledPrior(NamedTuple):
    """The subject of `rfsep.pages.studies.prior_check`.

    Attributes:
        learned: samples beside the signal.
        period: period of the signal's symbols in samples.
        name: name of the signal.
    """

    learned: "Learned"
    period: int
    name: str


def _windows(opened: OpenedPrior, num_windows: int, num_samples: int) -> Sampled:
    """Draws windows of the signal; of recordings, those that nothing was learned from."""
    if opened.which == "soi":
        source = build_soi(soi_option(opened.signal))
    else:
        source = build_source(interference_option(opened.signal), "test")
    return source.sample(num_windows, num_samples, batch_generator(Purpose.TEST, 0))


def check_prior(source: str, num_windows: int, num_samples: int | None) -> SampledPrior:
    """Samples a prior, and measures its loss on test windows of its signal.

    Samples start on the grid. Symbols are read only for a SOI, whose phase is known.

    Args:
        source: see `rfsep.app.networks.runs.locate`.
        num_windows: windows to sample, and to measure on.
        num_samples: samples per window; None for the training's.
    """
    # This import draws figures and takes a second.
    from rfsep.pages.studies.prior_check import Learned, gaussian_losses, noise_losses

    opened = open_prior(source)
    opened = opened._replace(signal=trusted_signal(opened.signal, source))
    prior, schedule = opened.prior, opened.prior.schedule
    sampled = _windows(opened, num_windows, num_samples or opened.num_samples)
    windows, generator = sampled.waveform, batch_generator(Purpose.TEST, 1)
    losses = noise_losses(prior.at(sampled.offset).noise, windows, schedule, prior.noise_variance, generator)

    def fresh() -> torch.Tensor:
        white = torch.randn(windows.shape, dtype=windows.dtype, generator=generator)
        return math.sqrt(prior.noise_variance) * white

    analytic = _analytic_noise(opened, sampled)
    by_modem = None if analytic is None else noise_losses(analytic, windows, schedule, prior.noise_variance, generator)
    last = torch.full((num_windows,), len(schedule.sigma) - 1)
    start = schedule.noisy(gaussian_like(windows, generator), fresh(), last)
    samples = ancestral_samples(prior.noise, schedule, start, fresh)
    modem = _modem(opened)
    readable = modem is not None and opened.which == "soi"
    learned = Learned(
        source=windows,
        samples=samples,
        symbols=modem.analyse(samples) if modem is not None and readable else None,
        constellation=modem.constellation if modem is not None else torch.zeros(0, dtype=torch.complex64),
        losses=losses,
        gaussian_losses=gaussian_losses(windows, schedule, prior.noise_variance),
        analytic_losses=by_modem,
    )
    return SampledPrior(
        learned, modem.symbol_period if modem is not None else _NO_PERIOD, str(opened.signal.get("name"))
    )


def _analytic_noise(opened: OpenedPrior, sampled: Sampled) -> "Noise | None":
    """Returns the analytic prior's noise estimates, for comparison with the learned ones; None where none exists.

    The analytic prior's symbols have their own noise, of ``seen`` times the power of the white noise per sample.
    """
    modem, schedule = _modem(opened), opened.prior.schedule
    if modem is None or opened.prior.period is None:
        return None
    known: AnalyticPrior
    if isinstance(modem, OfdmModem):
        known = located = OfdmPrior(modem, sampled.offset, sampled.waveform.shape[1])
        gram = located.waveforms.mH @ located.waveforms
        seen = float(torch.linalg.inv(gram).diagonal().real.mean())
    else:
        known, seen = PulsePrior(modem), 1 / symbol_energy(modem)

    def noise(noisy: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        amplitude, sigma = float(schedule.alpha_bar[step[0]]) ** 0.5, float(schedule.sigma[step[0]])
        ratio = opened.prior.noise_variance * seen * (sigma / amplitude) ** 2
        # At this alpha-bar, the noise has the power of the analytic prior's own noise.
        alpha_bar = 1 / (1 + ratio)
        scaled = noisy * math.sqrt(alpha_bar) / amplitude
        mean = ((1 - alpha_bar) * known.score(scaled, alpha_bar) + scaled) / math.sqrt(alpha_bar)
        found: torch.Tensor = (noisy - amplitude * mean) / sigma
        return found

    return noise


def _modem(opened: OpenedPrior) -> Modem | None:
    """Returns the modem of a signal where it is known, else None."""
    if opened.which == "soi":
        modem: Modem = instantiate(opened.signal["modem"])
        return modem
    source = opened.signal["source"]
    return instantiate(source["modem"]) if "modem" in source else None


def report_prior(source: str, num_windows: int, num_samples: int | None, lag: int, out: Path | None) -> None:
    """Samples a prior, and writes prior.json and prior.png: ``rfsep prior``.

    Args:
        source: see `rfsep.app.networks.runs.locate`.
        num_windows: windows to sample.
        num_samples: samples per window; None for the training's.
        lag: lag of the reported correlation.
        out: folder; None for the run's own, or runs/prior/NAME for one of the zoo.
    """
    from rfsep.pages.studies.prior_check import summary, write_prior_figure  # This import takes a second.

    name = source.removeprefix("zoo:")
    folder = out or (Path("runs", "prior", name) if source != name else Path(source))
    checked = check_prior(source, num_windows, num_samples)
    found = summary(checked.learned, checked.period, lag)
    write_json(folder / "prior.json", {"run": source, "signal": checked.name, **found})
    write_prior_figure(folder / "prior.png", checked.learned, checked.period, checked.name)
    loss = f"{found['noise_mse']:.4f} (a Gaussian signal's: {found['noise_mse_gaussian']:.4f})"
    console.print(f"MSE of the noise {loss}; written: {folder / 'prior.json'}, {folder / 'prior.png'}", soft_wrap=True)
