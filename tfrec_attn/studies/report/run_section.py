"""The section of a run in a report: metrics, curves, slices, lists, examples and settings."""

import json
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from tfrec_attn import config as configuration
from tfrec_attn.evaluation.slices import Slices
from tfrec_attn.pages.charts import Bar, bars, heat_map, lines
from tfrec_attn.pages.elements import Element, element, table
from tfrec_attn.studies.report.run_findings import Example, Neighbours, RunFindings

LEVEL, _LONGEST = 0.05, 60


def run_section(findings: RunFindings, name: str) -> list[Element]:
    """Returns the section of a run, with its name as the heading."""
    return [
        element("h2", name),
        element("p", _verdict(findings), class_="verdict"),
        *_metrics(findings),
        *_curves(findings),
        *_slices(findings),
        *_lists(findings),
        *_examples(findings.examples, findings.titles),
        *_neighbours(findings.neighbours, findings.titles),
        *_settings(findings),
    ]


def _heading(title: str, about: str) -> list[Element]:
    return [element("h3", title), element("p", about, class_="faint")]


def _side_by_side(charts: Mapping[str, Element]) -> Element:
    """Returns charts with their captions."""
    figures = [
        element("figure", element("figcaption", caption), chart)
        for caption, chart in charts.items()
    ]
    return element("div", *figures, class_="side")


def _verdict(findings: RunFindings) -> str:
    """Returns sentences that compare the model with the best baseline."""
    metric, found, best = findings.metric, findings.difference, findings.best_baseline
    here, there = findings.measured, findings.rows[best]
    low, high = here.intervals[metric]
    text = (
        f"{findings.model} has {metric} {here.means[metric]:.4f} ({low:.4f} to {high:.4f}); "
        f"the best baseline, {best}, has {there.means[metric]:.4f}. "
    )
    difference = f"{found.mean:+.4f} ({found.low:+.4f} to {found.high:+.4f}), p {found.p:.2g}"
    if found.p >= LEVEL:
        return f"{text}The test shows no difference: {difference}. The baseline needs no training."
    if found.mean < 0:
        return f"{text}The model is worse: {difference}. Use the baseline, or other settings."
    return f"{text}The model is better: {difference}."


def _metrics(findings: RunFindings) -> list[Element]:
    metric = findings.metric
    chart = [
        Bar(name, one.means[metric], one.intervals[metric], name == findings.model)
        for name, one in findings.rows.items()
    ]
    metrics = list(findings.measured.means)
    rows = [
        [name, *(f"{one.means[key]:.4f}" for key in metrics)] for name, one in findings.rows.items()
    ]
    for end, label in enumerate(("95 % from", "95 % to")):
        intervals = findings.measured.intervals
        rows.append([label, *(f"{intervals[key][end]:.4f}" for key in metrics)])
    return [
        *_heading(
            "Metrics of the test events",
            f"{metric} with 95 % intervals. The baselines count, and need no training.",
        ),
        bars(chart, f"{metric} of the model and the baselines"),
        table(["model", *metrics], rows, f"The interval is that of {findings.model}"),
    ]


def _curves(findings: RunFindings) -> list[Element]:
    curves, best = findings.curves, findings.report["best_epoch"]
    metric = f"val_{findings.config.evaluate.metric}"
    shown = [name for name in ("loss", metric) if name in curves]
    if not shown or len(curves[shown[0]]) < 2:
        return []
    charts = {
        name.replace("val_", "validation "): lines(
            {name: curves[name]}, f"{name} of each epoch", best - 1
        )
        for name in shown
    }
    about = f"The dashed line is the best epoch by validation, {best}."
    return [*_heading("Learning curves", about), _side_by_side(charts)]


def _slices(findings: RunFindings) -> list[Element]:
    metric = findings.metric
    return [
        *_heading("Slices of the test events", f"Mean {metric} in groups of test events."),
        *slice_tables(
            findings.slices,
            {
                name: findings.rows[name].values[metric]
                for name in (findings.model, findings.best_baseline)
            },
        ),
    ]


def slice_tables(slices: Sequence[Slices], values: Mapping[str, np.ndarray]) -> list[Element]:
    """Returns a table for each partition, with a column for each name of values."""
    tables = []
    for one in slices:
        columns = [one.means(of_events) for of_events in values.values()]
        rows = [
            [label, f"{count:,}", *(f"{column[place]:.4f}" for column in columns)]
            for place, (label, count) in enumerate(zip(one.labels, one.counts(), strict=True))
        ]
        tables.append(table([one.name, "events", *values], rows, f"By {one.name}"))
    return tables


def _lists(findings: RunFindings) -> list[Element]:
    groups = len(findings.shares)
    labels = [f"group {number}" for number in range(1, groups + 1)]
    labels[0], labels[-1] = "most popular items", "least popular items"
    rows = [[name, f"{value:.4f}"] for name, value in findings.report.get("lists", {}).items()]
    chart = [Bar(label, 100 * share) for label, share in zip(labels, findings.shares, strict=True)]
    return [
        *_heading(
            "What is recommended",
            f"Share of the recommendations, in per cent, in {groups} groups of items by "
            f"popularity. Each group has about {100 // groups} % of the training events, so more "
            "than that for the first groups is a bias towards popular items.",
        ),
        bars(chart, "Share of the recommendations by popularity", digits=1),
        table(["figure", "value"], rows, "Lists for the test events") if rows else element("p"),
    ]


def _examples(examples: Sequence[Example], titles: Mapping[str, str]) -> list[Element]:
    about = "Test events from the best rank to the worst, or of the users that were asked for."
    parts = _heading("Examples", about)
    for place, one in enumerate(examples):
        rank = "it cannot be recommended" if one.rank is None else f"rank {one.rank:,}"
        earlier = f", after {one.earlier:,} earlier ones" if one.earlier else ""
        body = [
            element("p", f"History{earlier}, oldest first:"),
            _list(one.history, titles),
            element("p", "Recommended, best first:"),
            _list(one.items, titles, one.target),
        ]
        labels = [titles.get(item, item) for item in one.history]
        maps = {
            f"{name}, from 0 to {values.max():.3g}": heat_map(
                values, *[labels[-len(values) :]] * 2, f"{name} of {one.user}"
            )
            for name, values in one.attention.items()
        }
        if maps:
            text = "Attention of each event (row) to each other (column):"
            body += [element("p", text), _side_by_side(maps)]
        title = ["User ", _id(one.user), ": ", _item(one.target, titles), f" followed, {rank}"]
        is_open = None if place else "open"
        parts.append(element("details", element("summary", *title), *body, open=is_open))
    return parts


def _list(items: Sequence[str], titles: Mapping[str, str], target: str | None = None) -> Element:
    entries = [
        element("li", _item(one, titles), class_="target" if one == target else None)
        for one in items
    ]
    return element("ol", *(entries or [element("li", "nothing")]), class_="list")


def _item(item: str, titles: Mapping[str, str]) -> Element:
    """Returns the title of an item, or its id if it has no title."""
    if item not in titles:
        return _id(item)
    named = _id(titles[item])
    named.set("title", item)
    return named


def _id(text: str) -> Element:
    """Returns an id of the log, shortened if it is long, with a text direction of its own."""
    if len(text) <= _LONGEST:
        return element("bdi", text)
    return element("bdi", f"{text[: _LONGEST - 1]}…", title=text)


def _joined(parts: Iterable[Sequence[Element | str]]) -> list[Element | str]:
    """Returns parts with commas between them, or "none"."""
    found = [one for part in parts for one in (", ", *part)]
    return found[1:] or ["none"]


def _neighbours(neighbours: Sequence[Neighbours], titles: Mapping[str, str]) -> list[Element]:
    if not neighbours:
        return []
    rows = [
        [
            _item(one.item, titles),
            element("span", *_joined([_item(item, titles)] for item in one.learned)),
            element(
                "span",
                *_joined([_item(item, titles), f" ({count:,})"] for item, count in one.counted),
            ),
        ]
        for one in neighbours
    ]
    return [
        element("h3", "Neighbours of the most popular items"),
        table(
            ["item", "nearest by the learned vectors", "following it most often, with counts"],
            rows,
            "Nearest by the cosine of the item vectors, without biases",
            texts=True,
        ),
    ]


def _settings(findings: RunFindings) -> list[Element]:
    report = findings.report
    cost = {
        "epochs": report["epochs"],
        "seconds per epoch": f"{report['seconds_per_epoch']:.2f}",
        "training seconds": f"{report['train_seconds']:.0f}",
        "parameters": f"{report['parameters']:,}",
        "most memory, MB": f"{report['peak_memory_mb']:,.0f}",
        **report.get("environment", {}),
    }
    parts = [
        element("h3", "Training"),
        table(["figure", "value"], [[name, str(value)] for name, value in cost.items()]),
    ]
    for title, text in (
        ("Protocol", json.dumps(report["protocol"], indent=2)),
        ("Configuration", configuration.to_yaml(findings.config)),
    ):
        parts.append(element("details", element("summary", title), element("pre", text)))
    return parts
