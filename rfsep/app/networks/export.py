"""Makes networks faster for this machine: OpenVINO exports, kept in the user's cache and used where they fit.

An export is a graph and its numbers, which OpenVINO compiles when it is opened. It is only taken from the user's cache
folder, and only with the seal of this user's key (`rfsep.storage.seal`) over everything that determines it: SHA-256 of
its two files, the network's settings and weights, the code that defines it, the versions of torch and OpenVINO, and the
processor. A run folder, a submission or another user's cache cannot supply one. An export that does not fit is ignored
with a one-line warning, and the network itself runs.
"""

import datetime
import hashlib
import importlib
import importlib.metadata
import json
import math
import os
import platform
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from rfsep.app.config import (
    build_modem,
    build_soi,
    build_source,
    console,
    instantiate,
    interference_named,
    interference_of,
    separator_of,
    soi_named,
    soi_of,
)
from rfsep.app.settings import NetworkConfig
from rfsep.challenge.provenance import code_version, targets
from rfsep.iq import to_channels
from rfsep.mixtures.endless import Purpose, batch_generator
from rfsep.mixtures.mix import Mixer
from rfsep.separators.neural import Neural, network_input
from rfsep.storage.atomic import read_json, staged
from rfsep.storage.faults import fault, reason
from rfsep.storage.seal import is_sealed, sealed
from rfsep.storage.weights import weights_digest
from rfsep.types import InputError, Separator

# Data types of the computation, with OpenVINO's names.
DTYPES = {"bfloat16": "bf16", "float32": "f32"}
# The difference must lie this far below the network's own error: its MSE then moves by less than 0.05 dB on average.
MARGIN_DB = 20.0
# Largest difference relative to the output, however bad the network is: each of tens of layers rounds to 2 ** -9 of
# its numbers (-54 dB), or to 2 ** -24 (-144 dB).
LARGEST_DB = {"bfloat16": -30.0, "float32": -100.0}
_SINR_DB = (-24.0, -12.0, 0.0)
_ROWS = 4  # mixtures per level
_SCHEMA = 1
_GRAPH, _NUMBERS, _MANIFEST = "network.xml", "network.bin", "export.json"


class ExportCheck(NamedTuple):
    """Comparison of an export with its network on generated mixtures.

    Attributes:
        error_db: power of the difference over that of the network's output, at the worst SINR.
        margin_db: the network's own MSE over the power of the difference, at the worst SINR.
        speed_up: ratio of the network's processor time to that of the export.
        mixtures: mixture types of the comparison.
    """

    error_db: float
    margin_db: float
    speed_up: float
    mixtures: str


class Exported:
    """An opened export: float32 [B, C, L] to float32 [B, 2, L], L being ``num_samples``; safe to call from threads.

    Args:
        compiled: OpenVINO's model.
        num_samples: samples per window that it was made for.
        name: name in provenance.
    """

    def __init__(self, compiled: Any, num_samples: int, name: str) -> None:
        self.num_samples = num_samples
        self.name = name
        self._compiled = compiled

    def __call__(self, mixture: Tensor) -> Tensor:
        """Returns the network's output, up to rounding."""
        found = self._compiled.create_infer_request().infer([mixture.contiguous().numpy()], share_inputs=True)
        return torch.from_numpy(found[0])


class _Examples(NamedTuple):
    """Examples that an export is checked on.

    Attributes:
        inputs: inputs of the network, float32 [levels * rows, C, L].
        truth: SOI as channels, float32 [levels * rows, 2, L].
        mixtures: mixture types of the examples.
    """

    inputs: Tensor
    truth: Tensor
    mixtures: str


def exports_folder() -> Path:
    """Returns the folder of exports: below RFSEP_CACHE, else in the user's cache."""
    named = os.environ.get("RFSEP_CACHE")
    usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rfsep"
    return (Path(named) if named else usual) / "exports"


def _openvino() -> Any:
    """Returns the OpenVINO module with its telemetry switched off, which reports at every import."""
    cast("dict[str, Any]", sys.modules).setdefault("openvino_telemetry", None)
    try:
        return importlib.import_module("openvino")
    except ImportError as error:
        raise InputError(f"OpenVINO cannot be used ({reason(error)}); pip install 'rfsep[fast]' brings it") from None


def _identity(model: nn.Module, config: NetworkConfig, num_samples: int) -> dict[str, Any]:
    """Returns everything that identifies an export's network."""
    network = config.model.network
    return {"network": network, "weights": weights_digest(model.state_dict()), "num_samples": num_samples}


def _folder(identity: Mapping[str, Any]) -> Path:
    return exports_folder() / hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]


def _circumstances(network: Any) -> dict[str, str | None]:
    """Returns the versions and processor of an export; a change in any of them may change its results."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
    processor = f"{platform.machine()} {' '.join(sorted(flags.split()))}"
    try:
        openvino = importlib.metadata.version("openvino")
    except importlib.metadata.PackageNotFoundError:
        openvino = None
    return {
        "code": code_version(targets(network)),
        "torch": torch.__version__,
        "openvino": openvino,
        "processor": hashlib.sha256(processor.encode()).hexdigest()[:16],
    }


def check_exportable(config: NetworkConfig, source: str) -> None:
    """Checks before the work that a run's network can be exported.

    Raises:
        InputError: it is not a network that `rfsep.separators.neural.Neural` shows waveforms to.
    """
    usual = f"{Neural.__module__}.{Neural.__qualname__}"
    own = config.separator
    target = usual if own is None else own.get("_target_")
    kind = config.model.kind
    if kind != "waveform" or target != usual:
        sees = target if kind == "waveform" else kind
        raise InputError(
            f"{source}: cannot be exported for speed: its network sees no waveforms ({sees});"
            " with --out it is written as two files"
        )


def _learned(config: NetworkConfig, key: str) -> str:
    """Returns the name of the SOI or interference that a network learned, from a run's or an exported config."""
    told = (config.card or {}).get(key) or (config.signal(key) or {}).get("name")
    return "" if told is None else str(told)


def _examples(config: NetworkConfig, num_samples: int) -> _Examples:
    """Returns mixtures of the types that a network learned; QPSK in OFDM-QPSK where they are not available."""
    generator, levels = batch_generator(Purpose.TEST, 0), torch.tensor(_SINR_DB).repeat_interleave(_ROWS)
    try:
        soi, interference = soi_named(_learned(config, "soi")), interference_named(_learned(config, "interference"))
        source = build_source(interference, "val")
        batch = Mixer(build_soi(soi), source).draw(levels, num_samples, generator)
    except InputError:  # The option no longer exists, or a recording is missing or too short.
        soi, interference = soi_of("qpsk"), interference_of("ofdm_qpsk")
        source = build_source(interference, "val")
        batch = Mixer(build_soi(soi), source).draw(levels, num_samples, generator)
    guide = None
    if config.guide is not None:
        frames = source.sample(50, num_samples, batch_generator(Purpose.EXAMPLES)).waveform
        method = separator_of(config.guide).method
        guide = cast(Separator, instantiate(method, modem=build_modem(soi), examples=frames))
    with torch.inference_mode():
        inputs = network_input(batch.mixture, guide)
    return _Examples(inputs, to_channels(batch.soi), f"{soi.name} in {interference.name}")


def converted(model: nn.Module, example: Tensor) -> tuple[bytes, bytes]:
    """Converts a network by OpenVINO, for any number of windows of the example's shape; returns graph and numbers."""
    openvino = _openvino()
    try:
        with torch.no_grad(), warnings.catch_warnings(action="ignore"), tempfile.TemporaryDirectory() as name:
            graph = openvino.convert_model(model, example_input=example)
            graph.reshape([openvino.Dimension(), *example.shape[1:]])
            openvino.save_model(graph, Path(name, _GRAPH), compress_to_fp16=False)
            return Path(name, _GRAPH).read_bytes(), Path(name, _NUMBERS).read_bytes()
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        raise InputError(f"OpenVINO cannot convert {type(model).__name__}: {reason(error)}") from None


def compiled_network(graph: bytes, numbers: bytes, dtype: str) -> Any:
    """Compiles a converted network for as many threads as torch uses, none of them bound to a core."""
    openvino = _openvino()
    settings = {
        "INFERENCE_PRECISION_HINT": DTYPES[dtype],
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,
    }
    core = openvino.Core()
    try:
        return core.compile_model(core.read_model(graph, numbers), "CPU", settings)
    except RuntimeError as error:
        raise InputError(f"OpenVINO cannot compile the network: {reason(error)}") from None


def fast_dtype() -> str:
    """Returns bfloat16 where this processor multiplies in it, else float32."""
    known = _openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "bfloat16" if "BF16" in known else "float32"


def _power_db(value: Tensor) -> Tensor:
    """Returns the mean power of channels float32 [levels * rows, 2, L] at each level, in dB: float32 [levels]."""
    return 10 * value.double().square().reshape(len(_SINR_DB), -1).mean(1).clamp_min(1e-30).log10()


def _processor_seconds(network: Callable[[Tensor], Tensor], inputs: Tensor) -> float:
    """Returns the shortest processor time of three calls in seconds."""
    times = []
    for _ in range(3):
        started = time.process_time()
        network(inputs)
        times.append(time.process_time() - started)
    return min(times)


def compare(model: nn.Module, exported: Callable[[Tensor], Tensor], examples: _Examples) -> ExportCheck:
    """Compares a network and its export on the same mixtures."""
    with torch.inference_mode():
        plainly, fast = model(examples.inputs), exported(examples.inputs)
        difference = _power_db(fast - plainly)
        error_db = (difference - _power_db(plainly)).max()
        margin_db = (_power_db(plainly - examples.truth) - difference).min()
        seconds = [_processor_seconds(network, examples.inputs) for network in (model, exported)]
    return ExportCheck(float(error_db), float(margin_db), seconds[0] / max(seconds[1], 1e-9), examples.mixtures)


def _refuse_difference(source: str, checked: ExportCheck, dtype: str) -> None:
    """Refuses an export that differs too much from its network, or is not worth having."""
    near = checked.error_db <= LARGEST_DB[dtype] and checked.margin_db >= MARGIN_DB
    if not near or not math.isfinite(checked.error_db + checked.margin_db):
        advice = "; --dtype float32 rounds less" if dtype != "float32" else ""
        raise InputError(
            f"{source}: exported in {dtype} its output differs by {checked.error_db:.1f} dB, {checked.margin_db:.1f} dB"
            f" below its own error on {checked.mixtures}; at most {LARGEST_DB[dtype]:g} dB, and {MARGIN_DB:g} dB below,"
            f" are accepted: nothing is written{advice}"
        )
    if checked.speed_up < 1:
        raise InputError(f"{source}: exported in {dtype} it is slower, {checked.speed_up:.2f} x; nothing is written")


def write_export(
    model: nn.Module,
    config: NetworkConfig,
    source: str,
    dtype: str | None,
    num_samples: int | None,
    tell: Callable[[str], None],
) -> tuple[Path, ExportCheck]:
    """Exports a network into the user's cache, if the export is faster and equal up to rounding.

    Args:
        model: a run's model, in evaluation mode.
        config: config of the run.
        source: the run's name for messages and provenance.
        dtype: one of `DTYPES`; None for that of `fast_dtype`.
        num_samples: samples per window; None for the training's.
        tell: is called with progress messages.

    Returns:
        The folder, and the comparison with the network.

    Raises:
        InputError: a network that sees no waveforms, one that OpenVINO cannot convert or that comes out different or
            slower, or a folder that cannot be written.
    """
    check_exportable(config, source)
    if dtype is not None and dtype not in DTYPES:
        raise InputError(f"dtype is '{dtype}'; a network is exported for speed in {' or '.join(DTYPES)}")
    length, dtype = num_samples or config.num_samples, dtype or fast_dtype()
    tell("drawing mixtures")
    examples = _examples(config, length)
    tell("converting")
    graph, numbers = converted(model, examples.inputs[:2])
    tell("comparing")
    checked = compare(model, Exported(compiled_network(graph, numbers, dtype), length, ""), examples)
    _refuse_difference(source, checked, dtype)
    identity = _identity(model, config, length)
    content = {
        "schema": _SCHEMA,
        "source": source,
        "identity": identity,
        "circumstances": _circumstances(identity["network"]),
        "dtype": dtype,
        "sha256": {name: hashlib.sha256(part).hexdigest() for name, part in ((_GRAPH, graph), (_NUMBERS, numbers))},
        **checked._asdict(),
        "date": datetime.date.today().isoformat(),
    }
    manifest = sealed(content)
    if not is_sealed(manifest):
        raise InputError("no key can be kept here (RFSEP_HOST_KEY names its file), without which no export is trusted")
    folder = _folder(identity)
    parts = (graph, numbers, json.dumps(manifest, indent=1).encode())
    with staged(*(folder / name for name in (_GRAPH, _NUMBERS, _MANIFEST))) as places:
        for place, part in zip(places, parts, strict=True):
            place.write_bytes(part)
    return folder, checked


def fitting(model: nn.Module, config: NetworkConfig, num_samples: int) -> Exported | None:
    """Returns a network's export for windows of ``num_samples``, if any; warns of one that does not fit."""
    folder = _folder(identity := _identity(model, config, num_samples))
    manifest = folder / _MANIFEST
    if not manifest.is_file():
        return None
    try:
        return _opened(folder, json.dumps(identity), manifest.stat().st_mtime_ns, torch.get_num_threads())
    except InputError as error:
        console.print(f"an export is ignored, the network runs as it is: {error}", markup=False, soft_wrap=True)
        return None


# Mixture types of a test set may share a network.
@lru_cache(maxsize=8)
def _opened(folder: Path, identity_text: str, modified: int, num_threads: int) -> Exported:
    """Checks everything about an export, and opens it.

    Raises:
        InputError: not sealed, damaged, of another network, or made with other versions or on another processor.
    """
    manifest, identity = read_json(folder / _MANIFEST), json.loads(identity_text)
    if not is_sealed(manifest) or manifest.get("schema") != _SCHEMA or manifest.get("identity") != identity:
        raise fault(folder, "bears no seal of this user's key; rfsep export makes one that does")
    made, here = manifest["circumstances"], _circumstances(identity["network"])
    if changed := [key for key in here if made.get(key) != here[key]]:
        was, now = made.get(changed[0]), here[changed[0]]
        raise fault(folder, f"{changed[0]} was {was}, is {now}; rfsep export makes it anew")
    try:
        parts = {name: (folder / name).read_bytes() for name in (_GRAPH, _NUMBERS)}
    except OSError as error:
        raise fault(folder, f"cannot be read: {error.strerror}") from None
    for name, part in parts.items():
        if hashlib.sha256(part).hexdigest() != manifest["sha256"][name]:
            raise fault(folder / name, "is not what was exported; rfsep export makes it anew")
    compiled = compiled_network(parts[_GRAPH], parts[_NUMBERS], manifest["dtype"])
    name = f"OpenVINO {here['openvino']} {manifest['dtype']}, {manifest['error_db']:.1f} dB from the network"
    console.print(f"{manifest['source']} runs as exported: {name}, {manifest['speed_up']:.1f} x", markup=False)
    return Exported(compiled, int(identity["num_samples"]), f"{name}, {folder.name}")
