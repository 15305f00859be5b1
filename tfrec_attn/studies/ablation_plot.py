"""The plot of an ablation."""

from pathlib import Path

PLOT = "plot"
_FORMATS = {"png": {"dpi": 150}, "svg": {"metadata": {"Date": None}}, "pdf": {}}


def draw(
    lines: dict[str, list[tuple[str, float, float, float]]],
    metric: str,
    baseline: float | None,
    path: Path,
) -> str | None:
    """Draws means with their intervals over the values of a key, as PNG, SVG and PDF.

    Args:
        lines: Name of a line -> (value of the key, mean, low, high) of its points.
        metric: Name of the vertical axis.
        baseline: The metric of the decayed transitions, or None.
        path: The files, without suffix.

    Returns:
        None, or why there is no plot.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return (
            "There is no plot, because Matplotlib is not installed; get it with "
            "pip install 'tfrec-attn[plot]'."
        )
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for name, points in lines.items():
        values, means, low, high = zip(*points, strict=True)
        errors = [
            [mean - end for mean, end in zip(means, low, strict=True)],
            [end - mean for mean, end in zip(means, high, strict=True)],
        ]
        axes.errorbar(_places(values), means, errors, marker="o", capsize=3, label=name)
    if baseline is not None:
        axes.axhline(baseline, color="gray", linestyle="--", label="decayed_transitions")
    axes.set(xlabel=next(iter(lines)) if len(lines) == 1 else "", ylabel=metric)
    axes.legend()
    axes.grid(alpha=0.3)
    for suffix, options in _FORMATS.items():
        figure.savefig(path.with_suffix(f".{suffix}"), **options)
    return None


def _places(values: tuple[str, ...]) -> list[float] | list[str]:
    """Returns values as numbers if all are, else as categories."""
    try:
        return [float(one) for one in values]
    except ValueError:
        return list(values)
