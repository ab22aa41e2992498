"""Runs every command on made-up frames in the layout of the ICASSP 2024 challenge: make official_check.

python tests/official_check.py [FOLDER]: writes FOLDER/dataset and FOLDER/outputs as the organisers' kit does (frames by
h5py; mixtures, metadata and ground truth as its generator; estimates as its inference scripts), then trains, prepares,
separates, scores and compares with RFSEP_OFFICIAL naming that dataset. Every score is compared with plain numpy.
"""

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from rfsep.app.config import build_modem, soi_of

ROOT = Path(__file__).parents[1]
# There are as many frames as real ones.
FRAMES = {"EMISignal1": 530, "CommSignal2": 100, "CommSignal3": 139, "CommSignal5G1": 149}
PACKING: dict[str, dict[str, Any]] = {  # ways in which people store files that they pass on
    "EMISignal1": {"compression": "gzip", "shuffle": True},
    "CommSignal2": {},
    "CommSignal3": {"compression": "lzf"},
    "CommSignal5G1": {"chunks": (10, 500), "compression": "lzf", "shuffle": True},
}
SOIS = {"QPSK": "qpsk", "OFDMQPSK": "ofdm_qpsk"}  # name in files, and option of conf/soi
EXAMPLE, MIXTURE = "TestSet1Example", "TestSet1Mixture"
METHOD = "Default_NoMitigation"
LEVELS = np.arange(-30, 0.1, 3)
FRAME, SAMPLES, ROWS = 2600, 1280, 2  # samples per frame, samples per mixture, rows per level
TINY = ["model.network.channels=4", "model.network.first_kernel=5", "data.num_samples=320", "data.batch_size=4"]
EXAMPLES = ["examples.num_samples=1280", "examples.num_frames=40"]  # examples are no longer than the frames
SHORT = ["data.val_per_sinr=2", "trainer.max_steps=4", "trainer.val_every=2", "trainer.precision=32-true"]
Command = Callable[..., "subprocess.CompletedProcess[str]"]


def command(script: str, *arguments: str, cwd: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Runs a script of this repository as a user does."""
    line = [sys.executable, str(ROOT / script), *arguments]
    return subprocess.run(line, cwd=cwd, env={**os.environ, **variables}, capture_output=True, text=True, check=False)


def write_frames(dataset: Path, rng: np.random.Generator) -> None:
    """Writes interferenceset_frame/ and testset1_frame/: noise of unit power through a filter per type."""
    for name, count in FRAMES.items():
        taps = rng.standard_normal(9)
        for folder, file, frames in (("interferenceset_frame", "", count), ("testset1_frame", "_test1", 50)):
            white = rng.standard_normal((frames, FRAME + 8, 2)) @ np.array([1, 1j])
            wave = sum(tap * white[:, lag : lag + FRAME] for lag, tap in enumerate(taps))
            wave /= np.sqrt(np.mean(np.abs(wave) ** 2))
            (dataset / folder).mkdir(parents=True, exist_ok=True)
            with h5py.File(dataset / folder / f"{name}{file}_raw_data.h5", "w") as h5:
                h5.create_dataset("dataset", data=wave.astype(np.complex64), **PACKING[name])
                if name != "CommSignal3":  # A copy without this exists.
                    h5["sig_type"] = name


def write_mixtures(dataset: Path, testset: str, soi: str, interference: str, rng: np.random.Generator) -> None:
    """Writes a mixture type like the organisers' generator: mixtures, metadata, and the truth of their example set."""
    modem = build_modem(soi_of(SOIS[soi]))
    with h5py.File(dataset / "testset1_frame" / f"{interference}_test1_raw_data.h5") as h5:
        frames = h5["dataset"][()]
    shape = (len(LEVELS) * ROWS, modem.num_bits(SAMPLES))
    bits = rng.integers(0, 2, shape).astype(np.float32)
    target = modem.modulate(torch.from_numpy(bits.astype(np.uint8))).numpy()
    starts, chosen = rng.integers(FRAME - SAMPLES, size=len(bits)), rng.integers(len(frames), size=len(bits))
    parts = np.stack([frames[one, start : start + SAMPLES] for one, start in zip(chosen, starts, strict=True)])
    sinr = np.repeat(LEVELS, ROWS)
    gain = np.sqrt(10 ** (-sinr / 10)).astype(np.float32)
    added = parts * (gain * np.exp(2j * np.pi * rng.random(len(bits)))).astype(np.complex64)[:, None]
    mixture = target + added
    actual = 10 * np.log10(np.mean(np.abs(target) ** 2, -1) / np.mean(np.abs(added) ** 2, -1))
    # This is text in Fortran order.
    metadata = np.vstack([gain, sinr, actual, [soi] * len(bits), [interference] * len(bits)]).T
    np.save(dataset / f"{testset}_testmixture_{soi}_{interference}", mixture)
    np.save(dataset / f"{testset}_testmixture_{soi}_{interference}_metadata", metadata)
    # The truth of TestSet1Mixture was never released.
    if testset == EXAMPLE:
        with (dataset / f"GroundTruth_{testset}_Dataset_{soi}_{interference}.pkl").open("wb") as file:
            pickle.dump((mixture, target, bits), file, protocol=4)


def write_estimates(folder: Path, soi: str, interference: str) -> None:
    """Writes the organisers' simplest method: the mixture as an estimate, complex128 in one type; bits as float32."""
    name = f"{soi}_{interference}"
    mixture = np.load(folder / "dataset" / f"{EXAMPLE}_testmixture_{name}.npy")
    bits = build_modem(soi_of(SOIS[soi])).decide(torch.from_numpy(mixture)).numpy()
    wide = mixture.astype(np.complex128) if interference == "CommSignal3" else mixture
    np.save(folder / "outputs" / f"{METHOD}_{EXAMPLE}_estimated_soi_{name}", wide)
    np.save(folder / "outputs" / f"{METHOD}_{EXAMPLE}_estimated_bits_{name}", bits.astype(np.float32))


def build(folder: Path, sois: Collection[str]) -> None:
    """Writes the whole layout with mixtures of these SOIs, as the organisers' data and scripts give it."""
    rng = np.random.default_rng(0)
    dataset = folder / "dataset"
    write_frames(dataset, rng)
    (folder / "outputs").mkdir()
    for soi in sois:
        for interference in FRAMES:
            for testset in (EXAMPLE, MIXTURE):
                write_mixtures(dataset, testset, soi, interference, rng)
            write_estimates(folder, soi, interference)


def scored(folder: Path, id: str, soi: str, interference: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns MSE in dB and BER of outputs/ at each level, by plain numpy."""
    name = f"{soi}_{interference}"
    with (folder / "dataset" / f"GroundTruth_{EXAMPLE}_Dataset_{name}.pkl").open("rb") as file:
        _, target, bits = pickle.load(file)
    estimates = [
        np.load(folder / "outputs" / f"{id}_{EXAMPLE}_estimated_{kind}_{name}.npy") for kind in ("soi", "bits")
    ]
    mse = np.mean(np.abs(estimates[0] - target) ** 2, axis=1).reshape(len(LEVELS), ROWS).mean(1)
    wrong = np.mean(estimates[1] != bits, axis=1).reshape(len(LEVELS), ROWS).mean(1)
    return 10 * np.log10(np.maximum(mse, 1e-12)), wrong  # floor at -120 dB; theirs ends at minus infinity


def differences(folder: Path, scores: Path) -> tuple[int, float, float]:
    """Returns the number of rows of a scores.json, and its largest differences from numpy in MSE (dB) and BER."""
    content = json.loads(scores.read_text())
    mse, ber = [0.0], [0.0]
    for row in content["results"]:
        expected = scored(folder, content["id"], row["soi"], row["interference"])
        mse.append(float(np.abs(np.array(row["mse_db"]) - expected[0]).max()))
        ber.append(float(np.abs(np.array(row["ber"]) - expected[1]).max()))
    return len(content["results"]), max(mse), max(ber)


class Walk:
    """Runs the commands in one folder, and reports on each.

    Args:
        folder: folder that `build` has filled.
        sois: SOIs of its mixtures.
        command: runs a script and waits for it.
        say: takes a line.
    """

    def __init__(self, folder: Path, sois: Collection[str], command: Command, say: Callable[[str], None]) -> None:
        self.folder = folder
        self.types = sorted(f"{soi}_{interference}" for soi in sois for interference in FRAMES)
        self.options = ",".join(SOIS[soi] for soi in sois)
        self.command = command
        self.say = say

    def done(self, script: str, *arguments: str) -> str:
        """Runs a command that must succeed, and returns its output.

        Raises:
            SystemExit: it fails; with its output.
        """
        done = self.command(script, *arguments, cwd=self.folder, RFSEP_OFFICIAL=str(self.folder / "dataset"))
        if done.returncode:
            raise SystemExit(
                f"{script} {' '.join(arguments)}: exit status {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done.stdout

    def refused(self, script: str, *arguments: str) -> str:
        """Runs a command that must be refused, and returns its error line.

        Raises:
            SystemExit: it is not refused.
        """
        done = self.command(script, *arguments, cwd=self.folder, RFSEP_OFFICIAL=str(self.folder / "dataset"))
        lines = done.stderr.strip().splitlines()
        if done.returncode != 2 or len(lines) != 1:
            raise SystemExit(f"{script} {' '.join(arguments)}: no refusal\n{done.stdout}{done.stderr}")
        return lines[0]

    def check(self, holds: bool, line: str) -> None:
        """Reports a result, and stops if it is wrong.

        Raises:
            SystemExit: ``holds`` is False.
        """
        if not holds:
            raise SystemExit(f"wrong: {line}")
        self.say(line)

    def train(self) -> None:
        """Trains a few steps on the training frames, with the guide that learns from them."""
        out = self.done(
            "train.py", "experiment=demo", "interference=commsignal2", "run=official", *TINY, *SHORT, *EXAMPLES
        )
        self.check("finished: best" in out, "train       a U-Net of 4 steps on interferenceset_frame/CommSignal2")

    def prepare(self) -> None:
        """Prepares every type from the official frames, from an incomplete folder, and from renamed test frames."""
        small = [f"num_samples={SAMPLES}", "num_per_sinr=1", "sinr_db=[-12,0]", "seed=1"]
        full = ["testset", "challenge=full", f"types.soi=[{self.options}]", *small]
        self.done("data/prepare.py", *full, "out=prepared")
        made = sorted(path.stem for path in (self.folder / "prepared" / "mixture").iterdir())
        self.check(made == self.types, f"prepare     {len(made)} types, all of official frames: {' '.join(made)}")
        dataset = self.folder / "dataset"
        missing = dataset / "testset1_frame" / "CommSignal3_test1_raw_data.h5"
        missing.rename(missing.with_suffix(".away"))
        line = self.refused("data/prepare.py", *full, "out=stand_in")
        missing.with_suffix(".away").rename(missing)
        nothing = not (self.folder / "stand_in").exists()
        self.check(missing.name in line and nothing, f"prepare     without {missing.name}: {line}")
        (dataset / "testset1_frame").rename(dataset / "test1_frame")
        alone = ["soi=qpsk", "interference=commsignal2", *small, "out=other_name"]
        self.done("data/prepare.py", "testset", *alone)
        (dataset / "test1_frame").rename(dataset / "testset1_frame")
        files = [self.folder / place / "mixture" / "QPSK_CommSignal2.h5" for place in ("prepared", "other_name")]
        with h5py.File(files[0]) as one, h5py.File(files[1]) as other:
            same = np.array_equal(one["mixture"][()], other["mixture"][()])
        self.check(same, "prepare     test1_frame/ in place of testset1_frame/: the same mixtures")

    def evaluate(self) -> None:
        """Runs separators on the flat dataset/, named by set=, by FOLDER/NAME, and not at all."""
        line = self.refused("evaluate.py", "separator=passthrough", "testset=dataset")
        self.check(EXAMPLE in line and MIXTURE in line, f"evaluate    testset=dataset alone: {line}")
        both = ["testset=dataset", "out=outputs", *EXAMPLES]
        self.done("evaluate.py", "separator=matched_filter", f"set={EXAMPLE}", *both)
        neural = ["separator=neural", "run=runs/demo/official", "id=tiny_unet", "types=[QPSK_CommSignal2]"]
        self.done("evaluate.py", *neural, f"testset=dataset/{EXAMPLE}", "out=outputs", *EXAMPLES)
        self.done("evaluate.py", "separator=passthrough", f"set={MIXTURE}", "id=mine", *both)
        made = sorted((self.folder / "outputs").glob(f"mine_{MIXTURE}_estimated_*.npy"))
        names = f"{made[0].name} and {len(made) - 1} others" if made else "nothing"
        self.check(len(made) == 2 * len(self.types), f"evaluate    set={MIXTURE}, whose truth is withheld: {names}")

    def submission(self) -> None:
        """Scores every method in outputs/, against plain numpy on the same files."""
        place = ["testset=dataset", f"set={EXAMPLE}", "out=scores"]
        out = self.done("evaluate.py", "submission=outputs", *place, *EXAMPLES)
        ids = {METHOD: len(self.types), "matched_filter": len(self.types), "tiny_unet": 1}
        self.check(f"{len(ids)} of {len(ids)} submissions scored" in out, f"submission  {' '.join(ids)}, side by side")
        for id, count in ids.items():
            rows, mse, ber = differences(self.folder, self.folder / "scores" / id / "scores.json")
            close = rows == count and mse < 1e-4 and ber < 1e-8
            self.check(close, f"submission  {id}: {rows} types, from numpy's MSE {mse:.1e} dB, BER {ber:.1e} at most")

    def leaderboard(self) -> None:
        """Makes one page of all scores."""
        self.done("evaluate.py", "leaderboard=scores")
        (board,) = json.loads((self.folder / "scores" / "leaderboard.json").read_text())["boards"]
        ranked = [row["id"] for row in board["rows"] if row["kind"] != "baseline"]
        expected = {METHOD, "matched_filter", "tiny_unet"}
        self.check(set(ranked) == expected, f"leaderboard {' '.join(ranked)}: scores/index.html")


def walk(folder: Path, sois: Collection[str], command: Command, say: Callable[[str], None]) -> None:
    """Runs every command over the layout in an empty folder.

    Raises:
        SystemExit: names the first command with a wrong result.
    """
    build(folder, sois)
    steps = Walk(folder, sois, command, say)
    for step in (steps.train, steps.prepare, steps.evaluate, steps.submission, steps.leaderboard):
        step()


if __name__ == "__main__":
    place = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/official_check").resolve()
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    walk(place, SOIS, command, lambda line: print(line, flush=True))
    print(f"official_check: all as it should be, in {place}")
