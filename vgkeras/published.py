"""Published results on trainability, measured again: `python -m vgkeras.published`.

A function per paper. Each runs an experiment of seconds, with fixed seeds, and returns
a `Finding`: what is claimed, what was measured, and whether that supports the claim by
a criterion that the function's docstring states. `load` reads recorded findings, and
like the whole module it does so without TensorFlow.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec

import numpy as np

from vgkeras import theory
from vgkeras._checks import check_each, check_option
from vgkeras.logs import KINDS, GradientLog, versions
from vgkeras.theory import make_data


class _Paper(NamedTuple):
    source: str
    url: str
    claim: str
    measured: str  # with a finding's numbers to be filled in


_PAPERS = {
    "learning_time": _Paper(
        "Saxe, McClelland & Ganguli 2013",
        "https://arxiv.org/abs/1312.6120",
        "A deep linear network rests on a long plateau, then learns all at once. The "
        "time that this takes is an integral in closed form.",
        "In {runs:.0f} runs the time to learn is within {error:.2f} steps of theory, "
        "the time to half the loss within {error_half:.2f}. The slowest run of "
        "{longest:,.0f} steps needs {plateau:,.0f} for the first 10% of its loss and "
        "{drop:,.0f} for the next 80%.",
    ),
    "negative_eigenvalue": _Paper(
        "Bartlett, Helmbold & Long 2018",
        "https://arxiv.org/abs/1802.06093",
        "From identity kernels, gradient descent learns a symmetric map if all its "
        "eigenvalues are positive. If one is negative, it never does.",
        "The positive map is learned within {learned:.0f} steps at every depth. Of the "
        "map with an eigenvalue of -1, that direction's share of the loss stays: in "
        "{steps:,.0f} steps all {runs:.0f} stacks of 3 and more layers come within "
        "{above:.2%} of it, none below. Two layers rest there too, until rounding "
        "errors free them at step {escaped:,.0f}.",
    ),
    "he_against_xavier": _Paper(
        "He, Zhang, Ren & Sun 2015",
        "https://arxiv.org/abs/1502.01852",
        "With Xavier's initial kernels a convolutional rectifier network of 30 layers "
        "stalls. With twice the variance it converges.",
        "{depth:.0f} dense layers, {steps:.0f} steps with momentum: from He's kernels "
        "{he_trained:.0f} of {runs:.0f} runs train, from Xavier's none loses more than "
        "{xavier_lost:.0e} of its loss: the first layer's gradient is {gradient:.0e} "
        "times that of He. Adam moves Xavier's too, the median run to {adam_left:.0%} "
        "of the loss.",
    ),
    "depth_scale": _Paper(
        "Schoenholz, Gilmer, Ganguli & Sohl-Dickstein 2017",
        "https://arxiv.org/abs/1611.01232",
        "In a wide random tanh network gradients vanish or explode by a constant "
        "factor per layer, which mean-field theory gives. Between the two lies a "
        "critical variance of the kernels. A network trains if it is not much deeper "
        "than the depth scale that this sets.",
        "Width {units:.0f}: back through a layer the squared gradient changes by a "
        "factor of {fall:.3f} (variance {least:g}) to {rise:.3f} ({most:g}), its "
        "logarithm at {runs:.0f} variances within {error:.3f} of mean-field theory. "
        "The deepest stacks that learn have {listed}: {shallow:.1f} to {deep:.1f} "
        "depth scales.",
    ),
    "orthogonal_against_gaussian": _Paper(
        "Hu, Xiao & Pennington 2020",
        "https://arxiv.org/abs/2001.05992",
        "To train a deep linear network, orthogonal kernels need a width that does not "
        "depend on depth. Gaussian kernels need a width that grows with it.",
        "Orthogonal kernels train at least {least:.0%} of the runs at every width from "
        "{narrowest:.0f} and every depth to {deepest:.0f}. The smallest width at which "
        "Gaussian kernels train half of them is {listed}.",
    ),
    "ten_thousand_layers": _Paper(
        "Xiao, Bahri, Sohl-Dickstein, Schoenholz & Pennington 2018",
        "https://arxiv.org/abs/1806.05393",
        "Orthogonal kernels alone, without shortcuts or normalization, let signals and "
        "gradients through ten thousand convolutional layers, and such networks train.",
        "Over {depth:,.0f} linear dense layers no norm of an activation or gradient "
        "differs from another of its kind by more than {most:.0e}, {roundings:.0f} "
        "roundings of float32. Built in {build:.0f} s, one tape pass in {tape:.0f} s, "
        "at most {megabytes:,.0f} MB. A stack of this depth trains: {steps:.0f} steps "
        "leave {left:.0e} of the loss.",
    ),
}
NAMES = tuple(_PAPERS)
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(101)  # for means over N(0, 1)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


class Finding(NamedTuple):
    """Holds one published result and what came out of measuring it again.

    Args:
        name: Name of the function that measures it.
        source: Authors and year.
        url: Where the paper is.
        claim: What it says, in our words.
        measured: What we measured, in a sentence or two made from `numbers`.
        numbers: What was measured and, where it says so, what theory gives.
        holds: Whether this supports the claim, by the function's criterion.
        seconds: Time that the measurement took, compilation included.
    """

    name: str
    source: str
    url: str
    claim: str
    measured: str
    numbers: dict[str, float]
    holds: bool
    seconds: float


_Arguments = ParamSpec("_Arguments")


def _timed(measure: Callable[_Arguments, Finding]) -> Callable[_Arguments, Finding]:
    """Writes the time it took into the finding."""

    @functools.wraps(measure)
    def timed(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> Finding:
        start = time.perf_counter()
        finding = measure(*args, **kwargs)
        return finding._replace(seconds=time.perf_counter() - start)

    return timed


def _finding(name: str, numbers: dict[str, Any], holds: Any, **words: str) -> Finding:
    """Fills the numbers, and words made from them, into the sentence."""
    plain = {key: float(value) for key, value in numbers.items()}
    source, url, claim, sentence = _PAPERS[name]
    told = sentence.format(**plain, **words)
    return Finding(name, source, url, claim, told, plain, bool(holds), seconds=0.0)


@_timed
def learning_time(
    scales: Sequence[float] = (0.5, 0.7, 0.9),
    depths: Sequence[int] = (2, 3, 4, 5, 8, 10),
    learning_rates: Sequence[float] = (0.005, 0.01, 0.02),
) -> Finding:
    """Measures how long deep linear stacks learn, and how suddenly.

    It holds if all measured times, to half and to 1% of the loss, are within 1.05
    steps of the exact ones (a measured time is a whole number), and if the slowest
    run spends most of its time on losing the first 10%.

    Args:
        scales: Factors of the identity, below 1.
        depths: Numbers of layers.
        learning_rates: Learning rates; at width 2, each is the rate of a mode.

    Returns:
        A `Finding`; its errors are in steps.

    Reference:
        [Saxe et al., 2013](https://arxiv.org/abs/1312.6120).
    """
    from vgkeras.sweeps import sweep

    rate = min(learning_rates)
    times = [theory.steps_to_learn(s, d, rate=rate) for s in scales for d in depths]
    log = sweep(
        scales,
        depths,
        steps=math.ceil(max(times)) + 2,
        learning_rate=learning_rates,
        every=None,
        samples=4,
        dtype="float64",
    )
    full, half = (_times_to(left, log) for left in (theory.LEARNED, 0.5))
    numbers = {
        "runs": len(log.runs),
        "error": np.max(np.abs(full[0] - full[1])),
        "error_half": np.max(np.abs(half[0] - half[1])),
        "longest": np.max(full[0]),
        **_plateau(_losses(log)[np.argmax(full[0])]),
    }
    exact = max(numbers["error"], numbers["error_half"]) <= 1.05
    holds = exact and numbers["plateau"] > numbers["longest"] / 2
    return _finding("learning_time", numbers, holds)


def _plateau(losses: np.ndarray) -> dict[str, int]:
    """Steps until a tenth of the loss is lost, and from there to a tenth left."""
    lost, left = (int(np.argmax(losses <= part * losses[0])) for part in (0.9, 0.1))
    return {"plateau": lost, "drop": left - lost}


def _losses(log: GradientLog) -> np.ndarray:
    """Losses, shape `(runs, steps + 1)`."""
    return log.losses["loss"].to_numpy().reshape(len(log.runs), -1)


def _steps_until(left: float, losses: np.ndarray, zero: Any) -> np.ndarray:
    """First step with at most `left` of the loss, `inf` if there is none.

    As in `theory.steps_to_learn`, of the first loss or of that of the zero map.
    """
    allowed = left * np.minimum(losses[:, 0], zero)
    reached = losses <= allowed[:, None]
    return np.where(reached.any(axis=1), reached.argmax(axis=1), np.inf)


def _times_to(left: float, log: GradientLog) -> tuple[np.ndarray, np.ndarray]:
    """The steps until `left` of the loss is left, measured and by theory."""
    measured = _steps_until(left, _losses(log), log.runs["loss_zero"].to_numpy())
    expected = [
        theory.steps_to_learn(
            run.scale,
            run.depth,
            rate=run.learning_rate * 2 / run.output_units,
            fraction=left,
        )
        for run in log.runs.itertuples()
    ]
    return measured, np.array(expected)


@_timed
def negative_eigenvalue(
    depths: Sequence[int] = (2, 3, 4, 5, 10, 20), steps: int = 10_000
) -> Finding:
    """Trains stacks of identity kernels towards a definite and an indefinite map.

    The targets are `y = x / 2`, and `y = x` with one coordinate's sign changed; that
    coordinate's share of the loss of the zero map is the floor. It holds if all
    stacks learn the first, and none of three or more layers gets below the floor of
    the second. Two layers are told apart: the paper's proof is for exact arithmetic,
    and rounding errors grow there by `1 + learning_rate` a step.

    Args:
        depths: Numbers of layers, 2 among them.
        steps: Number of updates of each run.

    Returns:
        A `Finding`; `lowest`, and `above` at the last step, are relative to the
        floor.

    Reference:
        [Bartlett et al., 2018](https://arxiv.org/abs/1802.06093).
    """
    definite, indefinite = (
        _from_identities(target, depths, steps) for target in ("scaled", "negative")
    )
    zero = definite.runs["loss_zero"].to_numpy()
    learned = _steps_until(theory.LEARNED, _losses(definite), zero)
    floor = indefinite.runs["loss_zero"].to_numpy() / 2  # one of two coordinates
    ratios = _losses(indefinite) / floor[:, None]
    deep = indefinite.runs["depth"].to_numpy() > 2
    numbers = {
        "runs": deep.sum(),
        "steps": steps,
        "learned": learned.max(),
        "lowest": ratios[deep].min(),
        "above": ratios[deep, -1].max() - 1,
        "escaped": min(_steps_until(0.5, ratios[~deep], 1.0).min(), steps),
    }
    holds = np.isfinite(numbers["learned"]) and numbers["lowest"] >= 1
    return _finding("negative_eigenvalue", numbers, holds)


def _from_identities(target: str, depths: Sequence[int], steps: int) -> GradientLog:
    from vgkeras.sweeps import sweep

    return sweep(
        [1.0],
        depths,
        steps=steps,
        learning_rate=0.02,
        target=target,
        every=None,
        samples=4,
        dtype="float64",
    )


@_timed
def he_against_xavier(
    depth: int = 30, units: int = 64, steps: int = 400, seeds: int = 5
) -> Finding:
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
        A `Finding`; `he_left` is the largest share of the loss of the zero map that
        is left, `xavier_lost` the largest share of a first loss that is lost,
        `gradient` the median ratio of the first layer's gradients, Xavier's to He's.

    Reference:
        [He et al., 2015](https://arxiv.org/abs/1502.01852).
    """
    he = _Rectifiers("he_normal", depth, units, seeds)
    xavier = _Rectifiers("glorot_normal", depth, units, seeds)
    he_left, _ = he.left("momentum", steps)
    _, xavier_left = xavier.left("momentum", steps)
    adam_left, _ = xavier.left("adam", steps)
    numbers = {
        "depth": depth,
        "steps": steps,
        "runs": seeds,
        "he_trained": np.sum(he_left <= theory.LEARNED),
        "he_left": np.max(he_left),
        "xavier_lost": 1 - np.min(xavier_left),
        "gradient": 10 ** np.median(xavier.log10_gradient() - he.log10_gradient()),
        "adam_left": np.median(adam_left),
    }
    holds = numbers["he_trained"] == seeds and numbers["xavier_lost"] < 0.01
    return _finding("he_against_xavier", numbers, holds)


class _Rectifiers(NamedTuple):
    """Rectifier networks on a task of their own, one per seed."""

    initializer: str
    depth: int
    units: int
    seeds: int

    def data(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        return _narrow("teacher", 4, 2, self.units, seed)

    def start(self, seed: int) -> dict[str, Any]:
        """The arguments of `initial_kernels`, which `build_stack` takes too."""
        return {
            "depth": self.depth,
            "units": self.units,
            "kernel_initializer": self.initializer,
            "output_units": 2,
            "seed": seed,
        }

    def left(self, optimizer: str, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Trains them; what is left of the zero map's and of their own first loss."""
        from vgkeras.stacks import initial_kernels
        from vgkeras.sweeps import Recipe, Stack, rule_of, run_stacks

        stacks = []
        for seed in range(self.seeds):
            kernels = initial_kernels(**self.start(seed))
            stacks.append(Stack(kernels, *self.data(seed), learning_rate=0.001))
        recipe = Recipe("relu", rule=rule_of(optimizer))
        traces = run_stacks(stacks, steps=steps, logged_steps=[], recipe=recipe)
        zeros = [np.mean(stack.y**2) for stack in stacks]
        first, last = np.array([trace.losses[[0, -1]] for trace in traces]).T
        return last / zeros, last / first

    def log10_gradient(self) -> np.ndarray:
        """Norms of the first kernel's gradient at the start, base-10 logarithms."""
        from vgkeras.stacks import build_stack
        from vgkeras.tape import gradient_norms

        found = []
        for seed in range(self.seeds):
            model = build_stack(**self.start(seed), activation="relu")
            data = (table.astype("float32") for table in self.data(seed))
            found.append(gradient_norms(model, *data)["log10_norm"][0])
        return np.array(found)


def _narrow(
    target: str, inputs: int, outputs: int, units: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """16 samples of data with few inputs for wide stacks: the other inputs are 0.

    The entries have a mean square of 1 over all `units`.
    """
    x, y = make_data(target, inputs, 16, output_units=outputs, seed=seed)
    wide = np.zeros((len(x), units))
    wide[:, :inputs] = x * math.sqrt(units / inputs)
    return wide, y


@_timed
def depth_scale(
    variances: Sequence[float] = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0),
    depth: int = 50,
    units: int = 256,
    trained_variances: Sequence[float] = (0.5, 0.7, 0.8, 0.9),
) -> Finding:
    """Measures the factor per layer of the gradients of random tanh networks.

    The factor is that of the squared gradient of the activations, from the layer
    before the last back to layer 5, at the start. Mean-field theory gives it from the
    variance of the pre-activations, `q <- variance * E tanh(sqrt(q) z)**2`, as
    `variance * E sech(sqrt(q) z)**4`. The depth scale is the inverse of its logarithm
    in a deep network, below variance 1 `1 / -ln(variance)`. Stacks of 6 to 112 layers
    are then trained to find the deepest that learns half of a task.

    It holds if the logarithms are within 0.01 of theory, gradients vanish below
    variance 1 and explode above, and the deepest stack that learns is the same
    multiple of the depth scale to a factor of 2. The networks have no biases.

    Args:
        variances: Of a kernel entry, times `units`; 1 is critical.
        depth: Number of layers.
        units: Width; the theory is that of an infinite one.
        trained_variances: Of the stacks to train, below 1.

    Returns:
        A `Finding`; `measured_v` and `theory_v` are natural logarithms per layer for
        the variance `v`, `trained_v` are layers.

    Reference:
        [Schoenholz et al., 2017](https://arxiv.org/abs/1611.01232).
    """
    measured = {v: _measured_growth(v, depth, units) for v in variances}
    expected = {v: _expected_growth(v, depth) for v in variances}
    least, most = min(variances), max(variances)
    numbers = {
        "units": units,
        "runs": len(measured),
        "error": max(abs(measured[v] - expected[v]) for v in variances),
        "least": least,
        "most": most,
        "fall": math.exp(measured[least]),
        "rise": math.exp(measured[most]),
        **{f"measured_{v:g}": measured[v] for v in variances},
        **{f"theory_{v:g}": expected[v] for v in variances},
    }
    trained = _deepest_trained(trained_variances)
    scales = [trained[v] * -math.log(v) for v in trained_variances]
    numbers |= {f"trained_{v:g}": layers for v, layers in trained.items()}
    numbers |= {"shallow": min(scales), "deep": max(scales)}
    signs = all((measured[v] > 0) == (v > 1) for v in variances)
    near = numbers["error"] <= 0.01 and 0 < max(scales) <= 2 * min(scales)
    listed = ", ".join(f"{n} layers at variance {v:g}" for v, n in trained.items())
    return _finding("depth_scale", numbers, signs and near, listed=listed)


_FIRST = 5  # layer that `depth_scale` goes back to
_DEPTHS = (6, 8, 11, 15, 20, 28, 40, 56, 80, 112)  # of the stacks that it trains


def _measured_growth(variance: float, depth: int, units: int) -> float:
    """Natural logarithm of the growth of the squared gradient, per layer backwards."""
    from vgkeras.stacks import build_stack
    from vgkeras.tape import gradient_norms

    initializer = _gaussian(variance)
    model = build_stack(
        depth, units, kernel_initializer=initializer, activation="tanh", seed=0
    )
    x, y = make_data("teacher", units, units, seed=0)
    frame = gradient_norms(model, x.astype("float32"), y.astype("float32"))
    norms = frame.loc[frame["kind"] == KINDS[2], "log10_norm"].to_numpy()
    growth = 2 * math.log(10) * (norms[_FIRST - 1] - norms[depth - 2])
    return growth / (depth - 1 - _FIRST)


def _deepest_trained(variances: Sequence[float]) -> dict[float, int]:
    """The deepest stack whose median run, of three, learns half of its task; or 0."""
    from vgkeras.stacks import initial_kernels
    from vgkeras.sweeps import Recipe, Stack, run_stacks

    stacks, units, seeds = [], 32, 3
    for variance in variances:
        for seed in range(seeds):
            x, y = _narrow("teacher", 4, 2, units, seed)
            *hidden, last = initial_kernels(
                max(_DEPTHS),
                units,
                kernel_initializer=_gaussian(variance),
                output_units=2,
                seed=seed,
            )
            stacks += [Stack([*hidden[: d - 1], last], x, y, 0.01) for d in _DEPTHS]
    traces = run_stacks(stacks, steps=200, logged_steps=[], recipe=Recipe("tanh"))
    left = [
        trace.losses[-1] / np.mean(stack.y**2)
        for trace, stack in zip(traces, stacks, strict=True)
    ]
    middle = np.median(np.reshape(left, (-1, seeds, len(_DEPTHS))), axis=1)
    layers = np.where(middle <= 0.5, _DEPTHS, 0).max(axis=1)
    return dict(zip(variances, layers.tolist(), strict=True))


def _gaussian(variance: float) -> Any:
    """An initializer of kernels whose entries have this variance over the width."""
    import keras

    return keras.initializers.VarianceScaling(
        variance, "fan_in", "untruncated_normal", seed=0
    )


def _expected_growth(variance: float, depth: int) -> float:
    """The same by mean-field theory."""
    q, logs = variance, []
    for _ in range(1, depth):
        signal = math.sqrt(q) * _NODES
        slopes = np.sum(_WEIGHTS * np.cosh(signal) ** -4.0)
        logs.append(math.log(variance * slopes))
        q = variance * float(np.sum(_WEIGHTS * np.tanh(signal) ** 2))
    return float(np.mean(logs[_FIRST:]))


@_timed
def orthogonal_against_gaussian(
    widths: Sequence[int] = (4, 8, 16, 32, 64),
    depths: Sequence[int] = (4, 16, 64),
    steps: int = 150,
    seeds: int = 8,
) -> Finding:
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
        A `Finding`; `orthogonal_w_d` and `gaussian_w_d` are the shares of runs that
        train at width `w` and depth `d`, `width_d` the smallest width at which half
        of the Gaussian runs do (0: at none of them).

    Reference:
        [Hu et al., 2020](https://arxiv.org/abs/2001.05992).
    """
    shares: dict[str, float] = {}
    for units in widths:
        for kind in ("orthogonal", "gaussian"):
            found = _trained_shares(kind, units, depths, steps, seeds)
            shares |= {f"{kind}_{units}_{d}": share for d, share in found.items()}
    needed = {}
    for depth in sorted(depths):
        enough = [w for w in widths if shares[f"gaussian_{w}_{depth}"] >= 0.5]
        needed[depth] = min(enough, default=0)
    numbers = {
        "least": min(shares[key] for key in shares if key.startswith("orthogonal")),
        "narrowest": min(widths),
        "deepest": max(depths),
        **{f"width_{depth}": width for depth, width in needed.items()},
        **shares,
    }
    order = [width or math.inf for width in needed.values()]
    grows = all(a < b for a, b in itertools.pairwise(order))
    listed = ", ".join(
        f"{width or f'over {max(widths)}'} at depth {depth}"
        for depth, width in needed.items()
    )
    holds = grows and numbers["least"] >= 0.5
    return _finding("orthogonal_against_gaussian", numbers, holds, listed=listed)


def _trained_shares(
    kind: str, units: int, depths: Sequence[int], steps: int, seeds: int
) -> dict[int, float]:
    """Share of runs that train, by depth."""
    from vgkeras.sweeps import Stack, run_stacks

    stacks, outputs = [], 2
    for seed in range(seeds):
        x, y = _narrow("teacher", outputs, outputs, units, seed)
        x = x * math.sqrt(outputs / units)  # the outputs are to start as large as this
        hidden, last = _drawn(kind, units, max(depths), outputs, seed)
        for depth in depths:
            rate = 0.05 * outputs**2 / (units * depth)
            stacks.append(Stack([*hidden[: depth - 1], last], x, y, rate))
    traces = run_stacks(stacks, steps=steps, logged_steps=[])
    first, final = np.array([trace.losses[[0, -1]] for trace in traces]).T
    zeros = [np.mean(stack.y**2) for stack in stacks]
    trained = theory.outcomes_by_loss(first, final, zeros) == "trains"
    shares = trained.reshape(seeds, len(depths)).mean(axis=0)
    return dict(zip(depths, shares.tolist(), strict=True))


def _drawn(
    kind: str, units: int, depth: int, outputs: int, seed: int
) -> tuple[list[np.ndarray], np.ndarray]:
    """Hidden kernels, and a last one that keeps the size of its input's entries."""
    from vgkeras.stacks import initial_kernels

    initializer = "orthogonal" if kind == "orthogonal" else _gaussian(1.0)
    *hidden, last = initial_kernels(
        depth, units, kernel_initializer=initializer, output_units=outputs, seed=seed
    )
    return hidden, last * np.float32(math.sqrt(units / outputs))


@_timed
def ten_thousand_layers(depth: int = 10_000, units: int = 16) -> Finding:
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
        A `Finding`; `weight_gradient`, `activation` and `activation_gradient` are the
        largest relative differences of two layers' norms, `roundings` the largest
        over half an epsilon, `megabytes` the most that this process has held.

    Reference:
        [Xiao et al., 2018](https://arxiv.org/abs/1806.05393).
    """
    spread, seconds = _spread(depth, units)
    log = _orthogonal(depth, steps=100)
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
    return _finding("ten_thousand_layers", numbers, holds)


def _orthogonal(depth: int, steps: int) -> GradientLog:
    from vgkeras.sweeps import sweep

    return sweep(
        [],
        [depth],
        initializers=["orthogonal"],
        units=8,
        output_units=2,
        samples=8,
        target="teacher",
        steps=steps,
        learning_rate=0.1 / depth,
        every=None,
    )


def _spread(depth: int, units: int) -> tuple[dict[str, float], dict[str, float]]:
    """Largest relative difference of two layers' norms by kind, and the seconds."""
    from vgkeras.stacks import build_stack
    from vgkeras.tape import gradient_norms

    start = time.perf_counter()
    model = build_stack(depth, units, kernel_initializer="orthogonal", seed=0)
    built = time.perf_counter()
    x, y = make_data("teacher", units, units, seed=0)
    frame = gradient_norms(model, x.astype("float32"), y.astype("float32"))
    done = time.perf_counter()
    norms = frame["log10_norm"].groupby(frame["kind"]).agg(["min", "max"])
    spread = np.expm1(math.log(10) * (norms["max"] - norms["min"]))
    return spread.to_dict(), {"build": built - start, "tape": done - built}


def _most_megabytes() -> float:
    """The most memory that this process has held, TensorFlow included."""
    import resource  # Unix only

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**20 if sys.platform == "darwin" else 2**10)


def reproduce(names: Sequence[str] | None = None) -> list[Finding]:
    """Measures published results again.

    Args:
        names: Some of `NAMES`; default all of them, which takes minutes.

    Returns:
        A `Finding` per name, in the order given.

    Raises:
        TypeError: If `names` is not a list.
        ValueError: If a name is unknown, or `names` is empty or repeats itself.

    Example:
        >>> [finding] = reproduce(["learning_time"])  # doctest: +SKIP
        >>> finding.holds  # doctest: +SKIP
        True
    """

    def check(argument: str, name: Any) -> str:
        return check_option(argument, name, NAMES)

    chosen = NAMES if names is None else check_each("names", names, check)
    return [globals()[name]() for name in chosen]


def save(findings: Sequence[Finding], path: str | Path) -> None:
    """Writes findings as JSON, with the date, the versions and the command.

    Args:
        findings: Findings of `reproduce`.
        path: File to write.
    """
    text = {
        "recorded": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": "python -m vgkeras.published PATH",
        "versions": versions(),
        "findings": [finding._asdict() for finding in findings],
    }
    Path(path).write_text(json.dumps(text, indent=1) + "\n", "utf-8")


def load(path: str | Path) -> list[Finding]:
    """Reads findings that `save` has written, without TensorFlow.

    Args:
        path: File to read.

    Returns:
        The findings, in the order written.

    Raises:
        ValueError: If the file does not hold findings.
    """
    try:
        text = json.loads(Path(path).read_text("utf-8"))
        return [Finding(**finding) for finding in text["findings"]]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            "`path` must be a file that `vgkeras.published.save` has written. "
            f"Received: path={str(path)!r}."
        ) from error


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures everything, says what came out, and writes it to a file.

    Args:
        arguments: Path of the file, and names if not all are asked for; default
            those of the command line.
    """
    parser = argparse.ArgumentParser(
        prog="python -m vgkeras.published",
        description="Measures published results again and records what came out.",
    )
    parser.add_argument("path", help="JSON file to write")
    parser.add_argument("names", nargs="*", help=f"some of {', '.join(NAMES)}")
    chosen = parser.parse_args(arguments)
    findings: list[Finding] = []
    for name in chosen.names or NAMES:
        findings += reproduce([name])
        print(_card(findings[-1]), flush=True)
    save(findings, chosen.path)


def _card(finding: Finding) -> str:
    word = "holds" if finding.holds else "does not hold"
    return f"{finding.source}: {word} ({finding.seconds:.0f} s)\n  {finding.measured}"


if __name__ == "__main__":
    main()
