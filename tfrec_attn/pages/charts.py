"""Charts as SVG elements, in the colours of the page."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tfrec_attn.pages.elements import Element, element

_WIDTH, _LABELS, _LINE = 480, 160, 26


class Bar(NamedTuple):
    """A bar of `bars`.

    Attributes:
        label: Its name.
        value: Its length, at least 0.
        interval: Ends of its 95 % interval, or None.
        is_run: Whether it is of the run, and not of a baseline.
    """

    label: str
    value: float
    interval: Sequence[float] | None = None
    is_run: bool = True


def bars(rows: Sequence[Bar], title: str, digits: int = 4) -> Element:
    """Returns horizontal bars with their values and intervals."""
    largest = max([row.value for row in rows] + [row.interval[1] for row in rows if row.interval])
    scale = (_WIDTH - _LABELS - 60) / (largest or 1.0)
    parts = []
    for place, row in enumerate(rows):
        middle, end = place * _LINE + _LINE / 2, _LABELS + row.value * scale
        kind = "bar run" if row.is_run else "bar"
        parts += [
            _text(row.label, _LABELS - 8, middle + 4, anchor="end"),
            element(
                "rect",
                x=_LABELS,
                y=place * _LINE + 5,
                width=_number(end - _LABELS),
                height=_LINE - 10,
                class_=kind,
            ),
        ]
        right = end
        if row.interval:
            low, right = (_LABELS + one * scale for one in row.interval)
            parts.append(
                element("path", d=f"M{_number(low)} {middle}H{_number(right)}", class_="interval")
            )
        parts.append(_text(f"{row.value:.{digits}f}", max(right, end) + 6, middle + 4))
    return _svg(title, _WIDTH, len(rows) * _LINE, parts)


def lines(values: Mapping[str, Sequence[float]], title: str, mark: int | None = None) -> Element:
    """Returns curves over 1, 2, ..., with the lowest and the highest value of all.

    Args:
        values: Name -> values of a curve.
        title: Title of the chart.
        mark: Place of a vertical line, from 0, or None.
    """
    numbers = np.concatenate([np.asarray(one, float) for one in values.values()])
    numbers = numbers[np.isfinite(numbers)]
    low, high = (float(numbers.min()), float(numbers.max())) if len(numbers) else (0.0, 1.0)
    count = max(map(len, values.values()))
    left, right, top, bottom = 60, _WIDTH - 10, 12, 190

    def across(place: float) -> float:
        return left + (right - left) * place / max(count - 1, 1)

    def down(value: float) -> float:
        return bottom - (bottom - top) * (value - low) / ((high - low) or 1.0)

    parts = [
        element("path", d=f"M{left} {top}V{bottom}H{right}", class_="axis"),
        _text(f"{high:.4g}", left - 6, top + 4, anchor="end"),
        _text(f"{low:.4g}", left - 6, bottom + 4, anchor="end"),
        _text("1", left, bottom + 18, anchor="middle"),
        _text(str(count), right, bottom + 18, anchor="end"),
    ]
    if mark is not None:
        parts.append(element("path", d=f"M{_number(across(mark))} {top}V{bottom}", class_="mark"))
    for number, one in enumerate(values.values()):
        points = [
            f"{_number(across(place))},{_number(down(value))}"
            for place, value in enumerate(one)
            if np.isfinite(value)
        ]
        parts.append(element("polyline", points=" ".join(points), class_=f"line line-{number}"))
    return _svg(title, _WIDTH, 215, parts)


def heat_map(
    values: np.ndarray, rows: Sequence[str], columns: Sequence[str], title: str
) -> Element:
    """Returns a table of cells whose colour is a value relative to the largest one.

    Args:
        values: [R, C], nonnegative.
        rows: Name of each row.
        columns: Name of each column, written downwards.
        title: Title of the chart.
    """
    size, largest = 24, float(values.max()) or 1.0
    longest = max(len(_short(name)) for name in (*rows, *columns))
    left, top = 16 + 8 * longest, 16 + 7 * longest
    parts = []
    for place, name in enumerate(columns):
        x = left + place * size + size / 2 + 4
        node = _text(_short(name), 0, 0)
        node.set("transform", f"translate({_number(x)} {top - 6}) rotate(-60)")
        parts.append(node)
    for row, name in enumerate(rows):
        parts.append(_text(_short(name), left - 6, top + row * size + size / 2 + 4, anchor="end"))
        for column, other in enumerate(columns):
            value = float(values[row, column])
            parts.append(
                element(
                    "rect",
                    element("title", f"{name} to {other}: {value:.3f}"),
                    x=left + column * size,
                    y=top + row * size,
                    width=size - 1,
                    height=size - 1,
                    fill_opacity=f"{value / largest:.3f}",
                    class_="cell",
                )
            )
    width = left + len(columns) * size + 70
    return _svg(title, width, top + len(rows) * size, parts, width)


def _svg(
    title: str, width: float, height: float, parts: Sequence[Element], widest: int | None = None
) -> Element:
    return element(
        "svg",
        element("title", title),
        *parts,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width} {height}",
        role="img",
        aria_label=title,
        style=f"max-width:{widest or _WIDTH}px",
    )


def _text(text: str, x: float, y: float, anchor: str | None = None) -> Element:
    return element("text", text, x=_number(x), y=_number(y), text_anchor=anchor)


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _short(name: str, length: int = 20) -> str:
    return name if len(name) <= length else f"{name[: length - 1]}…"
