"""Trains a model on a log: `python -m tfrec_attn.train [CONFIG.yaml] [section.key=value ...]`."""

import argparse
import json
import sys
from typing import Any

from tfrec_attn import config as configuration
from tfrec_attn import extensions, models
from tfrec_attn.cli.arguments import Arguments, split_config
from tfrec_attn.cli.terminal import reporting, write_line
from tfrec_attn.config.config_files import packaged
from tfrec_attn.errors import ConfigError
from tfrec_attn.training.result_text import next_commands
from tfrec_attn.training.settings import settings_without_effect
from tfrec_attn.training.training_run import train


@reporting()
def main(arguments: list[str] | None = None) -> int:
    """Runs the command.

    Returns:
        0; 2 for configuration or data that cannot be used; 1 for a training that failed; 130 after
        SIGINT and 143 after SIGTERM.
    """
    given = sys.argv[1:] if arguments is None else arguments
    asked = any(one == "-h" or one.startswith("--h") for one in given)
    parser = Arguments(
        prog="python -m tfrec_attn.train",
        description="Trains a sequential recommender on a log of interactions, and evaluates it. "
        "Without arguments: AttRec on generated data.",
        # Slow, because it reads the sources of all models.
        epilog=_help_of_keys(given) if asked else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "config",
        nargs="?",
        help="YAML file, or a name of the list below; default: the defaults of all keys",
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="section.key=value",
        help="values that override those of the file",
    )
    parser.add_argument(
        "--restart",
        action="store_true",
        help="start again: remove the unfinished run, and replace the finished one once this is "
        "complete",
    )
    parsed = parser.parse_intermixed_args(arguments)
    path, overrides = split_config(parsed.config, parsed.overrides)
    notes = []
    config = configuration.load(path, overrides, models.recommended, notes.append)
    notes += settings_without_effect(config)
    folder = train(config, restart=parsed.restart, notes=notes)
    if folder is not None:
        write_line(next_commands(config, folder))
    return 0


def _help_of_keys(arguments: list[str]) -> str:
    lines = ["configurations of the package:", *(f"  {name}" for name in packaged())]
    lines += ["", "keys and defaults:"]
    for key, default, text in configuration.documented():
        lines.append(f"  {key}={_shown(default)}\n      {text}")
        for extension in (extensions.LOSSES, extensions.SOURCES):
            if key == extension.key and (installed := extension.installed()):
                lines.append(f"      of installed packages: {', '.join(installed)}")
        if key == "model.name":
            given = [one.partition("=")[2] for one in arguments if one.startswith("model.name=")]
            for name in [*models.names(), *(one for one in given if ":" in one)]:
                lines += _help_of_model(name)
            for name in models.hidden():
                lines.append(f"  {name} of an installed package is hidden: name it module:Class")
    return "\n".join(lines)


def _help_of_model(name: str) -> list[str]:
    try:
        parameters, recommended = models.parameters(name), models.recommended(name)
    except ConfigError as error:
        # A broken package must not break the help.
        return [f"  {error}"]
    lines = [f"    model.{parameter}={_shown(value)}" for parameter, value in parameters.items()]
    if recommended:
        settings = (f"{key}={_shown(value)}" for key, value in recommended.items())
        lines.append(f"    recommended: {' '.join(settings)}")
    return [f"  parameters of model.name={name}, explained in its class:", *lines]


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


if __name__ == "__main__":
    sys.exit(main())
