import gc

import pytest

from vgkeras import _garbage


@pytest.fixture(autouse=True)
def as_it_was():
    yield
    gc.enable()


def test_the_collector_is_paused_inside_and_runs_again_afterwards():
    with _garbage.paused():
        assert not gc.isenabled()

    assert gc.isenabled()


def test_the_collector_runs_again_after_an_error():
    with pytest.raises(KeyError), _garbage.paused():
        raise KeyError

    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off():
    gc.disable()

    with _garbage.paused(), _garbage.paused():
        pass

    assert not gc.isenabled()
