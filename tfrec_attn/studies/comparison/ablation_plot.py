"""The plot of an ablation."""

import io
import math
from pathlib import Path

from tfrec_attn.files.writing import replace_bytes

_FORMATS = {
    "png": {"dpi": 150},
    "svg": {"metadata": {"Date": None}},
    "pdf": {"metadata": {"CreationDate": None}},
}


def draw(
    lines: dict[str, list[tuple[str, float, float, float]]],
    key: str,
    metric: str,
    baseline: tuple[str, float] | None,
    path: Path,
) -> str | None:
    """Draws means with their intervals over the values of a key, as PNG, SVG and PDF.

    Args:
        lines: Name of a line -> (value of the key, mean, low, high) of its points. The name of a
            single line is "".
        key: Name of the horizontal axis.
        metric: Name of the vertical axis.
        baseline: Name and metric of a baseline, or None.
        path: The files, without suffix.

    Returns:
        None, or why there is no plot.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError:
        return (
            "There is no plot, because Matplotlib is not installed; get it with "
            "pip install 'tfrec-attn[plot]'."
        )
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    place = _places([value for points in lines.values() for value, *_ in points])
    for name, points in lines.items():
        values, means, low, high = zip(*points, strict=True)
        # If all resamples are equal, rounding can put an end of the interval beyond the mean.
        errors = [
            [max(0.0, mean - end) for mean, end in zip(means, low, strict=True)],
            [max(0.0, end - mean) for mean, end in zip(means, high, strict=True)],
        ]
        places = [place[one] for one in values]
        label = name.replace("$", r"\$") or None
        axes.errorbar(places, means, errors, marker="o", capsize=3, label=label)
    if baseline is not None:
        label, value = baseline
        axes.axhline(value, color="gray", linestyle="--", label=label)
    axes.set(xlabel=key, ylabel=metric)
    if not all(isinstance(one, float) for one in place.values()):
        axes.set_xticks(list(place.values()), [one.replace("$", r"\$") for one in place])
    if axes.get_legend_handles_labels()[0]:
        axes.legend()
    axes.grid(alpha=0.3)
    for suffix, options in _FORMATS.items():
        buffer = io.BytesIO()
        # Without the salt, the names of the elements differ in each SVG file.
        with rc_context({"svg.hashsalt": "tfrec-attn"}):
            figure.savefig(buffer, format=suffix, **options)
        replace_bytes(path.with_suffix(f".{suffix}"), buffer.getvalue())
    return None


def _places(values: list[str]) -> dict[str, float] | dict[str, int]:
    """Returns the position of each value: the value if all are finite numbers, else its index."""
    try:
        numbers = {one: float(one) for one in values}
        if all(map(math.isfinite, numbers.values())):
            return numbers
    except ValueError:
        pass
    return {one: number for number, one in enumerate(dict.fromkeys(values))}
