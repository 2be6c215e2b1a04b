"""The page's wiring, without a browser: widgets, package, words."""

import ast
import collections
import graphlib
import io
import json
import re
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

import vgkeras as vg
from vgkeras._text import decades, outcome_verb
from vgkeras.page import recordings
from vgkeras.page import trainer as page_trainer
from vgkeras.page.durations import Durations
from vgkeras.page.figures import figure
from vgkeras.page.named_log import NamedLog
from vgkeras.page.opened_file import MOST_UPLOAD
from vgkeras.page.parcel import pack
from vgkeras.page.trainer import MOST_WAITING, Trainer

FORMATS = ("float16", "bfloat16", "float32", "float64")
PAGE = Path(__file__).parents[2] / "dashboard.py"
MODULES = sorted((PAGE.parent / "vgkeras" / "page").glob("*.py"))
# A setting that is run live, once for all who ask for it.
SMALL_DEPTH = {"depths": ["3"], "steps": "50"}
SMALL = {"scales": ["0.9"], **SMALL_DEPTH}


def open_page(**query):
    page = AppTest.from_file(str(PAGE), default_timeout=120)
    for name, value in query.items():
        page.query_params[name] = value
    page.run()
    return page if query else page.run()  # as it opens, the rest comes second


def networks_alone():
    from vgkeras.page.controls import what_was_dropped
    from vgkeras.page.networks import networks

    networks()
    what_was_dropped()


def open_controls(**query):
    """The controls of the lesson's networks; nothing is run."""
    page = AppTest.from_function(networks_alone, default_timeout=120)
    for name, value in query.items():
        page.query_params[name] = value
    return page.run()


def button(page, label):
    return next(one for one in page.button if one.label == label)


def go_to(page, section):
    """Opens another section by its button."""
    row = page.segmented_control(key="section")
    if section in row.options:
        return row.set_value(section).run()
    row.set_value("More").run()
    return page.segmented_control(key="more").set_value(section).run()


def words(page):
    return "\n".join(element.value for element in page.markdown)


def outcomes(page):
    """The sentences on the runs, e.g. `c = 0.5, L = 2: trains. ...`."""
    return re.findall(r"c = [\d.]+, L = \d+: \w+\. [^\n]+", words(page))


@pytest.fixture(scope="module")
def lesson():
    """The page as it opens; for tests that only look."""
    return open_page()


def test_page_opens_with_all_its_charts(lesson):
    assert not lesson.exception
    assert len(lesson.get("vega_lite_chart")) == 6


def test_page_names_its_first_numbers_as_recorded(lesson):
    label = next(m.value for m in lesson.markdown if "Recorded" in m.value)

    assert "python -m vgkeras.record lesson" in label
    assert re.search(r"20\d\d-\d\d-\d\d", label)
    assert "keras 3." in label


def test_every_network_has_an_outcome_and_the_chosen_one_a_sentence(lesson):
    (sentence,) = outcomes(lesson)

    assert re.search(r"from [\d.]+ to \S+ in 200 steps", sentence)
    losses = vg.load(PAGE.parent / "assets" / "lesson.parquet").losses
    last = losses[losses["step"] == 200].set_index("run")["loss"]
    first = losses[losses["step"] == 0].set_index("run")["loss"]
    trained = (last <= 0.01 * first.clip(upper=0.25)).sum()  # 0.25: of answering 0
    specs = [chart.proto.spec for chart in lesson.get("vega_lite_chart")]
    assert any(f"Of 28 runs {trained} train" in spec for spec in specs)


def test_no_number_is_told_as_0_0000(lesson):
    assert "0.000" not in words(lesson)


def test_page_says_that_weight_gradients_are_equal_in_all_layers():
    page = open_page()
    page.session_state["formulas"] = True  # opened
    page.run()

    assert "the weight gradient is equal in all layers" in words(page)


def printed(code):
    """The words of the last line that a fresh Python prints."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=PAGE.parent
    )
    return done.stdout.splitlines()[-1].split()


@pytest.mark.slow
def test_the_first_screen_comes_first_and_loads_no_other_section_and_nothing_heavy():
    code = (
        "import sys; from streamlit.testing.v1 import AppTest; "
        "sys.modules['tensorflow'] = sys.modules['keras'] = None; "
        "page = AppTest.from_file('dashboard.py', default_timeout=60).run(); "
        "first = len(page.get('vega_lite_chart')); page.run(); "
        "print(first, len(page.get('vega_lite_chart')), len(page.exception), "
        "*sys.modules)"
    )

    first, charts, exceptions, *modules = printed(code)

    assert first == "3"  # network, loss by depth, and the one that loads Vega
    assert charts == "6"
    assert exceptions == "0"
    assert "vgkeras.page.lesson" in modules
    assert not {f"vgkeras.page.{name}" for name in sections() - {"lesson"}} & {*modules}


@pytest.mark.slow
def test_the_page_loads_no_tensorflow_whatever_is_used():
    code = """
import sys
from streamlit.testing.v1 import AppTest
VIEWS = (
    {"scales": "0.85", "depths": "3", "steps": "50", "scale": "0.91"},
    {"section": "Map", "map_steps": "50"},
    {"section": "In time", "time_network": "GRU", "time_live_steps": "20"},
    {"section": "Remedies", "remedies": "Adam", "remedy_steps": "50"},
    {"section": "Number formats"},
    {"section": "Predict", "looked": "0.1"},
    {"section": "Your log", "example": "true"},
    {"section": "Published results"},
    {"section": "Code"},
)
failures = 0
for view in VIEWS:
    page = AppTest.from_file("dashboard.py", default_timeout=300)
    page.query_params.update(view)
    page.run()
    failures += len(page.exception)
    if "steps" in str(view):
        failures += not any("Run live" in text.value for text in page.markdown)
print(failures, *{name.partition(".")[0] for name in sys.modules})
"""

    failures, *modules = printed(code)

    assert failures == "0"
    assert "vgkeras" in modules
    assert not {"tensorflow", "keras", "jax", "torch"} & {*modules}


def imports_of(path):
    """The modules of the page that a module of it imports."""
    return {
        node.module.removeprefix("vgkeras.page.")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module.startswith("vgkeras.page.")
    }


def sections():
    """The modules that `dashboard.py` has a name for."""
    text = PAGE.read_text()
    return set(re.findall(r'^    "[^"]+": "(\w+)",$', text, re.MULTILINE))


def test_the_modules_of_the_page_import_one_way_and_sections_no_section():
    graph = {path.stem: imports_of(path) for path in MODULES}

    order = list(graphlib.TopologicalSorter(graph).static_order())
    assert set(order) == set(graph)
    assert len(sections()) == 9
    assert not any(graph[name] & sections() for name in graph)


@pytest.mark.slow
@pytest.mark.parametrize("old", ["The lesson", "The map"])
def test_an_old_link_opens_the_section_under_its_new_name(old):
    page = open_page(section=old, map_steps="50", **SMALL)

    assert not page.exception
    new = old.removeprefix("The ").capitalize()
    assert page.segmented_control(key="section").value == new
    assert (old == "The map") == ("outcome_by_scale_and_depth" in str(page.main))


@pytest.mark.slow
def test_a_setting_is_run_live_and_changes_the_outcomes():
    page = open_page(**SMALL)
    before = outcomes(page)

    page.select_slider(key="learning_rate").set_value(0.03).run()

    assert not page.exception
    assert "Run live" in words(page)
    assert len(before) == len(outcomes(page)) == 1
    assert before != outcomes(page)


@pytest.mark.slow
def test_a_target_without_theory_for_every_step_is_shown_too():
    page = open_page(target="teacher", **SMALL)

    assert not page.exception
    assert page.selectbox(key="target").value == "teacher"
    assert len(outcomes(page)) == 1
    assert "Run live" in words(page)


def test_address_restores_the_controls():
    page = open_controls(depths=["3", "7"], units="4", dtype="float64", seed="5")

    assert not page.exception
    assert page.multiselect(key="depths").value == [3, 7]
    assert page.select_slider(key="units").value == 4
    assert page.selectbox(key="dtype").value == "float64"
    assert page.select_slider(key="seed").value == 5


@pytest.mark.parametrize("rubbish", ["nan", "1e400", "-1", "<b>", "__import__", ""])
def test_rubbish_in_the_address_falls_back_to_the_lecture(rubbish):
    names = ("units", "learning_rate", "steps", "target", "dtype", "seed", "samples")

    page = open_page(**dict.fromkeys((*names, "depth_shown", "kind"), rubbish))

    assert not page.exception
    assert "Recorded" in words(page)


@pytest.mark.parametrize("name", ["scales", "depths"])
def test_rubbish_among_scales_and_depths_is_left_out(name):
    page = open_page(**{name: ["x", "1e999"]})

    assert not page.exception


def test_a_page_without_stacks_says_what_to_do():
    page = open_page(**SMALL)

    page.multiselect(key="depths").set_value([]).run()

    assert not page.exception
    assert "Choose at least one scale and one depth" in page.info[0].value


def test_too_much_work_is_refused_with_the_way_out():
    page = open_page(
        depths=[str(d) for d in range(145, 153)],
        scales=["0.5", "0.6", "0.7", "0.8", "0.9", "1.5"],
        units="16",
        steps="1000",
        samples="256",
    )

    assert not page.exception
    assert "Take fewer or shallower stacks" in page.warning[0].value


def test_a_button_leads_back_to_the_lecture():
    page = open_page(**SMALL)

    button(page, "Back to the lecture's setting").click().run()

    assert not page.exception
    assert "Recorded" in words(page)


# --- A log of one's own --------------------------------------------------------------

YOURS = "Your log"


def own_log(name="dense", **run):
    """A log of a network of three layers, as of a callback in `model.fit`."""
    row = {
        "run": 0,
        "depth": 3,
        "units": 0,
        "output_units": 0,
        "scale": np.nan,
        "initializer": "",
        "optimizer": "adam",
        "learning_rate": 0.001,
        "steps": 20,
        "dtype": "float32",
        "target": "",
        "samples": 0,
        "seed": -1,
        "loss_zero": np.nan,
        "outcome": "",
        **run,
    }
    layers = [
        (0, step, layer, f"{name}_{layer}/{part}", "weight_gradient", 2.0 * layer - 10)
        for step in range(0, 21, 5)
        for layer in (1, 2, 3)
        for part in ("kernel", "bias")
    ]
    frame = pd.DataFrame(layers, columns=[*vg.logs.LAYER_COLUMNS[:6]])
    sizes = {"log10_max": frame["log10_norm"], "log10_mean": frame["log10_norm"]}
    none = dict.fromkeys(("frozen_fraction", "update_ratio"), np.nan)
    zero = dict.fromkeys(("zero_fraction", "nonfinite_fraction"), 0.0)
    losses = {"run": 0, "step": range(21), "loss": 1.0}
    return vg.GradientLog(
        pd.DataFrame([row]),
        pd.DataFrame(losses),
        frame.assign(**sizes, **none, **zero, size=4),
        {"origin": "by hand", "model": name},
    )


def saved(log, tmp_path):
    log.save(tmp_path / "log.parquet")
    return (tmp_path / "log.parquet").read_bytes()


def open_log(content):
    """The page as it is once a file was opened in the section for it."""
    page = AppTest.from_file(str(PAGE), default_timeout=120)
    page.query_params["section"] = YOURS
    page.session_state["own_file"] = ("log.parquet", content)
    return page.run()


def upload(page, content, name="log.parquet"):
    file = None if content is None else (name, content, "application/octet-stream")
    return page.file_uploader(key="your_file").set_value(file).run()


def charts_in(page):
    return len(page.get("vega_lite_chart"))


def plain(page):
    return [element.value for element in page.text]


# --- The map and the number formats --------------------------------------------------


@pytest.fixture(scope="module")
def the_map():
    return open_page(section="Map", map_steps="50", cell_scale="1.5")


@pytest.mark.slow
def test_the_map_tells_in_words_how_often_theory_is_right(the_map):
    text = words(the_map)

    assert not the_map.exception
    same, runs = re.search(r"outcome of ([\d,]+) of ([\d,]+) runs", text).groups()
    assert runs == f"{len(vg.charts.MAP_SCALES) * len(vg.charts.MAP_DEPTHS):,}"
    assert int(runs.replace(",", "")) - int(same.replace(",", "")) < 5


def test_the_numbers_of_the_map_can_be_taken_away(the_map):
    labels = [button.label for button in the_map.get("download_button")]

    assert "The table of runs (CSV)" in labels
    assert any("Parquet" in label for label in labels)


def test_a_run_of_the_map_is_chosen_without_a_mouse(the_map):
    page = the_map
    page.select_slider(key="cell_scale").set_value(1.0)
    page.select_slider(key="cell_depth").set_value(50).run()

    assert not page.exception
    # theory, which knows nothing of the page, says the same
    assert vg.theory.outcome(1.0, 50, rate=0.01, steps=50, target=0.5) == "trains"
    sentence = r"c = 1, L = 50: trains\..*Theory says that it trains\."
    assert re.search(sentence, words(page))
    assert len(page.get("vega_lite_chart")) == 3


def test_the_map_says_what_decides_an_outcome(the_map):
    text = words(the_map)

    assert "**trains** if at most 1% of" in text
    assert "**stalls** if at least 90%" in text
    assert "**diverges** beyond 1,000 times" in text


@pytest.mark.slow
def test_a_run_of_the_map_has_the_norms_it_has_in_the_lesson():
    page = open_page(section="Map", map_steps="50", cell_scale="0.9", cell_depth="20")

    log = vg.sweep([0.9], [20], steps=50, every=25, target="scaled")
    lesson = vg.charts.description(vg.charts.kinds_by_layer(log))
    assert "norms over 64 samples" in lesson
    assert lesson in words(page)
    assert not page.exception


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "predictions"),
    [
        ({"section": "Map", "map_by": "learning rate", "map_steps": "100"}, 1),
        ({"scales": "0.85", "depths": "4", "steps": "50", "scale": "0.86"}, 2),
    ],
)
def test_theory_is_drawn_before_it_is_measured(monkeypatch, settings, predictions):
    order, one = [], page_trainer.trainer()
    predicted, measured = vg.predict, one.log

    def noted(what, make):
        return lambda *arguments, **more: order.append(what) or make(*arguments, **more)

    monkeypatch.setattr(vg, "predict", noted("theory", predicted))
    monkeypatch.setattr(one, "log", noted("measured", measured))

    page = open_page(**settings)
    assert not page.exception
    assert order.index("measured") == predictions

    order.clear()
    page.run()
    assert order[0] == "measured"  # it is at hand


@pytest.mark.slow
def test_the_map_of_learning_rates_is_another_one():
    page = open_page(section="Map", map_by="learning rate", map_scale="0.9")

    assert not page.exception
    assert page.select_slider(key="map_scale").value == 0.9
    assert re.search(r"outcome of ([\d,]+) of ([\d,]+) runs", words(page))
    assert "L = 20" in words(page)


@pytest.mark.slow
@pytest.mark.parametrize(
    "rubbish",
    [{"map_by": "moon"}, {"map_steps": "1e99"}, {"cell_scale": "x", "cell_depth": "0"}],
)
def test_rubbish_for_the_map_falls_back(rubbish):
    page = open_page(section="Map", **rubbish)

    assert not page.exception
    assert "1,530 runs" in words(page)


@pytest.mark.slow
def test_the_forecast_is_that_of_the_package_and_the_runs_bear_it_out():
    page = open_page(section="Number formats", format_scale="1.5", format_depth="30")
    text = words(page)

    assert not page.exception
    for dtype in ("float16", "bfloat16", "float32", "float64"):
        for sentence in vg.floats.forecast(1.5, 30, dtype):
            assert sentence in text
    runs = re.findall(r"c = 1.5, L = 30: \w+\. [^\n]+", text)
    assert len(runs) == len(FORMATS)
    assert "The loss overflows." in text
    assert not re.search(r"\de[+-]\d", text)
    assert "The loss overflowed before the first step" in runs[0]


def test_the_same_argument_is_drawn_in_time_beside_what_was_recorded():
    page = open_page(section="In time", time_scale="0.5", time_task="adding")
    text = words(page)

    assert not page.exception
    assert len(page.get("vega_lite_chart")) == 3
    origin = " ".join(caption.value for caption in page.caption)
    assert "python -m vgkeras.record recurrent" in origin
    assert "adding, sequences read: SimpleRNN" in text


def test_published_results_are_told_with_their_sources():
    page = open_page(section="Published results")

    assert not page.exception
    text, labels = words(page), [card.label for card in page.expander]
    for result in vg.published.load(PAGE.parent / "assets" / "published.json"):
        assert result.url in text
        assert any(result.source in k and result.claim in k for k in labels)
        assert result.measured in text


def test_the_lectures_152_layers_are_drawn_and_told():
    page = open_page(section="Published results")

    log = vg.load(PAGE.parent / "assets" / "resnet152.parquet")
    assert vg.charts.shortcuts_sentence(log) in words(page)
    cards = json.loads((PAGE.parent / "assets" / "published.json").read_text())
    assert len(page.get("vega_lite_chart")) == 1 + len(cards["findings"])


@pytest.fixture(scope="module")
def recorded_digits():
    return vg.load(PAGE.parent / "assets" / "digits.parquet")


@pytest.mark.slow
@pytest.mark.parametrize("units", ["relu", "tanh"])
def test_remedies_open_with_what_the_recorded_digits_say(recorded_digits, units):
    page = open_page(section="Remedies", digits_units=units)

    assert not page.exception
    sentence = vg.remedies.digits_sentence(recorded_digits, units)
    assert page.markdown[0].value == sentence
    panels = page.get("vega_lite_chart")[:9]
    specs = [json.loads(panel.proto.spec) for panel in panels]
    names = vg.charts.digits_remedies(recorded_digits, units)
    assert [spec["title"]["text"] for spec in specs] == names
    assert len(names) == 9  # all but what they start from


@pytest.mark.slow
def test_a_click_takes_the_remedies_away(recorded_digits):
    page = open_page(section="Remedies", digits_show="before")

    for panel in page.get("vega_lite_chart")[:9]:
        assert "Small random weights" in panel.proto.spec
        description = json.loads(panel.proto.spec)["description"]
        assert description.startswith("Small random weights, relu")


@pytest.mark.slow
def test_remedies_are_told_by_the_runs_that_are_shown():
    page = open_page(section="Remedies", remedies=["Scaled identity", "Orthogonal"])

    text = words(page)
    assert "**Scaled identity**, no remedy" in text
    assert "**Orthogonal** keeps the gradient" in text
    assert "lengthen" not in text  # of clipping, which is not shown


@pytest.mark.slow
def test_remedies_are_compared_and_told(as_graph):
    page = open_page(
        section="Remedies",
        remedies=["Scaled identity", "Orthogonal"],
        remedy_units="4",
        remedy_steps="50",
        remedy_scale="2",
    )

    assert not page.exception
    text = words(page)
    assert "40 runs of 50 steps" in text  # 2 remedies, 4 depths, 5 seeds
    assert len(page.get("vega_lite_chart")) == 9 + 3
    names = ["Scaled identity", "Orthogonal"]
    settings = {"scale": 2.0, "units": 4, "learning_rate": 0.1, "steps": 50}
    log = vg.remedies.compare(names, **settings)
    counted = vg.remedies.table(log.select(remedy="Orthogonal")).set_index("depth")
    trained = round(counted.loc[2, "trains"] * 5)
    at_depth_2 = re.search(r"train at depths? 2[^.]*: [^.]*Orthogonal", text)
    assert bool(at_depth_2) == (trained >= 3)
    for sentence in vg.remedies.comparison_sentences(log):
        assert sentence in text
    assert "c = 0.5" not in text


@pytest.mark.slow
def test_initial_weights_are_compared_with_an_activation():
    page = open_page(
        section="Remedies",
        remedy_compare="initial weights, by activation",
        remedy_activation="tanh",
        remedy_units="4",
        remedy_steps="50",
    )

    assert not page.exception
    assert "180 runs of 50 steps" in words(page)  # 9 starts, 4 depths, 5 seeds
    assert "Orthogonal, tanh" in words(page)


def test_remedies_open_as_they_were_recorded():
    page = open_page(section="Remedies")

    assert not page.exception
    assert "python -m vgkeras.record remedies" in words(page)


@pytest.mark.slow
@pytest.mark.parametrize("rubbish", ["", "moon", "Adam,Adam", "<b>"])
def test_rubbish_for_remedies_never_breaks_the_page(rubbish):
    page = open_page(section="Remedies", remedies=rubbish)

    assert not page.exception


# --- Code ----------------------------------------------------------------------------


@pytest.mark.slow
def test_code_makes_the_stacks_of_the_networks():
    page = open_page(
        section="Code", depths=["3", "9"], scales=["0.8"], steps="50", seed="2"
    )

    assert not page.exception
    notebook, script, test = (block.value for block in page.code[:3])
    assert "scales=[0.8]" in notebook
    assert "depths=[3, 9]" in notebook
    names = {}
    exec(notebook, names)
    sentences = vg.charts.run_sentences(names["log"])
    assert sentences[1] in words(page)  # of the deeper one, which is chosen
    for code in (script, test):
        exec(code, names)
    (check,) = (value for name, value in names.items() if name.startswith("test_"))
    check()
    assert names["losses"][-1] == pytest.approx(names["log"].losses["loss"].iloc[-1])


def test_the_recorded_lesson_is_exported_too():
    page = open_page(section="Code")

    assert not page.exception
    assert "seed=0" in page.code[1].value
    assert "SGD(0.01)" in page.code[1].value
    labels = [button.label for button in page.get("download_button")]
    assert len(labels) == 4
    assert "Parquet" in labels[0]


def test_the_lesson_comes_first_and_alone(lesson):
    assert lesson.segmented_control(key="section").value == "Lesson"
    assert not lesson.file_uploader


@pytest.mark.parametrize("rubbish", ["", "<b>", "Your", "1e400"])
def test_rubbish_for_a_section_leads_to_the_lesson(rubbish):
    page = open_page(section=rubbish)

    assert not page.exception
    assert "Recorded" in words(page)


def test_only_the_chosen_section_is_worked_out():
    page = open_page(section=YOURS)

    assert not page.exception
    assert page.file_uploader(key="your_file").allowed_type == [".parquet"]
    assert charts_in(page) == 0
    assert not page.multiselect
    assert "vg.GradientLogger" in page.code[0].value


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """The section with a log that a visitor opened; for tests that only look."""
    content = saved(own_log(), tmp_path_factory.mktemp("opened"))
    return upload(open_page(section=YOURS), content)


def test_a_log_of_ones_own_is_drawn_and_judged(opened):
    assert not opened.exception
    assert not opened.error
    assert charts_in(opened) == 4
    text = "\n".join(plain(opened))
    assert "Model: dense. Origin: by hand. adam, learning rate 0.001. 20 steps" in text
    assert re.search(r"Vanishing|Stalled", text)
    assert "The loss stayed at 1 for 20 steps" in text
    answers = opened.dataframe[0].value.set_index("says")["answer"]
    assert answers["VanishingGradient"].startswith("fires")


def test_the_gravest_finding_comes_first_then_what_to_do_and_the_rest_is_folded(
    tmp_path, without_child
):
    log = own_log()
    log.losses.loc[15, "loss"] = np.nan
    gravest, *more = vg.diagnose(log)
    assert gravest.regime == "non-finite"
    assert more

    page = open_log(saved(log, tmp_path))

    lines = plain(page)[1:]  # the first names the file
    assert lines[0].startswith("Non-finite at step 15: the loss is NaN")
    assert lines[1] == f"What to do: {gravest.remedy}."
    assert "The loss" in lines[2]
    assert "10⁻" in "".join(lines[:3])
    assert not re.search(r"\de[+-]\d", "".join(lines[:3]))
    folded = next(e for e in page.expander if e.label.startswith("Also found"))
    assert folded.label == f"Also found: {len(more)}"
    assert len([text for text in folded.text if "What to do" in text.value]) == len(
        more
    )


def test_kernels_are_compared_with_kernels_at_first(opened):
    assert opened.selectbox(key="your_variable").value == "kernel"


@pytest.mark.slow
def test_the_log_of_a_fit_is_drawn_and_judged_where_it_was_not_looked_at_closely(
    tmp_path,
):
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(16, "sigmoid") for _ in range(12)]
    model = keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(4)])
    model.compile("sgd", "mse", jit_compile=False)
    logger = vg.GradientLogger(updates=4)
    data = vg.make_data("teacher", units=4)
    model.fit(*data, batch_size=16, verbose=0, shuffle=False, callbacks=[logger])
    assert logger.log.layers.groupby("step")["zero_fraction"].count()[3] == 0

    page = upload(open_page(section=YOURS), saved(logger.log, tmp_path))
    page.select_slider(key="your_step").set_value(3).run()

    assert not page.exception
    assert not page.error
    assert charts_in(page) == 4
    text = "\n".join(plain(page))
    assert "step 3, from layer 1 to layer 13" in text
    assert "Vanishing" in text


@pytest.mark.slow
def test_a_step_and_a_variable_are_chosen(tmp_path, without_child):
    page = open_log(saved(own_log(), tmp_path))

    page.select_slider(key="your_step").set_value(15)
    page.selectbox(key="your_variable").set_value("bias").run()

    assert not page.exception
    text = "\n".join(plain(page))
    assert "step 15, from layer 1 to layer 3" in text
    assert "weight gradient ∂L/∂W (bias)" in text


@pytest.mark.slow
def test_the_next_file_has_other_steps_and_variables(tmp_path, without_child):
    page = upload(open_page(section=YOURS), saved(own_log(), tmp_path))
    page.select_slider(key="your_step").set_value(15).run()
    page.selectbox(key="your_variable").set_value("bias").run()
    other = own_log()
    kernels = other.layers[other.layers["name"].str.endswith("kernel")]
    layers = kernels.assign(step=kernels["step"] * 7 + 1)

    upload(page, saved(other.replace(layers=layers), tmp_path))

    assert not page.exception
    assert charts_in(page) == 4


@pytest.mark.slow
def test_the_next_file_has_findings_of_its_own(tmp_path, without_child):
    page = upload(open_page(section=YOURS), saved(own_log(), tmp_path))
    first = plain(page)
    other = own_log()
    layers = other.layers.assign(log10_norm=np.nan)

    upload(page, saved(other.replace(layers=layers), tmp_path))

    assert not any("Disconnected" in line for line in first)
    assert any("Disconnected" in line for line in plain(page))


def test_a_file_that_is_no_log_is_refused_in_a_sentence(without_child):
    page = open_page(section=YOURS)

    for content in (b"", b"<script>alert(1)</script>", Path(__file__).read_bytes()):
        upload(page, content)

        assert not page.exception
        assert page.error[0].value == "This file is not opened."
        trouble = "it is no Parquet file, or it is cut short"
        assert plain(page) == [f"What is wrong with it: {trouble}."]
        assert charts_in(page) == 0


@pytest.mark.slow
def test_a_table_of_somebody_else_is_refused_in_a_sentence():
    buffer = io.BytesIO()
    pd.DataFrame({"a": [1]}).to_parquet(buffer)

    page = open_log(buffer.getvalue())

    assert "it is a Parquet file, but no gradient log." in plain(page)[-1]


@pytest.mark.slow
def test_a_log_that_takes_too_much_memory_is_refused(tmp_path):
    log = own_log()
    rows = log.layers.iloc[np.zeros(1_000_000, int)].reset_index(drop=True)
    content = saved(log.replace(layers=rows), tmp_path)

    page = open_log(content)

    assert len(content) < 2**20
    assert not page.exception
    assert re.search(r"it takes (too much|[\d,]+ bytes)", plain(page)[-1])


def test_a_file_that_is_too_large_is_refused():
    page = open_log(bytes(21 * 2**20))

    assert not page.exception
    assert "it has more than 20 MB" in page.error[0].value


def test_the_server_takes_no_larger_files_than_the_page():
    settings = tomllib.loads((PAGE.parent / ".streamlit/config.toml").read_text())

    assert settings["server"]["maxUploadSize"] == MOST_UPLOAD == 20


NASTY = (
    "<script>alert(1)</script>",
    "![](http://127.0.0.1:9/picture)",
    "[here](http://127.0.0.1:9/) :red[a] $x$ **b**",
    "http://127.0.0.1:9/",
    "'; alert(1); //",
    "\x00\u202e\ud7ff",
)


@pytest.mark.slow
@pytest.mark.parametrize("bad", NASTY)
def test_names_out_of_a_file_are_shown_as_plain_text_alone(
    bad, tmp_path, without_child
):
    log = own_log(bad, initializer=bad, optimizer=bad, dtype=bad, outcome=bad)
    facts = {"origin": bad, "model": bad, "versions": {bad: bad}}

    page = open_log(saved(log.replace(metadata=facts), tmp_path))

    assert not page.exception
    assert charts_in(page) == 4
    marked = [element.value for element in (*page.markdown, *page.caption)]
    marked += [element.value for element in (*page.error, *page.info, *page.header)]
    assert not any(bad in text for text in marked)
    assert any(
        bad.replace("\x00", "") in text.replace("\x00", "") for text in plain(page)
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"runs": own_log().runs.iloc[:0], "losses": own_log().losses.iloc[:0]},
        {"layers": own_log().layers.iloc[:0]},
        {"losses": own_log().losses.iloc[:0]},
        {"losses": own_log().losses.assign(loss=np.nan)},
        {"losses": own_log().losses.assign(loss=-1.0)},
        {"losses": own_log().losses.iloc[3:4]},
        {"layers": own_log().layers.assign(log10_norm=np.nan, log10_max=np.nan)},
        {"layers": own_log().layers.assign(log10_norm=np.inf, nonfinite_fraction=1.0)},
        {"layers": own_log().layers.assign(log10_norm=-np.inf, zero_fraction=1.0)},
        {"layers": own_log().layers.assign(log10_norm=1e308, size=2**62)},
        {"layers": own_log().layers.assign(kind="activation")},
        {"layers": own_log().layers.assign(kind="activation_gradient", step=7)},
        {"layers": own_log().layers.assign(step=2**53, layer=2**53)},
        {"layers": own_log().layers.drop(columns=["size", "log10_mean"])},
        {"layers": own_log().layers.assign(update_ratio=1e300, frozen_fraction=9.0)},
        {"layers": own_log().layers.sample(frac=1.0, random_state=0)},
        {"runs": own_log().runs.assign(depth=0, steps=0, learning_rate=np.nan)},
        {"runs": own_log().runs.assign(scale=np.inf, loss_zero=-1.0)},
        {"runs": own_log().runs.assign(dtype="nonsense", seed=2**62)},
        {"metadata": {"versions": ["x"], "model": [1], "origin": {"a": 1}}},
        {"metadata": {"epochs": "x", "every": None}},
    ],
)
def test_every_log_that_can_be_opened_can_be_looked_at(
    changes, tmp_path, without_child
):
    log = own_log().replace(**changes)
    if not len(log.runs):
        log = log.replace(layers=log.layers.iloc[:0])

    page = open_log(saved(log, tmp_path))

    assert not page.exception
    assert not page.error


@pytest.mark.slow
def test_the_lessons_own_log_is_there_to_try():
    page = open_page(section=YOURS)

    page.toggle(key="example").set_value(True).run()
    page.selectbox(key="your_run").set_value(27).run()

    assert not page.exception
    assert charts_in(page) == 6
    assert "c = 1.5, L = 152: diverges." in "\n".join(plain(page))


@pytest.mark.slow
def test_a_link_opens_the_lessons_own_log():
    page = open_page(section=YOURS, example="true")

    assert charts_in(page) == 6


@pytest.mark.slow
def test_the_lessons_settings_survive_a_look_at_another_section():
    page = open_page(target="identity", **SMALL)

    go_to(page, YOURS)
    go_to(page, "Lesson")

    assert not page.exception
    assert page.multiselect(key="depths").value == [3]
    assert page.select_slider(key="steps").value == 50
    assert page.selectbox(key="target").value == "identity"


@pytest.mark.slow
def test_an_opened_log_survives_a_look_at_another_section_until_it_is_closed(
    tmp_path, without_child
):
    page = upload(open_page(section=YOURS), saved(own_log(), tmp_path))

    go_to(page, "Lesson")
    go_to(page, YOURS)
    count = charts_in(page)
    button(page, "Close it").click().run()

    assert count == 4
    assert not page.exception
    assert charts_in(page) == 0


def test_a_file_that_is_taken_away_is_gone(tmp_path, without_child):
    page = upload(open_page(section=YOURS), saved(own_log(), tmp_path))

    upload(page, None)

    assert not page.exception
    assert charts_in(page) == 0
    assert {one.label for one in page.button} == {"Present"}


@pytest.mark.slow
def test_two_visitors_do_not_see_each_others_logs(tmp_path):
    open_log(saved(own_log("secret"), tmp_path))

    other = open_page(section=YOURS)

    assert plain(other) == []


# --- Predict, then look --------------------------------------------------------------


def open_predictions(**query):
    return open_page(section="Predict", **query)


def test_nothing_is_shown_before_the_visitor_has_guessed():
    page = open_predictions()

    question = vg.quiz.question(1)
    assert not page.exception
    assert f"L = {question['depths'][0]}**" in words(page)
    assert not outcomes(page)
    assert not charts_in(page)


def test_nothing_is_preselected_and_nobody_looks_before_they_have_chosen():
    page = open_predictions()

    assert page.segmented_control(key="guess").value is None
    assert page.select_slider(key="guess_exponent").value == "?"
    assert page.button(key="look").disabled
    page.segmented_control(key="guess").set_value("stalls")
    page.select_slider(key="guess_exponent").set_value(1e-7).run()
    assert not page.button(key="look").disabled


def test_a_guess_is_scored_when_the_visitor_looks():
    question = vg.quiz.question(2)
    theory = vg.predict(**question)
    fate = theory.runs["outcome"].iloc[0]
    page = open_predictions(stack="2", guess=fate, guess_exponent="1e-07")

    button(page, "Look").click().run()

    assert not page.exception
    first = theory.layers.query("kind == 'weight_gradient' and step == 0")
    off = abs(first["log10_norm"].iloc[0] + 7)
    assert f"You said that it {outcome_verb(fate)}, and it" in words(page)
    assert f"{decades(off)} off" in words(page)
    assert f"1 of 1 outcomes right; gradients {decades(off)}" in page.caption[0].value
    assert page.select_slider(key="guess_exponent").disabled
    assert page.query_params["looked"] == "0.2"
    assert charts_in(page) == 2


def test_the_next_question_is_a_new_one_and_the_score_goes_on():
    page = open_predictions(guess="stalls", guess_exponent="1e-07")
    button(page, "Look").click().run()
    before = page.caption[0].value

    button(page, "Next question").click().run()

    assert not page.exception
    assert page.select_slider(key="stack").value == 2
    assert page.select_slider(key="guess_exponent").value == "?"
    assert page.segmented_control(key="guess").value is None
    assert page.caption[-1].value == before
    assert "of 1 outcomes right" in before


def test_the_question_of_a_class_poll_keeps_its_answer():
    page = open_predictions(hide="section,stack,series,look", stack="5")

    assert not page.exception
    assert {one.label for one in page.button} == {"Present"}
    assert not outcomes(page)
    assert page.segmented_control(key="guess").value is None


def test_a_link_to_an_answer_is_no_guess():
    page = open_predictions(looked="0.1")

    assert outcomes(page)
    assert "No guess yet" in page.caption[0].value


@pytest.mark.parametrize("rubbish", ["nan", "", "0.999", "<b>"])
def test_rubbish_for_predictions_falls_back(rubbish):
    names = ("stack", "series", "guess", "guess_exponent", "looked")

    page = open_predictions(**dict.fromkeys(names, rubbish))

    assert not page.exception
    assert page.button(key="look").disabled


# --- What a teacher may hold ---------------------------------------------------------


def test_locked_controls_keep_the_value_of_the_address():
    page = open_controls(lock="steps,units", **SMALL)

    assert not page.exception
    assert page.select_slider(key="steps").value == 50
    assert page.select_slider(key="steps").disabled
    assert page.select_slider(key="units").disabled
    assert not page.select_slider(key="learning_rate").disabled
    assert any("holds some of them" in c.value for c in page.caption)


def test_the_way_back_leaves_what_is_held():
    page = open_controls(lock="steps", hide="depths", **SMALL)

    button(page, "Back to the lecture's setting").click().run()

    assert page.select_slider(key="steps").value == 50
    assert page.multiselect(key="depths").value == [3]
    assert page.multiselect(key="scales").value == [0.5, 0.9, 1.0, 1.5]


@pytest.mark.parametrize("rubbish", ["", ",", "nothing", "steps;units", "*"])
def test_rubbish_holds_nothing(rubbish):
    page = open_controls(lock=rubbish, hide=rubbish, **SMALL)

    assert not page.exception
    assert not any(slider.disabled for slider in page.select_slider)


@pytest.mark.parametrize(
    ("spelled", "value"), [("1.0", 1.0), ("1e-2", 0.01), ("3E-1", 0.3), (".03", 0.03)]
)
def test_a_number_in_the_address_means_what_it_says(spelled, value):
    page = open_controls(learning_rate=spelled, **{**SMALL, "scales": ["0.50", ".9"]})

    assert not page.exception
    assert page.select_slider(key="learning_rate").value == value
    assert page.multiselect(key="scales").value == [0.5, 0.9]
    assert not any("left out" in text for text in plain(page))


def test_what_the_address_asks_for_in_vain_is_said():
    bad = "![x](http://127.0.0.1:9/x)"
    bad_too = {"learning_rate": "0.02", "depths": ["3", "999"]}
    page = open_page(target=bad, step="9999", **{**SMALL, **bad_too})

    (line,) = (text for text in plain(page) if "left out" in text)
    assert "Learning rate = 0.02" in line
    assert "Depth L: number of layers = 999" in line
    assert "What to learn = ![x](http://127.0.0" in line
    assert "Training step = 9999" in line
    assert "step" not in page.query_params
    assert not any("![x]" in text.value for text in (*page.markdown, *page.caption))
    go_to(page, YOURS)
    assert not any("left out" in text for text in plain(page))


def test_more_choices_than_there_is_room_for_are_not_dropped_in_silence():
    page = open_controls(scales=[f"{0.3 + k / 20:g}" for k in range(7)], **SMALL_DEPTH)

    assert not page.exception
    assert any("more than 6 of “Scale c" in text for text in plain(page))


# --- Cards that lead to a setting ----------------------------------------------------


@pytest.mark.parametrize(
    ("number", "chart", "expected"),
    [
        (0, "network", {"scale": 0.5, "depth": 20}),
        (2, "activation_by_layer", {"section": "Remedies"}),
        (6, "final_loss_by_depth", {"scales": [0.95, 0.9]}),
        pytest.param(
            4,
            "outcome_by_learning_rate_and_depth",
            {"section": "Map", "map_by": "learning rate", "map_scale": 0.9},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            5,
            "failure_by_depth_and_format",
            {"section": "Number formats", "format_depth": 100},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_card_leads_to_what_it_speaks_of_and_keeps_the_rest(number, chart, expected):
    page = open_page(map_steps="50", learning_rate="0.03", hide="seed", **SMALL)
    page.session_state[f"question_{number}"] = True  # opened
    page.run()

    page.button(key=f"show_{number}").click().run()

    assert not page.exception
    assert {key: page.session_state[key] for key in expected} == expected
    assert page.query_params["show"] == chart
    assert page.query_params["hide"] == "seed"
    if "section" not in expected:
        assert page.select_slider(key="learning_rate").value == 0.03


# --- The server's one trainer --------------------------------------------------------


class Slot:
    """A place on the page that remembers what was written there."""

    def __init__(self):
        self.texts, self.leaves = [], False

    def progress(self, share, text):
        if self.leaves:
            raise RuntimeError("Streamlit ends the script here")
        self.texts.append(text)


class Runs:
    """Workers whose runs wait until they are let go, and remember that they ran."""

    is_warm = True

    def __init__(self):
        self.gates = collections.defaultdict(threading.Event)
        self.names, self.stopped = [], []

    def run(self, task, is_wanted):
        name = task.arguments["name"]
        while not self.gates[name].wait(0.01):
            yield "", None
            if not is_wanted():
                self.stopped.append(name)
                return
        self.names.append(name)
        yield "log", pack(log_of(name))

    def prepare(self):
        pass

    def end(self):
        pass


def log_of(name):
    return vg.predict(scales=[0.9], depths=[2], steps=2).replace(metadata={"of": name})


@pytest.fixture
def runs():
    return Runs()


def visit(trainer, name):
    """A visitor in a thread of their own; waits until they have been reported to."""
    slot, logs = Slot(), []

    def ask():
        try:
            run = trainer.log({"name": name}, slot, log_of)
            logs.append(run.log.metadata["of"])
        except RuntimeError as error:
            logs.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    wait_until(lambda: slot.texts)
    return thread, slot, logs


def wait_until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_visitors_are_served_in_turn_and_see_their_place_and_how_long_it_takes(runs):
    one = Trainer(runs)
    visitors = [visit(one, name) for name in "abc"]

    assert visitors[1][1].texts[-1] == "In the queue: 1 before you, about 2 s."
    assert visitors[2][1].texts[-1] == "In the queue: 2 before you, about 4 s."

    for name in "cba":
        runs.gates[name].set()
    for thread, _, _ in visitors:
        thread.join(10)

    assert runs.names == ["a", "b", "c"]
    assert [logs for *_, logs in visitors] == [["a"], ["b"], ["c"]]
    assert one.waiting == 0


def test_a_visitor_who_leaves_frees_the_slot_and_stops_the_run(runs):
    one = Trainer(runs)
    leaving = visit(one, "a")
    staying = visit(one, "b")
    leaving[1].leaves = True
    runs.gates["b"].set()
    for thread, *_ in (leaving, staying):
        thread.join(10)

    assert isinstance(leaving[2][0], RuntimeError)
    assert staying[2] == ["b"]
    assert runs.stopped == ["a"]
    assert one.waiting == 0


def test_a_class_that_opens_one_link_costs_one_run_whoever_leaves(runs):
    one = Trainer(runs)
    visitors = [visit(one, "a") for _ in range(30)]
    visitors[0][1].leaves = True
    visitors[0][0].join(10)
    assert one.waiting == 1

    runs.gates["a"].set()
    for thread, *_ in visitors:
        thread.join(10)

    assert runs.names == ["a"]
    assert [logs for *_, logs in visitors[1:]] == [["a"]] * 29


def test_the_trainer_keeps_the_logs_that_were_asked_for_last(runs, monkeypatch):
    monkeypatch.setattr(page_trainer, "MOST_BYTES", 24 * pack(log_of(10)).size)
    one = Trainer(runs)

    def ask(name):
        runs.gates[name].set()
        one.log({"name": name}, Slot(), log_of)

    for number in range(10, 50):
        ask(number)
    for number in (49, 26, 25):
        ask(number)

    assert [runs.names.count(number) for number in (49, 26, 25)] == [1, 1, 2]


@pytest.mark.parametrize(
    ("gone", "share", "left"), [(3.0, 0.25, 9.0), (1.0, 0.0, 4.0), (7.0, 0.0, 0.0)]
)
def test_what_is_left_of_a_run_is_told_by_its_share_else_by_the_last_runs(
    gone, share, left
):
    durations = Durations()
    for seconds in (4.0, 5.0, 60.0):
        durations.note(None, seconds)

    assert durations.left(None, gone, share) == left
    assert durations.left(log_of, 0.0, 0.0) == 2.0  # nothing is known of these


@pytest.mark.slow
def test_a_full_queue_takes_nobody_more(runs, monkeypatch):
    one = Trainer(runs)
    monkeypatch.setattr(recordings, "trainer", lambda: one)
    visitors = [visit(one, number) for number in range(MOST_WAITING)]

    page = open_page(depths=["3"], scales=["0.85"], steps="50")

    for number, (thread, *_) in enumerate(visitors):
        runs.gates[number].set()
        thread.join(10)
    assert not page.exception
    assert "30 runs are waited for" in page.warning[0].value
    assert not outcomes(page)


# --- What caches tell apart ----------------------------------------------------------


def test_a_selection_has_a_name_of_its_own_and_is_made_when_it_is_asked_for():
    made = []

    def make():
        made.append("log")
        return vg.predict([0.5, 0.9], [2, 5])

    run = NamedLog("a", make)
    small, large = run.select(scale=0.5, depth=2), run.select(depth=5, scale=0.9)

    assert made == []
    assert small.name == run.select(depth=2, scale=0.5).name
    assert len({run.name, small.name, large.name, NamedLog("b", make).name}) == 4
    assert small.log.runs[["scale", "depth"]].values.tolist() == [[0.5, 2]]
    assert large.log.runs[["scale", "depth"]].values.tolist() == [[0.9, 5]]
    assert made == ["log"]


def test_a_figure_whose_function_knows_more_than_its_arguments_is_refused():
    with pytest.raises(TypeError, match="`make` must be a function of a module"):
        figure(lambda: None, read="", misread="")


# --- The grid of outcomes ------------------------------------------------------------


def grid_of_a_lesson():
    import vgkeras as vg
    from vgkeras.page.named_log import NamedLog
    from vgkeras.page.outcomes import outcome_grid

    log = vg.predict([0.5, 1.5], [2, 5, 50], steps=20)
    outcome_grid(NamedLog("grid_of_a_lesson", lambda: log), 1.5, 7)


def test_the_grid_says_what_became_of_the_chosen_run_alone():
    page = AppTest.from_function(grid_of_a_lesson).run()

    page.segmented_control(key="grid_scale").set_value(1.5)
    page.segmented_control(key="grid_depth").set_value(50).run()

    assert not page.exception
    (sentence,) = outcomes(page)
    assert sentence.startswith("c = 1.5, L = 50: diverges.")
    assert "By depth: c = 0.5 is slow at 2" in words(page)
    assert charts_in(page) == 1


def test_the_curves_of_the_chosen_run_are_those_of_the_first_screen():
    page = AppTest.from_function(grid_of_a_lesson).run()

    page.button(key="grid_curves").click().run()

    assert not page.exception
    assert page.query_params["show"] == "network"
    chosen = page.session_state["scale"], page.session_state["depth"]
    assert chosen == (1.5, 5)


def test_an_old_link_opens_the_stack_that_it_names():
    page = open_page(section="The lesson", stack_scale="0.5", stack_depth="20")

    assert not page.exception
    assert page.select_slider(key="scale").value == 0.5
    assert page.select_slider(key="depth").value == 20


def test_a_click_on_a_cell_moves_the_controls_that_the_keyboard_moves():
    from vgkeras.page.named_log import NamedLog
    from vgkeras.page.outcomes import _move_to_cell, cells_once

    log = NamedLog("four runs", lambda: vg.predict([0.5, 1.5], [2, 5]))
    cells = cells_once(log, "scale")
    keys = {"scale": "grid_scale", "depth": "grid_depth"}

    def click(run):
        import streamlit as st

        picked = [] if run is None else [run]
        st.session_state["cell"] = {"selection": {vg.charts.SELECTION: picked}}
        _move_to_cell("cell", cells, keys)
        return {key: st.session_state.get(key) for key in keys.values()}

    assert click({"run": 3}) == {"grid_scale": 1.5, "grid_depth": 5}
    assert click(None) == {"grid_scale": 1.5, "grid_depth": 5}
    assert click({}) == {"grid_scale": 1.5, "grid_depth": 5}


@pytest.mark.slow
def test_only_the_first_look_is_without_the_rest():
    page = open_page(units="2", learning_rate="0.001")

    page.query_params.clear()  # as Streamlit does once all are as they were
    page.select_slider(key="learning_rate").set_value(0.01).run()

    assert len(page.get("vega_lite_chart")) == 6
    assert page.select_slider(key="learning_rate").value == 0.01


@pytest.mark.slow
def test_back_pressed_twice_quickly_is_not_undone_by_a_button_that_lags():
    page = open_page(section="Number formats")

    page.query_params["section"] = "Predict"  # the browser's, by Back
    page.segmented_control(key="section").set_value("Remedies").run()

    assert not page.exception
    assert page.query_params["section"] == "Predict"
    assert page.segmented_control(key="section").value == "Predict"
