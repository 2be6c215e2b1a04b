"""One `tf.GradientTape` pass over any Keras model, and statistics of its tensors."""

from vgkeras.tape.labels import layer_labels, measured_layers, weight_labels
from vgkeras.tape.losses import total_loss
from vgkeras.tape.model_pass import (
    TapePass,
    check_loss,
    check_model,
    gradient_norms,
    tape_pass,
)
from vgkeras.tape.models import build, dtype, tensors, unchanged
from vgkeras.tape.tensor_statistics import STATISTICS, statistics
