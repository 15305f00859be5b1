"""The character that joins the ids of a row into one text."""

from collections.abc import Iterable

from tfrec_attn.errors import ConfigError

SEPARATOR = "\t"
_SHOWN = 60


def check_separator(separator: str, ids: Iterable[str]) -> None:
    """Refuses a separator with which a joined text could not be taken apart again.

    Args:
      separator: one character.
      ids: that will be joined.

    Raises:
      ConfigError: It is not one character of Unicode text, or an id has it.
    """
    if len(separator) != 1 or "\ud800" <= separator <= "\udfff":
        raise ConfigError(f"--separator must be one character, but is {ascii(separator)[:_SHOWN]}.")
    broken = next((one for one in ids if separator in one), None)
    if broken is not None:
        shown = repr(broken) if len(repr(broken)) <= _SHOWN else f"{repr(broken)[:_SHOWN]}..."
        raise ConfigError(
            f"--separator must stand in no id, but {separator!r} stands in the item {shown}; name another character."
        )
