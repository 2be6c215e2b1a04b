"""Remedies against vanishing and exploding gradients, one change at a time.

`compare` trains linear stacks with each remedy, `table` counts and
`comparison_sentences` tells; `digits_table` and `digits_sentence` do so for recorded
networks that read digits. `vgkeras.charts` draws. TensorFlow is loaded by `compare`
alone.
"""

from vgkeras.remedies.comparison import (
    BASELINE,
    GROUPS,
    NAMES,
    REMEDIES,
    Remedy,
    compare,
    compared_runs,
    initial_weights,
    inverse_depth,
    quartiles,
    table,
)
from vgkeras.remedies.digits import (
    DIGITS_ACTIVATIONS,
    DIGITS_BASELINE,
    DIGITS_CHANCE,
    DIGITS_GOOD,
    DIGITS_INITIAL,
    DIGITS_RECIPE,
    digits_sentence,
    digits_table,
)
from vgkeras.remedies.sentences import baseline_of, comparison_sentences
from vgkeras.theory import ACTIVATIONS
