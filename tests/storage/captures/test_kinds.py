"""Every kind of capture file reads right or is refused by name; docs/captures.md has the table."""

from pathlib import Path

import numpy as np
import pytest
from capture_kinds import CASES, LABELS, MARK, ROOT, Case, rendered

from rfsep.storage.captures.doubts import look_at
from rfsep.storage.captures.opening import open_capture
from rfsep.types import InputError


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
def test_kind(tmp_path: Path, case: Case) -> None:
    path = case.make(tmp_path)
    if case.answer is not None:
        with pytest.raises(InputError) as refusal:
            look_at(open_capture(path, case.hints), lambda count: None)
        assert case.answer in str(refusal.value)
        assert path.name in str(refusal.value) or "a.sigmf" in str(refusal.value)
        return
    capture = open_capture(path, case.hints)
    facts = capture.facts
    assert facts.sample_rate_hz == case.rate
    assert facts.num_samples == len(case.samples)
    assert tuple(segment.length for segment in facts.segments) == (case.segments or (len(case.samples),))
    samples = capture.read(0, facts.num_samples)
    assert samples.dtype == np.complex64
    assert np.abs(samples - case.samples).max() < 1e-7
    assert np.array_equal(capture.read(37, 50), samples[37:87]), "a stretch is not the stretch of the whole"
    assert look_at(capture, lambda count: None).sha256


def test_page_has_every_kind() -> None:
    """python tests/storage/captures/capture_kinds.py writes the tables."""
    page = (ROOT / "docs" / "captures.md").read_text()
    assert MARK.search(page)
    assert LABELS.search(page)
    assert rendered(page) == page
    assert len(CASES) >= 45
