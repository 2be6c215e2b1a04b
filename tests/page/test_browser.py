"""The page in a real browser: what it draws, how it answers, what it never does.

Needs Chromium: Debian's package, another one named by `CHROMIUM`, or Playwright's own.
Without one the tests are skipped, unless `VGKERAS_REQUIRE_BROWSER` is set.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from urllib.parse import parse_qs, unquote
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from vgkeras import logs

pytestmark = [pytest.mark.browser, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
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
        server.wait(20)


def wait_until_healthy(server, address, output):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert server.poll() is None, output.read_text()
        try:
            with urllib.request.urlopen(f"{address}/_stcore/health", timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"The page did not start:\n{output.read_text()}")


@pytest.fixture
def page(chromium, address):
    """A fresh visitor; `page.errors` and `page.offsite` should stay empty."""
    context = chromium.new_context(viewport={"width": 1280, "height": 1000})
    context.set_default_timeout(30_000)
    page = context.new_page()
    page.errors, page.offsite, page.home = [], [], address
    local = (address, address.replace("http", "ws"), "data:", "blob:")
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on("console", lambda m: m.type == "error" and page.errors.append(m.text))
    page.on(
        "request",
        lambda r: r.url.startswith(local) or page.offsite.append(r.url),
    )
    yield page
    context.close()


def open_page(page, query=""):
    page.goto(page.home + "/" + query)
    marks(page, "network").wait_for()
    page.wait_for_function(SETTLED, timeout=60_000)
    assert page.get_by_test_id("stException").count() == 0


def open_controls(page):
    page.get_by_text("Change the networks").click()


def marks(page, chart):
    return page.locator(f".st-key-{chart} :is(svg, canvas).marks").first


def labels(page, chart):
    """What the symbols of a chart stand for, as a screen reader hears them."""
    symbols = page.locator(f".st-key-{chart} g.mark-symbol.role-mark path")
    return symbols.evaluate_all("all => all.map(e => e.getAttribute('aria-label'))")


def test_page_opens_and_draws_all_its_charts(page):
    open_page(page)

    for chart in CHARTS:
        marks(page, chart).scroll_into_view_if_needed()
        assert marks(page, chart).bounding_box()["width"] > 300
    assert page.locator(".katex-html").count() > 3
    assert "Recorded" in page.locator(".st-key-source").inner_text()


def test_nothing_leaves_the_machine_and_nothing_goes_wrong(page):
    open_page(page)

    assert page.offsite == []
    assert page.errors == []


def test_every_chart_has_its_numbers_as_text_alternative(page):
    open_page(page)

    for chart in CHARTS:
        spoken = page.locator(f".st-key-{chart} [aria-label]").evaluate_all(
            "all => all.map(e => e.getAttribute('aria-label'))"
        )
        assert any(re.search(r"\d.*\d.*\.$", words) for words in spoken)
        if chart in EXPLORED:
            continue
        page.locator(f".st-key-{chart}").get_by_role("button", name=MISREAD).click()
        shown = page.get_by_test_id("stPopoverBody").locator("p").last.inner_text()
        page.keyboard.press("Escape")
        assert shown in spoken


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


@pytest.mark.parametrize(
    ("section", "last"),
    [("Map", "kinds_by_layer"), ("Lesson", "gradient_by_layer_and_step")],
)
def test_no_chart_of_a_section_cuts_its_toolbar_off(page, section, last):
    page.goto(f"{page.home}/?section={section}&map_steps=50")
    marks(page, last).wait_for(timeout=120_000)
    page.wait_for_function(SETTLED, timeout=120_000)

    cut = page.get_by_test_id("stElementToolbar").evaluate_all(
        """all => all.filter(e => {
          for (let box = e.parentElement; box.dataset.testid !== "stMain";
               box = box.parentElement)
            if (getComputedStyle(box).overflowY !== "visible") return true;
        }).length"""
    )
    assert page.get_by_test_id("stElementToolbar").count() >= 3
    assert cut == 0


WORDS = """all => all.map(text => {
  const look = getComputedStyle(text), hidden = look.opacity === '0';
  const box = text.getBoundingClientRect(), room = text.ownerSVGElement;
  const wide = room.getBoundingClientRect();
  return {
    words: hidden ? '' : text.textContent,
    cut: box.left < wide.left - 8 || box.right > wide.right + 2,
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


@pytest.mark.parametrize(("width", "theme"), [(390, "dark"), (1024, "light")])
def test_the_words_of_charts_are_whole_and_legible(page, width, theme):
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=theme)
    open_page(page, "?scales=0.5&scales=0.9&scales=1&scales=1.5")

    for chart in ("final_loss_by_depth", "loss_by_step", "gradient_by_depth"):
        marks(page, chart).scroll_into_view_if_needed()
        texts = page.locator(f".st-key-{chart} svg.marks text").evaluate_all(WORDS)
        assert len(texts) > 10
        for text in texts:
            assert not text["cut"], text
            assert not text["words"].endswith("…"), text
            mixed = text["alpha"] * np.array(text["fill"][:3])
            mixed += (1 - text["alpha"]) * np.array(text["page"][:3])
            dark, light = sorted(map(luminance, (mixed, text["page"])))
            assert (light + 0.05) / (dark + 0.05) >= 4.5, text


def test_diverged_stacks_are_drawn_as_flagged_marks(page):
    open_page(page)

    spoken = " ".join(labels(page, "final_loss_by_depth"))
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
    page.wait_for_function(SETTLED, timeout=60_000)

    after = labels(page, "loss_by_step")
    assert any("training step: 200" in label for label in before)
    assert not any("training step: 200" in label for label in after)
    assert "steps=150" in page.url
    assert "Run live" in page.locator(".st-key-source").inner_text()
    assert page.errors == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_shows_everything_without_scrolling_sideways(page, theme):
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(color_scheme=theme)
    open_page(page)

    widths = page.get_by_test_id("stMain").evaluate("e => [e.scrollWidth, innerWidth]")
    boxes = [marks(page, chart).bounding_box() for chart in CHARTS]
    open_controls(page)
    knob = page.get_by_role("slider", name="Learning rate")
    knob.scroll_into_view_if_needed()

    assert widths[0] <= widths[1]
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= 390 for box in boxes)
    assert knob.is_visible()


def test_a_chart_is_saved_as_svg_as_it_is_on_screen(page):
    open_page(page)
    shown = labels(page, "gradient_by_depth")

    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as SVG: gradient by depth").click()

    assert saved.value.suggested_filename == "gradient_by_depth.svg"
    svg = ElementTree.parse(saved.value.path()).getroot()
    assert svg.tag == "{http://www.w3.org/2000/svg}svg"
    assert svg[0].get("fill") == "rgb(255, 255, 255)"
    saved_labels = [node.get("aria-label") for node in svg.iter()]
    assert [label for label in saved_labels if label in shown] == shown
    assert page.errors == []


def test_controls_that_the_address_holds_cannot_be_moved_or_seen(page):
    open_page(page, "?lock=units&hide=seed,section")
    open_controls(page)

    assert not page.get_by_role("slider", name="Seed of the data").is_visible()
    assert not page.get_by_role("radio", name="Map").is_visible()
    assert page.get_by_role("slider", name="Units in a layer").is_disabled()
    assert page.get_by_role("slider", name="Training steps").is_enabled()
    page.get_by_role("button", name="Back to the lecture").click()
    page.wait_for_function(SETTLED, timeout=60_000)
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


def test_a_phone_shows_the_name_of_the_section_and_where_numbers_come_from_last(page):
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{page.home}/?section=Code")
    source = page.locator(".st-key-source")
    source.get_by_text("Recorded").wait_for()
    page.wait_for_function(SETTLED, timeout=60_000)

    last = page.get_by_role("heading").last.bounding_box()
    assert source.bounding_box()["y"] > last["y"]
    for name in ("More", "Code"):
        box = page.get_by_role("radio", name=name).bounding_box()
        assert 0 <= box["x"] <= 390 - box["width"] - 60, name  # beside "Link"


SECTIONS = (
    "Lesson",
    "Map&map_steps=50",
    "In time",
    "In time&time_network=GRU&time_live_steps=20",
    "Remedies",
    "Number formats",
    "Predict&stack=2",
    "Predict&looked=0.1",
    "Your log",
    "Your log&example=true",
    "Published results",
    "Code",
)


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_says_little_and_axe_finds_nothing_serious(page, section):
    """Of axe: in both themes, on a desk and on a phone."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page.goto(f"{page.home}/?section={section.replace(' ', '+')}")
    page.get_by_test_id("stMain").get_by_role("heading").first.wait_for()
    page.wait_for_function(SETTLED, timeout=120_000)
    words = page.evaluate(SEEN_WORDS)

    found = []
    # A theme changes colours alone.
    for theme, rules in (("light", {}), ("dark", {"runOnly": ["color-contrast"]})):
        page.emulate_media(color_scheme=theme, reduced_motion="reduce")
        for width in (1280, 390):
            page.set_viewport_size({"width": width, "height": 900})
            page.wait_for_timeout(300)  # until charts have their new width
            options = {"resultTypes": ["violations"], **rules}
            answer = axe.run(page, options=options).response
            found += [
                (theme, width, rule["id"], node["html"][:200])
                for rule in answer["violations"]
                if rule["impact"] in ("serious", "critical")
                for node in rule["nodes"]
            ]

    assert page.get_by_test_id("stException").count() == 0
    assert found == []
    assert 20 < len(words) <= (500 if section == "Lesson" else 350), " ".join(words)


def test_every_control_has_a_name_for_a_screen_reader(page):
    open_page(page)

    text = page.locator("body").aria_snapshot()
    controls = re.findall(r"- (?:button|slider|combobox|radio|textbox|link)\b.*", text)
    assert len(controls) > 40
    assert [line for line in controls if not re.search(r'"\S', line)] == []


def test_who_asks_for_less_motion_gets_none(page):
    page.emulate_media(reduced_motion="reduce")
    open_page(page)

    moving = page.evaluate(
        """() => [...document.querySelectorAll('*')].filter(e => {
          const style = getComputedStyle(e);
          return style.animationName !== 'none'
            || style.transitionDuration.split(', ').some(t => parseFloat(t) > 0);
        }).length"""
    )
    assert moving == 0


# --- The other sections --------------------------------------------------------------


def open_section(page, section, first, query=""):
    """Opens a section and waits for a chart of it; TensorFlow may have to be loaded."""
    page.goto(f"{page.home}/?section={section.replace(' ', '+')}{query}")
    marks(page, first).wait_for(timeout=120_000)
    page.wait_for_function(SETTLED, timeout=120_000)
    assert page.get_by_test_id("stException").count() == 0


def fits(page, *charts):
    """Whether nothing is wider than the screen."""
    widths = page.get_by_test_id("stMain").evaluate("e => [e.scrollWidth, innerWidth]")
    boxes = [marks(page, chart).bounding_box() for chart in charts]
    right = page.viewport_size["width"]
    inside = all(box["x"] >= 0 and box["x"] + box["width"] <= right for box in boxes)
    return inside and widths[0] <= widths[1]


MAP = "outcome_by_scale_and_depth"


def test_a_click_on_the_map_opens_the_run_that_was_clicked(page):
    open_section(page, "Map", MAP, "&map_steps=50")
    assert page.locator(f".st-key-{MAP} svg.marks").count() == 1  # can be saved
    before = page.locator(".st-key-outcomes").inner_text()

    box = marks(page, MAP).bounding_box()
    page.mouse.click(box["x"] + 0.9 * box["width"], box["y"] + 0.25 * box["height"])
    page.wait_for_url("**cell_scale=*")
    page.wait_for_function(SETTLED, timeout=60_000)

    after = page.locator(".st-key-outcomes").inner_text()
    assert before != after
    assert "diverges" in after
    scale = re.search(r"cell_scale=([\d.]+)", page.url)[1]
    assert f"c = {float(scale):g}" in after
    assert page.errors == []


def test_the_map_is_worked_by_the_keyboard_alone(page):
    open_section(page, "Map", MAP, "&map_steps=50&cell_scale=1&cell_depth=3")

    page.get_by_role("slider", name="Its depth").focus()
    page.keyboard.press("End")
    page.locator(".st-key-outcomes").get_by_text("L = 152").wait_for()
    page.get_by_role("slider", name="Its scale c").focus()
    page.keyboard.press("End")
    page.locator(".st-key-outcomes").get_by_text("c = 1.6, L = 152").wait_for()

    assert "diverges" in page.locator(".st-key-outcomes").inner_text()
    assert page.errors == []


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


def test_the_names_at_the_marks_of_a_format_do_not_meet(page):
    chart = "failure_by_depth_and_format"
    page.goto(f"{page.home}/?section=Number+formats&format_scale=0.5")
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 844})
        marks(page, chart).wait_for(timeout=60_000)
        page.wait_for_timeout(500)  # the chart takes its new width

        names, meeting = marks(page, chart).evaluate(NAMES_THAT_MEET)

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
    page.wait_for_function(SETTLED, timeout=60_000)
    assert page.url == before
    steps = page.locator(".st-key-steps")
    assert "50" in steps.text_content()
    page.go_forward()
    page.get_by_role("heading", name="Your log").wait_for()
    assert page.errors == []


def test_show_me_brings_the_chart_into_view_and_back_leads_to_the_card(page):
    open_page(page, "?scales=0.9&depths=3&steps=50&learning_rate=0.03")
    before = page.url
    card = page.locator("[class*='st-key-show_0'] button")
    page.get_by_test_id("stExpander").filter(has=card).locator("summary").click()

    page.get_by_role("button", name="Show me: c = 0.5, L = 20").click()
    page.wait_for_url("**show=network*")
    in_view = """() => {
      const chart = document.querySelector(".st-key-network");
      const { top, bottom } = chart?.getBoundingClientRect() ?? {};
      return chart && chart === document.activeElement
        && top >= 0 && bottom <= innerHeight;
    }"""
    page.wait_for_function(in_view, timeout=60_000)
    page.wait_for_function(SETTLED, timeout=60_000)
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
    assert page.errors == []


def test_every_view_has_a_link_that_holds_what_a_teacher_ticks(page):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    open_section(page, "Number formats", "failure_by_depth_and_format")
    page.get_by_role("slider", name="Depth L").press("ArrowRight")
    page.wait_for_url("**format_depth=21*")
    page.wait_for_function(SETTLED, timeout=60_000)

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
    page.wait_for_function(SETTLED, timeout=60_000)
    assert page.get_by_role("slider", name="Learning rate").is_disabled()
    assert not page.get_by_role("radio", name="Map").is_visible()
    assert page.errors == []


def test_a_class_poll_is_two_links_and_the_first_one_tells_nothing(page):
    page.goto(f"{page.home}/?section=Predict&stack=4")
    page.get_by_role("radio", name="stalls").click()
    page.wait_for_url("**guess=stalls*")
    page.get_by_role("button", name="Class poll").click()
    text = page.get_by_label("Two links").input_value()
    question, answer = re.findall(r"http\S+", text)

    page.goto(question)
    page.get_by_text("The answer comes by a second link.").wait_for()
    page.wait_for_function(SETTLED, timeout=60_000)
    chosen = page.get_by_role("radio", checked=True).filter(visible=True)
    assert chosen.count() == 0
    assert page.get_by_role("button", name="Look").count() == 0
    assert page.locator(".st-key-outcomes").count() == 0
    page.goto(answer)
    marks(page, "loss_by_step").wait_for(timeout=120_000)
    assert "L = " in page.locator(".st-key-outcomes").inner_text()
    assert page.errors == []


def test_present_mode_shows_a_chart_at_a_time_and_obeys_the_arrow_keys(page):
    page.set_viewport_size({"width": 1280, "height": 720})
    open_section(page, "Remedies", "outcome_by_remedy_and_depth")
    size = "e => parseFloat(getComputedStyle(e).fontSize)"
    label = page.locator(".st-key-remedy_gradient_by_depth .role-axis-label text")
    before = label.first.evaluate(size)
    slide = page.locator("[data-slide]")

    page.get_by_role("button", name="Present").click()
    page.wait_for_url("**present=true*")
    page.get_by_text(re.compile(r"^1 of \d$")).wait_for()
    page.wait_for_function(SETTLED, timeout=60_000)
    assert slide.count() == 1
    first = slide.get_attribute("class")
    page.keyboard.press("ArrowRight")
    page.wait_for_url("**slide=*")
    page.wait_for_function(SETTLED, timeout=60_000)
    assert slide.get_attribute("class") != first
    box = slide.bounding_box()
    assert (box["x"], box["y"], box["width"]) == (0, 0, 1280)
    assert page.get_by_role("radio", name="Map").is_hidden()
    link = page.url

    page.get_by_role("button", name="Previous chart").click()
    page.wait_for_function("() => !location.search.includes('remedy_gradient')")
    page.goto(link)
    page.get_by_text(re.compile(r"^2 of \d$")).wait_for()
    page.locator("[data-slide] .marks").wait_for()
    assert label.first.evaluate(size) > 1.3 * before
    page.get_by_role("button", name="Leave").click()
    page.get_by_role("radio", name="Map").wait_for()
    assert "present" not in page.url
    assert page.errors == []


@pytest.mark.parametrize(
    "section", ["Predict", "Published results", "Your log", "Code"]
)
def test_a_section_without_charts_is_presented_too(page, section):
    page.goto(f"{page.home}/?section={section.replace(' ', '+')}&present=true")
    page.locator("[data-slide]").wait_for()
    page.wait_for_function(SETTLED, timeout=60_000)

    assert len(page.locator("[data-slide]").inner_text()) > 50
    assert page.get_by_text(re.compile(r"^1 of \d$")).is_visible()
    assert page.errors == []


@pytest.mark.parametrize(
    ("theme", "section", "charts"),
    [
        ("dark", "Map", [MAP, "loss_by_step", "kinds_by_layer"]),
        ("light", "Number formats", ["failure_by_depth_and_format"]),
        ("dark", "Remedies", ["outcome_by_remedy_and_depth", "activation_by_layer"]),
    ],
)
def test_a_phone_shows_each_section_without_scrolling_sideways(
    page, section, charts, theme
):
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(color_scheme=theme)
    open_section(page, section, charts[0])
    for chart in charts:
        marks(page, chart).scroll_into_view_if_needed()

    assert fits(page, *charts)
    assert page.errors == []
    assert page.offsite == []


def test_code_can_be_copied_and_data_downloaded(page):
    page.goto(f"{page.home}/?section=Code")
    button = page.get_by_role("button", name="The table of runs (CSV)")
    button.wait_for()
    page.wait_for_function(SETTLED, timeout=60_000)

    with page.expect_download() as download:
        button.click()

    table = pd.read_csv(download.value.path())
    assert len(table) == 28
    assert set(table["outcome"]) == {"trains", "slow", "stalls", "diverges"}
    assert page.errors == []


# --- A log of one's own --------------------------------------------------------------


@pytest.fixture
def own_log(tmp_path):
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
    log.save(tmp_path / "own.parquet")
    return tmp_path / "own.parquet"


def open_your_log(page, path, query=""):
    """The section with a file opened by hand."""
    page.goto(f"{page.home}/?section=Your+log{query}")
    page.get_by_role("heading", name="Your log").wait_for()
    page.wait_for_function(SETTLED, timeout=60_000)
    page.locator(".st-key-your_file input[type=file]").set_input_files(path)


def go_to(page, section):
    more = section in ("Your log", "Published results", "Code")
    for name in ("More", section) if more else (section,):
        page.get_by_role("radio", name=name).click()
        page.wait_for_timeout(200)
        page.wait_for_function(SETTLED, timeout=60_000)


def test_an_opened_log_is_drawn_and_judged(page, own_log):
    open_your_log(page, own_log)

    for chart in YOUR_CHARTS:
        marks(page, chart).wait_for()
        marks(page, chart).scroll_into_view_if_needed()
    page.wait_for_function(SETTLED, timeout=60_000)
    text = page.locator(".st-key-outcomes").inner_text()
    assert "The loss stayed at 1 for 100 steps" in text
    assert page.get_by_test_id("stException").count() == 0
    assert page.errors == []


def test_names_out_of_a_log_stay_names(page, own_log):
    page.on("dialog", lambda dialog: page.errors.append(dialog.message))
    open_your_log(page, own_log)
    marks(page, "gradient_by_layer_and_step").wait_for()
    page.wait_for_function(SETTLED, timeout=60_000)

    symbol = page.locator(".st-key-kinds_by_layer g.mark-symbol.role-mark path").first
    symbol.scroll_into_view_if_needed()
    symbol.hover()
    page.locator("#vg-tooltip-element.visible").wait_for()

    assert NASTY in page.locator(".st-key-outcomes").inner_text()
    assert "<script>" in page.locator("#vg-tooltip-element").inner_text()
    assert page.locator("img[src*='example.org'], a[href*='example.org']").count() == 0
    assert page.offsite == []
    assert page.errors == []


@pytest.mark.parametrize("rubbish", [b"rubbish", b"", b"PAR1" + bytes(100) + b"PAR1"])
def test_a_file_that_is_no_log_gets_a_sentence(page, tmp_path, rubbish):
    (tmp_path / "bad.parquet").write_bytes(rubbish)

    open_your_log(page, tmp_path / "bad.parquet")
    page.get_by_text("This file is not opened.").wait_for()
    page.wait_for_function(SETTLED, timeout=60_000)

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
    page.wait_for_function(SETTLED, timeout=60_000)
    page.locator(".st-key-your_file input[type=file]").set_input_files(own_log)
    marks(page, "gradient_by_step").wait_for()
    go_to(page, "Lesson")
    marks(page, "network").wait_for()
    page.wait_for_function(SETTLED, timeout=60_000)
    after = {*page.url.partition("?")[2].split("&")}
    go_to(page, "Your log")
    marks(page, "gradient_by_step").wait_for()

    assert after == {"section=Lesson", *before}
    assert "seed=7" in before
    assert page.get_by_text("Still open: own.parquet").is_visible()


def test_a_link_to_the_section_keeps_the_lessons_setting(page):
    page.goto(f"{page.home}/?section=Your+log&steps=50&depths=3&scales=0.9")
    page.get_by_role("heading", name="Your log").wait_for()
    page.wait_for_function(SETTLED, timeout=60_000)

    go_to(page, "Lesson")
    marks(page, "network").wait_for()
    page.wait_for_function(SETTLED, timeout=60_000)

    assert "steps=50" in page.url
    open_controls(page)
    assert page.get_by_role("slider", name="Training steps").get_attribute(
        "aria-valuetext"
    ) in ("50", None)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_shows_a_log_without_scrolling_sideways(page, theme, own_log):
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(color_scheme=theme)
    open_your_log(page, own_log)
    marks(page, "gradient_by_layer_and_step").wait_for()
    page.wait_for_function(SETTLED, timeout=60_000)
    for opened in page.get_by_test_id("stExpander").locator("summary").all():
        opened.click()

    widths = page.get_by_test_id("stMain").evaluate("e => [e.scrollWidth, innerWidth]")
    boxes = [marks(page, chart).bounding_box() for chart in YOUR_CHARTS]

    assert widths[0] <= widths[1]
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= 390 for box in boxes)


# --- The first screen -----------------------------------------------------------------

BARS = """() => [0, 1, 2].map(lane => {
  const marks = `.st-key-network .layer_${lane}_marks path`;
  return [...document.querySelectorAll(marks)].map(bar => bar.getBBox().height);
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
    page.wait_for_function(SETTLED, timeout=60_000)

    assert knob(page, "depth").evaluate("e => e === document.activeElement")
