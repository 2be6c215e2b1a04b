"""What a published result is here, and how results are written and read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from vgkeras.logs import versions

if TYPE_CHECKING:
    import pandas as pd

# Source, URL, claim, and what was measured, with a result's numbers to be filled in.
PAPERS: dict[str, tuple[str, str, str, str]] = {
    "learning_time": (
        "Saxe, McClelland & Ganguli 2013",
        "https://arxiv.org/abs/1312.6120",
        "A deep linear network rests on a long plateau, then learns all at once. Its "
        "time is an integral in closed form.",
        "In {runs:.0f} runs the time to learn is within {error:.2f} steps of theory, "
        "the time to half the loss within {error_half:.2f}. The slowest run of "
        "{longest:,.0f} steps needs {plateau:,.0f} for the first 10% of its loss and "
        "{drop:,.0f} for the next 80%.",
    ),
    "negative_eigenvalue": (
        "Bartlett, Helmbold & Long 2018",
        "https://arxiv.org/abs/1802.06093",
        "From identity kernels, gradient descent learns a symmetric map if all its "
        "eigenvalues are positive, else never.",
        "The positive map is learned within {learned:.0f} steps at every depth. Of the "
        "map with an eigenvalue of -1, that direction's share of the loss stays: in "
        "{steps:,.0f} steps all {runs:.0f} stacks of 3 and more layers come within "
        "{above:.2%} of it, none below. Two layers rest there too, until rounding "
        "errors free them at step {escaped:,.0f}.",
    ),
    "he_against_xavier": (
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
    "depth_scale": (
        "Schoenholz, Gilmer, Ganguli & Sohl-Dickstein 2017",
        "https://arxiv.org/abs/1611.01232",
        "In a wide random tanh network gradients vanish or explode by a constant "
        "factor per layer, which mean-field theory gives. It trains if it is not much "
        "deeper than the scale that this sets.",
        "Width {units:.0f}: back through a layer the squared gradient changes by a "
        "factor of {fall:.3f} (variance {least:g}) to {rise:.3f} ({most:g}), its "
        "logarithm at {runs:.0f} variances within {error:.3f} of mean-field theory. "
        "The deepest stacks that learn have {listed}: {shallow:.1f} to {deep:.1f} "
        "depth scales.",
    ),
    "orthogonal_against_gaussian": (
        "Hu, Xiao & Pennington 2020",
        "https://arxiv.org/abs/2001.05992",
        "To train a deep linear network, orthogonal kernels need a width that does not "
        "depend on depth. Gaussian kernels need a width that grows with it.",
        "Orthogonal kernels train at least {least:.0%} of the runs at every width from "
        "{narrowest:.0f} and every depth to {deepest:.0f}. The smallest width at which "
        "Gaussian kernels train half of them is {listed}.",
    ),
    "ten_thousand_layers": (
        "Xiao, Bahri, Sohl-Dickstein, Schoenholz & Pennington 2018",
        "https://arxiv.org/abs/1806.05393",
        "Orthogonal kernels alone let signals and gradients through ten thousand "
        "convolutional layers, and such networks train.",
        "Over {depth:,.0f} linear dense layers no norm of an activation or gradient "
        "differs from another of its kind by more than {most:.0e}, {roundings:.0f} "
        "roundings of float32. Built in {build:.0f} s, one tape pass in {tape:.0f} s, "
        "at most {megabytes:,.0f} MB. A stack of this depth trains: {steps:.0f} steps "
        "leave {left:.0e} of the loss.",
    ),
    "post_norm_gradients": (
        "Xiong, Yang, He et al. 2020",
        "https://arxiv.org/abs/2002.04745",
        "A post-norm transformer starts with large gradients near its output, however "
        "deep it is (hence warm-up). Pre-norm's fall like one over the root of the "
        "depth.",
        "In the last of 4 to {deepest:.0f} blocks the gradient changes like the number "
        "of blocks to the power of {post_exponent:.2f} (post-norm) and "
        "{pre_exponent:.2f} (pre-norm). At {deepest:.0f} blocks that of post-norm is "
        "{ratio:.1f} times as large.",
    ),
    "residual_growth": (
        "Hanin & Rolnick 2018",
        "https://arxiv.org/abs/1803.01719",
        "Residual networks keep the lengths of activations only if their branches are "
        "scaled down; else these grow exponentially with depth.",
        "Over {blocks:.0f} blocks of width {units:.0f} a block multiplies the squared "
        "length by {forward:.3f} forward and {backward:.3f} backward; theory says 2. "
        "With branches scaled by one over the root of {blocks:.0f}, all together "
        "multiply it by {scaled_forward:.2f} and {scaled_backward:.2f}; theory says "
        "{exact:.2f}.",
    ),
    "rezero_depth": (
        "Bachlechner, Majumder, Mao, Cottrell & McAuley 2020",
        "https://arxiv.org/abs/2003.04887",
        "A weight that starts at 0 in front of each branch lets very deep residual "
        "networks train.",
        "Of {blocks:.0f} ReLU layers, {rezero:.0f} of {runs:.0f} runs train in "
        "{steps:.0f} steps of Adam with ReZero, {shortcuts:.0f} with plain shortcuts "
        "({shortcuts_lost:.0f} overflow) and {plain:.0f} without. At the start the "
        "gradients of the layers with ReZero differ by {spread:.1g}.",
    ),
    "batch_norm_explosion": (
        "Yang, Pennington, Rao, Sohl-Dickstein & Schoenholz 2019",
        "https://arxiv.org/abs/1902.08129",
        "Batch normalization without shortcuts makes gradients explode exponentially "
        "with depth, whatever the kernels' variance.",
        "Through {depth:.0f} ReLU layers of width {units:.0f} the squared gradient "
        "grows by {least:.3f} to {most:.3f} a layer on its way back, the same at "
        "variances that differ fourfold; theory for large batches says {exact:.3f}.",
    ),
}
NAMES = tuple(PAPERS)


class Result(NamedTuple):
    """One published result and what came out of measuring it again."""

    name: str  # of the function that measures it
    source: str  # authors and year
    url: str
    claim: str  # in our words
    measured: str  # a sentence or two made from `numbers`
    numbers: dict[str, float]  # measured and, where a name says so, from theory
    holds: bool  # whether they support the claim, by the function's criterion
    seconds: float  # that `reproduce` took for it, compilation included; else 0
    points: dict[str, list[Any]] | None = None  # of its picture: `series`, `x`, `y`

    def __str__(self) -> str:
        outcome = "holds" if self.holds else "does not hold"
        return f"{self.source}: {outcome} ({self.seconds:.0f} s)\n  {self.measured}"


def result_of(
    name: str,
    numbers: dict[str, Any],
    holds: Any,
    points: pd.DataFrame,
    **words: str,
) -> Result:
    """Fills the numbers, and words made from them, into the sentence.

    `points` has the columns `series`, `x` and `y`.
    """
    plain = {key: float(value) for key, value in numbers.items()}
    source, url, claim, sentence = PAPERS[name]
    measured = sentence.format(**plain, **words)
    table = points.astype({"x": float, "y": float}).to_dict("list")
    words_of = (name, source, url, claim, measured)
    return Result(*words_of, plain, bool(holds), seconds=0.0, points=table)


def save(results: Sequence[Result], path: str | Path) -> None:
    """Writes results as JSON, with the date, the versions and the command.

    Args:
        results: Results of `reproduce`.
        path: File to write.
    """
    text = {
        "recorded": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": "python -m vgkeras.record published",
        "versions": versions(),
        "findings": [result._asdict() for result in results],
    }
    Path(path).write_text(json.dumps(text, indent=1) + "\n", "utf-8")


def load(path: str | Path) -> list[Result]:
    """Reads results that `save` has written, without TensorFlow.

    Args:
        path: File to read.

    Returns:
        The results, in the order written.

    Raises:
        ValueError: If the file does not hold results.
    """
    try:
        text = json.loads(Path(path).read_text("utf-8"))
        return [Result(**result) for result in text["findings"]]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            "`path` must be a file that `vgkeras.published.save` has written. "
            f"Received: path={str(path)!r}."
        ) from error
