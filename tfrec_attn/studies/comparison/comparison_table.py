"""The table of a comparison as text, Markdown, LaTeX, CSV and JSON."""

import csv
import io
import json
import re
import textwrap
from collections.abc import Sequence
from typing import Any

from tfrec_attn.cli.terminal import align
from tfrec_attn.data.sequences.leakage import LeakReport
from tfrec_attn.errors import shorten
from tfrec_attn.evaluation.slices import Slices
from tfrec_attn.studies.comparison.comparison_results import LEVEL, Row
from tfrec_attn.studies.finished_runs import FIGURES

_COMPARED = ("difference", "difference_low", "difference_high", "p", "p_adjusted")
_LATEX = re.compile(r"[&%$#_{}\\~^<>]")
_COMMANDS = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


class ComparisonTable:
    """The table of one log.

    Args:
        log: Name of the log.
        rows: The rows, compared by `compare_rows`.
        metric: Metric of the differences.
        failed: Model -> why it could not be trained.
        in_order: If True, the rows keep their order. If False (default), they are sorted by the
            metric, the best one last.
        slices: Partitions of the test events. Text, Markdown and JSON have the metric of each
            slice. Default: none.
        note: A sentence for the caption, or "" (default).
        reason: How the row that all are compared with was chosen, such as "the best row by
            validation"; "" (default) if the user named the row.
        leaks: What the trainings know of later events, or None (default).
    """

    def __init__(
        self,
        log: str,
        rows: Sequence[Row],
        metric: str,
        failed: dict[str, str],
        in_order: bool = False,
        slices: Sequence[Slices] = (),
        note: str = "",
        reason: str = "",
        leaks: LeakReport | None = None,
    ):
        self.log, self.metric, self.failed = log, metric, failed
        self.rows = list(rows) if in_order else sorted(rows, key=lambda row: row.test[metric])
        self.against = next(row.model for row in rows if row.difference is None)
        self._metrics, self._seeds = list(rows[0].test), max(row.seeds for row in rows)
        self._slices, self._note, self._reason, self._leaks = slices, note, reason, leaks
        # A row without the prior of its run has no list metrics.
        self._lists = list(next((row.lists for row in rows if row.lists), {}))

    def caption(self) -> str:
        """Returns sentences that explain the figures."""
        protocol, count = self.rows[0].protocol, len(next(iter(self.rows[0].values.values())))
        mean = ""
        if self._seeds > 1:
            mean = (
                f"Mean of seeds 1 to {self._seeds}; sd: standard deviation of {self.metric} over "
                "the seeds. "
            )
        mean += f"{self._note} " if self._note else ""
        which = protocol.get("targets")
        against = f"{self.against} ({self._reason})" if self._reason else self.against
        split = f"{protocol['split']} split" + (f" ({which} targets of a user)" if which else "")
        return (
            f"{shorten(self.log, 255)}: {count:,} test events, {split}, ranked against "
            f"{protocol['ranked_against']}, repeats {protocol['repeats']}d; protocol "
            f"{protocol['hash']}. {mean}In parentheses: 95 % bootstrap interval over the users. "
            f"Difference: {self.metric} less that of {against}, with its interval; p of a "
            f"paired permutation test, adjusted for all rows by Holm's method; better or worse "
            f"where p < {LEVEL:g}."
        )

    def formats(self) -> dict[str, str]:
        """Returns the table in all formats: suffix of a file -> text.

        JSON is first, because the JSON file identifies the others as files of a table.
        """
        return {
            "json": self.json(),
            "txt": self.text() + "\n",
            "md": self.markdown(),
            "tex": self.latex(),
            "csv": self.csv(),
        }

    def text(self) -> str:
        """Returns the table as aligned text."""
        caption = _filled(self.caption())
        notes = [f"\n{_filled(one)}" for one in self._notes()]
        more = [f"\n{title}\n\n{align(lines)}" for title, lines in self._more_tables()]
        return "\n".join([caption, "", align(self._lines()), *self._failures(), *notes, *more])

    def markdown(self) -> str:
        """Returns a table in Markdown."""
        failures = [f"- {one.strip()}" for one in self._failures()]
        parts = [self.caption(), "", *_markdown_table(self._lines())]
        parts += ["", *failures] if failures else []
        for note in self._notes():
            parts += ["", note]
        for title, lines in self._more_tables():
            parts += ["", title, "", *_markdown_table(lines)]
        return "\n".join(parts) + "\n"

    def latex(self) -> str:
        """Returns a table in LaTeX, for the package booktabs; the best value is bold."""
        best = {metric: max(row.test[metric] for row in self.rows) for metric in self._metrics}
        lines = []
        for row in self.rows:
            cells = [_escaped(row.model)]
            for metric in self._metrics:
                value = f"{row.test[metric]:.4f}"
                cells.append(f"\\textbf{{{value}}}" if row.test[metric] == best[metric] else value)
            lines.append(" & ".join(cells) + r" \\")
        header = " & ".join(["model", *map(_escaped, self._metrics)]) + r" \\"
        return "\n".join(
            [
                f"% {self.caption()}",
                rf"\begin{{tabular}}{{l{'r' * len(self._metrics)}}}",
                *(r"\toprule", header, r"\midrule", *lines, r"\bottomrule", r"\end{tabular}"),
                "",
            ]
        )

    def csv(self) -> str:
        """Returns all figures as CSV, with a line for each row."""
        text = io.StringIO()
        suffixes = ("", "_low", "_high", "_sd")
        ends = [f"{metric}{end}" for metric in self._metrics for end in suffixes]
        valid = [f"valid_{metric}" for metric in self._metrics]
        columns = ["model", "seeds", *ends, *valid, *_COMPARED, *FIGURES, *self._lists, "error"]
        table = csv.DictWriter(text, columns, "", "ignore", lineterminator="\n")
        table.writeheader()
        for row in self.rows:
            found = {"model": row.model, "seeds": row.seeds, **row.test, **row.figures, **row.lists}
            for metric, (low, high) in row.intervals.items():
                deviation = row.deviations[metric] if row.seeds > 1 else ""
                found |= {f"{metric}_low": low, f"{metric}_high": high, f"{metric}_sd": deviation}
            found |= {f"valid_{metric}": value for metric, value in row.valid.items()}
            if row.difference is not None:
                found |= dict(zip(_COMPARED, (*row.difference, row.p), strict=True))
            table.writerow(found)
        table.writerows({"model": one, "error": reason} for one, reason in self.failed.items())
        return text.getvalue()

    def json(self) -> str:
        """Returns all figures and the protocol as JSON."""
        tree: dict[str, Any] = {
            "log": self.log,
            "protocol": self.rows[0].protocol,
            "metric": self.metric,
            **({"note": self._note} if self._note else {}),
            "against": self.against,
            "rows": [row.to_dict() for row in self.rows],
            "failed": self.failed,
            **({"leaks": self._leaks.to_dict()} if self._leaks else {}),
        }
        if self._slices:
            tree["slices"] = [
                {
                    "name": one.name,
                    "labels": one.labels,
                    "events": one.counts().tolist(),
                    self.metric: {
                        row.model: one.means(row.values[self.metric]).tolist() for row in self.rows
                    },
                }
                for one in self._slices
            ]
        return json.dumps(tree, indent=2) + "\n"

    def _lines(self) -> list[list[str]]:
        spread = ["sd"] if self._seeds > 1 else []
        header = ["model", *self._metrics, *spread, "difference", "p", ""]
        return [[*header, "epoch", "s/epoch", "parameters", "MB"], *map(self._line, self.rows)]

    def _line(self, row: Row) -> list[str]:
        figures, cells = row.figures, [row.model]
        for metric in self._metrics:
            low, high = row.intervals[metric]
            interval = f" ({low:.4f}-{high:.4f})" if metric == self.metric else ""
            cells.append(f"{row.test[metric]:.4f}{interval}")
        if self._seeds > 1:
            cells.append(f"{row.deviations[self.metric]:.4f}" if row.seeds > 1 else "")
        if row.difference is None:
            cells += ["", "", ""]
        else:
            mean, low, high, _ = row.difference
            p = f"{row.p:.3f}" if row.p >= 0.001 else "<0.001"
            cells += [f"{mean:+.4f} ({low:+.4f} to {high:+.4f})", p, row.verdict]
        trained = figures["epochs"] > 0
        return [
            *cells,
            " of ".join(map(_span, row.epochs.values())) if trained else "",
            f"{figures['seconds_per_epoch']:.1f}" if trained else "",
            f"{figures['parameters']:,.0f}",
            f"{figures['peak_memory_mb']:,.0f}",
        ]

    def _more_tables(self) -> list[tuple[str, list[list[str]]]]:
        """Returns the tables below the first one: titles and lines."""
        tables = [self._slice_lines(one) for one in self._slices]
        if self._lists:
            lines = [
                [row.model, *(f"{row.lists[name]:.4f}" for name in self._lists)]
                for row in self.rows
                if row.lists
            ]
            tables.insert(0, ("Lists for the test events:", [["model", *self._lists], *lines]))
        return tables

    def _slice_lines(self, slices: Slices) -> tuple[str, list[list[str]]]:
        """Returns a title and the lines of a table: the metric of each row in each slice."""
        lines = [["", *slices.labels], ["test events", *(f"{one:,}" for one in slices.counts())]]
        for row in self.rows:
            means = slices.means(row.values[self.metric])
            lines.append([row.model, *(f"{mean:.4f}" for mean in means)])
        return f"{self.metric} by {slices.name}:", lines

    def _notes(self) -> list[str]:
        """Returns paragraphs below the first table."""
        return [f"Leakage: {' '.join(str(self._leaks).split())}"] if self._leaks else []

    def _failures(self) -> list[str]:
        return [f"\n{model} was not trained: {reason}" for model, reason in self.failed.items()]


def _span(ends: list[int]) -> str:
    """Returns two numbers as 31-37, or one number if they are equal."""
    return "-".join(map(str, dict.fromkeys(ends)))


def _filled(text: str) -> str:
    return textwrap.fill(text, 100, break_on_hyphens=False)


def _markdown_table(lines: list[list[str]]) -> list[str]:
    header, *rest = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    rule = ["---", *(["---:"] * (len(header) - 1))]
    return ["| " + " | ".join(line) + " |" for line in (header, rule, *rest)]


def _escaped(text: str) -> str:
    return _LATEX.sub(lambda found: _COMMANDS.get(found[0], f"\\{found[0]}"), text)
