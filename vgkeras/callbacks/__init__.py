"""GradientLogger: the gradients of `model.fit`, as the training step computed them."""

from vgkeras.callbacks.logger import SCALARS, GradientLogger
