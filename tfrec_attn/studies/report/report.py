"""The page about finished runs: a comparison of them, and a section for each."""

import os
from collections.abc import Sequence
from pathlib import Path

from tfrec_attn.errors import ConfigError
from tfrec_attn.evaluation.paired_tests import Difference, holm, paired_difference
from tfrec_attn.evaluation.protocol import require_same_protocol
from tfrec_attn.pages.charts import Bar, bars
from tfrec_attn.pages.elements import Element, document, element, table
from tfrec_attn.runs import run_files
from tfrec_attn.runtime.process import environment
from tfrec_attn.studies.report import BEGINNING
from tfrec_attn.studies.report.run_findings import RunFindings
from tfrec_attn.studies.report.run_section import LEVEL, run_section, slice_tables


def report(folders: Sequence[str], users: Sequence[str] = ()) -> str:
    """Returns the page about runs.

    Args:
        folders: The runs, of the same protocol. The others are compared with the first.
        users: Ids of users whose test events are the examples. Empty (default): five events of each
            run.

    Raises:
        ConfigError: If a folder is damaged or not a finished run, if its log has changed, if two
            runs have different protocols, if a run is given twice, or if a user has no test event.
        DataError: If a log cannot be read.
    """
    paths = [Path(folder) for folder in folders]
    resolved = [path.resolve() for path in paths]
    if doubled := next((path for path in resolved if resolved.count(path) > 1), None):
        raise ConfigError(f"Each run must be given once, but {doubled} comes twice.")
    require_same_protocol(
        {path: run_files.load_metrics(path) for path in paths},
        "give runs of the same log, filters, split, repeats and cut-offs",
    )
    return _page([RunFindings(path, users) for path in paths])


def _page(runs: Sequence[RunFindings]) -> str:
    names, software = _names(runs), environment()
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
            *_comparison(runs, names),
        ]
    for findings, name, anchor in zip(runs, names, anchors, strict=True):
        parts.append(element("article", *run_section(findings, name), id=anchor))
    footer = f"tfrec-attn {software['tfrec_attn']}, TensorFlow {software['tensorflow']}."
    parts.append(element("footer", element("p", footer, class_="faint")))
    return document(f"{title} on {_log(first)}", BEGINNING, element("main", *parts))


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


def _comparison(runs: Sequence[RunFindings], names: Sequence[str]) -> list[Element]:
    metric, differences = runs[0].metric, _differences(runs)
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
    verdict = "better" if found.mean > 0 else "worse"
    return element("span", verdict, class_=verdict)


def _names(runs: Sequence[RunFindings]) -> list[str]:
    """Returns a name for each run: its model, with its seed or folder if needed."""
    models = [one.model for one in runs]
    if len(set(models)) == len(models):
        seeds = [one.config.train.seed for one in runs]
        if len(set(seeds)) == 1:
            return models
        return [f"{model}, seed {seed}" for model, seed in zip(models, seeds, strict=True)]
    folders = [str(one.folder.resolve()) for one in runs]
    common = os.path.commonpath(folders)
    return [
        f"{model}, {os.path.relpath(folder, common)}"
        for model, folder in zip(models, folders, strict=True)
    ]


def _differences(runs: Sequence[RunFindings]) -> list[Difference]:
    """Returns the differences of the other runs from the first, with adjusted p-values."""
    metric, first = runs[0].metric, runs[0].measured
    found = [
        paired_difference(one.measured.values[metric], first.values[metric], users=one.users)
        for one in runs[1:]
    ]
    return [one._replace(p=p) for one, p in zip(found, holm([one.p for one in found]), strict=True)]
