"""Makes docs/results.md: runs the comparisons and studies of both papers, and writes their tables.

    python docs/make_results.py --data FOLDER [--only NAME ...] [--seeds N]

The folder has `ml-100k`, `beauty` and `toys`, each with `interactions.tsv.gz`. Runs are kept in
`results/`; the same command resumes them. Sections without runs there keep the text that the page
has, perhaps from another machine. All sections together take days on two cores.
"""

import argparse
import datetime
import json
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PAGE, RUNS = ROOT / "docs" / "results.md", ROOT / "results"
_PRIOR = ["prior.decay=1", "prior.backward=0.5", "prior.popularity_power=0.5"]


class Section(NamedTuple):
    """A table of the page.

    Attributes:
        name: Its folder.
        title: Its heading.
        log: Folder of its log.
        command: "compare" or "ablation".
        arguments: Its arguments, without the log.
        winner: Row that the paper claims to be ahead, or None.
        losers: Rows that the paper claims to be behind it.
    """

    name: str
    title: str
    log: str
    command: str
    arguments: list[str]
    winner: str | None = None
    losers: tuple[str, ...] = ()


def _study(name: str, title: str, log: str) -> Section:
    return Section(name, title, log, "ablation", [f"studies/{name}"])


SECTIONS = [
    Section(
        "ml-100k",
        "MovieLens-100K: the models of the paper of AttRec",
        "ml-100k",
        "compare",
        [
            *("--data", "ml-100k", "--with-prior", "--against", "attrec", "--models"),
            "pop,transition,decayed_transitions,item_knn,attrec,fmc,fpmc,bpr_mf,cml,hrm,prme,"
            "transrec,caser",
            *_PRIOR,
        ],
        "attrec",
        ("prme", "transrec", "caser", "fpmc", "bpr_mf", "hrm", "cml"),
    ),
    Section(
        "ml-100k-equal-budget",
        "MovieLens-100K: the same models, each searched with eight trials",
        "ml-100k",
        "compare",
        [
            *("--data", "ml-100k", "--trials", "8", "--with-prior", "--against", "attrec"),
            *("--models", "pop,decayed_transitions,attrec,bpr_mf,cml,fpmc,hrm,prme,transrec,caser"),
            *_PRIOR,
        ],
        "attrec",
        ("prme", "transrec", "caser", "fpmc", "bpr_mf", "hrm", "cml"),
    ),
    _study("attrec-self_attention", "AttRec with and without self-attention", "ml-100k"),
    _study("attrec-aggregation", "AttRec by the aggregation of the attended items", "ml-100k"),
    _study("attrec-user_weight", "AttRec by the weight of the long-term interest", "ml-100k"),
    _study("attrec-max_length", "AttRec by the length of the history", "ml-100k"),
    _study("attrec-dim", "AttRec by its width", "ml-100k"),
    *(
        Section(
            log,
            f"{title}: the models of the paper of MQSA-TED",
            log,
            "compare",
            ["--data", log, "--with-prior", "--slices", "--against", "mqsa_ted"],
            "mqsa_ted",
            ("sasrec", "gru4rec", "bert4rec", "caser", "fmlp_rec", *more),
        )
        for log, title, more in (
            ("beauty", "Amazon Beauty", ("fpmc", "lightgcn")),
            ("toys", "Amazon Toys", ()),
        )
    ),
    _study("mqsa_ted-query_window", "MQSA-TED by the events of a long query", "beauty"),
    _study("mqsa_ted-alpha", "MQSA-TED by the weight of the short queries", "beauty"),
    _study("mqsa_ted-distillation", "MQSA-TED by the weight of the distillation", "beauty"),
    _study("mqsa_ted-temperature", "MQSA-TED by the temperature of the distillation", "beauty"),
    _study("mqsa_ted-graph_regularization", "MQSA with TED or a graph regularizer", "beauty"),
    _study("sasrec-distillation", "SASRec with and without distillation", "beauty"),
    _study("fmlp_rec-distillation", "FMLP-Rec with and without distillation", "beauty"),
    _study("gru4rec-distillation", "GRU4Rec with and without distillation", "beauty"),
]
_INTRODUCTION = """\
# Results

The tables of both papers, reproduced by the command above each table. `make results` writes this
page; do not edit it.

The splits are leave-one-out, the ranking is over the full catalogue, and the epoch is chosen on the
validation events. Settings are those of the configurations of the package, of which only some were
searched, unless the section says that all models had equal budgets. The columns are explained in
[Comparisons and ablations](comparison.md#the-table).
"""


def main(arguments: list[str] | None = None) -> int:
    """Runs the sections that are asked for, and writes the page."""
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
        run(section, parsed.data, parsed.seeds, parsed.jobs)
        PAGE.write_text(page(), encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")
    return 0


def run(section: Section, data: Path, seeds: int, jobs: int) -> None:
    """Makes the table of a section, and notes how."""
    log = data / section.log / "interactions.tsv.gz"
    shown = [*section.arguments, "--seeds", str(seeds)]
    files = ["data.source=file", f"data.path={log}"]
    if section.log != "ml-100k":
        shown.append(f"data.path={section.log}.tsv.gz")
    folder = RUNS / section.name
    # The last value of a key counts.
    command = [sys.executable, "-m", f"tfrec_attn.{section.command}", *shown, *files]
    command += ["--jobs", str(jobs), "--to", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True)
    note = {
        "command": shlex.join(["python", "-m", f"tfrec_attn.{section.command}", *shown]),
        "date": datetime.date.today().isoformat(),
        "commit": _git("rev-parse", "--short", "HEAD"),
        "machine": _machine(),
    }
    (folder / "note.json").write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")


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
    if missing:
        parts += ["## Not run yet\n", "".join(missing)]
    return "\n".join(parts)


def _kept_sections() -> dict[str, str]:
    """Returns the text of each section of the page, by title."""
    text = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""
    sections = (one.partition("\n\n") for one in text.split("\n## ")[1:])
    return {title: body.rstrip("\n") + "\n" for title, _, body in sections}


def _section(section: Section) -> list[str]:
    folder = RUNS / section.name
    note = json.loads((folder / "note.json").read_text(encoding="utf-8"))
    found = folder / section.log if section.command == "compare" else folder
    table = (found / "results.md").read_text(encoding="utf-8")
    made = f"Made on {note['date']} from commit {note['commit']}, {note['machine']}.\n"
    parts = [f"```text\n{note['command']}\n```\n", made]
    if section.winner is not None:
        rows = json.loads((found / "results.json").read_text(encoding="utf-8"))["rows"]
        parts.append(_claim(section, {row["model"]: row.get("verdict") for row in rows}))
    return [*parts, table]


def _claim(section: Section, verdicts: dict[str, str | None]) -> str:
    """Returns what the paired tests tell of the claim of the paper, in a sentence each."""
    told = [f"The paper claims that {section.winner} is ahead of {', '.join(section.losers)}."]
    for verdict, text in (
        ("worse", "The tests confirm it for {}."),
        ("no difference shown", "They show no difference to {}."),
        ("better", "They refute it for {}."),
    ):
        names = [name for name in section.losers if verdicts.get(name) == verdict]
        if names:
            told.append(text.format(", ".join(names)))
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
