"""How a run is to be served, and whether it can be."""

import dataclasses

from tfrec_attn.errors import ConfigError

from .separator import SEPARATOR

_INDICES = ("exact", "ivf")


@dataclasses.dataclass(frozen=True)
class Options:
    """What the command can be told.

    Args:
      version: number of the version; None takes the next.
      keep: versions that stay; None keeps all.
      k: items that `serving_default` answers with.
      max_k: most items that `recommend` answers with.
      keep_seen: whether items of the history may be recommended; None follows the run's
          `evaluate.repeats`.
      separator: the character that joins the ids of a row in the joined signatures.
      index: "exact" ranks all items, "ivf" those of some cells.
      cells: of the index; None takes 4 sqrt(N).
      nprobe: cells a request; None takes the fewest that find 0.96 of the best ten of the
          validation events.
      int8: whether the index finds its candidates with vectors of int8.

    Errors: ConfigError for values that exclude each other or are out of their range.
    """

    version: int | None = None
    keep: int | None = None
    k: int = 10
    max_k: int = 100
    keep_seen: bool | None = None
    separator: str = SEPARATOR
    index: str = "exact"
    cells: int | None = None
    nprobe: int | None = None
    int8: bool = False

    def __post_init__(self):
        for name in ("version", "keep", "k"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"--{name} must be 1 or greater, but is {value}.")
        if self.max_k < self.k:
            raise ConfigError(f"--max-k must be at least --k, {self.k}, but is {self.max_k}.")
        if self.index not in _INDICES:
            raise ConfigError(
                f"--index must be one of {', '.join(_INDICES)}, but is {self.index!r}."
            )
        given = [
            name
            for name, value in (
                ("cells", self.cells),
                ("nprobe", self.nprobe),
                ("int8", self.int8 or None),
            )
            if value is not None
        ]
        if given and self.index == "exact":
            raise ConfigError(
                f"--{given[0]} belongs to --index ivf, but the index is {self.index}; leave one of them out."
            )

    def cells_of(self, num_items: int) -> int:
        """Cells of the index over so many items, by default such that comparing a query with them
        costs less than scanning some.

        Errors: ConfigError when there cannot be so many cells, or cells a request.
        """
        cells = min(num_items, round(4 * num_items**0.5)) if self.cells is None else self.cells
        for name, value, most, what in (
            ("cells", cells, num_items, "items"),
            ("nprobe", 1 if self.nprobe is None else self.nprobe, cells, "cells"),
        ):
            if not 1 <= value <= most:
                raise ConfigError(
                    f"--{name} must be in 1..{most}, the number of {what}, but is {value}."
                )
        return cells
