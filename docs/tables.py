"""Writes the tables of README.md and docs/*.md from docs/results/*.json and conf/: python docs/tables.py."""

import json
import math
import re
from pathlib import Path
from typing import Any

from rfsep.metrics import FAILING_SHARE
from rfsep.pages.table import shown_levels

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results"
CONF = ROOT / "conf"
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
# Tables with more levels leave out the intervals.
WIDEST_WITH_INTERVALS = 6
SUMMARY_DB = -12.0
EQUAL_DB = -300.0  # floor of docs/against.py for the difference of estimates
SUMMARY = (  # the README's selection of comparisons
    ("QPSK in OFDM-QPSK, as in alpha-RGS", "args_ofdm_qpsk"),
    ("QPSK in OFDM and noise", "csgaussian_qpskcomm"),
    ("QPSK in OFDM-16-QAM and noise", "dnn_comparison"),
    ("QPSK in a 5G NR uplink", "nr_uplink"),
    ("QPSK in recorded Wi-Fi", "real_wifi20"),
    ("QPSK in recorded LTE", "real_lte20"),
)
GROUPS = {  # groups of conf/ in the order of the page; experiments are on the pages of their results
    "soi": "signals of interest; `*_commpy*`, `*_crop`, `qpsk_2021`, `qpsk_span4` and `cosines_*` belong to published "
    "comparisons",
    "interference": "synthetic interference, and the recordings `adsb`, `commsignal*`, `emisignal1`, `fpv`, `fsk`, "
    "`lte20`, `nr_recorded`, `satbpsk`, `wifi20`; `many_kinds` draws many kinds with random parameters; "
    "`cosines_*`, `ofdm_gaussian_*`, `ofdm_16qam_unrotated`, `ofdm_qpsk_axes` and `surrogate_*` belong to published "
    "comparisons",
    "channel": "carrier, phase, clock, delay, rays and phase noise that the SOI or the interference comes through, "
    "for training and test sets ([hosting](hosting.md#signals-through-real-channels))",
    "model": "networks: `*_small`, `unet_guided` and `strided_unet*` for two cores, the others at published sizes; "
    "`diffwave*`, `carrier_prior` and `token_prior_*` are diffusion priors, `tokenizer_*` tokenizers of one signal; "
    "`timing_cnn*` tell the interference's timing",
    "objective": "what a network learns; `*_published` and `mse_unet` have the published optimisers",
    "augment": "changes of phase, carrier offset and level of the interference, in training alone",
    "separator": "methods that find the SOI in a mixture ([recipe](recipes.md#a-separator))",
    "bound": "limits that are told more than a separator may know",
    "trainer": "devices, steps and precision ([training](training.md))",
    "logger": "where the metrics of a training go",
    "challenge": "the mixture types of a test set ([hosting](hosting.md))",
    "ablation": "series of trainings, for `python docs/ablations.py NAME`",
}
MARK = re.compile(r"(<!-- table (\w+) (\S+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def _grid(header: list[str], rows: list[list[str]], words: int = 0) -> str:
    """Returns a table whose first column and last ``words`` columns hold words, the others numbers."""
    numbers = len(header) - 1 - words
    lines = [header, ["---", *["---:"] * numbers, *["---"] * words], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _number(value: float, metric: str) -> str:
    """Returns an MSE in dB, or a BER with three digits: 12.34, .0123, 1.2e-5."""
    if metric == "mse_db":
        return f"{value:.2f}"
    return f"{value:.3g}".lstrip("0").replace("e-0", "e-") if value > 0 else "0"


def _cells(row: dict[str, Any], metric: str) -> list[str]:
    """Returns a row's figures, with intervals if there are few enough levels to read them."""
    cells = []
    numbers = row.get("num_mixtures", [math.inf] * len(row[metric]))  # Captures are no mixtures.
    for value, low, high, mixtures in zip(
        row[metric], row[f"{metric}_low"], row[f"{metric}_high"], numbers, strict=True
    ):
        if metric == "ber" and value == 0:
            # Runs before there were limits by mixtures have 3 / bits alone.
            cells.append(f"<{max(high, 3 / mixtures * FAILING_SHARE):.0e}".replace("e-0", "e-"))
        elif len(row[metric]) > WIDEST_WITH_INTERVALS:
            cells.append(_number(value, metric))
        else:
            cells.append(f"{_number(value, metric)} ({_number(low, metric)} .. {_number(high, metric)})")
    return cells


def _cell(row: dict[str, Any]) -> str:
    """Returns the error rate of a study's row, with its interval."""
    columns = {key: [row[key]] for key in ("ber", "ber_low", "ber_high")}
    return _cells(columns | ({"num_mixtures": [row["mixtures"]]} if "mixtures" in row else {}), "ber")[0]


def _published_cells(curve: dict[str, Any], metric: str, levels: list[float]) -> list[str]:
    known = dict(zip(curve["sinr_db"], curve[metric], strict=True))
    return ["" if known.get(level) is None else _number(known[level], metric) for level in levels]


def _row_name(row: dict[str, Any]) -> str:
    return f"bound: {row['label']}" if row.get("bound") else str(row["separator"])


def comparison(content: dict[str, Any]) -> str:
    """Returns the table of a results.json: separators, bounds, published rows; of many levels, about every second."""
    shown = shown_levels(len(content["rows"][0]["sir_db"]))
    levels = content["rows"][0]["sir_db"][shown]
    text = ""
    for metric, title in (("ber", "BER"), ("mse_db", "MSE dB")):
        rows = [[_row_name(row), *_cells(row, metric)[shown]] for row in content["rows"] if row[metric] is not None]
        curves = [curve for curve in content["published"] if curve[metric] is not None]
        if not rows and not curves:  # The SOI has no bits.
            continue
        rows += [[f"published: {curve['name']}", *_published_cells(curve, metric, levels)] for curve in curves]
        text += _grid([f"{title} at SIR", *(f"{level:g} dB" for level in levels)], rows) + "\n"
    return text


def scores(content: dict[str, Any]) -> str:
    """Returns the tables of a scores.json, one per mixture type: baselines and submission."""
    text = ""
    for result in content["results"]:
        rows = [row for row in content["baselines"] if row["interference"] == result["interference"]]
        levels = [f"{level:g} dB" for level in result["sinr_db"]]
        for metric, title in (("mse_db", "MSE dB"), ("ber", "BER")):
            header = [f"{result['soi']} in {result['interference']}, {title} at SINR", *levels]
            text += _grid(header, [[row["separator"], *_cells(row, metric)] for row in [*rows, result]]) + "\n"
    return text


def _estimate(row: dict[str, Any]) -> str:
    """Returns a row's BER at the summary's level, with its interval."""
    index = row["sir_db"].index(SUMMARY_DB)
    keys = [key for key in ("ber", "ber_low", "ber_high", "num_mixtures") if key in row]
    return _cells({key: [row[key][index]] for key in keys}, "ber")[0]


def summary(contents: dict[str, dict[str, Any]]) -> str:
    """Returns a line per comparison: the two usual estimators, the best blind separator, the best published one."""

    def line(title: str, content: dict[str, Any]) -> list[str]:
        blind = [row for row in content["rows"] if row["blind"] and not row.get("bound") and row["ber"]]
        named = {row["separator"]: row for row in blind}
        usual = [_estimate(named[name]) if name in named else "" for name in ("matched_filter", "lmmse")]
        best = min(blind, key=lambda row: row["ber"][row["sir_db"].index(SUMMARY_DB)])
        curves = [curve for curve in content["published"] if curve["ber"] is not None]
        found = [(_published_cells(curve, "ber", [SUMMARY_DB])[0], curve["name"]) for curve in curves]
        published = min((one for one in found if one[0]), key=lambda one: float(one[0]), default=())
        return [title, *usual, f"{_estimate(best)} `{best['separator']}`", " ".join(published)]

    header = [f"BER at {SUMMARY_DB:g} dB", "matched filter", "LMMSE", "best here", "best published"]
    return _grid(header, [line(title, contents[name]) for title, name in SUMMARY], words=2)


def bench(content: dict[str, Any]) -> str:
    """Returns the table of a benchmark: every figure by name."""

    def flat(node: dict[str, Any], prefix: str = "") -> list[list[str]]:
        rows = []
        for key, value in node.items():
            name = f"{prefix} {key}".strip().replace("_", " ")
            # In a profile, these are the operators that take most of the time.
            if isinstance(value, list):
                rows.append([name, ", ".join(f"{one['operator']} {one['share']:.0%}" for one in value[:3])])
            else:
                rows += flat(value, name) if isinstance(value, dict) else [[name, f"{value:.4g}"]]
        return rows

    machine = content.pop("machine")
    return _grid([f"{machine['cpu']}, {machine['threads']} threads, torch {machine['torch']}", ""], flat(content))


def export(content: dict[str, Any]) -> str:
    """Returns the gains of rfsep export: a line per network and size with seconds, speed-ups and differences."""
    ways = {"torch_bfloat16": "torch bf16", "export_bfloat16": "exported bf16", "export_float32": "exported float32"}
    rows = []
    for row in content["rows"]:
        gains = [f"{row[way]['times_float32']:.2f} ({row[way]['error_db']:.0f} dB)" for way in ways]
        where = f"`{row['model']}`, {row['windows']} x {row['num_samples']:,}"
        rows.append([where, str(row["threads"]), f"{row['torch_float32']['seconds']:.4f}", *gains])
    title = f"{content['machine']['cpu']}, torch {content['machine']['torch']}, {content['engine']}"
    return _grid([title, "threads", "seconds", *ways.values()], rows)


def decisions(content: dict[str, Any]) -> str:
    """Returns the table of bit error rates by decision method."""
    header = ["BER at SINR", *(f"{level:g} dB" for level in content["sinr_db"]), "bits of"]
    rows = []
    for row in content["rows"]:
        rates = [_number(value, "ber") for value in row["ber"]]
        rows.append([f"{row['soi']} in {row['interference']}", *rates, row["bits"]])
    return _grid(header, rows, words=1)


def timing(content: dict[str, Any]) -> str:
    """Returns the table of timing error rates: a line per synchroniser and window length, a column per level."""
    rows = []
    for row in content["rows"]:
        pairs = zip(row["timing_error"], row["timing_error_high"], strict=True)
        rates = [_number(rate, "ber") if rate else f"<{_number(high, 'ber')}" for rate, high in pairs]
        rows.append([f"`{row['synchroniser']}`, {row['window_samples']:,} samples", *rates])
    levels = content["rows"][0]["sir_db"]
    return _grid(["timing error rate at SIR", *(f"{level:g} dB" for level in levels)], rows)


LEARNED_DB = (-24.0, -12.0, 0.0)


def learned(contents: dict[str, dict[str, Any]]) -> str:
    """Returns the table of what rfsep learn reaches: a line per kind, error rates at three levels in each cell."""

    def cell(row: dict[str, Any] | None, name: str = "") -> str:
        if row is None:
            return ""
        places = [row["sinr_db"].index(level) for level in LEARNED_DB]
        rates = [(row["ber"][place], row["ber_high"][place]) for place in places]
        text = " ".join(_number(rate, "ber") if rate else f"<{high:.0e}".replace("e-0", "e-") for rate, high in rates)
        return f"{text} `{name}`" if name else text

    def line(kind: str, content: dict[str, Any]) -> list[str]:
        rows = {row["separator"]: row for row in content["rows"]}
        usual = ("matched_filter", "lmmse")
        structure = [name for name in rows if ":" not in name and name not in usual]
        nets = [name for name in rows if name.startswith("network:")]
        best, net = (min(names, key=lambda one: _decades(rows[one]), default=None) for names in (structure, nets))
        found = [cell(rows.get(f"learned:{minutes}")) for minutes in (1, 5, 20)]
        chosen = content["chosen"][max(content["chosen"], key=float)]
        network = cell(rows[net], net.split(":")[1]) if net else ""
        return [
            kind,
            *(cell(rows.get(name)) for name in usual),
            cell(rows[best], best) if best else "",
            network,
            *found,
            chosen,
        ]

    header = ["BER at -24 / -12 / 0 dB", "matched filter", "LMMSE", "best structure", "best network"]
    header += ["`learn`, 1 min", "5 min", "20 min", "chosen"]
    return _grid(header, [line(kind, contents[kind]) for kind in sorted(contents)], words=8)


def _decades(row: dict[str, Any]) -> float:
    """Returns the mean over levels of the logarithm of the error rate, or of half a bit error."""
    limits = [max(rate, 0.5 / bits) for rate, bits in zip(row["ber"], row["num_bits"], strict=True)]
    return sum(math.log10(limit) for limit in limits) / len(limits)


def impairments(content: dict[str, Any]) -> str:
    """Returns bit error rates without and with tracking: a line per impairment, a column per cell.

    Each is "before → now (interval)". A row that was not measured leaves its place empty.
    """
    rows = {(row["impairment"], row["cell"], row["track"]): row for row in content["rows"]}
    names = sorted({key[0] for key in rows}, key=lambda name: (name == "all", name != "none", name))
    cells = sorted({key[1] for key in rows}, key=lambda cell: (cell.split("@")[1], -float(cell.split("@")[2]), cell))

    def shown(name: str, cell: str) -> str:
        before, now = (rows.get((name, cell, track)) for track in ("none", "full"))
        rate = "" if before is None else _number(before["ber"], "ber")
        if now is None:
            return rate and f"{rate} →"
        return f"{rate} → {_cell(now)}".strip()

    titles = ["`{}` in `{}`, {} dB".format(*cell.split("@")) for cell in cells]
    return _grid(["BER", *titles], [[name, *(shown(name, cell) for cell in cells)] for name in names]) if rows else ""


def robust(content: dict[str, Any]) -> str:
    """Returns bit error rates beneath impaired OFDM: a line per impairment, all separators at -12 dB, one at others."""
    rows = {(row["cell"], row["separator"], row["sinr_db"]): row for row in content["rows"]}
    cells = list(dict.fromkeys(cell for cell, _, _ in rows))
    names = list(dict.fromkeys(name for _, name, _ in rows))
    others = [("joint_detection", level) for level in sorted({level for _, _, level in rows} - {-12})]
    columns = [*((name, -12) for name in names), *others]

    def shown(row: dict[str, Any] | None) -> str:
        return "" if row is None else _cell(row)

    titles = [f"`{name}`, {sinr_db:g} dB" for name, sinr_db in columns]
    return _grid(["BER", *titles], [[cell, *(shown(rows.get((cell, *key))) for key in columns)] for cell in cells])


def honesty(content: dict[str, Any]) -> str:
    """Returns the worst cell of every separator: where its BER is furthest above that of LMMSE, in proportion."""
    found = []
    for name in dict.fromkeys(row["separator"] for row in content["rows"]):
        rows = [row for row in content["rows"] if row["separator"] == name]
        worst = max(rows, key=lambda row: max(row["ber"], 1e-3) / max(row["ber_lmmse"], 1e-3))
        rates = [_number(worst[key], "ber") for key in ("ber", "ber_lmmse", "ber_matched_filter")]
        broken = sum(not row["holds"] for row in rows)
        place = f"{worst['impairment']}, {worst['sinr_db']:g} dB"
        found.append([f"`{name}`", str(len(rows)), str(broken), *rates, place])
    titles = ["separator", "cells", "broken", "BER in the worst", "`lmmse`", "`matched_filter`", "worst cell"]
    return _grid(titles, found, words=1)


def reliability(content: dict[str, Any]) -> str:
    """Returns the share of right bits among those told with a probability, over all cells, before → calibrated."""
    found = []
    for name in dict.fromkeys(row["separator"] for row in content["rows"]):
        kinds = []
        for calibrated in (False, True):
            rows = [
                row["bins"] for row in content["rows"] if (row["separator"], row["calibrated"]) == (name, calibrated)
            ]
            kinds.append([_pooled([bins[index] for bins in rows]) for index in range(len(rows[0]))])
        found.append([f"`{name}`", *(f"{before} → {now}" for before, now in zip(*kinds, strict=True))])
    titles = [f"{0.5 + 0.05 * index:.2f} to {0.55 + 0.05 * index:.2f}" for index in range(10)]
    return _grid(["right of those told", *titles], found)


def hosting(content: dict[str, Any]) -> str:
    """Returns the load of rfsep host: a line per measurement."""
    rows = []
    for row in content["rows"]:
        figures = [f"{row['entries']}", f"{row['minutes']:.1f}", f"{row['seconds_per_entry']:.2g}"]
        figures += [f"{row['peak_memory_mb']:.0f} MB", f"{row['baselines_seconds']:.0f}"]
        rows.append([row["set"], *figures, f"{row['baselines_peak_memory_mb']:.0f} MB"])
    header = [
        "test set",
        "entries",
        "minutes",
        "seconds per entry",
        "peak memory",
        "first call, seconds",
        "peak memory",
    ]
    return _grid(header, rows)


def _pooled(bins: list[list[float]]) -> str:
    """Returns the share of right bits in a bin of several cells; nothing where it has fewer than 100 bits."""
    count = sum(one[2] for one in bins)
    return "" if count < 100 else f"{sum(one[1] * one[2] for one in bins) / count:.2f}"


def coverage(content: dict[str, Any]) -> str:
    """Returns the share of simulated 95 % intervals that hold the truth, before → now, and the MSE score's width."""
    figures = {"mse": "MSE of a level", "ber": "BER of a level", "mse_score": "MSE score", "ber_score": "BER score"}
    found = []
    for row in content["rows"]:
        shares = [f"{_share(row[f'{key}_before'])} → {_share(row[f'{key}_now'])}" for key in figures]
        found.append([row["cell"], *shares, f"{row['width_db_before']:.1f} → {row['width_db_now']:.1f} dB"])
    return _grid(["held", *figures.values(), "width of the MSE score's"], found)


def _share(value: float) -> str:
    """Returns a share with three digits, .953 or 1."""
    return f"{value:.3f}".lstrip("0") if value < 0.9995 else "1"


def ranks(content: dict[str, Any]) -> str:
    """Returns how often somebody is called better: a line per case, boards without a difference first."""

    def line(row: dict[str, Any]) -> list[str]:
        swapped = (
            f"{row['recordings']} recordings" if row["recordings"] else f"{row['levels']} x {row['per_level']} mixtures"
        )
        told = [_number(row[method], "ber") for method in ("swaps", "t", "bootstrap", "intervals")]
        return [f"{row['entries']} entries, {row['title']}", swapped, *told]

    rows = sorted(content["rows"], key=lambda row: bool(row["power"]))
    header = ["share called better", "on", "swaps, corrected", "paired t", "paired bootstrap", "intervals apart"]
    return _grid(header, [line(row) for row in rows])


def against(content: dict[str, Any]) -> str:
    """Returns the gains over an older commit: a line per row of work."""

    def line(row: dict[str, Any]) -> list[str]:
        spread = f"{row['ratio']:.2f} [{row['ratio_low']:.2f}, {row['ratio_high']:.2f}]"
        memory = f"{row['memory_ratio']:.2f}" if "memory_ratio" in row else ""
        drawn, other = [], []
        for name, found in row.get("conditions", {}).items():
            (other if "late" in name else drawn).append(found)
        apart = max((found["difference_db"] for found in drawn), default=None)
        furthest = "" if apart is None else "equal" if apart <= EQUAL_DB else f"{apart:.0f} dB"
        wrong = [
            f"{sum(one['wrong_bits'][0] for one in some)} → {sum(one['wrong_bits'][1] for one in some)}" if some else ""
            for some in (drawn, other)
        ]
        seconds = [f"{row[key]:.3g}" for key in ("old_cpu_seconds", "new_cpu_seconds")]
        return [row["what"], *seconds, spread, memory, furthest, *wrong]

    header = [
        "CPU seconds on one thread",
        "before",
        "now",
        "ratio",
        "memory, ratio",
        "estimates apart",
        "wrong bits",
        "wrong bits, late on a carrier",
    ]
    return _grid(header, [line(row) for row in content["rows"]])


KINDS = {
    "comparison": comparison,
    "scores": scores,
    "bench": bench,
    "export": export,
    "decisions": decisions,
    "timing": timing,
    "impairments": impairments,
    "robust": robust,
    "honesty": honesty,
    "reliability": reliability,
    "coverage": coverage,
    "ranks": ranks,
    "hosting": hosting,
    "against": against,
}


def configuration(conf: Path) -> str:
    """Returns the table of a folder of configs: the description and YAML names of each group.

    Raises:
        KeyError: a group has no description in ``GROUPS``.
    """
    groups = {path.name for path in conf.iterdir() if path.is_dir()} - {"experiment"}
    if strange := sorted(groups - set(GROUPS)):
        raise KeyError(f"conf/{strange[0]} has no description among GROUPS in docs/tables.py")
    rows = []
    for group, text in GROUPS.items():
        names = sorted(
            path.relative_to(conf / group).with_suffix("").as_posix() for path in (conf / group).rglob("*.yaml")
        )
        rows.append([f"`{group}`", text, ", ".join(f"`{name}`" for name in names)])
    return _grid(["group", "what it holds", "names"], rows, words=2)


def _load(name: str) -> dict[str, Any]:
    if name == "impairments" and not (RESULTS / f"{name}.json").is_file():
        return {"rows": []}  # Hours of measurement, done last.
    content: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return content


def rendered(text: str) -> str:
    """Returns a page with every table rewritten from its JSON."""

    def table(match: re.Match[str]) -> str:
        if match[2] == "configuration":
            content = configuration(CONF)
        elif match[2] == "summary":
            content = summary({name: _load(name) for _, name in SUMMARY})
        elif match[2] == "learned":
            paths = sorted(RESULTS.glob("learned_*.json"))
            content = learned({path.stem.removeprefix("learned_"): _load(path.stem) for path in paths})
        else:
            content = KINDS[match[2]](_load(match[3]))
        return f"{match[1]}{content.rstrip()}\n{match[5]}"

    return MARK.sub(table, text)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(rendered(page.read_text()))
