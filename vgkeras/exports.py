"""Runs as code that makes them again: a notebook cell, a Keras script, a test.

Each is plain text with every argument written out, so that it gives the numbers of the
run it was made from, on any machine, today or in a year.
"""

from collections.abc import Mapping
from typing import Any

from vgkeras._text import outcome_verb
from vgkeras.logs import GradientLog

_NOTEBOOK = """\
# pip install .  (in a clone of vgkeras)
import vgkeras as vg

log = vg.sweep(
{arguments}
)
print(log)
for sentence in vg.charts.run_sentences(log):
    print(sentence)
vg.charts.final_loss_by_depth(log)
"""

_KERAS = """\
# {depth} linear Dense layers, every kernel {scale} * I, in plain Keras

import keras
import numpy as np
import tensorflow as tf

from vgkeras import make_data  # only the data: seeded inputs and their targets

x, y = make_data({target!r}, units={units}, samples={samples}, seed={seed})
x, y = (tf.constant(values, {dtype!r}) for values in (x, y))

layers = [
    keras.layers.Dense(
        {units},
        use_bias=False,
        kernel_initializer=keras.initializers.Identity(gain={scale}),
        dtype={dtype!r},
    )
    for _ in range({depth})
]
model = keras.Sequential([keras.Input(({units},), dtype={dtype!r}), *layers])
optimizer = keras.optimizers.SGD({learning_rate})
losses, norms = [], []
for step in range({steps} + 1):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.reduce_mean(tf.square(model(x) - y), axis=-1))
    gradients = tape.gradient(loss, model.trainable_variables)
    losses.append(float(loss))
    # in float64: the square of a small float32 is 0
    norms.append([np.linalg.norm(g.numpy().astype("float64")) for g in gradients])
    if step < {steps}:
        optimizer.apply(gradients, model.trainable_variables)

print(f"loss: {{losses[0]:.3e}} at first, {{losses[-1]:.3e}} after {steps} steps")
print(f"weight gradient at the start, layer 1: {{norms[0][0]:.3e}}")
"""

_TEST = """\
import math

import vgkeras as vg


def test_a_stack_of_{depth}_layers_{verb}():
    x, y = vg.make_data({target!r}, units={units}, samples={samples}, seed={seed})
    model = vg.build_stack({depth}, {units}, scale={scale}, dtype={dtype!r})

    log = vg.train(model, x, y, steps={steps}, learning_rate={learning_rate})

    assert log.runs["outcome"].item() == {outcome!r}
{checks}
"""

_FINITE = """\
    first, last = log.losses["loss"].iloc[[0, -1]]
    assert math.isclose(first, {first!r}, rel_tol=1e-3)
    assert math.isclose(last, {last!r}, rel_tol=1e-2, abs_tol=1e-9)"""

_INFINITE = """\
    assert not math.isfinite(log.losses["loss"].iloc[-1])"""


def notebook(settings: Mapping[str, Any]) -> str:
    """Returns a notebook cell that makes a sweep again.

    Args:
        settings: Arguments of `vgkeras.sweep`, each a number, a string or a list.

    Returns:
        Python code.

    Example:
        >>> print(notebook({"scales": [0.5], "depths": [2, 50], "steps": 100}))
        # pip install .  (in a clone of vgkeras)
        import vgkeras as vg
        <BLANKLINE>
        log = vg.sweep(
            scales=[0.5],
            depths=[2, 50],
            steps=100,
        )
        print(log)
        for sentence in vg.charts.run_sentences(log):
            print(sentence)
        vg.charts.final_loss_by_depth(log)
        <BLANKLINE>
    """
    lines = [f"    {name}={value!r}," for name, value in settings.items()]
    return _NOTEBOOK.format(arguments="\n".join(lines))


def keras_script(log: GradientLog, run: int) -> str:
    """Returns a script in plain Keras that makes one run of a sweep again.

    Args:
        log: A log of `vgkeras.sweep`, or of stacks of scaled identities with its
            columns.
        run: The number of the run.

    Returns:
        Python code. It leaves the lists `losses` and `norms` (of the weight
        gradients, step by step and layer by layer).

    Raises:
        ValueError: If `log` has no such run, or the run did not start at a scaled
            identity, by plain gradient descent.
    """
    return _KERAS.format(**_row(log, run))


def test(log: GradientLog, run: int) -> str:
    """Returns a pytest test that holds one run to what it did.

    Args:
        log: See `keras_script`.
        run: The number of the run.

    Returns:
        Python code.

    Raises:
        ValueError: See `keras_script`.
    """
    row = _row(log, run)
    losses = log.losses.loc[log.losses["run"] == run, "loss"]
    first, last = (float(f"{loss:.6g}") for loss in losses.iloc[[0, -1]])
    finite = abs(last) < float("inf")
    checks = _FINITE.format(first=first, last=last) if finite else _INFINITE
    verb = outcome_verb(row["outcome"]).replace(" ", "_")
    return _TEST.format(**row, verb=verb, checks=checks)


test.__test__ = False  # type: ignore[attr-defined]  # pytest takes it for one of its own


def _row(log: GradientLog, run: int) -> dict[str, Any]:
    """The row of a run that can be made again, or an error."""
    if log.runs.empty:
        raise ValueError(
            f"`log` must hold at least one run. Received: log={log!r}. Make one by "
            "`vg.sweep()`."
        )
    rows = log.runs[log.runs["run"] == run]
    if rows.empty:
        raise ValueError(
            f"`run` must be one of the {len(log.runs):,} runs of the log. "
            f"Received: run={run!r}."
        )
    row = rows.iloc[0].to_dict()
    plain = row["optimizer"] == "sgd" and row["output_units"] == row["units"]
    remedies = (row.get(name, "") for name in ("residual", "normalization"))
    linear = row.get("activation", "linear") == "linear" and not any(remedies)
    if row["scale"] != row["scale"] or not plain or not linear or not row["target"]:
        raise ValueError(
            "`run` must be one of a linear stack of scaled identities, trained by "
            f"plain gradient descent on data of `make_data`. Received: run={run!r}. "
            "Log your own model by `vg.GradientLogger`."
        )
    return row
