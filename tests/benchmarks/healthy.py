"""Sound architectures: what is wrongly found at the start and after training.

    python -m tests.benchmarks.healthy            # all, in a process of their own each
    python -m tests.benchmarks.healthy lstm ResNet50V2

Every architecture of `keras.applications` that normalizes, with random weights and
small inputs, and the models of `tests/programs/architectures.py`. Asked are
`diagnose(model)` and the assertions before training, `diagnose(log)` of a short fit
with a default `GradientLogger()`, and the first two again after it.
"""

import argparse
import multiprocessing
import os
from collections.abc import Callable, Iterator
from typing import Any

_SOUND = ("healthy", "unknown")
_SIZES = {"InceptionV3": 75, "InceptionResNetV2": 75, "Xception": 71}
_SIZE = 64
# At 0.01 the first update of ResNet152 is 149 times its first kernel, which then does
# not move any more: that is found, and true.
_RATES = {"ResNet152": 0.001}
_UNNORMALIZED = ("VGG16", "VGG19")
_PIXELS = ("EfficientNet", "ConvNeXt", "MobileNetV3")  # take 0 to 255


def applications() -> list[str]:
    """The architectures of `keras.applications` that normalize."""
    from keras import applications as module

    names = [name for name in dir(module) if name[0].isupper()]
    return [name for name in names if name not in _UNNORMALIZED]


def _application(name: str) -> Any:
    import keras
    import numpy as np

    from tests.programs.registry import Fit

    keras.utils.set_random_seed(0)
    size = _SIZES.get(name, _SIZE)
    build = getattr(keras.applications, name)
    model = build(weights=None, input_shape=(size, size, 3), classes=10)
    loss = "sparse_categorical_crossentropy"
    rate = _RATES.get(name, 0.01)
    model.compile(keras.optimizers.SGD(rate, momentum=0.9), loss)
    labels = np.arange(32) % 10
    x = np.random.default_rng(0).random((32, size, size, 3)).astype("float32")
    x[..., 0] += 0.1 * labels[:, None, None]
    x *= 255 if name.startswith(_PIXELS) else 1
    return Fit(model, x, labels, {"epochs": 2, "batch_size": 8})


def alarms(name: str) -> tuple[str, list[str]]:
    """What is found in one architecture, each with the question that found it."""
    import vgkeras as vg
    from tests.programs.architectures import MODELS

    model, x, y, options = MODELS[name]() if name in MODELS else _application(name)
    lines = [] if y is None else list(_of_model(model, x, y, "start"))
    logger = vg.GradientLogger()
    model.fit(x, y, verbose=0, callbacks=[logger], **options)
    lines += _said("log", lambda: vg.diagnose(logger.log))
    if y is not None:
        lines += _of_model(model, x, y, "end")
    return name, lines


def _of_model(model: Any, x: Any, y: Any, when: str) -> Iterator[str]:
    """Of one pass over the model, a step of plain descent at 0.01 included."""
    import keras

    import vgkeras as vg

    few = keras.tree.map_structure(lambda part: part[:8], (x, y))
    log = vg.diagnosis.log_of(model, *few, loss=None, learning_rate=0.01)
    yield from _said(f"model, {when}", lambda: vg.diagnose(log))
    for words in ("gradients_connected", "not_vanishing", "not_exploding"):
        check = getattr(vg.testing, f"assert_{words}")
        yield from _said(f"{words}, {when}", lambda check=check: check(log) or [])


def _said(question: str, ask: Callable[[], Any]) -> list[str]:
    try:
        findings = ask()
    except AssertionError as error:
        return [f"{question}: {str(error).splitlines()[0]}"]
    return [f"{question}: {f}" for f in findings if f.regime not in _SOUND]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="architectures; by default all")
    names = parser.parse_args().names
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from tests.programs.architectures import MODELS

    chosen = names or [*MODELS, *applications()]
    context = multiprocessing.get_context("spawn")
    quiet = 0
    with context.Pool(1, maxtasksperchild=1) as pool:
        for name, lines in pool.imap(alarms, chosen):
            quiet += not lines
            print(f"{name}: {len(lines) or 'no'} alarms", flush=True)
            for line in lines:
                print(f"    {line}", flush=True)
    print(f"\n{quiet} of {len(chosen)} architectures without a false alarm")


if __name__ == "__main__":
    main()
