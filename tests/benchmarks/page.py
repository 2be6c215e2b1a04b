"""Times the page in a real Chromium: to the first chart, and after a changed control.

    python tests/benchmarks/page.py
    python tests/benchmarks/page.py --bare

`first chart` runs from `streamlit run` until a chart is drawn, in turns for the page as
it is, for the same page with `import tensorflow` at its top and, with `--bare`, for a
page of one Altair chart. `changed control` runs from the key press until the first
measured chart is another one, and until the whole page is, after one change that loads
and compiles. Each change is a run that the server has not yet made.
"""

from __future__ import annotations

import argparse
import ast
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
SERVER = [
    "--server.address=127.0.0.1",
    "--server.headless=true",
    "--server.fileWatcherType=none",
    "--browser.gatherUsageStats=false",
]
MARKS = '[data-testid="stVegaLiteChart"] :is(svg.marks, canvas.marks)'
BARE = """
import altair as alt
import pandas as pd
import streamlit as st

points = alt.Chart(pd.DataFrame({"x": [1, 2, 3], "y": [1, 4, 9]})).mark_line()
st.altair_chart(points.encode(x="x", y="y"))
"""
CHANGED = """([selector, before]) => {
  const marks = document.querySelector(selector);
  return marks && (marks.toDataURL ? marks.toDataURL() : marks.innerHTML) !== before;
}"""
SETTLED = """() => {
  const app = document.querySelector('[data-testid="stApp"]');
  return app && app.getAttribute('data-test-script-state') === 'notRunning'
    && !document.querySelector('[data-testid="stElementContainer"][data-stale="true"]');
}"""
DRAWN = "e => e.toDataURL ? e.toDataURL() : e.innerHTML"
BARE_GOAL = 1.3
FIRST_GOAL = 1.7  # times sooner than with TensorFlow at the top
CHANGE_GOAL = 1.0  # seconds
PATIENCE = 120_000  # milliseconds


def scripts(bare: bool) -> dict[str, str]:
    """The pages that are compared, as source text."""
    text = (ROOT / "dashboard.py").read_text()
    found = {"as it is": text, "TensorFlow at the top": with_tensorflow_first(text)}
    return {**found, "one chart, bare": BARE} if bare else found


def with_tensorflow_first(text: str) -> str:
    lines = text.splitlines()
    body = ast.parse(text).body
    opening = [s for s in body if is_docstring(s) or is_future_import(s)]
    after = opening[-1].end_lineno if opening else 0
    return "\n".join([*lines[:after], "import tensorflow", *lines[after:], ""])


def is_docstring(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def is_future_import(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.ImportFrom) and statement.module == "__future__"


@contextmanager
def folder_of(text: str) -> Iterator[Path]:
    """A folder with the page and, as links, everything that it reads."""
    with tempfile.TemporaryDirectory() as name:
        for entry in (".streamlit", "assets", "vgkeras"):
            (Path(name) / entry).symlink_to(ROOT / entry)
        (Path(name) / "dashboard.py").write_text(text)
        yield Path(name)


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """Starts `streamlit run` and stops it; yields the address at once."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "streamlit", "run", "dashboard.py", *SERVER,
         f"--server.port={port}"],
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}, start_new_session=True,
    )  # fmt: skip
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def open_page(browser: Browser, address: str) -> Page:
    """The page with its first chart drawn."""
    while not is_up(address):
        time.sleep(0.02)
    page = browser.new_context().new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(address, wait_until="commit")
    page.locator(MARKS).first.wait_for()
    return page


def is_up(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/_stcore/health", timeout=1) as answer:
            return answer.status == 200
    except OSError:
        return False


def first_chart(browser: Browser, text: str) -> float:
    with folder_of(text) as folder:
        start = time.perf_counter()
        with server(folder) as address:
            page = open_page(browser, address)
            seconds = time.perf_counter() - start
            page.context.close()
    return seconds


def changed_control(
    browser: Browser, control: str, chart: str, turns: int
) -> list[tuple[float, float]]:
    """Seconds from a key press to the new chart, and to the end of the whole page.

    The first turn loads TensorFlow and compiles.
    """
    selector, seconds = f".st-key-{chart} {MARKS}", []
    text = (ROOT / "dashboard.py").read_text()
    with folder_of(text) as folder, server(folder) as address:
        page = open_page(browser, address)
        page.wait_for_function(CHANGED, arg=[selector, ""])
        page.wait_for_function(SETTLED)
        page.get_by_text("Change the networks").click()
        for _ in range(turns + 1):
            before = page.locator(selector).first.evaluate(DRAWN)
            start = time.perf_counter()
            page.locator(f".st-key-{control}").get_by_role("slider").press("ArrowLeft")
            page.wait_for_function(CHANGED, arg=[selector, before])
            changed = time.perf_counter() - start
            page.wait_for_function(SETTLED)
            seconds.append((changed, time.perf_counter() - start))
            time.sleep(1)
        page.context.close()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--bare", action="store_true", help="also a page of one chart")
    parser.add_argument("--control", default="learning_rate", help="a slider's key")
    parser.add_argument("--chart", default="final_loss_by_depth", help="its key")
    parser.add_argument("--changes", type=int, default=3, help="as the slider has room")
    arguments = parser.parse_args()
    pages = scripts(arguments.bare)
    times: dict[str, list[float]] = {name: [] for name in pages}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for text in pages.values():
            first_chart(browser, text)  # fills the caches of the disk
        for _ in range(arguments.repeats):
            for name, text in pages.items():
                times[name].append(first_chart(browser, text))
        change = changed_control(
            browser, arguments.control, arguments.chart, arguments.changes
        )
        browser.close()
    report(times, change)


def report(times: dict[str, list[float]], change: list[tuple[float, float]]) -> None:
    ours, theirs, *bare = (statistics.median(one) for one in times.values())
    for name, one in times.items():
        print(f"first chart, {name:22} {statistics.median(one):6.2f} s")
    if bare:
        ratio = ours / bare[0]
        text = f"{ratio:.2f} x the time of a bare page (goal {BARE_GOAL})"
        tell(ratio <= BARE_GOAL, text)
    ratio = theirs / ours
    text = f"{ratio:.2f} x sooner than with TensorFlow at the top (goal {FIRST_GOAL})"
    tell(ratio >= FIRST_GOAL, text)
    warm, page = (statistics.median(times) for times in zip(*change[1:], strict=True))
    tell(
        warm < CHANGE_GOAL,
        f"changed control to new measured chart {warm:.2f} s warm,"
        f" {change[0][0]:.2f} s the first time (goal {CHANGE_GOAL} s);"
        f" to the end of the page {page:.2f} s",
    )


def tell(met: bool, text: str) -> None:
    print(f"{'met' if met else 'MISSED'}: {text}")


if __name__ == "__main__":
    main()
