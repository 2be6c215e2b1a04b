"""The published detection rules, a row of a table each, over a gradient log.

Each rule looks at one number and does not ask whether the model learns. Side by side
they show that "vanishing" and "exploding" are conventions: on the same stacks they
first fire at depths from 12 to never. `what_others_say` asks all of them about the runs
of a log, `first_depths` for the first depth at which each fires, and
`RULES["keras_terminate_on_nan"](log)` asks a single one. A row says in `condition` when
its rule fires, and in `note` what it does differently from its source:

    sagemaker_      vanishing_gradient, exploding_gradient, exploding_output, all_zero,
                    large_update, small_update, loss_not_decreasing
    autotrainer_    vanishing_gradient, exploding_gradient, dying_relu, nan_loss
    deepdiagnosis_  vanishing_gradient
    neuroscope_     small_gradient, vanishing_gradient, exploding_gradient,
                    exploding_layer (of the package neuroscope, version 0.2.2)
    craft_bits_     vanishing, exploding
    one each        karpathy_small_update, keras_terminate_on_nan, umlaut_learning_rate
    number formats  norm_prints_as_zero, norm_prints_as_inf, below_smallest_normal,
                    update_rounds_away

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

import functools
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from vgkeras._text import number, run_label
from vgkeras.floats import computed_in, stored_in, vanishes_below
from vgkeras.logs import KINDS, LAYER_COLUMNS, GradientLog

_NUMBERS = set(LAYER_COLUMNS[LAYER_COLUMNS.index("log10_norm") :])
_PLACE = ["run", "step", "layer"]
_STEP = ["run", "step"]
_RESULT = ["fires", "measured", "threshold", "step", "layer"]
_SIGNS: dict[str, Callable[..., pd.Series]] = {
    "<": operator.lt,
    ">": operator.gt,
    ">=": operator.ge,
    "not <": lambda values, limit: ~(values < limit),  # NaN is not below either
}


@dataclass(frozen=True)
class Rule:
    """A published rule: a quantity of some rows of a log, and where it fires.

    Args:
        key: Its key in `RULES`.
        source: Who published it.
        reference: Where it is published.
        says: Its name there.
        condition: When it fires, in one phrase.
        rows: Takes from a log the rows that are looked at, with their `run` and,
            where they have one, `step` and `layer`.
        quantity: Column of these rows that is measured; of `log10_...`, the power.
        sign: Side of the threshold on which it fires, `"<"`, `">"`, `">="` or
            `"not <"`. Of `"<"` the smallest value is nearest to it, else the largest.
        threshold: The number in `condition`.
        note: What it does, and what it does differently from its source.
        fires: Maps the rows to those that fire, where one comparison does not say it.
        needs: Columns of `layers` that older logs may lack.
    """

    key: str
    source: str
    reference: str
    says: str
    condition: str
    rows: Callable[[GradientLog], pd.DataFrame]
    quantity: str
    sign: str
    threshold: float
    note: str
    fires: Callable[[pd.DataFrame], pd.Series] | None = None
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
        absent = self.absent(log)
        if absent:
            raise ValueError(
                f"`layers` must have the column {absent[0]} for this rule. Received: "
                f"layers without {', '.join(absent)}. Measure the log again."
            )
        rows = self.rows(log)
        table = pd.DataFrame({"run": rows["run"], "measured": self._values(rows)})
        table["fires"] = (self.fires or self._crosses)(rows)
        for place in ("step", "layer"):
            table[place] = rows[place].astype(float) if place in rows else np.nan
        nearest = "min" if self.sign == "<" else "max"
        result = _by_run(table, pd.Index(log.runs["run"], name="run"), nearest)
        return result.assign(threshold=self.threshold)[_RESULT]

    def absent(self, log: GradientLog) -> list[str]:
        """The columns of `layers` that the rule needs and the log lacks."""
        return [column for column in self.needs if column not in log.layers.columns]

    def _values(self, rows: pd.DataFrame) -> pd.Series:
        values = rows[self.quantity]
        return _power(values) if self.quantity.startswith("log10_") else values

    def _crosses(self, rows: pd.DataFrame) -> pd.Series:
        """Logarithms are compared as such: a power of them may be 0."""
        logarithm = self.quantity.startswith("log10_")
        limit = math.log10(self.threshold) if logarithm else self.threshold
        return _SIGNS[self.sign](rows[self.quantity], limit)


def _by_run(table: pd.DataFrame, runs: pd.Index, nearest: str) -> pd.DataFrame:
    """A row per run: where the rule first fires, or else what comes nearest to it."""
    result = table[table["fires"]].drop_duplicates("run").set_index("run").reindex(runs)
    result["fires"] = result["fires"].eq(True)
    closest = table.groupby("run")["measured"].agg(nearest).reindex(runs)
    result["measured"] = result["measured"].where(result["fires"], closest)
    return result


def _power(logarithm: pd.Series) -> pd.Series:
    with np.errstate(over="ignore"):
        return 10.0**logarithm


# --- Which rows are looked at, and their quantities ----------------------------------


def _tensors(log: GradientLog, kind: str) -> pd.DataFrame:
    """The rows of one kind, by run, step and layer."""
    rows = log.layers[log.layers["kind"] == kind]
    order = np.lexsort([rows[place].to_numpy() for place in reversed(_PLACE)])
    if (np.diff(order) < 0).any():
        rows = rows.iloc[order]
    if not len(rows):  # a log without layers has no formats either
        rows = rows.astype(dict.fromkeys(_NUMBERS & set(rows.columns), float))
    return rows.reset_index(drop=True)


_gradients, _outputs, _signals = (functools.partial(_tensors, kind=k) for k in KINDS)
_losses = operator.attrgetter("losses")


_BIASES = ("bias", "beta")


def _weights(log: GradientLog) -> pd.DataFrame:
    """The gradients of all variables but biases, which start at 0."""
    rows = _gradients(log)
    names = rows["name"].astype(str).str.split("/").str[-1]
    return rows[~names.isin(_BIASES)].reset_index(drop=True)


def _zero_shares(log: GradientLog) -> pd.DataFrame:
    """The gradients, with the `share` of zeros in those that are finite."""
    rows = _gradients(log)
    share = rows["zero_fraction"].where(rows["nonfinite_fraction"] == 0)
    return rows.assign(share=share)


def _kernels(log: GradientLog) -> pd.DataFrame:
    """The gradient of each layer's largest variable; of all without element counts."""
    rows = _gradients(log)
    if "size" in rows and rows.duplicated(_PLACE).any():
        ordered = rows.sort_values([*_PLACE, "size", "log10_norm"], kind="stable")
        rows = ordered.drop_duplicates(_PLACE, keep="last").reset_index(drop=True)
    return rows.assign(norm=_power(rows["log10_norm"]))


def _kernel_rms(log: GradientLog) -> pd.DataFrame:
    """The same with their root mean squares, and of how many `layers` a step has."""
    rows = _kernels(log)
    return rows.assign(
        log10_rms=rows["log10_norm"] - 0.5 * np.log10(rows["size"]),
        layers=rows.groupby(_STEP)["layer"].transform("size"),
    )


def _ends(rows: pd.DataFrame) -> pd.DataFrame:
    """Per run and step, the norm in the first layer, first / last, growth per layer."""
    steps = rows.groupby(_STEP)
    layers = steps["layer"].max() - steps["layer"].min()
    first, last = (steps["log10_norm"].nth(end).to_numpy() for end in (0, -1))
    with np.errstate(invalid="ignore"):  # Inf - Inf is no ratio
        ratio = first - last
    ends = pd.DataFrame({"log10_first": first, "log10_ratio": ratio}, layers.index)
    return ends.assign(factor=_power(ratio / layers)).reset_index()


def _kernel_ends(log: GradientLog) -> pd.DataFrame:
    """The ends of the kernels' gradients; `ratio` is Inf at a step with Inf or NaN."""
    ends = _ends(_kernels(log))
    worst = _gradients(log).groupby(_STEP)["nonfinite_fraction"].max().to_numpy()
    return ends.assign(ratio=_power(ends["log10_ratio"]).mask(worst > 0, np.inf))


def _signal_ends(log: GradientLog) -> pd.DataFrame:
    """The ends of the gradients of the outputs."""
    return _ends(_signals(log))


def _step_zeros(log: GradientLog) -> pd.DataFrame:
    """Per run and step, the `share` of exact zeros in all gradients together."""
    rows = _gradients(log)
    rows = rows[rows["nonfinite_fraction"] == 0]
    counts = rows.assign(zeros=rows["zero_fraction"] * rows["size"])
    sums = counts.groupby(_STEP)[["zeros", "size"]].sum().reset_index()
    return sums.assign(share=sums["zeros"] / sums["size"])


def _step_norms(log: GradientLog) -> pd.DataFrame:
    """Per run and step, the norm of all gradients together; no square overflows."""
    rows = _gradients(log).dropna(subset=["log10_norm"])
    largest = rows.groupby(_STEP)["log10_norm"].transform("max")
    with np.errstate(invalid="ignore"):  # -Inf - -Inf: all of them are 0
        squares = 10.0 ** (2 * (rows["log10_norm"] - largest).fillna(0.0))
    steps = rows.assign(largest=largest, squares=squares).groupby(_STEP)
    joint = steps["largest"].max() + 0.5 * np.log10(steps["squares"].sum())
    return _power(joint).rename("norm").reset_index()


def _loss_ratios(log: GradientLog) -> pd.DataFrame:
    """Ratios of losses 10 steps apart, or as little more as the log allows."""
    rows = []
    for run, losses in log.losses.groupby("run"):
        steps, values = losses.sort_values("step")[["step", "loss"]].to_numpy(float).T
        start = 0
        while (stop := int(np.searchsorted(steps, steps[start] + 10))) < len(steps):
            with np.errstate(all="ignore"):
                rows.append((run, steps[stop], values[stop] / values[start]))
            start = stop
    return pd.DataFrame(rows, columns=["run", "step", "ratio"]).astype({"ratio": float})


def _gradients_in_format(log: GradientLog) -> pd.DataFrame:
    """The gradients, each with the limits of the number formats of its run."""
    rows, dtypes = _gradients(log), log.runs.set_index("run")["dtype"]
    limits = {name: rows["run"].map(dtypes.map(of)) for name, of in _LIMITS.items()}
    return rows.assign(**limits)


def _moving(log: GradientLog) -> pd.DataFrame:
    """Those of them that are finite and not 0."""
    rows = _gradients_in_format(log)
    return rows[np.isfinite(rows["log10_norm"])]


_LIMITS: dict[str, Callable[[str], float]] = {
    "underflow": lambda dtype: vanishes_below(computed_in(dtype)),
    "overflow": lambda dtype: computed_in(dtype).largest,
    "smallest_normal": lambda dtype: computed_in(dtype).smallest_normal,
    "spacing": lambda dtype: stored_in(dtype).epsilon,
}

_SAGEMAKER = (
    "SageMaker Debugger",
    "https://docs.aws.amazon.com/sagemaker/latest/dg/debugger-built-in-rules.html",
)
_AUTOTRAINER = ("AUTOTRAINER", "https://github.com/shiningrain/AUTOTRAINER")
_DEEPDIAGNOSIS = ("DeepDiagnosis", "https://github.com/DeepDiagnosis/ICSE2022")
_NEUROSCOPE = ("NeuroScope", "https://github.com/ahmadrazacdx/neuro-scope")  # 0.2.2
_KARPATHY = ("Karpathy", "https://github.com/karpathy/nn-zero-to-hero")
_CRAFT_BITS = (
    "craft-bits",
    "https://craft-bits.unlocalhosted.com/docs/ml-viz/gradient-decay-explorer",
)
_KERAS = ("Keras", "https://keras.io/api/callbacks/terminate_on_nan/")
_PLAIN = ("plain check", "https://www.tensorflow.org/api_docs/python/tf/norm")
_IEEE_754 = "https://doi.org/10.1109/IEEESTD.2019.8766229"
_UMLAUT = ("UMLAUT", "https://doi.org/10.1145/3411764.3445538")

# fmt: off
# The table. A row: key, source and reference, name there; condition; rows, quantity,
# sign, threshold; note; a comparison of its own where sign and threshold do not say it.
_TABLE = (
    Rule("sagemaker_vanishing_gradient", *_SAGEMAKER, "VanishingGradient",
         "mean |g| of a gradient < 1e-7", _gradients, "log10_mean", "<", 1e-7,
         "Any gradient, of biases too.", needs=("log10_mean",)),
    Rule("sagemaker_exploding_gradient", *_SAGEMAKER, "ExplodingTensor",
         "a gradient holds Inf or NaN", _gradients, "nonfinite_fraction", ">", 0.0,
         "Any Inf or NaN: `only_nan=False`."),
    Rule("sagemaker_exploding_output", *_SAGEMAKER, "ExplodingTensor",
         "an output holds Inf or NaN", _outputs, "nonfinite_fraction", ">", 0.0,
         "The same rule on the outputs of the layers."),
    Rule("sagemaker_all_zero", *_SAGEMAKER, "AllZero",
         "100% of a gradient is 0", _zero_shares, "share", ">=", 1.0,
         "All values are exactly 0: `threshold`, 100%.",
         fires=lambda rows: rows["log10_norm"] == -np.inf),
    Rule("sagemaker_large_update", *_SAGEMAKER, "WeightUpdateRatio, large",
         "update / weight > 10", _weights, "update_ratio", ">", 10.0,
         "`large_threshold`. SageMaker keeps biases apart. It is a ratio of Frobenius "
         "norms here; SageMaker adds 1e-9 to the weights."),
    Rule("sagemaker_small_update", *_SAGEMAKER, "WeightUpdateRatio, small",
         "update / weight < 1e-8", _weights, "update_ratio", "<", 1e-8,
         "`small_threshold`. Of weights too. The update here is the one that was to be "
         "made; SageMaker compares saved weights, and sees 0 where it rounds away."),
    Rule("sagemaker_loss_not_decreasing", *_SAGEMAKER, "LossNotDecreasing",
         "loss not below that of 10 steps before", _loss_ratios, "ratio", "not <", 10,
         "At least `num_steps`, 10, steps before, and asked that often. What is "
         "measured is the ratio of the two losses.",
         fires=lambda rows: ~(rows["ratio"] < 1)),
    Rule("autotrainer_vanishing_gradient", *_AUTOTRAINER, "vanish_gradient",
         "|dW_1| / |dW_last| < 1e-3 and |dW_1| < 1e-4",
         _kernel_ends, "log10_ratio", "<", 1e-3,
         "Beta 1 and 2, of kernels. What is measured is the ratio. 0 / 0 is not a "
         "number and does not fire.",
         fires=lambda rows: (rows["log10_ratio"] < -3) & (rows["log10_first"] < -4)),
    Rule("autotrainer_exploding_gradient", *_AUTOTRAINER, "explode_gradient",
         "|dW_1| / |dW_last| > 70, or Inf or NaN", _kernel_ends, "ratio", ">", 70.0,
         "Beta 3, of kernels, or any Inf or NaN."),
    Rule("autotrainer_dying_relu", *_AUTOTRAINER, "died_relu",
         "70% or more of all gradient entries are 0", _step_zeros, "share", ">=", 0.7,
         "Gamma. It says ReLU of any network, and so of a linear one whose gradients "
         "underflow. At a step at which not all zeros were counted, those that were "
         "must be enough.", needs=("size",)),
    Rule("autotrainer_nan_loss", *_AUTOTRAINER, "nan_loss",
         "loss >= 1e3, Inf or NaN", _losses, "loss", "not <", 1e3,
         "`check_large_loss`."),
    Rule("deepdiagnosis_vanishing_gradient", *_DEEPDIAGNOSIS,
         "Vanishing Gradient Problem", "mean |g| of a kernel's gradient < 1e-7",
         _kernels, "log10_mean", "<", 1e-7, "`threshold_VG`.", needs=("log10_mean",)),
    Rule("neuroscope_small_gradient", *_NEUROSCOPE, "vanishing, moderate",
         "rms of a layer's gradient < 1e-5", _kernel_rms, "log10_rms", "<", 1e-5,
         "Of two layers or more. The first half of the rule, a ratio of variances, "
         "cannot be read off a log.", needs=("size",),
         fires=lambda rows: (rows["layers"] > 1) & (rows["log10_rms"] < -5)),
    Rule("neuroscope_vanishing_gradient", *_NEUROSCOPE, "vanishing, severe",
         "rms of a layer's gradient < 1e-7", _kernel_rms, "log10_rms", "<", 1e-7,
         "The same, two decades lower.", needs=("size",),
         fires=lambda rows: (rows["layers"] > 1) & (rows["log10_rms"] < -7)),
    Rule("neuroscope_exploding_gradient", *_NEUROSCOPE, "exploding",
         "norm of all gradients together > 10", _step_norms, "norm", ">", 10.0,
         "Global L2 norm; NeuroScope cites Pascanu, Mikolov & Bengio (2013)."),
    Rule("neuroscope_exploding_layer", *_NEUROSCOPE, "exploding, one layer",
         "norm of a gradient > 5", _kernels, "norm", ">", 5.0,
         "L2 norm of one layer's gradient, here its kernel's."),
    Rule("karpathy_small_update", *_KARPATHY, "update : data",
         "update / kernel < 1e-5", _kernels, "update_ratio", "<", 1e-5,
         'Two decades below the line at 1e-3. "Makemore part 3" draws the line, for '
         "arrays of two dimensions, and calls what is far below it too slow. The ratio "
         "is one of Frobenius norms here, not of standard deviations about the mean."),
    Rule("craft_bits_vanishing", *_CRAFT_BITS, "vanishing",
         "|dL/da_1| / |dL/da_L| < 0.01", _signal_ends, "log10_ratio", "<", 0.01,
         "Gradient at the first layer beside that at the last."),
    Rule("craft_bits_exploding", *_CRAFT_BITS, "exploding",
         "factor of |dL/da| per layer > 1.05", _signal_ends, "factor", ">", 1.05,
         "Growth of the gradient per layer, on the way back."),
    Rule("keras_terminate_on_nan", *_KERAS, "TerminateOnNaN",
         "loss is Inf or NaN", _losses, "loss", "not <", np.inf,
         "Loss of a batch.", fires=lambda rows: ~np.isfinite(rows["loss"])),
    Rule("norm_prints_as_zero", *_PLAIN, "norm prints as 0",
         "tf.norm of a gradient is 0", _gradients_in_format, "log10_norm", "<", 0.0,
         "As a framework computes it: every square underflows. Squares come first, so "
         "this is so at half the depth at which the gradient is 0.",
         fires=lambda rows: rows["log10_max"] < 0.5 * np.log10(rows["underflow"])),
    Rule("norm_prints_as_inf", *_PLAIN, "norm prints as inf",
         "tf.norm of a gradient is not finite",
         _gradients_in_format, "log10_norm", ">", np.inf,
         "As a framework computes it: the sum of squares overflows.",
         fires=lambda rows: rows["log10_norm"] > 0.5 * np.log10(rows["overflow"])),
    Rule("below_smallest_normal", "number format", _IEEE_754, "subnormal",
         "largest |g| < smallest normal number",
         _gradients_in_format, "log10_max", "<", 0.0,
         "Every element of a gradient is subnormal, or 0; TensorFlow makes it 0.",
         fires=lambda rows: rows["log10_max"] < np.log10(rows["smallest_normal"])),
    Rule("update_rounds_away", "vgkeras", _IEEE_754, "update rounds away",
         "update / weight < half the spacing of weights, and some stay as they were",
         _moving, "update_ratio", "<", np.nan,
         "`w - update == w`: the update is lost in rounding, though it is not 0. A "
         "weight of exactly 0 can always move, if by a rounding error of its gradient; "
         "so not all weights need stay, but the update as a whole must be below the "
         "rounding of weights: 2**-24 of them in float32.",
         fires=lambda rows: (rows["update_ratio"] < rows["spacing"] / 2)
         & (rows["frozen_fraction"] > rows["zero_fraction"] + 1e-9)),
    Rule("umlaut_learning_rate", *_UMLAUT, "learning rate",
         "learning rate > 0.01 or < 1e-7",
         lambda log: log.runs[["run", "learning_rate"]], "learning_rate", "<", 0.01,
         "Whatever the optimizer.", fires=lambda rows:
         (rows["learning_rate"] > 0.01) | (rows["learning_rate"] < 1e-7)),
)
# fmt: on
RULES: dict[str, Rule] = {rule.key: rule for rule in _TABLE}


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
        >>> answers = what_others_say(predict(scales=[0.5], depths=[50], steps=1))
        >>> print(answers.loc["craft_bits_vanishing", "c = 0.5, L = 50"])
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
    starts = runs["scale"].where(runs["scale"].notna(), runs["initializer"])
    rows = {}
    for key, rule in RULES.items():
        fires = _fires(rule, start)
        depths = runs["depth"].where(fires.reindex(runs.index))
        rows[key] = depths.groupby(starts, sort=False).min().astype("Int64")
    return pd.DataFrame(rows).T.rename_axis(index="rule", columns=None)


def _fires(rule: Rule, log: GradientLog) -> pd.Series:
    if rule.absent(log):
        return pd.Series(False, index=log.runs["run"])
    return rule(log)["fires"]


def _answers(rule: Rule, log: GradientLog) -> list[str]:
    if rule.absent(log):
        return ["not logged"] * len(log.runs)
    return [_answer(row) for row in rule(log).to_dict("records")]


def _answer(row: dict) -> str:
    if not row["fires"]:
        return "cannot tell" if np.isnan(row["measured"]) else "silent"
    places = [f"{p} {row[p]:.0f}" for p in ("layer", "step") if not np.isnan(row[p])]
    where = f" ({', '.join(places)})" if places else ""
    return f"fires: {number(row['measured'])}{where}"


def _labels(runs: pd.DataFrame) -> list[str]:
    """A column title per run, each of them different."""
    labels = [run_label(run) for run in runs.to_dict("records")]
    if len(set(labels)) == len(labels):
        return labels
    return [f"{label}, run {n}" for label, n in zip(labels, runs["run"], strict=True)]
