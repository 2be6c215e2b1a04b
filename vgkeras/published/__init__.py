"""Published results on trainability, measured again.

A function per paper. Each runs an experiment of seconds, with fixed seeds, and returns
a `Result`: what is claimed, what was measured, and whether that supports the claim by
a criterion that the function's docstring states. `load` reads recorded results, and
like the whole module it does so without TensorFlow.
"""

import functools
import time
from collections.abc import Sequence

from vgkeras._checks import check_each, check_option
from vgkeras.published.classic import (
    depth_scale,
    he_against_xavier,
    learning_time,
    negative_eigenvalue,
    orthogonal_against_gaussian,
    ten_thousand_layers,
)
from vgkeras.published.results import NAMES, PAPERS, Result, load, save
from vgkeras.published.today import (
    batch_norm_explosion,
    post_norm_gradients,
    residual_growth,
    rezero_depth,
)


def reproduce(names: Sequence[str] | None = None) -> list[Result]:
    """Measures published results again.

    Args:
        names: Some of `NAMES`; default all of them, which takes minutes.

    Returns:
        A `Result` per name, in the order given.

    Raises:
        TypeError: If `names` is not a list.
        ValueError: If a name is unknown, or `names` is empty or repeats itself.

    Example:
        >>> [result] = reproduce(["learning_time"])  # doctest: +SKIP
        >>> result.holds  # doctest: +SKIP
        True
    """
    check = functools.partial(check_option, options=NAMES)
    chosen = NAMES if names is None else check_each("names", names, check)
    results = []
    for name in chosen:
        start = time.perf_counter()
        result = globals()[name]()
        results.append(result._replace(seconds=time.perf_counter() - start))
    return results
