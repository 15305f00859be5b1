"""Options of several commands, and references to versions of served models."""

import argparse
import dataclasses

from tfrec_attn.cli.arguments import path
from tfrec_attn.errors import shown

REFERENCE = "MODEL[:VERSION or LABEL]"
# Labels of the version in service, the version on trial, and the former version in service.
STABLE, CANARY, PREVIOUS = "stable", "canary", "previous"


@dataclasses.dataclass(frozen=True)
class ModelReference:
    """A reference to a served model. Without version and label the server chooses the version.

    Attributes:
        model: Name of the model.
        version: Version number, or None.
        label: Label of a version, or None.
    """

    model: str
    version: int | None = None
    label: str | None = None

    def __str__(self) -> str:
        which = self.label if self.version is None else self.version
        return self.model if which is None else f"{self.model}:{which}"


def parse_reference(text: str) -> ModelReference:
    """Parses MODEL, MODEL:VERSION or MODEL:LABEL, as the `type` of an option."""
    model, found, which = text.partition(":")
    if not model or (found and not which):
        raise argparse.ArgumentTypeError(
            f"expected MODEL, MODEL:VERSION or MODEL:LABEL, but got {shown(text)}."
        )
    if not (which.isascii() and which.isdecimal()):
        return ModelReference(model, label=which or None)
    if len(which) > 18:
        raise argparse.ArgumentTypeError(
            f"a version must have at most 18 digits, but is {shown(text)}."
        )
    return ModelReference(model, int(which))


def add_target(parser: argparse.ArgumentParser) -> None:
    """Adds --target, the address of a gRPC server."""
    parser.add_argument(
        "--target",
        default="127.0.0.1:8500",
        metavar="HOST:PORT",
        help="gRPC server (default: %(default)s)",
    )


def add_version(parser: argparse.ArgumentParser) -> None:
    """Adds --version and --label, of which a command takes one."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--version", type=int, help="version of the model (default: the server's choice)"
    )
    which.add_argument("--label", help="label of a version")


def add_label_options(parser: argparse.ArgumentParser) -> None:
    """Adds --model, --config and --load-seconds, which commands that move labels need."""
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
