"""The link to this very view, and what a teacher may hold in it."""

import streamlit as st

HTML = """
<p>It opens this view as it is.</p>
<div class="row">
  <input readonly id="link" aria-label="Link to this view">
  <button type="button" id="copy">Copy link</button>
</div>
<p role="status" id="said"></p>
<table>
  <thead><tr><th>For a class</th><th>lock</th><th>hide</th></tr></thead>
  <tbody></tbody>
</table>
<button type="button" id="embed">Copy code to embed</button>
<p>Who edits the address can undo what it holds.</p>
"""
STYLE = """
:host, p, table { font-size: 0.9rem; color: var(--st-text-color); }
.row { display: flex; gap: 0.5rem; }
input[readonly] { flex: 1; min-width: 0; }
input[readonly], button {
  font: inherit; color: inherit; background: var(--st-secondary-background-color);
  border: 1px solid var(--st-border-color); border-radius: 0.4rem;
  padding: 0.35rem 0.6rem;
}
button { cursor: pointer; white-space: nowrap; }
table { border-spacing: 0; margin-bottom: 0.75rem; width: 100%; }
th, td { text-align: left; padding: 0.1rem 0.5rem 0.1rem 0; font-weight: inherit; }
td:first-child { width: 100%; }
"""
# The controls and their names are those on the page.
SCRIPT = """
export default function ({ parentElement }) {
  const at = (id) => parentElement.querySelector("#" + id);
  const query = new URL(location.href).searchParams;
  const held = (how) => new Set((query.get(how) ?? "").split(",").filter(Boolean));
  const keys = { lock: held("lock"), hide: held("hide") };

  const address = (more) => {
    const here = new URL(location.href);
    for (const how of ["lock", "hide"]) {
      if (keys[how].size) here.searchParams.set(how, [...keys[how]].join());
      else here.searchParams.delete(how);
    }
    for (const [name, value] of Object.entries(more ?? {}))
      here.searchParams.set(name, value);
    return here.href.replaceAll("%2C", ",");
  };
  const write = () => (at("link").value = address());
  const copy = (text) => {
    at("link").value = text;
    at("link").select();
    const say = (words) => (at("said").textContent = words);
    // Without https, or in a frame that may not copy, there is this one alone.
    const selected = () =>
      say(document.execCommand("copy") ? "Copied." : "Selected. Copy it by hand.");
    if (!navigator.clipboard) selected();
    else navigator.clipboard.writeText(text).then(() => say("Copied."), selected);
  };
  const box = (key, name, how) => {
    const input = document.createElement("input");
    input.type = "checkbox";
    input.checked = keys[how].has(key);
    input.setAttribute("aria-label", how + " " + name);
    input.onchange = () => {
      keys[how][input.checked ? "add" : "delete"](key);
      write();
    };
    return input;
  };

  const rows = parentElement.querySelector("tbody");
  rows.replaceChildren();
  const widgets = '[data-testid="stMain"] .stElementContainer[class*="st-key-"]';
  for (const widget of document.querySelectorAll(widgets)) {
    const label = widget.querySelector('[data-testid="stWidgetLabel"]');
    const name = label?.textContent.trim();
    const key = widget.className.match(/st-key-(\\S+)/)[1];
    if (!name || key === "more") continue;
    const row = rows.insertRow();
    row.insertCell().textContent = name;
    for (const how of ["lock", "hide"]) row.insertCell().append(box(key, name, how));
  }
  at("copy").onclick = () => copy(address());
  at("embed").onclick = () => {
    const source = address({ embed: "true" }).replaceAll("&", "&amp;");
    copy(`<iframe src="${source}" width="100%" height="900"></iframe>`);
  };
  write();
}
"""


def link() -> None:
    """Draws the button that opens it."""
    with st.popover("Link", icon=":material/link:", key="link"):
        st.components.v2.component("link", html=HTML, css=STYLE, js=SCRIPT)(
            key="link_script"
        )
