"""Addresses made to break the page: each gets a default or a clear sentence.

`VGKERAS_HOSTILE=300` tries as many of them; by default a few.
"""

import os
import random
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

PAGE = Path(__file__).parents[2] / "dashboard.py"
COUNT = int(os.environ.get("VGKERAS_HOSTILE", "6"))
# Sections whose defaults are recorded: nothing has to be run.
SECTIONS = ("Lesson", "Remedies", "Predict", "Published results", "Your log", "Code")
KEYS = (
    *("scales", "depths", "units", "learning_rate", "steps", "target", "dtype", "seed"),
    *("samples", "section", "stack_depth", "stack_scale", "kind", "show", "slide"),
    *("scale", "depth", "step", "grid_scale", "grid_depth", "present", "lock", "hide"),
    *("remedies", "remedy_scale", "remedy_units", "remedy_steps", "remedy_depth"),
    *("digits_units", "digits_show"),
    *("remedy_compare", "remedy_activation", "map_by", "cell_depth", "format_scale"),
    *("stack", "series", "looked", "guess", "guess_exponent", "example", "your_kind"),
    *("your_step", "embed", "embed_options", "theme", "more", "__proto__"),
)
RUBBISH = (
    *("", " ", "0", "-1", "1e400", "-1e400", "nan", "inf", "1" * 5000, "0x10", "٣"),
    *("None", "true", "[]", "{}", "[[[[", "null", "undefined", "a" * 20000, "\x00"),
    *("<script>alert(1)</script>", "'; DROP TABLE runs; --", "../../etc/passwd"),
    *("{{7*7}}", "${7*7}", "%00", "%s%s%s%n", "\u202e", "🙂", "1,2", "2;3", "½"),
    *("__import__('os').system('id')", "file:///etc/passwd", "\n\n", "\\", "*" * 999),
)


def hostile_queries(count, seed=0):
    """Random rubbish for random keys, some of them repeated."""
    random_ = random.Random(seed)
    for _ in range(count):
        query = {"section": random_.choice(SECTIONS)}
        for key in random_.sample(KEYS, random_.randint(1, 6)):
            values = [random_.choice(RUBBISH) for _ in range(random_.randint(1, 3))]
            if key != "section" or random_.random() < 0.2:
                query[key] = values[0] if len(values) == 1 else values
        yield query


@pytest.mark.slow
@pytest.mark.parametrize("query", list(hostile_queries(COUNT)), ids=range(COUNT))
def test_no_address_breaks_the_page(query):
    page = AppTest.from_file(str(PAGE), default_timeout=120)
    for name, value in query.items():
        page.query_params[name] = value

    page.run()

    assert not page.exception, query
    assert page.title or page.info or page.error
    assert not any("Traceback" in element.value for element in page.markdown)
