"""Settings of the commands: frozen dataclasses, made at each command's door and free of hydra's types.

A `Node` is a part of a YAML in plain containers; `rfsep.app.config.instantiate` makes an object of its ``_target_``.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

Node = dict[str, Any]


@dataclass(frozen=True)
class SoiOption:
    """One YAML of conf/soi.

    Attributes:
        name: name in files, such as QPSK.
        modem: modem of the signal.
        source: source of the windows where the modem alone does not give them.
        settings: the whole YAML, references unresolved.
    """

    name: str
    modem: Node
    source: Node | None
    settings: Node


@dataclass(frozen=True)
class InterferenceOption:
    """One YAML of conf/interference.

    Attributes:
        name: name in files, such as OFDMQPSK.
        sample_rate_hz: sample rate in Hz.
        recorded: the interference has splits, and may need an environment variable for its folder.
        settings: the whole YAML, references unresolved.
    """

    name: str
    sample_rate_hz: float
    recorded: bool
    settings: Node


@dataclass(frozen=True)
class SeparatorOption:
    """One YAML of conf/separator, with the changes of a command line.

    Attributes:
        name: name in files of a submission.
        blind: the separator is told nothing beyond what a separator may know.
        learns: the separator asks for example frames of the interference.
        method: the class and its arguments.
        interference: a file from rfsep identify, in place of examples.
        checkpoint: checkpoint of its network, best or last; None for a separator without a network.
        fast: the network runs from its export, where rfsep export made one.
        candidates: names of the separators that it chooses from.
        beside: runs of further networks by key, such as a prior or a timing network.
        learned: the separator is in a folder of rfsep learn, which ``run`` names.
        acquire: how a receiver separates before it knows carrier and phase: ``use``, an option of conf/separator that
            is linear, and settings of its method; or a class and its arguments.
        as_received: a receiver makes it anew for the channel and the carrier that it finds; otherwise the capture is
            turned, and the separator stays as it is.
    """

    name: str
    blind: bool
    learns: bool
    method: Node
    interference: str | None = None
    checkpoint: str | None = None
    fast: bool = True
    candidates: tuple[str, ...] = ()
    beside: Mapping[str, str | None] = field(default_factory=dict)
    learned: bool = False
    acquire: Node = field(default_factory=lambda: {"use": "lmmse"})
    as_received: bool = False

    def identity(self) -> Node:
        """Returns every setting that affects an estimate, in plain containers."""
        found = {**asdict(self), "candidates": list(self.candidates)}  # a list, as JSON gives it back
        del found["acquire"], found["as_received"]  # a receiver's alone
        return found


@dataclass(frozen=True)
class BoundOption:
    """One YAML of conf/bound.

    Attributes:
        label: label in figures and tables.
        method: the class and its arguments.
    """

    label: str
    method: Node


@dataclass(frozen=True)
class ModelOption:
    """One YAML of conf/model.

    Attributes:
        name: name in files.
        kind: one of `rfsep.app.networks.kinds.KINDS`.
        network: the class and its arguments.
    """

    name: str
    kind: str
    network: Node


@dataclass(frozen=True)
class ObjectiveOption:
    """One YAML of conf/objective.

    Attributes:
        kind: kind of the models that learn by it.
        ema_decay: decay of the average of the weights.
        monitor: metric that chooses the best checkpoint.
        module: the class and its arguments.
    """

    kind: str
    ema_decay: float
    monitor: str
    module: Node


@dataclass(frozen=True)
class Frames:
    """Example frames that separators may learn from."""

    num_frames: int
    num_samples: int


@dataclass(frozen=True)
class NetworkConfig:
    """The training settings that opening and using a network needs.

    Attributes:
        name: name of its experiment, or of the exported network.
        model: the network.
        num_samples: samples per training window.
        guide: option of conf/separator whose estimate the network improves.
        separator: the separator around it, in place of that of conf/separator/neural.
        objective: class and arguments of its objective; for an exported network, the parts that name its signal.
        soi: settings of the SOI, where the file has them.
        interference: settings of the interference, where the file has them.
        card: card of an exported network.
        seed: seed of its training.
        command: command line of its training.
    """

    name: str
    model: ModelOption
    num_samples: int
    guide: str | None
    separator: Node | None
    objective: Node
    soi: Node | None
    interference: Node | None
    card: Node | None
    seed: int | None
    command: str | None

    def signal(self, which: str) -> Node | None:
        """Returns the settings of the ``soi`` or the ``interference``, where the file has them."""
        return {"soi": self.soi, "interference": self.interference}[which]


@dataclass(frozen=True)
class Mixing:
    """How SOI and interference are mixed: see `rfsep.mixtures.mix.Mixer`."""

    soi: SoiOption
    interference: InterferenceOption
    augment: Node | None
    conventions: Node


@dataclass(frozen=True)
class TrainSettings:
    """A training run.

    Attributes:
        network: the network, with the facts for its file.
        objective: the objective of the training.
        mixing: conventions of its mixtures.
        data: arguments of `rfsep.training.data.MixtureData` besides the mixers and the seed.
        trainer: arguments of `rfsep.training.fit.TrainerSettings`.
        examples: frames that a guide learns from.
        seed: seed of weights and data.
        out: folder of all experiments.
        run: name of the run; None for a hash of ``identity``.
        init_from: network whose weights it starts from.
        init_share: share of those weights, see `rfsep.training.start.start_from`.
        tokenizer: run of the tokenizer that the network holds.
        views: folder for the estimates of slow guides.
        wandb: arguments of Lightning's WandbLogger; None for metrics.csv alone.
        identity: everything that decides the result, references unresolved.
        text: the YAML that is written into the run's folder.
    """

    network: NetworkConfig
    objective: ObjectiveOption
    mixing: Mixing
    data: Node
    trainer: Node
    examples: Frames
    seed: int
    out: Path
    run: str | None
    init_from: str | None
    init_share: float
    tokenizer: str | None
    views: Path | None
    wandb: Node | None
    identity: Node
    text: str


@dataclass(frozen=True)
class Processes:
    """Processes that do the work of a command together."""

    devices: int
    num_nodes: int

    @property
    def several(self) -> bool:
        """Whether there is more than one process."""
        return (self.devices, self.num_nodes) != (1, 1)


@dataclass(frozen=True)
class EvaluateSettings:
    """A request to evaluate.py; conf/evaluate.yaml explains each key.

    Attributes:
        name: name of the experiment, if any.
        comparison: settings of a published comparison.
        landscape: class and arguments of a toy problem.
        timing_error: settings of a count of wrong timings.
        wandb: arguments of wandb.init for the leaderboard's standings.
    """

    separator: SeparatorOption | None
    testset: Path | None
    out: Path | None
    run: str | None
    types: tuple[str, ...] | None
    fitting: bool
    max_seconds_per_mixture: float | None
    submissions: tuple[Path, ...]
    leaderboard: Path | None
    signals: bool
    mixture: int | None
    id: str | None
    bounds: tuple[str, ...]
    fresh: bool
    num_mixtures: int | None
    processes: Processes
    examples: Frames
    name: str
    comparison: Node | None
    landscape: Node | None
    timing_error: Node | None
    wandb: Node | None


@dataclass(frozen=True)
class PrepareSettings:
    """A mixture type of a test set that data/prepare.py makes.

    Attributes:
        mixing: conventions of its mixtures.
        split: split of the recordings.
        num_samples: samples per mixture.
        num_per_sinr: mixtures per level.
        sinr_db: levels, rising.
        seed: None to draw it from the operating system.
        out: folder of the test set.
        official: also write the files of the ICASSP 2024 challenge.
        duty: least share of each window in which the interference is on, see `rfsep.mixtures.duty.on_share`.
        identity: every setting that determines the mixtures besides the seed, references unresolved.
    """

    mixing: Mixing
    split: str
    num_samples: int
    num_per_sinr: int
    sinr_db: tuple[float, ...]
    seed: int | None
    out: Path
    official: bool
    duty: float
    identity: Node
