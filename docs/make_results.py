"""Makes docs/results.md: runs the comparisons and studies of both papers, and writes their tables.

    python docs/make_results.py --data FOLDER [--only NAME ...] [--seeds N]

The folder has `ml-100k`, `ml-100k-attrec`, `beauty` and `toys`, each with `interactions.tsv.gz`.
Runs are kept in `results/`; the same command resumes them. Sections without runs there keep the
text that the page has, perhaps from another machine. All sections together take days on two cores.
"""

import argparse
import datetime
import json
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any

from results_sections import COUNTS, PUBLISHED, SECTIONS, Section

from tfrec_attn.files.writing import replace_text

# Columns of the table of a comparison; a part that unfolds has all.
_SHORT = ("model", "HR@10", "NDCG@10", "MRR", "sd", "difference", "p", "", "epoch", "s/epoch")
_REPORT, _CELL = "report.html", 'class="cell"'
_STYLE = 'style="background:white;font:12px sans-serif;'
_HEAT_MAP = (
    "The darker a cell is, the more the event of its row attends to that of its column. The events "
    "are the latest of the history, oldest first.\n"
)
_TRANSITIONS = "NDCG@10 by transitions to the target:"
_LEAKS = "Leakage: "
_LEGEND = " In parentheses:"
_PUBLISHED_TITLE = "Published figures"
ROOT = Path(__file__).resolve().parents[1]
PAGE, RUNS = ROOT / "docs" / "results.md", ROOT / "results"


_INTRODUCTION = """\
# Results

The tables of the papers of [AttRec](https://arxiv.org/abs/1808.06414) and
[MQSA-TED](https://arxiv.org/abs/2311.01056), reproduced by the command above each table. `make
results` writes this page; do not edit it.

The splits are leave-one-out, the ranking is over the full catalogue, and the epoch is chosen on the
validation events. Settings are those of the configurations of the package, of which only some were
searched, unless the section says that all models had equal budgets.

- The rows of a comparison are ordered from the worst to the best. In parentheses are 95 % bootstrap
  intervals over the users; p is the p-value of a paired permutation test, adjusted for all rows by
  Holm's method, and a row is better or worse if p < 0.05. [Comparisons and
  ablations](comparison.md#the-table) explains all columns.
- A row `+ prior` is the same training with a [prior of
  transitions](models.md#a-prior-of-transitions), whose weight is chosen on the validation events.
  The lists of a model are those with its prior, if it has one.
- Tables of the same [protocol](evaluation.md#comparable-figures) rank the same events against the
  same items. The figures of one configuration can differ between two commits, as between two seeds.
- "Better" and "worse" hold for these trainings only. A row whose best epoch is close to the last
  one may become better with more epochs. The p-values are adjusted for the number of rows, the
  intervals of the differences are not. A test with one seed does not include the variation between
  seeds; the NDCG@10 of the two seeds of `mqsa_ted-128` in [Benchmarks](benchmarks.md#accuracy)
  differs by 0.0004.
- On MovieLens, only the settings of `attrec` and `decayed_transitions` were searched; the section
  with equal budgets is fairer. The baseline `decayed_transitions` of a run has default settings,
  which are weaker there: its NDCG@10 is 0.086 instead of 0.111.
- On Amazon Beauty, `mqsa_ted` has the settings of its authors' code, without a search. A training
  ends when its validation metric no longer improves, or with the epochs of its configuration. With
  the equal budgets of another section, most models need more than its 15 epochs.
- In MovieLens-100K, half of the events have the same time as the event before, so the order of a
  history depends in part on the file. The authors of AttRec use another order, in which the test
  items of 44 % of the users differ, and other metrics: see [Benchmarks](benchmarks.md#accuracy).
- For most sections the machine did other work at the same time, so `s/epoch` is an upper limit.
  [Benchmarks](benchmarks.md#training) has the speed of an idle machine.
- The studies of MQSA-TED use settings that reach an NDCG@10 of 0.060 in 15 epochs; the settings of
  its authors reach 0.062 in 81. A training of a study ends after five epochs without a better
  validation metric, so the rows of a study have different numbers of epochs.
- The commands download the logs of MovieLens, and read those of Amazon from `data.path`.
  [Benchmarks](benchmarks.md#accuracy) describes the logs.
"""


def main(arguments: list[str] | None = None) -> int:
    """Runs the sections that are asked for, and writes the page.

    Returns:
        0, or the exit code of the command of a section, which has told why it failed.
    """
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder with ml-100k, beauty and toys")
    parser.add_argument(
        "--only",
        nargs="*",
        choices=[one.name for one in SECTIONS],
        help="sections to run; none: only write the page (default: all)",
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1)
    parsed = parser.parse_args(arguments)
    chosen = [one for one in SECTIONS if parsed.only is None or one.name in parsed.only]
    if chosen and parsed.data is None:
        parser.error("--data must be the folder of the logs")
    for section in chosen:
        if code := run(section, parsed.data.resolve(), parsed.seeds, parsed.jobs):
            return code
        replace_text(PAGE, page())
    replace_text(PAGE, page())
    return 0


def run(section: Section, data: Path, seeds: int, jobs: int) -> int:
    """Makes the table or the report of a section, and notes how; returns its exit code."""
    folder, program = RUNS / section.name, f"tfrec_attn.{section.command}"
    if section.command == "report":
        source, *rest = section.arguments
        shown = [f"comparisons/{source.partition('/')[2]}", *rest]
        given = [str(RUNS / source), *rest, "--to", str(folder / _REPORT)]
        folder.mkdir(parents=True, exist_ok=True)
    else:
        shown = [*section.arguments, "--seeds", str(seeds)]
        if not section.log.startswith("ml-100k"):
            shown.append(f"data.path={section.log}.tsv.gz")
        # The last value of a key counts.
        log = data / section.log / "interactions.tsv.gz"
        given = [*shown, "data.source=file", f"data.path={log}"]
        given += ["--jobs", str(jobs), "--to", str(folder)]
    if code := _exit_code([sys.executable, "-m", program, *given]):
        return code
    note = {
        "command": shlex.join(["python", "-m", program, *shown]),
        "date": datetime.date.today().isoformat(),
        "commit": _git("rev-parse", "--short", "HEAD"),
        "machine": _machine(),
    }
    replace_text(folder / "note.json", json.dumps(note, indent=2) + "\n")
    return 0


def _exit_code(command: list[str]) -> int:
    """Returns the exit code of a command, as a shell does."""
    process = subprocess.Popen(command, cwd=ROOT)
    while True:
        try:
            code = process.wait()
            return code if code >= 0 else 128 - code
        except KeyboardInterrupt:
            # The command received it too, and stops its trainings.
            continue


def page() -> str:
    """Returns the page: sections made from their runs, kept from the page, or missing."""
    kept = _kept_sections()
    parts, missing = [_INTRODUCTION], []
    for section in SECTIONS:
        heading = f"## {section.title}\n"
        if (RUNS / section.name / "note.json").is_file():
            parts += [heading, *_section(section)]
        elif section.title in kept:
            parts += [heading, kept[section.title]]
        else:
            missing.append(f"- {section.title}\n")
    compared = [RUNS / log / log / "results.json" for log in ("beauty", "toys")]
    if all(path.is_file() for path in compared):
        parts += [f"## {_PUBLISHED_TITLE}\n", *_published(compared)]
    elif _PUBLISHED_TITLE in kept:
        parts += [f"## {_PUBLISHED_TITLE}\n", kept[_PUBLISHED_TITLE]]
    if missing:
        parts += ["## Not run yet\n", "".join(missing), "`make results DATA=FOLDER` runs them.\n"]
    return "\n".join(parts)


def _published(tables: Sequence[Path]) -> list[str]:
    """Returns figures that others published for these logs, beside those of this page."""
    beauty, toys = (
        {row["model"]: row["test"] for row in json.loads(path.read_text(encoding="utf-8"))["rows"]}
        for path in tables
    )

    def pair(tests: dict[str, dict[str, float]], model: str, k: int = 10) -> str:
        found = tests.get(model)
        return f"{found[f'HR@{k}']:.4f} / {found[f'NDCG@{k}']:.4f}" if found else ""

    lines = [
        f"| {model} | {on_beauty} | {pair(beauty, model)} | {on_toys} | {pair(toys, model)} "
        f"| {source} |\n"
        for model, on_beauty, on_toys, source in PUBLISHED
    ]
    return [
        "HR@10 / NDCG@10 on the same 5-core logs, with the leave-one-out split and the full "
        "ranking. How the published figures rank items with equal scores is not known: even pop, "
        "which has no random part, differs.\n",
        "| model | Beauty, published | here | Toys, published | here | published by |\n"
        f"|---|---|---|---|---|---|\n{''.join(lines)}",
        "The authors of MQSA-TED report an HR@5 / NDCG@5 of 0.0752 / 0.0534 on Beauty; here it is "
        f"{pair(beauty, 'mqsa_ted', 5)}.\n",
    ]


def _kept_sections() -> dict[str, str]:
    """Returns the text of each section of the page, by title."""
    text = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""
    sections = (one.partition("\n\n") for one in text.split("\n## ")[1:])
    return {title: body.rstrip("\n") + "\n" for title, _, body in sections}


def _section(section: Section) -> list[str]:
    folder = RUNS / section.name
    note = json.loads((folder / "note.json").read_text(encoding="utf-8"))
    made = f"Made on {note['date']} from commit {note['commit']}, {note['machine']}.\n"
    parts = [f"```text\n{note['command']}\n```\n", made]
    if section.command == "report":
        return [*parts, *_images(section)]
    (found,) = folder.glob("*/results.md" if section.command == "compare" else "results.md")
    figures = json.loads(found.with_suffix(".json").read_text(encoding="utf-8"))
    if section.winner is not None:
        parts.append(_claim(section, figures["rows"]))
    if section.finding:
        parts.append(f"{section.finding} {_best_row(figures)}\n")
    # The introduction explains the columns.
    caption, _, table = found.read_text(encoding="utf-8").partition("\n\n")
    caption = caption.partition(_LEGEND)[0]
    parts.append(f"{caption} Differences in {figures['metric']} are to {figures['against']}.\n")
    return [*parts, *_unfolding(table, leaks=section.command == "compare")]


def _best_row(figures: dict[str, Any]) -> str:
    """Returns which row of a study is the best, and whether a test shows it, as a sentence."""
    metric, against = figures["metric"], figures["against"]
    best = max(figures["rows"], key=lambda row: row["test"][metric])
    if best["model"] == against:
        worse = [row["model"] for row in figures["rows"] if row.get("verdict") == "worse"]
        shown = f"the tests find {', '.join(worse) or 'no other'} worse"
        return f"Here, {against}, as in the configuration, has the highest {metric}; {shown}."
    shown = "and it" if best["verdict"] == "better" else "but no test shows that it"
    return f"Here, {best['model']} has the highest {metric}, {shown} is better than {against}."


def _images(section: Section) -> list[str]:
    """Writes the heat maps of a report beside the page, and returns references to them."""
    text = (RUNS / section.name / _REPORT).read_text(encoding="utf-8")
    folder, lines = PAGE.with_suffix(""), [_HEAT_MAP]
    folder.mkdir(exist_ok=True)
    for found in re.finditer(r'<svg[^>]*aria-label="([^"]*?) of .*?</svg>', text, re.DOTALL):
        name, chart = found[1], found[0]
        if _CELL not in chart:
            continue
        path = folder / f"{section.name}-{name.replace(' ', '-')}.svg"
        chart = chart.replace(_CELL, 'fill="#2563eb"').replace('style="', _STYLE)
        path.write_text(f"{chart}\n", encoding="utf-8")
        lines.append(f"![{name}]({folder.name}/{path.name})\n")
    return lines


def _unfolding(text: str, leaks: bool) -> list[str]:
    """Returns a table of a few columns, and all figures as a part that unfolds.

    What the training knows of later events is above that part, or in it unless `leaks`.
    """
    table, *others = text.rstrip().split("\n\n")
    shown = [_columns(table, _SHORT)]
    if _TRANSITIONS in others:
        place = others.index(_TRANSITIONS)
        shown += others[place : place + 2]
        del others[place : place + 2]
    known = [one for one in others if one.startswith(_LEAKS)]
    others = [one for one in others if one not in known]
    shown, folded = ([*shown, *known], []) if leaks else (shown, known)
    summary = "All metrics, lists and other slices" if others[2:] else "All metrics and lists"
    opening = f'<details markdown="1"><summary>{summary}</summary>'
    return [f"{one}\n" for one in (*shown, opening, table, *folded, *others, "</details>")]


def _columns(table: str, names: Container[str]) -> str:
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    chosen = [index for index, name in enumerate(lines[0]) if name in names]
    return "\n".join(f"| {' | '.join(line[index] for index in chosen)} |" for line in lines)


def _claim(section: Section, rows: Sequence[dict[str, Any]]) -> str:
    """Returns what the paired tests tell of the claim of the paper, in a sentence each."""
    verdicts = {row["model"]: row.get("verdict") for row in rows}
    told = [f"The paper claims that {section.winner} is ahead of {', '.join(section.losers)}."]
    for verdict, text in (
        ("worse", "The tests confirm it for {}."),
        ("no difference shown", "They cannot tell it from {}."),
        ("better", "They refute it for {}."),
    ):
        names = [name for name in section.losers if verdicts.get(name) == verdict]
        if names:
            told.append(text.format(", ".join(names)))
    counted = {
        "worse": "It is also ahead of {}, which only counts.",
        "no difference shown": "They cannot tell it from {}, which only counts.",
        "better": "{}, which only counts, is ahead of it.",
    }.get(verdicts.get(COUNTS))
    if counted:
        told.append(counted.format(COUNTS))
    rising = [
        row["model"]
        for row in rows
        if row["model"] in section.losers
        and row["figures"]["best_epoch"] > row["figures"]["epochs"] - 5
    ]
    if rising:
        told.append(f"More epochs may improve {', '.join(rising)}: the best is one of the last.")
    absent = [name for name in section.losers if name not in verdicts]
    if absent:
        told.append(f"{', '.join(absent)}: not run.")
    return " ".join(told) + "\n"


def _machine() -> str:
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores of {names[0] if names else platform.machine()}, {memory:.0f} GiB"
    )


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments],  # noqa: S607 - that of the user
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())
