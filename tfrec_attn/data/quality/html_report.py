"""A report of validation as one HTML page with plots, which needs no other file."""

from html import escape

import numpy as np

from tfrec_attn.data.quality.text_report import findings, moment, sections

_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 560, 180, 54, 22
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; }
body { padding: 0 1rem; color: #222; background: #fff; }
table { border-collapse: collapse; } td { padding: .15rem 1.5rem .15rem 0; vertical-align: top; }
td + td { overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .3rem; }
figure { margin: 1.5rem 0; } figcaption { font-weight: 600; } li { color: #a40000; }
svg text { font: 11px system-ui, sans-serif; fill: #555; } .axis { stroke: #aaa; }
.now { fill: #3465a4; } .before { fill: none; stroke: #f57900; stroke-width: 2; }
"""


def as_html(tree: dict, earlier: dict | None = None) -> str:
    """Returns the page.

    Args:
        tree: The report.
        earlier: The profile of the earlier log, drawn as an orange line, or None.
    """
    title = f"Validation of {tree['source']}"
    warnings = "".join(f"<li>{escape(sentence)}</li>" for sentence in findings(tree))
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<ul>{warnings}</ul>" if warnings else "<p>No warnings.</p>",
    ]
    for heading, rows in sections(tree):
        lines = "".join(
            f"<tr><td>{escape(label)}</td><td>{escape(value)}</td></tr>" for label, value in rows
        )
        parts.append(f"<h2>{escape(heading)}</h2><table>{lines}</table>")
    parts += ["<p>Orange lines: the earlier log.</p>"] if earlier else []
    parts += _plots(tree["profile"], earlier, tree.get("time", {}).get("unit"))
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    body = "\n".join(parts)
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n{body}\n</body></html>\n'


def _plots(profile: dict, earlier: dict | None, unit: str | None) -> list[str]:
    bins = 1 + int(np.log2(max(max(one["lengths"]) for one in (profile, earlier) if one)))
    found = [
        _figure(
            "Share of the users by events (1, 2 to 3, 4 to 7, ...)",
            _length_shares(profile, bins),
            _length_shares(earlier, bins) if earlier else None,
            [str(2**k) for k in range(bins)],
        ),
        _figure(
            "Share of the events that the most popular items have, by share of the items",
            profile["curve"],
            earlier["curve"] if earlier else None,
            [f"{percent} %" for percent in range(len(profile["curve"]))],
        ),
    ]
    if profile["time_events"]:
        shares = np.asarray(profile["time_events"]) / max(1, sum(profile["time_events"]))
        names = [moment(edge, unit) for edge in profile["time_edges"][:-1]]
        found.append(_figure("Share of the events over time", shares, None, names))
    return found


def _length_shares(profile: dict, bins: int) -> np.ndarray:
    users = np.asarray(profile["users"], float)
    lengths = np.log2(profile["lengths"]).astype(np.int64)
    return np.bincount(lengths, weights=users, minlength=bins) / users.sum()


def _figure(caption: str, values, before, names: list[str]) -> str:
    """Returns bars with their names, as many as fit, and a stepped line of earlier values."""
    top = max(*values, *(before if before is not None else ()), 1e-9)
    step, inner, ground = (_WIDTH - _LEFT) / len(values), _HEIGHT - _BOTTOM - 8, _HEIGHT - _BOTTOM

    def height(value) -> float:
        return inner * float(value) / top

    drawn = [
        f'<rect class="now" x="{_LEFT + k * step:.1f}" y="{ground - height(value):.1f}" '
        f'width="{max(step - 1, 0.5):.1f}" height="{height(value):.1f}">'
        f"<title>{escape(name)}: {float(value):.2%}</title></rect>"
        for k, (value, name) in enumerate(zip(values, names, strict=True))
    ]
    if before is not None:
        path = " ".join(
            f"H{_LEFT + k * step:.1f} V{ground - height(value):.1f} h{step:.1f}"
            for k, value in enumerate(before)
        )
        drawn.append(f'<path class="before" d="M{_LEFT} {ground} {path}"/>')
    longest = max(map(len, names)) * 7
    every = max(1, int(-(-longest // step)))
    drawn += [
        f'<text x="{_LEFT + (k + 0.5) * step:.1f}" y="{_HEIGHT - 6}" text-anchor="middle">'
        f"{escape(name)}</text>"
        for k, name in enumerate(names)
        if k % every == 0
    ]
    drawn.append(f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH}" y1="{ground}" y2="{ground}"/>')
    drawn.append(f'<text x="{_LEFT - 6}" y="14" text-anchor="end">{top:.1%}</text>')
    size = f'viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}"'
    svg = f'<svg {size} role="img">{"".join(drawn)}</svg>'
    return f"<figure><figcaption>{escape(caption)}</figcaption>{svg}</figure>"
