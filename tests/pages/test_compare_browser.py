"""The comparison of two entries in Chromium: its figures and tables say what the errors on every mixture say."""

import re
from pathlib import Path

import numpy as np
import pytest
from board import LEVELS, NUM_BITS, TYPES, Errors, row_of_errors, type_errors, write_scores
from playwright.sync_api import Page
from scipy import stats
from test_report_browser import FAINT_TEXT, Trouble, open_page

from rfsep.pages.leaderboard import write_leaderboard

NAMES = ["ahead", "Übung <b>", "part"]
PER_LEVEL = 30


def errors_of(index: int, kind: int) -> tuple[Errors, Errors]:
    rng = np.random.default_rng(10 * kind + index)
    mse = rng.exponential(size=(3, PER_LEVEL)) * 10 ** (index / 4 - 1) * np.array([[4.0], [2.0], [1.0]])
    return mse, rng.binomial(NUM_BITS, np.clip(mse / 4, 0, 0.5))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three entries on two types, of which one lacks the second type, whose interference is of six recordings."""
    place = tmp_path_factory.mktemp("compare")
    for index, name in enumerate(NAMES):
        rows, errors = [], {}
        for number, kind in enumerate(TYPES[: 1 if name == "part" else 2]):
            found = errors_of(index, number)
            rows.append(row_of_errors(name, kind, *found))
            errors["_".join(kind)] = type_errors(*found, np.arange(3 * PER_LEVEL) % 6 if number else None)
        write_scores(place / str(index), name, rows, errors)
    write_leaderboard(place)
    return place


def numbers(text: list[str]) -> list[float]:
    return [float(one.replace("−", "-")) for one in text]


def table(page: Page, name: str) -> list[list[str]]:
    rows = page.locator(f".{name} tbody tr")
    return [rows.nth(index).locator("th, td").all_inner_texts() for index in range(rows.count())]


def test_cell_of_the_board_leads_to_its_pair(page: Page, place: Path) -> None:
    trouble = Trouble(page)
    open_page(page, place / "index.html", 1280)
    page.locator(".versus").nth(1).locator("tbody tr").nth(1).locator("a").first.click()
    page.wait_for_url(re.compile(r"compare\.html"))
    assert page.locator("h2").inner_text() == "Übung <b> against ahead"
    assert page.locator('[name="metric"]').input_value() == "ber"
    assert (
        page.locator(".verdict")
        .inner_text()
        .startswith("By BER, over all mixture types: ahead is better beyond doubt.")
    )
    assert trouble.messages == []
    page.locator('[name="turn"]').click()
    assert page.locator("h2").inner_text() == "ahead against Übung <b>"
    assert page.url.endswith("#0,0,1,ber")


def test_levels_have_the_difference_and_the_interval_of_the_delta_method(page: Page, place: Path) -> None:
    open_page(page, place / "compare.html", 1280)
    page.locator('[name="type"]').select_option("QPSK in OFDMQPSK")
    first, second = errors_of(0, 0)[0], errors_of(1, 0)[0]
    lines = table(page, "by-level")
    assert [line[0] for line in lines] == [f"{level:g}".replace("-", "−") for level in LEVELS]
    for level, line in enumerate(lines):
        one, other = first[level], second[level]
        assert numbers(line[1:3]) == pytest.approx(10 * np.log10([one.mean(), other.mean()]), abs=0.01)
        value = 10 * np.log10(one.mean() / other.mean())
        error = 10 / np.log(10) * (one / one.mean() - other / other.mean()).std(ddof=1) / np.sqrt(PER_LEVEL)
        half = error * stats.t.ppf(0.975, PER_LEVEL - 1)
        assert numbers([line[3], *line[4].strip("[]").split(", ")]) == pytest.approx(
            [value, value - half, value + half], abs=0.015
        )
        assert line[5:] == [str((one < other).sum()), str((one > other).sum()), str(PER_LEVEL)]


def test_mixtures_of_one_recording_are_one_observation(page: Page, place: Path) -> None:
    open_page(page, place / "compare.html", 1280)
    assert page.locator('[name="type"] option:checked').inner_text() == "OFDMQPSK in EMIBursts"
    page.locator('[name="metric"]').select_option("ber")
    wrong = [errors_of(index, 1)[1] / NUM_BITS for index in (0, 1)]
    for level, line in enumerate(table(page, "by-level")):
        apart = wrong[0][level] - wrong[1][level]
        sums = (apart - apart.mean()).reshape(5, 6).sum(0)  # 30 mixtures of 6 recordings in turn
        half = stats.t.ppf(0.975, 5) * np.sqrt(6 / 5 * (sums**2).sum()) / PER_LEVEL
        assert numbers(line[4].strip("[]").split(", ")) == pytest.approx(
            [apart.mean() - half, apart.mean() + half], abs=1e-4
        )
    assert page.locator("figcaption .over").inner_text() == "recordings"


def test_mixtures_to_look_at_are_those_furthest_apart(page: Page, place: Path) -> None:
    open_page(page, place / "compare.html", 1280)
    page.locator('[name="type"]').select_option("QPSK in OFDMQPSK")
    (first, wrong), (second, other) = errors_of(0, 0), errors_of(1, 0)
    apart = 10 * np.log10(first / second).reshape(-1)
    for order, expected in (("behind", np.argsort(-apart)), ("ahead", np.argsort(apart))):
        page.locator('[name="order"]').select_option(order)
        lines = table(page, "mixtures")
        assert len(lines) == 20
        assert [int(line[0]) for line in lines[:6]] == expected[:6].tolist()
        row = int(expected[0])
        assert lines[0][6:] == [str(wrong.reshape(-1)[row]), str(other.reshape(-1)[row]), str(NUM_BITS)]
        assert numbers(lines[0][5:6]) == pytest.approx([apart[row]], abs=0.015)
    page.locator(".mixtures tbody tr").first.hover()
    found = page.locator(".scatter circle.found")
    assert found.get_attribute("data-row") == str(row)
    page.locator('[name="order"]').select_option("first")
    above = (first / first.mean(1, keepdims=True)).reshape(-1)
    assert [int(line[0]) for line in table(page, "mixtures")[:6]] == np.argsort(-above)[:6].tolist()


def test_every_mixture_is_a_dot_and_levels_can_be_brought_out(page: Page, place: Path) -> None:
    trouble = Trouble(page)
    open_page(page, place / "compare.html", 1280)
    dots = page.locator(".scatter circle")
    assert dots.count() == 3 * PER_LEVEL
    assert len(set(dots.evaluate_all("all => all.map((dot) => dot.getAttribute('fill'))"))) == len(LEVELS)
    page.locator(".levels-key button").nth(1).click()
    faint = dots.evaluate_all("all => all.filter((dot) => +getComputedStyle(dot).opacity < 0.5).length")
    assert faint == 2 * PER_LEVEL
    page.locator('[name="second"]').select_option("part")
    assert "part has no estimates of this type: the mixture itself stands in." in page.locator(".stands").inner_text()
    page.locator('[name="second"]').select_option("passthrough (baseline)")
    assert "baselines do not compete" in page.locator(".verdict").inner_text()
    assert trouble.messages == []
    assert all(url.startswith(("data:", place.as_uri())) for url in trouble.requests)


@pytest.mark.parametrize("width", [360, 1280])
def test_page_never_scrolls_sideways_and_can_be_read(page: Page, place: Path, width: int) -> None:
    for scheme in ("light", "dark"):
        open_page(page, place / "compare.html", width, scheme)  # type: ignore[arg-type]
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(FAINT_TEXT) == []
    open_page(page, place / "index.html", width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
