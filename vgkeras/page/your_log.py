"""A log of a visitor's own: judged, and drawn in the charts of the lesson.

Its names are somebody's: `st.text` shows them, never `st.markdown`.
"""

import hashlib
import threading
from dataclasses import replace
from functools import partial
from typing import Any

import streamlit as st

import vgkeras as vg
from vgkeras._text import outcome_verb, run_label, typeset
from vgkeras.page.controls import choice
from vgkeras.page.figures import KEYS, attempt, own_figure
from vgkeras.page.named_log import NamedLog
from vgkeras.page.opened_file import opened_file
from vgkeras.page.outcomes import SIGNS, UNKNOWN
from vgkeras.page.texts import HOW_TO, KINDS

MOST_MEMORY = 50_000_000  # bytes of an opened log: about 400,000 rows
MOST_ROWS = 500  # of a choice
REGIMES = {
    "healthy": ":green[:material/check_circle:]",
    "unknown": UNKNOWN,
    "stalled": SIGNS["stalls"],
    "slow": SIGNS["slow"],
}
once = partial(st.cache_data, scope="session", max_entries=8, hash_funcs=KEYS)


def your_log() -> None:
    """Draws the section."""
    st.title("Your log")
    st.markdown(
        "The gradients of **your own model**, judged and drawn. A file is read as a "
        "table of numbers: no model is loaded, nothing in it is run, nothing is kept."
    )
    content = opened_file()
    with st.expander("How to make such a file", icon=":material/code:"):
        st.code(HOW_TO.strip(), language="python")
        st.markdown("Logs of `vg.train` and `vg.sweep` open here, too.")
    if content is None:
        return
    digest = hashlib.sha256(content).hexdigest()
    # One at a time: what a log takes when it is opened, it takes once.
    with _reading_room():
        try:
            log = vg.load(_rewrite(digest, content))
        except ValueError as error:
            _refuse(error)
            return
        _show(NamedLog(digest, lambda: log))


@st.cache_resource(show_spinner=False)
def _reading_room() -> threading.Lock:
    return threading.Lock()


@once(show_spinner="Reading…")
def _rewrite(digest: str, _content: bytes) -> bytes:
    """The file, written anew by a child process: a damaged one harms nobody else."""
    return vg.logs.rewrite(_content, max_bytes=MOST_MEMORY)


def _refuse(error: ValueError) -> None:
    """Says why, as plain text: an error may quote names out of a file."""
    st.error("This file is not opened.", icon=":material/block:")
    st.text(f"What is wrong with it: {error.__cause__}.")
    st.markdown(
        "Write it anew with `log.save(path)`. A log that is too large gets smaller if "
        "fewer steps are logged: `vg.GradientLogger(every=100)`."
    )


def _show(file: NamedLog) -> None:
    """Everything there is to see in one run of a log, and the runs beside it."""
    runs = file.log.runs
    if runs.empty:
        st.info("This log holds no run.")
        return
    own = file.select(run=_run_number(runs))
    _judge(own)
    st.header("Step by step")
    _by_step(own.log)
    st.header("Layer by layer")
    _by_layer(own.log)
    if runs["depth"].nunique() > 1:
        st.header("All runs of this log, by depth")
        _by_depth(file.log)


def _run_number(runs: Any) -> int:
    """The run to look at. A row of a table of all runs would be too small to tap."""
    names = {run.run: _run_name(run) for run in runs.head(MOST_ROWS).itertuples()}
    if len(names) == 1:
        return next(iter(names))
    label = f"Run, of {len(runs):,}"
    return st.selectbox(label, names, format_func=names.__getitem__, key="your_run")


def _run_name(run: Any) -> str:
    outcome = f": {run.outcome}" if run.outcome else ""
    return f"{run_label(run._asdict())}{outcome}"


def _origin(log: vg.GradientLog) -> None:
    """Where the numbers of a run come from, as the file has it."""
    facts, run = log.metadata, log.runs.iloc[0]
    parts = [f"Model: {facts['model']}"] if facts.get("model") else []
    parts.append(f"Origin: {facts.get('origin') or 'unknown'}")
    parts.append(f"{run['optimizer']}, learning rate {run['learning_rate']:g}")
    parts.append(f"{run['steps']:,} steps in {run['dtype']}")
    versions = facts.get("versions")
    if isinstance(versions, dict):
        parts.append(", ".join(f"{name} {number}" for name, number in versions.items()))
    st.text(". ".join(parts)[:500] + ".")


def _judge(run: NamedLog) -> None:
    """The gravest finding and what to do, the outcome, and the rest folded."""
    with st.container(key="outcomes"):
        with attempt():
            gravest, *more = _diagnosis(run)
            _finding(*gravest)
            _outcome(run.log)
            if more:
                with st.expander(f"Also found: {len(more)}", icon=":material/search:"):
                    for finding in more:
                        _finding(*finding)
        others = st.expander("What would the others say", icon=":material/groups:")
        with others, attempt():
            _others(_answers(run))
        with st.expander("Where this log comes from", icon=":material/info:"):
            _origin(run.log)


@once(show_spinner="Judging…")
def _diagnosis(run: NamedLog) -> list[tuple[str, str, str]]:
    """Regime, sentence and remedy of each finding, gravest first."""
    return [
        (finding.regime, str(replace(finding, remedy="")), finding.remedy)
        for finding in vg.diagnose(run.log)
    ]


@once(show_spinner="Asking the others…")
def _answers(run: NamedLog) -> Any:
    return vg.rules.what_others_say(run.log)


def _outcome(log: vg.GradientLog) -> None:
    word = log.runs["outcome"].iloc[0]
    heading = (
        f"This run **{outcome_verb(word)}**"
        if word in SIGNS
        else "**Not judged by its loss**"
    )
    with st.container(border=True):
        st.markdown(f"{SIGNS.get(word, UNKNOWN)} {heading}")
        if log.losses.empty:
            st.text("No loss was logged.")
        else:
            st.text(typeset(vg.charts.run_sentences(log)[0]))


def _finding(regime: str, sentence: str, remedy: str) -> None:
    """What `vgkeras.diagnose` says, and what to do."""
    with st.container(border=True):
        sign = REGIMES.get(regime, SIGNS["diverges"])
        st.markdown(f"{sign} **{regime.capitalize()}**")
        st.text(typeset(sentence))
        if remedy:
            st.text(f"What to do: {typeset(remedy)}.")


def _others(answers: Any) -> None:
    st.markdown(
        "The published rules on the same numbers. Each looks at a number alone, and "
        "they do not agree: a threshold is a convention."
    )
    answers.columns = [*answers.columns[:-1], "answer"]
    columns = ["answer", "source", "says", "condition"]
    st.dataframe(answers[columns].sort_values("answer"), hide_index=True)


def _by_step(log: vg.GradientLog) -> None:
    own_figure(
        vg.charts.loss_by_step,
        log,
        read="The loss of a `fit` is that of each step's own batch: it jumps.",
        misread="Flat does not mean finished. Compare the height with the loss "
        "that your task can reach.",
    )
    own_figure(
        vg.charts.gradient_by_step,
        log,
        read="Of many layers: the smallest, the middle and the largest gradient.",
        misread="A gradient that gets small while the loss falls is no fault: the "
        "network has learned. One that is small while the loss stands still is.",
    )


def _by_layer(log: vg.GradientLog) -> None:
    if log.layers.empty:
        st.info("This log holds no layers of this run.")
        return
    step = _step(log)
    own_figure(
        vg.charts.kinds_by_layer,
        log,
        step,
        read="Gradients that fall from right to left vanish on their way back. "
        "Point at a mark, or tap it, for the name of the layer.",
        misread="Layers of different width have norms of different size, and a "
        "bias has a smaller one than a kernel: compare like with like.",
    )
    kinds = [kind for kind in KINDS if (log.layers["kind"] == kind).any()]
    kind = choice("Colour shows", kinds, "your_kind", format_func=KINDS.get)
    variable = _variable(log) if kind == "weight_gradient" else None
    own_figure(
        vg.charts.gradient_by_layer_and_step,
        log,
        kind,
        variable,
        read="From left to right: training. From bottom to top: depth.",
        misread="Small changes of colour can be large factors; see the scale.",
    )


def _step(log: vg.GradientLog) -> int:
    steps = sorted(log.layers["step"].unique().tolist())
    # No more than a few hundred, and the last one always.
    steps = sorted({*steps[:: len(steps) // 200 + 1], steps[-1]})
    if len(steps) == 1:
        return steps[0]
    return st.select_slider("Training step", steps, key="your_step")


def _variable(log: vg.GradientLog) -> str | None:
    names = vg.charts.variables(log)[:MOST_ROWS]
    if len(names) < 2:
        return None
    options = [None, *names]
    # Like with like: kernels and biases differ in size.
    return st.selectbox(
        "Variables",
        options,
        index=options.index("kernel") if "kernel" in names else 0,
        format_func=lambda name: name or "the largest of each layer",
        key="your_variable",
    )


def _by_depth(log: vg.GradientLog) -> None:
    own_figure(
        vg.charts.final_loss_by_depth,
        log,
        read="Low points have learned, marks above the axis have diverged.",
        misread="A high point may only need more steps.",
    )
    own_figure(
        vg.charts.gradient_by_depth,
        log,
        read="The weight gradient of the first layer.",
        misread="The axis below is the depth of the whole network, not a layer in it.",
    )
