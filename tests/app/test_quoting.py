"""A word that hydra takes for grammar is told quoted, and the quoted word means what was meant."""

import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from rfsep.app.quoting import quoting_hint


@pytest.mark.parametrize("value", ["runs/a#b", "runs/[a]", "runs/{a}", "runs/a(1)", "runs/a=b", "runs/it's", "runs/ä"])
def test_the_hint_is_a_word_that_hydra_reads(value: str) -> None:
    with pytest.raises(HydraException) as complaint:
        OverridesParser.create().parse_overrides([f"testset={value}"])
    text = " ".join(str(complaint.value).split())
    hint = quoting_hint(text, ["separator=lmmse", "sinr_db=[-30,0]", f"testset={value}"])
    assert hint is not None
    (word,) = shlex.split(hint.partition(" in it: ")[2])
    (override,) = OverridesParser.create().parse_overrides([word])
    assert override.value() == value


def test_a_comma_and_the_users_folder() -> None:
    hint = quoting_hint("Ambiguous value for argument 'testset=runs/a,b'", ["testset=runs/a,b"])
    assert hint is not None
    assert shlex.split(hint)[-1] == 'testset="runs/a,b"'
    hint = quoting_hint("... override_grammar/basic", ["out=~/sets"])
    assert hint is not None
    assert shlex.split(hint)[-1] == f'out="{Path.home()}/sets"'


def test_other_complaints_are_left_alone() -> None:
    assert quoting_hint("no such folder", ["testset=runs/a,b"]) is None
    assert quoting_hint("... override_grammar/basic", ["testset=runs/a"]) is None
