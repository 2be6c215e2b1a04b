"""What a figure hands to Streamlit is what Altair says of the chart."""

import altair as alt
import pandas as pd
import pyarrow as pa
import pytest
import streamlit as st
import vl_convert

from vgkeras.page import figures
from vgkeras.page.named_log import NamedLog


def inline(spec, datasets):
    """The specification with each named table in the place of its name."""
    if isinstance(spec, list):
        return [inline(part, datasets) for part in spec]
    if not isinstance(spec, dict):
        return spec
    if isinstance(name := spec.get("name"), str) and set(spec) == {"name"}:
        return pd.DataFrame(datasets[name]).to_dict("records")
    return {key: inline(part, datasets) for key, part in spec.items()}


def concatenated():
    """Charts of one table twice, of another one, and of none; layers in a row."""
    points = alt.Chart(pd.DataFrame({"x": [1, 2], "y": [3.5, None]})).mark_point()
    points = points.encode(x="x:Q", y="y:Q")
    rule = alt.Chart(pd.DataFrame({"x": [7]})).mark_rule().encode(x="x:Q")
    counted = alt.Chart(alt.sequence(1, 5, as_="x")).mark_tick().encode(x="x:Q")
    return alt.hconcat(
        alt.layer(points, rule, counted), points.mark_line(), description="Two charts."
    )


def test_a_chart_is_drawn_as_altair_says(monkeypatch):
    sent = []
    monkeypatch.setattr(st, "vega_lite_chart", lambda *a, **b: sent.append((*a, b)))

    words = figures.draw(figures.picture_of(concatenated()), width="content")

    [(spec, options)] = sent
    tables = {
        name: pa.ipc.open_stream(table).read_pandas()
        for name, table in spec.pop("datasets").items()
    }
    said = concatenated().to_dict()
    rows = said.pop("datasets")
    for key in ("$schema", "config"):  # of Altair's theme; Streamlit has one of its own
        del said[key]
    said["config"] = {"mark": {"tooltip": None}}
    ours, theirs = inline(spec, tables), inline(said, rows)
    pd.testing.assert_series_equal(pd.Series(ours), pd.Series(theirs))
    assert sorted(map(len, tables.values())) == [1, 2]  # shown twice, sent once
    assert (words, options) == ("Two charts.", {"width": "content"})


def mark_of(log, label):
    """A chart of one mark, which says what it was made from."""
    log.append(label)
    return alt.Chart(pd.DataFrame({"x": [len(log)]}), description=label).mark_point()


def test_a_chart_is_made_once_for_all_who_ask_for_the_same():
    log, other = [], []

    def ask(name, log, label):
        return figures.picture_once(mark_of, NamedLog(name, lambda: log), label)

    first = ask("test log", log, "a")
    assert first == figures.picture_of(mark_of([], "a"))
    assert ask("test log", other, "a") == first
    assert (log, other) == (["a"], [])  # equal names, equal logs
    assert ask("test log", log, "b").words == "b"
    assert ask("another test log", other, "a") == first
    assert (log, other) == (["a", "b"], ["a"])


@pytest.mark.parametrize(("width", "lines"), [(200, 2), (400, 1)])
def test_a_title_is_in_one_line_where_there_is_room(width, lines):
    words = ["A title that fills", "more than a phone"]
    chart = alt.layer(alt.Chart(alt.sequence(1, 3)).mark_tick().encode(x="data:Q"))

    title = alt.TitleParams(words)
    chart = chart.properties(title=title, width=width, description="Ticks.")

    spec = figures.picture_of(chart).spec

    del spec["datasets"]
    svg = vl_convert.vegalite_to_svg(spec)
    assert (">A title that fills more than a phone<" in svg) == (lines == 1)
