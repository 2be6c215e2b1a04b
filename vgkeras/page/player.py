"""Play, pause, step and scrub; and the script that moves charts with the sliders."""

from typing import Any

import streamlit as st

HTML = """
<div role="group" aria-label="Training">
  <button type="button" id="play" aria-pressed="false">Play</button>
  <button type="button" id="back" aria-label="One step back">&minus;1</button>
  <button type="button" id="next" aria-label="One step on">+1</button>
  <input type="range" id="scrub" aria-label="Training step" min="0" value="0">
  <output id="said" for="scrub"></output>
</div>
"""
STYLE = """
div { display: flex; width: 100%; gap: 0.5rem; align-items: center; font-size: 0.9rem;
      color: var(--st-text-color); }
button { font: inherit; color: inherit; background: none; cursor: pointer;
         min-width: 2.75rem; min-height: 2.25rem; border-radius: 0.5rem;
         border: 1px solid var(--st-border-color); }
#play { min-width: 5rem; background: var(--st-primary-color); font-weight: 600;
        color: var(--st-background-color); border-color: transparent; }
input { flex: 1 1 auto; width: 100%; min-width: 4rem;
        accent-color: var(--st-primary-color); }
output { white-space: nowrap; text-align: right; font-variant-numeric: tabular-nums; }
"""
# Vega writes a parameter's value into an input of its own, and reads it from there.
# Those inputs are out of sight; the sliders of the page move them.
SCRIPT = """
const SECONDS = 4;  // that the whole training takes to play

export default function ({ data, parentElement, setStateValue }) {
  const at = (id) => parentElement.querySelector("#" + id);
  const play = at("play"), scrub = at("scrub"), said = at("said");
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const state = (parentElement.player ??= { run: "", frame: 0 });
  scrub.max = data.steps;
  play.parentElement.style.display = data.steps ? "" : "none";

  const slider = (key) => {
    const thumb = document.querySelector(".st-key-" + key + " input[type=range]");
    return thumb && thumb.getAttribute("aria-valuetext");
  };
  const wanted = () => ({
    c: slider(data.scale), L: slider(data.depth), step: scrub.value,
  });
  const follow = () => {
    const values = wanted();
    if (values.c === null || values.L === null) return;  // not there yet
    const run = values.c + " " + values.L;
    if (state.run && state.run !== run) { pause(); scrub.value = values.step = 0; }
    state.run = run;
    const last = document.querySelector(".st-key-" + data.charts.at(-1));
    if (last && data.steps) last.style.opacity = run === data.run ? 1 : 0.3;
    for (const [name, value] of Object.entries(values)) {
      for (const chart of data.charts) {
        const inputs = `.st-key-${chart} .vega-bind input[name="${name}"]`;
        for (const input of document.querySelectorAll(inputs)) {
          if (Number(input.value) === Number(value)) continue;
          input.value = value;
          input.dispatchEvent(new Event("input"));
        }
      }
    }
    said.textContent = `step ${scrub.value} of ${data.steps}`;
  };
  const pause = () => {
    cancelAnimationFrame(state.frame);
    state.frame = 0;
    play.textContent = "Play";
    play.setAttribute("aria-pressed", "false");
  };
  const stop = () => {
    pause();
    setStateValue("step", Number(scrub.value));
  };
  const go = (step) => { scrub.value = step; follow(); };
  const start = () => {
    if (Number(scrub.value) >= data.steps) go(0);
    if (still) { go(data.steps); return stop(); }
    play.textContent = "Pause";
    play.setAttribute("aria-pressed", "true");
    const first = Number(scrub.value), begun = performance.now();
    const draw = (now) => {
      const gone = ((now - begun) / 1000 / SECONDS) * data.steps;
      go(Math.min(data.steps, Math.round(first + gone)));
      if (Number(scrub.value) >= data.steps) return stop();
      state.frame = requestAnimationFrame(draw);
    };
    state.frame = requestAnimationFrame(draw);
  };
  play.onclick = () => (state.frame ? stop() : start());
  const step = (by) => { pause(); go(Number(scrub.value) + by); stop(); };
  at("back").onclick = () => step(-1);
  at("next").onclick = () => step(1);
  scrub.oninput = () => { pause(); follow(); };
  scrub.onchange = stop;
  if (state.first !== data.step) { state.first = data.step; scrub.value = data.step; }
  const drawing = (change) => change.target instanceof SVGElement;
  const observer = new MutationObserver(
    (changes) => changes.every(drawing) || follow(),
  );
  observer.observe(document.body, {
    subtree: true,
    childList: true,
    attributeFilter: ["aria-valuetext"],
  });
  follow();
  return () => { observer.disconnect(); pause(); };
}
"""


def player(
    charts: list[str], run: str, *, steps: int, step: int, scale: str, depth: str
) -> int:
    """Draws the buttons; charts in the containers `charts` follow without the server.

    `scale` and `depth` are the keys of two sliders, `run` their values in a text: while
    they say otherwise, the last chart is pale. Without steps there are no buttons, and
    no chart is ever pale. Returns the step it stands at.
    """
    mount = st.components.v2.component("player", html=HTML, css=STYLE, js=SCRIPT)
    data: dict[str, Any] = {
        "run": run,
        "charts": charts,
        "scale": scale,
        "depth": depth,
    }
    state = mount(
        data={**data, "steps": steps, "step": step},
        key="player",
        default={"step": step},
        on_step_change=lambda: None,
    )
    return int(state.step or 0)
