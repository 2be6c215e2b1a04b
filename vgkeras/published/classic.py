"""Results of 2013 to 2020 on plain stacks."""

from __future__ import annotations

import itertools
import math
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from vgkeras import theory
from vgkeras.logs import KINDS, GradientLog
from vgkeras.published.results import Result, result_of
from vgkeras.theory import make_data

if TYPE_CHECKING:
    from vgkeras.sweeps import Stack


def learning_time(
    scales: Sequence[float] = (0.5, 0.7, 0.9),
    depths: Sequence[int] = (2, 3, 4, 5, 8, 10),
    learning_rates: Sequence[float] = (0.005, 0.01, 0.02),
) -> Result:
    """Measures how long deep linear stacks learn, and how suddenly.

    It holds if all measured times, to half and to 1% of the loss, are within 1.05
    steps of the exact ones (a measured time is a whole number), and if the slowest
    run spends most of its time on losing the first 10%.

    Args:
        scales: Factors of the identity, below 1.
        depths: Numbers of layers.
        learning_rates: Learning rates; at width 2, each is the rate of a mode.

    Returns:
        A `Result`; its errors are in steps.
    """
    rate = min(learning_rates)
    times = [theory.steps_to_learn(s, d, rate=rate) for s in scales for d in depths]
    steps = math.ceil(max(times)) + 2
    log = _sweep(scales, depths, steps=steps, learning_rate=learning_rates)
    full = _steps_to(theory.LEARNED, log)
    slowest = _losses(log)[np.argmax(full)]
    plateau, most = _first_steps(slowest, [0.9 * slowest[0], 0.1 * slowest[0]])
    numbers = {
        "runs": len(log.runs),
        "error": _farthest(full, theory.LEARNED, log),
        "error_half": _farthest(_steps_to(0.5, log), 0.5, log),
        "longest": np.max(full),
        "plateau": plateau,
        "drop": most - plateau,
    }
    exact = max(numbers["error"], numbers["error_half"]) <= 1.05
    holds = exact and plateau > numbers["longest"] / 2
    run = log.runs.to_dict("records")[int(np.argmax(full))]
    return result_of("learning_time", numbers, holds, _plateau(run, slowest))


def _plateau(run: dict[str, Any], losses: np.ndarray) -> pd.DataFrame:
    """The loss of a run beside theory, relative to its start, at some steps."""
    scale, depth, rate = (run[key] for key in ("scale", "depth", "learning_rate"))
    path = theory.trajectory(scale, depth, rate=rate, steps=len(losses) - 1)
    exact = (path**depth - 1) ** 2
    at = np.unique(np.linspace(0, len(losses) - 1, 120).round().astype(int))
    parts = (("measured", losses / losses[0]), ("theory", exact / exact[0]))
    frames = [pd.DataFrame({"series": s, "x": at, "y": y[at]}) for s, y in parts]
    return pd.concat(frames)


def _sweep(
    scales: Sequence[float], depths: Sequence[int], **options: Any
) -> GradientLog:
    """Losses alone, in float64 unless said otherwise."""
    from vgkeras.sweeps import sweep

    defaults = {"every": None, "samples": 4, "dtype": "float64"}
    return sweep(scales, depths, **{**defaults, **options})


def _losses(log: GradientLog) -> np.ndarray:
    """Losses, shape `(runs, steps + 1)`."""
    return log.losses["loss"].to_numpy().reshape(len(log.runs), -1)


def _first_steps(losses: np.ndarray, allowed: Any) -> np.ndarray:
    """The first step with at most the loss allowed, `inf` if there is none."""
    below = losses <= np.asarray(allowed)[..., None]
    return np.where(below.any(axis=1), below.argmax(axis=1), np.inf)


def _steps_to(left: float, log: GradientLog) -> np.ndarray:
    """Steps until `left` of the loss is left: as in `theory.steps_to_learn`."""
    losses = _losses(log)
    return _first_steps(losses, left * np.minimum(losses[:, 0], log.runs["loss_zero"]))


def _farthest(steps: np.ndarray, left: float, log: GradientLog) -> float:
    """The largest difference of these steps to theory, at width 2."""
    runs = log.runs[["scale", "depth", "learning_rate"]].itertuples(index=False)
    exact = [theory.steps_to_learn(s, d, rate=r, fraction=left) for s, d, r in runs]
    return float(np.max(np.abs(steps - exact)))


def negative_eigenvalue(
    depths: Sequence[int] = (2, 3, 4, 5, 10, 20), steps: int = 10_000
) -> Result:
    """Trains stacks of identity kernels towards a definite and an indefinite map.

    The targets are `y = x / 2`, and `y = x` with one coordinate's sign changed; that
    coordinate's share of the loss of the zero map is the floor. It holds if all
    stacks learn the first, and none of three or more layers gets below the floor of
    the second. Two layers stand apart: the paper's proof is for exact arithmetic,
    and rounding errors grow there by `1 + learning_rate` a step.

    Args:
        depths: Numbers of layers, 2 among them.
        steps: Number of updates of each run.

    Returns:
        A `Result`; `lowest`, and `above` at the last step, are relative to the floor.
    """
    definite, indefinite = (
        _sweep([1.0], depths, steps=steps, learning_rate=0.02, target=target)
        for target in ("scaled", "negative")
    )
    floor = indefinite.runs["loss_zero"].to_numpy() / 2  # one of two coordinates
    ratios = _losses(indefinite) / floor[:, None]
    deep = indefinite.runs["depth"].to_numpy() > 2
    numbers = {
        "runs": deep.sum(),
        "steps": steps,
        "learned": _steps_to(theory.LEARNED, definite).max(),
        "lowest": ratios[deep].min(),
        "above": ratios[deep, -1].max() - 1,
        "escaped": min(_first_steps(ratios[~deep], 0.5).min(), steps),
    }
    holds = np.isfinite(numbers["learned"]) and numbers["lowest"] >= 1
    at = np.unique(np.geomspace(1, steps, 60).round().astype(int))
    points = pd.concat(
        pd.DataFrame({"series": f"{depth} layers", "x": at, "y": ratio[at]})
        for depth, ratio in zip(indefinite.runs["depth"], ratios, strict=True)
    )
    return result_of("negative_eigenvalue", numbers, holds, points)


def _run(
    stacks: list[Stack], steps: int, activation: str = "linear", optimizer: str = "sgd"
) -> np.ndarray:
    """The first loss, the last, and that of the zero map, shape `(3, runs)`."""
    from vgkeras.sweeps import Recipe, compiled_optimizer, run_stacks

    recipe = Recipe(activation, optimizer=compiled_optimizer(optimizer))
    traces = run_stacks(stacks, steps=steps, logged_steps=[], recipe=recipe)
    ends = [
        (*trace.losses[[0, -1]], np.mean(stack.y**2))
        for trace, stack in zip(traces, stacks, strict=True)
    ]
    return np.array(ends).T


def _stacks(
    initializer: Any,
    rates: Mapping[int, float],
    units: int,
    seeds: int,
    inputs: int = 4,
    gain: float = 1.0,
) -> list[Stack]:
    """A stack for each seed and depth, to learn a map from few inputs to 2 outputs.

    `rates` holds the learning rate of each depth; the stacks of a seed share their
    first layers and their 16 samples. Inputs beyond the few are 0; times `gain`, all
    have a mean square of 1. The last kernel is multiplied by `gain`.
    """
    from vgkeras.stacks import initial_kernels
    from vgkeras.sweeps import Stack

    stacks = []
    for seed in range(seeds):
        x, y = make_data("teacher", inputs, 16, output_units=2, seed=seed)
        x = np.pad(x * math.sqrt(units / inputs) / gain, [(0, 0), (0, units - inputs)])
        start = {"kernel_initializer": initializer, "output_units": 2, "seed": seed}
        *hidden, last = initial_kernels(max(rates), units, **start)
        last = last * np.float32(gain)
        for depth, rate in rates.items():
            stacks.append(Stack([*hidden[: depth - 1], last], x, y, rate))
    return stacks


def he_against_xavier(
    depth: int = 30, units: int = 64, steps: int = 400, seeds: int = 5
) -> Result:
    """Trains a rectifier network from Xavier's (Glorot's) and from He's kernels.

    The task is a linear map from 4 inputs to 2 outputs; the optimizer is gradient
    descent with momentum, as in the paper. It holds if from He's kernels every run
    trains and from Xavier's none loses 1% of its loss. Adam, which the paper did not
    have, is tried from Xavier's kernels too: its step does not shrink with the
    gradient. It has no part in the criterion.

    Args:
        depth: Number of layers.
        units: Width of the hidden layers.
        steps: Number of updates of each run.
        seeds: Number of runs from each kind of kernels.

    Returns:
        A `Result`; `he_left` is the largest share of the loss of the zero map that
        is left, `xavier_lost` the largest share of a first loss that is lost,
        `gradient` the median ratio of the first layer's gradients, Xavier's to He's.
    """
    he, xavier = (
        _stacks(initializer, {depth: 0.001}, units, seeds)
        for initializer in ("he_normal", "glorot_normal")
    )
    _, he_last, zero = _run(he, steps, "relu", "momentum")
    first, last, _ = _run(xavier, steps, "relu", "momentum")
    _, adam_last, _ = _run(xavier, steps, "relu", "adam")
    he_left = he_last / zero
    gradients = _log10_gradients(xavier) - _log10_gradients(he)
    numbers = {
        "depth": depth,
        "steps": steps,
        "runs": seeds,
        "he_trained": np.sum(he_left <= theory.LEARNED),
        "he_left": np.max(he_left),
        "xavier_lost": 1 - np.min(last / first),
        "gradient": 10 ** np.median(gradients),
        "adam_left": np.median(adam_last / zero),
    }
    holds = numbers["he_trained"] == seeds and numbers["xavier_lost"] < 0.01
    parts = (
        ("He, momentum", he_left),
        ("Xavier, momentum", last / zero),
        ("Xavier, Adam", adam_last / zero),
    )
    points = pd.concat(
        pd.DataFrame({"series": name, "x": np.arange(1, seeds + 1), "y": left})
        for name, left in parts
    )
    return result_of("he_against_xavier", numbers, holds, points)


def _log10_gradients(stacks: list[Stack]) -> np.ndarray:
    """Norms of the first kernel's gradient of rectifier networks at the start."""
    from vgkeras.sweeps import Recipe, run_stacks

    traces = run_stacks(stacks, steps=1, logged_steps=[0], recipe=Recipe("relu"))
    return np.array([trace.statistics[0, 0, 0, 0] for trace in traces])


def depth_scale(
    variances: Sequence[float] = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0),
    depth: int = 50,
    units: int = 256,
    trained_variances: Sequence[float] = (0.5, 0.7, 0.8, 0.9),
) -> Result:
    """Measures the factor per layer of the gradients of random tanh networks.

    The factor is that of the squared gradient of the activations, from the layer
    before the last back to layer 5, at the start; `theory.mean_field` gives it for an
    infinite width. The depth scale is the inverse of its logarithm in a deep network,
    below variance 1 `1 / -ln(variance)`. Stacks of 6 to 112 layers are then trained
    to find the deepest that learns half of a task.

    It holds if the logarithms are within 0.01 of theory, gradients vanish below
    variance 1 and explode above, and the deepest stack that learns is the same
    multiple of the depth scale to a factor of 2. The networks have no biases.

    Args:
        variances: Of a kernel entry, times `units`; 1 is critical.
        depth: Number of layers.
        units: Width.
        trained_variances: Of the stacks to train, below 1.

    Returns:
        A `Result`; `measured_v` and `theory_v` are natural logarithms per layer for
        the variance `v`, `trained_v` are layers.
    """
    growth = {v: _growth(v, depth, units) for v in variances}
    exact = {v: _mean_field_growth(v, depth) for v in variances}
    layers = _deepest_that_learn(trained_variances)
    scales = [n * -math.log(v) for v, n in layers.items()]
    least, most = min(variances), max(variances)
    numbers = {
        "units": units,
        "runs": len(growth),
        "error": max(abs(growth[v] - exact[v]) for v in variances),
        "least": least,
        "most": most,
        "fall": math.exp(growth[least]),
        "rise": math.exp(growth[most]),
        **{f"measured_{v:g}": growth[v] for v in variances},
        **{f"theory_{v:g}": exact[v] for v in variances},
        **{f"trained_{v:g}": n for v, n in layers.items()},
        "shallow": min(scales),
        "deep": max(scales),
    }
    signs = all((growth[v] > 0) == (v > 1) for v in variances)
    near = numbers["error"] <= 0.01 and 0 < max(scales) <= 2 * min(scales)
    listed = ", ".join(f"{n} layers at variance {v:g}" for v, n in layers.items())
    points = growth_points(numbers)
    return result_of("depth_scale", numbers, signs and near, points, listed=listed)


def growth_points(numbers: dict[str, Any]) -> pd.DataFrame:
    """The factors of `depth_scale` by variance, from its numbers."""
    parts = [
        (kind, float(key.removeprefix(f"{kind}_")), math.exp(value))
        for kind in ("measured", "theory")
        for key, value in numbers.items()
        if key.startswith(f"{kind}_")
    ]
    return pd.DataFrame(parts, columns=["series", "x", "y"])


_FIRST = 5  # layer that `depth_scale` goes back to
_DEPTHS = (6, 8, 11, 15, 20, 28, 40, 56, 80, 112)  # of the stacks that it trains


def _growth(variance: float, depth: int, units: int) -> float:
    """Natural logarithm of the growth of the squared gradient, per layer backwards."""
    start = {"kernel_initializer": _gaussian(variance), "activation": "tanh"}
    frame, _ = _gradient_norms(depth, units, **start)
    norms = frame.loc[frame["kind"] == KINDS[2], "log10_norm"].to_numpy()
    growth = 2 * math.log(10) * (norms[_FIRST - 1] - norms[depth - 2])
    return growth / (depth - 1 - _FIRST)


def _gradient_norms(
    depth: int, units: int, **start: Any
) -> tuple[pd.DataFrame, dict[str, float]]:
    """One tape pass through a real Keras model, and the seconds that it takes."""
    from vgkeras.stacks import build_stack
    from vgkeras.tape import gradient_norms

    x, y = make_data("teacher", units, units, seed=0)
    times = [time.perf_counter()]
    model = build_stack(depth, units, **start, seed=0)
    times.append(time.perf_counter())
    frame = gradient_norms(model, x.astype("float32"), y.astype("float32"), loss="mse")
    times.append(time.perf_counter())
    return frame, dict(zip(("build", "tape"), np.diff(times), strict=True))


def _mean_field_growth(variance: float, depth: int) -> float:
    """The same by mean-field theory."""
    _, factors = theory.mean_field("tanh", depth - 1, variance, q0=variance)
    return float(np.mean(np.log(factors[_FIRST:])))


def _deepest_that_learn(variances: Sequence[float]) -> dict[float, int]:
    """The deepest stack whose median run, of three, learns half of its task; or 0."""
    rates = dict.fromkeys(_DEPTHS, 0.01)
    stacks = [_stacks(_gaussian(v), rates, units=32, seeds=3) for v in variances]
    _, last, zero = _run(list(itertools.chain(*stacks)), 200, "tanh")
    left = (last / zero).reshape(len(variances), -1, len(_DEPTHS))
    layers = np.where(np.median(left, axis=1) <= 0.5, _DEPTHS, 0).max(axis=1)
    return dict(zip(variances, layers.tolist(), strict=True))


def _gaussian(variance: float) -> Any:
    """An initializer of kernels whose entries have this variance over the width."""
    import keras

    return keras.initializers.VarianceScaling(
        variance, "fan_in", "untruncated_normal", seed=0
    )


def orthogonal_against_gaussian(
    widths: Sequence[int] = (4, 8, 16, 32, 64),
    depths: Sequence[int] = (4, 16, 64),
    steps: int = 150,
    seeds: int = 8,
) -> Result:
    """Trains linear stacks of many widths and depths from both kinds of kernels.

    As in the paper, data are narrower than the stacks (2 inputs and outputs), the
    outputs start as large as the inputs, and the learning rate is inverse to depth.
    It holds if orthogonal kernels train at least half of the runs at every width and
    depth, while the smallest width at which Gaussian kernels do so grows with every
    depth.

    Args:
        widths: Widths of the hidden layers.
        depths: Numbers of layers.
        steps: Number of updates of each run.
        seeds: Number of runs of each width, depth and kind.

    Returns:
        A `Result`; `orthogonal_w_d` and `gaussian_w_d` are the shares of runs that
        train at width `w` and depth `d`, `width_d` the smallest width at which half
        of the Gaussian runs do (0: at none of them).
    """
    shares = {
        f"{kind}_{units}_{depth}": share
        for units in widths
        for kind in ("orthogonal", "gaussian")
        for depth, share in _shares_that_train(kind, units, depths, steps, seeds)
    }
    enough = {
        depth: [w for w in widths if shares[f"gaussian_{w}_{depth}"] >= 0.5]
        for depth in sorted(depths)
    }
    needed = {depth: min(enough[depth], default=0) for depth in enough}
    numbers = {
        "least": min(shares[key] for key in shares if key.startswith("orthogonal")),
        "narrowest": min(widths),
        "deepest": max(depths),
        **{f"width_{depth}": width for depth, width in needed.items()},
        **shares,
    }
    order = [width or math.inf for width in needed.values()]
    listed = ", ".join(
        f"{width or f'over {max(widths)}'} at depth {depth}"
        for depth, width in needed.items()
    )
    holds = order == sorted(set(order)) and numbers["least"] >= 0.5
    points = share_points(shares)
    name = "orthogonal_against_gaussian"
    return result_of(name, numbers, holds, points, listed=listed)


def share_points(numbers: dict[str, float]) -> pd.DataFrame:
    """The shares of `orthogonal_against_gaussian` by width, from its numbers."""
    rows = [
        (f"{kind}, {depth} layers", float(width), share)
        for key, share in numbers.items()
        if key.startswith(("orthogonal_", "gaussian_"))
        for kind, width, depth in [key.split("_")]
    ]
    return pd.DataFrame(rows, columns=["series", "x", "y"])


def _shares_that_train(
    kind: str, units: int, depths: Sequence[int], steps: int, seeds: int
) -> list[tuple[int, float]]:
    """Share of runs that train, by depth."""
    initializer = "orthogonal" if kind == "orthogonal" else _gaussian(1.0)
    rates = {depth: 0.2 / (units * depth) for depth in depths}
    gain = math.sqrt(units / 2)  # the outputs start as large as the inputs
    ends = _run(_stacks(initializer, rates, units, seeds, inputs=2, gain=gain), steps)
    train = theory.outcomes_by_loss(*ends) == "trains"
    shares = train.reshape(seeds, -1).mean(axis=0)
    return list(zip(depths, shares.tolist(), strict=True))


def ten_thousand_layers(depth: int = 10_000, units: int = 16) -> Result:
    """Sends one tape pass through an orthogonal linear stack, and trains one.

    The real Keras model is built and differentiated once. All norms of a kind are
    equal in exact arithmetic; how far apart they are, relative, is rounding. A stack
    of the same depth and 8 units is then trained for 100 steps. It holds if the norms
    differ by at most `depth` roundings of float32 (linear growth), and the stack
    trains.

    Args:
        depth: Number of layers.
        units: Width of the Keras model.

    Returns:
        A `Result`; `weight_gradient`, `activation` and `activation_gradient` are the
        largest relative differences of two layers' norms, `roundings` the largest
        over half an epsilon, `megabytes` the most that this process has held.
    """
    frame, seconds = _gradient_norms(depth, units, kernel_initializer="orthogonal")
    norms = frame["log10_norm"].groupby(frame["kind"]).agg(["min", "max"])
    spread = np.expm1(math.log(10) * (norms["max"] - norms["min"])).to_dict()
    task = {"units": 8, "output_units": 2, "samples": 8, "target": "teacher"}
    options = {**task, "steps": 100, "learning_rate": 0.1 / depth, "dtype": "float32"}
    log = _sweep([], [depth], initializers=["orthogonal"], **options)
    numbers = {
        "depth": depth,
        **spread,
        "most": max(spread.values()),
        "roundings": max(spread.values()) * 2**24,
        "steps": 100,
        "left": _losses(log)[0, -1] / log.runs["loss_zero"][0],
        **seconds,
        "megabytes": _most_megabytes(),
    }
    holds = numbers["roundings"] <= depth and log.runs["outcome"][0] == "trains"
    return result_of("ten_thousand_layers", numbers, holds, _flat_lines(frame))


def _flat_lines(frame: pd.DataFrame) -> pd.DataFrame:
    """Norms relative to the first of their kind: parts per million above it."""
    parts = []
    for kind, own in frame.groupby("kind", observed=True, sort=False):
        norms = own.sort_values("layer", kind="stable")["log10_norm"].to_numpy()
        at = np.unique(np.linspace(0, len(norms) - 1, 60).round().astype(int))
        more = 1e6 * np.expm1(math.log(10) * (norms[at] - norms[0]))
        name = str(kind).replace("_", " ")
        parts.append(pd.DataFrame({"series": name, "x": at + 1, "y": more}))
    return pd.concat(parts)


def _most_megabytes() -> float:
    """The most memory that this process has held, TensorFlow included."""
    import resource  # Unix only

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**20 if sys.platform == "darwin" else 2**10)
