"""The report page in Chromium: it is complete without a network, fits a phone, sorts, and can be read."""

from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import ConsoleMessage, Page, Request

# Text whose contrast to what lies behind it is below WCAG AA: 4.5, or 3 where it is large or bold and fairly large.
FAINT_TEXT = """() => {
  const channels = (colour) => (colour.match(/[\\d.]+/g) ?? [0, 0, 0, 0]).map(Number);
  const luminance = ([r, g, b]) => [r, g, b]
    .map((value) => value / 255)
    .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
    .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = channels(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const faint = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const shown = element.getClientRects().length && element.tagName !== "SCRIPT";
    if (!walker.currentNode.textContent.trim() || !shown) continue;
    const style = getComputedStyle(element);
    const colour = channels(element instanceof SVGElement ? style.fill : style.color);
    const [low, high] = [luminance(colour), luminance(behind(element))].sort((a, b) => a - b);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    const contrast = (high + 0.05) / (low + 0.05);
    if (contrast < (large ? 3 : 4.5)) faint.push([walker.currentNode.textContent.trim(), contrast]);
  }
  return faint;
}"""


class Trouble:
    """What a page complained about and what it asked for."""

    def __init__(self, page: Page) -> None:
        self.messages: list[str] = []
        self.requests: list[str] = []
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.messages.append(str(error)))
        page.on("request", self._request)

    def _console(self, message: ConsoleMessage) -> None:
        self.messages.append(message.text)

    def _request(self, request: Request) -> None:
        self.requests.append(request.url)


def open_page(page: Page, path: Path, width: int, scheme: Literal["light", "dark"] = "light") -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    page.goto(path.as_uri())


def columns(page: Page, index: int) -> list[str]:
    return page.locator(f"#scores tbody tr > :nth-child({index})").all_inner_texts()


def test_page_is_quiet_and_complete(page: Page, page_path: Path) -> None:
    trouble = Trouble(page)
    open_page(page, page_path, 1280)
    decoded = "Promise.all([...document.images].map((image) => image.decode().then(() => image.naturalWidth)))"
    assert page.evaluate(decoded) == [320, 320, 480, 480, 480] * 2
    assert page.locator("svg").evaluate_all("svgs => svgs.every((svg) => svg.getBoundingClientRect().height > 200)")
    assert trouble.messages == []
    assert trouble.requests[0] == page_path.as_uri()
    assert all(url.startswith(("data:", page_path.as_uri())) for url in trouble.requests)


@pytest.mark.parametrize("width", [390, 1280])
def test_page_never_scrolls_sideways(page: Page, page_path: Path, width: int) -> None:
    open_page(page, page_path, width)
    page.locator("details").evaluate_all("all => all.forEach((details) => { details.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    wide = """all => all.filter((e) => !e.closest(".scroll, .hidden, .skip"))
      .filter((e) => e.getBoundingClientRect().right > innerWidth + 0.5).map((e) => e.outerHTML.slice(0, 80))"""
    assert page.locator("main *, header *").evaluate_all(wide) == []


def test_labels_of_the_figures_lie_inside_and_apart(page: Page, page_path: Path) -> None:
    open_page(page, page_path, 390)
    overlapping = """svg => {
      const frame = svg.getBoundingClientRect();
      const boxes = [...svg.querySelectorAll("text")].map((text) => [text.textContent, text.getBoundingClientRect()]);
      const outside = boxes.filter(([, b]) => b.left < frame.left - 1 || b.right > frame.right + 1
        || b.top < frame.top - 1 || b.bottom > frame.bottom + 1);
      const over = boxes.flatMap(([name, a], i) => boxes.slice(i + 1)
        .filter(([, b]) => a.left < b.right && b.left < a.right && a.top + 2 < b.bottom && b.top + 2 < a.bottom)
        .map(([other]) => [name, other]));
      return [...outside.map(([name]) => name), ...over];
    }"""
    assert [figure.evaluate(overlapping) for figure in page.locator("svg").all()] == [[]] * 4


def test_sorting(page: Page, page_path: Path) -> None:
    open_page(page, page_path, 1280)
    head = page.locator("#scores thead th")
    for index, worst_last in ((3, True), (3, False), (4, True)):
        head.nth(index - 1).get_by_role("button").click()
        expected = "ascending" if worst_last else "descending"
        assert head.nth(index - 1).get_attribute("aria-sort") == expected
        assert page.locator("#scores [aria-sort]").count() == 1
        cells = [text.split()[0].replace("−", "-") for text in columns(page, index)]
        values = [float(cell) for cell in cells if cell != "–"]
        assert values == sorted(values, reverse=not worst_last)
    assert cells[-1] == "–"  # no score comes last
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    names = [text.split()[0] for text in columns(page, 2)]
    assert names == sorted(names)
    assert len(names) == 8


def test_dark_scheme(page: Page, page_path: Path) -> None:
    backgrounds: list[Any] = []
    for scheme in ("light", "dark"):
        open_page(page, page_path, 1280, scheme)
        backgrounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert page.evaluate(FAINT_TEXT) == []
    assert backgrounds == ["rgb(245, 246, 248)", "rgb(13, 17, 23)"]


def test_page_is_complete_without_javascript(new_context: Any, page_path: Path) -> None:
    page = new_context(java_script_enabled=False).new_page()
    page.goto(page_path.as_uri())
    assert page.locator("#scores thead th").all_inner_texts() == [
        "Mixture type", "Separator", "MSE score (dB)", "BER score (dB)"
    ]  # fmt: skip
    assert page.locator("#scores tbody tr").count() == 8
    page.get_by_text("lmmse baseline").last.click()
    assert page.locator("details[open]").count() == 3
