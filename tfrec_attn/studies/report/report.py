"""The report of finished runs."""

import os
from collections.abc import Sequence
from pathlib import Path

from tfrec_attn.errors import ConfigError
from tfrec_attn.evaluation.paired_tests import Difference, holm, paired_difference
from tfrec_attn.evaluation.protocol import require_same_protocol
from tfrec_attn.runs import run_files
from tfrec_attn.runtime.process import environment
from tfrec_attn.studies.report.report_page import page
from tfrec_attn.studies.report.run_findings import RunFindings, find


def report(folders: Sequence[str], users: Sequence[str] = ()) -> str:
    """Returns the page about runs.

    Args:
        folders: The runs, of the same protocol. Differences are those to the first.
        users: Ids of users whose test events are the examples; none: five events of each run.

    Raises:
        ConfigError: If a folder is no finished run or damaged, if its log has changed, if two have
            different protocols or one comes twice, or if a user has no test event.
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
    runs = [find(path, users) for path in paths]
    software = environment()
    footer = f"tfrec-attn {software['tfrec_attn']}, TensorFlow {software['tensorflow']}."
    return page(runs, _names(runs), _differences(runs), footer)


def _names(runs: Sequence[RunFindings]) -> list[str]:
    """Returns the model of each run, with the part of its folder in which the runs differ."""
    models = [one.model for one in runs]
    if len(set(models)) == len(models):
        return models
    folders = [str(one.folder.resolve()) for one in runs]
    common = os.path.commonpath(folders)
    return [
        f"{model}, {os.path.relpath(folder, common)}"
        for model, folder in zip(models, folders, strict=True)
    ]


def _differences(runs: Sequence[RunFindings]) -> list[Difference]:
    metric, first = runs[0].metric, runs[0].measured
    found = [
        paired_difference(one.measured.values[metric], first.values[metric], users=one.users)
        for one in runs[1:]
    ]
    return [one._replace(p=p) for one, p in zip(found, holm([one.p for one in found]), strict=True)]
