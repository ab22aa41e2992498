"""A picture of a page: python docs/screenshot.py PAGE.html PICTURE.png [LEFT_OUT]; needs Chromium.

It shows the first screens, or the whole page without the parts that the CSS selector ``LEFT_OUT`` names.
"""

import sys
from pathlib import Path

from playwright.sync_api import sync_playwright


def main(page_path: Path, picture: Path, left_out: str | None = None) -> None:
    """Writes a page as it looks on a desk."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 1900}, color_scheme="light")
        page.goto(page_path.resolve().as_uri(), timeout=300_000)  # ms; the machine may be busy
        if left_out is not None:
            page.set_viewport_size({"width": 1280, "height": 400})
            page.add_style_tag(content=f"{left_out} {{ display: none !important }}")
        page.screenshot(path=picture, full_page=left_out is not None)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:4])
