"""diagnose(): what is wrong with the gradients of a run, by which rule, what helps."""

from vgkeras.diagnosis.finding import CAUSES, REGIMES, Finding, Findings
from vgkeras.diagnosis.judgement import diagnose
from vgkeras.diagnosis.model_log import log_of
from vgkeras.diagnosis.run_arrays import root_mean_square, with_known_zeros
