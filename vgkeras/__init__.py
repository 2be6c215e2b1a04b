"""Vanishing and exploding gradients in Keras, measured and predicted.

Every public name is loaded when it is first used, so `import vgkeras` is quick and
TensorFlow is loaded only by what needs it.
"""

import importlib
from typing import Any

_MODULES = (
    "callbacks",
    "charts",
    "diagnosis",
    "exports",
    "floats",
    "logs",
    "published",
    "quiz",
    "remedies",
    "rules",
    "stacks",
    "sweeps",
    "tape",
    "testing",
    "theory",
    "training",
)
_NAMES = {
    "GradientLog": "logs",
    "concat": "logs",
    "load": "logs",
    "make_data": "theory",
    "predict": "theory",
    "build_stack": "stacks",
    "gradient_norms": "tape",
    "gradient_through_time": "tape",
    "train": "training",
    "Training": "training",
    "sweep": "sweeps",
    "GradientLogger": "callbacks",
    "diagnose": "diagnosis",
    "Finding": "diagnosis",
}

__all__ = sorted([*_MODULES, *_NAMES])


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"vgkeras.{name}")
    if name in _NAMES:
        value = getattr(importlib.import_module(f"vgkeras.{_NAMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'vgkeras' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
