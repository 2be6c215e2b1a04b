"""Exact theory of deep linear stacks, and of random ones before their first step.

Stacks of scaled identities: `depth` linear layers without bias, kernels `scale * I`,
under full-batch gradient descent on Keras' `"mse"`. Two kinds of rate occur:
`learning_rate` is the optimizer's; `rate` is that of one mode,
`learning_rate * (2 / output_units) * eigenvalue`, where `eigenvalue` belongs to
`x.T @ x / samples` (1 for the whitened data of `make_data`).

NumPy only. What speaks of the tables of a log needs pandas, and is loaded when used.
"""

import importlib
from typing import Any

from vgkeras.theory.closed_form import ClosedForm, closed_form
from vgkeras.theory.data import TARGETS, make_data, target_modes
from vgkeras.theory.learning_time import min_trainable_scale, steps_to_learn
from vgkeras.theory.modes import log_gap, trajectory
from vgkeras.theory.outcomes import (
    EXPLODED,
    FLAT,
    LEARNED,
    OUTCOMES,
    OutcomeEdges,
    outcome_edges,
    outcomes_by_loss,
)
from vgkeras.theory.predicted_outcome import outcome
from vgkeras.theory.random_stacks import (
    ACTIVATIONS,
    Growth,
    mean_field,
    relu_growth,
    tanh_recursion,
    typical_log_growth,
)
from vgkeras.theory.recurrent import (
    RecurrentForm,
    forget_gate_memory,
    memory_steps,
    recurrent_bound,
    recurrent_form,
)
from vgkeras.theory.stability import (
    critical_learning_rate,
    divergence_learning_rate,
    divergence_scale,
    stable_learning_rate,
)

_OF_LOGS = {
    "curves_by_depth": "every_depth",
    "predict": "predictions",
    "predict_run": "predictions",
    "outcomes_of_runs": "run_outcomes",
    "run_ends": "run_outcomes",
    "with_outcomes": "run_outcomes",
    "Agreement": "what_trains",
    "agreement": "what_trains",
    "boundaries": "edges",
}


def __getattr__(name: str) -> Any:
    if name in _OF_LOGS:
        return getattr(importlib.import_module(f"{__name__}.{_OF_LOGS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
