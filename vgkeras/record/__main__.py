"""The command line `python -m vgkeras.record`, a subcommand for each recording."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

_SHARPNESS = 1.5  # of pictures, in pixels for each point


def main(arguments: Sequence[str] | None = None) -> None:
    """Records what the arguments name, writes its files and prints what came out.

    Args:
        arguments: Name of a recording and options; default the command line.
    """
    options = vars(_parser().parse_args(arguments))
    record = options.pop("record")
    record(**options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m vgkeras.record",
        description="Measures anew what assets/ holds. Run it above that folder.",
    )
    commands = parser.add_subparsers(required=True, metavar="NAME")
    for record, files in _FILES.items():
        command = commands.add_parser(
            record.__name__.strip("_"),
            description=record.__doc__,
            help=record.__doc__,
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        command.set_defaults(record=record)
        for option, (default, words) in files.items():
            command.add_argument(option, default=default, type=_file, help=words)
    return parser


def _file(path: str) -> Path:
    """A path that can be written to, which is better known before the measurement."""
    if not Path(path).parent.is_dir():
        raise argparse.ArgumentTypeError(f"no such folder: {Path(path).parent}")
    return Path(path)


def _lesson(path: Path, picture: Path) -> None:
    """The default lesson, on real Keras models."""
    from vgkeras.record.lesson import draw_lesson, record_lesson

    log = record_lesson()
    log.save(path)
    draw_lesson(log).save(picture, scale_factor=_SHARPNESS)
    print(log)


def _remedies(path: Path) -> None:
    """All remedies, compared."""
    from vgkeras.record.remedies import record_remedies
    from vgkeras.remedies import table

    log = record_remedies()
    log.save(path)
    print(table(log).to_string())


def _published(path: Path) -> None:
    """Published results, measured again."""
    from vgkeras import published

    results = []
    for name in published.NAMES:
        results += published.reproduce([name])
        print(results[-1], flush=True)
    published.save(results, path)


def _resnet152(picture: Path, path: Path | None = None) -> None:
    """ResNet-152 with and without its shortcuts."""
    from vgkeras.diagnosis import diagnose
    from vgkeras.record.resnet152 import draw_shortcuts, record_shortcuts

    log = record_shortcuts()
    if path:
        log.save(path)
    draw_shortcuts(log).save(picture, scale_factor=_SHARPNESS)
    print(diagnose(log))


_LOG, _PICTURE = "Parquet file to write", "PNG or SVG file to draw"
_FILES: dict[Callable[..., None], dict[str, Any]] = {
    _lesson: {
        "--path": ("assets/lesson.parquet", _LOG),
        "--picture": ("assets/lesson.png", _PICTURE),
    },
    _remedies: {"--path": ("assets/remedies.parquet", _LOG)},
    _published: {"--path": ("assets/published.json", "JSON file to write")},
    _resnet152: {
        "--path": (argparse.SUPPRESS, _LOG),
        "--picture": ("assets/resnet152.png", _PICTURE),
    },
}

if __name__ == "__main__":
    main()
