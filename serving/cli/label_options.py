"""Arguments of the commands that move a label."""

import argparse

from tfrec_attn.cli.arguments import path


def add_label_options(parser: argparse.ArgumentParser) -> None:
    """Adds the model, the configuration of its server, and the time to load a version."""
    parser.add_argument("--model", required=True, metavar="NAME", help="model that is served")
    parser.add_argument(
        "--config",
        type=path,
        required=True,
        metavar="FILE",
        help="models.config of the server; the moved label is written into it",
    )
    parser.add_argument(
        "--load-seconds",
        type=float,
        default=120.0,
        metavar="SECONDS",
        help="time for the server to load a version (default: 120)",
    )
