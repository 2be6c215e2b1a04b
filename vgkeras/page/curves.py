"""One run: its loss step by step, its gradients layer by layer."""

import vgkeras as vg
from vgkeras.page.figures import figure
from vgkeras.page.named_log import NamedLog


def curves(run: NamedLog) -> None:
    """Draws both."""
    figure(
        vg.charts.loss_by_step,
        run,
        read="Points are this run, the dashed line is theory.",
        misread="Flat does not mean finished. A loss of 1 is the loss of answering 0.",
    )
    figure(
        vg.charts.kinds_by_layer,
        run,
        read="The gradients of this stack before its first update, layer by layer.",
        misread="The weight gradient is level: it depends on the depth of the stack, "
        "not on the layer.",
    )
