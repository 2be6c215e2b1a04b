"""A figure: a chart, its numbers in words, how to read it, how people misread it."""

import json
import pickle
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import attrgetter
from typing import Any, NamedTuple

import altair as alt
import pandas as pd
import streamlit as st
from altair.utils.schemapi import debug_mode
from streamlit.delta_generator import DeltaGenerator

import vgkeras as vg
from vgkeras.page.named_log import NamedLog
from vgkeras.page.parcel import stream
from vgkeras.page.recent import Recent
from vgkeras.page.svg_button import svg_button

MISREAD = ":material/help:"
MOST_BYTES = 4_000_000  # of charts, packed: about a thousand
MOST_SENTENCES = 500
# What caches tell arguments apart by.
KEYS: dict[str | type, Any] = {NamedLog: attrgetter("name")}


def figure(
    make: Callable[..., Any],
    *arguments: Any,
    read: str,
    misread: str,
    name: str = "",
    height: int = vg.charts.HEIGHT,
) -> None:
    """Draws the chart `make(*arguments)`, made once for all visitors.

    `make` is a function of a module, which knows nothing but its arguments: its name
    and their `repr` tell charts apart. It gets the log of a `NamedLog`. The container's
    key is `name` or that of the function.
    """
    if "<locals>" in make.__qualname__:
        raise TypeError(
            "`make` must be a function of a module. "
            f"Received: make={make!r}. Hand over what it knows as arguments."
        )
    name = name or make.__name__
    place, below = room(name, height)
    with place:
        words = draw_once(make, *arguments)
    explain(below, name, read, misread, st.markdown, words)


def own_figure(
    make: Callable[..., Any], *arguments: Any, read: str, misread: str
) -> None:
    """Draws a chart of a visitor's own file: not kept, its names no markup."""
    name = make.__name__
    with attempt():
        chart = make(*arguments)
        place, below = room(name, vg.charts.HEIGHT)
        with place:
            words = draw(picture_of(chart))
        explain(below, name, read, misread, st.text, words)


@contextmanager
def attempt() -> Iterator[None]:
    """Says what a log lacks for what is drawn inside."""
    try:
        yield
    except ValueError as error:
        st.info("Not to be drawn from this log:")
        st.text(str(error))


@st.cache_resource(show_spinner=False)
def drawing_room() -> threading.Lock:
    """A chart at a time: who needs no new one has not many threads to wait for."""
    return threading.Lock()


class Picture(NamedTuple):
    """A chart as it is sent, and its description, which is its text alternative."""

    spec: dict[str, Any]
    words: str


@st.cache_resource(show_spinner=False)
def _charts() -> Recent[bytes]:
    return Recent(MOST_BYTES)


def picture_once(make: Callable[..., Any], *arguments: Any) -> Picture:
    """The picture of a chart: most of the work of a page, done once for all visitors.

    A packed one takes a tenth of what it is, and 0.1 ms to unpack. Altair looks each
    part up in its schema, twice as long; the tests take that time. A log is looked at
    here, when its chart is not at hand.
    """
    charts, name = _charts(), repr((make.__module__, make.__qualname__, arguments))
    packed = charts.get(name)
    if packed is None:
        with drawing_room():  # where another visitor may have drawn the same meanwhile
            packed = charts.get(name) or _packed(make, arguments)
            charts.put(name, packed, len(packed) + len(name))
    return pickle.loads(zlib.decompress(packed))


def _packed(make: Callable[..., Any], arguments: tuple[Any, ...]) -> bytes:
    values = [a.log if isinstance(a, NamedLog) else a for a in arguments]
    with debug_mode(False):
        picture = picture_of(make(*values))
    return zlib.compress(pickle.dumps(picture), level=1)


def draw_once(make: Callable[..., Any], *arguments: Any, **options: Any) -> str:
    """Draws the chart `make(*arguments)`; returns it in words."""
    return draw(picture_once(make, *arguments), **options)


def draw(picture: Picture, **options: Any) -> str:
    """Draws a chart; returns it in words."""
    st.vega_lite_chart(picture.spec, **options)
    return picture.words


def picture_of(chart: Any) -> Picture:
    """What `st.altair_chart` would make of a chart, which is taken apart.

    But without a look at the schema.
    """
    tables: dict[str, pd.DataFrame] = {}
    _move_tables(chart, tables)
    # Streamlit adds what Altair puts on top of a chart: its theme, for one.
    spec = chart.to_dict(validate=False, context={"top_level": False})
    if title := spec.get("title"):
        _unwrap(title)
        title["limit"] = 0  # Streamlit cuts titles at the width of the first moment
    # That theme names the fields of every mark which has no tooltip of its own.
    spec["config"] = {**spec.get("config", {}), "mark": {"tooltip": None}}
    datasets = {name: stream(table) for name, table in tables.items()}
    return Picture({**spec, "datasets": datasets}, vg.charts.description(chart))


def _move_tables(chart: Any, tables: dict[str, pd.DataFrame]) -> None:
    """Leaves only the names of its tables in a chart: they are sent as Arrow."""
    data = getattr(chart, "data", None)
    if isinstance(data, pd.DataFrame):
        same = (name for name, table in tables.items() if table is data)
        name = next(same, f"table_{len(tables)}")
        tables[name], chart.data = data, alt.NamedData(name)
    for kind in ("layer", "hconcat", "vconcat"):
        for part in getattr(chart, kind, ()):
            _move_tables(part, tables)


def _unwrap(title: dict[str, Any]) -> None:
    """Lines that are broken for a phone stand in one where there is room for it."""
    for part, letter in (("text", 8), ("subtitle", 6)):  # pixels of one, at most
        lines = title.get(part)
        if isinstance(lines, list) and len(lines) > 1:
            line = " ".join(lines)
            short, long = json.dumps(lines), json.dumps([line])
            room = letter * len(line)
            title[part] = {"expr": f"width < {room} ? {short} : {long}"}


def room(name: str, height: int) -> tuple[DeltaGenerator, DeltaGenerator]:
    """Room for a chart and for words, kept before they are there: nothing jumps."""
    with st.container(key=name):
        picture = st.container(height=height + 10, border=False)
        return picture, st.container(gap="xxsmall")


def explain(
    below: DeltaGenerator,
    name: str,
    read: str,
    misread: str,
    write: Callable[[str], Any],
    words: str,
) -> None:
    """Says how to read a chart, how people misread it, and its numbers in words."""
    below.caption(f"**How to read it.** {read}")
    with below.container(horizontal=True, vertical_alignment="center"):
        misreading(misread, words, write)
        svg_button(name)


def misreading(
    misread: str, words: str, write: Callable[[str], Any] = st.markdown
) -> None:
    """Says, on demand, how people misread a chart, and its numbers in words."""
    with st.popover("How people misread it", icon=MISREAD, type="tertiary"):
        st.markdown(misread)
        st.markdown("**In numbers**")
        write(words)
