"""Fixtures that every test may use."""

import os

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported


@pytest.fixture
def rng():
    return np.random.default_rng(0)
