"""Takes the README's picture: the first screen of the page, in a browser.

python -m tests.picture
"""

from __future__ import annotations

import os
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.load.server import ROOT, Server

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
VIEW = "?scale=0.9&depth=50"
SIZE = {"width": 1280, "height": 720}
STILL = """() => document.querySelector('[data-testid="stApp"]')
  .getAttribute("data-test-script-state") === "notRunning"
  && document.querySelectorAll("svg.marks").length >= 3"""


def take(path: Path = ROOT / "assets" / "page.png") -> None:
    """Opens the page on a server of its own and writes what it shows."""
    with Server() as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(
            viewport=SIZE, device_scale_factor=1.5, color_scheme="light"
        )
        page.goto(f"{server.address}/{VIEW}")
        page.wait_for_function(STILL, timeout=60_000)
        page.wait_for_timeout(1_000)  # the charts appear
        page.screenshot(path=path)
        browser.close()


if __name__ == "__main__":
    take()
