"""Results on the parts of today's networks: shortcuts and normalization."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from vgkeras import theory
from vgkeras.logs import KINDS
from vgkeras.published.results import Result, result_of

_HEADS, _TOKENS = 4, 16


def post_norm_gradients(
    depths: Sequence[int] = (4, 8, 16), units: int = 64, seeds: int = 3
) -> Result:
    """Measures the gradients of transformers before their first step.

    Blocks of attention and of two dense layers, all kernels of variance `1 / units`,
    normalize their sum (post-norm, as in the first transformer) or their input
    (pre-norm, with one more normalization at the end). What is measured is the norm of
    the gradient by the second dense kernel of the last block, for a loss whose gradient
    by the outputs is random, the mean logarithm over seeds. It holds if, as a power of
    the number of blocks, that of post-norm has an exponent within 0.1 of 0 and that of
    pre-norm one from -0.7 to -0.3; theory has 0, and -1/2 for many blocks.

    Args:
        depths: Numbers of blocks.
        units: Width.
        seeds: Number of networks of each kind and depth.

    Returns:
        A `Result`; `post_d` and `pre_d` are norms at `d` blocks.
    """
    norms = {
        (kind, depth): np.exp(
            np.mean(
                [
                    np.log(_block_gradients(kind == "post", depth, units, seed))
                    for seed in range(seeds)
                ],
                axis=0,
            )
        )
        for kind in ("post", "pre")
        for depth in depths
    }
    exponents = {
        kind: np.polyfit(
            np.log(depths), [np.log(norms[kind, d][-1]) for d in depths], 1
        )
        for kind in ("post", "pre")
    }
    post, pre = float(exponents["post"][0]), float(exponents["pre"][0])
    deepest = max(depths)
    numbers = {
        "deepest": deepest,
        "post_exponent": post,
        "pre_exponent": pre,
        "ratio": norms["post", deepest][-1] / norms["pre", deepest][-1],
        **{f"{kind}_{depth}": norms[kind, depth][-1] for kind, depth in norms},
    }
    points = pd.concat(
        pd.DataFrame(
            {
                "series": f"{kind}-norm",
                "x": np.arange(1, deepest + 1),
                "y": norms[kind, deepest],
            }
        )
        for kind in ("post", "pre")
    )
    holds = abs(post) <= 0.1 and -0.7 <= pre <= -0.3
    return result_of("post_norm_gradients", numbers, holds, points)


def _block_gradients(post: bool, depth: int, units: int, seed: int) -> list[float]:
    """Norms of the gradient by each block's second dense kernel, of 8 sequences."""
    from vgkeras.tape import gradient_norms

    model = _transformer(post, depth, units, 1000 * seed)
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, 8, _TOKENS, units)).astype("float32")
    frame = gradient_norms(model, x, y, loss=_product)
    frame = frame.set_index("name")["log10_norm"]
    return [10.0 ** frame[f"out_{block}/kernel"] for block in range(depth)]


def _product(y: Any, outputs: Any) -> Any:
    """A loss whose gradient by the outputs is `y`, whatever they are."""
    from keras import ops

    return ops.mean(y * outputs)


def _transformer(post: bool, depth: int, units: int, first_seed: int) -> Any:
    """Blocks of attention and two dense layers, without biases."""
    from keras import Input, Model, initializers, layers

    def normal(seed: int) -> Any:
        return initializers.RandomNormal(stddev=units**-0.5, seed=first_seed + seed)

    def normed(signal: Any) -> Any:
        return layers.LayerNormalization(epsilon=1e-6)(signal)

    signal = inputs = Input((_TOKENS, units))
    for block in range(depth):
        attention = layers.MultiHeadAttention(
            _HEADS,
            units // _HEADS,
            use_bias=False,
            kernel_initializer=normal(3 * block),
        )
        wide = layers.Dense(
            units, "relu", use_bias=False, kernel_initializer=normal(3 * block + 1)
        )
        out = layers.Dense(
            units,
            use_bias=False,
            kernel_initializer=normal(3 * block + 2),
            name=f"out_{block}",
        )
        for part in (lambda s, a=attention: a(s, s), lambda s, w=wide, o=out: o(w(s))):
            if post:
                signal = normed(signal + part(signal))
            else:
                signal = signal + part(normed(signal))
    return Model(inputs, signal if post else normed(signal))


def residual_growth(blocks: int = 50, units: int = 256) -> Result:
    """Measures how signals grow through residual blocks before the first step.

    A block adds `scale` times a branch of two dense layers (ReLU between them, He
    kernels before it), which keeps the mean squared length. Branch and shortcut are
    uncorrelated, so a block multiplies the squared length by `1 + scale**2`: by 2 if it
    is not scaled, by `(1 + 1 / blocks)**blocks < e` over all blocks at a scale of
    `blocks**-0.5`. It holds if both logarithms, forward and backward, are within 5% of
    these.

    Args:
        blocks: Number of blocks.
        units: Width.

    Returns:
        A `Result`; `forward` and `backward` are factors a block of the squared
        lengths of activations and of their gradients, `scaled_...` over all blocks of
        the scaled network.
    """
    lengths = {
        scale: _lengths(blocks, units, scale) for scale in (1.0, float(blocks**-0.5))
    }
    unscaled, scaled = lengths.values()
    factors = [_factor(line) for line in unscaled]
    totals = [math.exp(math.log(_factor(line)) * blocks) for line in scaled]
    exact = (1 + 1 / blocks) ** blocks
    numbers = {
        "blocks": blocks,
        "units": units,
        "forward": factors[0],
        "backward": factors[1],
        "scaled_forward": totals[0],
        "scaled_backward": totals[1],
        "exact": exact,
    }
    names = ("not scaled", f"scaled by 1/√{blocks}")
    points = pd.concat(
        pd.DataFrame({"series": name, "x": np.arange(1, len(line) + 1), "y": line})
        for name, (line, _) in zip(names, lengths.values(), strict=True)
    )
    errors = [math.log(f) / math.log(2) - 1 for f in factors]
    errors += [math.log(t) / math.log(exact) - 1 for t in totals]
    holds = max(map(abs, errors)) <= 0.05
    return result_of("residual_growth", numbers, holds, points)


def _lengths(blocks: int, units: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Squared lengths of what blocks put out, and backward of its gradients."""
    from keras import Input, Model, initializers, layers

    from vgkeras.tape import gradient_norms

    def normal(variance: float, seed: int) -> Any:
        return initializers.RandomNormal(stddev=(variance / units) ** 0.5, seed=seed)

    signal = inputs = Input((units,))
    for block in range(blocks):
        wide = layers.Dense(
            units, "relu", use_bias=False, kernel_initializer=normal(2.0, 2 * block)
        )
        out = layers.Dense(
            units, use_bias=False, kernel_initializer=normal(scale**2, 2 * block + 1)
        )
        signal = layers.Add(name=f"sum_{block}")([signal, out(wide(signal))])
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 64, units)).astype("float32")
    frame = gradient_norms(Model(inputs, signal), x, y, loss=_product)
    sums = frame[frame["name"].astype(str).str.startswith("sum_")]
    parts = (sums.loc[sums["kind"] == kind, "log10_norm"] for kind in KINDS[1:])
    forward, backward = (10.0 ** (2 * part.to_numpy()) for part in parts)
    return forward / np.sum(x.astype(float) ** 2), (backward / backward[-1])[::-1]


def _factor(squares: np.ndarray) -> float:
    """The factor a block: that of the mean logarithm."""
    return float(np.exp(np.mean(np.diff(np.log(squares)))))


def rezero_depth(blocks: int = 100, units: int = 32, steps: int = 400) -> Result:
    """Trains 100 blocks with ReLU: plain, with shortcuts, and with ReZero.

    ReZero multiplies each branch by a weight that starts at 0, so that the network
    starts as the identity: every gradient of an activation is the same. It holds if
    all runs with ReZero train, none without shortcuts does, and at the start no two
    gradients of activations differ by more than a part in 10,000.

    Args:
        blocks: Number of layers.
        units: Width.
        steps: Number of updates with Adam.

    Returns:
        A `Result`; `rezero`, `shortcuts` and `plain` are runs of three that train,
        `..._lost` those whose loss is Inf or NaN.
    """
    from vgkeras.sweeps import sweep

    branches: dict[str, bool | str] = {
        "plain": False,
        "shortcuts": True,
        "rezero": "zero",
    }
    names = {"plain": "plain", "shortcuts": "shortcuts", "rezero": "ReZero"}
    numbers: dict[str, Any] = {"blocks": blocks, "steps": steps, "runs": 3}
    lines, spread = [], math.nan
    for name, residual in branches.items():
        log = sweep(
            [],
            [blocks],
            initializers=["he_normal"],
            units=units,
            activation="relu",
            residual=residual,
            optimizer="adam",
            learning_rate=0.001,
            steps=steps,
            every=steps,
            samples=32,
            target="teacher",
            seed=[0, 1, 2],
        )
        losses = log.losses["loss"].to_numpy().reshape(3, -1)
        zero = log.runs["loss_zero"].to_numpy()
        share = losses / zero[:, None]
        numbers[name] = np.sum(share[:, -1] <= theory.LEARNED)
        numbers[f"{name}_lost"] = np.sum(~np.isfinite(share[:, -1]))
        if name == "rezero":
            spread = _spread(log.layers)
        lines.append(
            pd.DataFrame(
                {
                    "series": names[name],
                    "x": np.arange(steps + 1),
                    "y": np.median(share, axis=0),
                }
            )[:: max(steps // 100, 1)]
        )
    numbers["spread"] = spread
    holds = numbers["rezero"] == 3 and numbers["plain"] == 0 and spread <= 1e-4
    points = pd.concat(lines)
    points = points[np.isfinite(points["y"])]  # shortcuts without a weight overflow
    return result_of("rezero_depth", numbers, holds, points)


def _spread(layers: pd.DataFrame) -> float:
    """The largest relative difference of two layers' gradients, of one run, at 0."""
    rows = layers[(layers["kind"] == KINDS[2]) & (layers["step"] == 0)]
    rows = rows[rows["layer"] < rows["layer"].max()]
    ends = rows.groupby("run")["log10_norm"].agg(["min", "max"])
    return float(np.expm1(math.log(10) * (ends["max"] - ends["min"]).max()))


def batch_norm_explosion(
    variances: Sequence[float] = (0.5, 1.0, 2.0),
    depth: int = 30,
    units: int = 256,
    samples: int = 128,
) -> Result:
    """Measures the gradients of deep ReLU stacks with batch normalization.

    For many samples and a large width, the squared gradient by the activations grows
    by `pi / (pi - 1)` a layer on its way back, whatever the variance of the kernels:
    the slope of ReLU halves it, and dividing by the deviation of `relu(z)` over the
    batch, `(pi - 1) / (2 pi)` of the variance, more than makes up for it. It holds if
    the factor is within 5% of that at each variance.

    Args:
        variances: Of a kernel entry, times `units`.
        depth: Number of layers.
        units: Width.
        samples: Of a batch.

    Returns:
        A `Result`; `factor_v` is the factor at variance `v`.
    """
    lines = {v: _gradients_with_batch_norm(v, depth, units, samples) for v in variances}
    factors = {v: _factor(line[3:-3]) for v, line in lines.items()}
    exact = math.pi / (math.pi - 1)
    error = max(abs(factor / exact - 1) for factor in factors.values())
    numbers = {
        "depth": depth,
        "units": units,
        "exact": exact,
        "error": error,
        "least": min(factors.values()),
        "most": max(factors.values()),
        "total": max(line[-1] for line in lines.values()),
        **{f"factor_{v:g}": factor for v, factor in factors.items()},
    }
    back = np.arange(depth - 1)
    measured = [
        pd.DataFrame({"series": f"variance {v:g}", "x": back, "y": line})
        for v, line in lines.items()
    ]
    law = pd.DataFrame({"series": "theory", "x": back, "y": exact**back})
    points = pd.concat([*measured, law])
    return result_of("batch_norm_explosion", numbers, error <= 0.05, points)


def _gradients_with_batch_norm(
    variance: float, depth: int, units: int, samples: int
) -> np.ndarray:
    """Squared gradients by the activations from the last hidden layer back, over it."""
    import keras

    from vgkeras.stacks import build_stack
    from vgkeras.tape import gradient_norms

    initializer = keras.initializers.VarianceScaling(
        variance, "fan_in", "untruncated_normal", seed=0
    )
    model = build_stack(
        depth,
        units,
        kernel_initializer=initializer,
        activation="relu",
        normalization="batch",
        seed=0,
    )
    x, y = np.random.default_rng(0).normal(size=(2, samples, units)).astype("float32")
    frame = gradient_norms(model, x, y, loss="mse")
    rows = frame[frame["kind"] == KINDS[2]]
    rows = rows[rows["name"].astype(str).str.startswith("activation_")]
    squares = 10.0 ** (2 * rows["log10_norm"].to_numpy()[::-1])
    return squares / squares[0]
