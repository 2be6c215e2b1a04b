"""GradientLog: the one contract between measuring, judging and drawing."""

from vgkeras.logs.log import GradientLog, concat
from vgkeras.logs.reading import load
from vgkeras.logs.schema import (
    BACKWARDS,
    CALL,
    FIT_LAYER_COLUMNS,
    FIT_LOSS_COLUMNS,
    KINDS,
    LAYER_COLUMNS,
    LOSS_COLUMNS,
    OPTIONAL_COLUMNS,
    REMEDY_COLUMNS,
    RUN_COLUMNS,
    TIME,
    TIME_KINDS,
    logged_steps,
    run_table,
    versions,
)
from vgkeras.logs.strangers import rewrite
