"""Ids that differ only in their spelling, and words for a missing id."""

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field

import numpy as np
import polars as pl

from tfrec_attn.errors import counted

# What pandas, NumPy, SQL, Hive, JavaScript and spreadsheets write for a missing value.
MISSING = (
    "nan", "NaN", "NAN", "-nan", "-NaN", "None", "none", "NONE", "null", "Null", "NULL", "nil",
    "NIL", "N/A", "n/a", "#N/A", "NA", "<NA>", "<null>", "(null)", "<none>", "NaT", "undefined",
    "\\N",
)  # fmt: skip
_HEX = r"^([0-9A-Fa-f]{24,}|[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})$"  # also UUIDs
_FLOAT = r"^(-?\d+)\.0+$"
_MAYBE_OTHER = rf"^\s|\s$|\.0+$|[^\x00-\x7f]|{_HEX}"
_SHOWN = 40


def unified(ids: pl.Series) -> pl.Series:
    """Returns ids in their common spelling.

    Blanks around an id are removed, `7.0` becomes `7`, UUIDs and hexadecimal numbers of 24 digits
    or more become lower case, and accents are composed (NFC).
    """
    maybe = ids.filter(ids.str.contains(_MAYBE_OTHER)).unique()
    if not len(maybe):
        return ids
    common = maybe.str.strip_chars().str.replace(_FLOAT, "$1")
    lower = pl.when(common.str.contains(_HEX)).then(common.str.to_lowercase()).otherwise(common)
    composed = [unicodedata.normalize("NFC", one) for one in pl.select(lower).to_series()]
    return ids.replace(maybe, pl.Series(composed, dtype=pl.String))


def is_missing(ids: pl.Series) -> pl.Series:
    """Returns which ids are a word for "missing"."""
    return ids.str.strip_chars().is_in(MISSING)


@dataclass(frozen=True)
class IdProblems:
    """Problems with the ids of the users, or of the items, of a log.

    Attributes:
        variants: Number of ids with several spellings. Default 0.
        example: Two spellings of the first of these ids. Default: none.
        missing: Word for "missing" -> its number of events. Default: none.
    """

    variants: int = 0
    example: list[str] = field(default_factory=list)
    missing: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, ids: pl.Series, counts: Callable[[], np.ndarray]) -> "IdProblems":
        """Checks distinct ids.

        Args:
            ids: The ids.
            counts: Function that returns the number of events of each id. It is called only if an
                id is a word for "missing".
        """
        common, missing = unified(ids), {}
        changed = common.filter(common != ids).unique()
        spellings = (
            pl.DataFrame({"common": common, "id": ids})
            .filter(pl.col("common").is_in(changed.implode()))
            .unique()
            .group_by("common")
            .agg(pl.col("id").sort())
            .filter(pl.col("id").list.len() > 1)
            .sort("common")["id"]
        )
        words = is_missing(ids)
        if words.any():
            events = pl.DataFrame({"word": ids.filter(words), "events": counts()[words.to_numpy()]})
            missing = dict(
                events.group_by("word").agg(pl.col("events").sum()).sort("word").iter_rows()
            )
        example = spellings[0].to_list()[:2] if len(spellings) else []
        return cls(len(spellings), example, missing)

    @classmethod
    def merged(cls, parts: Iterable["IdProblems"]) -> "IdProblems":
        """Merges the problems of parts of the ids. One part must have all spellings of an id."""
        parts, missing = list(parts), Counter()
        for part in parts:
            missing.update(part.missing)
        examples = [part.example for part in parts if part.example]
        example = min(examples, key=lambda one: unified(pl.Series(one))[0], default=[])
        return cls(sum(part.variants for part in parts), example, dict(sorted(missing.items())))

    def sentences(self, kind: str) -> list[str]:
        """Returns notes about the problems, with the keys that remove them."""
        found = []
        if self.variants:
            example = " and ".join(map(_shown, self.example))
            found.append(
                f"{self.variants} {kind} are written in several ways, such as {example}: "
                "data.ids=unify makes them one"
            )
        if self.missing:
            words = ", ".join(f"{count} {word}" for word, count in self.missing.items())
            found.append(
                f"{counted(sum(self.missing.values()), 'event names', 'events name', form='')} no "
                f"real id among the {kind} ({words}): data.missing_ids=drop leaves them out"
            )
        return found


@dataclass(frozen=True)
class IdReport:
    """Problems with the ids of a log, before the frequency filter."""

    users: IdProblems
    items: IdProblems

    @classmethod
    def from_dict(cls, tree: dict[str, dict]) -> "IdReport":
        """Returns the report of a tree that `to_dict` has made."""
        return cls(**{kind: IdProblems(**found) for kind, found in tree.items()})

    def to_dict(self) -> dict[str, object]:
        return asdict(self)

    def sentences(self) -> list[str]:
        """Returns notes about the problems."""
        return [*self.users.sentences("users"), *self.items.sentences("items")]


def _shown(one: str) -> str:
    return repr(one if len(one) <= _SHOWN else one[:_SHOWN] + "...")
