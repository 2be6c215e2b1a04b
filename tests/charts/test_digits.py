"""Charts of recorded digits: what is drawn where, from logs made by hand."""

import math

import pytest
from digits_by_hand import BASELINE, recording, story

from vgkeras import charts

LOG = story((0.95, 0.93, 0.2))


def marks_of(chart):
    """The marks of a chart as (kind, rows)."""
    spec = chart.to_dict()
    marks = []
    for part in spec["vconcat"]:
        for layer in part["layer"]:
            data = layer.get("data") or part.get("data") or spec["data"]
            rows = spec["datasets"][data["name"]]
            marks.append((layer["mark"]["type"], rows))
    return marks


@pytest.mark.slow
def test_there_is_a_panel_a_remedy_and_none_for_what_is_none():
    assert charts.digits_remedies(LOG) == ["Glorot", "He", "Recipe of today"]

    chart = charts.digits_panels(LOG).to_dict()

    titles = [panel["title"]["text"] for panel in chart["concat"]]
    assert titles == ["Glorot", "He", "Recipe of today"]


def test_every_panel_holds_the_remedy_in_colour_and_what_it_starts_from_in_grey():
    marks = marks_of(charts.digits_panel(LOG, "He"))
    line = next(rows for kind, rows in marks if kind == "line")

    whens = {(row["remedy"], row["when"]) for row in line}
    assert whens == {(BASELINE, "before"), ("He", "after")}
    spec = charts.digits_panel(LOG, "He").to_dict()
    scale = spec["vconcat"][0]["layer"][1]["encoding"]["color"]["scale"]
    colors = dict(zip(scale["domain"], scale["range"], strict=True))
    assert colors["before"] == charts.style.GREY != colors["after"]


def test_before_the_remedies_only_what_they_start_from_is_drawn():
    marks = marks_of(charts.digits_panel(LOG, "He", before=True))

    rows = [row for _, rows in marks for row in rows if "remedy" in row]
    assert {row["remedy"] for row in rows} == {BASELINE}


def test_accuracy_is_drawn_over_depth_with_guessing_beside_it():
    rule, (kind, rows), *_ = marks_of(charts.digits_panel(LOG, "He"))

    assert rule == ("rule", [{"y": 0.1}])
    assert kind == "line"
    he = [(row["depth"], row["median"]) for row in rows if row["remedy"] == "He"]
    assert he == [(2, 0.95), (10, 0.93), (50, 0.2)]


def test_all_panels_share_the_axes():
    reads = {(name, 2): [0.9] for name in (BASELINE, "Glorot", "He")}
    log = recording(reads, {("He", 2): [-30.0]})
    specs = charts.digits_panels(log).to_dict()["concat"]

    for part in (0, 1):
        domains = {
            str(layer["encoding"]["y"].get("scale"))
            for spec in specs
            for layer in spec["vconcat"][part]["layer"]
            if "median" in layer["encoding"]["y"].get("field", "")
        }
        assert len(domains) == 1


def test_a_gradient_of_0_is_flagged_below_the_axis_and_in_no_line():
    log = recording(
        {(BASELINE, 2): [0.9], (BASELINE, 10): [0.1], ("He", 2): [0.9]},
        {(BASELINE, 2): [0.0], (BASELINE, 10): [-math.inf]},
    )

    marks = marks_of(charts.digits_panel(log, "He"))

    flagged = [rows for kind, rows in marks if rows[0].get("flag") == "exactly 0"]
    assert [(row["depth"], row["value"]) for row in flagged[0]] == [(10, "exactly 0")]
    assert flagged[0][0]["median"] < -1  # that of depth 2 is -1
    for kind, rows in marks:
        if kind == "line":
            assert all(row["flag"] == "" for row in rows)


def test_the_description_tells_the_numbers():
    sentence = charts.description(charts.digits_panel(LOG, "He"))

    assert "He, relu" in sentence
    assert "reads 95% at depth 2, 93% at depth 10, 20% at depth 50" in sentence


def test_what_is_not_in_the_log_is_refused():
    with pytest.raises(ValueError, match="`activation` must be one of 'relu'"):
        charts.digits_panels(LOG, "tanh")
    with pytest.raises(ValueError, match="`remedy` must be one of 'Glorot', 'He', 'R"):
        charts.digits_panel(LOG, "Prayer")
