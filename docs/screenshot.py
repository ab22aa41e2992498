"""A picture of a page's top: python docs/screenshot.py PAGE.html PICTURE.png; needs Chromium."""

import sys
from pathlib import Path

from playwright.sync_api import sync_playwright


def main(page_path: Path, picture: Path) -> None:
    """Write the first screens of a page as they look on a desk."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 1900}, color_scheme="light")
        page.goto(page_path.resolve().as_uri(), timeout=300_000)  # of a machine that is busy
        page.screenshot(path=picture)
        browser.close()


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:3]))
