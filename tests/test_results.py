"""The page of results, which docs/make_results.py writes from the tables of its commands."""

import importlib.util
import json
from pathlib import Path

import pytest

from tfrec_attn import models
from tfrec_attn.config.config_files import packaged, packaged_studies

ROOT = Path(__file__).resolve().parents[1]
CELL = 'class="cell"'


@pytest.fixture
def results(tmp_path, monkeypatch):
    """The module, with folders of its own."""
    monkeypatch.syspath_prepend(ROOT / "docs")
    spec = importlib.util.spec_from_file_location("make_results", ROOT / "docs/make_results.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "RUNS", tmp_path / "results")
    monkeypatch.setattr(module, "PAGE", tmp_path / "results.md")
    return module


def test_a_section_with_its_claim(results):
    (section, *_) = results.SECTIONS
    folder = results.RUNS / section.name
    (folder / section.log).mkdir(parents=True)
    note = {"command": "python -m x", "date": "2026-01-02", "commit": "abc", "machine": "2 cores"}
    (folder / "note.json").write_text(json.dumps(note))
    table = "| model | HR@5 | p |\n| --- | ---: | --- |\n| attrec | 0.5 |  |"
    by_transitions = "NDCG@10 by transitions to the target:\n\n| | 0 |"
    lists = "Lists for the test events:\n\n| model |"
    paragraphs = [
        "The caption. In parentheses: an interval.",
        table,
        "Leakage: 1.0% of the events.",
        lists,
        by_transitions,
        "NDCG@10 by time:",
        "| a |",
    ]
    (folder / section.log / "results.md").write_text("\n\n".join(paragraphs) + "\n")
    verdicts = {"prme": "worse", "fpmc": "no difference shown", "hrm": "better", "cml": "worse"}
    verdicts["decayed_transitions"] = "no difference shown"
    rows = [{"model": "attrec"}, *({"model": k, "verdict": v} for k, v in verdicts.items())]
    for row in rows:
        row["figures"] = {"best_epoch": 29 if row["model"] == "cml" else 20, "epochs": 30}
    (folder / section.log / "results.json").write_text(
        json.dumps({"rows": rows, "metric": "MRR", "against": "pop"})
    )
    assert results.main(["--only"]) == 0
    text = results.PAGE.read_text()
    assert f"## {section.title}\n" in text
    short = "| model | p |\n| --- | --- |\n| attrec |  |"
    assert (
        f"The caption. Differences in MRR are to pop.\n\n{short}\n\n{by_transitions}\n\n"
        "Leakage: 1.0% of the events.\n\n<details"
    ) in text
    assert f"other slices</summary>\n\n{table}\n\n{lists}\n\nNDCG@10 by time:\n\n| a |\n" in text
    assert "```text\npython -m x\n```\n\nMade on 2026-01-02 from commit abc, 2 cores.\n" in text
    assert (
        "The paper claims that attrec is ahead of prme, transrec, caser, fpmc, bpr_mf, hrm, cml. "
        "The tests confirm it for prme, cml. They cannot tell it from fpmc. They refute it for "
        "hrm. They cannot tell it from decayed_transitions, which only counts. More epochs may "
        "improve cml: the best is one of the last. transrec, caser, bpr_mf: not run.\n"
    ) in text
    missing = text.partition("## Not run yet")[2]
    assert f"- {section.title}\n" not in missing
    assert all(f"- {one.title}\n" in missing for one in results.SECTIONS[1:])
    (folder / "note.json").unlink()
    assert results.main(["--only"]) == 0
    assert results.PAGE.read_text() == text


@pytest.mark.parametrize(
    ("best", "verdict", "sentence"),
    [
        (
            "alpha=0.50",
            None,
            "alpha=0.50, as in the configuration, has the highest MRR; the tests find alpha=0 "
            "worse.",
        ),
        ("alpha=1", "better", "alpha=1 has the highest MRR, and it is better than alpha=0.50."),
        (
            "alpha=1",
            "no difference shown",
            "alpha=1 has the highest MRR, but no test shows that it is better than alpha=0.50.",
        ),
    ],
)
def test_a_study_with_the_finding_of_the_paper(results, best, verdict, sentence):
    folder = results.RUNS / "mqsa_ted-alpha"
    folder.mkdir(parents=True)
    note = {"command": "python -m x", "date": "2026-01-02", "commit": "abc", "machine": "2 cores"}
    (folder / "note.json").write_text(json.dumps(note))
    (folder / "results.md").write_text("The caption.\n\n| model | p |\n| --- | --- |\n")
    rows = [{"model": "alpha=0", "test": {"MRR": 0.1}, "verdict": "worse"}]
    rows.append({"model": best, "test": {"MRR": 0.3}} | ({"verdict": verdict} if verdict else {}))
    tree = {"rows": rows, "metric": "MRR", "against": "alpha=0.50"}
    (folder / "results.json").write_text(json.dumps(tree))
    assert results.main(["--only"]) == 0
    text = results.PAGE.read_text()
    assert f"The paper finds 0.5 best; 1 is SASRec with distillation. Here, {sentence}\n" in text


def test_published_figures_beside_those_of_the_page(results):
    for log, model in (("beauty", "mqsa_ted"), ("toys", "caser")):
        folder = results.RUNS / log / log
        folder.mkdir(parents=True)
        test = {"HR@5": 0.1, "NDCG@5": 0.2, "HR@10": 0.3, "NDCG@10": 0.4}
        rows = [{"model": model, "test": test}]
        (folder / "results.json").write_text(json.dumps({"rows": rows}))
    assert results.main(["--only"]) == 0
    text = results.PAGE.read_text()
    row = next(line for line in text.splitlines() if line.startswith("| caser |"))
    cells = [cell.strip() for cell in row.split("|")[2:-2]]
    assert cells == ["0.0347 / 0.0176", "", "0.0270 / 0.0141", "0.3000 / 0.4000"]
    assert "0.0752 / 0.0534 on Beauty; here it is 0.1000 / 0.2000.\n" in text
    (results.RUNS / "toys" / "toys" / "results.json").unlink()
    assert results.main(["--only"]) == 0
    assert results.PAGE.read_text() == text


def test_how_a_section_is_made(results, monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(results, "_exit_code", lambda command: calls.append(command) or 0)
    (section,) = [one for one in results.SECTIONS if one.name == "mqsa_ted-alpha"]
    (results.RUNS / section.name).mkdir(parents=True)
    results.run(section, tmp_path, seeds=2, jobs=1)
    command = calls[0][1:]
    assert command[:3] == ["-m", "tfrec_attn.ablation", "studies/mqsa_ted-alpha"]
    assert f"data.path={tmp_path / 'beauty' / 'interactions.tsv.gz'}" in command
    note = json.loads((results.RUNS / section.name / "note.json").read_text())
    assert note["command"] == (
        "python -m tfrec_attn.ablation studies/mqsa_ted-alpha --seeds 2 data.path=beauty.tsv.gz"
    )
    with pytest.raises(SystemExit, match="2"):
        results.main([])


def test_heat_maps_of_a_report(results, monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(results, "_exit_code", lambda command: calls.append(command) or 0)
    (section,) = [one for one in results.SECTIONS if one.name == "attrec-attention"]
    results.run(section, tmp_path, seeds=2, jobs=1)
    folder = results.RUNS / section.name
    run = str(results.RUNS / "ml-100k/ml-100k/attrec/seed-1")
    report = folder / "report.html"
    assert calls[0][3:] == [run, "--user", "4", "--to", str(report)]
    chart = '<svg aria-label="attention of 4"><rect {}/></svg>'
    other = '<svg aria-label="loss of 1"></svg>'
    report.write_text(f"<p>{other}{chart.format(CELL)}</p>")
    assert results.main(["--only"]) == 0
    text = results.PAGE.read_text()
    assert "python -m tfrec_attn.report comparisons/ml-100k/attrec/seed-1 --user 4\n" in text
    assert "\n![attention](results/attrec-attention-attention.svg)\n" in text
    written = (tmp_path / "results" / "attrec-attention-attention.svg").read_text()
    assert written == chart.format('fill="#2563eb"') + "\n"


def test_sections_name_what_there_is(results):
    studies = {f"studies/{one.name}" for one in results.SECTIONS if one.command == "ablation"}
    assert studies == packaged_studies().keys()
    for section in results.SECTIONS:
        folder = section.log.removesuffix("-attrec")
        rows = {name.partition("/")[2] for name in packaged() if name.startswith(folder)}
        named = {section.winner, *section.losers} - {None}
        assert named <= rows | set(models.names())
    assert (ROOT / "docs" / "results.md").read_text().startswith("# Results\n")


def test_a_section_that_fails(results, tmp_path, monkeypatch):
    """Its command has told why, and the page stays as it is."""
    results.PAGE.write_text("before")
    monkeypatch.setattr(results.sys, "executable", "false")
    assert results.main(["--only", "ml-100k", "--data", str(tmp_path)]) == 1
    assert results.PAGE.read_text() == "before" and not results.RUNS.exists()


def test_an_interrupted_section_stops_its_trainings(results, monkeypatch):
    """Its command is waited for, not killed."""
    answers = iter([KeyboardInterrupt, 130])

    class Process:
        def wait(self):
            answer = next(answers)
            if answer is KeyboardInterrupt:
                raise answer
            return answer

    monkeypatch.setattr(results.subprocess, "Popen", lambda *_, **__: Process())
    monkeypatch.setattr(results, "page", lambda: pytest.fail("the page is not written"))
    assert results.main(["--only", "ml-100k", "--data", "."]) == 130
