"""Many stacks trained side by side by one compiled program."""

from vgkeras.sweeps.blocks import LINEAR, run_stacks
from vgkeras.sweeps.lanes import Stack, Trace
from vgkeras.sweeps.layers import Recipe
from vgkeras.sweeps.lsuv import unit_variance
from vgkeras.sweeps.optimizers import CompiledOptimizer, compiled_optimizer
from vgkeras.sweeps.runs import sweep
