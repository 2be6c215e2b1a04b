"""sweep(): a grid of runs, trained side by side, as one log."""

from __future__ import annotations

import functools
import itertools
import pickle
from collections.abc import Callable, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    wait,
)
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from vgkeras._checks import (
    DTYPES,
    check_each,
    check_every,
    check_finite,
    check_option,
    check_positive,
    check_positive_int,
    check_seeds,
)
from vgkeras.batch import (
    COLUMNS,
    LINEAR,
    Stack,
    Trace,
    _Block,
    _in_order,
    _kept,
    _packed,
    _room,
    _run_block,
    joined,
    run_stacks,
)
from vgkeras.data import make_data
from vgkeras.logs import (
    KINDS,
    LAYER_COLUMNS,
    REMEDY_COLUMNS,
    RUN_COLUMNS,
    GradientLog,
    concat,
    logged_steps,
    versions,
)
from vgkeras.lsuv import unit_variance
from vgkeras.predictions import predict
from vgkeras.recipes import Recipe, rule_of
from vgkeras.stacks import ACTIVATIONS, check_remedies, initial_kernels
from vgkeras.theory import judge

_PATIENCE = 0.2  # seconds between two calls of `progress` while no worker is done


def sweep(
    scales: Sequence[float] = (0.5, 0.9, 1.5),
    depths: Sequence[int] = (2, 5, 10, 20, 50, 100, 152),
    *,
    units: int = 2,
    steps: int = 200,
    learning_rate: float | Sequence[float] | Callable[[int], float] = 0.01,
    every: int | None = 1,
    target: str = "identity",
    samples: int = 64,
    output_units: int | None = None,
    noise: float = 0.0,
    dtype: str = "float32",
    seed: int | Sequence[int] = 0,
    initializers: Sequence[Any] | None = None,
    activation: str = "linear",
    residual: bool | str = False,
    normalization: str | None = None,
    optimizer: Any = "sgd",
    executor: Executor | None = None,
    progress: Callable[[int, int], Any] | None = None,
) -> GradientLog:
    """Trains a stack for every scale, depth, learning rate and seed, and logs them all.

    The runs are those of `build_stack` and `train` on `make_data`, but in one compiled
    program that is differentiated by `tf.GradientTape` and is hundreds of times faster.
    The first call of a shape, or with another remedy, compiles for a second or two.

    A part is what fits one call of the program, 8 lanes of 152 layers with 64 samples:
    the default sweep is two half ones, 40 scales times 40 depths are 53. The parts are
    trained side by side, in a thread for each processor, eight at most. An executor
    returns the same numbers, to the last bit on the same kind of processor. It is for
    more machines than one: with two processors, 1,600 runs of 100 steps take 3.5 s
    without an executor and 6 s in two processes, which first import TensorFlow and
    compile, for another 6 s.

    Args:
        scales: Factors of the identity, one set of runs each. May be empty if
            `initializers` is given.
        depths: Numbers of `Dense` layers.
        units: Width of the input and of every layer but the last.
        steps: Number of updates of each run.
        learning_rate: Learning rate of every run, a list of them for further runs, or
            a function of the depth, e.g. `lambda depth: 0.1 / depth`.
        every: Log the layers at steps 0, `every`, 2 `every`, ... and the last.
            `None` logs losses only.
        target: A target of `make_data`.
        samples: Number of samples, all in one batch.
        output_units: Width of the last layer. Default: `units`.
        noise: Standard deviation of the noise on the targets.
        dtype: `"float16"`, `"bfloat16"`, `"float32"` or `"float64"`.
        seed: Seed of the data and of the initial kernels, or a list of seeds.
        initializers: Keras initializers, or their names, for further runs; `"lsuv"`
            is `vgkeras.lsuv.unit_variance` of orthogonal kernels.
        activation: Activation of the hidden layers; see `build_stack`.
        residual: Whether the hidden layers have shortcuts; see `build_stack`.
        normalization: Of the hidden layers: `None`, `"layer"` or `"batch"`.
        optimizer: A Keras SGD, RMSprop, Adagrad or Adam, its name, or `"momentum"`,
            for `SGD` with a momentum of 0.9. It may clip. Its own learning rate is
            not looked at.
        executor: A `concurrent.futures.Executor` that trains the parts of a wide
            sweep; see above. `None` trains them in threads of this process.
        progress: Called as `progress(done, total)`, in passes, a few times a second.
            An exception raised in it, for instance by a stop button, ends the sweep;
            an executor's workers finish the part that they are at.

    Returns:
        A `GradientLog`: for each learning rate, each seed, each scale and each depth a
        run, and then the same for `initializers`. `runs` also tells the remedies.
        `log.theory` holds the prediction of each run that starts at a scaled identity,
        if the stacks are linear and gradient descent is plain.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range, or `executor` would fork.
        BrokenExecutor: If `executor` loses a worker that it cannot replace.

    Example:
        >>> log = vg.sweep(depths=[2, 50], steps=100)  # doctest: +SKIP
        >>> log.runs[["scale", "depth", "verdict"]]  # doctest: +SKIP
    """
    check_option("activation", activation, ACTIVATIONS)
    check_remedies(residual, normalization)
    recipe = Recipe(activation, normalization, residual, rule_of(optimizer))
    depths = check_each("depths", depths, check_positive_int)
    grid = _Grid(
        scales=_scales(scales, initializers),
        depths=depths,
        rates=_rates(learning_rate, depths),
        seeds=check_seeds("seed", seed),
        initializers=[] if initializers is None else list(initializers),
        recipe=recipe,
        common={
            "units": check_positive_int("units", units),
            "output_units": _outputs(output_units, units),
            "steps": check_positive_int("steps", steps),
            "dtype": check_option("dtype", dtype, DTYPES),
            "target": target,
            "samples": samples,
        },
    )
    data = {
        s: make_data(
            target, units, samples, output_units=output_units, noise=noise, seed=s
        )
        for s in grid.seeds
    }
    runs = _runs(grid, data)
    logged = logged_steps(steps, check_every(every))
    _check_executor(executor)
    train = run_stacks if executor is None else functools.partial(_run_on, executor)
    traces = train(
        _stacks(grid, data),
        steps=steps,
        logged_steps=logged,
        dtype=dtype,
        recipe=recipe,
        progress=progress,
    )
    log = GradientLog(
        runs=runs,
        losses=_losses(traces, steps),
        layers=_layers(traces, runs["depth"].tolist(), logged, grid.common),
        metadata={"origin": "measured by vgkeras.sweep", "versions": versions()},
        theory=_theory(grid, every=every, noise=noise),
    )
    return _judged(log, traces)


class _Start(NamedTuple):
    """What the runs of all depths begin with; `initializer` is `None` for `scale * I`.

    `rates` are the learning rates, one for each depth.
    """

    rates: list[float]
    seed: int
    scale: float
    initializer: Any


@dataclass(frozen=True)
class _Grid:
    """What is swept, and what all runs share."""

    scales: list[float]
    depths: list[int]
    rates: list[list[float]]  # each of them by depth
    seeds: list[int]
    initializers: list[Any]
    recipe: Recipe
    common: dict[str, Any]

    def starts(self) -> list[_Start]:
        """Scaled identities first, as in `predict`; depths count fastest."""
        orders = ((scale, None) for scale in self.scales)
        identities = itertools.product(self.rates, self.seeds, orders)
        orders = ((np.nan, initializer) for initializer in self.initializers)
        others = itertools.product(self.rates, self.seeds, orders)
        return [_Start(r, s, *order) for r, s, order in (*identities, *others)]


def _scales(scales: Any, initializers: Any) -> list[float]:
    if initializers is not None and not isinstance(scales, str) and not list(scales):
        return []
    return check_each("scales", scales, check_finite)


def _rates(learning_rate: Any, depths: list[int]) -> list[list[float]]:
    """Lists of learning rates by depth: of a function one, else one for each rate."""
    if callable(learning_rate):
        found = map(learning_rate, depths)
        return [[check_positive("learning_rate(depth)", rate) for rate in found]]
    several = isinstance(learning_rate, Sequence | np.ndarray)
    listed = learning_rate if several else [learning_rate]
    rates = check_each("learning_rate", listed, check_positive)
    return [[rate] * len(depths) for rate in rates]


def _outputs(output_units: Any, units: int) -> int:
    if output_units is None:
        return units
    return check_positive_int("output_units", output_units)


def _runs(grid: _Grid, data: dict[int, tuple[np.ndarray, np.ndarray]]) -> pd.DataFrame:
    """A row per run, in the order of `_Grid.starts`, depths counting fastest."""
    starts = grid.starts()
    zeros = {s: float(np.mean(data[s][1] ** 2)) for s in grid.seeds}
    recipe = grid.recipe
    rows: dict[str, list[Any]] = {
        "scale": [start.scale for start in starts],
        "initializer": [_name(start.initializer) for start in starts],
        "seed": [start.seed for start in starts],
        "loss_zero": [zeros[start.seed] for start in starts],
    }
    table = {
        "run": range(len(starts) * len(grid.depths)),
        "depth": grid.depths * len(starts),
        **{name: _repeated(column, grid.depths) for name, column in rows.items()},
        "optimizer": str(recipe.rule),
        "learning_rate": [rate for start in starts for rate in start.rates],
        "verdict": "",
        **grid.common,
        "activation": recipe.activation,
        "residual": {True: "identity", False: "", "zero": "zero"}[recipe.residual],
        "normalization": recipe.normalization or "",
    }
    return pd.DataFrame(table, columns=[*RUN_COLUMNS, *REMEDY_COLUMNS])


def _repeated(column: list[Any], depths: list[int]) -> list[Any]:
    return [value for value in column for _ in depths]


def _name(initializer: Any) -> str:
    if initializer is None:
        return ""
    return initializer if isinstance(initializer, str) else type(initializer).__name__


def _stacks(grid: _Grid, data: dict[int, tuple[np.ndarray, np.ndarray]]) -> list[Stack]:
    """The stack of each run, in the order of `_runs`."""
    drawn: dict[Any, list[list[np.ndarray]]] = {}
    stacks = []
    for start in grid.starts():
        key = (start.seed, start.scale, id(start.initializer))
        if key not in drawn:
            drawn[key] = _kernels(grid, start, data[start.seed][0])
        stacks += [
            Stack(kernels, *data[start.seed], rate)
            for kernels, rate in zip(drawn[key], start.rates, strict=True)
        ]
    return stacks


def _kernels(grid: _Grid, start: _Start, x: np.ndarray) -> list[list[np.ndarray]]:
    """The initial kernels for every depth."""
    shapes = {key: grid.common[key] for key in ("units", "output_units", "dtype")}
    begin: dict[str, Any] = {"scale": start.scale}
    if start.initializer is not None:
        begin = {"kernel_initializer": start.initializer}
    rescale = start.initializer == "lsuv"
    if rescale:
        begin = {"kernel_initializer": "orthogonal"}

    def draw(depth: int) -> list[np.ndarray]:
        kernels = initial_kernels(depth, **begin, **shapes, seed=start.seed)
        return unit_variance(kernels, x, grid.recipe) if rescale else kernels

    if shapes["output_units"] != shapes["units"]:
        return [draw(depth) for depth in grid.depths]
    deepest = draw(max(grid.depths))  # layers are seeded one by one
    return [deepest[:depth] for depth in grid.depths]


def _check_executor(executor: Any) -> None:
    """Refuses what takes no tasks, and processes in which TensorFlow would hang."""
    if executor is None:
        return
    if not isinstance(executor, Executor):
        raise TypeError(
            "`executor` must be a `concurrent.futures.Executor`. "
            f"Received: executor={executor!r}. Make one, `ThreadPoolExecutor(2)`; "
            "that of a Dask client is `client.get_executor()`."
        )
    context = getattr(executor, "_mp_context", None)  # only a process pool has one
    if context is not None and context.get_start_method() == "fork":
        raise ValueError(
            "`executor` must not fork: a forked process hangs in TensorFlow. "
            f"Received: executor={executor!r}. Make it by `ProcessPoolExecutor("
            'mp_context=multiprocessing.get_context("spawn"))`.'
        )


class _Part(NamedTuple):
    """The stacks of one block, as the arguments of `_run_block`."""

    stacks: list[Stack]
    block: _Block
    steps: int
    keep: np.ndarray
    dtype: str
    recipe: Recipe


def _run_on(
    executor: Executor,
    stacks: list[Stack],
    *,
    steps: int,
    logged_steps: list[int],
    dtype: str,
    recipe: Recipe,
    progress: Callable[[int, int], Any] | None,
) -> list[Trace]:
    """Does what `run_stacks` does, its blocks being the tasks of `executor`.

    A block runs in the same compiled program wherever it runs, and gives the same
    numbers to the last bit. It travels as bytes, with its initial weights and data:
    initializers stay here, and no executor has to look into 100,000 layers.
    """
    keep = _kept(steps, logged_steps)
    blocks = _packed(stacks)
    tasks = [
        pickle.dumps(
            _Part([stacks[i] for i in block.places], block, steps, keep, dtype, recipe)
        )
        for block in blocks
    ]

    def tell(done: int) -> None:
        if progress is not None:
            progress(done * (steps + 1), len(tasks) * (steps + 1))

    return _in_order(blocks, _gathered(executor, tasks, tell))


def _run_part(task: bytes) -> list[Trace]:
    """The traces of one part, without its kernels. This is what a worker runs."""
    part: _Part = pickle.loads(task)
    into = _room(part.stacks, part.keep)
    traces = _run_block(*part, lambda done: None, into)
    return [trace._replace(kernels=[]) for trace in traces]


def _gathered(
    executor: Executor, tasks: list[bytes], tell: Callable[[int], None]
) -> list[list[Trace]]:
    """What every task gives, in order; a failure cancels the tasks not yet begun."""
    results: dict[int, list[Trace]] = {}
    pending: dict[Future, int] = {}
    try:
        for number, task in enumerate(tasks):
            pending[executor.submit(_run_part, task)] = number
        while pending:
            for future in wait(pending, _PATIENCE, FIRST_COMPLETED).done:
                results[pending.pop(future)] = future.result()
            tell(len(results))
    except (BrokenExecutor, CancelledError) as error:
        raise BrokenExecutor(
            "`executor` must keep its workers. Received: an executor that lost one, "
            f"or was shut down, with {len(results)} of {len(tasks)} parts of the sweep "
            "done. Sweep again with a new one: a process pool cannot replace a worker, "
            "a Dask cluster can. If a pool fails at once, put the script's own code "
            'under `if __name__ == "__main__":`; if later, give each worker more '
            "memory."
        ) from error
    finally:
        for future in pending:
            future.cancel()
    return [results[number] for number in range(len(tasks))]


def _theory(
    grid: _Grid, *, every: int | None, noise: float
) -> Callable[[], GradientLog] | None:
    """What predicts the runs that start at a scaled identity, once it is asked for."""
    if not grid.scales or grid.recipe != LINEAR:
        return None
    arguments = {**grid.common, "every": every, "noise": noise}

    def predicted() -> GradientLog:
        parts = [
            log for rates in grid.rates for log in _predicted(grid, rates, arguments)
        ]
        return parts[0] if len(parts) == 1 else concat(parts)

    return predicted


def _predicted(
    grid: _Grid, rates: list[float], arguments: dict[str, Any]
) -> list[GradientLog]:
    """The predictions in the order of the runs, each of one learning rate."""
    if len(set(rates)) == 1:
        options = {**arguments, "learning_rate": rates[0], "seed": grid.seeds}
        return [predict(grid.scales, grid.depths, **options)]
    by_depth = list(zip(grid.depths, rates, strict=True))
    runs = itertools.product(grid.seeds, grid.scales, by_depth)
    return [
        predict([scale], [depth], learning_rate=rate, seed=seed, **arguments)
        for seed, scale, (depth, rate) in runs
    ]


def _judged(log: GradientLog, traces: list[Trace]) -> GradientLog:
    """Fills in the verdicts."""
    first, last = np.array([[t.losses[0], t.losses[-1]] for t in traces]).T
    words = judge(first, last, log.runs["loss_zero"].to_numpy())
    return log.replace(runs=log.runs.assign(verdict=words.tolist()))


def _losses(traces: list[Trace], steps: int) -> pd.DataFrame:
    count = len(traces)
    return pd.DataFrame(
        {
            "run": np.repeat(np.arange(count), steps + 1),
            "step": np.tile(np.arange(steps + 1), count),
            "loss": np.concatenate([trace.losses for trace in traces]),
        }
    )


def _layers(
    traces: list[Trace], depths: list[int], logged: list[int], common: dict[str, Any]
) -> pd.DataFrame:
    """All statistics as one tidy frame: by run, step, kind, layer."""
    shape = (common["units"], common["output_units"], common["samples"])
    labels = _labels(tuple(depths), tuple(logged), *shape)
    table: dict[str, Any] = {
        **{column: values.copy() for column, values in labels.items()},
        **dict(zip(COLUMNS, joined(traces), strict=True)),
    }
    deepest = max(depths)
    weights = [f"dense_{layer}/kernel" for layer in range(1, deepest + 1)]
    outputs = [f"dense_{layer}" for layer in range(1, deepest + 1)]
    for column, names in (("name", weights + outputs), ("kind", list(KINDS))):
        dtype = pd.CategoricalDtype(names)
        codes = table[column]
        table[column] = pd.Categorical.from_codes(codes, dtype=dtype, validate=False)
    return pd.DataFrame(table, columns=list(LAYER_COLUMNS), copy=False)


@functools.lru_cache(maxsize=8)
def _labels(
    depths: tuple[int, ...],
    logged: tuple[int, ...],
    units: int,
    output_units: int,
    samples: int,
) -> dict[str, np.ndarray]:
    """The columns that say which tensor a row is of; names and kinds as codes.

    They are the same at every repeat of a sweep. The caller copies them.
    """
    weight = np.array([[kind == "weight_gradient"] for kind in KINDS])
    inputs = np.where(weight, units, samples)
    steps = np.array(logged)[:, None, None]
    parts: list[list[np.ndarray]] = []
    for run, depth in enumerate(depths):
        layers = np.arange(1, depth + 1)
        outputs = np.where(layers == depth, output_units, units)
        names = layers - 1 + np.where(weight, 0, max(depths))
        kinds = np.arange(len(KINDS))[:, None]
        block = np.broadcast_arrays(run, steps, layers, names, kinds, inputs * outputs)
        parts.append([values.ravel() for values in block])
    columns = ("run", "step", "layer", "name", "kind", "size")
    joined = [np.concatenate(part) for part in zip(*parts, strict=True)]
    table = dict(zip(columns, joined, strict=True))
    # pandas keeps codes in the smallest format that holds them
    formats: dict[str, Any] = dict.fromkeys(columns, np.int32)
    formats |= {"kind": np.int8, "name": np.min_scalar_type(-2 * max(depths))}
    return {column: table[column].astype(formats[column]) for column in columns}
