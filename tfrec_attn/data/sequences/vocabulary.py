"""The two-way table between ids and indices of embedding rows."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from tfrec_attn.errors import DataError

# Up to this number, ids are read faster one by one than by polars.
_FEW = 20


class Vocabulary:
    """Immutable ids with indices 1..N in the given order; index 0 is padding and unknown ids.

    Args:
        ids: Distinct ids (list, NumPy array or polars Series) that are not empty and have no line
            break.

    Raises:
        DataError: If an id is empty, has a line break or is repeated.
    """

    def __init__(self, ids: Iterable[str]):
        self._ids = pl.Series(
            "id", ids if isinstance(ids, pl.Series) else list(ids), dtype=pl.String
        )
        self._check("the vocabulary", "id")

    @classmethod
    def load(cls, path: str | Path) -> "Vocabulary":
        """Reads UTF-8 text with one id per line; line k, counted from 1, has index k.

        Raises:
            DataError: If there is no such file, if it is not UTF-8, or if it has an empty line or a
                repeated id.
        """
        try:
            text = Path(path).read_bytes().decode("utf-8")
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}.") from error
        except UnicodeDecodeError as error:
            byte = f"{error.object[error.start]:#04x}"
            raise DataError(f"{path} is not UTF-8 text: byte {error.start} is {byte}.") from error
        vocabulary = cls.__new__(cls)
        lines = text.removesuffix("\n").split("\n") if text else []
        vocabulary._ids = pl.Series("id", lines, dtype=pl.String)
        vocabulary._check(str(path), "line")
        return vocabulary

    def save(self, path: str | Path) -> None:
        """Writes UTF-8 text with one id per line."""
        Path(path).write_bytes("".join(f"{one}\n" for one in self._ids).encode("utf-8"))

    def extended(self, ids: Iterable[str]) -> "Vocabulary":
        """Returns a vocabulary with the ids of this one, and then the new ids among `ids`."""
        more = pl.Series("id", list(ids), dtype=pl.String)
        return Vocabulary(pl.concat([self._ids, more]).unique(maintain_order=True))

    def lookup(self, ids: Sequence[str]) -> np.ndarray:
        """Returns the index of each id, int32 [E]; 0 for an unknown id."""
        index = self._index
        return np.fromiter((index.get(one, 0) for one in ids), np.int32, len(ids))

    def ids(self, indices: Iterable[int] | None = None) -> list[str]:
        """Returns the id of each index, with "" for index 0, or all ids in order.

        Args:
            indices: Indices in 0..N. None (default): all ids are returned.

        Raises:
            DataError: If an index is not in 0..N.
        """
        if indices is None:
            return self._ids.to_list()
        indices = np.asarray(indices, np.int64)
        if indices.size and (indices.min() < 0 or indices.max() > len(self)):
            got = f"{indices.min()}..{indices.max()}"
            raise DataError(f"an index must be in 0..{len(self)}, got {got}.")
        if indices.size <= _FEW:
            return [self._ids[index - 1] if index else "" for index in indices.tolist()]
        return self._with_padding.gather(indices).to_list()

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, one: str) -> bool:
        return one in self._index

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self._ids.equals(other._ids)

    def __hash__(self) -> int:
        return hash((len(self), *self._ids.head(3)))

    def __repr__(self) -> str:
        return f"Vocabulary({len(self)} ids)"

    @cached_property
    def _index(self) -> dict[str, int]:
        return {one: index for index, one in enumerate(self._ids, 1)}

    @cached_property
    def _with_padding(self) -> pl.Series:
        return pl.concat([pl.Series("id", [""]), self._ids])

    def _check(self, where: str, unit: str) -> None:
        broken = (self._ids.is_null() | self._ids.str.contains(r"^$|[\r\n]")).arg_true()
        if len(broken):
            raise DataError(
                f"{where}, {unit} {broken[0] + 1}: expected an id without line breaks, "
                f"got {self._ids[broken[0]]!r}."
            )
        if self._ids.n_unique() < len(self._ids):
            again = (~self._ids.is_first_distinct()).arg_true()[0]
            first = self._ids.index_of(self._ids[again])
            raise DataError(
                f"{where}, {unit} {again + 1}: {self._ids[again]!r} is there already, "
                f"in {unit} {first + 1}."
            )


def numbers_of(ids: pl.Series, known: pl.Enum) -> np.ndarray:
    """Returns the index 1..N of each id in `known`, int32 [E]; 0 for an unknown id."""
    codes = ids.cast(known, strict=False).to_physical()
    return (codes.cast(pl.Int64) + 1).fill_null(0).to_numpy().astype(np.int32)


def encode_ids(ids: pl.Series) -> tuple[pl.Series, np.ndarray]:
    """Returns the distinct ids by first appearance, and the code of each id from 0, int32 [E]."""
    distinct = ids.unique(maintain_order=True)
    return distinct, ids.cast(pl.Enum(distinct)).to_physical().to_numpy().astype(np.int32)
