"""Present mode, for a projector: a chart at a time, large, moved by arrow keys."""

import streamlit as st

STYLE = """<style>
[data-testid='stMainBlockContainer']
  :not([data-slide], [data-slide] *, .st-key-present, .st-key-present *) {
  visibility: hidden !important;
}
[data-slide], .st-key-present { visibility: visible; }
.st-key-present {
  position: fixed; bottom: 0; left: 0; right: 0; z-index: 999991;
  height: 4rem; padding: 0 1rem;
}
[data-slide] {
  position: fixed !important; inset: 0 0 4rem 0; z-index: 999990; overflow: auto;
  width: auto !important; padding: 2.5rem 2rem 0; border: 0 !important;
  zoom: var(--zoom);
}
/* A chart is as wide as this is on the screen, and then enlarged. */
[data-slide] [data-testid='stFullScreenFrame'] { width: calc(100% / var(--zoom)); }
[data-slide] > * { flex-shrink: 0; }
</style>"""
HTML = """
<div role="group" aria-label="Slides">
  <button type="button" id="back" aria-label="Previous chart">&larr;</button>
  <output id="said"></output>
  <button type="button" id="next" aria-label="Next chart">&rarr;</button>
</div>
"""
BUTTONS = """
div { display: flex; gap: 0.75rem; align-items: center; color: var(--st-text-color); }
button {
  font: inherit; color: inherit; background: none; cursor: pointer;
  min-width: 3rem; min-height: 2.5rem;
  border: 1px solid var(--st-border-color); border-radius: 0.5rem;
}
"""
# A slide is the container of a chart, or a card; the page itself, if it has neither.
SCRIPT = """
const CARDS = '[class*="st-key-card_"], .st-key-first_screen';
const NARROWEST = 900;  // pixels that a slide is wide at least, before it is enlarged
const SMALLEST = 0.9;  // times what it is on the page
const KEYED = '[data-testid="stVerticalBlock"][class*="st-key-"]';

export default function ({ data, parentElement, setStateValue }) {
  const at = (id) => parentElement.querySelector("#" + id);
  const main = document.querySelector('[data-testid="stMainBlockContainer"]');
  const name = (slide) => slide?.className.match(/st-key-(\\S+)/)?.[1] ?? "";
  const slides = () => {
    const charts = [...main.querySelectorAll('[data-testid="stVegaLiteChart"]')];
    const boxes = charts.map((chart) => chart.closest(CARDS) ?? chart.closest(KEYED));
    const all = new Set([...boxes, ...main.querySelectorAll(CARDS)]);
    all.delete(null);
    all.delete(document.querySelector(".st-key-stage"));
    if (!all.size) return [document.querySelector(".st-key-stage")];
    return [...main.querySelectorAll(KEYED)].filter((box) => all.has(box));
  };
  const state = (parentElement.presenting ??= { shown: data.slide });
  const place = (all) => {
    const number = all.findIndex((slide) => name(slide) === state.shown);
    return Math.max(number, 0);
  };
  const paper = () => {
    const app = document.querySelector('[data-testid="stApp"]');
    return getComputedStyle(app).backgroundColor;
  };
  const leave = (slide) => {
    delete slide.dataset.slide;
    slide.style.background = "";
  };
  // As large as the window lets its charts be, whole, if that is not too small.
  const fit = (slide) => {
    const bottom = (box) => box.getBoundingClientRect().bottom;
    const charts = [...slide.querySelectorAll("svg.marks")];
    const isCut = () => charts.some((chart) => bottom(chart) > bottom(slide));
    const set = (to) => {
      zoom = Math.max(SMALLEST, to);
      slide.style.setProperty("--zoom", zoom);
    };
    const room = `${innerWidth} ${innerHeight} ${charts.length}`;
    let zoom = +slide.style.getPropertyValue("--zoom");
    if (slide.dataset.slide !== room) set(innerWidth / NARROWEST);
    slide.dataset.slide = room;
    if (!slide.scrollTop) while (zoom > SMALLEST && isCut()) set(zoom - 0.05);
  };
  const draw = () => {
    const all = slides(), now = all[place(all)];
    for (const old of document.querySelectorAll("[data-slide]"))
      if (old !== now) leave(old);
    if (now) {
      now.style.background = paper();
      fit(now);
    }
    at("said").textContent = `${place(all) + 1} of ${all.length}`;
  };
  const go = (by) => {
    const all = slides();
    const next = all[Math.min(Math.max(place(all) + by, 0), all.length - 1)];
    state.shown = name(next);
    draw();
    setStateValue("slide", state.shown);
  };
  const KEYS = { ArrowRight: 1, PageDown: 1, ArrowLeft: -1, PageUp: -1 };
  const press = (event) => {
    const typing = event.target.closest("input, textarea, [role=slider], [role=radio]");
    if (!(event.key in KEYS) || typing || event.defaultPrevented) return;
    event.preventDefault();
    go(KEYS[event.key]);
  };
  at("back").onclick = () => go(-1);
  at("next").onclick = () => go(1);
  document.addEventListener("keydown", press);
  document.querySelector(".st-key-present").style.background = paper();
  const timer = setInterval(draw, 200);  // charts come and go
  draw();
  return () => {
    document.removeEventListener("keydown", press);
    clearInterval(timer);
    document.querySelectorAll("[data-slide]").forEach(leave);
  };
}
"""


def present() -> None:
    """Draws the button; in present mode, what leads from chart to chart."""
    if not _is_on():
        st.button(
            "Present",
            icon=":material/present_to_all:",
            key="present_button",
            on_click=_present,
        )
        return
    st.html(STYLE)
    with st.container(key="present", horizontal=True, vertical_alignment="center"):
        component = st.components.v2.component(
            "present", html=HTML, css=BUTTONS, js=SCRIPT
        )
        first = st.query_params.get("slide", "")
        component(data={"slide": first}, key="slides", on_slide_change=_turn)
        st.button("Leave", icon=":material/close:", on_click=_leave)


def _is_on() -> bool:
    return st.query_params.get("present") == "true"


def _present() -> None:
    st.query_params["present"] = "true"


def _turn() -> None:
    st.query_params["slide"] = st.session_state["slides"]["slide"]


def _leave() -> None:
    for name in ("present", "slide"):
        st.query_params.pop(name, None)
