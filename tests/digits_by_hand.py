"""A recording of digits made by hand, whose answers are done in the head."""

import pandas as pd

from vgkeras import logs

BASELINE, RECIPE = "Small random weights", "Recipe of today"


def recording(accuracies, gradients=None, activation="relu", size=100):
    """A log from `{(remedy, depth): [accuracy of each seed]}`.

    `gradients` holds log10 norms of the first layer in the same way; default 0.
    """
    cells = [
        (remedy, depth, seed, accuracy)
        for (remedy, depth), own in accuracies.items()
        for seed, accuracy in enumerate(own)
    ]
    remedy, depth, seed, accuracy = map(list, zip(*cells, strict=True))
    runs = logs.run_table(depth=depth, seed=seed, target="digits")
    runs = runs.assign(remedy=remedy, activation=activation, test_accuracy=accuracy)
    norms = [
        (gradients or {}).get((name, layers), [0.0] * 9)[number]
        for name, layers, number, _ in cells
    ]
    first = pd.DataFrame({"run": runs["run"], "step": 0, "layer": 1, "size": size})
    first = first.assign(name="dense_1/kernel", kind="weight_gradient")
    first = first.assign(log10_norm=norms).reindex(columns=list(logs.LAYER_COLUMNS))
    last = first.assign(step=439, log10_norm=9.0)
    layers = pd.concat([first, last], ignore_index=True)
    losses = pd.DataFrame({"run": runs["run"], "step": 0, "loss": 2.3})
    return logs.GradientLog(runs, losses, layers)


def story(he):
    """Baseline to depth 2, He's to what `he` says at 2, 10 and 50, the recipe on."""
    reads = {BASELINE: (0.92, 0.1, 0.1), "Glorot": (0.91, 0.5, 0.1), "He": he}
    reads[RECIPE] = (0.95, 0.97, 0.96)
    return recording(
        {
            (name, depth): [accuracy] * 3
            for name, own in reads.items()
            for depth, accuracy in zip((2, 10, 50), own, strict=True)
        }
    )
