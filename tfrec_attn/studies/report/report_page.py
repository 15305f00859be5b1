"""The page of a report: a comparison of the runs, and a section for each."""

from collections.abc import Sequence
from importlib import resources

from tfrec_attn.evaluation.paired_tests import Difference
from tfrec_attn.studies.report.charts import Bar, bars
from tfrec_attn.studies.report.elements import Element, document, element, table
from tfrec_attn.studies.report.run_findings import RunFindings
from tfrec_attn.studies.report.run_section import LEVEL, run_section, slice_tables


def page(
    runs: Sequence[RunFindings],
    names: Sequence[str],
    differences: Sequence[Difference],
    footer: str,
) -> str:
    """Returns the page.

    Args:
        runs: Findings about runs of the same protocol.
        names: Name of each run, all different.
        differences: Of each run but the first to the first, in the metric of the first, with
            adjusted p-values.
        footer: What made the page.
    """
    first = runs[0]
    anchors = [f"run-{number}" for number in range(1, len(runs) + 1)]
    title = names[0] if len(runs) == 1 else f"{len(runs)} runs"
    header = element(
        "header",
        element("h1", f"{title} on {_log(first)}"),
        element("p", _data(first), class_="faint"),
    )
    parts = [header]
    if len(runs) > 1:
        links = [
            element("li", element("a", name, href=f"#{anchor}"))
            for name, anchor in zip(names, anchors, strict=True)
        ]
        parts += [
            element("nav", element("ul", *links), aria_label="Runs"),
            *_comparison(runs, names, differences),
        ]
    for findings, name, anchor in zip(runs, names, anchors, strict=True):
        parts.append(element("article", *run_section(findings, name), id=anchor))
    parts.append(element("footer", element("p", footer, class_="faint")))
    style = resources.files(__package__).joinpath("report.css").read_text(encoding="utf-8")
    return document(f"{title} on {_log(first)}", style, element("main", *parts))


def _log(findings: RunFindings) -> str:
    data = findings.config.data
    return (data.path or data.source).rstrip("/").rpartition("/")[2]


def _data(findings: RunFindings) -> str:
    after, protocol = findings.report["data"]["after"], findings.report["protocol"]
    events = len(findings.measured.values["MRR"])
    return (
        f"{after['events']:,} events of {after['users']:,} users and {after['items']:,} items; "
        f"{events:,} test events, ranked against all items; split {protocol['split']}; "
        f"protocol {protocol['hash']}."
    )


def _comparison(
    runs: Sequence[RunFindings], names: Sequence[str], differences: Sequence[Difference]
) -> list[Element]:
    metric = runs[0].metric
    chart = [
        Bar(name, one.measured.means[metric], one.measured.intervals[metric])
        for name, one in zip(names, runs, strict=True)
    ]
    metrics = list(runs[0].measured.means)
    rows = []
    for place, (name, one) in enumerate(zip(names, runs, strict=True)):
        told: list[Element | str] = ["", "", ""]
        if place:
            found = differences[place - 1]
            told = [
                f"{found.mean:+.4f} ({found.low:+.4f} to {found.high:+.4f})",
                f"{found.p:.2g}",
                _better_or_worse(found),
            ]
        rows.append([name, *told, *(f"{one.measured.means[key]:.4f}" for key in metrics)])
    return [
        element("h2", "Side by side"),
        element("p", f"{metric} of the test events, with 95 % intervals.", class_="faint"),
        bars(chart, f"{metric} of each run"),
        table(
            ["run", "difference", "p", "", *metrics],
            rows,
            f"Difference in {metric} to {names[0]}; p of a paired permutation test, adjusted by "
            "Holm's method; test metrics",
        ),
        *slice_tables(
            runs[0].slices,
            {name: one.measured.values[metric] for name, one in zip(names, runs, strict=True)},
        ),
    ]


def _better_or_worse(found: Difference) -> Element | str:
    if found.p >= LEVEL:
        return "no difference shown"
    return (
        element("span", "better", class_="better")
        if found.mean > 0
        else element("span", "worse", class_="worse")
    )
