"""A class poll: one link asks the question, a second one shows the answer."""

import streamlit as st

HTML = """
<button type="button">Class poll: copy two links</button>
<textarea readonly hidden rows="4" aria-label="Two links"></textarea>
"""
STYLE = """
button {
  font: inherit; font-size: 0.9rem; color: var(--st-link-color); cursor: pointer;
  background: none; border: 0; padding: 0.25rem 0; text-decoration: underline;
}
textarea {
  width: 100%; box-sizing: border-box; font: inherit; font-size: 0.8rem;
  color: var(--st-text-color); background: var(--st-secondary-background-color);
  border: 1px solid var(--st-border-color); border-radius: 0.4rem;
}
"""
# What a link to a question says nothing of.
WITHOUT = ["guess", "guess_exponent", "looked", "show", "present", "slide"]
SCRIPT = """
export default function ({ data, parentElement }) {
  const text = parentElement.querySelector("textarea");
  const link = (hidden, looked) => {
    const here = new URL(location.href);
    for (const name of data.without) here.searchParams.delete(name);
    here.searchParams.set("hide", hidden.join());
    if (looked) here.searchParams.set("looked", looked);
    return here.href.replaceAll("%2C", ",");
  };
  parentElement.querySelector("button").onclick = () => {
    const question = link(["section", "stack", "series", "look"]);
    const answer = link(["section", "stack", "series"], data.name);
    text.value = `Question: ${question}\\nAnswer: ${answer}`;
    text.hidden = false;
    text.select();
    // Without https, or in a frame that may not copy, there is this one alone.
    const selected = () => document.execCommand("copy");
    if (navigator.clipboard) navigator.clipboard.writeText(text.value).catch(selected);
    else selected();
  };
}
"""


def poll(name: str) -> None:
    """Draws the button that makes both links to the question of that name."""
    component = st.components.v2.component("poll", html=HTML, css=STYLE, js=SCRIPT)
    component(data={"name": name, "without": WITHOUT}, key="poll")
