"""The published detection rules, one small cited function each, over a gradient log.

Each rule looks at one number and does not ask whether the model learns. Side by side
they show that "vanishing" and "exploding" are conventions: on the same stacks they
first fire at depths from 12 to never. `what_others_say` asks all of them about the runs
of a log, `first_depths` for the first depth at which each fires.

Left out is what the columns of a log cannot state exactly: rules on single units
(SageMaker DeadRelu, NeuroScope dead neurons, DeepDiagnosis dead nodes: the log holds
one number per tensor), on signed or shifted values (saturation, fastai's near-zero
activations), on weights or activations over time (SageMaker UnchangedTensor), on
variances about the mean (SageMaker TensorVariance and PoorWeightInitialization, the
first half of NeuroScope's vanishing rule), and DeepDiagnosis' learning rate, which is
compared with the mean weight. AUTOTRAINER asks its questions only while the accuracy
is low, and NeuroScope turns its numbers into a severity; the log knows no accuracy, so
here the numbers decide.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from vgkeras import floats
from vgkeras._checks import DTYPES
from vgkeras.logs import KINDS, LAYER_COLUMNS, GradientLog

_NUMBERS = set(LAYER_COLUMNS[LAYER_COLUMNS.index("log10_norm") :])
_PLACE = ["run", "step", "layer"]
_RESULT = ("fires", "measured", "threshold", "step", "layer")
_SAGEMAKER = (
    "https://docs.aws.amazon.com/sagemaker/latest/dg/debugger-built-in-rules.html"
)
_AUTOTRAINER = "https://github.com/shiningrain/AUTOTRAINER"
_DEEPDIAGNOSIS = "https://github.com/DeepDiagnosis/ICSE2022"
_NEUROSCOPE = "https://pypi.org/project/neuroscope/"
_CRAFT_BITS = "https://craft-bits.unlocalhosted.com/docs/ml-viz/gradient-decay-explorer"


def computed_in(dtype: str) -> floats.Format:
    """Returns the number format that gradients of `dtype` are computed in.

    Args:
        dtype: A format, or the name of a mixed policy. Anything that is neither is
            taken for float32.

    Example:
        >>> computed_in("mixed_float16").largest
        65504.0
    """
    name = str(dtype).removeprefix("mixed_")
    return floats.number_format(name if name in DTYPES else "float32")


def stored_in(dtype: str) -> floats.Format:
    """Returns the number format that weights are stored in.

    Args:
        dtype: See `computed_in`. A mixed policy stores weights in float32.

    Example:
        >>> stored_in("mixed_float16").dtype
        'float32'
    """
    return computed_in("float32" if str(dtype).startswith("mixed_") else dtype)


def vanishes_below(number_format: floats.Format) -> float:
    """Returns the magnitude below which TensorFlow makes a result 0.

    Args:
        number_format: Flushes subnormal results, or rounds them.

    Example:
        >>> vanishes_below(computed_in("float32")) == 2.0**-126
        True
    """
    if number_format.flushes:
        return number_format.smallest_normal
    return number_format.smallest_subnormal / 2


@dataclass(frozen=True)
class Rule:
    """A published rule.

    Args:
        source: Who published it.
        says: Its name there.
        condition: When it fires, in one phrase.
        threshold: The number in that phrase.
        reference: Where it is published.
        function: Maps a log to a frame with a row per run.
        needs: Columns of `layers` that older logs may lack.
    """

    source: str
    says: str
    condition: str
    threshold: float
    reference: str
    function: Callable[[GradientLog], pd.DataFrame]
    needs: tuple[str, ...] = ()

    def __call__(self, log: GradientLog) -> pd.DataFrame:
        """Asks the rule about every run.

        Args:
            log: A measured or predicted log.

        Returns:
            A frame indexed by `run`: whether the rule `fires`; what was `measured`
            at the first `step` and `layer` where it does, or else nearest to it;
            the `threshold`. `step` and `layer` are missing where it does not fire.

        Raises:
            ValueError: If the log lacks a column that the rule needs.
        """
        missing = [c for c in self.needs if c not in log.layers.columns]
        if missing:
            raise ValueError(
                f"`layers` must have the column {missing[0]} for this rule. Received: "
                f"layers without {', '.join(missing)}. Measure the log again."
            )
        return self.function(log).assign(threshold=self.threshold)[list(_RESULT)]


RULES: dict[str, Rule] = {}


def what_others_say(log: GradientLog) -> pd.DataFrame:
    """Asks every published rule about every run of a log.

    Args:
        log: A measured or predicted log.

    Returns:
        A row per rule, indexed by its key in `RULES`: `source`, `says` (its name
        there), `condition`, and a column per run with its answer: `"silent"`,
        `"fires"` with the number, the first layer and the step, `"cannot tell"`
        where the rule comes to no number (0 / 0, nothing measured), or
        `"not logged"` where an older log lacks the column.

    Example:
        >>> from vgkeras import predict
        >>> said = what_others_say(predict(scales=[0.5], depths=[50], steps=1))
        >>> print(said.loc["craft_bits_vanishing", "c = 0.5, L = 50"])
        fires: 1.8e-15 (step 0)
    """
    answers = {}
    for key, rule in RULES.items():
        answers[key] = [rule.source, rule.says, rule.condition, *_answers(rule, log)]
    columns = ["source", "says", "condition", *_labels(log.runs)]
    table = pd.DataFrame.from_dict(answers, orient="index", columns=columns)
    return table.rename_axis("rule")


def first_depths(log: GradientLog) -> pd.DataFrame:
    """Finds the first depth at which each rule fires before any update.

    Args:
        log: A log of runs of several depths; step 0 is looked at.

    Returns:
        A row per rule, indexed by its key in `RULES`, and a column per scale (or
        initializer): the smallest depth of a run in which it fires, missing where it
        never does.

    Example:
        >>> from vgkeras import predict
        >>> log = predict(scales=[0.5], depths=range(1, 60), steps=1)
        >>> int(first_depths(log).loc["craft_bits_vanishing", 0.5])
        8
    """
    start = log.replace(
        losses=log.losses[log.losses["step"] == 0],
        layers=log.layers[log.layers["step"] == 0],
    )
    runs = log.runs.set_index("run")
    begun = runs["scale"].where(runs["scale"].notna(), runs["initializer"])
    found = {}
    for key, rule in RULES.items():
        fires = _fires(rule, start)
        depths = runs["depth"].where(fires.reindex(runs.index))
        found[key] = depths.groupby(begun, sort=False).min().astype("Int64")
    return pd.DataFrame(found).T.rename_axis(index="rule", columns=None)


def _fires(rule: Rule, log: GradientLog) -> pd.Series:
    if set(rule.needs) - set(log.layers.columns):
        return pd.Series(False, index=log.runs["run"])
    return rule(log)["fires"]


def _answers(rule: Rule, log: GradientLog) -> list[str]:
    if set(rule.needs) - set(log.layers.columns):
        return ["not logged"] * len(log.runs)
    return [_answer(row) for row in rule(log).to_dict("records")]


def _answer(row: dict) -> str:
    if not row["fires"]:
        return "cannot tell" if np.isnan(row["measured"]) else "silent"
    places = [f"{p} {row[p]:.0f}" for p in ("layer", "step") if not np.isnan(row[p])]
    where = f" ({', '.join(places)})" if places else ""
    return f"fires: {row['measured']:.1e}{where}"


def _labels(runs: pd.DataFrame) -> list[str]:
    """A column title per run, each of them different."""
    labels = [f"{_start(run)}, L = {run['depth']}" for run in runs.to_dict("records")]
    if len(set(labels)) == len(labels):
        return labels
    return [f"{label}, run {n}" for label, n in zip(labels, runs["run"], strict=True)]


def _start(run: dict) -> str:
    if not np.isnan(run["scale"]):
        return f"c = {run['scale']:g}"
    return run["initializer"] or f"run {run['run']}"


def _published(
    source: str,
    says: str,
    condition: str,
    threshold: float,
    reference: str,
    needs: Sequence[str] = (),
) -> Callable:
    """Enters a function into `RULES` under its own name."""

    def enter(function: Callable[[GradientLog], pd.DataFrame]) -> Callable:
        RULES[function.__name__] = Rule(
            source, says, condition, threshold, reference, function, tuple(needs)
        )
        return function

    return enter


@_published(
    "SageMaker Debugger",
    "VanishingGradient",
    "mean |g| of a gradient < 1e-7",
    1e-7,
    _SAGEMAKER,
    needs=["log10_mean"],
)
def sagemaker_vanishing_gradient(log: GradientLog) -> pd.DataFrame:
    """Mean of the absolute values of any gradient below `threshold`, 1e-7."""
    rows = _rows(log)
    return _result(log, rows, _power(rows["log10_mean"]), rows["log10_mean"] < -7)


@_published(
    "SageMaker Debugger",
    "ExplodingTensor",
    "a gradient holds Inf or NaN",
    0.0,
    _SAGEMAKER,
)
def sagemaker_exploding_gradient(log: GradientLog) -> pd.DataFrame:
    """Any Inf or NaN (`only_nan=False`) in the gradients."""
    return _non_finite(log, _rows(log))


@_published(
    "SageMaker Debugger",
    "ExplodingTensor",
    "an output holds Inf or NaN",
    0.0,
    _SAGEMAKER,
)
def sagemaker_exploding_output(log: GradientLog) -> pd.DataFrame:
    """The same rule on the outputs of the layers."""
    return _non_finite(log, _rows(log, "activation"))


@_published("SageMaker Debugger", "AllZero", "100% of a gradient is 0", 1.0, _SAGEMAKER)
def sagemaker_all_zero(log: GradientLog) -> pd.DataFrame:
    """All values of a gradient are exactly 0 (`threshold`, 100%)."""
    rows = _rows(log)
    zero = rows["log10_norm"] == -np.inf
    share = rows["zero_fraction"].where(rows["nonfinite_fraction"] == 0)
    return _result(log, rows, share, zero, largest=True)


@_published(
    "SageMaker Debugger",
    "WeightUpdateRatio, large",
    "update / weight > 10",
    10.0,
    _SAGEMAKER,
)
def sagemaker_large_update(log: GradientLog) -> pd.DataFrame:
    """Ratio of updates to weights above `large_threshold`, 10.

    The ratio is one of Frobenius norms here; SageMaker adds 1e-9 to the weights.
    """
    rows = _rows(log)
    ratio = rows["update_ratio"]
    return _result(log, rows, ratio, ratio > 10, largest=True)


@_published(
    "SageMaker Debugger",
    "WeightUpdateRatio, small",
    "update / weight < 1e-8",
    1e-8,
    _SAGEMAKER,
)
def sagemaker_small_update(log: GradientLog) -> pd.DataFrame:
    """Ratio of updates to weights below `small_threshold`, 1e-8.

    The update here is the one that was to be made; SageMaker compares saved weights,
    and sees 0 already where it rounds away.
    """
    rows = _rows(log)
    ratio = rows["update_ratio"]
    return _result(log, rows, ratio, ratio < 1e-8)


@_published(
    "SageMaker Debugger",
    "LossNotDecreasing",
    "loss not below that of 10 steps before",
    10,
    _SAGEMAKER,
)
def sagemaker_loss_not_decreasing(log: GradientLog) -> pd.DataFrame:
    """Loss not lower than at least `num_steps`, 10, steps before; asked that often.

    What is measured is the ratio of the two losses.
    """
    rows = [
        {"run": run, **row}
        for run, losses in log.losses.groupby("run")
        for row in _spans(losses.sort_values("step"), 10)
    ]
    table = pd.DataFrame(rows, columns=["run", "step", "ratio"])
    ratio = table["ratio"].astype(float)
    return _result(log, table, ratio, ~(ratio < 1), largest=True)


@_published(
    "AUTOTRAINER",
    "vanish_gradient",
    "|dW_1| / |dW_last| < 1e-3 and |dW_1| < 1e-4",
    1e-3,
    _AUTOTRAINER,
)
def autotrainer_vanishing_gradient(log: GradientLog) -> pd.DataFrame:
    """Norm of the first kernel's gradient small, and small beside the last (beta 1, 2).

    What is measured is the ratio. 0 / 0 is not a number and does not fire.
    """
    ends = _ends(_kernels(_rows(log)))
    fires = (ends["ratio"] < -3) & (ends["first"] < -4)
    return _result(log, ends, _power(ends["ratio"]), fires)


@_published(
    "AUTOTRAINER",
    "explode_gradient",
    "|dW_1| / |dW_last| > 70, or Inf or NaN",
    70.0,
    _AUTOTRAINER,
)
def autotrainer_exploding_gradient(log: GradientLog) -> pd.DataFrame:
    """First kernel's gradient large beside the last (beta 3), or any Inf or NaN."""
    rows = _rows(log)
    bad = rows[rows["nonfinite_fraction"] > 0].groupby(["run", "step"]).size()
    ends = _ends(_kernels(rows))
    places = pd.MultiIndex.from_frame(ends[["run", "step"]])
    lost = places.isin(bad.index)
    measured = _power(ends["ratio"]).where(~lost, np.inf)
    return _result(log, ends, measured, measured > 70, largest=True)


@_published(
    "AUTOTRAINER",
    "died_relu",
    "70% or more of all gradient entries are 0",
    0.7,
    _AUTOTRAINER,
    needs=["size"],
)
def autotrainer_dying_relu(log: GradientLog) -> pd.DataFrame:
    """Share of exact zeros among the entries of all gradients at least 70% (gamma).

    It says ReLU of any network, and so of a linear one whose gradients underflow. At a
    step at which not all zeros were counted, those that were must be enough.
    """
    rows = _rows(log)
    usable = rows[rows["nonfinite_fraction"] == 0]
    counts = usable.assign(zeros=usable["zero_fraction"] * usable["size"])
    sums = counts.groupby(["run", "step"])[["zeros", "size"]].sum().reset_index()
    share = sums["zeros"] / sums["size"]
    return _result(log, sums, share, share >= 0.7, largest=True)


@_published("AUTOTRAINER", "nan_loss", "loss >= 1e3, Inf or NaN", 1e3, _AUTOTRAINER)
def autotrainer_nan_loss(log: GradientLog) -> pd.DataFrame:
    """Loss not finite, or at least 1000 (`check_large_loss`)."""
    loss = log.losses["loss"]
    return _result(log, log.losses, loss, ~(loss < 1e3), largest=True)


@_published(
    "DeepDiagnosis",
    "Vanishing Gradient Problem",
    "mean |g| of a kernel's gradient < 1e-7",
    1e-7,
    _DEEPDIAGNOSIS,
    needs=["log10_mean"],
)
def deepdiagnosis_vanishing_gradient(log: GradientLog) -> pd.DataFrame:
    """Mean of the absolute values of a kernel's gradient below `threshold_VG`, 1e-7."""
    rows = _kernels(_rows(log))
    return _result(log, rows, _power(rows["log10_mean"]), rows["log10_mean"] < -7)


@_published(
    "NeuroScope",
    "vanishing, moderate",
    "rms of a layer's gradient < 1e-5",
    1e-5,
    _NEUROSCOPE,
    needs=["size"],
)
def neuroscope_small_gradient(log: GradientLog) -> pd.DataFrame:
    """Root mean square of a layer's weight gradient below 1e-5, of two layers or more.

    The first half of the rule, a ratio of variances, cannot be read off a log.
    """
    return _small_rms(log, -5)


@_published(
    "NeuroScope",
    "vanishing, severe",
    "rms of a layer's gradient < 1e-7",
    1e-7,
    _NEUROSCOPE,
    needs=["size"],
)
def neuroscope_vanishing_gradient(log: GradientLog) -> pd.DataFrame:
    """Root mean square of a layer's weight gradient below 1e-7."""
    return _small_rms(log, -7)


@_published(
    "NeuroScope",
    "exploding",
    "norm of all gradients together > 10",
    10.0,
    _NEUROSCOPE,
)
def neuroscope_exploding_gradient(log: GradientLog) -> pd.DataFrame:
    """Global L2 norm above 10; NeuroScope cites Pascanu, Mikolov & Bengio (2013)."""
    whole = _joined(_rows(log))
    norm = _power(whole["log10_norm"])
    return _result(log, whole, norm, norm > 10, largest=True)


@_published(
    "NeuroScope", "exploding, one layer", "norm of a gradient > 5", 5.0, _NEUROSCOPE
)
def neuroscope_exploding_layer(log: GradientLog) -> pd.DataFrame:
    """L2 norm of one layer's gradient above 5."""
    rows = _kernels(_rows(log))
    norm = _power(rows["log10_norm"])
    return _result(log, rows, norm, norm > 5, largest=True)


@_published(
    "Karpathy",
    "update : data",
    "update / kernel < 1e-5",
    1e-5,
    "https://github.com/karpathy/nn-zero-to-hero",
)
def karpathy_small_update(log: GradientLog) -> pd.DataFrame:
    """Update of a kernel two decades below the line at 1e-3 of its size.

    "Makemore part 3" draws the line, for arrays of two dimensions, and calls what is
    far below it too slow. The ratio is one of Frobenius norms here, not of standard
    deviations about the mean.
    """
    rows = _kernels(_rows(log))
    ratio = rows["update_ratio"]
    return _result(log, rows, ratio, ratio < 1e-5)


@_published(
    "craft-bits",
    "vanishing",
    "|dL/da_1| / |dL/da_L| < 0.01",
    0.01,
    _CRAFT_BITS,
)
def craft_bits_vanishing(log: GradientLog) -> pd.DataFrame:
    """Gradient at the first layer below 0.01 of that at the last."""
    ends = _ends(_rows(log, "activation_gradient"))
    return _result(log, ends, _power(ends["ratio"]), ends["ratio"] < -2)


@_published(
    "craft-bits",
    "exploding",
    "factor of |dL/da| per layer > 1.05",
    1.05,
    _CRAFT_BITS,
)
def craft_bits_exploding(log: GradientLog) -> pd.DataFrame:
    """Growth of the gradient per layer, on the way back, above 1.05."""
    ends = _ends(_rows(log, "activation_gradient"))
    factor = _power(ends["ratio"] / ends["layers"])
    return _result(log, ends, factor, factor > 1.05, largest=True)


@_published(
    "Keras",
    "TerminateOnNaN",
    "loss is Inf or NaN",
    np.inf,
    "https://keras.io/api/callbacks/terminate_on_nan/",
)
def keras_terminate_on_nan(log: GradientLog) -> pd.DataFrame:
    """Loss of a batch Inf or NaN."""
    loss = log.losses["loss"]
    return _result(log, log.losses, loss, ~np.isfinite(loss), largest=True)


@_published(
    "plain check",
    "norm prints as 0",
    "tf.norm of a gradient is 0",
    0.0,
    "https://www.tensorflow.org/api_docs/python/tf/norm",
)
def norm_prints_as_zero(log: GradientLog) -> pd.DataFrame:
    """The norm as a framework computes it is 0: every square underflows.

    Squares come first, so this is so at half the depth at which the gradient is 0.
    """
    rows = _rows(log)
    half = 0.5 * np.log10(
        _limit(log, rows, lambda name: vanishes_below(computed_in(name)))
    )
    return _result(log, rows, _power(rows["log10_norm"]), rows["log10_max"] < half)


@_published(
    "plain check",
    "norm prints as inf",
    "tf.norm of a gradient is not finite",
    np.inf,
    "https://www.tensorflow.org/api_docs/python/tf/norm",
)
def norm_prints_as_inf(log: GradientLog) -> pd.DataFrame:
    """The norm as a framework computes it is Inf: the sum of squares overflows."""
    rows = _rows(log)
    half = 0.5 * np.log10(_limit(log, rows, lambda name: computed_in(name).largest))
    norm = rows["log10_norm"]
    return _result(log, rows, _power(norm), norm > half, largest=True)


@_published(
    "number format",
    "subnormal",
    "largest |g| < smallest normal number",
    0.0,
    "https://doi.org/10.1109/IEEESTD.2019.8766229",
)
def below_smallest_normal(log: GradientLog) -> pd.DataFrame:
    """Every element of a gradient is subnormal, or 0; TensorFlow makes it 0."""
    rows = _rows(log)
    tiny = np.log10(_limit(log, rows, lambda name: computed_in(name).smallest_normal))
    return _result(log, rows, _power(rows["log10_max"]), rows["log10_max"] < tiny)


@_published(
    "vgkeras",
    "update rounds away",
    "update / weight < half the spacing of weights, and some stay as they were",
    np.nan,
    "https://doi.org/10.1109/IEEESTD.2019.8766229",
)
def update_rounds_away(log: GradientLog) -> pd.DataFrame:
    """`w - update == w`: the update is lost in rounding, though it is not 0.

    A weight of exactly 0 can always move, if by a rounding error of its gradient; so
    not all weights need stay, but the update as a whole must be below the rounding of
    weights: 2**-24 of them in float32.
    """
    rows = _rows(log)
    rows = rows[np.isfinite(rows["log10_norm"])]
    lost = rows["frozen_fraction"] > rows["zero_fraction"] + 1e-9
    spacing = _limit(log, rows, lambda name: stored_in(name).epsilon)
    ratio = rows["update_ratio"]
    return _result(log, rows, ratio, lost & (ratio < spacing / 2))


@_published(
    "UMLAUT",
    "learning rate",
    "learning rate > 0.01 or < 1e-7",
    0.01,
    "https://doi.org/10.1145/3411764.3445538",
)
def umlaut_learning_rate(log: GradientLog) -> pd.DataFrame:
    """Learning rate above 0.01 or below 1e-7, whatever the optimizer."""
    rate = log.runs["learning_rate"]
    return _result(log, log.runs[["run"]], rate, (rate > 0.01) | (rate < 1e-7))


def _rows(log: GradientLog, kind: str = KINDS[0]) -> pd.DataFrame:
    """The rows of one kind, by run, step and layer."""
    rows = log.layers[log.layers["kind"] == kind]
    order = np.lexsort([rows[place].to_numpy() for place in reversed(_PLACE)])
    if (np.diff(order) < 0).any():
        rows = rows.iloc[order]
    if not len(rows):  # a log without layers has no formats either
        rows = rows.astype(dict.fromkeys(_NUMBERS & set(rows.columns), float))
    return rows.reset_index(drop=True)


def _kernels(rows: pd.DataFrame) -> pd.DataFrame:
    """The largest variable of each layer; all of them where sizes are not logged."""
    if "size" not in rows or not rows.duplicated(_PLACE).any():
        return rows
    ordered = rows.sort_values([*_PLACE, "size", "log10_norm"], kind="stable")
    return ordered.drop_duplicates(_PLACE, keep="last").reset_index(drop=True)


def _ends(rows: pd.DataFrame) -> pd.DataFrame:
    """Per run and step, log10 of the norm in the first layer and of first / last."""
    steps = rows.groupby(["run", "step"])
    norms = steps["log10_norm"]
    ends = pd.DataFrame(
        {
            "first": norms.nth(0).to_numpy(),
            "last": norms.nth(-1).to_numpy(),
            "layers": steps["layer"].max() - steps["layer"].min(),
        }
    )
    with np.errstate(invalid="ignore"):  # Inf - Inf is no ratio
        ends["ratio"] = ends["first"] - ends["last"]
    return ends.reset_index()


def _result(
    log: GradientLog,
    rows: pd.DataFrame,
    measured: pd.Series,
    fires: pd.Series,
    *,
    largest: bool = False,
) -> pd.DataFrame:
    """A row per run: where the rule first fires, or else what comes nearest to it."""
    table = pd.DataFrame({"run": rows["run"], "measured": measured, "fires": fires})
    for place in ("step", "layer"):
        table[place] = rows[place].astype(float) if place in rows else np.nan
    nearest = table.groupby("run")["measured"].agg("max" if largest else "min")
    first = table[table["fires"]].drop_duplicates("run").set_index("run")
    runs = pd.Index(log.runs["run"], name="run")
    result = first.reindex(runs)
    result["fires"] = result["fires"].eq(True)
    result["measured"] = result["measured"].where(
        result["fires"], nearest.reindex(runs)
    )
    return result


def _non_finite(log: GradientLog, rows: pd.DataFrame) -> pd.DataFrame:
    share = rows["nonfinite_fraction"]
    return _result(log, rows, share, share > 0, largest=True)


def _small_rms(log: GradientLog, limit: float) -> pd.DataFrame:
    rows = _kernels(_rows(log))
    several = rows.groupby(["run", "step"])["layer"].transform("size") > 1
    rms = rows["log10_norm"] - 0.5 * np.log10(rows["size"])
    return _result(log, rows, _power(rms), several & (rms < limit))


def _spans(losses: pd.DataFrame, length: int) -> list[dict]:
    """Ratios of losses `length` steps apart, or as little more as the log allows."""
    steps, values = losses["step"].to_numpy(), losses["loss"].to_numpy(float)
    found, start = [], 0
    while len(steps):
        stop = int(np.searchsorted(steps, steps[start] + length))
        if stop == len(steps):
            break
        with np.errstate(all="ignore"):
            found.append({"step": steps[stop], "ratio": values[stop] / values[start]})
        start = stop
    return found


def _joined(rows: pd.DataFrame) -> pd.DataFrame:
    """log10 of the norm of all gradients of a step together; none may overflow."""
    rows = rows.dropna(subset=["log10_norm"])
    steps = [rows["run"], rows["step"]]
    largest = rows["log10_norm"].groupby(steps).transform("max")
    with np.errstate(invalid="ignore"):  # -Inf - -Inf: all of them are 0
        squares = 10.0 ** (2 * (rows["log10_norm"] - largest).fillna(0.0))
    table = pd.DataFrame({"largest": largest, "squares": squares}).groupby(steps)
    joined = table["largest"].max() + 0.5 * np.log10(table["squares"].sum())
    return joined.rename("log10_norm").reset_index()


def _limit(
    log: GradientLog, rows: pd.DataFrame, limit: Callable[[str], float]
) -> pd.Series:
    """A limit of the number format of each row's run."""
    return rows["run"].map(log.runs.set_index("run")["dtype"].map(limit))


def _power(logarithm: pd.Series) -> pd.Series:
    with np.errstate(over="ignore"):
        return 10.0**logarithm
