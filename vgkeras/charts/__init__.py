"""Charts of a gradient log, each named what by what; no TensorFlow.

One grammar for all: points are measured, dashed lines are theory, and every norm is
drawn as its base-10 logarithm. A value that has no place on such an axis (exactly 0,
Inf, NaN, or far outside the drawn range) becomes a flagged mark in a band at the edge,
and so does a variable that has no gradient. Where a layer has several variables, kernel
and bias are never mixed: either they differ in colour and shape, or the largest one of
each layer is drawn, and the subtitle says so. Every chart carries a sentence with its
numbers: `description(chart)`.
"""

from vgkeras.charts.by_depth import final_loss_by_depth, gradient_by_depth
from vgkeras.charts.by_layer import gradient_by_layer_and_step, kinds_by_layer
from vgkeras.charts.by_step import gradient_by_step, loss_by_step
from vgkeras.charts.by_time import TIME_LABELS, gradient_by_time, memory_by_state
from vgkeras.charts.cells import SELECTION
from vgkeras.charts.digits import (
    digits_panel,
    digits_panels,
    digits_remedies,
)
from vgkeras.charts.explorer import (
    NETWORK_HEIGHT,
    SMALL_HEIGHT,
    explorer,
    marked_loss_by_depth,
    marked_loss_by_step,
    network,
)
from vgkeras.charts.formats import failure_by_depth_and_format
from vgkeras.charts.grid import grid_height, outcome_grid
from vgkeras.charts.in_time import network_in_time
from vgkeras.charts.maps import (
    MAP_DEPTHS,
    MAP_HEIGHT,
    MAP_LEARNING_RATES,
    MAP_SCALES,
    outcome_by_learning_rate_and_depth,
    outcome_by_scale_and_depth,
)
from vgkeras.charts.published import PICTURE_HEIGHT, published_picture
from vgkeras.charts.recurrent import (
    accuracy_by_length,
    gradient_by_network,
    recurrent_lengths,
    recurrent_tasks,
)
from vgkeras.charts.remedies import (
    REMEDY_HEIGHT,
    activation_by_layer,
    outcome_by_remedy_and_depth,
    outcome_height,
    remedy_gradient_by_depth,
)
from vgkeras.charts.rows import KIND_LABELS, variables
from vgkeras.charts.sentences import run_sentences
from vgkeras.charts.shortcuts import (
    WITH_SHORTCUTS,
    WITHOUT_SHORTCUTS,
    gradient_with_and_without_shortcuts,
    growth_of_gradient,
    shortcuts_sentence,
)
from vgkeras.charts.style import HEIGHT, Chart, description, scale_color
