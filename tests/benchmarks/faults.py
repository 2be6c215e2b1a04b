"""Faulty training programs and sound ones: what is found, by us and by published rules.

    python -m tests.benchmarks.faults              # all, in a process of their own
    python -m tests.benchmarks.faults latch ascent # some, with every finding

Each program of `tests/programs` is trained as it was reported, and again with the
advice carried out, a default `GradientLogger()` beside it. Published rules are asked
about the same logs.
"""

import argparse
import math
import multiprocessing
import os
import re
from typing import Any, NamedTuple

from vgkeras import diagnose, rules
from vgkeras.diagnosis import Finding

_SILENT = ("healthy", "unknown")
_OTHERS = {
    "SageMaker, any rule": "sagemaker_",
    "AUTOTRAINER, any rule": "autotrainer_",
    "DeepDiagnosis, vanishing": "deepdiagnosis_",
    "NeuroScope, any rule": "neuroscope_",
    "Keras, TerminateOnNaN": "keras_terminate_on_nan",
}


class Row(NamedTuple):
    """What was found in one fit."""

    name: str
    faulty: bool
    findings: list[Finding]
    others: list[str]


def measure(job: tuple[str, bool], *, others: bool = True, part: float = 1.0) -> Row:
    """Trains a program, as reported or repaired, and asks us about its log.

    And all published rules, which take a second. `part`: of the program's epochs.
    """
    import keras

    import vgkeras as vg
    from tests import programs

    name, repaired = job
    program = (programs.FAULTY | programs.SOUND)[name]
    model, x, y, options = program.make(repaired)
    epochs = math.ceil(part * options["epochs"])
    logger = vg.GradientLogger()
    model.fit(x, y, verbose=0, callbacks=[logger], **options | {"epochs": epochs})
    findings = [f for f in diagnose(logger.log) if f.regime not in _SILENT]
    keras.backend.clear_session()
    asked = rules.RULES if others else {}
    fires = [key for key, rule in asked.items() if _fires(rule, logger.log)]
    flagged = [
        who
        for who, prefix in _OTHERS.items()
        if any(key.startswith(prefix) for key in fires)
    ]
    return Row(name, name in programs.FAULTY and not repaired, findings, flagged)


def _fires(rule: rules.Rule, log: Any) -> bool:
    return not rule.absent(log) and bool(rule(log)["fires"].any())


def rows(jobs: list[tuple[str, bool]]) -> list[Row]:
    """Measures programs one after the other, in processes that end now and then."""
    context = multiprocessing.get_context("spawn")
    fits = []
    with context.Pool(1, maxtasksperchild=8) as pool:
        for row in pool.imap(measure, jobs):
            print(("faulty   " if row.faulty else "sound    ") + row.name, flush=True)
            for finding in row.findings:
                print(f"    {finding}", flush=True)
            fits.append(row)
    return fits


def table(fits: list[Row], *, reported: bool) -> str:
    """Counts of faulty programs that are flagged, and of false alarms."""
    from tests import programs

    known = programs.FAULTY | programs.SOUND
    chosen = [
        r
        for r in fits
        if known[r.name].reported == reported or r.name in programs.SOUND
    ]
    faulty = [row for row in chosen if row.faulty]
    sound = [row for row in chosen if not row.faulty]
    right = [r for r in faulty if is_right(r, known[r.name].remedy)]
    lines = [
        f"| | flagged, of {len(faulty)} | right remedy "
        f"| false alarms, of {len(sound)} |",
        "|---|---|---|---|",
        f"| `vgkeras.diagnose(log)` | {sum(bool(r.findings) for r in faulty)} "
        f"| {len(right)} | {sum(bool(r.findings) for r in sound)} |",
    ]
    for who in _OTHERS:
        flagged, alarms = (
            sum(who in r.others for r in rows) for rows in (faulty, sound)
        )
        lines.append(f"| {who} | {flagged} | | {alarms} |")
    return "\n".join(lines)


def is_right(row: Row, remedy: str) -> bool:
    """Whether one of the remedies has the words of the one that repairs it."""
    return any(re.search(remedy, f.remedy, re.IGNORECASE) for f in row.findings)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="programs; by default all")
    names = parser.parse_args().names
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from tests import programs

    known = programs.FAULTY | programs.SOUND
    chosen = names or list(known)
    jobs = [(name, False) for name in chosen]
    jobs += [(name, True) for name in chosen if name in programs.FAULTY]
    fits = rows(jobs)
    print("\nPublished programs\n" + table(fits, reported=True))
    print("\nFurther programs of the same kinds\n" + table(fits, reported=False))


if __name__ == "__main__":
    main()
