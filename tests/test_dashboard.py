"""The page's wiring, without a browser: widgets, package, words."""

import ast
import re
import sys
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

import vgkeras as vg

PAGE = Path(__file__).parents[1] / "dashboard.py"


def open_page(**query):
    page = AppTest.from_file(str(PAGE), default_timeout=120)
    for name, value in query.items():
        page.query_params[name] = value
    return page.run()


def words(page):
    return "\n".join(element.value for element in page.markdown)


def verdicts(page):
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

    assert "python -m vgkeras.record assets/lesson.parquet" in label
    assert re.search(r"20\d\d-\d\d-\d\d", label)
    assert "keras 3." in label


def test_every_stack_has_a_verdict_in_words_and_numbers(lesson):
    told = verdicts(lesson)

    assert len(told) == 21
    assert sum(": trains." in sentence for sentence in told) == 7
    assert all(re.search(r"\de[-+]\d\d|exactly zero", said) for said in told[:16])


def test_no_number_is_told_as_0_0000(lesson):
    assert "0.000" not in words(lesson)


def test_page_says_that_weight_gradients_are_equal_in_all_layers(lesson):
    assert "the weight gradient is equal in all layers" in words(lesson)


def test_claims_about_larger_learning_rates_are_what_theory_says():
    def verdict(scale, depth, rate):
        log = vg.predict([scale], [depth], learning_rate=rate, every=None)
        return log.runs["verdict"].iloc[0]

    assert [verdict(0.5, 5, rate) for rate in (0.01, 0.03)] == ["stalls", "trains"]
    rates = (0.01, 0.03, 0.1)
    assert [verdict(0.9, 50, r) for r in rates] == ["stalls", "trains", "stalls"]
    assert [verdict(1.5, 5, r) for r in rates] == ["trains", "trains", "diverges"]
    assert [verdict(0.95, d, 0.01) for d in (100, 152)] == ["trains", "stalls"]


def test_page_imports_nothing_heavy_before_its_first_chart():
    imported = {
        name.name.split(".")[0]
        for node in ast.walk(ast.parse(PAGE.read_text()))
        if isinstance(node, ast.Import)
        for name in node.names
    }

    assert imported - sys.stdlib_module_names == {"streamlit", "vgkeras"}


def test_a_setting_is_run_live_and_changes_the_verdicts(lesson):
    page = open_page(depths=["2", "10"], scales=["0.9"], steps="50")
    before = verdicts(page)

    page.select_slider(key="learning_rate").set_value(0.1).run()

    assert not page.exception
    assert "Run live" in words(page)
    assert len(before) == len(verdicts(page)) == 2
    assert before != verdicts(page)


def test_a_target_without_theory_for_every_step_is_shown_too():
    page = open_page(target="teacher", depths=["3"], scales=["0.9"], steps="50")

    assert not page.exception
    assert len(verdicts(page)) == 1


def test_address_restores_the_controls():
    page = open_page(depths=["3", "7"], units="4", dtype="float64", seed="5")

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
    page = open_page(depths=["3"], scales=["0.9"], steps="50")

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
    page = open_page(depths=["3"], scales=["0.9"], steps="50")

    page.sidebar.button[0].click().run()

    assert not page.exception
    assert "Recorded" in words(page)
