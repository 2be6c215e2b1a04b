"""Findings while a model trains: a warning, or an end, before the night is lost."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import keras

from vgkeras._checks import check_option, check_positive_int
from vgkeras.diagnosis import REGIMES, diagnose
from vgkeras.logs import GradientLog

ACTIONS = ("warn", "stop")
_FAULTS = tuple(regime for regime in REGIMES if regime not in ("healthy", "unknown"))


class Alerts:
    """Looks at a log every so many steps, and acts on each regime once.

    Args:
        actions: By regime, what to do.
        every: Steps between looks.
    """

    def __init__(self, actions: Mapping[str, str], every: int) -> None:
        self._actions = {
            check_option("alerts", regime, _FAULTS): check_option(
                "alerts", action, ACTIONS
            )
            for regime, action in actions.items()
        }
        self._every = check_positive_int("alert_steps", every)
        self._since = 0

    def after(
        self, steps: int, log: Callable[[], GradientLog], model: keras.Model
    ) -> None:
        """Counts steps that were made, and looks if it is time to."""
        self._since += steps
        if not self._actions or self._since < self._every:
            return
        self._since = 0
        for finding in diagnose(log()):
            action = self._actions.pop(finding.regime, None)
            if action is not None:
                self._act(action, finding, model)

    def _act(self, action: str, finding: Any, model: keras.Model) -> None:
        if action == "stop":
            model.stop_training = True
        ending = " Training stops." if action == "stop" else ""
        warnings.warn(f"GradientLogger: {finding}{ending}", stacklevel=2)
