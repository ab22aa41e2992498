"""The report page as a file: what stands in it, what is drawn, what it does not reach for."""

import base64
import io
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rfsep.pages.figures import Published, error_limits, waterfall, write_figure
from rfsep.pages.pictures import constellation, power_limits_db, spectrogram
from rfsep.pages.report import levels_of, write_page

SUPERSCRIPTS = dict(zip("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹", strict=True))


class Page(HTMLParser):
    """What the tests look at: start tags, tables as cell texts, and all text outside scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[list[list[str]]] = []
        self.text = ""
        self._inside: list[str] = []
        self.feed(html)
        self.text = " ".join(self.text.split())
        self.tables = [[[" ".join(cell.split()) for cell in row] for row in table] for table in self.tables]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self.text += "\n" if tag in ("dt", "dd", "p", "h1", "text") else ""
        while self._inside and self._inside.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "script" not in self._inside and "style" not in self._inside:
            self.text += data
        if {"td", "th"} & set(self._inside):
            row = self.tables[-1][-1]
            row[-1] += data


def rows_of(scores: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows in the order of the page: by mixture type, the submission first."""
    rows = scores["results"] + scores["baselines"]
    types = list(dict.fromkeys((row["soi"], row["interference"]) for row in rows))
    return [row for kind in types for row in rows if (row["soi"], row["interference"]) == kind]


def db(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def rate(value: float) -> str:
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}×10{''.join(SUPERSCRIPTS[digit] for digit in str(int(exponent)))}"


def curves(html: str) -> list[tuple[str, list[tuple[float, float]]]]:
    """Name and points of every curve drawn, in the order of the page."""
    found = re.findall(r'<g class="curve" data-separator="([^"]*)">\s*<path d="([^"]*)"', html)
    return [
        (name, [(float(x), float(y)) for x, y in re.findall(r"[ML] ([\d.-]+) ([\d.-]+)", path)]) for name, path in found
    ]


def pixels(uri: str) -> np.ndarray:
    """The image behind a data URI as its brightness, float64 [rows, columns]."""
    image = Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,"))))
    brightness: np.ndarray = np.asarray(image.convert("RGB"), dtype=np.float64).sum(-1)
    return brightness


def test_summary_has_every_score_and_marks_the_best(page_path: Path, scores: dict[str, Any]) -> None:
    html = page_path.read_text()
    page = Page(html)
    head, *body = page.tables[0]
    assert head == ["Mixture type", "Separator", "MSE score (dB)", "BER score (dB)"]
    for cells, row in zip(body, rows_of(scores), strict=True):
        kind = "submission" if row in scores["results"] else "baseline"
        interval = f"[{db(row['mse_score_low'])}, {db(row['mse_score_high'])}]"
        assert cells == [
            f"{row['soi']} in {row['interference']}",
            f"{row['separator']} {kind}",
            f"{db(row['mse_score'])} {interval}",
            "–" if row["ber_score"] is None else db(row["ber_score"]),
        ]
    for mixture_type in {(row["soi"], row["interference"]) for row in rows_of(scores)}:
        best = min(r["mse_score"] for r in rows_of(scores) if (r["soi"], r["interference"]) == mixture_type)
        assert f"<strong>{db(best)}</strong>" in html
    assert html.count("<strong>") == 4  # one MSE and one BER score a mixture type


def test_tables_have_every_level(page_path: Path, scores: dict[str, Any]) -> None:
    tables = Page(page_path.read_text()).tables[1:]
    zeros = 0
    for (_, *body), row in zip(tables, rows_of(scores), strict=True):
        for i, cells in enumerate(body):
            ber, interval = "–", ""
            if row["ber"] is not None and row["ber"][i] > 0:
                ber, interval = rate(row["ber"][i]), f"[{rate(row['ber_low'][i])}, {rate(row['ber_high'][i])}]"
            elif row["ber"] is not None:
                ber, zeros = "< 5.9×10⁻⁶", zeros + 1  # 3 / 512,000
            mse_interval = f"[{db(row['mse_db_low'][i])}, {db(row['mse_db_high'][i])}]"
            level = str(int(row["sinr_db"][i])).replace("-", "−")
            measured, mse = db(row["measured_sinr_db"][i]), db(row["mse_db"][i])
            assert cells == [level, measured, mse, mse_interval, ber, interval, "100"]
        assert len(body) == len(row["sinr_db"])
    assert zeros > 0


def test_levels_tell_failing_mixtures_and_both_limits() -> None:
    row: dict[str, Any] = {
        "sinr_db": [-3.0, 0.0], "measured_sinr_db": [-3.0, 0.0], "mse_db": [-10.0, -20.0], "mse_db_low": [-11.0, -21.0],
        "mse_db_high": [-9.0, -12.0], "ber": [0.02, 0.0], "ber_low": [0.01, 0.0], "ber_high": [0.05, 3e-3],
        "num_mixtures": [100, 100], "num_bits": [512_000, 512_000], "mse_failing": [2, 0],
        "mse_failing_share": [0.991, 0.0], "ber_failing": [3, 0], "ber_failing_share": [1.0, 0.0],
        "ber_limit_bits": [3 / 512_000] * 2, "ber_limit_mixtures": [3e-3] * 2,
    }  # fmt: skip
    first, second = levels_of(row)
    assert first.mse_interval == "[−11.00, −9.00]; 2 of 100 mixtures hold 99 % of the error"
    assert first.ber_interval == "[1.0×10⁻², 5.0×10⁻²]; 3 of 100 mixtures hold 100 % of the error"
    assert second.mse_interval == "[−21.00, −12.00]"
    assert (second.ber, second.ber_interval) == ("< 3.0×10⁻³", "3 / bits: 5.9×10⁻⁶")
    assert error_limits(row).tolist() == [3 / 512_000, 3e-3]


def test_every_separator_is_drawn(page_path: Path, scores: dict[str, Any]) -> None:
    drawn = curves(page_path.read_text())
    expected = []
    for kind in dict.fromkeys((row["soi"], row["interference"]) for row in rows_of(scores)):
        rows = [row for row in rows_of(scores) if (row["soi"], row["interference"]) == kind]
        for metric in ("ber", "mse_db"):
            expected += [(row["separator"], len(row["sinr_db"])) for row in rows if row[metric] is not None]
    measured = [(name, len(points)) for name, points in drawn if "Someone" not in name]
    assert sorted(measured) == sorted(expected)
    published = [len(points) for name, points in drawn if name.startswith("Someone")]
    assert published == [2, 2]  # three levels, one of them unpublished in either metric


def test_bounds_are_drawn_thin_and_compete_with_nobody(scores: dict[str, Any], tmp_path: Path) -> None:
    """Where they lie on the axes: no error at all draws nothing, and neither does an MSE below them."""
    row = scores["results"][0]
    bound = row | {"separator": "oracle", "bound": True, "label": "told the timing", "mse_score": -99.0}
    bound |= {"ber": [0.1, 0.01] + [0.0] * 9, "mse_db": [-3.0] * 8 + [-120.0] * 3}
    write_page(tmp_path / "index.html", scores | {"bounds": [bound]}, {}, [])
    page = Page((tmp_path / "index.html").read_text())
    assert "oracle" not in [cells[1].split()[0] for cells in page.tables[0][1:]]
    assert any("told the timing" in text for text in [page.text])
    assert "Thin dashes are bounds" in page.text
    drawn = [points for name, points in curves((tmp_path / "index.html").read_text()) if name == "oracle"]
    assert [len(points) for points in drawn] == [2, 8]
    silent = bound | {"ber": [0.0] * 11, "mse_db": [-120.0] * 11}
    for metric in ("ber", "mse_db"):
        assert [name for name, _ in curves(waterfall([row, silent], metric, []))] == [row["separator"]]


def test_zero_errors_are_drawn_at_the_limit(scores: dict[str, Any]) -> None:
    row = scores["results"][0]
    ((_, points),) = curves(waterfall([row], "ber", []))
    values = np.where(np.array(row["ber"]) == 0, 3 / 512_000, row["ber"])
    heights = np.array([y for _, y in points])
    slope = (heights[1] - heights[0]) / np.log10(values[1] / values[0])
    np.testing.assert_allclose(heights, heights[0] + slope * np.log10(values / values[0]), atol=1e-3)
    assert (np.array(row["ber"]) == 0).sum() >= 2


def test_hostile_names_stay_text(page_path: Path) -> None:
    html = page_path.read_text()
    page = Page(html)
    assert "<script>alert" not in html
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert "<script>alert(1)</script>" in page.text
    assert "mini & more" in page.text


@pytest.mark.parametrize("name", ["$x^{$", "_hidden", '"><b onclick="x()">', "a&b"])
def test_hostile_separators_are_drawn_as_they_are(scores: dict[str, Any], name: str) -> None:
    svg = waterfall([{**scores["results"][0], "separator": name}], "mse_db", [])
    page = Page(svg)
    assert name in page.text
    assert not {"b", "script"} & {tag for tag, _ in page.tags}
    assert [attributes["data-separator"] for _, attributes in page.tags if "data-separator" in attributes] == [name]


def test_page_is_self_contained(page_path: Path) -> None:
    html = page_path.read_text()
    for tag, attributes in Page(html).tags:
        for key in ("src", "href", "srcset", "action", "data", "poster", "xlink:href"):
            value = attributes.get(key)
            assert value is None or value.startswith(("data:", "#")), (tag, key, value)
    assert not re.search(r"https?://|@import|url\((?!#)", html)


def test_page_structure(page_path: Path) -> None:
    tags = Page(page_path.read_text()).tags
    levels = [int(tag[1]) for tag, _ in tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {a["href"] for tag, a in tags if tag == "a"} <= {f"#{name}" for name in ids}
    labels = [attributes.get("alt") for tag, attributes in tags if tag == "img"]
    assert len(labels) == 10
    assert all(labels)
    assert all(attributes.get("aria-label") for tag, attributes in tags if tag == "svg")
    assert sum(tag == "figcaption" for tag, _ in tags) == sum(tag == "figure" for tag, _ in tags) == 8


def test_card(page_path: Path, scores: dict[str, Any], tmp_path: Path) -> None:
    text = Page(page_path.read_text()).text
    for fact in (
        "Parameters 995,202",
        "per sample 976.5 k",
        "mixture 143.8 ms",
        "time 37.2 min",
        "compute –",
        "Seed 0",
    ):
        assert fact in text
    assert "blind" in text
    card = {**scores["card"], "blind": False, "macs_per_sample": None, "train_minutes": None, "seed": None}
    write_page(tmp_path / "oracle.html", {**scores, "card": card}, {}, [])
    text = Page((tmp_path / "oracle.html").read_text()).text
    for fact in ("oracle", "per sample –", "Training time –", "Seed –"):
        assert fact in text


def test_unknown_bits_have_no_waterfall(scores: dict[str, Any], tmp_path: Path) -> None:
    unknown = {"ber": None, "ber_low": None, "ber_high": None, "ber_score": None}
    results = [{**row, **unknown} for row in scores["results"]]
    write_page(tmp_path / "index.html", {**scores, "results": results, "baselines": []}, {}, [])
    page = Page((tmp_path / "index.html").read_text())
    assert page.text.count("are not known") == len(results) == sum(tag == "svg" for tag, _ in page.tags)


def test_submission_named_as_a_baseline_keeps_its_own_curve(scores: dict[str, Any], tmp_path: Path) -> None:
    twin = {**scores["results"][0], "mse_db": [0.0] * 11}
    write_page(tmp_path / "index.html", {**scores, "results": scores["results"][:1], "baselines": [twin]}, {}, [])
    names = [name for name, _ in curves((tmp_path / "index.html").read_text())]
    assert names == ["unet (baseline)", "unet"] * 2  # the submission on top


def test_same_scores_give_the_same_page_and_failure_leaves_it(page_path: Path, scores: dict[str, Any]) -> None:
    first = page_path.read_bytes()
    path = page_path.with_name("again.html")
    for _ in range(2):
        write_page(path, scores, {}, [])
    again = path.read_bytes()
    write_page(path, scores, {}, [])
    assert path.read_bytes() == again != first
    del scores["testset"]
    with pytest.raises(Exception, match="testset"):
        write_page(path, scores, {}, [])
    assert path.read_bytes() == again
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["again.html", "index.html"]


def test_large_page_stays_small(scores: dict[str, Any], example: Any, tmp_path: Path) -> None:
    extra = {**scores, "results": [], "baselines": []}
    examples = []
    for index in range(4):
        for key in ("results", "baselines"):
            extra[key] += [{**row, "interference": f"{row['interference']}{index}"} for row in scores[key]]
        for soi, name in (("QPSK", "OFDMQPSK"), ("OFDMQPSK", "CommSignal2")):
            examples.append(example._replace(soi=soi, interference=f"{name}{index}"))
    extra["baselines"] += [{**row, "separator": "fifth"} for row in extra["results"]]
    write_page(tmp_path / "index.html", extra, {}, examples)
    assert sum(tag == "img" for tag, _ in Page((tmp_path / "index.html").read_text()).tags) == 8 * 5
    assert (tmp_path / "index.html").stat().st_size < 3e6


def test_experiment_figure(scores: dict[str, Any], tmp_path: Path) -> None:
    row = {key: value for key, value in scores["results"][0].items() if key != "sinr_db"} | {"sir_db": [*range(11)]}
    published = [Published("paper", [0.0, 10.0], [-1.0, -9.0], None)]
    write_figure(tmp_path / "figure.svg", [row], published, "csgaussian/cyclo", "sir_db")
    text = Page((tmp_path / "figure.svg").read_text()).text
    for label in ("csgaussian/cyclo", "BER", "MSE (dB)", "SIR (dB)", "unet", "paper"):
        assert label in text
    for name, rows in (("both", [row]), ("one", [{**row, "ber": None}])):
        write_figure(tmp_path / f"{name}.png", rows, published, "title", "sir_db")
    with Image.open(tmp_path / "both.png") as both, Image.open(tmp_path / "one.png") as one:
        assert both.width > 1.9 * one.width


def test_constellation_is_placed_by_the_ideal_points() -> None:
    ideal = np.array([1 + 1j, 1 - 1j, -1 + 1j, -1 - 1j], dtype=np.complex64)
    image = pixels(constellation(np.array([0.5 + 0.5j, 9 + 9j], dtype=np.complex64), ideal))
    row, column = np.unravel_index(image.argmax(), image.shape)
    np.testing.assert_allclose((row, column), (120, 200), atol=3)  # 0.5 of an axis of 2 is 160 + 40 pixels


def test_spectrogram_shows_a_tone_at_its_frequency() -> None:
    tone = np.exp(2j * np.pi * 0.25 * np.arange(40_960)).astype(np.complex64)
    limits = power_limits_db([tone])
    assert limits[1] == pytest.approx(10 * np.log10(2 / 3), abs=0.01)  # a Hann window keeps 2/3 of a tone in its bin
    up, down, quiet = (pixels(spectrogram(wave, 25e6, limits)) for wave in (tone, tone.conj(), tone / 1000))
    axis = 0.795 * up.shape[0]
    up, down, quiet = (image[15 : int(axis), 100:400] for image in (up, down, quiet))  # without the labels
    line = [float(image.mean(1).argmax()) for image in (up, down)]
    assert line[1] - line[0] == pytest.approx(axis / 2, abs=3)  # +fs/4 stands above -fs/4 by half the axis
    assert quiet.max() < 0.2 * up.max()  # 60 dB below: the dark end of the same colours
