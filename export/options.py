"""The options of an export."""

import argparse
import dataclasses
from collections.abc import Sequence
from typing import Any

from tfrec_attn.cli.arguments import path, require_at_least
from tfrec_attn.errors import ConfigError

from .portable.formats import FILES, SAVED_MODEL

_INDEXES = ("exact", "ivf")
_MATRICES = ("float32", "bfloat16", "int8")


def _option(default: Any, text: str, /, **how: Any) -> Any:
    """A field and its command-line option: `text` is the help, `how` goes to `add_argument`."""
    return dataclasses.field(default=default, metadata={"help": text, **how})


_NUMBER = {"type": int}
_IS_ON = {"action": argparse.BooleanOptionalAction}


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of an export. The options of the command have the same names.

    Raises:
        ConfigError: If a value is out of its range, or values exclude each other.
    """

    format: str = _option(
        SAVED_MODEL,
        "savedmodel for TF Serving, or onnx or litert for programs without TensorFlow",
        choices=tuple(FILES),
    )
    version: int | None = _option(None, "number of the version (default: the next)", **_NUMBER)
    keep: int | None = _option(
        None, "remove the lowest versions beyond this many (default: none)", type=int, metavar="N"
    )
    protect: Sequence[int] = _option(
        (),
        "a version that --keep does not remove, such as one in service; repeatable",
        action="append",
        type=int,
        default=[],
        metavar="VERSION",
    )
    k: int = _option(10, "items of serving_default (default: %(default)s)", **_NUMBER)
    max_k: int = _option(100, "most items of recommend (default: %(default)s)", **_NUMBER)
    keep_seen: bool | None = _option(
        None, "recommend items of the history too (default: as the run was evaluated)", **_IS_ON
    )
    separator: str = _option(
        "\t", "joins the ids of a row of text; in no id (default: the tab)", metavar="CHARACTER"
    )
    add_items: str | None = _option(
        None,
        "also serve new items: a log of their first events, or a table of item, neighbour[, "
        "weight]",
        type=path,
        metavar="FILE",
    )
    index: str = _option("exact", "rank all items, or those of some cells", choices=_INDEXES)
    cells: int | None = _option(
        None, "cells of the index (default: 4 times the root of the number of items)", **_NUMBER
    )
    nprobe: int | None = _option(
        None,
        "cells that a request scans (default: the fewest that find 0.96 of the best ten)",
        **_NUMBER,
    )
    int8: bool = _option(
        False, "find the candidates of the index with vectors of int8", action="store_true"
    )
    matrix: str = _option(
        "float32", "type of the item vectors; bfloat16 and int8 take less memory", choices=_MATRICES
    )
    diverse: bool | None = _option(
        None,
        "add recommend_diverse, for categories and diversity (default: with an items file)",
        **_IS_ON,
    )

    def __post_init__(self):
        require_at_least(1, self, "version", "keep", "k")
        if self.max_k < self.k:
            raise ConfigError(f"--max-k must be at least --k, {self.k}, but is {self.max_k}.")
        for name, choices in (("index", _INDEXES), ("matrix", _MATRICES)):
            if (value := getattr(self, name)) not in choices:
                raise ConfigError(
                    f"--{name} must be one of {', '.join(choices)}, but is {value!r}."
                )
        self._check_matrix()
        for name in ("cells", "nprobe", "int8"):
            # Compares with the default, because a given 0 is an error too.
            if self.index == "exact" and getattr(self, name) is not getattr(Options, name):
                raise ConfigError(
                    f"--{name} belongs to --index ivf, but the index is {self.index}; "
                    "leave one of them out."
                )
        for name in ("k", "max_k", "separator", "index", "matrix", "diverse"):
            if self.format != SAVED_MODEL and getattr(self, name) != getattr(Options, name):
                raise ConfigError(
                    f"--{name.replace('_', '-')} belongs to --format {SAVED_MODEL}, but the format "
                    f"is {self.format}; leave one of them out."
                )

    def _check_matrix(self):
        if self.matrix == Options.matrix:
            return
        if self.index != Options.index:
            raise ConfigError(
                f"--matrix {self.matrix} belongs to --index exact, but the index is {self.index}, "
                "which has --int8; leave one of them out."
            )
        if self.add_items is not None:
            raise ConfigError(
                f"--add-items needs --matrix {Options.matrix}, to compare the lists before and "
                f"after, but the matrix is {self.matrix}; leave one of them out."
            )

    def cells_of(self, num_items: int) -> int:
        """Returns the number of cells of an index, by default 4 sqrt(N).

        With the default, comparing a query with all centroids costs less than scanning the items of
        the chosen cells.

        Raises:
            ConfigError: If `cells` or `nprobe` is out of range.
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
