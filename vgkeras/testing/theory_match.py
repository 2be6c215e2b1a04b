"""Theory beside what was measured, where a number format can follow it."""

import math
from typing import Any

import numpy as np
import pandas as pd

from vgkeras import theory
from vgkeras.floats import computed_in
from vgkeras.logs import KINDS, GradientLog

_WEIGHT, _ACTIVATION, _GRADIENT = KINDS
_HEADROOM = 1.0  # decades over the smallest normal number, for a tolerance of 1
_ROUNDINGS = 10.0  # per layer: what the errors of an output may add up to


def beside_theory(
    measured: pd.DataFrame,
    expected: pd.DataFrame,
    runs: pd.DataFrame,
    tolerance: float,
) -> pd.DataFrame:
    """Rows for which theory has a norm that the number format can follow.

    Real arithmetic knows no limits. Left out is a row where a norm on the way to it,
    of an activation below it or a gradient above it, leaves the normal numbers of the
    run's format, with room for sums and rounding; gradients where outputs and targets
    agree to rounding; and after an overflow everything.

    Args:
        measured: Rows of the table `layers` of a log.
        expected: The same of theory, of every kind and layer of each run and step.
        runs: Table with the columns `run, depth, units, output_units, samples, dtype`.
        tolerance: Decades that rounding may not reach.

    Returns:
        Rows of `measured` with the column `theory`, base-10 logarithms.
    """
    norms = _comparable_norms(expected, runs, tolerance).melt(
        value_name="theory", ignore_index=False
    )
    rows = measured.astype({"name": "str", "kind": "str"})
    keys = ["run", "step", "layer", "kind"]
    return rows.merge(norms.dropna().reset_index(), on=keys)


def theory_of(
    log_or_model: Any, x: Any, y: Any, log: GradientLog
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Theory's rows and the runs that they are of."""
    if log.theory is not None:
        return log.theory.layers, log.runs
    if isinstance(log_or_model, GradientLog):
        raise ValueError(
            "`log_or_model` must have theory. Received: a log without it. Stacks of "
            "scaled identities have one, logged by `vgkeras.train` or `vgkeras.sweep`."
        )
    layers, shape = _closed_form(log_or_model, x, y)
    return layers.assign(run=0, step=0), log.runs.assign(**shape)


def _closed_form(model: Any, x: Any, y: Any) -> tuple[pd.DataFrame, dict[str, int]]:
    """Theory's norms of a stack of scaled identities, `layer, kind, log10_norm`."""
    from vgkeras import training  # loads TensorFlow

    kernels = training.linear_kernels(model)
    scale = training.identity_scale(kernels)
    if scale is None:
        raise ValueError(
            "`log_or_model` must be a stack that theory covers: linear `Dense` layers "
            "without bias, their kernels a scaled identity. Received: "
            f"{model.name!r}. `vgkeras.build_stack(depth=10, scale=0.9)` makes one."
        )
    depth, last = len(kernels), np.asarray(kernels[-1], np.float64)
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    form = theory.closed_form(scale, depth, x, y, last_kernel=last)
    columns = {kind: getattr(form, f"log10_{kind}") for kind in KINDS}
    norms = pd.DataFrame(columns, index=pd.RangeIndex(1, depth + 1, name="layer"))
    rows = norms.melt(var_name="kind", value_name="log10_norm", ignore_index=False)
    outputs, (samples, units) = y.shape[1], x.shape
    shape = {"depth": depth, "units": units, "output_units": outputs}
    return rows.reset_index(), {**shape, "samples": samples}


def _comparable_norms(
    expected: pd.DataFrame, runs: pd.DataFrame, tolerance: float
) -> pd.DataFrame:
    """Norms by `run, step, layer` and kind; NaN where the format cannot follow."""
    norms = expected.astype({"kind": "str"}).pivot(
        index=["run", "step", "layer"], columns="kind", values="log10_norm"
    )
    norms = norms[list(KINDS)].sort_index()
    run = runs.set_index("run").loc[norms.index.get_level_values("run")]
    limits = _limits(run["dtype"]).set_index(norms.index)
    spread = 0.5 * np.log10(_element_counts(norms, run))
    large = norms.add(spread).gt(limits["highest"], axis="index")
    floor = limits["lowest"] + _HEADROOM - np.log10(tolerance)
    fits = ~large & norms.sub(spread).ge(floor, axis="index")
    error = _residual_error(norms, run, limits["rounding"])
    fits[_ACTIVATION] = _all_before(fits[_ACTIVATION])
    fits[_GRADIENT] &= _at_last(error <= tolerance) & _at_last(~large[_ACTIVATION])
    fits[_GRADIENT] = _all_before(fits[_GRADIENT][::-1])[::-1]
    fits[_WEIGHT] &= fits[_GRADIENT] & _at_entrance(fits[_ACTIVATION])
    return norms.where(fits).where(~_after(large.any(axis="columns")))


def _limits(dtypes: pd.Series) -> pd.DataFrame:
    """Base-10 logarithms of the limits of each row's format, and its rounding."""
    formats = {name: computed_in(name) for name in dtypes.unique()}
    table = {
        name: (math.log10(f.smallest_normal), math.log10(f.largest), f.epsilon / 2)
        for name, f in formats.items()
    }
    columns = ["lowest", "highest", "rounding"]
    return pd.DataFrame([table[name] for name in dtypes], columns=columns)


def _element_counts(norms: pd.DataFrame, run: pd.DataFrame) -> pd.DataFrame:
    """Number of elements of each tensor of a stack."""
    last = norms.index.get_level_values("layer") == run["depth"].to_numpy()
    units, outputs = run["units"].to_numpy(), run["output_units"].to_numpy()
    width = np.where(last, outputs, units)
    activation = width * run["samples"].to_numpy()
    columns = {_WEIGHT: width * units, _ACTIVATION: activation, _GRADIENT: activation}
    return pd.DataFrame(columns, index=norms.index).astype(float)


def _residual_error(
    norms: pd.DataFrame, run: pd.DataFrame, rounding: pd.Series
) -> pd.Series:
    """Decades by which rounding the outputs changes `outputs - targets`.

    The gradient of the mean square is `2 (outputs - targets) / outputs.size`.
    """
    count = (run["samples"] * run["output_units"]).to_numpy()
    residual = norms[_GRADIENT] + np.log10(count / 2)
    roundings = _ROUNDINGS * run["depth"].to_numpy() * rounding
    with np.errstate(over="ignore", invalid="ignore"):
        return 10 ** (norms[_ACTIVATION] - residual) * roundings / np.log(10)


def _at_last(values: pd.Series) -> pd.Series:
    """The value of the last layer, in every layer of that run and step."""
    return values.groupby(["run", "step"]).transform("last")


def _all_before(fits: pd.Series) -> pd.Series:
    """Whether all rows fit up to this one, in its run and step."""
    return fits.groupby(["run", "step"]).cummin()


def _at_entrance(fits: pd.Series) -> pd.Series:
    """Whether the activation that enters the layer fits; the inputs always do."""
    return fits.groupby(["run", "step"]).shift(1, fill_value=True)


def _after(large: pd.Series) -> pd.Series:
    """Whether something was too large at an earlier step of the run."""
    steps = large.groupby(["run", "step"]).any()
    before = steps.groupby("run").cummax().groupby("run").shift(1, fill_value=False)
    keys = large.index.droplevel("layer")
    return pd.Series(before.loc[keys].to_numpy(), index=large.index)
