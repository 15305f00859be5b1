"""Tables in text."""

from collections.abc import Collection, Sequence


def format_table(lines: Sequence[Sequence[str]], left: Collection[int] = (0,)) -> str:
    """Aligns the columns of lines.

    Args:
        lines: Cells of each line.
        left: Columns that are aligned on the left. The others are aligned on the right.
    """
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            text.ljust(width) if column in left else text.rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
