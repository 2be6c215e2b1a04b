"""One `tf.GradientTape` pass over any Keras model, and statistics of its tensors."""

from vgkeras.tape.batch_statistics import (
    BATCH_STATISTICS,
    batch_statistics,
    mean_outputs,
)
from vgkeras.tape.calls import layer_calls, replaced
from vgkeras.tape.labels import (
    Call,
    layer_labels,
    layer_of,
    measured_layers,
    weight_labels,
)
from vgkeras.tape.losses import check_loss, is_mse, total_loss
from vgkeras.tape.model_facts import model_facts
from vgkeras.tape.model_pass import TapePass, dense_gradient, gradient_norms, tape_pass
from vgkeras.tape.models import (
    check_backend,
    check_model,
    check_optimizer,
    frozen_layers,
    policy_name,
    variables_restored,
)
from vgkeras.tape.objective import (
    Batch,
    Objective,
    gradients_by_outputs,
    loss_of_compile,
    objective_of,
)
from vgkeras.tape.tensor_statistics import (
    STATISTICS,
    UPDATE_STATISTICS,
    statistics,
    update_statistics,
)
from vgkeras.tape.through_time import (
    by_step,
    count_of_steps,
    gradient_through_time,
    is_in,
    through_time_pass,
    time_labels,
)
from vgkeras.tape.time_steps import TimeSteps, anchor, time_steps
