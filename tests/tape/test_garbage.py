import gc

import pytest

from vgkeras.tape import garbage


@pytest.fixture(autouse=True)
def as_it_was():
    yield
    gc.enable()


def test_the_collector_is_paused_inside_and_runs_again_afterwards():
    with garbage.paused():
        assert not gc.isenabled()

    assert gc.isenabled()


def test_the_collector_runs_again_after_an_error():
    with pytest.raises(KeyError), garbage.paused():
        raise KeyError

    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off():
    gc.disable()

    with garbage.paused(), garbage.paused():
        pass

    assert not gc.isenabled()
