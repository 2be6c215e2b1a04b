import pytest

from vgkeras import data, stacks, testing


def failure(assertion, *args, **kwargs):
    """The text of the failure of an assertion that has to fail."""
    with pytest.raises(AssertionError) as caught:
        assertion(*args, **kwargs)
    return str(caught.value)


@pytest.fixture
def lesson():
    return data.make_data()


def test_a_good_stack_passes(lesson):
    model = stacks.build_stack(depth=10, scale=0.9)

    testing.assert_gradients_finite(model, *lesson)
    testing.assert_gradients_connected(model, *lesson)
    testing.assert_not_vanishing(model, *lesson)
    testing.assert_not_exploding(model, *lesson)


def test_the_lessons_small_scale_vanishes_in_every_layer(lesson):
    text = failure(
        testing.assert_not_vanishing, stacks.build_stack(30, scale=0.5), *lesson
    )

    # dL/dW = c^29 on the diagonal for whitened x and y = x; rms = c^29 / sqrt(2)
    assert (
        "layer 1 (dense_1/kernel) at step 0 vanishes: root mean square 1.3e-09" in text
    )
    assert "root mean square < 1.0e-07 (NeuroScope" in text
    assert "1.88 decades beyond" in text
    assert "30 of 30 rows are bad" in text


def test_the_lessons_large_scale_explodes(lesson):
    text = failure(
        testing.assert_not_exploding, stacks.build_stack(10, scale=1.5), *lesson
    )

    assert "layer 1 (dense_1/kernel) at step 0 explodes: norm 3.1e+03" in text
    assert "Rule: norm > 5.0e+00 (NeuroScope" in text
