"""The columns of a log that are read, and their names."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tfrec_attn.data.reading.text_formats import clean
from tfrec_attn.errors import ConfigError, DataError, nearest

ROLES = {"user": "user_id", "item": "item_id", "timestamp": "timestamp"}
OPTIONAL = {"rating": "rating", "event": "event"}
NAMES = {**ROLES, **OPTIONAL}
_SHOWN = 60


def wanted_columns(columns: Mapping[str, str | None] | None) -> dict[str, str]:
    """Returns the column name of each role; a log without times has no role `timestamp`.

    Args:
        columns: As for `tfrec_attn.data.reading.interactions.read_interactions`.

    Raises:
        ConfigError: If a role does not exist, or if two roles have the same column.
    """
    wanted = dict(ROLES)
    for role, name in (columns or {}).items():
        if role not in NAMES:
            raise ConfigError(
                f"data.columns must name one of {', '.join(NAMES)}, "
                f"got {role!r}{nearest(role, NAMES)}."
            )
        if name is not None:
            wanted[role] = name
        elif role == "timestamp":
            del wanted[role]
        elif role in ROLES:
            raise ConfigError(
                f"data.columns.{role} must name a column, got null: "
                "only the timestamp can be missing."
            )
    if len(set(wanted.values())) < len(wanted):
        got = ", ".join(map(str, wanted.values()))
        raise ConfigError(f"data.columns must name different columns, got {got}.")
    return wanted


def require_column(
    path: Path | str, name: str, role: str, names: Sequence[str], hint: str = ""
) -> None:
    """Checks that a log has a column exactly once.

    Args:
        path: The log.
        name: Name of the column.
        role: Role of the column.
        names: Names of all columns.
        hint: What to do if the column is missing. Default: name it in data.columns.

    Raises:
        DataError: If the column is missing, or if there are several.
    """
    count = list(names).count(name)
    if count > 1:
        raise DataError(f"{path} has {count} columns {name!r}: rename all but one.")
    if not count:
        few = [clean(one if len(one) <= _SHOWN else one[:_SHOWN] + "...") for one in names[:20]]
        shown = ", ".join(few) + (", ..." if len(names) > len(few) else "")
        remedy = hint or (
            f"name it in data.columns.{role}, or name all columns in data.names if the file has no "
            "header"
        )
        raise DataError(
            f"{path} has no column {name!r}{nearest(name, few)}, "
            f"its columns are {shown or 'none'}: {remedy}."
        )
