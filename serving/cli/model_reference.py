"""Names a version of a served model in one text: MODEL, MODEL:VERSION or MODEL:LABEL."""

import argparse
import dataclasses

from tfrec_attn.errors import shown


@dataclasses.dataclass(frozen=True)
class ModelReference:
    """A served model.

    Attributes:
        model: Its name.
        version: Version number, or None.
        label: Label of a version, or None; without both the server chooses.
    """

    model: str
    version: int | None = None
    label: str | None = None

    def __str__(self) -> str:
        which = self.label if self.version is None else self.version
        return self.model if which is None else f"{self.model}:{which}"


def parse_reference(text: str) -> ModelReference:
    """The `type` of an argument that is MODEL, MODEL:VERSION or MODEL:LABEL."""
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
