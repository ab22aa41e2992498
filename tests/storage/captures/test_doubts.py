"""A look at a capture tells what may have gone wrong when it was recorded, with shares."""

import gzip
import re
from pathlib import Path

import numpy as np
import pytest
import scipy.signal

from rfsep.storage.captures import plain
from rfsep.storage.captures.doubts import look_at
from rfsep.storage.captures.facts import NO_HINTS, Hints
from rfsep.storage.captures.listing import capture_paths
from rfsep.storage.captures.opening import open_capture
from rfsep.types import InputError

COUNT = 200_000
FULL = 32768


@pytest.fixture(scope="module")
def narrow() -> np.ndarray:
    """Gaussian noise in a tenth of the band, complex [COUNT], I and Q of variance 1/2."""
    generator = np.random.default_rng(0)
    white = generator.standard_normal((COUNT, 2))
    filtered = scipy.signal.lfilter(scipy.signal.firwin(65, 0.1), 1, white[:, 0] + 1j * white[:, 1])
    return filtered / filtered.std()


def doubts(folder: Path, parts: np.ndarray, datatype: str) -> tuple[str, ...]:
    (folder / "a.bin").write_bytes(parts.tobytes())
    return look_at(open_capture(folder / "a.bin", Hints(datatype=datatype)), lambda count: None).doubts


def numbers(samples: np.ndarray, wrap: bool = False) -> np.ndarray:
    """int16 [T, 2] of samples, clipped at full scale as a converter does, or wrapped as a cast does."""
    whole = np.round(np.stack((samples.real, samples.imag), -1) * FULL)
    return (whole.astype(np.int64) if wrap else np.clip(whole, -FULL, FULL - 1)).astype("<i2")


def test_a_good_capture_gives_no_doubt(tmp_path: Path, narrow: np.ndarray) -> None:
    assert doubts(tmp_path, numbers(0.2 * narrow), "ci16_le") == ()
    assert doubts(tmp_path, (30 * narrow).astype("<c8"), "cf32_le") == ()
    tone = np.exp(2j * np.pi * 0.0123 * np.arange(COUNT))
    assert doubts(tmp_path, numbers(0.9 * tone), "ci16_le") == ()
    assert doubts(tmp_path, numbers(0.3 * narrow)[:, :1], "ri16_le") == ()


def test_clipped_samples_are_counted(tmp_path: Path, narrow: np.ndarray) -> None:
    parts = numbers(0.5 * narrow)
    share = 100 * max(((parts[:, place] == FULL - 1) | (parts[:, place] == -FULL)).mean() for place in range(2))
    assert doubts(tmp_path, parts, "ci16_le") == (f"{share:.2g} % of its samples are clipped: flat tops at 1",)
    limit = np.clip((20 * narrow).real, -30, 30) + 1j * np.clip((20 * narrow).imag, -30, 30)
    (told,) = doubts(tmp_path, limit.astype("<c8"), "cf32_le")
    assert told.endswith("flat tops at 30")


def test_wrapped_samples_are_counted(tmp_path: Path, narrow: np.ndarray) -> None:
    (told,) = doubts(tmp_path, numbers(0.53 * narrow, wrap=True), "ci16_le")
    assert "seem wrapped" in told
    white = np.random.default_rng(1).standard_normal((COUNT, 2)) @ np.array([0.375, 0.375j])
    (told,) = doubts(tmp_path, numbers(white, wrap=True), "ci16_le")  # jumps of white noise say nothing, its level does
    assert "at the limit of its numbers" in told


def test_a_lost_half_and_a_level_at_the_limit(tmp_path: Path, narrow: np.ndarray) -> None:
    assert "Q is zero" in doubts(tmp_path, numbers(0.2 * narrow.real), "ci16_le")[0]
    assert "Q equals its I" in doubts(tmp_path, numbers(0.2 * narrow.real * (1 + 1j)), "ci16_le")[0]
    told = doubts(tmp_path, numbers(3e-5 * narrow), "ci16_le")[0]
    assert re.search(r"0\.7\d steps", told), told
    assert "limit of single precision" in doubts(tmp_path, (1e-20 * narrow).astype("<c8"), "cf32_le")[0]


def test_a_packed_archive_does_not_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "MAX_UNPACKED_BYTES", 1 << 20)
    (tmp_path / "a.sigmf.gz").write_bytes(gzip.compress(bytes(2 << 20)))
    with pytest.raises(InputError, match="unpacks to more than the limit of 1048576 bytes"):
        open_capture(tmp_path / "a.sigmf.gz", NO_HINTS)


def test_a_folder_and_a_pattern_are_lists_of_recordings(tmp_path: Path) -> None:
    for name in ("b.wav", "a.cf32", "c.sigmf-meta", "c.sigmf-data", "alone.sigmf-data", "notes.txt", ".hidden.wav"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "deeper").mkdir()
    found = [path.name for path in capture_paths(tmp_path)]
    assert found == ["a.cf32", "alone.sigmf-data", "b.wav", "c.sigmf-meta"]
    assert [path.name for path in capture_paths(tmp_path / "*.sigmf-*")] == ["alone.sigmf-data", "c.sigmf-meta"]
    assert capture_paths(tmp_path / "b.wav") == [tmp_path / "b.wav"]
    with pytest.raises(InputError, match="no file has a name of this pattern"):
        capture_paths(tmp_path / "*.h5")
    with pytest.raises(InputError, match="folder without a recording"):
        capture_paths(tmp_path / "deeper")
