"""The validation report as a self-contained HTML page with charts."""

from itertools import zip_longest

import numpy as np

from tfrec_attn.data.quality.text_report import findings, moment, sections
from tfrec_attn.pages.charts import Bar, bars, lines
from tfrec_attn.pages.elements import Element, document, element, table

_BEGINNING = "<!doctype html>\n<!-- tfrec_attn.data.validate -->"


def as_html(tree: dict, earlier: dict | None = None) -> str:
    """Returns the page.

    Args:
        tree: The report.
        earlier: Profile of the earlier log, which is drawn in grey, or None (default).
    """
    title = f"Validation of {tree['source']}"
    warnings = [element("li", sentence, class_="worse") for sentence in findings(tree)]
    parts = [
        element("h1", title),
        element("ul", *warnings) if warnings else element("p", "No warnings."),
    ]
    for heading, rows in sections(tree):
        parts += [element("h2", heading), table(("measure", "value"), rows, texts=True)]
    logs = {"this log": tree["profile"]} | ({"earlier log": earlier} if earlier else {})
    unit = tree.get("time", {}).get("unit")
    return document(title, _BEGINNING, *parts, *_charts(tree["profile"], logs, unit))


def _charts(profile: dict, logs: dict[str, dict], unit: str | None) -> list[Element]:
    captions = [
        "Share of the users by events",
        "Share of the events that the most popular 0 to 100 % of the items have"
        f"{'; grey: the earlier log' if len(logs) > 1 else ''}",
    ]
    curves = {name: one["curve"] for name, one in logs.items()}
    found = [bars(_length_bars(logs), captions[0], 3), lines(curves, captions[1])]
    if profile["time_events"]:
        shares = np.asarray(profile["time_events"]) / max(1, sum(profile["time_events"]))
        first, last = (moment(profile["time_edges"][place], unit) for place in (0, -1))
        captions.append(f"Share of the events in equal intervals from {first} to {last}")
        found.append(lines({"this log": shares}, captions[2]))
    return [
        element("figure", element("figcaption", caption), chart)
        for caption, chart in zip(captions, found, strict=True)
    ]


def _length_bars(logs: dict[str, dict]) -> list[Bar]:
    """Returns the shares of users with 1, 2 to 3, 4 to 7, ... events in each log."""
    shares = []
    for profile in logs.values():
        users, lengths = np.asarray(profile["users"], float), np.log2(profile["lengths"])
        shares.append((np.bincount(lengths.astype(np.int64), users) / users.sum()).tolist())
    return [
        Bar(f"{2**k} to {2 ** (k + 1) - 1}, {name}", share, is_run=name == "this log")
        for k, both in enumerate(zip_longest(*shares, fillvalue=0.0))
        for name, share in zip(logs, both, strict=True)
    ]
