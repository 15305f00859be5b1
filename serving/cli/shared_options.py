"""Arguments that several commands have."""

import argparse

from tfrec_attn.cli.arguments import path

REFERENCE = "MODEL[:VERSION or LABEL]"


def add_target(parser: argparse.ArgumentParser) -> None:
    """Adds the address of a gRPC server."""
    parser.add_argument(
        "--target",
        default="127.0.0.1:8500",
        metavar="HOST:PORT",
        help="gRPC server (default: %(default)s)",
    )


def add_version(parser: argparse.ArgumentParser) -> None:
    """Adds the version of a model, by its number or by a label."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--version", type=int, help="version of the model (default: the server's choice)"
    )
    which.add_argument("--label", help="label of a version")


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
