"""Texts of the page: names, formulas, misconceptions, sources."""

from typing import Any

KINDS = {
    "weight_gradient": "weight gradient",
    "activation": "activation",
    "activation_gradient": "activation gradient",
}

FORMULAS = (
    (
        "With $x = (1, 1)$ and $c = 0.5$ the activations halve in each layer:",
        r"a^{[1]} = \left(\tfrac12,\tfrac12\right),\;"
        r"a^{[2]} = \left(\tfrac14,\tfrac14\right),\;\ldots",
    ),
    ("down to", r"a^{[L]} = \left(\tfrac1{2^L},\tfrac1{2^L}\right)"),
    (
        "The last matrix may have another shape, so the lecture raises the other "
        "$L-1$ to a power:",
        r"\hat y = W^{[L]}\,(1.5\,I)^{L-1}\,x",
    ),
    (
        "Backwards, from the error $D = \\partial\\mathcal L/\\partial\\hat y$, the "
        "gradients of the activations are",
        r"\frac{\partial\mathcal L}{\partial a^{[l]}} = c^{\,L-l}\, D",
    ),
    (
        "and the gradient of a weight matrix is what comes forward times what comes "
        "backward:",
        r"\frac{\partial\mathcal L}{\partial W^{[l]}}"
        r"= c^{\,l-1}\, c^{\,L-l}\, D x^{\top} = c^{\,L-1}\, D x^{\top}",
    ),
    (
        "The right-hand side has no $l$: **in this network the weight gradient is "
        "equal in all layers, and it vanishes with depth.** What slopes from layer to "
        "layer are the activations and their gradients.",
        "",
    ),
)


# Question, answer, where it can be seen, the chart, and the controls that show it.
MISCONCEPTIONS: tuple[tuple[str, str, str, str, dict[str, Any]], ...] = (
    (
        "“The gradients of early layers are smaller.”",
        "Not the weight gradients of this network: the forward factor $c^{l-1}$ and "
        "the backward factor $c^{L-l}$ multiply to $c^{L-1}$ in every layer. They "
        "vanish with the **depth** of the whole network. What gets smaller towards the "
        "input is the gradient with respect to the **activations**.",
        "c = 0.5, L = 20",
        "network",
        {"scale": 0.5, "depth": 20},
    ),
    (
        "“Activations vanish, so gradients vanish.”",
        "They are three different things. For $c < 1$ the activation $c^l x$ shrinks "
        "towards the *output*, its gradient $c^{L-l} D$ shrinks towards the *input*, "
        "and the weight gradient is $c^{L-1} D x^\\top$ everywhere.",
        "c = 0.9, L = 50",
        "network",
        {"scale": 0.9, "depth": 50},
    ),
    (
        "“Without linear activations there is no problem.”",
        "ReLU passes positive numbers unchanged. With $x = (1, 1)$ and $W = c\\,I$, "
        "$c > 0$, every $z$ is positive, so a ReLU network computes exactly the same "
        "$\\frac12, \\frac14, \\frac18, \\ldots$ as this one.",
        "random weights with and without ReLU, in “Remedies”",
        "activation_by_layer",
        {
            "section": "Remedies",
            "remedies": [
                "Scaled identity",
                "Glorot normal",
                "Glorot normal + ReLU",
                "He normal + ReLU",
            ],
        },
    ),
    (
        "“Which dW is large when a[1] is not yet large?”",
        "All of them. $\\partial\\mathcal L/\\partial W^{[1]}$ needs only the input "
        "$x$ and the gradient that has come back through the other $L-1$ layers: that "
        "one is already large. In layer $L$ it is the other way round.",
        "c = 1.5, L = 10",
        "network",
        {"scale": 1.5, "depth": 10},
    ),
    (
        "“A larger learning rate cures vanishing.”",
        "Only in shallow networks. The gradient falls by a constant *factor* with each "
        "layer, so the learning rate would have to grow by it too, and near the "
        "solution that is far too large. Clipping only ever shortens gradients: it "
        "cannot help one that has vanished.",
        "c = 0.9 with 40 learning rates, in “Map”",
        "outcome_by_learning_rate_and_depth",
        {"section": "Map", "map_by": "learning rate", "map_scale": 0.9},
    ),
    (
        "“My framework prints the gradient as 0.0000.”",
        "Then it hides the difference between $10^{-5}$, which trains slowly, "
        "$10^{-30}$, which is rounded away in the update, and a true 0. Here numbers "
        "are powers of ten, and a 0, Inf or NaN is marked as such.",
        "c = 0.5, L = 100, in “Number formats”",
        "failure_by_depth_and_format",
        {"section": "Number formats", "format_scale": 0.5, "format_depth": 100},
    ),
    (
        "“So very deep networks cannot be trained?”",
        "For a long time this was a huge barrier. A careful choice of the random "
        "initial weights (variance $1/n$; $2/n$ for ReLU; Glorot) keeps $c$ near 1. It "
        "does not solve the problem completely but helps a lot.",
        "the scale 0.95 beside the lecture's",
        "final_loss_by_depth",
        {"scales": [0.95]},
    ),
)

TIME_QUESTIONS = (
    (
        "“A gated network has no vanishing gradients.”",
        "Its cell state is multiplied by the forget gate at each step. A gate of 0.5 "
        "(bias 0) leaves $0.5^{100} = 8\\cdot10^{-31}$, one of 0.73 (Keras' "
        "`unit_forget_bias`) $3\\cdot10^{-14}$. A bias of about $\\ln T$ keeps it over "
        "$T$ steps.",
    ),
    (
        "“One matrix for all steps: so its gradient cannot vanish.”",
        "It gets the sum over the steps. Only what recent steps add is large: the "
        "matrix learns, but nothing about what came long ago.",
    ),
    (
        "“A largest singular value above 1 explodes.”",
        "It has to be above 1 to explode; it need not. Below 1 (times the steepest "
        "slope of the activation) every gradient does vanish "
        "([Pascanu et al., 2013](https://arxiv.org/abs/1211.5063)).",
    ),
    (
        "“The gradient vanishes, so the network fails.”",
        "Only if the task needs the memory. Look at the loss, too: `vg.diagnose` does.",
    ),
)

SOURCES = """
- The lecture: *Vanishing/Exploding Gradients*, C2W1L10, Deep Learning Specialization.
- [Glorot & Bengio, 2010](https://proceedings.mlr.press/v9/glorot10a.html):
  understanding the difficulty of training deep feedforward networks.
- [He et al., 2015](https://arxiv.org/abs/1512.03385): residual networks of 152 layers.
- [Saxe, McClelland & Ganguli, 2013](https://arxiv.org/abs/1312.6120): exact learning
  dynamics of deep linear networks.
- [Shamir, 2018](https://arxiv.org/abs/1809.08587): exponential time to converge for
  deep linear networks.
"""

HOW_TO = """
import vgkeras as vg

logger = vg.GradientLogger(every=10)
model.fit(x, y, callbacks=[logger])
logger.log.save("gradients.parquet")
"""
