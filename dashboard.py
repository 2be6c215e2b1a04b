"""The lesson "Vanishing/Exploding Gradients" as a page: `streamlit run dashboard.py`.

Read top to bottom: words, controls, the server's one trainer, the lesson, predictions,
the map, the remedies, the number formats, published results, a log of one's own, code
to take away, the page. Only the section that is chosen is worked out. The lesson's
widget keys are the argument names of `vgkeras.sweep`, so the address of the page reads
like a call of it. TensorFlow is loaded only when something has to be run live.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import hashlib
import math
import sys
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import streamlit as st

import vgkeras as vg

SECTIONS = (
    "The lesson",
    "Predict",
    "The map",
    "Remedies",
    "Number formats",
    "Published results",
    "Your log",
    "Code",
)
ASSETS = Path(__file__).parent / "assets"
RECORDED = ASSETS / "lesson.parquet"
REMEDIES = ASSETS / "remedies.parquet"
PUBLISHED = ASSETS / "published.json"
DEFAULTS: dict[str, Any] = {
    "scales": [0.5, 0.9, 1.5],
    "depths": [2, 5, 10, 20, 50, 100, 152],
    "units": 2,
    "learning_rate": 0.01,
    "steps": 200,
    "target": "identity",
    "dtype": "float32",
    "seed": 0,
    "samples": 64,
}
TARGETS = {
    "identity": "y = x",
    "scaled": "y = x / 2",
    "negative": "y = x, last sign flipped",
    "rotation": "y = x turned by 45°",
    "teacher": "y = x M, M random",
}
OPTIONS: dict[str, Any] = {
    "scales": [round(0.05 * k, 2) for k in range(6, 41)],
    "depths": range(1, 153),
    "units": [2, 4, 8, 16],
    "learning_rate": [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0],
    "steps": range(50, 1001, 50),
    "target": TARGETS,
    "dtype": ["float16", "bfloat16", "float32", "float64"],
    "samples": [16, 64, 256],
    "seed": range(100),
}
MOST_WORK = 3e10  # multiplications: half a minute on two cores
MOST_WAITING = 30  # visitors in the trainer's queue
MOST_KEPT = 24  # logs of finished runs
MOST_UPLOAD = 20  # megabytes of a file, as in .streamlit/config.toml
MOST_MEMORY = 50_000_000  # bytes of an opened log: about 400,000 rows
MOST_ROWS = 500  # of a table or a choice
MOST_DRAWN = 500  # charts that are kept, of 10 to 60 kB
SIGNS = {
    "trains": ":green[:material/check_circle:]",
    "stalls": ":blue[:material/pause_circle:]",
    "diverges": ":red[:material/error:]",
}
NOT_JUDGED = ":gray[:material/help:]"
KINDS = {
    "weight_gradient": "weight gradient",
    "activation": "activation",
    "activation_gradient": "activation gradient",
}


# --- Controls ----------------------------------------------------------------------


def controls() -> dict[str, Any]:
    """The settings, as arguments of `vg.sweep`."""
    with st.sidebar:
        st.header("Build the stacks")
        settings = {
            "scales": several("Scale c of every weight matrix, W = c·I", "scales", 6),
            "depths": several("Depth L: number of layers, 1 to 152", "depths", 8),
            "units": step_of("Units in a layer", "units"),
            "learning_rate": step_of("Learning rate", "learning_rate"),
            "steps": step_of("Training steps", "steps"),
            "target": one_of("What to learn", "target", TARGETS),
            "dtype": one_of("Number format", "dtype"),
            "samples": step_of("Samples", "samples"),
            "seed": step_of("Seed of the data", "seed"),
        }
        st.button(
            "Back to the lecture's setting",
            on_click=take,
            args=(DEFAULTS,),
            width="stretch",
        )
        if held("lock") & set(DEFAULTS):
            st.caption(":material/lock: The link to this page holds some of them.")
    if not settings["scales"] or not settings["depths"]:
        st.info("Choose at least one scale and one depth in the sidebar.")
        st.stop()
    return {**settings, "every": logged_every(settings["steps"])}


def logged_every(steps: int) -> int:
    """About nine logged steps keep charts light; losses are kept at every step."""
    return -(-steps // 8)


def held(how: str) -> set[str]:
    """Keys of the controls that the address locks, or hides: `?lock=units,steps`."""
    return set(",".join(st.query_params.get_all(how)).split(","))


def control(
    draw: Callable,
    label: str,
    options: Any,
    *,
    key: str,
    disabled: bool = False,
    **more: Any,
) -> Any:
    """A control with its value in the address, which may also lock it or hide it.

    What is hidden is drawn and not shown: Streamlit checks its value all the same.
    """
    room = st.container(key=f"hidden_{key}") if key in held("hide") else st.container()
    disabled = disabled or key in held("lock") | held("hide")
    more = {**more, "key": key, "disabled": disabled, "bind": "query-params"}
    with room:
        return draw(label, options, **more)


def several(label: str, key: str, most: int) -> list:
    """A list of numbers, sorted. Typing finds them; the lecture's L is 150."""
    chosen = control(
        st.multiselect,
        label,
        OPTIONS[key],
        default=DEFAULTS[key],
        key=key,
        max_selections=most,
        select_all=False,
    )
    return sorted(chosen)


def slider(label: str, options: Any, first: Any, key: str) -> Any:
    """A slider over the options; a number input would raise on `?seed=1e400`."""
    return control(
        st.select_slider,
        label,
        options,
        value=first,
        key=key,
        format_func="{:g}".format,
    )


def step_of(label: str, key: str) -> Any:
    return slider(label, OPTIONS[key], DEFAULTS[key], key)


def one_of(label: str, key: str, meanings: dict[str, str] | None = None) -> str:
    """A name out of a list, as the address has it; what it means is told below."""
    options = list(OPTIONS[key])
    chosen = control(
        st.selectbox, label, options, index=options.index(DEFAULTS[key]), key=key
    )
    if meanings is not None:
        st.caption(meanings[chosen])
    return chosen


def take(setting: dict[str, Any]) -> None:
    """Moves controls, apart from those that the address holds."""
    for key in set(setting) - held("lock") - held("hide"):
        st.session_state[key] = setting[key]


def is_default(settings: dict[str, Any]) -> bool:
    return all(settings[name] == value for name, value in DEFAULTS.items())


def work(settings: dict[str, Any]) -> float:
    """Multiplications of the matrix products, forward and backward."""
    layers = len(settings["scales"]) * sum(settings["depths"])
    per_layer = 3 * settings["samples"] * settings["units"] ** 2
    return settings["steps"] * layers * per_layer


def refuse_too_much(settings: dict[str, Any], slot: Any) -> None:
    if work(settings) > MOST_WORK:
        slot.warning(
            f"These stacks take {work(settings):.0e} multiplications, more than the "
            f"{MOST_WORK:.0e} that this server does for a visitor. Take fewer or "
            "shallower stacks, fewer steps, fewer units or fewer samples."
        )
        st.stop()


# --- Numbers -----------------------------------------------------------------------


class Trainer:
    """The server's one trainer: a run at a time for all visitors, the last logs kept.

    Visitors wait in a queue and see their place in it. One who leaves or moves a
    control is noticed at the next progress report: that is a Streamlit call, and
    Streamlit ends the script there.
    """

    def __init__(self) -> None:
        self._queue: deque[object] = deque()  # the first one is at work
        self._logs: OrderedDict[str, vg.GradientLog] = OrderedDict()
        self._lock = threading.Lock()  # of the logs

    def log(
        self, settings: dict[str, Any], bar: Any, make: Callable | None = None
    ) -> vg.GradientLog:
        """The log of `make`, `vg.sweep` if it is not said, with these arguments."""
        name = repr((make, sorted(settings.items())))
        log = self._kept(name)
        return self._made(name, settings, bar, make) if log is None else log

    def _kept(self, name: str) -> vg.GradientLog | None:
        """The log of that name; the last to be asked for is the last to be given up."""
        with self._lock:
            if name in self._logs:
                self._logs.move_to_end(name)
            return self._logs.get(name)

    def _keep(self, name: str, log: vg.GradientLog) -> None:
        with self._lock:
            self._logs[name] = log
            while len(self._logs) > MOST_KEPT:
                self._logs.popitem(last=False)

    def _made(
        self, name: str, settings: dict[str, Any], bar: Any, make: Callable | None
    ) -> vg.GradientLog:
        turn = object()
        if len(self._queue) >= MOST_WAITING:
            bar.warning(
                f"{MOST_WAITING} visitors wait for a run. Come back in a minute, or "
                "look at what is recorded: the lecture's setting."
            )
            st.stop()
        self._queue.append(turn)
        try:
            while self._queue[0] is not turn:
                before = self._queue.index(turn)
                bar.progress(0.0, f"In the queue: {before} before you.")
                time.sleep(0.1)
            # Another visitor may have asked for the same meanwhile.
            log = self._kept(name)
            if log is None:
                log = run(settings, bar, make)
                self._keep(name, log)
            return log
        finally:
            give_memory_back()
            self._queue.remove(turn)


def give_memory_back() -> None:
    """To the system, of what was freed: the C library of Linux keeps it otherwise."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def run(
    settings: dict[str, Any], bar: Any, make: Callable | None = None
) -> vg.GradientLog:
    """One live run under a progress bar."""
    bar.progress(0.0, "Starting TensorFlow and compiling…")
    let_the_browser_draw()

    def progress(done: int, total: int) -> None:
        share = done / total
        bar.progress(share, f"Training: {share:.0%}. Move a control to stop it.")

    return (make or vg.sweep)(**settings, progress=progress)


@st.cache_resource(show_spinner=False)
def trainer() -> Trainer:
    return Trainer()


@st.cache_resource(show_spinner=False)
def recorded(path: Path) -> vg.GradientLog:
    return vg.load(path)


@st.cache_resource(show_spinner=False)
def let_the_browser_draw() -> None:
    """Waits, once for a server, when there is a first chart to draw.

    The first visitor's browser is asking for the files that it draws charts with, and
    Python, which hands them out, would be busy for seconds with all that follows.
    """
    time.sleep(2)


@st.cache_resource(show_spinner=False)
def warm_up() -> None:
    """Loads TensorFlow and compiles the program once, when the page is drawn."""
    vg.sweep(**{**DEFAULTS, "steps": 1})
    # Streamlit collects garbage after each run of a page that knows Keras. What has
    # been loaded by now stays for good: looking through it took a quarter of a second.
    gc.collect()
    gc.freeze()


def measured(settings: dict[str, Any], slot: Any) -> vg.GradientLog:
    """The recorded lesson if that is what is asked for, else a live run."""
    if is_default(settings) and RECORDED.exists():
        log = recorded(RECORDED)
        told = log.metadata
        slot.markdown(
            f":material/history: **Recorded** on {told['recorded']} from real Keras "
            f"`Sequential` models: `{told['command']}`, "
            f"{', '.join(f'{k} {v}' for k, v in told['versions'].items())}. "
            "Move any control to run it live."
        )
        return log
    log = trainer().log(settings, slot)
    slot.markdown(
        ":material/bolt: **Run live** on this server by `vgkeras.sweep`, "
        "differentiated by `tf.GradientTape`."
    )
    return log


# --- The lesson --------------------------------------------------------------------


def drawn(chart: Any) -> str:
    """Draws a chart; returns its description, which is its text alternative."""
    st.altair_chart(chart)
    return vg.charts.description(chart)


@st.cache_data(max_entries=MOST_DRAWN, show_spinner=False)
def known(name: str, of: Any, _make: Callable[[], Any]) -> str:
    """Draws a chart that is made once for all visitors.

    Charts are most of the work of a page. A known one is sent as it was. New ones are
    made one at a time, so that a visitor who needs none has not many threads to wait
    for.
    """
    with drawing_room():
        return drawn(_make())


@st.cache_resource(show_spinner=False)
def drawing_room() -> threading.Lock:
    return threading.Lock()


def figure(
    name: str,
    chart: Any,
    *,
    read: str,
    misread: str,
    plain: bool = False,
    height: int = vg.charts.HEIGHT,
    of: Any = None,
) -> None:
    """A chart, what it shows in numbers, how to read it, how people misread it.

    `plain` if it tells names out of somebody's file: those are no markup. With `of`,
    which tells apart all charts of this name, `chart` is a function that makes it, and
    is called once for all visitors.
    """
    with st.container(key=name):
        picture, words = st.columns([3, 2], gap="medium", vertical_alignment="center")
        # The room is kept before the chart is there: nothing below it jumps.
        with picture.container(height=height + 10, border=False):
            told = drawn(chart) if of is None else known(name, of, chart)
        words.text(told) if plain else words.markdown(told)
        words.caption(f"**How to read it.** {read}")
        words.caption(f"**How people misread it.** {misread}")
        let_the_browser_draw()
        with words:
            svg_of(name)


# Made by the browser, of what it shows: the server draws nothing.
SVG_BUTTON = "<button type='button'>Save as SVG</button>"
SVG_STYLE = """
button {
  font: inherit; font-size: 0.8rem; color: var(--st-link-color); cursor: pointer;
  background: none; border: 0; padding: 0.25rem 0; text-decoration: underline;
}
"""
SVG_SCRIPT = """
export default function ({ data, parentElement }) {
  const button = parentElement.querySelector("button");
  button.setAttribute("aria-label", "Save as SVG: " + data.replaceAll("_", " "));
  button.onclick = () => {
    const drawn = document.querySelector(".st-key-" + data + " svg.marks");
    const copy = drawn.cloneNode(true);
    const behind = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    behind.setAttribute("width", "100%");
    behind.setAttribute("height", "100%");
    const page = document.querySelector('[data-testid="stApp"]');
    behind.setAttribute("fill", getComputedStyle(page).backgroundColor);
    copy.insertBefore(behind, copy.firstChild);
    copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
    const text = new XMLSerializer().serializeToString(copy);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "image/svg+xml" }));
    link.download = data + ".svg";
    link.click();
    URL.revokeObjectURL(link.href);
  };
}
"""


def svg_of(name: str) -> None:
    """A button that saves the chart in the container `name`."""
    st.components.v2.component(
        "svg_of_chart", html=SVG_BUTTON, css=SVG_STYLE, js=SVG_SCRIPT
    )(data=name, key=f"svg_{name}")


def problem(settings: dict[str, Any]) -> None:
    st.title("Vanishing and exploding gradients")
    st.markdown(
        "In a very deep network the derivatives can become exponentially small or "
        "exponentially large, and training gets hard. The simplest network that shows "
        "it has $L$ layers, no bias, linear activation $g(z) = z$, and every weight "
        "matrix $c$ times the identity:"
    )
    st.latex(r"\hat y = W^{[L]}\, W^{[L-1]} \cdots W^{[2]}\, W^{[1]}\, x")
    st.latex(r"W^{[l]} = c\,I \quad\Rightarrow\quad \hat y = c^{L} x")
    figure(
        "theory",
        lambda: vg.charts.gradient_by_depth(vg.predict(**settings)),
        of=settings,
        read="Every step up the axis is a factor, so a straight line is exponential "
        "growth or decay: $1.5^L$ explodes, $0.5^L$ vanishes, and $0.9^L$, from "
        "weights just a little smaller than the identity, vanishes too, only later.",
        misread="The axis below is the depth of the whole network, not a layer in "
        "it: within one stack all layers have the same weight gradient.",
    )


def formulas() -> None:
    with st.expander("The formulas, step by step", icon=":material/function:"):
        for words, formula in FORMULAS:
            st.markdown(words)
            if formula:
                st.latex(formula)


def training(log: vg.GradientLog, settings: dict[str, Any]) -> None:
    figure(
        "final_loss_by_depth",
        lambda: vg.charts.final_loss_by_depth(log),
        of=settings,
        read="Low points have learned. Points on the grey line do no better than a "
        "network that always answers 0. Marks above the axis have diverged.",
        misread="A stalled stack is not at its optimum: it takes such tiny steps that "
        f"nothing happens in {settings['steps']} of them.",
    )
    depth = choice("Depth", settings["depths"], "depth_shown")
    figure(
        "loss_by_step",
        lambda: vg.charts.loss_by_step(log.select(depth=depth)),
        of=(settings, depth),
        read="A falling curve trains, a flat one stalls, one that leaves the top "
        "diverges. Points that leave their dashed line far below, and go on level, "
        "have reached the rounding of the number format.",
        misread="Flat does not mean finished. Look at the height: a loss of 1 is the "
        "loss of answering 0.",
    )
    figure(
        "gradient_by_depth",
        lambda: vg.charts.gradient_by_depth(log),
        of=settings,
        read="Points are measured by `tf.GradientTape`, dashed lines are computed "
        "from the formula. They should agree until the number format gives out.",
        misread="A mark in the band at the edge is no missing value: the gradient is "
        "exactly 0, or no number any more.",
    )


def inside(log: vg.GradientLog, settings: dict[str, Any]) -> None:
    st.markdown(
        "In this network **the weight gradients are equal in all layers, and they "
        "vanish or explode with the depth of the stack**. What slopes from layer to "
        "layer are the activations and the gradients with respect to them."
    )
    left, right = st.columns(2)
    with left:
        depth = choice("Depth of the stack", settings["depths"], "stack_depth")
    with right:
        scale = choice("Its scale", settings["scales"], "stack_scale")
    stack = functools.cache(lambda: log.select(depth=depth, scale=scale))
    figure(
        "kinds_by_layer",
        lambda: vg.charts.kinds_by_layer(stack()),
        of=(settings, depth, scale),
        read="Follow one colour from the input (left) to the output (right). "
        "Activations carry the factor $c$ forward, their gradients carry it backward; "
        "the weight gradient is the product of the two and stays level.",
        misread="“Early layers get smaller weight gradients” is not true here: that "
        "is the slope of the activation *gradients*, or of the activations.",
    )
    kind = choice("Colour shows", list(KINDS), "kind", KINDS.get)
    figure(
        "gradient_by_layer_and_step",
        lambda: vg.charts.gradient_by_layer_and_step(stack(), kind=kind),
        of=(settings, depth, scale, kind),
        read="A column of one colour: all layers agree. A change from left to right: "
        "training.",
        misread="Small changes of colour can be large factors; see the scale below.",
    )


def choice(label: str, options: list, key: str, names: Any = None) -> Any:
    """A row of buttons; the middle number, or the first name, to begin with."""
    first = options[0] if names else options[len(options) // 2]
    chosen = control(
        st.segmented_control,
        label,
        options,
        default=first,
        format_func=names or "{:g}".format,
        key=key,
        required=True,
    )
    # An address such as `?depth_shown=` leaves the row without a choice.
    return chosen if chosen in options else first


def verdicts(log: vg.GradientLog, settings: dict[str, Any]) -> None:
    with st.container(key="verdicts"):
        columns = st.columns(min(len(settings["scales"]), 3), gap="medium")
        for place, scale in enumerate(settings["scales"]):
            with columns[place % len(columns)].container(border=True):
                st.subheader(f"Scale {scale:g}")
                st.markdown(said_of(settings, scale, log))


@st.cache_data(max_entries=MOST_DRAWN, show_spinner=False)
def said_of(settings: dict[str, Any], scale: float, _log: vg.GradientLog) -> str:
    with drawing_room():
        return "\n\n".join(signed(_log.select(scale=scale)))


def signed(log: vg.GradientLog, named: str = "") -> list[str]:
    """The verdict of each run, with its sign and its numbers."""
    told = zip(log.runs["verdict"], vg.health.sentences(log), strict=True)
    return [f"{SIGNS[word]} {named}{said}" for word, said in told]


def misconceptions() -> None:
    for number, (question, answer) in enumerate(ANSWERS.items()):
        with st.expander(question, icon=":material/help:"):
            st.markdown(answer)
            shown, setting = SHOWN[question]
            st.button(
                f"Show me: {shown}",
                key=f"show_{number}",
                on_click=take,
                args=({**DEFAULTS, **setting},),
            )


FORMULAS = (
    (
        "With $x = (1, 1)$ and $c = 0.5$ the activations halve in each layer:",
        r"a^{[1]} = \left(\tfrac12,\tfrac12\right),\;"
        r"a^{[2]} = \left(\tfrac14,\tfrac14\right),\;\ldots",
    ),
    (
        "down to",
        r"a^{[L]} = \left(\tfrac1{2^L},\tfrac1{2^L}\right)",
    ),
    (
        "The last matrix may have another shape, so the lecture raises the other "
        "$L-1$ to a power:",
        r"\hat y = W^{[L]}\,(1.5\,I)^{L-1}\,x",
    ),
    (
        "Backwards, from the error $D = \\partial\\mathcal L/\\partial\\hat y$, the "
        "gradients of the activations are",
        r"\frac{\partial\mathcal L}{\partial a^{[l]}} = c^{\,L-l}\, D",
    ),
    (
        "and the gradient of a weight matrix is what comes forward times what comes "
        "backward:",
        r"\frac{\partial\mathcal L}{\partial W^{[l]}}"
        r"= c^{\,l-1}\, c^{\,L-l}\, D x^{\top} = c^{\,L-1}\, D x^{\top}",
    ),
    (
        "The right-hand side has no $l$: **in this network the weight gradient is "
        "equal in all layers, and it vanishes with depth.** What slopes from layer to "
        "layer are the activations and their gradients.",
        "",
    ),
)

ANSWERS = {
    "“The gradients of early layers are smaller.”": (
        "Not the weight gradients of this network: the forward factor $c^{l-1}$ and "
        "the backward factor $c^{L-l}$ multiply to $c^{L-1}$ in every layer. Look at "
        "the level line in *three kinds by layer*. They vanish with the **depth** of "
        "the whole stack. What does get smaller towards the input is the gradient "
        "with respect to the **activations**."
    ),
    "“Activations vanish, so gradients vanish.”": (
        "They are three different things. For $c < 1$ the activation $c^l x$ shrinks "
        "towards the *output*, its gradient $c^{L-l} D$ shrinks towards the *input*, "
        "and the weight gradient is $c^{L-1} D x^\\top$ everywhere."
    ),
    "“Without linear activations there is no problem.”": (
        "ReLU passes positive numbers unchanged. With $x = (1, 1)$ and $W = c\\,I$, "
        "$c > 0$, every $z$ is positive, so a ReLU network computes exactly the same "
        "$\\frac12, \\frac14, \\frac18, \\ldots$ as this one."
    ),
    "“Which dW is large when a[1] is not yet large?”": (
        "All of them. $\\partial\\mathcal L/\\partial W^{[1]}$ needs only the input "
        "$x$ and the gradient that has come back through the other $L-1$ layers: that "
        "one is already large. In layer $L$ it is the other way round."
    ),
    "“A larger learning rate cures vanishing.”": (
        "A little, for shallow stacks. The gradient falls by a constant *factor* with "
        "each layer, so the learning rate would have to grow by it too, and near the "
        "solution that is far too large. Try it in the lecture's setting: from 0.01 to "
        "0.03 the stacks $c = 0.5$, $L = 5$ and $c = 0.9$, $L = 50$ begin to train; at "
        "0.1 the second stalls again and $c = 1.5$, $L = 5$ diverges. Clipping only "
        "ever shortens gradients, so it cannot help one that has vanished."
    ),
    "“My framework prints the gradient as 0.0000.”": (
        "Then it hides the difference between $10^{-5}$, which trains slowly, "
        "$10^{-30}$, which is rounded away in the update, and a true 0. All numbers "
        "here are written as powers of ten, and values that really are 0, Inf or NaN "
        "are marked as such."
    ),
    "“So very deep networks cannot be trained?”": (
        "For a long time this was a huge barrier. A careful choice of the random "
        "initial weights (variance $1/n$; $2/n$ for ReLU; Glorot) keeps $c$ near 1. It "
        "does not solve the problem completely but helps a lot. Add the scale 0.95 "
        "here: it trains with up to 100 layers in 200 steps, not with 152."
    ),
}

# Where each of them can be seen, and the controls that show it.
SHOWN: dict[str, tuple[str, dict[str, Any]]] = dict(
    zip(
        ANSWERS,
        (
            (
                "c = 0.5, L = 50, in “Inside one stack”",
                {"stack_scale": 0.5, "stack_depth": 50},
            ),
            (
                "c = 0.9, L = 152, in “Inside one stack”",
                {"stack_scale": 0.9, "stack_depth": 152},
            ),
            (
                "random weights with and without ReLU, in “Remedies”",
                {
                    "section": "Remedies",
                    "remedies": [
                        "Scaled identity",
                        "Glorot normal",
                        "Glorot normal + ReLU",
                        "He normal + ReLU",
                    ],
                },
            ),
            (
                "c = 1.5, L = 20, in “Inside one stack”",
                {"stack_scale": 1.5, "stack_depth": 20},
            ),
            (
                "c = 0.9 with 40 learning rates, in “The map”",
                {"section": "The map", "map_by": "learning rate", "map_scale": 0.9},
            ),
            (
                "c = 0.5, L = 100, in “Number formats”",
                {"section": "Number formats", "format_scale": 0.5, "format_depth": 100},
            ),
            (
                "the scale 0.95 beside the lecture's",
                {"scales": [0.5, 0.9, 0.95, 1.5]},
            ),
        ),
        strict=True,
    )
)

SOURCES = """
- The lecture: *Vanishing/Exploding Gradients*, C2W1L10, Deep Learning Specialization.
- [Glorot & Bengio, 2010](https://proceedings.mlr.press/v9/glorot10a.html):
  understanding the difficulty of training deep feedforward networks.
- [He et al., 2015](https://arxiv.org/abs/1512.03385): residual networks of 152 layers.
- [Saxe, McClelland & Ganguli, 2013](https://arxiv.org/abs/1312.6120): exact learning
  dynamics of deep linear networks.
- [Shamir, 2018](https://arxiv.org/abs/1809.08587): exponential time to converge for
  deep linear networks.
"""


# --- Predict, then look ------------------------------------------------------------


NUMBERS = range(1, 100)


def predict() -> None:
    st.title("Predict, then look")
    left, right = st.columns(2)
    with left:
        number = slider("Stack number", NUMBERS, 1, "stack")
    with right:
        series = slider("Series of stacks", range(10), 0, "series")
    settings = vg.quiz.question(number, series)
    scale, depth = settings["scales"][0], settings["depths"][0]
    st.markdown(
        f"A stack of **L = {depth}** linear layers, all of them **W = {scale:g}·I**. "
        f"It learns y = x by {settings['steps']} steps of gradient descent with the "
        f"learning rate {settings['learning_rate']:g}. Say first, then look."
    )
    name = f"{series}.{number}"
    looked = st.query_params.get("looked") == name
    guess = guessed(looked)
    if not looked:
        st.button("Look", type="primary", on_click=look, args=(name,))
        st.caption(f"So far: {vg.quiz.summary(scores().values())}")
        warm_up()
        return
    log = revealed(settings, guess, name)
    st.caption(f"So far: {vg.quiz.summary(scores().values())}")
    if number < NUMBERS[-1]:
        following = NUMBERS[NUMBERS.index(number) + 1]
        st.button("Next stack", type="primary", on_click=go_on, args=(following,))
    curves(log, settings)


def guessed(looked: bool) -> vg.quiz.Guess:
    """The visitor's guess; once they have looked it stays as it was."""
    left, right = st.columns(2)
    with left:
        verdict = control(
            st.segmented_control,
            "What becomes of it",
            vg.quiz.VERDICTS,
            default="stalls",
            key="guess",
            required=True,
            disabled=looked,
        )
    with right:
        exponent = control(
            st.select_slider,
            "The norm of its gradient dL/dW, in any layer, before the first step",
            vg.quiz.EXPONENTS,
            value=0,
            key="guess_exponent",
            format_func="1e{:+03d}".format,
            disabled=looked,
        )
    known = verdict if verdict in vg.quiz.VERDICTS else "stalls"
    return vg.quiz.Guess(known, exponent)


def look(name: str) -> None:
    st.query_params["looked"] = name
    st.session_state["asked"] = name


def go_on(number: int) -> None:
    del st.query_params["looked"]
    take({"stack": number})


def scores() -> dict[str, vg.quiz.Score]:
    """The visitor's scores, by question: the first look counts."""
    return st.session_state.setdefault("scores", {})


def revealed(
    settings: dict[str, Any], guess: vg.quiz.Guess, name: str
) -> vg.GradientLog:
    """What was measured, beside the guess, in words."""
    slot = st.container(key="source").empty()
    log = trainer().log(settings, slot)
    slot.markdown(":material/bolt: **Run live** on this server by `vgkeras.sweep`.")
    measured = vg.quiz.answer(log)
    if st.session_state.pop("asked", None) == name:
        scores().setdefault(name, vg.quiz.score(guess, measured))
    with st.container(key="verdicts", border=True):
        st.markdown(f"**{vg.quiz.told(guess, measured)}**")
        st.markdown(
            vg.quiz.reason(settings["scales"][0], settings["depths"][0], measured)
        )
        st.markdown(signed(log)[0])
    return log


def curves(log: vg.GradientLog, settings: dict[str, Any]) -> None:
    """One run: its loss step by step, its gradients layer by layer."""
    figure(
        "loss_by_step",
        lambda: vg.charts.loss_by_step(log),
        of=settings,
        read="Points are this run, the dashed line is theory.",
        misread="Flat does not mean finished. A loss of 1 is the loss of answering 0.",
    )
    figure(
        "kinds_by_layer",
        lambda: vg.charts.kinds_by_layer(log),
        of=settings,
        read="The gradients of this stack before its first update, layer by layer.",
        misread="The weight gradient is level: it depends on the depth of the stack, "
        "not on the layer.",
    )


# --- The map -----------------------------------------------------------------------

MAP_OPTIONS: dict[str, Any] = {
    "map_learning_rate": [0.001, 0.003, 0.01, 0.03, 0.1],
    "map_scale": [round(0.5 + 0.05 * k, 2) for k in range(25)],
    "map_steps": [50, 100, 200, 500],
}
AXES = {"scale": "scale", "learning rate": "learning_rate"}
MAP_READ = {
    "scale": "Between the lines stacks train. They close in on $c = 1$ as depth grows: "
    "a deeper stack forgives less.",
    "learning_rate": "Between “too slow” and “never settles” stacks train. A deeper "
    "stack needs a larger learning rate to be in time, and bears only a smaller one.",
}
MAP_MISREAD = {
    "scale": "The edge on the left is one of patience: it moves with the number of "
    "steps. The one on the right is not. And the Hessian limit, the textbook's edge, "
    "is not where stacks diverge: many survive one or two far too large steps.",
    "learning_rate": "A larger learning rate does not buy depth: the two edges come "
    "together until nothing is left between them. A stack that never settles need not "
    "diverge: its loss goes up and down for ever.",
}


def the_map() -> None:
    st.title("What trains, and what does not")
    st.markdown(
        "Each mark is **a run of its own**: a stack of that depth, trained from that "
        "start. Its colour and shape say what became of it. The dashed lines are "
        "computed, not fitted: where the time to learn exceeds the steps given, and "
        "where gradient descent runs away."
    )
    by, settings = map_settings()
    slot = st.container(key="source").empty()
    name = f"verdict_by_{by}_and_depth"
    room = st.container(key=name).container(height=vg.maps.HEIGHT + 10, border=False)
    log = trainer().log(settings, slot)
    slot.markdown(
        f":material/bolt: **Run live** on this server: {len(log.runs):,} runs of "
        f"{settings['steps']} steps, by one call of `vgkeras.sweep`."
    )
    chart = getattr(vg.maps, name)(log)
    room.altair_chart(
        chart,
        on_select=lambda: take_cell(log, by),
        selection_mode=vg.maps.SELECTION,
        key="map_cell",
    )
    st.markdown(vg.charts.description(chart))
    st.caption(f"**How to read it.** {MAP_READ[by]}")
    st.caption(f"**How people misread it.** {MAP_MISREAD[by]}")
    svg_of(name)
    st.header("One run of the map")
    one_run(log, by, settings)
    take_away(log)


def map_settings() -> tuple[str, dict[str, Any]]:
    """The axis beside depth, and the arguments of `vg.sweep`."""
    first, second, third = st.columns(3)
    with first:
        by = AXES[choice("Depth and", list(AXES), "map_by", str)]
    settings: dict[str, Any] = {"depths": vg.maps.DEPTHS, "samples": 4, "every": None}
    with second:
        if by == "scale":
            settings["scales"] = vg.maps.SCALES
            settings["learning_rate"] = map_option("Learning rate", "learning_rate", 2)
        else:
            settings["scales"] = [map_option("Scale c", "scale", 8)]
            settings["learning_rate"] = vg.maps.LEARNING_RATES
    with third:
        settings["steps"] = map_option("Training steps", "steps", 1)
    return by, settings


def map_option(label: str, name: str, first: int) -> Any:
    options = MAP_OPTIONS[f"map_{name}"]
    return slider(label, options, options[first], f"map_{name}")


def take_cell(log: vg.GradientLog, by: str) -> None:
    """A click on a cell moves the two sliders below, which the keyboard moves too."""
    picked = st.session_state["map_cell"]["selection"].get(vg.maps.SELECTION)
    if picked:
        run = log.select(run=picked[0]["run"]).runs.iloc[0]
        st.session_state[f"cell_{by}"] = run[by]
        st.session_state["cell_depth"] = int(run["depth"])


def one_run(log: vg.GradientLog, by: str, settings: dict[str, Any]) -> None:
    st.markdown("Click a mark of the map, or choose it here.")
    left, right = st.columns(2)
    values = vg.maps.SCALES if by == "scale" else vg.maps.LEARNING_RATES
    label = "Its scale c" if by == "scale" else "Its learning rate"
    with left:
        value = slider(label, values, values[8], f"cell_{by}")
    with right:
        depth = slider("Its depth", vg.maps.DEPTHS, 20, "cell_depth")
    cell = log.select(**{by: value, "depth": depth})
    chosen = {
        "scales": [value] if by == "scale" else settings["scales"],
        "learning_rate": value if by != "scale" else settings["learning_rate"],
        "depths": [depth],
        "steps": settings["steps"],
        "samples": settings["samples"],
        "every": logged_every(settings["steps"]),
    }
    with st.container(key="verdicts"):
        st.markdown(signed(cell)[0])
    bar = st.empty()
    run = trainer().log(chosen, bar)
    bar.empty()
    curves(run, chosen)


# --- Remedies ----------------------------------------------------------------------

COMPARISONS = ["one change at a time", "initial weights, by activation"]
FIRST_REMEDIES = [
    "Scaled identity",
    "Glorot normal",
    "Orthogonal",
    "He normal + ReLU",
    "Residual, ReZero, rate 0.02",
    "Layer normalization",
    "Clipping by norm 1",
    "Adam",
]
REMEDY_DEPTHS = [2, 10, 50, 152]


def remedies() -> None:
    st.title("What helps, and against what")
    st.markdown(
        "The same stack, the same data, the same seeds, and **one change at a time**. "
        "The lecture calls careful random weights a partial solution: see how far each "
        "remedy carries, and which ones cure something else."
    )
    settings = remedy_settings()
    slot = st.container(key="source").empty()
    if not settings["names"]:
        slot.info("Choose at least one remedy.")
        st.stop()
    log = compared(settings, slot)
    of = repr(settings)  # a remedy of its own says all that it is
    figure(
        "outcome_by_remedy_and_depth",
        lambda: vg.remedies.outcome_by_remedy_and_depth(log),
        of=of,
        read="A row is a remedy, a column is a depth. Colour and shape say what most "
        "of the five seeds did, the number beside it how many of them.",
        misread="A stack that stalls need not have vanished: one of ReLU units cannot "
        "give the negative numbers that this target asks for.",
    )
    figure(
        "remedy_gradient_by_depth",
        lambda: vg.remedies.gradient_by_depth(log),
        of=of,
        height=vg.remedies.HEIGHT,
        read="A flat line keeps the gradient at any depth, a slope loses or gains a "
        "factor with every layer. Bars span half of the seeds.",
        misread="A good gradient at the start is not yet a stack that trains, and a "
        "gradient of exactly 0 in layer 1 need not stay so: with ReZero the factors of "
        "the branches learn first.",
    )
    depth = choice("Depth", REMEDY_DEPTHS, "remedy_depth")
    figure(
        "activation_by_layer",
        lambda: vg.remedies.activation_by_layer(log, depth),
        of=(of, depth),
        height=vg.remedies.HEIGHT,
        read="What a layer puts out, before training. Dashed: exact theory for the "
        "typical stack, where there is one.",
        misread="The mean of many stacks is not the typical stack: Gaussian weights of "
        "variance 1/n keep the *mean* square for ever, and nearly every single stack "
        "shrinks.",
    )
    st.header("Which remedy cures what")
    with st.container(key="verdicts"):
        for group, said in vg.remedies.WORDS.items():
            st.markdown(f"**{group.capitalize()}.** {said}")
    take_away(log)


def compared(settings: dict[str, Any], slot: Any) -> vg.GradientLog:
    """The recorded comparison if it holds what is asked for, else a live one."""
    log = recorded(REMEDIES)
    told = log.metadata
    listed = all(isinstance(name, str) for name in settings["names"])
    if listed and all(
        settings[name] == value for name, value in told["arguments"].items()
    ):
        slot.markdown(
            f":material/history: **Recorded** on {told['recorded']} by "
            f"`{told['command']}`, five seeds of each. Move a slider to run it live."
        )
        return log.select(remedy=list(settings["names"]))
    log = trainer().log(settings, slot, vg.remedies.compare)
    slot.markdown(
        f":material/bolt: **Run live** on this server: {len(log.runs):,} runs of "
        f"{settings['steps']} steps, five seeds of each, by `vgkeras.remedies.compare`."
    )
    return log


def remedy_settings() -> dict[str, Any]:
    """The arguments of `vgkeras.remedies.compare`."""
    names = chosen_remedies()
    columns = st.columns(4)
    options: dict[str, tuple[str, list, Any]] = {
        "scale": ("Scale c of the identity", OPTIONS["scales"], 0.5),
        "units": ("Units in a layer", [2, 4, 8, 16], 16),
        "learning_rate": ("Learning rate", OPTIONS["learning_rate"], 0.1),
        "steps": ("Training steps", [50, 100, 200, 500], 500),
    }
    found = {}
    for column, (name, (label, values, first)) in zip(
        columns, options.items(), strict=True
    ):
        with column:
            found[name] = slider(label, values, first, f"remedy_{name}")
    return {"names": names, **found, "depths": REMEDY_DEPTHS}


def chosen_remedies() -> tuple:
    """Names of remedies, or all initial weights with one activation."""
    how = choice("Compare", COMPARISONS, "remedy_compare", str)
    if how == COMPARISONS[1]:
        shown = list(vg.remedies.ACTIVATIONS)
        activation = choice("Activation", shown, "remedy_activation", str)
        return vg.remedies.initial_weights(activation)
    names = control(
        st.multiselect,
        "Remedies",
        vg.remedies.NAMES,
        default=FIRST_REMEDIES,
        key="remedies",
        max_selections=10,
        select_all=False,
    )
    return tuple(name for name in vg.remedies.NAMES if name in names)


# --- Number formats ----------------------------------------------------------------

FORMATS = ("float16", "bfloat16", "float32", "float64")
DEEPEST = 2000  # layers that the forecast looks at


def number_formats() -> None:
    st.title("The number format decides")
    st.markdown(
        "A computer keeps a number as a few digits and an exponent, and both run out. "
        "The gradient of a deep stack may be too small for the exponent, so it becomes "
        "**subnormal**, then **exactly 0**; too large, and it becomes **Inf**. Long "
        "before that the *update* is rounded away: $w - \\eta\\, g$ gives $w$ again, "
        "and the weight is **frozen**. All depths below follow from the format alone."
    )
    settings = format_settings()
    scale, depth, rate = (settings[k] for k in ("scale", "depth", "learning_rate"))

    def chart() -> Any:
        found = [
            vg.floats.limits(scale, dtype, learning_rate=rate, deepest=DEEPEST)
            for dtype in FORMATS
        ]
        return vg.charts.failure_by_depth_and_format(found, depth)

    figure(
        "failure_by_depth_and_format",
        chart,
        of=settings,
        read="A row is a number format. Each mark is the first depth at which "
        "something fails for good; the line is the depth that you chose.",
        misread="“float32 reaches down to 1e-38, so nothing is lost before.” Digits "
        "run out first: an update below half a digit of the weight changes nothing.",
    )
    st.header(f"The forecast for c = {scale:g}, L = {depth}")
    forecasts(scale, depth, rate)
    st.header("The same stack, run in all four formats")
    in_all_formats(scale, depth, rate)


def format_settings() -> dict[str, Any]:
    first, second, third = st.columns(3)
    with first:
        scale = slider("Scale c", OPTIONS["scales"], 0.5, "format_scale")
    with second:
        depth = slider("Depth L", OPTIONS["depths"], 20, "format_depth")
    with third:
        rates = OPTIONS["learning_rate"]
        rate = slider("Learning rate", rates, 0.01, "format_learning_rate")
    return {"scale": scale, "depth": depth, "learning_rate": rate}


def forecasts(scale: float, depth: int, rate: float) -> None:
    columns = st.columns(2, gap="medium")
    for place, dtype in enumerate(FORMATS):
        with columns[place % 2].container(border=True, key=f"forecast_{dtype}"):
            st.subheader(dtype)
            told = vg.floats.forecast(
                scale, depth, dtype, learning_rate=rate, deepest=DEEPEST
            )
            st.markdown("\n".join(f"- {sentence}" for sentence in told))
    st.caption(
        "**Loss scaling** multiplies the loss before the backward pass and divides the "
        "gradients by the same number once they are in float32. It saves float16 "
        "gradients that are too small. It does not help weights that are themselves "
        "kept in float16, nor the forward pass, and no number helps where gradients "
        "span more decades than the format has."
    )


def in_all_formats(scale: float, depth: int, rate: float) -> None:
    slot = st.container(key="source").empty()
    logs = []
    for dtype in FORMATS:
        chosen = {
            "scales": [scale],
            "depths": [depth],
            "learning_rate": rate,
            "steps": 100,
            "dtype": dtype,
            "every": 100,
        }
        logs.append(trainer().log(chosen, slot))
    slot.markdown(
        ":material/bolt: **Run live** on this server by `vgkeras.sweep`: 100 steps."
    )
    with st.container(key="verdicts"):
        for dtype, log in zip(FORMATS, logs, strict=True):
            st.markdown(signed(log, f"**{dtype}** ")[0])


# --- Published results -------------------------------------------------------------


def published() -> None:
    st.title("What was published, and what we measured")
    st.markdown(
        "Six results on deep networks, each repeated by a function of "
        "`vgkeras.published`. What was measured is **recorded**, by "
        "`python -m vgkeras.published assets/published.json`; tests run it again."
    )
    with st.container(key="verdicts"):
        for found in vg.published.load(PUBLISHED):
            with st.container(border=True, key=f"card_{found.name}"):
                sign = SIGNS["trains"] if found.holds else NOT_JUDGED
                st.markdown(f"{sign} **[{found.source}]({found.url})**")
                st.markdown(f"*The claim.* {found.claim}")
                st.markdown(f"*What we measured.* {found.measured}")
                st.caption(f"It took {found.seconds:.3g} s on two cores.")


# --- A log of one's own ------------------------------------------------------------

HOW_TO = """
import vgkeras as vg

logger = vg.GradientLogger(every=10)
model.fit(x, y, callbacks=[logger])
logger.log.save("gradients.parquet")
"""
REGIMES = {
    "healthy": ":green[:material/check_circle:]",
    "unknown": NOT_JUDGED,
    "stalled": SIGNS["stalls"],
    "slow": SIGNS["stalls"],
}


def your_log() -> None:
    st.title("Your log")
    st.markdown(
        "Look at the gradients of **your own model**, in the charts of the lesson. "
        "Save a log where you train, and open the file here. It is read as a table of "
        "numbers and nothing else: no model is loaded, nothing in it is run, and "
        "nothing is kept when you leave."
    )
    content = chosen_file()
    with st.expander("How to make such a file", icon=":material/code:"):
        st.code(HOW_TO.strip(), language="python")
        st.markdown("Logs of `vg.train` and `vg.sweep` open here, too.")
    if content is None:
        return
    # One at a time: what a log takes when it is opened, it takes once.
    with reading_room():
        try:
            log = vg.load(content, max_bytes=MOST_MEMORY)
        except ValueError as error:
            refuse(error)
            return
        show(log, hashlib.sha256(content).hexdigest())


def chosen_file() -> bytes | None:
    """What the visitor has opened, kept for the session: sections may change."""
    st.file_uploader(
        f"A gradient log: a Parquet file of at most {MOST_UPLOAD} MB",
        type="parquet",
        max_upload_size=MOST_UPLOAD,
        key="your_file",
        on_change=keep_file,
    )
    name, content = st.session_state.get("kept_file", ("", None))
    if content is None:
        if st.toggle(
            "No file at hand? Take the log of the lesson",
            key="example",
            bind="query-params",
        ):
            return RECORDED.read_bytes()
    elif st.session_state["your_file"] is None:
        st.text(f"Still open: {name}")
        st.button("Close it", on_click=st.session_state.pop, args=("kept_file", None))
    if content is not None and len(content) > MOST_UPLOAD * 2**20:
        st.error(f"This file is not opened: it has more than {MOST_UPLOAD} MB.")
        return None
    return content


def keep_file() -> None:
    file = st.session_state["your_file"]
    st.session_state["kept_file"] = (
        ("", None) if file is None else (file.name, file.getvalue())
    )


@st.cache_resource(show_spinner=False)
def reading_room() -> threading.Lock:
    return threading.Lock()


def refuse(error: ValueError) -> None:
    """Says why, as plain text: an error may quote names out of a file."""
    st.error("This file is not opened.", icon=":material/block:")
    st.text(f"What is wrong with it: {error.__cause__}.")
    st.markdown(
        "Write it anew with `log.save(path)`. A log that is too large gets smaller if "
        "fewer steps are logged: `vg.GradientLogger(every=100)`."
    )


def show(log: vg.GradientLog, digest: str) -> None:
    """Everything there is to see in one run of a log, and the runs beside it."""
    if log.runs.empty:
        st.info("This log holds no run.")
        return
    run = chosen_run(log)
    own = log.select(run=run)
    origin(own)
    st.header("The verdict")
    your_verdicts(own, digest)
    st.header("The loss and the gradients, step by step")
    by_step(own)
    st.header("The gradients, layer by layer")
    by_layer(own)
    if log.runs["depth"].nunique() > 1:
        st.header("All runs of this log, by depth")
        by_depth(log)


def chosen_run(log: vg.GradientLog) -> int:
    """The run to look at. A row of a table of all runs would be too small to tap."""
    names = {run.run: run_name(run) for run in log.runs.head(MOST_ROWS).itertuples()}
    if len(names) == 1:
        return next(iter(names))
    return st.selectbox(
        f"Run, of {len(log.runs):,}", list(names), format_func=names.get, key="your_run"
    )


def run_name(run: Any) -> str:
    start = run.initializer or f"run {run.run}"
    start = start if math.isnan(run.scale) else f"c = {run.scale:g}"
    judged = f": {run.verdict}" if run.verdict else ""
    return f"{start}, L = {run.depth}{judged}"


def origin(log: vg.GradientLog) -> None:
    """Where the numbers of a run come from, as the file has it."""
    told, runs = log.metadata, log.runs
    parts = [f"Origin: {told.get('origin') or 'unknown'}"]
    if told.get("model"):
        parts.insert(0, f"Model: {told['model']}")
    first = runs.iloc[0]
    parts.append(f"{first['optimizer']}, learning rate {first['learning_rate']:g}")
    parts.append(f"{first['steps']:,} steps in {first['dtype']}")
    versions = told.get("versions")
    if isinstance(versions, dict):
        parts.append(", ".join(f"{name} {number}" for name, number in versions.items()))
    st.text(". ".join(parts)[:500] + ".")


def attempt(draw: Callable[[], None]) -> None:
    """Draws, or says what this log lacks for it."""
    try:
        draw()
    except ValueError as error:
        st.info("Not to be drawn from this log:")
        st.text(str(error))


def your_verdicts(log: vg.GradientLog, digest: str) -> None:
    run = int(log.runs["run"].iloc[0])
    with st.container(key="verdicts"):
        attempt(lambda: run_verdict(log))
        attempt(lambda: faults(diagnosed(digest, run, log)))
        with st.expander("What would the others say", icon=":material/groups:"):
            attempt(lambda: others(said_by_others(digest, run, log)))


@st.cache_data(scope="session", max_entries=8, show_spinner="Judging…")
def diagnosed(digest: str, run: int, _log: vg.GradientLog) -> list[tuple[str, str]]:
    """Regime and sentence of each verdict, once for a run of a file."""
    return [(found.regime, str(found)) for found in vg.diagnose(_log)]


@st.cache_data(scope="session", max_entries=8, show_spinner="Asking the others…")
def said_by_others(digest: str, run: int, _log: vg.GradientLog) -> Any:
    return vg.rules.what_others_say(_log)


def run_verdict(log: vg.GradientLog) -> None:
    word = log.runs["verdict"].iloc[0]
    with st.container(border=True):
        named = (
            f"This run **{word}**" if word in SIGNS else "**Not judged by its loss**"
        )
        st.markdown(f"{SIGNS.get(word, NOT_JUDGED)} {named}")
        if log.losses.empty:
            st.text("No loss was logged.")
        else:
            st.text(vg.health.sentences(log)[0])


def faults(found: list[tuple[str, str]]) -> None:
    """What `vgkeras.diagnose` says, with the remedy."""
    for regime, sentence in found:
        with st.container(border=True):
            sign = REGIMES.get(regime, SIGNS["diverges"])
            st.markdown(f"{sign} **{regime.capitalize()}**")
            st.text(sentence)


def others(said: Any) -> None:
    st.markdown(
        "The published rules on the same numbers. Each looks at a number alone, and "
        "they do not agree: a threshold is a convention."
    )
    said.columns = [*said.columns[:-1], "answer"]
    said = said[["answer", "source", "says", "condition"]].sort_values("answer")
    st.dataframe(said, hide_index=True)


def by_step(log: vg.GradientLog) -> None:
    attempt(
        lambda: figure(
            "loss_by_step",
            vg.charts.loss_by_step(log),
            read="A falling curve trains, a flat one stalls, one that leaves the top "
            "diverges. The loss of a `fit` is that of each step's own batch: it jumps.",
            misread="Flat does not mean finished. Compare the height with the loss "
            "that your task can reach.",
            plain=True,
        )
    )
    attempt(
        lambda: figure(
            "gradient_by_step",
            vg.charts.gradient_by_step(log),
            read="The gradient of each layer's weights as training goes on; of many "
            "layers, the smallest, the middle and the largest.",
            misread="A gradient that gets small while the loss falls is no fault: the "
            "network has learned. One that is small while the loss stands still is.",
            plain=True,
        )
    )


def by_layer(log: vg.GradientLog) -> None:
    if log.layers.empty:
        st.info("This log holds no layers of this run.")
        return
    step = chosen_step(log)
    attempt(
        lambda: figure(
            "kinds_by_layer",
            vg.charts.kinds_by_layer(log, step=step),
            read="Layer 1 is next to the input. Gradients that fall from right to left "
            "vanish on their way back. Point at a mark, or tap it, for the name of "
            "the layer.",
            misread="Layers of different width have norms of different size, and a "
            "bias has a smaller one than a kernel: compare like with like.",
            plain=True,
        )
    )
    kinds = [kind for kind in KINDS if (log.layers["kind"] == kind).any()]
    kind = choice("Colour shows", kinds, "your_kind", KINDS.get)
    variable = chosen_variable(log) if kind == "weight_gradient" else None
    attempt(
        lambda: figure(
            "gradient_by_layer_and_step",
            vg.charts.gradient_by_layer_and_step(log, kind=kind, variable=variable),
            read="A column is a step, a row is a layer. A change from left to right: "
            "training. A change from bottom to top: depth.",
            misread="Small changes of colour can be large factors; see the scale.",
            plain=True,
        )
    )


def chosen_step(log: vg.GradientLog) -> int:
    steps = sorted(log.layers["step"].unique().tolist())
    # No more than a few hundred, and the last one always.
    steps = sorted({*steps[:: len(steps) // 200 + 1], steps[-1]})
    if len(steps) == 1:
        return steps[0]
    return st.select_slider("Training step", steps, key="your_step")


def chosen_variable(log: vg.GradientLog) -> str | None:
    known = vg.charts.variables(log)[:MOST_ROWS]
    if len(known) < 2:
        return None
    return st.selectbox(
        "Variables",
        [None, *known],
        format_func=lambda name: name or "the largest of each layer",
        key="your_variable",
    )


def by_depth(log: vg.GradientLog) -> None:
    attempt(
        lambda: figure(
            "final_loss_by_depth",
            vg.charts.final_loss_by_depth(log),
            read="The loss after the last step of each run. Low points have learned, "
            "marks above the axis have diverged.",
            misread="A high point may only need more steps.",
            plain=True,
        )
    )
    attempt(
        lambda: figure(
            "gradient_by_depth",
            vg.charts.gradient_by_depth(log),
            read="The weight gradient of the first layer, by the depth of the network.",
            misread="The axis below is the depth of the whole network, not a layer "
            "in it.",
            plain=True,
        )
    )


# --- Code --------------------------------------------------------------------------


def code() -> None:
    """The lesson as it is set in the sidebar, to be taken away."""
    st.title("Take it away")
    st.markdown(
        "The stacks that are set in the sidebar, as **code** that makes the same runs "
        "with the same numbers, as **data**, and as a **link**. Pictures are made "
        "where the charts are: *Save as SVG* beside a chart, or point at it and choose "
        "*Download as PNG*."
    )
    settings = controls()
    slot = st.container(key="source").empty()
    refuse_too_much(settings, slot)
    log = measured(settings, slot)
    st.header("As code")
    st.subheader("A notebook cell: all stacks")
    st.code(vg.exports.notebook(settings), language="python")
    left, right = st.columns(2)
    with left:
        depth = choice("Depth of one stack", settings["depths"], "stack_depth")
    with right:
        scale = choice("Its scale", settings["scales"], "stack_scale")
    run = int(log.select(depth=depth, scale=scale).runs["run"].iloc[0])
    runs = log.replace(runs=log.runs.assign(**told_by(settings)))
    st.subheader("A script in plain Keras: one stack")
    st.code(vg.exports.keras_script(runs, run), language="python")
    st.subheader("A test for pytest: what became of it")
    st.code(vg.exports.test(runs, run), language="python")
    with st.container(key="verdicts"):
        st.markdown(signed(log.select(run=run))[0])
    st.header("As data")
    downloads(log)
    st.header("As a link")
    links(settings)


def told_by(settings: dict[str, Any]) -> dict[str, Any]:
    """What a model does not know of its run, or knows in float32."""
    return {name: settings[name] for name in ("target", "seed", "learning_rate")}


def downloads(log: vg.GradientLog) -> None:
    files: dict[str, tuple[str, Callable[[], bytes], str]] = {
        "All of it (Parquet; opens in “Your log”)": (
            "gradients.parquet",
            log.to_bytes,
            "application/vnd.apache.parquet",
        ),
    }
    for name in ("runs", "losses", "layers"):
        table = getattr(log, name)
        files[f"The table of {name} (CSV)"] = (
            f"{name}.csv",
            lambda table=table: table.to_csv(index=False).encode(),
            "text/csv",
        )
    for label, (name, content, kind) in files.items():
        st.download_button(
            label, content, name, kind, key=f"file_{name}", on_click="ignore"
        )


def take_away(log: vg.GradientLog) -> None:
    with st.expander("Take these numbers away", icon=":material/download:"):
        downloads(log)


def links(settings: dict[str, Any]) -> None:
    """Addresses that open the lesson as it is set, with what a teacher may hold."""
    st.markdown(
        "It opens the lesson with these settings. Controls can be **locked**, so that "
        "everyone looks at the same stacks, or **hidden**, so that a class sees only "
        "what you talk about. Who edits the address can undo that: it is no exam."
    )
    left, right = st.columns(2)
    names = [*DEFAULTS, "section"]
    locked = left.multiselect("Lock", names, key="to_lock", select_all=False)
    hidden = right.multiselect("Hide", names, key="to_hide", select_all=False)
    told = {k: v for k, v in settings.items() if v != DEFAULTS.get(k, v)}
    for name, keys in (("lock", locked), ("hide", hidden)):
        if keys:
            told[name] = ",".join(keys)
    st.code(address(told), language=None, wrap_lines=True)
    st.markdown("To **embed** it in a page of your own:")
    inside = address({**told, "embed": "true"})
    st.code(
        f'<iframe src="{inside}" width="100%" height="900"></iframe>',
        language="html",
        wrap_lines=True,
    )


def address(query: dict[str, Any]) -> str:
    """This page with other settings."""
    asked = urlencode(query, doseq=True)
    here = urlsplit(st.context.url or "")
    return here._replace(path=here.path or "/", query=asked, fragment="").geturl()


# --- The page ----------------------------------------------------------------------


def lesson() -> None:
    settings = controls()
    problem(settings)
    formulas()
    st.header("Measured: loss stalls or diverges with depth")
    slot = st.container(key="source").empty()
    refuse_too_much(settings, slot)
    log = measured(settings, slot)
    training(log, settings)
    st.header("Inside one stack: what is flat and what slopes")
    inside(log, settings)
    st.header("The verdict on every stack")
    verdicts(log, settings)
    st.header("What people ask, and get wrong")
    misconceptions()
    st.header("Sources")
    st.markdown(SOURCES)
    warm_up()


STYLE = """
[class*='st-key-hidden_'] { display: none; }
@media (prefers-reduced-motion: reduce) {
  *, *::before, *::after { animation: none !important; transition: none !important; }
}
"""


def page() -> None:
    st.html(f"<style>{STYLE}</style>")
    section = control(
        st.segmented_control,
        "Section",
        SECTIONS,
        default=SECTIONS[0],
        key="section",
        required=True,
        label_visibility="collapsed",
    )
    {
        "Predict": predict,
        "The map": the_map,
        "Remedies": remedies,
        "Number formats": number_formats,
        "Published results": published,
        "Your log": your_log,
        "Code": code,
    }.get(section, lesson)()


st.set_page_config(
    page_title="Vanishing and exploding gradients",
    layout="wide",
)
page()
