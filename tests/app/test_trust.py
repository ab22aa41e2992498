"""Foreign configs: classes that have moved are found by their old names, and a model's kind by its old flag."""

import importlib
import subprocess
from pathlib import Path

import pytest
import yaml

from rfsep.app import trust
from rfsep.app.networks.runs import open_run
from rfsep.app.places import ROOT, ZOO
from rfsep.storage.weights import weights_digest

BEFORE = """
name: old
model:
  name: TokenTransformer
  tokens: true
  network: {_target_: rfsep.models.token_transformer.TokenTransformer}
data: {num_samples: 2560}
separator:
  _target_: rfsep.separators.corrected.Corrected
  guides:
  - {_target_: rfsep.separators.packets.PacketLmmse, _partial_: true}
  - {_target_: rfsep.separators.nothing.Nothing}
"""


@pytest.mark.parametrize(("old", "new"), trust._MOVED.items())
def test_old_names_lead_to_modules_and_are_no_modules_themselves(old: str, new: str) -> None:
    importlib.import_module(new)
    assert not (ROOT / (old.replace(".", "/") + ".py")).exists()


def test_a_config_of_before_reads_as_one_of_now(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(BEFORE)
    config = trust.load_config(path)
    assert config.model.kind == "tokens"
    assert "tokens" not in config.model
    assert config.separator._target_ == "rfsep.separators.tokens.corrected.Corrected"
    assert config.separator.guides[0] == {"_target_": "rfsep.separators.wifi.packets.PacketLmmse", "_partial_": True}
    assert config.separator.guides[1]._target_ == "rfsep.separators.nothing.Nothing"
    path.write_text(BEFORE.replace("  tokens: true\n", ""))
    assert trust.load_config(path).model.kind == "waveform"


def test_an_exported_network_of_before_opens(tmp_path: Path) -> None:
    """The zoo's own card, with the names that it had when it was written."""
    now = (ZOO / "rft_several.yaml").read_text()
    old = now.replace("separators.tokens.", "separators.").replace("separators.wifi.", "separators.")
    old = old.replace("separators.lte.", "separators.").replace("  kind: tokens\n", "  tokens: true\n")
    assert old != now
    (tmp_path / "old.yaml").write_text(old)
    (tmp_path / "old.safetensors").write_bytes((ZOO / "rft_several.safetensors").read_bytes())
    opened, expected = (open_run(source) for source in (str(tmp_path / "old.safetensors"), "zoo:rft_several"))
    assert opened.config.separator == expected.config.separator
    assert weights_digest(opened.model.state_dict()) == weights_digest(expected.model.state_dict())


def test_every_class_that_moved_stands_in_the_table() -> None:
    """Each class that a config of the zoo or of conf/ named before the move, as far as git remembers."""
    for path in sorted(ZOO.glob("*.yaml")):
        command = ["git", "-C", str(ROOT), "log", "--format=", "-p", "--", str(path)]
        log = subprocess.run(command, capture_output=True, text=True, check=False)
        for line in log.stdout.splitlines():
            if line.startswith("-") and "_target_: rfsep.separators." in line:
                module = yaml.safe_load(line[1:].strip().removeprefix("- "))["_target_"].rpartition(".")[0]
                importlib.import_module(trust._MOVED.get(module, module))
