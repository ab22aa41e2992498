"""The leaderboard in Chromium: sort, filter, columns, curves brought out, looking inside; quiet and readable."""

from pathlib import Path

import pytest
from board import TYPES, row, write_scores
from playwright.sync_api import Page
from test_report_browser import FAINT_TEXT, Trouble, open_page

from rfsep.pages.leaderboard import write_leaderboard

HOSTILE = "<script>alert(1)</script>"
COLUMN = {"Submission": 1, "MSE score": 3, "BER score": 5}
# mean of the columns of a canvas's alpha or colour: where something is drawn
INKED = """canvas => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let sum = 0;
  for (let i = 0; i < data.length; i += 4) sum += data[i] + data[i + 1] + data[i + 2];
  return sum / data.length;
}"""


@pytest.fixture(scope="module")
def board_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine submissions: one blind that knows no bits, one oracle, one partial, one with a hostile name."""
    place = tmp_path_factory.mktemp("board")
    for index, name in enumerate(["unet", "wavenet", "oracle", "part", "Übung", HOSTILE, "b" * 60, "no-bits"]):
        kinds = TYPES[:1] if name == "part" else TYPES
        ber = None if name == "no-bits" else 3.0 - 2 * index
        rows = [row(name, kind, -2.5 * index, ber) for kind in kinds]
        write_scores(place / str(index), name, rows, blind=name != "oracle", seconds_per_mixture=0.001 * 2**index)
    write_leaderboard(place)
    return place / "index.html"


def names(page: Page) -> list[str]:
    return page.locator(".scores tbody tr:visible .name").all_inner_texts()


def test_board_is_quiet_and_asks_for_nothing(page: Page, board_path: Path) -> None:
    trouble = Trouble(page)
    open_page(page, board_path, 1280)
    page.locator(".scores .name button").first.click()
    page.locator('[name="find"]').fill("x")
    assert trouble.messages == []
    assert all(url.startswith(("data:", board_path.as_uri())) for url in trouble.requests)
    svgs = page.locator("figure svg")
    assert svgs.count() == 3 + 2 * len(TYPES)
    assert svgs.evaluate_all("svgs => svgs.every((svg) => svg.getBoundingClientRect().height > 150)")


@pytest.mark.parametrize("width", [360, 1280])
def test_board_never_scrolls_sideways(page: Page, board_path: Path, width: int) -> None:
    open_page(page, board_path, width)
    page.locator("details").evaluate_all("all => all.forEach((details) => { details.open = true; })")
    for view in ("main", "all"):
        page.locator('[name="view"]').select_option(view)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    wide = """all => all.filter((e) => !e.closest(".scroll, .hidden, .skip"))
      .filter((e) => e.getBoundingClientRect().right > innerWidth + 0.5).map((e) => e.outerHTML.slice(0, 80))"""
    assert page.locator("main *, header *").evaluate_all(wide) == []


def test_sorting_puts_what_is_missing_last(page: Page, board_path: Path) -> None:
    open_page(page, board_path, 1280)
    assert names(page)[0] == "no-bits"  # the best MSE to begin with
    for column, descending in (("MSE score", False), ("MSE score", True), ("BER score", False), ("BER score", True)):
        page.locator(".scores thead").get_by_role("button", name=column).click()
        head = page.locator(f".scores thead th:nth-child({COLUMN[column]})")
        assert head.get_attribute("aria-sort") == ("descending" if descending else "ascending")
        cells = page.locator(f".scores tbody tr > :nth-child({COLUMN[column]})").all_inner_texts()
        values = [float(cell.split()[0].replace("−", "-")) for cell in cells if cell != "–"]
        assert len(values) == (9 if column == "MSE score" else 8)
        assert values == sorted(values, reverse=descending)
        assert column == "MSE score" or cells[-1] == "–"
    page.locator(".scores thead button").first.focus()
    page.keyboard.press("Enter")
    assert names(page) == sorted(names(page), key=lambda name: name.lower().replace("ü", "u"))


def test_filters_and_columns(page: Page, board_path: Path) -> None:
    open_page(page, board_path, 1280)
    page.locator('[name="find"]').fill("NET")
    assert sorted(names(page)) == ["unet", "wavenet"]
    assert page.locator("output").inner_text() == "2 of 9 rows"
    page.locator('[name="find"]').fill("")
    page.locator('[name="kind"]').select_option("oracle")
    assert names(page) == ["oracle"]
    page.locator('[name="kind"]').select_option("")
    seen = {}
    for view in ("main", "mse", "ber", "cost", "all"):
        page.locator('[name="view"]').select_option(view)
        seen[view] = page.locator(".scores thead th:visible").count()
    assert seen == {"main": 8, "mse": 5, "ber": 5, "cost": 11, "all": 17}


def test_looking_inside(page: Page, board_path: Path) -> None:
    open_page(page, board_path, 1280)
    page.locator(".scores").get_by_role("button", name="unet").focus()
    page.keyboard.press("Enter")
    inside = page.locator(".inside")
    assert inside.locator("h3").evaluate("e => e === document.activeElement")
    assert inside.locator('[name="row"] option:checked').inner_text() == "unet"
    cells = inside.locator(".levels tbody tr").first.locator("th, td").all_inner_texts()
    assert cells == ["−24", "−24.00", "3.00", "[2.60, 3.40]", "5.0×10⁻¹", "[4.0×10⁻¹, 6.0×10⁻¹]", "20"]
    loud = inside.locator('[data-picture="estimate"]').evaluate(INKED)
    page.locator('[name="row"]').select_option("no-bits")
    assert inside.locator('[data-picture="estimate"]').evaluate(INKED) < loud, "the sweep is weaker in the estimate"
    assert inside.locator('[data-picture="mixture"]').evaluate(INKED) > inside.locator(
        '[data-picture="truth"]'
    ).evaluate(INKED)
    page.locator('[name="row"]').select_option("part")
    page.locator('[name="type"]').select_option("OFDMQPSK in EMIBursts")
    assert "part has no estimates of OFDMQPSK in EMIBursts" in inside.inner_text()
    assert not inside.locator("canvas").first.is_visible()
    page.locator(".scores").get_by_role("button", name="part").click()
    assert inside.locator('[name="type"] option:checked').inner_text() == "QPSK in OFDMQPSK"
    assert inside.locator("canvas").first.is_visible()


def test_waveform_zooms_by_keys_and_pointer(page: Page, board_path: Path) -> None:
    open_page(page, board_path, 1280)
    wave = page.locator('[data-picture="wave"]')

    def window() -> tuple[int, int]:
        start, count = (wave.get_attribute("data-shown") or "").split()
        return int(start), int(count)

    start, count = window()
    page.locator('[name="zoom"]').focus()
    page.keyboard.press("End")
    assert window() == (start, 24)
    page.keyboard.press("Home")
    assert window() == (0, 2560)
    page.locator('[name="zoom"]').fill("55")
    assert window() == (0, count)
    wave.scroll_into_view_if_needed()
    box = wave.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 600, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 100, box["y"] + 40)
    page.mouse.up()
    assert 0 < window()[0] < count
    before = wave.evaluate(INKED)
    page.locator('[name="mixed"]').uncheck()
    assert wave.evaluate(INKED) != before


def test_legend_brings_curves_out_in_every_figure(page: Page, board_path: Path) -> None:
    open_page(page, board_path, 1280)
    page.locator(".legend").first.get_by_role("button", name="wavenet").focus()
    page.keyboard.press("Enter")
    page.mouse.move(0, 0)
    pressed = page.locator('.legend [aria-pressed="true"]')
    assert pressed.all_inner_texts() == ["wavenet"] * (1 + len(TYPES))
    page.wait_for_function("() => getComputedStyle(document.querySelector('.curve:not(.on)')).opacity < 0.2")
    opacity = "all => all.map((e) => +getComputedStyle(e).opacity)"
    assert page.locator('.curve[data-separator="wavenet"]').evaluate_all(opacity) == [1] * 2 * len(TYPES)
    assert page.locator('.point[data-of="wavenet"]').count() == 3
    pressed.first.click()
    page.mouse.move(0, 0)
    page.wait_for_function("() => getComputedStyle(document.querySelector('.curve')).opacity == 1")


def test_board_can_be_read_in_both_schemes(page: Page, board_path: Path) -> None:
    for scheme in ("light", "dark"):
        open_page(page, board_path, 1280, scheme)  # type: ignore[arg-type]
        page.locator('[name="view"]').select_option("all")
        assert page.evaluate(FAINT_TEXT) == []


def test_board_without_scripts_has_every_column_and_figure(new_context: object, board_path: Path) -> None:
    page = new_context(java_script_enabled=False).new_page()  # type: ignore[operator]
    page.goto(board_path.as_uri())
    assert page.locator(".scores thead th:visible").count() == 17
    assert page.locator("figure svg:visible").count() == 3 + 2 * len(TYPES)
    assert not page.locator(".inside").is_visible()
