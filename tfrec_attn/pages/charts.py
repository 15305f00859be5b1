"""Charts as SVG elements, in the colours of the page."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tfrec_attn.pages.elements import Element, element

_WIDTH, _LABELS, _LINE, _LETTER = 480, 160, 26, 8
_SHADES = (0.0, 0.25, 0.5, 0.75, 1.0)


class Bar(NamedTuple):
    """A bar of `bars`.

    Attributes:
        label: Its name.
        value: Its length, at least 0.
        interval: Ends of its 95 % interval, or None.
        is_run: Whether it belongs to the run, not to a baseline.
    """

    label: str
    value: float
    interval: Sequence[float] | None = None
    is_run: bool = True


def bars(rows: Sequence[Bar], title: str, digits: int = 4) -> Element:
    """Returns horizontal bars with their values and intervals.

    If a name is too long for the space beside its bar, all names stand above their bars.
    """
    beside = all(_LETTER * len(row.label) <= _LABELS - 8 for row in rows)
    left, height, gap = (_LABELS, _LINE, 5) if beside else (0, _LINE + 18, 23)
    largest = max([row.value for row in rows] + [row.interval[1] for row in rows if row.interval])
    scale = (_WIDTH - left - 60) / (largest or 1.0)
    parts = []
    for place, row in enumerate(rows):
        top, end = place * height + gap, left + row.value * scale
        middle = top + (_LINE - 10) / 2
        name = (left - 8, middle + 4, "end") if beside else (0, top - 5)
        parts += [
            _text(_ending(row.label, _WIDTH // _LETTER), *name),
            element(
                "rect",
                x=left,
                y=top,
                width=_number(end - left),
                height=_LINE - 10,
                class_="bar run" if row.is_run else "bar",
            ),
        ]
        right = end
        if row.interval:
            low, right = (left + one * scale for one in row.interval)
            parts.append(
                element("path", d=f"M{_number(low)} {middle}H{_number(right)}", class_="interval")
            )
        parts.append(_text(f"{row.value:.{digits}f}", max(right, end) + 6, middle + 4))
    return _svg(title, _WIDTH, len(rows) * height, parts)


def lines(values: Mapping[str, Sequence[float]], title: str, mark: int | None = None) -> Element:
    """Returns curves over 1, 2, ...; the axis shows the lowest and the highest value.

    Args:
        values: Name -> values of a curve.
        title: Title of the chart.
        mark: Index of the point with a vertical line, from 0; None (default): no line.
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
    """Returns a heat map, whose colours are relative to the largest value.

    It has a colour scale, unless all values are 0.

    Args:
        values: [R, C], nonnegative.
        rows: Name of each row.
        columns: Name of each column.
        title: Title of the chart.
    """
    size, largest = 24, float(values.max())
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
                    fill_opacity=f"{value / (largest or 1.0):.3f}",
                    class_="cell",
                )
            )
    bottom = top + len(rows) * size + 12
    if largest:
        parts.append(_scale(left, bottom, largest))
    width = left + max(len(columns) * size + 70, 180)
    return _svg(title, width, bottom + 22, parts, width)


def _scale(left: float, top: float, largest: float) -> Element:
    """Returns the colour scale of a heat map, from 0 to its largest value."""
    size = 24
    cells = [
        element(
            "rect",
            x=left + place * size,
            y=top,
            width=size,
            height=16,
            fill_opacity=shade,
            class_="cell",
        )
        for place, shade in enumerate(_SHADES)
    ]
    box = {"width": size * len(_SHADES), "height": 16, "fill": "none", "stroke": "currentColor"}
    return element(
        "g",
        _text("0", left - 6, top + 13, "end"),
        *cells,
        element("rect", x=left, y=top, **box),
        _text(f"{largest:.3g}", left + size * len(_SHADES) + 6, top + 13),
    )


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


def _ending(name: str, length: int) -> str:
    """Returns the end of a long name, because paths often differ only there."""
    return name if len(name) <= length else f"…{name[1 - length :]}"


def _short(name: str, length: int = 20) -> str:
    return name if len(name) <= length else f"{name[: length - 1]}…"
