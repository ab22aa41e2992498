"""Published comparisons: evaluate.py experiment=NAME."""

import json
from collections.abc import Callable, Collection
from dataclasses import asdict, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from rfsep.app.build import Parts, completed, network_arguments, separator_parts
from rfsep.app.config import (
    BESIDE,
    bound_of,
    build_modem,
    build_soi,
    build_source,
    console,
    example_frames,
    in_sweep,
    instantiate,
    interference_of,
    separator_of,
    soi_of,
)
from rfsep.app.estimates import network_settings, progress, speaks
from rfsep.app.failures import Failures
from rfsep.app.networks.priors import open_beside
from rfsep.app.networks.runs import Run, locate, open_run
from rfsep.app.settings import EvaluateSettings, Frames, Node, Processes, SeparatorOption
from rfsep.challenge.comparison import Contender, Data, Estimate, compare, forget, kept_levels, measure_level
from rfsep.challenge.provenance import code_version, targets
from rfsep.challenge.scoring import SCHEMA, Row
from rfsep.mixtures.fixed import fixed_mixtures
from rfsep.mixtures.mix import Mixer
from rfsep.pages.figures import write_figure
from rfsep.pages.report import Published
from rfsep.pages.studies.kernel_sweep import write_kernel_figure
from rfsep.pages.studies.landscape import write_landscape_figure
from rfsep.pages.studies.learning import write_learning_figure
from rfsep.pages.studies.omega_study import write_omega_figure
from rfsep.pages.table import score_table
from rfsep.storage.atomic import read_json, write_json
from rfsep.storage.weights import weights_digest
from rfsep.types import InputError, Modem

# keys of an entry of a comparison's YAML that are no arguments of its separator
_NO_ARGUMENTS = ("use", "run", "examples", "modem", "interference_autocorrelation", "interference", "label")
# Every figure depends on these modules.
_CODE = ("rfsep.challenge.comparison", "rfsep.mixtures.fixed")


class _Comparison(NamedTuple):
    """The objects of a comparison's YAML.

    Attributes:
        data: the mixtures.
        settings: everything that determines the mixtures.
        separator: returns a separator's parts from its entry in the YAML and the network that it names.
        bound: a bound's arguments, with the truth that no separator knows.
    """

    data: Data
    settings: Row
    separator: Callable[[Row, Run | None], Parts]
    bound: Row


def _given_mixtures(setting: Node, levels: list[float], number: int) -> _Comparison:
    """Returns mixtures drawn by their own class, for bounds that know it; separators have no modem to start from."""
    mixtures = instantiate(setting["mixtures"])

    def separator(entry: Row, run: Run | None) -> Parts:
        raise InputError(f"{entry['use']}: this comparison has bounds alone, for its SOI has no modem")

    data = Data(levels, number, lambda level: mixtures.level(level, number), None)
    return _Comparison(data, {"mixtures": setting["mixtures"]}, separator, {"mixtures": mixtures})


def _radio_mixtures(setting: Node, levels: list[float], number: int) -> _Comparison:
    """Returns mixtures of a SOI and an interference of conf/."""
    soi, interference = soi_of(setting["soi"]), interference_of(setting["interference"])
    modem, source = build_modem(soi), build_source(interference, "test")
    mixing = {key: setting[key] for key in ("empirical", "random_phase", "noise_power")}
    mixer = Mixer(build_soi(soi), source, **mixing)
    examples = cache(lambda frames: example_frames(interference, frames))

    def separator(entry: Row, run: Run | None) -> Parts:
        frames = Frames(**(entry.get("examples") or setting["examples"]))
        return _separator_parts(entry, run, modem, source, examples(frames))

    length, seed = setting["num_samples"], setting["seed"]
    data = Data(
        levels,
        number,
        lambda level: fixed_mixtures(mixer, [level], number, length, seed),
        modem if soi.source is not None else None,
    )
    settings = {"soi": soi.settings, "interference": interference.settings, **mixing, "num_samples": length}
    settings |= {"seed": seed, "examples": setting["examples"]}
    told = {"modem": modem, "source": source, "noise_power": setting["noise_power"]}
    return _Comparison(data, settings, separator, told)


def _separator_parts(entry: Row, run: Run | None, soi: Modem, source: Any, examples: Tensor) -> Parts:
    """Returns the separator of a comparison's entry: ``use`` names its option, and the rest overrides that option."""
    usual = separator_of(entry["use"])
    named = {key: entry.get(key, run_named) for key, run_named in usual.beside.items()}
    # Published figures are those of the network itself, not of its export.
    option = completed(replace(usual, fast=False, beside=named), run)
    changes = {key: value for key, value in entry.items() if key not in (*_NO_ARGUMENTS, *BESIDE)}
    option = replace(option, method={**option.method, **changes})
    modem = build_modem(soi_of(entry["modem"])) if "modem" in entry else soi
    extra: Row = {}
    if entry.get("interference_autocorrelation") == "given":
        extra["interference_autocorrelation"] = source.autocorrelation(option.method["block"])
    if entry.get("interference") == "given":
        extra["interference"] = source.modem
    extra |= network_arguments(option.method, run, modem, examples)
    return separator_parts(option, modem, examples, extra)


def _network_cost(run: Run) -> Row:
    """Returns the fields of results.json that describe a row's network."""
    parameters = sum(parameter.numel() for parameter in run.model.parameters())
    cost = {f"train_{key}": run.facts.get(key) for key in ("minutes", "core_minutes", "flops")}
    return {"network": {"parameters": parameters, **cost}}


def _open(name: str, written: Row, option: SeparatorOption | None) -> Run | None:
    """Returns the network of an entry; None where its separator has none."""
    if option is None or option.checkpoint is None:
        return None
    if "run" not in written:
        raise InputError(f"{name}: separator {written['use']} needs a run: a folder that train.py made, or zoo:NAME")
    return open_run(written["run"], option.checkpoint)


class _Ready(NamedTuple):
    """An entry with the fields that its row has besides its figures."""

    entry: Contender
    cost: Row


def _entry(name: str, written: Row, comparison: _Comparison, bound: bool) -> _Ready:
    """Returns an entry of a comparison's YAML, ready to be compared; separators are made only when needed."""
    group, option = "bound" if bound else "separator", None if bound else separator_of(written["use"])
    run = _open(name, written, option)
    if option is None:
        base: Row = asdict(bound_of(written["use"])) if "use" in written else written
    else:
        base = completed(option, run).identity()
    beside = ("use", "method", "label", "run", *BESIDE)
    changes = {key: value for key, value in written.items() if key not in beside}
    method = base["method"] | changes
    modem = {"modem": soi_of(written["modem"]).settings} if "modem" in written else {}
    settings = {group: method, **modem, "data": comparison.settings, "num_mixtures": comparison.data.num_mixtures}
    settings |= {} if run is None else {"run": network_settings(run)}
    settings |= {key: weights_digest(open_beside(key, written[key]).model.state_dict()) for key in _beside(written)}
    settings["code"] = code_version([*_CODE, *targets(settings)])
    told = method.get("sinr") == "known"
    parts = cache(lambda: comparison.separator(written, run))

    def separator(level: float) -> Estimate:
        made = parts().make(level)
        return lambda batch: made.separate(batch.mixture)

    # A blind separator is told no level, so one serves all levels.
    blind = cache(lambda: separator(0.0))
    limit = cache(lambda: instantiate(method, **comparison.bound).estimate)

    def make(level: float) -> Estimate:
        if told:
            return separator(level)
        return limit() if bound else blind()

    is_blind = not bound and not told and bool(base.get("blind", True))
    label = str(written.get("label") or base.get("label") or name)
    return _Ready(Contender(name, make, is_blind, bound, label, settings), {} if run is None else _network_cost(run))


def _wanted(settings: EvaluateSettings, setting: Node) -> list[tuple[str, Row, bool]]:
    """Returns name, YAML and kind of the requested entries: all, or those of ``separator=`` and ``bounds=``.

    ``separator=NAME`` stands for NAME and its variants NAME:..., and so does each of ``bounds``.
    """
    separators, bounds = setting.get("separators") or {}, setting.get("bounds") or {}
    only, some = [settings.separator.name] if settings.separator else [], settings.bounds
    everything = not only and not some
    chosen = list(separators) if everything else _named(separators, only, "separator")
    if settings.run is not None:
        chosen = _with_run(separators, chosen if only else [], settings.run)
    limits = list(bounds) if everything else _named(bounds, some, "bounds")
    there = [name for name in chosen if only or _is_there(name, separators[name])]
    return [(name, separators[name], False) for name in there] + [(name, bounds[name], True) for name in limits]


def _with_run(separators: Row, chosen: list[str], run: str) -> list[str]:
    """Changes ``separators`` so that the one chosen network opens another run, and returns its name in a list."""
    networks = [name for name in chosen if "run" in separators[name]]
    plainly = [name for name in networks if ":" not in name] or networks
    if len(plainly) != 1:
        names = ", ".join(name for name, entry in separators.items() if "run" in entry) or "none"
        raise InputError(f"run={run} needs separator=NAME of one network in this experiment; it has {names}")
    separators[plainly[0]]["run"] = run
    return plainly


def _beside(written: Row) -> list[str]:
    return [key for key in BESIDE if key in written]


def _is_there(name: str, written: Row) -> bool:
    """Tells whether an entry's networks, if any, are there; reports a missing one."""
    for key in [key for key in ("run", *BESIDE) if key in written]:
        missing = locate(written[key], separator_of(written["use"]).checkpoint or "best").missing()
        if missing:
            console.print(f"{name} is left out: its network {written[key]} is not here ({missing[0]} not found)")
            return False
    return True


def _named(entries: Row, names: Collection[str], key: str) -> list[str]:
    """Returns the entries with one of the names, and their variants."""
    families = {name.split(":")[0] for name in entries}
    for name in names:
        if name not in families and name not in entries:
            raise InputError(f"{key}={name} is not in this experiment; choose one of {', '.join(entries) or 'none'}")
    return [entry for entry in entries if entry in names or entry.split(":")[0] in names]


def _say_what_is_kept(entry: Contender, data: Data, folder: Path) -> None:
    kept = kept_levels(entry, data, folder)
    if kept == len(data.sir_db):
        console.print(f"{entry.name}: kept, same settings and code; fresh=true computes it again")
    elif kept:
        console.print(f"{entry.name}: goes on after {kept} of {len(data.sir_db)} levels")


def _rows(path: Path, data: Data) -> dict[str, Row]:
    """Returns the experiment's rows so far; rows at other levels cannot stand in the same table."""
    kept = read_json(path) if path.is_file() else {"rows": []}
    return {row["separator"]: row for row in kept["rows"] if row["sir_db"] == sorted(data.sir_db)}


def run_comparison(settings: EvaluateSettings, setting: Node) -> int:
    """Runs a published comparison, writes results.json and a figure to runs/<experiment>/, and counts broken entries.

    Args:
        settings: settings of evaluate.py with an experiment.
        setting: the experiment's ``comparison``.
    """
    number = setting["num_mixtures"] if settings.num_mixtures is None else settings.num_mixtures
    levels, name, processes = setting["sir_db"], settings.name, settings.processes
    prepare = _given_mixtures if "mixtures" in setting else _radio_mixtures
    wanted = _wanted(settings, setting)
    comparison = prepare(setting, levels, number)
    entries = [_entry(*one[:2], comparison, one[2]) for one in wanted]
    if not entries:
        raise InputError(f"nothing to compare: experiment={name} has networks alone, and none of them is here")
    folder = settings.out or Path("runs", name)
    path = folder / "results.json"
    order = [*(setting.get("separators") or {}), *(setting.get("bounds") or {})]
    published = [Published(**curve) for curve in setting["published"]]
    # Other processes, if any, begin when this one joins them.
    if settings.fresh and speaks(processes):
        for entry, _ in entries:
            forget(entry, folder)
    if processes.several and not _measured_together(processes, entries, comparison.data, folder):
        return 0
    failures, shown = Failures(folder / "failed.log"), list[Row]()
    for entry, cost in entries:
        with failures.left_out(entry.name):
            rows = _rows(path, comparison.data) | {entry.name: _measured(entry, comparison.data, folder) | cost}
            shown = [rows[one] for one in order if one in rows]
            curves = [curve._asdict() for curve in published]
            write_json(path, {"schema": SCHEMA, "experiment": name, "rows": shown, "published": curves})
    if shown:
        console.print(score_table(name, shown, level_key="sir_db"))
        _draw(name, setting, folder, shown, published)
        console.print(f"results in {path}, figure: {folder / 'figure.png'}")
    return len(failures.names)


def _measured(entry: Contender, data: Data, folder: Path) -> Row:
    """Measures an entry with a progress bar, and returns its row."""
    _say_what_is_kept(entry, data, folder)
    with progress() as bar:
        task = bar.add_task(entry.name, total=len(data.sir_db) * data.num_mixtures)
        return compare(entry, data, folder, partial(bar.advance, task))


def _measured_together(processes: Processes, entries: list[_Ready], data: Data, folder: Path) -> bool:
    """Measures and keeps the levels of all entries in several processes; returns whether this one continues."""
    # This import takes seconds.
    from rfsep.training.predict import share

    pieces = [(entry, level) for entry, _ in entries for level in sorted(data.sir_db)]
    identity = json.dumps([entry.settings for entry, _ in entries], sort_keys=True)

    def work(piece: int) -> None:
        measure_level(*pieces[piece], data, folder)

    return share(work, len(pieces), processes.devices, processes.num_nodes, identity, in_sweep())


def _draw(name: str, setting: Node, folder: Path, rows: list[Row], published: list[Published]) -> None:
    """Draws the pictures of a comparison."""
    write_figure(folder / "figure.png", rows, published, name, level="sir_db")
    if reference := setting.get("learned_against"):
        write_learning_figure(folder / "learning.png", rows, str(reference), name)
    if setting.get("kernel_sweep"):
        write_kernel_figure(folder / "kernel_sweep.png", rows, published, name)
    if setting.get("omega_study"):
        write_omega_figure(folder / "omega.png", rows, name)


def run_landscape(settings: EvaluateSettings, landscape: Node) -> None:
    """Computes the loss of a toy mixture, and writes results.json and a figure to runs/<experiment>/.

    Args:
        settings: settings of evaluate.py with an experiment.
        landscape: class and arguments of the toy.
    """
    folder = settings.out or Path("runs", settings.name)
    content = {"schema": SCHEMA, "experiment": settings.name, **instantiate(landscape).study()}
    write_json(folder / "results.json", content)
    write_landscape_figure(folder / "figure.png", content, settings.name)
    console.print(f"results in {folder / 'results.json'}, figure: {folder / 'figure.png'}")
