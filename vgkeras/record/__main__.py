"""The command line `python -m vgkeras.record`, a subcommand for each recording."""

import argparse
import inspect
from collections.abc import Sequence
from pathlib import Path

_SHARPNESS = 1.5  # of pictures, in pixels for each point
_WORDS = {"path": "file of numbers to write", "picture": "PNG or SVG file to draw"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Records what the arguments name, writes its files and prints what came out.

    Args:
        arguments: Name of a recording and options; default the command line.
    """
    options = vars(_parser().parse_args(arguments))
    options.pop("record")(**options)


def _parser() -> argparse.ArgumentParser:
    """A subcommand for each function below, an option for each of its arguments."""
    words = "Measures anew what assets/ holds. Run it in the folder above."
    parser = argparse.ArgumentParser("python -m vgkeras.record", description=words)
    commands = parser.add_subparsers(required=True, metavar="NAME")
    for record in (_lesson, _digits, _remedies, _recurrent, _published, _resnet152):
        name, words = record.__name__.strip("_"), str(record.__doc__)
        command = commands.add_parser(name, help=words, description=words)
        command.set_defaults(record=record)
        for option, parameter in inspect.signature(record).parameters.items():
            words = f"{_WORDS[option]} (default: %(default)s)"
            default = parameter.default
            command.add_argument(f"--{option}", default=default, type=_file, help=words)
    return parser


def _file(path: str) -> str:
    """A path that can be written to: better known before minutes of measurement."""
    if not Path(path).parent.is_dir():
        raise argparse.ArgumentTypeError(f"no such folder: {Path(path).parent}")
    return path


def _lesson(path: str = "assets/lesson.parquet") -> None:
    """The default lesson, on real Keras models."""
    from vgkeras.record.lesson import record_lesson

    log = record_lesson()
    log.save(path)
    print(log)


def _digits(path: str = "assets/digits.parquet") -> None:
    """Digits read by networks of 2 to 50 layers; goes on where it was interrupted."""
    from vgkeras.record.digits import record_digits

    print(record_digits(path))


def _remedies(path: str = "assets/remedies.parquet") -> None:
    """All remedies, compared."""
    from vgkeras.record.remedies import record_remedies
    from vgkeras.remedies import table

    log = record_remedies()
    log.save(path)
    print(table(log).to_string())


def _recurrent(path: str = "assets/recurrent.parquet") -> None:
    """What recurrent networks remember; goes on where it was interrupted."""
    from vgkeras.record.recurrent import record_recurrent

    print(record_recurrent(path))


def _published(path: str = "assets/published.json") -> None:
    """Published results, measured again."""
    from vgkeras import published

    results = []
    for name in published.NAMES:
        results += published.reproduce([name])
        print(results[-1], flush=True)
    published.save(results, path)


def _resnet152(
    path: str = "assets/resnet152.parquet", picture: str = "assets/resnet152.png"
) -> None:
    """ResNet-152 with and without its shortcuts."""
    from vgkeras.charts import gradient_with_and_without_shortcuts
    from vgkeras.diagnosis import diagnose
    from vgkeras.record.resnet152 import record_shortcuts

    log = record_shortcuts()
    log.save(path)
    chart = gradient_with_and_without_shortcuts(log)
    chart.save(picture, scale_factor=_SHARPNESS)
    print(diagnose(log))


if __name__ == "__main__":
    main()
