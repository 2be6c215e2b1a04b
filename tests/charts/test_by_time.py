"""Charts in time: what they draw, of logs made by hand."""

import math

import numpy as np
import pandas as pd
import pytest

from vgkeras import charts
from vgkeras.logs import LAYER_COLUMNS, GradientLog, run_table

STEPS = 20


def rows_of(name, factor, *, run=0, step=0, kind="state_gradient", steps=STEPS):
    """A gradient that is multiplied by `factor` at each time step back."""
    back = np.arange(steps - 1, -1, -1)
    frame = pd.DataFrame(dict.fromkeys(LAYER_COLUMNS, np.nan), index=range(steps))
    return frame.assign(
        run=run,
        step=step,
        layer=1,
        name=name,
        kind=kind,
        log10_norm=back * math.log10(factor),
        size=1,
        time=np.arange(1, steps + 1),
    )


def log_of(*parts, **columns):
    layers = pd.concat(parts, ignore_index=True)
    runs = run_table(run=sorted(layers["run"].unique()), **columns)
    losses = pd.DataFrame({"run": runs["run"], "step": 0, "loss": 1.0})
    return GradientLog(runs, losses, layers)


def rows_of_chart(chart):
    """The rows of all layers of a chart that stand at a place."""
    data = chart.to_dict()["datasets"].values()
    frames = [pd.DataFrame(rows) for rows in data if rows and "y" in rows[0]]
    return pd.concat(frames).drop_duplicates()


def test_each_state_has_a_line_through_time():
    log = log_of(rows_of("lstm/h", 0.5), rows_of("lstm/c", 0.9))

    points = rows_of_chart(charts.gradient_by_time(log))

    for name, factor in (("lstm/h", 0.5), ("lstm/c", 0.9)):
        own = points[points["series"] == name].set_index("time")["y"]
        assert own[1] == pytest.approx(19 * math.log10(factor))
        assert own[20] == pytest.approx(0, abs=1e-9)


def test_one_state_is_drawn_over_training():
    parts = [rows_of("gru/h", 0.5 + step / 100, step=step) for step in range(0, 40, 4)]

    points = rows_of_chart(charts.gradient_by_time(log_of(*parts)))

    assert points["series"].nunique() == 6
    assert {"step 0", "step 36"} <= set(points["series"])


def test_memory_by_state_counts_the_steps_that_keep_a_tenth():
    log = log_of(rows_of("h", 0.5), rows_of("c", 0.99))

    memory = charts.memory_by_state(log)

    assert memory["h"] == pytest.approx(math.log(0.1) / math.log(0.5))
    assert memory["c"] == math.inf


def test_no_other_rows_are_drawn_by_time():
    log = log_of(rows_of("gru/h", 0.5))

    with pytest.raises(ValueError, match="must hold layers of the kind"):
        charts.gradient_by_time(log, "input_gradient")
    with pytest.raises(ValueError, match="`name` must be one of 'gru/h'"):
        charts.gradient_by_time(log, name="x")
    with pytest.raises(ValueError, match="`step` must be a logged step, one of 0"):
        charts.gradient_by_time(log, step=3)


@pytest.fixture(scope="module")
def recording():
    names = ["LSTM, forget bias 0", "GRU"]
    cells = [(t, n, s) for t in (5, 10) for n in names for s in (0, 1)]
    parts = [
        rows_of("x", 0.5 if n == "GRU" else 0.01, run=k, kind="input_gradient", steps=t)
        for k, (t, n, _) in enumerate(cells)
    ]
    lengths, networks, seeds = zip(*cells, strict=True)
    log = log_of(*parts, steps=100, seed=list(seeds), target="latch")
    accuracy = [0.5 + 0.1 * seed + 0.2 * (n == "GRU") for _, n, seed in cells]
    runs = log.runs.assign(
        task="latch", length=lengths, network=networks, accuracy=accuracy
    )
    return log.replace(runs=runs)


def test_networks_are_compared_at_the_last_input(recording):
    points = rows_of_chart(charts.gradient_by_network(recording, "latch", 10))

    gru = points[(points["network"] == "GRU") & points["value"].notna()]
    assert gru.set_index("time")["y"][1] == pytest.approx(9 * math.log10(0.5))
    gates = points[points["value"].isna()].set_index("time")["y"]
    assert gates[1] == pytest.approx(9 * math.log10(0.5))
    lstm = points[(points["network"] != "GRU") & points["value"].notna()]
    assert lstm["y"].min() == pytest.approx(-18)


def test_accuracy_is_a_median_with_its_ends(recording):
    rows = rows_of_chart(charts.accuracy_by_length(recording, "latch"))

    gru = rows[(rows["network"] == "GRU") & (rows["length"] == 5)].iloc[0]
    assert (gru["low"], gru["y"], gru["high"]) == pytest.approx((0.7, 0.75, 0.8))
    assert gru["value"] == "75%"


def test_a_recording_says_what_it_holds(recording):
    assert charts.recurrent_tasks(recording) == ["latch"]
    assert charts.recurrent_lengths(recording, "latch") == [5, 10]
    with pytest.raises(ValueError, match="`task` must be one of 'latch'"):
        charts.accuracy_by_length(recording, "adding")
    with pytest.raises(ValueError, match="`length` must be one that `log` holds"):
        charts.gradient_by_network(recording, "latch", 7)
    with pytest.raises(ValueError, match="`log` must be the recording of"):
        charts.recurrent_lengths(log_of(rows_of("h", 0.5)), "latch")


def test_the_network_in_time_has_the_formulas_of_the_first_screen():
    chart = charts.network_in_time(0.9, 50).to_dict()

    parameters = {param["name"]: param for param in chart["params"]}
    assert parameters["c"]["value"] == 0.9
    assert parameters["L"]["value"] == 50
    assert parameters["L"]["bind"]["name"] == "T "
    text = str(chart)
    assert "datum.layer * log_s" in text
    assert "(L - datum.layer) * log_s" in text
    assert "the first state reaches the last" in text
    assert "5.2·10⁻³ of the first state" in chart["description"]
    with pytest.raises(ValueError, match="`steps` must be from 1 to 152"):
        charts.network_in_time(0.9, 200)


def test_memory_is_counted_in_the_direction_of_the_gradient():
    forward, backward = rows_of("f/h", 0.1), rows_of("b/h backwards", 0.1)
    backward["log10_norm"] = backward["log10_norm"].to_numpy()[::-1]

    memory = charts.memory_by_state(log_of(forward, backward))

    assert memory.to_dict() == pytest.approx({"f/h": 1.0, "b/h backwards": 1.0})


def test_a_step_that_was_not_logged_is_refused():
    with pytest.raises(ValueError, match="`step` must be a logged step"):
        charts.memory_by_state(log_of(rows_of("f/h", 0.1)), step=99)
    with pytest.raises(TypeError, match="`log` must be a `GradientLog`"):
        charts.gradient_by_time("x")
