"""The part of a URL path that names a model, and a version by number or label."""

import re
from urllib.parse import unquote

from ..protocol.statuses import invalid

MODEL_PATH = r"/models/([^/:]+)(?:/versions/([0-9]+)|/labels/([^/:]+))?"
_MAX_VERSION = str(2**63 - 1)


def spec_of(match: re.Match) -> tuple[str, int | None, str | None]:
    """Returns (name, version or None, label or None) of a match.

    Args:
        match: A match of a pattern whose first three groups are those of `MODEL_PATH`.

    Raises:
        StatusError: INVALID_ARGUMENT if the version is too large.
    """
    digits = match[2]
    if digits and (
        len(digits) > len(_MAX_VERSION) or digits.zfill(len(_MAX_VERSION)) > _MAX_VERSION
    ):
        raise invalid(
            f"Failed to convert version: {digits[:40]} to numeric; "
            f"it must be at most {_MAX_VERSION}."
        )
    return (
        unquote(match[1]),
        int(digits) if digits else None,
        None if match[3] is None else unquote(match[3]),
    )
