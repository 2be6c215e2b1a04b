"""The page in a real browser: what it draws, how it answers, what it never does.

Needs Chromium: Debian's package, another one named by `CHROMIUM`, or Playwright's own.
Without one the tests are skipped, unless `VGKERAS_REQUIRE_BROWSER` is set.
"""

import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, unquote
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from vgkeras import logs

pytestmark = [pytest.mark.browser, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
# The first one has no windows: a tenth less work for the processor.
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser")
NAMES += ("google-chrome", "google-chrome-stable")
HOW = (
    "No browser found. Get one with `apt-get install chromium` or "
    "`playwright install chromium`, or name one: `CHROMIUM=/path/to/chromium`."
)
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
CHARTS = (
    "network",
    "final_loss_by_depth",
    "loss_by_step",
    "gradient_by_depth",
    "gradient_by_layer_and_step",
)
EXPLORED = CHARTS[:3]  # the first screen
YOUR_CHARTS = (
    "loss_by_step",
    "gradient_by_step",
    "kinds_by_layer",
    "gradient_by_layer_and_step",
)
MISREAD = "How people misread it"
# Whether an element is seen: nothing lies on it, and it has faded in.
SEEN = """e => {
  for (let box = e; box; box = box.parentElement)
    if (getComputedStyle(box).opacity < 1) return false;
  const { x, y, width, height } = e.getBoundingClientRect();
  return e.contains(document.elementFromPoint(x + width / 2, y + height / 2));
}"""
NASTY = "<img src=http://example.org/a.png onerror=alert(1)><script>alert(1)</script>"
# A rerun is done when the app says so and nothing on screen is stale.
SETTLED = """() => {
  const app = document.querySelector('[data-testid="stApp"]');
  return app && app.getAttribute('data-test-script-state') === 'notRunning'
    && app.getAttribute('data-test-connection-state') === 'CONNECTED'
    && !document.querySelector('[data-stale="true"], [data-testid="stSkeleton"]');
}"""


def browser_path(playwright):
    """The first browser there is, or `None`."""
    name = os.environ.get("CHROMIUM")
    name = name or next(filter(None, map(shutil.which, NAMES)), None)
    path = Path(name or playwright.chromium.executable_path)
    return str(path) if path.exists() else None


def do_without(reason):
    if os.environ.get("VGKERAS_REQUIRE_BROWSER"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def chromium():
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        do_without("Playwright is missing. Get it with `pip install playwright`.")
    with sync_playwright() as playwright:
        path = browser_path(playwright)
        if path is None:
            do_without(HOW)
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(chromium, tmp_path_factory):
    """Where the page is served, on a free port of this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    output = tmp_path_factory.mktemp("page") / "server.log"
    command = [sys.executable, "-m", "streamlit", "run", "dashboard.py"]
    options = [f"--server.port={port}", "--server.address=127.0.0.1"]
    options += ["--server.headless=true", "--server.fileWatcherType=none"]
    with output.open("wb") as log:
        server = subprocess.Popen(
            [*command, *options],
            cwd=ROOT,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        wait_until_healthy(server, f"http://127.0.0.1:{port}", output)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(60)


def wait_until_healthy(server, address, output):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert server.poll() is None, output.read_text()
        try:
            with urllib.request.urlopen(f"{address}/_stcore/health", timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"The page did not start:\n{output.read_text()}")


@contextmanager
def visitor(chromium, home, **options):
    """A fresh visitor; `page.errors` and `page.offsite` should stay empty."""
    viewport = {"width": 1280, "height": 1000}
    context = chromium.new_context(**{"viewport": viewport} | options)
    context.set_default_timeout(120_000)
    page = context.new_page()
    page.errors, page.offsite, page.home = [], [], home
    local = (home, home.replace("http", "ws"), "data:", "blob:")
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on("console", lambda m: m.type == "error" and page.errors.append(m.text))
    page.on(
        "request",
        lambda r: r.url.startswith(local) or page.offsite.append(r.url),
    )
    try:
        yield page
    finally:
        context.close()


@pytest.fixture
def page(chromium, address):
    """A visitor for one test, free to go where it wants."""
    with visitor(chromium, address) as page:
        yield page


@pytest.fixture(scope="module")
def lesson(chromium, address):
    """The page as it opens; for tests that leave it as they find it."""
    with visitor(chromium, address) as page:
        open_page(page)
        yield page


SECTIONS = (
    "Lesson",
    "Map&map_steps=50",
    "In time",
    "In time&time_network=GRU&time_live_steps=20",
    "Remedies",
    "Number formats&format_scale=0.5",
    "Predict&stack=2",
    "Predict&looked=0.1",
    "Your log",
    "Your log&example=true",
    "Published results",
    "Code",
)


@pytest.fixture(scope="module", params=SECTIONS)
def section(chromium, address, request):
    """A section, opened on a phone; each test sets the width and theme it needs."""
    with visitor(chromium, address) as page:
        page.set_viewport_size({"width": 390, "height": 844})
        page.goto(f"{page.home}/?section={request.param.replace(' ', '+')}")
        page.get_by_test_id("stMain").get_by_role("heading").first.wait_for()
        settle(page)
        yield page


def settle(page):
    """Waits until a rerun is done; TensorFlow may have to be loaded for it."""
    page.wait_for_function(SETTLED, timeout=120_000)


# Whether all charts are drawn, and as they were at the last look.
STILL = """() => {
  const charts = [...document.querySelectorAll("[data-testid=stVegaLiteChart]")]
    .filter(e => e.checkVisibility());
  const boxes = charts.map(e => e.querySelector(".marks")?.getBoundingClientRect());
  const now = JSON.stringify([innerWidth, boxes]), before = window.lastLook;
  window.lastLook = now;
  return now === before && boxes.every(Boolean);
}"""


def look(page, width=1280, theme="light", motion="no-preference"):
    """Gives the window a width and a theme, and waits until charts have followed."""
    page.set_viewport_size({"width": width, "height": 1000})
    page.emulate_media(color_scheme=theme, reduced_motion=motion)
    settle(page)
    page.wait_for_function(STILL, polling=100)


def soon(page, holds):
    """Waits until it holds."""
    deadline = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < deadline
        page.wait_for_timeout(50)


def open_page(page, query=""):
    page.goto(page.home + "/" + query)
    marks(page, "network").wait_for()
    marks(page, "outcome_grid").wait_for()  # of the rest, which comes second
    settle(page)
    assert page.get_by_test_id("stException").count() == 0


def open_controls(page):
    page.get_by_text("Change the networks").click()


def marks(page, chart):
    return page.locator(f".st-key-{chart} :is(svg, canvas).marks").first


def labels(page, chart):
    """What the symbols of a chart stand for, as a screen reader hears them."""
    symbols = page.locator(f".st-key-{chart} g.mark-symbol.role-mark path")
    return symbols.evaluate_all("all => all.map(e => e.getAttribute('aria-label'))")


def test_page_opens_and_draws_all_its_charts(lesson):
    for chart in CHARTS:
        marks(lesson, chart).scroll_into_view_if_needed()
        assert marks(lesson, chart).bounding_box()["width"] > 300
    assert lesson.locator(".katex-html").count() > 3
    assert "Recorded" in lesson.locator(".st-key-source").inner_text()


# Notes where the first charts stood when the first chart below them came.
FIRST_LOOK = """window.placesThen = new Promise(resolve => {
  const places = () => ["network", "final_loss_by_depth"].map(
    name => document.querySelector(`.st-key-${name} .marks`)?.getBoundingClientRect());
  const look = () => document.querySelector(".st-key-outcome_grid")
    ? resolve(JSON.stringify(places())) : requestAnimationFrame(look);
  look();
  window.placesNow = () => JSON.stringify(places());
})"""


def test_the_first_screen_is_there_before_the_rest_and_stays_where_it_was(page):
    page.add_init_script(FIRST_LOOK)
    open_page(page)

    places = page.evaluate("window.placesThen")

    assert places.count("width") == 2  # both were drawn
    assert places == page.evaluate("window.placesNow()")


def test_nothing_leaves_the_machine_and_nothing_goes_wrong(lesson):
    assert lesson.offsite == []
    assert lesson.errors == []


def test_every_chart_has_its_numbers_as_text_alternative(lesson):
    for chart in CHARTS:
        spoken = lesson.locator(f".st-key-{chart} [aria-label]").evaluate_all(
            "all => all.map(e => e.getAttribute('aria-label'))"
        )
        assert any(re.search(r"\d.*\d.*\.$", words) for words in spoken)
        if chart in EXPLORED:
            continue
        lesson.locator(f".st-key-{chart}").get_by_role("button", name=MISREAD).click()
        opened = lesson.get_by_test_id("stPopoverBody")
        text = opened.locator("p").last.inner_text()
        lesson.keyboard.press("Escape")
        opened.wait_for(state="hidden")
        assert text in spoken


def test_a_charts_toolbar_is_reached_by_mouse_and_by_keyboard(page):
    open_page(page)
    chart = page.locator(".st-key-gradient_by_depth")
    full = chart.get_by_role("button", name="Fullscreen")
    marks(page, "gradient_by_depth").scroll_into_view_if_needed()
    place = marks(page, "gradient_by_depth").bounding_box()

    chart.evaluate("e => { e.tabIndex = -1; e.focus(); }")
    for name in ("Show data", "Download as PNG"):
        page.keyboard.press("Tab")
        button = chart.get_by_role("button", name=name)
        assert button.evaluate("e => e === document.activeElement")
        page.wait_for_function(SEEN, arg=button.element_handle())
    marks(page, "gradient_by_depth").hover()
    assert marks(page, "gradient_by_depth").bounding_box() == place
    page.wait_for_function(SEEN, arg=full.element_handle())
    full.click()
    page.wait_for_function(
        "() => document.querySelector('.st-key-gradient_by_depth .marks')"
        ".getBoundingClientRect().height > 0.8 * innerHeight"
    )
    assert page.errors == []


def test_a_toolbar_hides_no_slider_from_a_finger(chromium, address):
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True}
    with visitor(chromium, address, is_mobile=True, **phone) as page:
        open_page(page, "?depth=152")
        first = page.locator(".st-key-first_screen")
        bars = first.get_by_test_id("stElementToolbar").all()
        knobs = [*first.get_by_role("slider").all(), first.get_by_text("step 0 of")]

        assert len(bars) == len(EXPLORED)
        assert len(knobs) == 4  # c, L, the step, and which one it is
        for knob, bar in itertools.product(knobs, bars):
            assert not overlap(knob.bounding_box(), bar.bounding_box())

        page.get_by_role("button", name="Fullscreen").first.tap()
        close = page.get_by_role("button", name="Close fullscreen")
        page.wait_for_function(SEEN, arg=close.element_handle())
        close.tap()
        close.wait_for(state="detached")
        assert page.errors == []


def overlap(one, other):
    """Whether two boxes share a pixel."""
    return all(
        max(one[at], other[at]) + 1 < min(one[at] + one[size], other[at] + other[size])
        for at, size in (("x", "width"), ("y", "height"))
    )


def test_a_mark_that_has_nothing_to_tell_shows_no_tooltip(page):
    open_page(page, "?scale=1.5&depth=152")
    tooltip = page.locator("#vg-tooltip-element.visible")
    box = marks(page, "network").bounding_box()
    for share in np.linspace(0.3, 0.9, 13):  # bars fill the lanes
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + share * box["height"])
        page.wait_for_timeout(50)
        assert tooltip.count() == 0

    point = page.locator(".st-key-final_loss_by_depth g.mark-symbol.role-mark path")
    point.first.hover(force=True)  # another one may lie on it

    tooltip.wait_for()
    assert "loss after the last step" in tooltip.inner_text()


@pytest.mark.parametrize("section", ["Lesson", "Map&map_steps=50"], indirect=True)
def test_no_chart_of_a_section_cuts_its_toolbar_off(section):
    look(section)

    cut = section.get_by_test_id("stElementToolbar").evaluate_all(
        """all => all.filter(e => {
          for (let box = e.parentElement; box.dataset.testid !== "stMain";
               box = box.parentElement)
            if (getComputedStyle(box).overflowY !== "visible") return true;
        }).length"""
    )
    assert section.get_by_test_id("stElementToolbar").count() >= 3
    assert cut == 0


WORDS = """all => all.map(text => {
  const look = getComputedStyle(text), hidden = look.opacity === '0';
  const box = text.getBoundingClientRect(), room = text.ownerSVGElement;
  const wide = room.getBoundingClientRect();
  return {
    words: hidden ? '' : text.textContent,
    cut: box.left < wide.left - 8 || box.right > wide.right + 0.25,
    fill: look.fill.match(/\\d+/g).map(Number), alpha: Number(look.fillOpacity),
    page: getComputedStyle(text.closest('.stApp')).backgroundColor
      .match(/\\d+/g).map(Number),
  }
}).filter(text => text.words.trim())"""  # a box of letters is larger than they are


def luminance(color):
    """Relative luminance of an sRGB colour: WCAG 2.2."""
    shares = np.array(color[:3]) / 255
    linear = np.where(
        shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4
    )
    return linear @ (0.2126, 0.7152, 0.0722)


@pytest.mark.parametrize("section", ["Lesson"], indirect=True)
def test_titles_are_whole_once_a_window_is_made_wider(section):
    for width in (390, 1280):
        look(section, width)

    texts = section.locator("svg.marks text").evaluate_all(WORDS)
    assert len(texts) > 50
    assert not [t["words"] for t in texts if t["words"].endswith("…")]


@pytest.mark.parametrize(("width", "theme"), [(390, "dark"), (1024, "light")])
@pytest.mark.parametrize("section", ["Lesson"], indirect=True)
def test_the_words_of_charts_are_whole_and_legible(section, width, theme):
    look(section, width, theme)

    for chart in ("final_loss_by_depth", "loss_by_step", "gradient_by_depth"):
        marks(section, chart).scroll_into_view_if_needed()
        texts = section.locator(f".st-key-{chart} svg.marks text").evaluate_all(WORDS)
        assert len(texts) > 10
        for text in texts:
            assert not text["cut"], text
            assert not text["words"].endswith("…"), text
            mixed = text["alpha"] * np.array(text["fill"][:3])
            mixed += (1 - text["alpha"]) * np.array(text["page"][:3])
            dark, light = sorted(map(luminance, (mixed, text["page"])))
            assert (light + 0.05) / (dark + 0.05) >= 4.5, text


def test_diverged_stacks_are_drawn_as_flagged_marks(lesson):
    spoken = " ".join(labels(lesson, "final_loss_by_depth"))
    assert "Inf or NaN" in spoken


def test_a_slider_moved_by_keyboard_moves_the_marks(page):
    open_page(page, "?scales=0.9&depths=2&depths=10")
    open_controls(page)
    before = labels(page, "loss_by_step")
    knob = page.get_by_role("slider", name="Training steps")

    knob.focus()
    page.keyboard.press("ArrowLeft")
    last = page.locator(".st-key-loss_by_step path[aria-label*='training step: 150']")
    last.first.wait_for()
    settle(page)

    after = labels(page, "loss_by_step")
    assert any("training step: 200" in label for label in before)
    assert not any("training step: 200" in label for label in after)
    assert "steps=150" in page.url
    assert "Run live" in page.locator(".st-key-source").inner_text()
    assert page.errors == []


# What is wider than the screen: charts, and the page if it scrolls sideways.
TOO_WIDE = """() => [...document.querySelectorAll(".marks, [data-testid=stMain]")]
  .filter(e => {
    const { left, right } = e.getBoundingClientRect();
    return e.checkVisibility() && (left < 0 || right > innerWidth
      || e.matches("[data-testid=stMain]") && e.scrollWidth > innerWidth);
  }).map(e => e.closest("[class*=st-key-]")?.className ?? e.className)"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_shows_a_section_without_scrolling_sideways(section, theme):
    look(section, 390, theme)

    for chart in section.locator(".marks").filter(visible=True).all():
        chart.scroll_into_view_if_needed()
    assert section.evaluate(TOO_WIDE) == []
    assert section.get_by_test_id("stException").count() == 0
    assert section.errors == []
    assert section.offsite == []


@pytest.mark.parametrize("section", ["Lesson"], indirect=True)
def test_a_phone_shows_all_charts_of_the_lesson_and_its_controls(section):
    look(section, 390)

    assert all(marks(section, chart).is_visible() for chart in CHARTS)
    open_controls(section)
    knob = section.get_by_role("slider", name="Learning rate")
    knob.scroll_into_view_if_needed()
    assert knob.is_visible()
    assert section.evaluate(TOO_WIDE) == []
    open_controls(section)
    knob.wait_for(state="hidden")


def test_a_chart_is_saved_as_svg_as_it_is_on_screen(lesson):
    expected = labels(lesson, "gradient_by_depth")

    with lesson.expect_download() as saved:
        lesson.get_by_role("button", name="Save as SVG: gradient by depth").click()

    assert saved.value.suggested_filename == "gradient_by_depth.svg"
    svg = ElementTree.parse(saved.value.path()).getroot()
    assert svg.tag == "{http://www.w3.org/2000/svg}svg"
    assert svg[0].get("fill") == "rgb(255, 255, 255)"
    saved_labels = [node.get("aria-label") for node in svg.iter()]
    assert [label for label in saved_labels if label in expected] == expected
    assert lesson.errors == []


def test_controls_that_the_address_holds_cannot_be_moved_or_seen(page):
    open_page(page, "?lock=units&hide=seed,section")
    open_controls(page)

    assert not page.get_by_role("slider", name="Seed of the data").is_visible()
    assert not page.get_by_role("radio", name="Map").is_visible()
    assert page.get_by_role("slider", name="Units in a layer").is_disabled()
    assert page.get_by_role("slider", name="Training steps").is_enabled()
    page.get_by_role("button", name="Back to the lecture").click()
    settle(page)
    assert "lock=units&hide=seed,section" in unquote(page.url)


def test_the_page_can_be_embedded(page):
    open_page(page, "?embed=true&scales=0.9&depths=5")

    assert page.get_by_test_id("stToolbar").count() == 0
    assert marks(page, "network").is_visible()
    assert "embed=true" in page.url


# Words that are seen: no charts, formulas, code or icons, nothing that is closed.
SEEN_WORDS = """() => {
  const skip = "svg, .katex, pre, style, script, [translate='no']";
  const text = (node) => {
    if (node.nodeType === Node.TEXT_NODE) return node.textContent;
    if (node.matches?.(skip) || node.checkVisibility?.() === false) return "";
    return [...(node.shadowRoot ?? node).childNodes].map(text).join(" ");
  };
  const main = document.querySelector('[data-testid="stMain"]');
  return text(main).match(/[\\p{L}\\p{N}][^\\s]*/gu) ?? [];
}"""


@pytest.mark.parametrize("section", ["Code"], indirect=True)
def test_a_phone_shows_where_numbers_come_from_last(section):
    look(section, 390)

    source = section.locator(".st-key-source")
    source.get_by_text("Recorded").wait_for()
    last = section.get_by_role("heading").last.bounding_box()
    assert source.bounding_box()["y"] > last["y"]


@pytest.mark.parametrize("section", ["Code"], indirect=True)
def test_a_phone_shows_the_name_of_the_section(section):
    look(section, 390)

    for name in ("More", "Code"):
        radio = section.get_by_role("radio", name=name)
        radio.wait_for()

        def in_view(radio=radio):  # beside "Link"
            box = radio.bounding_box()
            return 0 <= box["x"] <= 390 - box["width"] - 60

        soon(section, in_view)


def test_a_section_says_little(section):
    words = section.evaluate(SEEN_WORDS)

    most = 500 if "section=Lesson" in section.url else 350
    assert 20 < len(words) <= most, " ".join(words)


@pytest.mark.parametrize(
    ("width", "theme", "rules"),
    # One change after the other, from what the tests of a phone leave: each draws the
    # charts anew. A theme changes colours alone.
    [
        (390, "dark", {"runOnly": ["color-contrast"]}),
        (1280, "dark", {"runOnly": ["color-contrast"]}),
        (1280, "light", {}),
        (390, "light", {}),
    ],
)
def test_axe_finds_nothing_serious_in_a_section(section, width, theme, rules):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    look(section, width, theme, motion="reduce")

    options = {"resultTypes": ["violations"], **rules}
    answer = axe.run(section, options=options).response

    assert [
        (rule["id"], node["html"][:200])
        for rule in answer["violations"]
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ] == []


def test_every_control_has_a_name_for_a_screen_reader(lesson):
    text = lesson.locator("body").aria_snapshot()

    controls = re.findall(r"- (?:button|slider|combobox|radio|textbox|link)\b.*", text)
    assert len(controls) > 40
    assert [line for line in controls if not re.search(r'"\S', line)] == []


def test_who_asks_for_less_motion_gets_none(lesson):
    look(lesson, motion="reduce")

    moving = lesson.evaluate(
        """() => [...document.querySelectorAll('*')].filter(e => {
          const style = getComputedStyle(e);
          return style.animationName !== 'none'
            || style.transitionDuration.split(', ').some(t => parseFloat(t) > 0);
        }).length"""
    )
    look(lesson)
    assert moving == 0


# --- The other sections --------------------------------------------------------------


def open_section(page, section, first, query=""):
    """Opens a section and waits for a chart of it; TensorFlow may have to be loaded."""
    page.goto(f"{page.home}/?section={section.replace(' ', '+')}{query}")
    marks(page, first).wait_for(timeout=120_000)
    settle(page)
    assert page.get_by_test_id("stException").count() == 0


MAP = "outcome_by_scale_and_depth"


@pytest.fixture(scope="module")
def the_map(chromium, address):
    """The map, for tests that choose a run and do not mind which one was chosen."""
    with visitor(chromium, address) as page:
        open_section(page, "Map", MAP, "&map_steps=50")
        yield page


def test_a_click_on_the_map_opens_the_run_that_was_clicked(the_map):
    page = the_map
    assert page.locator(f".st-key-{MAP} svg.marks").count() == 1  # can be saved
    outcome = page.locator(".st-key-outcomes")
    look(page)
    before = outcome.inner_text()

    box = marks(page, MAP).bounding_box()
    page.mouse.click(box["x"] + 0.9 * box["width"], box["y"] + 0.25 * box["height"])
    soon(page, lambda: outcome.inner_text() != before)
    settle(page)

    after = outcome.inner_text()
    assert "diverges" in after
    scale = re.search(r"cell_scale=([\d.]+)", page.url)[1]
    assert f"c = {float(scale):g}" in after
    assert page.errors == []


def test_the_map_is_worked_by_the_keyboard_alone(the_map):
    outcome = the_map.locator(".st-key-outcomes")

    the_map.get_by_role("slider", name="Its depth").focus()
    the_map.keyboard.press("End")
    outcome.get_by_text("L = 152").wait_for()
    the_map.get_by_role("slider", name="Its scale c").focus()
    the_map.keyboard.press("End")
    outcome.get_by_text("c = 1.6, L = 152").wait_for()

    assert "diverges" in outcome.inner_text()
    assert the_map.errors == []


NAMES_THAT_MEET = """chart => {
  const names = [...chart.querySelectorAll(".mark-text text, .role-axis-label text")]
    .filter(name => /[a-z]/.test(name.textContent))
    .map(name => [name.textContent, name.getBoundingClientRect()]);
  const meet = (a, b) =>
    Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 &&
    Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3;
  const out = a => a.left < -1 || a.right > innerWidth + 1;
  return [names.length, names.filter(([name, a], i) => out(a) ||
    names.slice(i + 1).some(([other, b]) => meet(a, b))).map(([name]) => name)];
}"""


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("section", ["Number formats&format_scale=0.5"], indirect=True)
def test_the_names_at_the_marks_of_a_format_do_not_meet(section, width):
    look(section, width)

    chart = marks(section, "failure_by_depth_and_format")
    names, meeting = chart.evaluate(NAMES_THAT_MEET)
    assert names >= 24 + 4  # six quantities and a name in each of four formats
    assert meeting == []


def test_the_section_is_chosen_by_the_keyboard(page):
    open_page(page)
    page.get_by_role("radio", name="Number formats").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Predict, then look").wait_for()

    assert "section=Predict" in page.url
    page.get_by_role("radio", name="stalls").focus()
    page.keyboard.press("Enter")
    page.get_by_role("slider", name="The norm of dL/dW").press("ArrowRight")
    look = page.get_by_role("button", name="Look", exact=True)
    look.focus()
    page.keyboard.press("Enter")
    marks(page, "kinds_by_layer").wait_for(timeout=120_000)
    assert "of 1 outcomes right" in page.get_by_test_id("stMain").inner_text()


def test_back_and_forward_move_between_sections_and_keep_the_setting(page):
    open_page(page, "?scales=0.9&depths=3&steps=50&lock=units")
    before = page.url
    go_to(page, "Published results")
    go_to(page, "Lesson")
    marks(page, "network").wait_for()

    page.go_back()
    page.get_by_role("heading", name="What was published").wait_for()
    page.go_back()  # "More" leads to the first of its sections
    page.get_by_role("heading", name="Your log").wait_for()
    page.go_back()
    marks(page, "network").wait_for()
    settle(page)
    assert page.url == before
    steps = page.locator(".st-key-steps")
    assert "50" in steps.text_content()
    page.go_forward()
    page.get_by_role("heading", name="Your log").wait_for()
    assert page.errors == []


def test_show_me_brings_the_chart_into_view_and_back_leads_to_the_card(page):
    open_page(page, "?scales=0.9&depths=3&steps=50&learning_rate=0.03")
    before = page.url
    page.locator(".st-key-question_0 summary").click()

    page.get_by_role("button", name="Show me: c = 0.5, L = 20").click()
    page.wait_for_url("**show=network*")
    in_view = """() => {
      const chart = document.querySelector(".st-key-network");
      const { top, bottom } = chart?.getBoundingClientRect() ?? {};
      return chart && chart === document.activeElement
        && top >= 0 && bottom <= innerHeight;
    }"""
    page.wait_for_function(in_view, timeout=60_000)
    settle(page)
    link = page.url

    assert "learning_rate=0.03" in link
    assert "scale=0.5" in link
    assert "depth=20" in link
    assert "depths=3&" in link
    page.go_back()
    page.wait_for_url(before)
    page.goto(link)
    page.wait_for_function(in_view, timeout=60_000)
    outline = "e => getComputedStyle(e).outlineStyle"
    assert page.locator(".st-key-network").evaluate(outline) == "solid"
    go_to(page, "Number formats")
    marks(page, "failure_by_depth_and_format").wait_for()
    settle(page)
    page.go_back()
    marks(page, "network").wait_for()
    settle(page)
    assert page.url == link
    assert page.errors == []


def test_every_view_has_a_link_that_holds_what_a_teacher_ticks(page):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    open_section(page, "Number formats", "failure_by_depth_and_format")
    page.get_by_role("slider", name="Depth L").press("ArrowRight")
    page.wait_for_url("**format_depth=21*")
    settle(page)

    page.get_by_role("button", name="Link").click()
    page.get_by_role("checkbox", name="lock Learning rate").check()
    page.get_by_role("checkbox", name="hide Section").check()
    page.get_by_role("button", name="Copy link").click()
    page.get_by_text("Copied.").wait_for()
    link = page.evaluate("navigator.clipboard.readText()")

    assert link == page.get_by_label("Link to this view").input_value()
    query = parse_qs(link.partition("?")[2])
    assert query == {
        "section": ["Number formats"],
        "format_depth": ["21"],
        "lock": ["format_learning_rate"],
        "hide": ["section"],
    }
    page.get_by_role("button", name="Copy code to embed").click()
    page.wait_for_function("navigator.clipboard.readText().then(t => t[0] === '<')")
    assert "embed=true" in page.evaluate("navigator.clipboard.readText()")
    page.goto(link)
    settle(page)
    assert page.get_by_role("slider", name="Learning rate").is_disabled()
    assert not page.get_by_role("radio", name="Map").is_visible()
    assert page.errors == []


# As in a frame of another page.
NO_CLIPBOARD = """void (navigator.clipboard.writeText =
  () => Promise.reject(new Error("Write permission denied.")))"""


@pytest.mark.parametrize("section", ["Code"], indirect=True)
def test_a_link_is_copied_where_a_page_may_not_write_to_the_clipboard(section):
    section.evaluate(NO_CLIPBOARD)

    section.get_by_role("button", name="Link").click()
    section.get_by_role("button", name="Copy link").click()
    section.get_by_text("Copied.").wait_for()
    section.keyboard.press("Escape")
    assert section.errors == []


def test_a_class_poll_is_two_links_and_the_first_one_tells_nothing(page):
    page.add_init_script(NO_CLIPBOARD)
    page.goto(f"{page.home}/?section=Predict&stack=4")
    page.get_by_role("radio", name="stalls").click()
    page.wait_for_url("**guess=stalls*")
    page.get_by_role("button", name="Class poll").click()
    text = page.get_by_label("Two links").input_value()
    question, answer = re.findall(r"http\S+", text)

    page.goto(question)
    page.get_by_text("The answer comes by a second link.").wait_for()
    settle(page)
    chosen = page.get_by_role("radio", checked=True).filter(visible=True)
    assert chosen.count() == 0
    assert page.get_by_role("button", name="Look").count() == 0
    assert page.locator(".st-key-outcomes").count() == 0
    page.goto(answer)
    marks(page, "loss_by_step").wait_for(timeout=120_000)
    assert "L = " in page.locator(".st-key-outcomes").inner_text()
    assert page.errors == []


def covers(box):
    """Whether it takes the window's upper part from edge to edge."""
    return (box["x"], box["y"], box["width"]) == (0, 0, 1280)


def test_present_mode_shows_a_chart_at_a_time_and_obeys_the_arrow_keys(page):
    page.set_viewport_size({"width": 1280, "height": 720})
    open_section(page, "Remedies", "outcome_by_remedy_and_depth")
    size = "e => e.getBoundingClientRect().height"
    label = page.locator(".st-key-outcome_by_remedy_and_depth .role-axis-label text")
    before = label.first.evaluate(size)
    slide = page.locator("[data-slide]")

    page.get_by_role("button", name="Present").click()
    page.wait_for_url("**present=true*")
    page.get_by_text(re.compile(r"^1 of \d+$")).wait_for()
    settle(page)
    soon(page, lambda: slide.count() == 1)
    first = slide.get_attribute("class")
    page.keyboard.press("ArrowRight")
    page.wait_for_url("**slide=*")
    page.get_by_text(re.compile(r"^2 of \d+$")).wait_for()
    settle(page)
    soon(page, lambda: slide.get_attribute("class") != first)
    soon(page, lambda: covers(slide.bounding_box()))
    assert page.get_by_role("radio", name="Map").is_hidden()
    link = page.url

    page.get_by_role("button", name="Previous chart").click()
    page.get_by_text(re.compile(r"^1 of \d+$")).wait_for()
    page.wait_for_url(lambda url: url != link)
    page.goto(link)
    page.get_by_text(re.compile(r"^2 of \d+$")).wait_for()
    page.locator("[data-slide] .marks").first.wait_for()
    page.set_viewport_size({"width": 1920, "height": 1080})
    soon(page, lambda: label.first.evaluate(size) > 1.4 * before)
    page.get_by_role("button", name="Leave").click()
    page.get_by_role("radio", name="Map").wait_for()
    assert "present" not in page.url
    assert page.errors == []


WHOLE = """() => {
  const slide = document.querySelector("[data-slide]");
  if (!slide?.querySelector("svg.marks")) return null;
  const charts = [...slide.querySelectorAll("svg.marks")];
  const { right, bottom } = slide.getBoundingClientRect();
  return charts.map(chart => chart.getBoundingClientRect())
    .every(chart => chart.right <= right && chart.bottom <= bottom);
}"""


@pytest.mark.parametrize(
    "query",
    [
        "section=Lesson",
        "section=Lesson&slide=gradient_by_depth",
        "section=Remedies&slide=outcome_by_remedy_and_depth",
        "section=In+time",
    ],
)
def test_a_slide_shows_its_charts_whole(page, query):
    page.goto(f"{page.home}/?present=true&{query}")
    page.locator("[data-slide] .marks").first.wait_for()
    settle(page)
    for width, height in ((1024, 768), (1280, 720), (1920, 1080)):
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_timeout(500)  # two looks of the script that fits it
        soon(page, lambda: page.evaluate(WHOLE))
    assert page.errors == []


def test_an_enlarged_slide_is_worked_by_the_mouse(page):
    page.set_viewport_size({"width": 1920, "height": 1080})
    page.goto(f"{page.home}/?present=true&slide=outcome_grid")
    marks(page, "outcome_grid").wait_for()
    settle(page)
    zoom = "getComputedStyle(document.querySelector('[data-slide]')).zoom"
    soon(page, lambda: float(page.evaluate(zoom)) > 1.5)

    box = marks(page, "outcome_grid").bounding_box()
    page.mouse.click(box["x"] + 0.9 * box["width"], box["y"] + 0.25 * box["height"])
    page.wait_for_url("**grid_scale=1.5*")
    page.get_by_role("button", name="Previous chart").click()
    page.wait_for_url("**slide=first_screen*")
    settle(page)
    box = thumb(page, "scale")
    track = page.locator(".st-key-scale [role=group]").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(track["x"] + 0.75 * track["width"], box["y"], steps=5)
    page.mouse.up()
    page.wait_for_url(re.compile(r"[?&]scale=1\.2[3-7]&"))
    assert page.errors == []


def test_sections_without_charts_are_presented_too(page):
    page.goto(f"{page.home}/?section=Predict&present=true")
    for section in ("Your log", "Code", ""):
        page.locator("[data-slide]").wait_for()
        settle(page)
        assert len(page.locator("[data-slide]").inner_text()) > 50
        assert page.get_by_text(re.compile(r"^1 of \d$")).is_visible()
        page.get_by_role("button", name="Leave").click()
        page.get_by_role("button", name="Present").wait_for()
        if section:
            go_to(page, section)
            page.get_by_role("button", name="Present").click()
            page.wait_for_url("**present=true*")

    assert page.errors == []


@pytest.mark.parametrize("section", ["Code"], indirect=True)
def test_data_can_be_downloaded(section):
    button = section.get_by_role("button", name="The table of runs (CSV)")

    with section.expect_download() as download:
        button.click()

    table = pd.read_csv(download.value.path())
    assert len(table) == 28
    assert set(table["outcome"]) == {"trains", "slow", "stalls", "diverges"}
    assert section.errors == []


# --- A log of one's own --------------------------------------------------------------


@pytest.fixture(scope="module")
def own_log(tmp_path_factory):
    """A saved log of three layers whose names mean harm."""
    names = [f"{NASTY}_{layer}/{part}" for layer in (1, 2, 3) for part in "wb"]
    layers = [
        (0, step, 1 + place // 2, name, "weight_gradient", place - 9.0, place - 9.0)
        for step in range(0, 101, 10)
        for place, name in enumerate(names)
    ]
    rest = dict.fromkeys(logs.LAYER_COLUMNS[7:], 0.0)
    run = dict.fromkeys(logs.RUN_COLUMNS, "")
    run |= dict.fromkeys(("run", "units", "output_units", "samples", "seed"), 0)
    run |= {"depth": 3, "steps": 100, "dtype": "float32", "initializer": NASTY}
    run |= dict.fromkeys(("scale", "learning_rate", "loss_zero"), np.nan)
    log = logs.GradientLog(
        pd.DataFrame([run]),
        pd.DataFrame({"run": 0, "step": range(101), "loss": 1.0}),
        pd.DataFrame(layers, columns=logs.LAYER_COLUMNS[:7]).assign(**rest),
        {"origin": NASTY, "model": NASTY, "versions": {NASTY: NASTY}},
    )
    path = tmp_path_factory.mktemp("own") / "own.parquet"
    log.save(path)
    return path


@pytest.fixture(scope="module")
def opened(chromium, address, own_log):
    """The section with that log opened; for tests that only look."""
    with visitor(chromium, address) as page:
        page.on("dialog", lambda dialog: page.errors.append(dialog.message))
        open_your_log(page, own_log)
        for chart in YOUR_CHARTS:
            marks(page, chart).wait_for()
        settle(page)
        yield page


def open_your_log(page, path):
    """The section with a file opened by hand."""
    page.goto(f"{page.home}/?section=Your+log")
    page.get_by_role("heading", name="Your log").wait_for()
    settle(page)
    page.locator(".st-key-your_file input[type=file]").set_input_files(path)


MORE = ("Your log", "Published results", "Code")


def go_to(page, section):
    button = page.get_by_role("radio", name=section)
    if section in MORE and not button.is_visible():
        page.get_by_role("radio", name="More").click()
        wait_for_section(page, MORE[0])
    button.click()
    wait_for_section(page, section)


def wait_for_section(page, name):
    page.wait_for_url(re.compile("section=" + name.replace(" ", r"(\+|%20)")))
    settle(page)


def test_an_opened_log_is_drawn_and_judged(opened):
    for chart in YOUR_CHARTS:
        marks(opened, chart).scroll_into_view_if_needed()
    text = opened.locator(".st-key-outcomes").inner_text()
    assert "The loss stayed at 1 for 100 steps" in text
    assert opened.get_by_test_id("stException").count() == 0
    assert opened.errors == []


def test_names_out_of_a_log_stay_names(opened):
    symbol = opened.locator(".st-key-kinds_by_layer g.mark-symbol.role-mark path").first
    symbol.scroll_into_view_if_needed()
    symbol.hover()
    opened.locator("#vg-tooltip-element.visible").wait_for()

    assert NASTY in opened.locator(".st-key-outcomes").inner_text()
    assert "<script>" in opened.locator("#vg-tooltip-element").inner_text()
    bad = opened.locator("img[src*='example.org'], a[href*='example.org']")
    assert bad.count() == 0
    assert opened.offsite == []
    assert opened.errors == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_shows_a_log_without_scrolling_sideways(opened, theme):
    look(opened, 390, theme)
    for folded in opened.get_by_test_id("stExpander").locator("summary").all():
        folded.evaluate("e => e.closest('details').open || e.click()")

    assert all(marks(opened, chart).is_visible() for chart in YOUR_CHARTS)
    assert opened.evaluate(TOO_WIDE) == []
    look(opened)


@pytest.mark.parametrize("rubbish", [b"", b"PAR1" + bytes(100) + b"PAR1"])
def test_a_file_that_is_no_log_gets_a_sentence(page, tmp_path, rubbish):
    (tmp_path / "bad.parquet").write_bytes(rubbish)

    open_your_log(page, tmp_path / "bad.parquet")
    page.get_by_text("This file is not opened.").wait_for()
    settle(page)

    text = page.get_by_test_id("stMain").inner_text()
    assert "What is wrong with it: " in text
    assert page.get_by_test_id("stException").count() == 0
    assert page.get_by_test_id("stVegaLiteChart").count() == 0


def test_a_file_that_is_cut_short_gets_a_sentence(page, tmp_path, own_log):
    content = own_log.read_bytes()
    (tmp_path / "cut.parquet").write_bytes(content[: len(content) // 2])

    open_your_log(page, tmp_path / "cut.parquet")

    page.get_by_text("it is no Parquet file, or it is cut short").wait_for()


def test_the_lesson_is_found_as_it_was_left(page, own_log):
    open_page(page, "?scales=0.9&depths=3&steps=50&seed=7&depth_shown=3")
    before = {*page.url.partition("?")[2].split("&")}

    go_to(page, "Your log")
    page.get_by_role("heading", name="Your log").wait_for()
    settle(page)
    page.locator(".st-key-your_file input[type=file]").set_input_files(own_log)
    marks(page, "gradient_by_step").wait_for()
    go_to(page, "Lesson")
    marks(page, "network").wait_for()
    settle(page)
    after = {*page.url.partition("?")[2].split("&")}
    go_to(page, "Your log")
    marks(page, "gradient_by_step").wait_for()

    assert after == {"section=Lesson", *before}
    assert "seed=7" in before
    assert page.get_by_text("Still open: own.parquet").is_visible()


def test_a_link_to_the_section_keeps_the_lessons_setting(page):
    page.goto(f"{page.home}/?section=Your+log&steps=50&depths=3&scales=0.9")
    page.get_by_role("heading", name="Your log").wait_for()
    settle(page)

    go_to(page, "Lesson")
    marks(page, "network").wait_for()
    settle(page)

    assert "steps=50" in page.url
    open_controls(page)
    assert page.get_by_role("slider", name="Training steps").get_attribute(
        "aria-valuetext"
    ) in ("50", None)


# --- The first screen -----------------------------------------------------------------

BARS = """() => [0, 1, 2].map(lane => {
  const path = document.querySelector(`.st-key-network .layer_${lane}_marks path`);
  const points = path.getAttribute("d").match(/[ML][^,]+,[-.e\\d]+/g);
  const y = points.map(point => Number(point.split(",")[1]));
  // Up and down each bar, four corners of it, then back below them.
  return y.slice(0, y.length / 2).filter((_, n) => n % 4 === 1).map(top => y[0] - top);
})"""
SAID = """() => [...document.querySelectorAll(".st-key-network text")]
  .map(text => text.textContent).find(text => text.includes("input reaches"))"""
LANE = """() => {
  const grid = document.querySelectorAll(".st-key-network .role-axis-grid line");
  const [first, , third] = [...grid].map(line => line.getCTM().f);
  return Math.abs(first - third);
}"""
LINE = """() => [...document.querySelectorAll(".st-key-loss_by_step .mark-rule line")]
  .at(-1)?.getBoundingClientRect().x ?? 0"""


def knob(page, key):
    return page.locator(f".st-key-{key} input[type=range]")


def thumb(page, key):
    box = page.locator(f".st-key-{key} [data-testid=stSliderThumbValue]")
    return box.locator("xpath=..").bounding_box()


def test_the_network_follows_a_dragged_slider_without_the_server(page):
    sent = []
    page.on("websocket", lambda s: s.on("framesent", lambda _: sent.append(1)))
    open_page(page, "?scale=0.9&depth=50")
    box, before = thumb(page, "scale"), page.url
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    sent.clear()

    track = page.locator(".st-key-scale [role=group]").bounding_box()
    for goal in ("0.7", "1.2"):
        here = track["x"] + track["width"] * (float(goal) - 0.5)
        for nudge in range(-12, 13):  # a step is some pixels wide
            page.mouse.move(here + nudge, box["y"])
            if knob(page, "scale").get_attribute("aria-valuetext") == goal:
                break
        c = float(goal)
        page.wait_for_function(f"({SAID})().startsWith('{goal}⁵⁰')")
        forward, backward, _ = page.evaluate(BARS)

        unit = page.evaluate(LANE)
        shares = (np.arange(1, 51) * np.log10(c) + 3) / 6
        expected = unit * np.clip(shares, 0.02, 1)
        np.testing.assert_allclose(forward, expected, atol=0.02 * unit)
        expected = unit * np.clip(
            (np.arange(49, -1, -1) * np.log10(c) + 3) / 6, 0.02, 1
        )
        np.testing.assert_allclose(backward, expected, atol=0.02 * unit)

    assert sent == []
    assert page.url == before
    page.mouse.up()
    page.wait_for_url("**scale=1.2*")
    page.locator(".st-key-loss_by_step text", has_text="c = 1.2, L = 50").wait_for()
    page.get_by_text("Points: run live.").wait_for()
    assert page.errors == []


def test_play_moves_the_network_and_the_loss_and_pause_stops_them(page):
    open_page(page, "?scale=0.9&depth=20")
    start, line = page.evaluate(BARS), page.evaluate(LINE)

    page.get_by_role("button", name="Play").click()
    page.wait_for_function(f"({LINE})() > {line + 40}")
    page.get_by_role("button", name="Pause").click()

    assert page.evaluate(BARS)[0][-1] > start[0][-1]
    page.wait_for_url("**step=*")
    link = page.url
    step = int(re.search(r"step=(\d+)", link)[1])
    page.get_by_role("button", name="One step on").click()
    page.wait_for_url(f"**step={step + 1}*")
    page.goto(link)
    page.get_by_text(f"step {step} of 200").wait_for()
    page.wait_for_function(f"({LINE})() > {line + 40}")


def test_who_wants_no_motion_sees_the_end_at_once(page):
    page.emulate_media(reduced_motion="reduce")
    open_page(page, "?scale=0.9&depth=20")

    page.get_by_role("button", name="Play").click()

    page.get_by_text("step 200 of 200").wait_for(timeout=1_000)


def test_the_sliders_of_the_first_screen_are_moved_by_keyboard(page):
    open_page(page, "?scale=0.9&depth=50")

    knob(page, "depth").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function(f"({SAID})().startsWith('0.9⁵¹')")
    page.wait_for_url("**depth=51*")
    settle(page)

    assert knob(page, "depth").evaluate("e => e === document.activeElement")
