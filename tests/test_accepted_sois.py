"""The table of SOIs that separators take is complete, and says what happens."""

import re

import pytest
import torch
from accepted_sois import MARK, PAGE, SLOW, TESTED, Outcome, cells, outcome, row, separators, sois

from rfsep.app.config import build_modem, soi_of


@pytest.mark.parametrize("separator", [name for name in separators() if name not in SLOW])
def test_separator_takes_the_sois_of_the_table(separator: str) -> None:
    """python tests/accepted_sois.py writes the table."""
    refused, wrong = cells(PAGE.read_text())[separator]
    found = {soi: outcome(separator, soi) for soi in TESTED}
    assert {soi for soi, one in found.items() if one.refusal} == refused & set(TESTED)
    assert {soi for soi, one in found.items() if one.error_rate > 0.05} == wrong & set(TESTED)


def test_the_table_has_a_line_for_every_separator() -> None:
    told = cells(PAGE.read_text())
    assert list(told) == separators()
    assert set().union(*(refused | wrong for refused, wrong in told.values())) <= set(sois())
    assert set(TESTED) <= set(sois())


def test_what_wants_one_symbol_per_period_refuses_all_others() -> None:
    """Of a SOI that is added later, too, the table must tell it: here it follows from the modem."""
    refused, _ = cells(PAGE.read_text())["token_detection"]
    several = set()
    for name in sois():
        modem = build_modem(soi_of(name))
        silence = torch.zeros((1, modem.symbol_period), dtype=torch.complex64)
        several |= {name} if modem.analyse(silence).shape[1] > 1 else set()
    assert refused == several


def test_lines_name_the_fewer() -> None:
    some, other = Outcome("no", 0.0), Outcome("", 0.0)
    text = row("lmmse", {"a": other, "b": other, "c": some, "d": Outcome("", 0.2)})
    assert text == "| `lmmse` | all others | `c` | `d` |\n"
    assert row("lmmse", {"a": other}) == "| `lmmse` | all |  |  |\n"
    assert row("lmmse", {"a": other, "b": some, "c": some}) == "| `lmmse` | `a` | all others |  |\n"
    assert len(MARK.findall(PAGE.read_text())) == 1
    assert re.search(r"accepted_sois\.py", PAGE.read_text())
