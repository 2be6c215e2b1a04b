"""sweep(): a grid of runs, trained side by side, as one log."""

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np

from vgkeras._checks import (
    DTYPES,
    check_each,
    check_every,
    check_option,
    check_positive_int,
    check_rates,
    check_seeds,
)
from vgkeras.logs import GradientLog, logged_steps, versions
from vgkeras.stacks import ACTIVATIONS, check_output_units, check_remedies
from vgkeras.sweeps.blocks import LINEAR, run_stacks
from vgkeras.sweeps.executors import check_executor, run_on
from vgkeras.sweeps.grid import (
    Grid,
    check_scales,
    initial_stacks,
)
from vgkeras.sweeps.lanes import Trace, empty_statistics
from vgkeras.sweeps.layers import Recipe
from vgkeras.sweeps.optimizers import compiled_optimizer
from vgkeras.sweeps.tables import layer_table, swept_runs
from vgkeras.tape import check_backend
from vgkeras.theory import make_data, predict
from vgkeras.theory.predictions import loss_table


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
            is `vgkeras.sweeps.unit_variance` of orthogonal kernels.
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
        >>> log.runs[["scale", "depth", "outcome"]]  # doctest: +SKIP
    """
    check_backend()
    check_option("activation", activation, ACTIVATIONS)
    check_remedies(residual, normalization)
    recipe = Recipe(activation, normalization, residual, compiled_optimizer(optimizer))
    depths = check_each("depths", depths, check_positive_int)
    grid = Grid(
        scales=check_scales(scales, initializers),
        depths=depths,
        rates=check_rates(learning_rate, depths),
        seeds=check_seeds("seed", seed),
        initializers=[] if initializers is None else list(initializers),
        recipe=recipe,
        common={
            "units": check_positive_int("units", units),
            "output_units": check_output_units(output_units, units),
            "steps": check_positive_int("steps", steps),
            "dtype": check_option("dtype", dtype, DTYPES),
            "target": target,
            "samples": samples,
        },
    )
    data = _data(grid, noise)
    logged = logged_steps(steps, check_every(every))
    check_executor(executor)
    traces, statistics = _trained(grid, data, logged, executor, progress)
    runs = swept_runs(grid, data, traces)
    return GradientLog(
        runs=runs,
        losses=loss_table([trace.losses for trace in traces]),
        layers=layer_table(statistics, runs["depth"].tolist(), logged, grid.common),
        metadata={"origin": "measured by vgkeras.sweep", "versions": versions()},
        theory=_theory(grid, learning_rate, every=every, noise=noise),
    )


def _data(grid: Grid, noise: float) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Inputs and targets by seed."""
    names = ("target", "units", "samples", "output_units")
    arguments = {name: grid.common[name] for name in names}
    return {seed: make_data(**arguments, noise=noise, seed=seed) for seed in grid.seeds}


def _trained(
    grid: Grid,
    data: dict[int, tuple[np.ndarray, np.ndarray]],
    logged: list[int],
    executor: Executor | None,
    progress: Callable[[int, int], Any] | None,
) -> tuple[list[Trace], np.ndarray]:
    """The traces of all runs, and the statistics that become the table `layers`."""
    stacks = initial_stacks(grid, data)
    statistics = empty_statistics(stacks, len(logged))
    train = run_stacks if executor is None else functools.partial(run_on, executor)
    traces = train(
        stacks,
        steps=grid.common["steps"],
        logged_steps=logged,
        dtype=grid.common["dtype"],
        recipe=grid.recipe,
        progress=progress,
        statistics=statistics,
    )
    return traces, statistics


def _theory(
    grid: Grid, learning_rate: Any, *, every: int | None, noise: float
) -> Callable[[], GradientLog] | None:
    """What predicts the runs that start at a scaled identity, once it is asked for."""
    if not grid.scales or grid.recipe != LINEAR:
        return None
    options = {**grid.common, "every": every, "noise": noise}
    options |= {"learning_rate": learning_rate, "seed": grid.seeds}

    def predicted() -> GradientLog:
        return predict(grid.scales, grid.depths, **options)

    return predicted
