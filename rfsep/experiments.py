"""Published comparisons: evaluate.py experiment=NAME."""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from rfsep.challenge.comparison import Setting, compare
from rfsep.challenge.figures import write_figure
from rfsep.challenge.report import Published
from rfsep.challenge.scoring import SCHEMA, Row
from rfsep.challenge.table import score_table
from rfsep.cli import build_modem, build_source, console, example_frames, numbers, option, plain, whole
from rfsep.evaluation import Parts, progress, separator_parts
from rfsep.mixtures.mix import Mixer
from rfsep.storage.atomic import read_json, write_json
from rfsep.types import InputError, Modem


def _comparison_parts(entry: Any, setting: Any, source: Any, soi: Modem) -> Parts:
    """Separator of an entry of a comparison's YAML: ``use`` names its option, the rest differs from that."""
    changes = dict(entry)
    config = option("separator", changes.pop("use"))
    modem = build_modem(option("soi", changes.pop("modem"))) if "modem" in changes else soi
    given = changes.pop("interference_autocorrelation", None) == "given"
    config.method.update(changes)
    extra = {"interference_autocorrelation": source.autocorrelation(config.method.block)} if given else {}
    examples = example_frames(option("interference", setting.interference), **setting.examples)
    return separator_parts(config, modem, examples, extra)


def _wanted(names: Iterable[str], only: str | None) -> Iterator[str]:
    """Entries of a comparison that ``separator=NAME`` asks for: NAME and its variants NAME:..."""
    for name in names:
        if only is None or name.split(":")[0] == only:
            yield name


def run_comparison(config: Any) -> None:
    """A published comparison: results.json and a figure in runs/<experiment>/.

    Args:
        config: of evaluate.py with an experiment; all settings are in ``config.comparison``.
    """
    setting = config.comparison
    soi = build_modem(option("soi", setting.soi))
    source = build_source(option("interference", setting.interference), "test")
    mixer = Mixer(
        soi,
        source,
        empirical=setting.empirical,
        random_phase=setting.random_phase,
        noise_power=setting.noise_power,
    )
    number = setting.num_mixtures if config.num_mixtures is None else whole(config, "num_mixtures")
    data = Setting(numbers(config, "comparison.sir_db"), number, setting.num_samples, setting.seed)
    folder = Path(str(config.out or f"runs/{config.name}"))
    path = folder / "results.json"
    only = None if config.separator is None else config.separator.name
    wanted = list(_wanted(setting.separators, only))
    if not wanted:
        raise InputError(f"separator={only} is not in this experiment; choose one of {', '.join(setting.separators)}")
    kept = read_json(path) if path.is_file() else {"rows": []}
    # rows at other levels cannot stand in the same table
    rows: dict[str, Row] = {row["separator"]: row for row in kept["rows"] if row["sir_db"] == sorted(data.sir_db)}
    published = [Published(**{str(key): plain(value) for key, value in curve.items()}) for curve in setting.published]
    for name in wanted:
        parts = _comparison_parts(setting.separators[name], setting, source, soi)
        with progress() as bar:
            task = bar.add_task(name, total=len(data.sir_db) * number)
            rows[name] = compare(name, parts.make, not parts.oracle, mixer, data, partial(bar.advance, task))
        folder.mkdir(parents=True, exist_ok=True)
        content = {
            "schema": SCHEMA,
            "experiment": config.name,
            "rows": [rows[key] for key in setting.separators if key in rows],
            "published": [curve._asdict() for curve in published],
        }
        write_json(path, content)
    shown = [rows[key] for key in setting.separators if key in rows]
    console.print(score_table(config.name, shown, level_key="sir_db"))
    write_figure(folder / "figure.png", shown, published, config.name, level="sir_db")
    console.print(f"results in {path}, figure: {folder / 'figure.png'}")
