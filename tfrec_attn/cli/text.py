"""Results as aligned text, and how commands write text."""

import sys


def format_table(
    title: str, rows: dict[str, dict[str, float]], interval: dict[str, list[float]] | None = None
) -> str:
    """A line a row, a column a metric; below the last row its 95 % interval where there is one."""
    metrics = list(next(iter(rows.values())))
    cells = [[title, *metrics]] + [
        [name, *(f"{row[metric]:.4f}" for metric in metrics)] for name, row in rows.items()
    ]
    if interval:
        cells.append(["  95 % from", *(f"{interval[metric][0]:.4f}" for metric in metrics)])
        cells.append(["  95 % to", *(f"{interval[metric][1]:.4f}" for metric in metrics)])
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return "\n".join(
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)),
            ]
        )
        for row in cells
    )


def say(text: str) -> None:
    """Writes a line to stdout at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
