"""The user's own folder of options: found beside conf/, refused where it would hide one of conf/."""

from collections.abc import Callable
from pathlib import Path

import pytest

from rfsep.app import places

Command = Callable[..., tuple[int, str, str]]
MINE = """
name: MyNoise
sample_rate_hz: 25e6
source:
  _target_: rfsep.signals.noise.WhiteNoise
"""


@pytest.fixture(autouse=True)
def no_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "_user_folders", [])


def test_an_option_of_the_user_is_found_by_its_name(tmp_path: Path, rfsep_command: Command) -> None:
    (tmp_path / "interference").mkdir()
    (tmp_path / "interference" / "my_noise.yaml").write_text(MINE)
    few = ("--num-frames", "60", "--num-samples", "4096", "--out", str(tmp_path / "out"))
    status, _, complaint = rfsep_command("identify", "my_noise", *few)
    assert (status, "unknown interference 'my_noise'" in complaint) == (2, True)
    status, said, complaint = rfsep_command("--config-dir", str(tmp_path), "identify", "my_noise", *few)
    assert (status, complaint) == (0, "")
    assert said.startswith("kind: noise")


def test_a_folder_that_hides_an_option_is_refused_in_one_line(tmp_path: Path, rfsep_command: Command) -> None:
    (tmp_path / "soi").mkdir()
    (tmp_path / "soi" / "qpsk.yaml").write_text("name: Mine\n")
    status, _, complaint = rfsep_command("--config-dir", str(tmp_path), "identify", "white_noise")
    advice = "conf/ has an option soi/qpsk already; give yours another name"
    assert (status, complaint.strip()) == (2, f"error: --config-dir {tmp_path}: {advice}")
    status, _, complaint = rfsep_command("--config-dir", str(tmp_path / "nowhere"), "identify", "white_noise")
    assert (status, complaint.strip()) == (2, f"error: --config-dir {tmp_path / 'nowhere'}: no such folder")


def test_conf_lies_inside_the_package_where_it_is_installed() -> None:
    """Here it lies beside the package; tests/installed.sh looks at an installed one."""
    assert Path(places.__file__).parents[2] / "conf" == places.CONF
    assert (places.ROOT / "data" / "splits" / "lte20.json").is_file()
