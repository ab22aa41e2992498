"""Comparisons: bits at any offset, levels that are kept, the code they come from."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from rfsep.challenge import comparison
from rfsep.challenge.comparison import Contender, Data, bit_errors, compare, forget, kept_levels
from rfsep.challenge.provenance import code_version, targets
from rfsep.mixtures.fixed import fixed_mixtures
from rfsep.mixtures.mix import Mixer
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.noise import WhiteNoise
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.random_crop import RandomCrop
from rfsep.types import InputError, MixtureBatch, Separated

MODEM = LinearModem("qpsk_axes", num_taps=127, unit_energy=False)
NO_BITS = torch.zeros((0, 0), dtype=torch.uint8)


def data(levels: list[float], number: int = 6, gaussian: bool = False) -> Data:
    soi = RandomCrop(MODEM, random_phase=False, symbols="gaussian" if gaussian else "discrete")
    mixer = Mixer(soi, RandomCrop(OfdmModem(), 0.875), empirical=True, noise_power=0.01)
    return Data(levels, number, lambda level: fixed_mixtures(mixer, [level], number, 1280, 7), MODEM)


def passthrough(batch: MixtureBatch) -> Separated:
    return Separated(batch.mixture, NO_BITS)


def entry(settings: dict[str, object] | None = None) -> Contender:
    return Contender("passthrough", lambda level: passthrough, True, False, "", settings or {"code": "1"})


def test_bits_are_compared_from_the_first_whole_symbol() -> None:
    """Against the definition, row by row; the published matched filter at -9 dB has 0.0696."""
    batch = next(iter(data([-9.0], 400).batches(-9.0)))
    errors = bit_errors(passthrough(batch), batch, MODEM)
    assert set(errors.compared.tolist()) == {2 * 79, 2 * 80}
    for row in range(40):
        start = (16 - int(batch.soi_offset[row])) % 16
        decided, sent = (MODEM.decide(x[row : row + 1, start:]) for x in (batch.mixture, batch.soi))
        assert errors.wrong[row] == int((decided != sent).sum())
        assert errors.compared[row] == 2 * ((1280 - start + 7) // 16)
    rate = errors.wrong / errors.compared
    assert rate.mean() == pytest.approx(0.0696, abs=4 * float(rate.std()) / 20)
    clean = bit_errors(Separated(batch.soi, NO_BITS), batch, MODEM)
    assert clean.wrong.sum() == 0


def test_synchronised_soi_is_scored_by_the_separators_own_bits() -> None:
    batch = Mixer(MODEM, WhiteNoise()).draw(torch.zeros(3), 640, torch.Generator().manual_seed(0))
    errors = bit_errors(Separated(batch.soi, 1 - batch.bits), batch, None)
    assert errors.wrong.tolist() == errors.compared.tolist() == [80, 80, 80]


def test_gaussian_symbols_have_no_bit_error_rate(tmp_path: Path) -> None:
    row = compare(entry(), data([-6.0, 0.0], 200, gaussian=True), tmp_path, lambda _: None)
    assert row["ber"] is row["ber_low"] is row["ber_high"] is None
    assert row["num_bits"] == [0, 0]
    assert row["mse_db"] == pytest.approx([6.0, 0.0], abs=0.2)  # 16,000 symbols' power


def test_windows_of_one_recording_are_drawn_together(tmp_path: Path) -> None:
    """Three recordings, one of them 10 dB above: their mean is 4, the weights of the strong one are Beta(1, 2)."""
    made = data([0.0], 90)

    def recorded(level: float) -> Iterator[MixtureBatch]:
        for batch in made.batches(level):
            origin = torch.arange(len(batch.mixture)) % 3
            louder = torch.where(origin == 2, 10**0.5, 1.0)[:, None] * batch.interference
            yield batch._replace(mixture=batch.soi + louder, interference_origin=origin)

    over = compare(entry(), made._replace(batches=recorded), tmp_path / "recordings", lambda _: None)
    assert over["interval_over"] == "recordings"
    stretch = 4.3027 / 1.96 * 2**0.5  # from the weights' variance to Student's t with two degrees of freedom
    for end, weight in (("low", 1 - 0.975**0.5), ("high", 1 - 0.025**0.5)):
        drawn = 1 + 9 * weight
        assert over[f"mse_db_{end}"][0] == pytest.approx(10 * np.log10(4 * (drawn / 4) ** stretch), abs=0.5)
    assert compare(entry(), made, tmp_path / "mixtures", lambda _: None)["interval_over"] == "mixtures"


def test_interrupted_comparison_goes_on_with_the_same_row(tmp_path: Path) -> None:
    """Stopped in the middle of the second of three levels; the finished one is not computed again."""
    levels, calls = [-12.0, -6.0, 0.0], []

    def counting(level: float) -> comparison.Estimate:
        calls.append(level)
        if level == -6.0 and len(calls) == 2:
            raise KeyboardInterrupt
        return passthrough

    broken = entry()._replace(make=counting)
    with pytest.raises(KeyboardInterrupt):
        compare(broken, data(levels), tmp_path / "parts", lambda _: None)
    assert kept_levels(broken, data(levels), tmp_path / "parts") == 1
    resumed = compare(broken, data(levels), tmp_path / "parts", lambda _: None)
    assert calls == [-12.0, -6.0, -6.0, 0.0]
    whole = compare(entry(), data(levels), tmp_path / "whole", lambda _: None)
    assert resumed.pop("seconds_per_mixture") > 0
    whole.pop("seconds_per_mixture")
    assert resumed == whole


def test_other_settings_other_numbers_and_forgetting_discard_what_was_kept(tmp_path: Path) -> None:
    compare(entry(), data([-6.0]), tmp_path, lambda _: None)
    assert kept_levels(entry(), data([-6.0]), tmp_path) == 1
    assert kept_levels(entry({"code": "2"}), data([-6.0]), tmp_path) == 0
    assert kept_levels(entry(), data([-6.0], number=5), tmp_path) == 0
    assert kept_levels(entry(), data([-6.0, 0.0]), tmp_path) == 1
    forget(entry(), tmp_path)
    assert kept_levels(entry(), data([-6.0]), tmp_path) == 0


def test_kept_levels_that_somebody_damaged_are_computed_again(tmp_path: Path) -> None:
    compare(entry(), data([-6.0]), tmp_path, lambda _: None)
    (path,) = tmp_path.rglob("-6.json")
    path.write_text(json.dumps({"settings": {"code": "1"}, "mse": [1.0]}))
    assert kept_levels(entry(), data([-6.0]), tmp_path) == 0


def test_separators_meet_small_batches_in_order_and_faults_are_named(tmp_path: Path) -> None:
    sizes = []

    def small(level: float) -> comparison.Estimate:
        def estimate(batch: MixtureBatch) -> Separated:
            sizes.append(len(batch.mixture))
            return passthrough(batch)

        return estimate

    done: list[int] = []
    compare(entry()._replace(make=small), data([0.0], 150), tmp_path, done.append)
    assert sizes == done == [64, 64, 22]
    nothing = entry({"code": "3"})._replace(make=lambda _: lambda batch: Separated(batch.mixture * np.nan, NO_BITS))
    with pytest.raises(InputError, match=r"passthrough gave NaN or infinity at 0 dB"):
        compare(nothing, data([0.0]), tmp_path, lambda _: None)


def test_code_version_follows_imports_and_ignores_comments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rfsep.challenge import provenance

    def write(name: str, text: str) -> None:
        path = tmp_path / "rfsep" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        provenance._parsed.cache_clear()

    monkeypatch.setattr(provenance, "_ROOT", tmp_path)
    write("a", "from rfsep.b import f\n")
    write("b", "def f():\n    return 1\n")
    write("c", "x = 1\n")
    before = code_version(["rfsep.a"])
    write("c", "x = 2\n")
    write("b", "# a comment\ndef f():\n\n    return 1\n")
    assert code_version(["rfsep.a"]) == before
    write("b", "def f():\n    return 2\n")
    assert code_version(["rfsep.a"]) != before
    provenance._parsed.cache_clear()


def test_targets_of_nested_settings() -> None:
    nested = {"a": {"_target_": "rfsep.x.Y", "b": [{"_target_": "rfsep.z.W"}]}, "c": 1}
    found: Iterator[str] = targets(nested)
    assert list(found) == ["rfsep.x", "rfsep.z"]
