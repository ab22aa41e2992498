"""Settings of the commands, as frozen dataclasses that are made at each command's door; nothing of hydra's is in them.

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
        name: in files, such as QPSK.
        modem: of the signal.
        source: where windows are not simply the modem's.
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
        name: in files, such as OFDMQPSK.
        sample_rate_hz: of its samples.
        recorded: it has splits, and may need a variable that names its folder.
        settings: the whole YAML, references unresolved.
    """

    name: str
    sample_rate_hz: float
    recorded: bool
    settings: Node


@dataclass(frozen=True)
class SeparatorOption:
    """One YAML of conf/separator, or what a command line made of it.

    Attributes:
        name: in files, of a submission.
        blind: it is told nothing that a separator may not know.
        learns: it asks for example frames of the interference.
        method: the class and its arguments.
        interference: file that rfsep identify wrote, in place of examples.
        checkpoint: of its network, best or last; None for a separator without a network.
        fast: the network runs as rfsep export compiled it, where it did.
        candidates: names of the separators that it chooses from.
        beside: keys that take a run of a network beside its own, with the run that is named: of a prior, of a timing.
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

    def identity(self) -> Node:
        """Everything of it that an estimate follows from, in plain containers."""
        return asdict(self)


@dataclass(frozen=True)
class BoundOption:
    """One YAML of conf/bound.

    Attributes:
        label: in figures and tables.
        method: the class and its arguments.
    """

    label: str
    method: Node


@dataclass(frozen=True)
class ModelOption:
    """One YAML of conf/model.

    Attributes:
        name: in files.
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
        kind: of the models that learn by it.
        ema_decay: of the average of the weights.
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
    """How a network is or was trained, as far as opening and using it needs.

    Attributes:
        name: of its experiment, or of the exported network.
        model: the network.
        num_samples: of a training window.
        guide: option of conf/separator whose estimate it improves.
        separator: the separator that it is for, in place of that of conf/separator/neural.
        objective: class and arguments of its objective; of an exported network, what tells the signal that it learned.
        soi: settings of the SOI, where the file has them.
        interference: settings of the interference, where the file has them.
        card: of an exported network.
        seed: of its training.
        command: of its training.
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
        """Settings of the ``soi`` or the ``interference``, where the file has them."""
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
        network: what is trained, and what its file will tell.
        objective: by which it learns.
        mixing: of its mixtures.
        data: arguments of `rfsep.training.data.MixtureData` beside the mixers and the seed.
        trainer: arguments of `rfsep.training.fit.TrainerSettings`.
        examples: frames that a guide learns from.
        seed: of weights and data.
        out: folder of all experiments.
        run: name of the run; None: a hash of ``identity``.
        init_from: whose weights it starts from.
        tokenizer: run whose tokenizer the network holds.
        views: folder that keeps what slow guides found.
        wandb: arguments of Lightning's WandbLogger; None: metrics.csv alone.
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
        """Whether they are more than one."""
        return (self.devices, self.num_nodes) != (1, 1)


@dataclass(frozen=True)
class EvaluateSettings:
    """What evaluate.py is asked for; conf/evaluate.yaml explains each word.

    Attributes:
        name: of the experiment, where one is asked for.
        comparison: settings of a published comparison.
        landscape: of a toy problem: class and arguments.
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
        mixing: of its mixtures.
        split: of recordings.
        num_samples: of a mixture.
        num_per_sinr: mixtures of each level.
        sinr_db: levels, rising.
        seed: None: from the operating system.
        out: folder of the test set.
        official: also write the files of the ICASSP 2024 challenge.
        identity: everything that the mixtures follow from beside the seed, references unresolved.
    """

    mixing: Mixing
    split: str
    num_samples: int
    num_per_sinr: int
    sinr_db: tuple[float, ...]
    seed: int | None
    out: Path
    official: bool
    identity: Node
