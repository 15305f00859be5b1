"""The command compare: its trainings, tables, interruptions and bad input."""

import csv
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
import yaml

from tests.commands import assert_refused, run_command
from tfrec_attn import compare
from tfrec_attn.config import load, to_dict, to_yaml
from tfrec_attn.data.sequences.splits import split_checksum
from tfrec_attn.errors import ConfigError, Interrupted, TrainingError
from tfrec_attn.evaluation.slices import Slices
from tfrec_attn.files.locked_folder import locked_folder
from tfrec_attn.replay.measured_run import REMEDY
from tfrec_attn.runs.partial_run import PartialRun
from tfrec_attn.runs.run import prepare_data
from tfrec_attn.runs.run_files import CONFIG, METRICS, RANKS, write_json
from tfrec_attn.runtime.stop_signals import StopSignals
from tfrec_attn.studies.comparison import (
    comparison,
    comparison_run,
    comparison_search,
    comparison_training,
)
from tfrec_attn.studies.comparison.comparison_plan import LogPlan, log_name, plan_log
from tfrec_attn.studies.comparison.comparison_results import compare_rows, rows_of
from tfrec_attn.studies.comparison.comparison_run import NothingTrained, check_plan
from tfrec_attn.studies.comparison.comparison_search import Budget, default_ranges, search_rows
from tfrec_attn.studies.comparison.comparison_table import ComparisonTable
from tfrec_attn.studies.comparison.comparison_training import is_finished, train_cells
from tfrec_attn.studies.comparison.split_agreement import kendall_tau, split_agreement
from tfrec_attn.studies.finished_runs import load_report
from tfrec_attn.training.training_run import resolve

MISS = np.iinfo(np.int32).max
SHOP = "data: {events: 1000, seed: 3}\nevaluate: {k: [10], metric: NDCG@10}\n"


@pytest.fixture
def shop(tmp_path):
    """A configuration of a log of 33 users."""
    (tmp_path / "shop.yaml").write_text(SHOP)
    return tmp_path / "shop.yaml"


def rows_in(folder):
    with open(folder / "results.csv", newline="") as stream:
        return list(csv.DictReader(stream))


def without_seconds(folder):
    times = {"seconds_per_epoch", "examples_per_second", "train_seconds", "peak_memory_mb"}
    return [
        {name: value for name, value in row.items() if name not in times} for row in rows_in(folder)
    ]


def test_a_comparison_and_its_resumption(shop, tmp_path):
    """What is finished is not trained again, and the table is the same."""
    to = tmp_path / "to"
    arguments = [f"--data={shop}", "--models=pop,transition", f"--to={to}"]
    splits = "--splits=leave-one-out,temporal-all"
    code, out, error = run_command(compare.main, *arguments, "--slices", splits)
    assert (code, error) == (0, "")
    assert "NDCG@10 by transitions to the target:" in out
    assert re.search(
        r"that of \w+ \(the best counting model by validation\), with", " ".join(out.split())
    )
    check_agreement(to, out)
    check_leaks(to)
    (to / "shop-leave-one-out").rename(to / "shop")
    first = without_seconds(to / "shop")
    assert {row["model"] for row in first} == {"pop", "transition"}
    assert re.search(r"shop-leave-one-out pop, seed 1: test NDCG@10 0\.\d{4}, \d+ s\n", out)
    report = json.loads((to / "shop" / "pop" / "seed-1" / METRICS).read_text())
    (pop,) = [row for row in first if row["model"] == "pop"]
    for name, value in report["test"].items():
        assert float(pop[name]) == pytest.approx(value, rel=1e-6)
        # All commands draw the same users.
        ends = [float(pop[f"{name}_{end}"]) for end in ("low", "high")]
        assert ends == pytest.approx(report["test_interval"][name], rel=1e-6)
    before = (to / "shop" / "pop" / "seed-1" / METRICS).stat().st_mtime_ns
    for path in sorted((to / "shop" / "transition" / "seed-1").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    (to / "shop" / "transition" / "seed-1").rmdir()
    code, _, error = run_command(compare.main, *arguments)
    assert (code, error) == (0, "")
    assert without_seconds(to / "shop") == first
    assert (to / "shop" / "pop" / "seed-1" / METRICS).stat().st_mtime_ns == before
    code, out, _ = run_command(compare.main, *arguments, "--models=pop")
    assert code == 0
    assert "note: the table before also had transition; their runs are kept.\n" in out


def check_agreement(to, out):
    """The files on several splits have the metrics of their tables."""
    text = (to / "shop-splits.txt").read_text()
    assert text in out
    told = (
        r"^leave-one-out and temporal-all: tau -?1\.000 over 2 rows\nWith fewer than 5 rows, tau "
    )
    assert re.search(told, text, re.MULTILINE)
    found = json.loads((to / "shop-splits.json").read_text())
    assert list(found["splits"]) == ["leave-one-out", "temporal-all"]
    for split, one in found["splits"].items():
        table = {row["model"]: row["NDCG@10"] for row in rows_in(to / f"shop-{split}")}
        values = dict(zip(found["models"], one["values"], strict=True))
        assert values == {model: pytest.approx(float(value)) for model, value in table.items()}
    report = json.loads((to / "shop-temporal-all" / "pop" / "seed-1" / METRICS).read_text())
    assert (report["protocol"]["split"], report["protocol"]["targets"]) == ("temporal", "all")
    # Later events of a user are known to its history, and no training event is later than a test.
    assert found["splits"]["temporal-all"]["leaks"]["tests_before_training"] == 0
    assert found["splits"]["leave-one-out"]["leaks"]["tests_before_training"] > 0


def check_leaks(to):
    """The table has the sentences that the trainings print; a temporal split has none."""
    printed = (to / "shop-leave-one-out" / "pop" / "seed-1.log").read_text()
    (shares,) = re.findall(
        r"^\S+% of the test events have .*\n.* as the event before\.$", printed, re.M
    )
    for split, expected in (("leave-one-out", 1), ("temporal-all", 0)):
        for suffix in ("txt", "md"):
            text = " ".join((to / f"shop-{split}" / f"results.{suffix}").read_text().split())
            assert text.count(f"Leakage: {' '.join(shares.split())}") == expected
    found = json.loads((to / "shop-leave-one-out" / "results.json").read_text())["leaks"]
    assert f"{found['tests_before_training']:.1%} of the test events have training" in shares
    assert "leaks" not in json.loads((to / "shop-temporal-all" / "results.json").read_text())


def test_kendall_tau():
    # 1 2 3 4 against 1 2 4 3: five of six pairs are in the same order.
    assert kendall_tau([1, 2, 3, 4], [1, 2, 4, 3]) == pytest.approx(4 / 6)
    assert kendall_tau([1, 2, 3], [3, 2, 1]) == -1
    # Of three pairs, two differ in the second list: 2 / sqrt(3 * 2).
    assert kendall_tau([1, 2, 3], [1, 1, 2]) == pytest.approx(2 / 6**0.5)
    assert np.isnan(kendall_tau([1, 2], [5, 5])) and np.isnan(kendall_tau([1], [2]))


@pytest.mark.parametrize("count", [4, 5])
def test_few_rows_say_little(shop, cells, count):
    """With one exchange, tau of n rows is 1 - 4 / (n (n - 1))."""
    row = rows_of(cells)[0]

    def table(values):
        rows = [
            dataclasses.replace(row, model=f"m{place}", test={"MRR": value})
            for place, value in enumerate(values)
        ]
        return ComparisonTable("logs", rows, "MRR", {})

    split = prepare_data(load(str(shop))).split
    values = [0.1, 0.2, 0.3, 0.4, 0.5][:count]
    swapped = [values[1], values[0], *values[2:]]
    found = {"a": (table(values), split), "b": (table(swapped), split)}
    text, figures = split_agreement("logs", found)
    tau = 1 - 4 / (count * (count - 1))
    assert f"a and b: tau {tau:.3f} over {count} rows\n" in text
    assert ("With fewer than 5 rows, tau says little" in text) == (count == 4)
    assert json.loads(figures)["agreement"][0]["tau"] == pytest.approx(tau)


def test_plan_of_a_split(shop, tmp_path):
    def data_of(split, *overrides):
        plan = plan_log(str(shop), ["pop"], overrides, 1, tmp_path, split=split)
        (cell,) = plan.cells
        assert plan.name == f"shop-{split}" and cell.folder.parent.parent == tmp_path / plan.name
        data = cell.config.data
        return data.split, data.valid_from, data.test_from, cell.config.evaluate.targets

    assert data_of("leave-one-out") == ("leave-one-out", None, None, None)
    assert data_of("temporal") == ("temporal", 0.8, 0.9, None)
    limits = ("data.split=temporal", "data.valid_from=0.5", "data.test_from=0.7")
    assert data_of("temporal-last", *limits) == ("temporal", 0.5, 0.7, "last")
    assert data_of("leave-one-out", *limits) == ("leave-one-out", None, None, None)


def write_yaml(folder, **files):
    folder.mkdir()
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return str(folder)


def test_plan_of_a_folder(tmp_path):
    source = write_yaml(
        tmp_path / "logs",
        wide="data: {events: 900, max_length: 7}\nmodel: {name: sasrec, dim: 32}\n"
        "evaluate: {k: [10]}\n",
        top="data: {events: 900}\nmodel: {name: pop}\nevaluate: {k: [5, 20]}\n",
        other="data: {events: 901}\nmodel: {name: pop}\n",
    )
    plan = plan_log(source, None, ["train.epochs=2"], 2, tmp_path / "to")
    assert plan.left_out == {"other": "data.events is 901, not 900"}
    assert [(cell.model, cell.seed) for cell in plan.cells] == [
        ("top", 1),
        ("wide", 1),
        ("wide", 2),
    ]
    wide = plan.cells[1]
    assert wide.folder == tmp_path / "to" / "logs" / "wide" / "seed-1"
    assert wide.config.evaluate.k == [5, 10, 20]
    alone = plan_log(source, ["wide"], ["train.epochs=2"], 2, tmp_path / "to")
    assert alone.cells[0] == wide
    assert (wide.config.data.max_length, wide.config.model.parameters) == (7, {"dim": 32})
    assert (wide.config.train.seed, plan.cells[2].config.train.seed) == (1, 2)
    assert wide.config.train.epochs == 2


def test_plan_of_a_model_without_a_configuration(tmp_path):
    """It takes the log and the evaluation of the others, and its recommended settings."""
    source = write_yaml(
        tmp_path / "logs",
        wide="data: {events: 900, max_length: 7}\nmodel: {name: sasrec, dim: 32}\n"
        "train: {epochs: 77}\nevaluate: {k: [10], metric: MRR}\n",
    )
    plan = plan_log(source, ["gru4rec", "wide"], ["train.patience=4"], 1, tmp_path / "to", True)
    gru, wide = (cell.config for cell in plan.cells)
    assert gru.model.name == "gru4rec" and gru.data.events == 900
    assert gru.evaluate.metric == "MRR" and gru.train.loss == "softmax"
    assert (gru.train.patience, wide.train.patience, wide.train.epochs) == (4, 4, 77)
    assert gru.data.max_length == 50
    assert gru.prior.weight == wide.prior.weight == "auto"


def test_what_a_plan_sets_for_all(shop, tmp_path):
    """The prior is that of models that are trained, and the rule for repeats is one."""
    plan = plan_log(str(shop), ["pop", "attrec"], ["prior.weight=0.5"], 1, tmp_path)
    assert [cell.config.prior.weight for cell in plan.cells] == [0.0, 0.5]
    source = write_yaml(
        tmp_path / "logs",
        a="data: {source: file, path: ./x.csv}\nmodel: {name: pop}\n",
        b="data: {source: file, path: x.csv}\nmodel: {name: fmc}\n",
        c="data: {source: file, path: x.csv}\nevaluate: {repeats: include}\n",
    )
    (tmp_path / "logs" / "._a.yaml").write_bytes(b"\0")
    plan = plan_log(source, None, [], 1, tmp_path)
    assert [cell.model for cell in plan.cells] == ["a", "b"]
    assert plan.left_out == {"c": "evaluate.repeats is 'include', not None"}
    for key, option in (("model.name", "models"), ("train.seed", "seeds"), ("run_dir", "to")):
        with pytest.raises(
            ConfigError, match=f"^{key} cannot be set for all trainings; use --{option}\\.$"
        ):
            plan_log(source, None, [f"{key}=1"], 1, tmp_path)


def test_names_of_logs(tmp_path, monkeypatch):
    (tmp_path / "shop").mkdir()
    monkeypatch.chdir(tmp_path / "shop")
    assert log_name(".") == "shop" and log_name("..") == tmp_path.name
    assert log_name("beauty/sasrec") == "beauty-sasrec" and log_name("toys/") == "toys"
    with pytest.raises(ConfigError) as error:
        plan_log(".", None, [], 1, tmp_path)
    assert str(error.value) == "'.' has no configurations, files that end with .yaml."


def test_plan_of_one_configuration(shop, tmp_path):
    plan = plan_log(str(shop), ["pop", "attrec"], [], 3, tmp_path)
    assert [(cell.model, cell.seed) for cell in plan.cells] == [
        ("pop", 1),
        *(("attrec", seed) for seed in (1, 2, 3)),
    ]
    assert plan.cells[1].folder == tmp_path / "shop" / "attrec" / "seed-1"
    everything = plan_log(str(shop), None, [], 1, tmp_path)
    assert {"attrec", "mqsa_ted", "lightgcn"} < {cell.model for cell in everything.cells}


RANKS_OF = {
    # Twelve events; the best model finds all within ten.
    "pop": [11, 20, MISS, 40, 3, 12, 13, 14, 15, 16, 17, 18],
    "transition": [11, 2, 30, 40, 3, 12, 13, 14, 15, 16, 17, 18],
    "good": [1, 2, 3, 1, 3, 2, 10, 4, 5, 6, 7, 8],
}


def write_run(cell, ranks, rule="a", valid=None, sha=None, baselines=None, **more):
    """Writes what a comparison reads of a run."""
    ranks = np.asarray(ranks, np.int32)
    cell.folder.mkdir(parents=True)
    arrays = {"valid": ranks if valid is None else np.asarray(valid, np.int32), "test": ranks}
    np.savez(cell.folder / RANKS, **arrays, **more)
    figures = dict.fromkeys(
        ("seconds_per_epoch", "examples_per_second", "train_seconds", "peak_memory_mb"), 2.0
    )
    protocol = {
        "log": rule,
        "split": "leave-one-out",
        "ranked_against": "all items",
        "repeats": "exclude",
        "k": [10],
        "hash": rule,
    }
    metrics = {"HR@10": 0.5, "NDCG@10": 0.5, "MRR": 0.5}
    write_json(
        cell.folder / METRICS,
        {
            **figures,
            "valid": metrics,
            "test": metrics,
            "best_epoch": 3,
            "epochs": 5,
            "parameters": 1234,
            "data": {"sha256": sha},
            "protocol": protocol,
            "baselines": baselines or {},
        },
    )


@pytest.fixture
def cells(tmp_path):
    """Finished cells of three rows, the last with two seeds."""
    source = write_yaml(
        tmp_path / "logs",
        pop="model: {name: pop}\nevaluate: {k: [10]}\n",
        transition="model: {name: transition}\nevaluate: {k: [10]}\n",
        good="model: {name: sasrec}\nevaluate: {k: [10]}\n",
    )
    plan = plan_log(source, ["pop", "transition", "good"], [], 2, tmp_path / "to")
    for cell in plan.cells:
        ranks = RANKS_OF[cell.model]
        write_run(cell, ranks if cell.seed == 1 else [MISS, *ranks[1:]])
    # Its second seed has its best epoch later than the first one, of as many epochs.
    report = json.loads((plan.cells[-1].folder / METRICS).read_text())
    write_json(plan.cells[-1].folder / METRICS, {**report, "best_epoch": 4})
    return plan.cells


def gain(rank):
    return 1 / np.log2(rank + 1) if rank <= 10 else 0.0


def test_rows_against_values_by_hand(cells):
    pop, transition, good = rows_of(cells)
    assert (pop.counts, good.counts, pop.seeds, good.seeds) == (True, False, 1, 2)
    assert pop.test["HR@10"] == 1 / 12 and transition.test["HR@10"] == 2 / 12
    # The second seed misses the first event.
    assert good.test["HR@10"] == pytest.approx((12 / 12 + 11 / 12) / 2)
    assert good.deviations["HR@10"] == pytest.approx(np.std([1, 11 / 12], ddof=1))
    gains = [gain(1) / 2, *map(gain, RANKS_OF["good"][1:])]
    np.testing.assert_allclose(good.values["NDCG@10"], gains, rtol=1e-6)
    assert good.test["NDCG@10"] == pytest.approx(np.mean(gains))
    low, high = good.intervals["NDCG@10"]
    assert low < good.test["NDCG@10"] < high
    assert (good.figures["best_epoch"], good.figures["epochs"]) == (3.5, 5)
    assert good.epochs == {"best_epoch": [3, 4], "epochs": [5, 5]}


def test_rows_are_compared_with_the_best_counting_model(cells):
    rows = compare_rows(rows_of(cells), "NDCG@10")
    pop, transition, good = rows
    assert transition.difference is None and transition.verdict == ""
    expected = np.mean(good.values["NDCG@10"]) - np.mean(transition.values["NDCG@10"])
    assert good.difference.mean == pytest.approx(expected)
    # Two tests by Holm: the smaller p-value counts twice.
    assert good.p == pytest.approx(2 * good.difference.p)
    assert pop.p >= pop.difference.p and good.p < 0.05
    assert (pop.verdict, good.verdict) == ("", "better")
    against_good = compare_rows(rows_of(cells), "NDCG@10", "good")
    assert [row.verdict for row in against_good] == ["worse", "worse", ""]
    with pytest.raises(
        ConfigError,
        match=r"^--against must be one of pop, transition, good, the finished rows, but is 'no'\.$",
    ):
        compare_rows(rows_of(cells), "NDCG@10", "no")


def test_the_row_to_compare_with_is_chosen_on_validation(tmp_path, cells):
    """The test metrics of pop are worse, its validation metrics better."""
    (folder,) = {cell.folder for cell in cells if cell.model == "pop"}
    np.savez(folder / RANKS, valid=np.ones(12, np.int32), test=np.array(RANKS_OF["pop"], np.int32))
    rows = compare_rows(rows_of(cells), "NDCG@10")
    assert [row.model for row in rows if row.difference is None] == ["pop"]


def test_a_model_with_a_prior_has_two_rows(tmp_path):
    plan = plan_log(
        write_yaml(tmp_path / "logs", good="model: {name: sasrec}\n"), None, [], 1, tmp_path, True
    )
    alone = np.full(12, 20, np.int32)
    write_run(plan.cells[0], RANKS_OF["good"], valid_alone=alone, test_alone=alone)
    rows = rows_of(plan.cells)
    assert [row.model for row in rows] == ["good", "good + prior"]
    assert rows[0].test["HR@10"] == 0 and rows[1].test["HR@10"] == 1


def test_runs_of_different_protocols_are_refused(tmp_path, cells):
    folder = cells[-1].folder
    report = json.loads((folder / METRICS).read_text())
    report["protocol"] |= {"log": "b", "hash": "b"}
    write_json(folder / METRICS, report)
    with pytest.raises(ConfigError) as error:
        rows_of(cells)
    assert str(error.value) == (
        f"{folder} was evaluated by another protocol than the runs before it: log is 'b', not "
        "'a'; name another folder with --to."
    )


@pytest.mark.parametrize(
    "section",
    ["epochs", "peak_memory_mb", "protocol", "test", {"parameters": None}, {"protocol": {}}],
)
def test_figures_that_are_missing_are_refused(cells, section):
    """A run without checksums, which would tell."""
    path = cells[-1].folder / METRICS
    report = json.loads(path.read_text())
    report = {**report, **section} if isinstance(section, dict) else report
    write_json(path, {key: value for key, value in report.items() if key != section})
    with pytest.raises(ConfigError) as error:
        rows_of(cells)
    assert str(error.value) == f"{path} does not hold what a training writes: {REMEDY}"


def test_a_metric_that_is_missing_is_refused(cells):
    assert load_report(cells[0].folder, "MRR")["test"]["MRR"] == 0.5
    with pytest.raises(ConfigError, match="does not hold what a training writes"):
        load_report(cells[0].folder, "HR@7")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"valid": None}, "does not hold what a training writes"),
        ({"test": np.zeros(12, np.int32)}, "does not hold what a training writes"),
        ({"test": np.full(12, 0.5)}, "does not hold what a training writes"),
        ({"test_users": np.arange(11)}, "does not hold what a training writes"),
        ({"test_alone": np.ones(12, np.int32)}, "does not hold what a training writes"),
        (
            {"valid_alone": np.ones(12, np.int32), "test_alone": np.ones(11, np.int32)},
            "does not hold what a training writes",
        ),
        ({"test": np.ones(11, np.int32)}, "must have ranks of 12 test events, but has 11"),
    ],
)
def test_ranks_of_other_events_are_refused(cells, changes, sentence):
    path = cells[-1].folder / RANKS
    with np.load(path) as arrays:
        ranks = {**arrays, **changes}
    np.savez(path, **{name: one for name, one in ranks.items() if one is not None})
    with pytest.raises(ConfigError) as error:
        rows_of(cells)
    assert str(error.value) == f"{path} {sentence}: {REMEDY}"


def test_a_table_in_all_formats(cells):
    rows = compare_rows(rows_of(cells), "NDCG@10")
    table = ComparisonTable("logs", rows, "NDCG@10", {"a_b": "No times."})
    lines = list(csv.DictReader(table.csv().splitlines()))
    assert [line["model"] for line in lines] == ["pop", "transition", "good", "a_b"]
    tree = json.loads(table.json())
    assert tree["against"] == "transition" and tree["failed"] == {"a_b": "No times."}
    for line, row in zip(lines, tree["rows"], strict=False):
        assert float(line["NDCG@10"]) == row["test"]["NDCG@10"]
        assert [float(line["MRR_low"]), float(line["MRR_high"])] == row["intervals"]["MRR"]
    assert float(lines[2]["p_adjusted"]) == tree["rows"][2]["difference"]["p_adjusted"]
    assert lines[3]["error"] == "No times."
    # One of twelve events is a hit with the first seed only; a single seed has no deviation.
    deviation = np.std([1, 11 / 12], ddof=1)
    assert float(lines[2]["HR@10_sd"]) == pytest.approx(deviation) and lines[1]["HR@10_sd"] == ""
    gains = [np.mean([value, *map(gain, RANKS_OF["good"][1:])]) for value in (1, 0)]
    spread = f"{np.std(gains, ddof=1):.4f}"
    assert re.search(
        rf"^model +HR@10 +NDCG@10 +MRR +sd +difference .*\n.*\n.*\ngood .* {spread} +\+0",
        table.text(),
        re.M,
    )
    assert "seeds 1 to 2; sd: standard deviation of NDCG@10" in table.caption()
    good = f"{tree['rows'][2]['test']['HR@10']:.4f}"
    assert re.search(rf"^good +{good} .* better +3-4 of 5 +2\.0 +1,234 +2$", table.text(), re.M)
    assert "a_b was not trained: No times." in table.text()
    assert re.search(rf"^\| good \| {good} \|.*\| better \|", table.markdown(), re.M)
    assert f"good & \\textbf{{{good}}}" in table.latex()
    assert "NDCG@10 & MRR" in table.latex()
    odd = ComparisonTable(
        "a\nb", [dataclasses.replace(rows[0], model="a|b_~", difference=None)], "MRR", {}
    )
    assert " sd " not in odd.text()
    # A line break in the name of a log would end the comment of the caption.
    assert odd.latex().startswith("% a\\nb: 12 test events")
    assert "| a\\|b_~ |" in odd.markdown() and r"a|b\_\textasciitilde{} &" in odd.latex()


def test_a_table_with_figures_of_lists(cells):
    pop, *others = compare_rows(rows_of(cells), "HR@10")
    pop = dataclasses.replace(pop, lists={"coverage@10": 0.25, "novelty@10": 3.5})
    table = ComparisonTable("logs", [pop, *others], "HR@10", {"a": "No times."})
    assert "Lists for the test events:\n\nmodel  coverage@10  novelty@10\npop" in table.text()
    assert re.search(r"^pop +0\.2500 +3\.5000$", table.text(), re.M)
    assert "| pop | 0.2500 | 3.5000 |" in table.markdown()
    lines = {line["model"]: line for line in csv.DictReader(table.csv().splitlines())}
    assert (lines["pop"]["coverage@10"], lines["good"]["novelty@10"]) == ("0.25", "")
    assert lines["a"]["error"] == "No times."


def test_a_table_with_slices(cells):
    rows = compare_rows(rows_of(cells), "HR@10")
    slices = Slices("length", ["1", "2 or more"], np.array([0] * 4 + [1] * 8))
    table = ComparisonTable("logs", rows, "HR@10", {}, slices=[slices])
    # Of the first four ranks of pop none is within ten, of the others one.
    title = "HR@10 by length:"
    assert re.search(rf"{title}\n\n +1 +2 or more\ntest events +4 +8\npop", table.text())
    assert re.search(r"^pop +0\.0000 +0\.1250$", table.text(), re.M)
    assert f"{title}\n\n|  | 1 | 2 or more |\n| --- | ---: | ---: |\n" in table.markdown()
    assert "| pop | 0.0000 | 0.1250 |" in table.markdown()
    (found,) = json.loads(table.json())["slices"]
    assert (found["labels"], found["events"]) == (["1", "2 or more"], [4, 8])
    assert found["HR@10"]["transition"] == [0.25, 0.125]


@pytest.fixture
def waiting(tmp_path, monkeypatch):
    """Three cells whose trainings are scripts: `script(model, text)` sets one."""
    source = write_yaml(
        tmp_path / "logs", **{one: f"model: {{name: {one}}}\n" for one in ("fmc", "pop", "hrm")}
    )
    plan, scripts = plan_log(source, None, [], 1, tmp_path / "to"), {}
    start = subprocess.Popen

    def popen(command, **options):
        script = scripts[os.path.basename(os.path.dirname(command[-1]))]
        return start([sys.executable, "-c", script], **options)

    monkeypatch.setattr(comparison_training.subprocess, "Popen", popen)
    return plan.cells, scripts


def test_failures_are_named_and_the_rest_is_trained(waiting):
    cells, scripts = waiting
    scripts |= {
        "fmc": "import sys; print('x'); print('error: It has no users.', file=sys.stderr); exit(2)",
        "hrm": "import os; os.kill(os.getpid(), 9)",
        "pop": "",
    }
    found = {}
    with StopSignals() as stop:
        train_cells(cells, 2, stop, lambda cell, why: found.update({cell.model: why}))
    log = cells[1].folder.parent / "seed-1.log"
    assert found == {
        "fmc": "It has no users.",
        "hrm": f"The training was killed by SIGKILL; see {log}.",
        "pop": None,
    }
    config = (cells[0].folder.parent / "seed-1.yaml").read_text()
    assert "name: fmc" in config and f"run_dir: {cells[0].folder}" in config


def test_a_signal_stops_all_trainings(waiting, capsys):
    cells, scripts = waiting
    sleep = "import signal, time\nsignal.signal(15, lambda *_: exit(143))\nprint(1, flush=True)\n"
    scripts |= {"fmc": sleep + "time.sleep(60)", "hrm": "", "pop": sleep + "time.sleep(60)"}

    def done(cell, reason):
        # hrm ends first, while fmc runs.
        signal.raise_signal(signal.SIGTERM)

    with StopSignals() as stop, stop.deferred(), pytest.raises(Interrupted):
        train_cells(cells, 2, stop, done)
    assert not (cells[2].folder.parent / "seed-1.log").exists()
    assert capsys.readouterr().out == "Stopping when the state is saved: fmc, seed 1.\n"


def test_trainings_inherit_the_lock_of_the_folder(waiting, tmp_path):
    """So the folder is in use until the last one ends, even if the command is killed."""
    cells, scripts = waiting
    found = {}
    with locked_folder(tmp_path / "to", "wait") as lock, StopSignals() as stop:
        scripts |= dict.fromkeys(("fmc", "pop", "hrm"), f"import os; os.fstat({lock})")
        train_cells(cells, 1, stop, lambda cell, why: found.update({cell.model: why}), lock)
    assert found == dict.fromkeys(("fmc", "pop", "hrm"))


def test_a_folder_in_use_is_refused(shop, tmp_path):
    to = tmp_path / "to"
    with locked_folder(to / "shop", "wait"):
        arguments = (f"--data={shop}", "--models=pop", f"--to={to}")
        result = run_command(compare.main, *arguments)
    sentence = (
        f"{to / 'shop'} is in use by another process; wait until it ends, or name another folder "
        "with --to."
    )
    assert result == (2, "", f"error: {sentence}\n") and not to.exists()


def test_files_that_cannot_be_written(waiting, tmp_path):
    cells, _ = waiting
    (tmp_path / "to").write_text("")
    with StopSignals() as stop, pytest.raises(TrainingError, match=r"cannot be written: Not a dir"):
        train_cells(cells, 1, stop, print)


def test_finished_cells(cells):
    """A run of the same configuration is finished; one of another configuration is refused."""
    with pytest.raises(
        ConfigError,
        match=r"^run_dir .* it is not a finished run, it has no metrics\.json and config\.yaml; "
        r"name another folder with --to, or remove that run\.$",
    ):
        is_finished(cells[0])
    text = yaml.safe_dump(to_dict(cells[0].config))
    (cells[0].folder / CONFIG).write_text(text)
    assert is_finished(cells[0])
    (cells[0].folder / CONFIG).write_text(text.replace("epochs: ", "epochs: 1"))
    with pytest.raises(
        ConfigError, match=r"it is a finished run with train\.epochs=\d+, not \d+; "
    ):
        is_finished(cells[0])


@pytest.mark.parametrize("name", ["seed-1.yaml", "seed-1.log"])
def test_files_of_others_beside_a_run_stay(waiting, name):
    """Those of an earlier training of the cell are replaced."""
    cells, scripts = waiting
    scripts |= dict.fromkeys(("fmc", "pop", "hrm"), "exit(1)")
    with StopSignals() as stop:
        train_cells(cells[:1], 1, stop, lambda *_: None)
    assert not is_finished(cells[0])
    path = cells[1].folder.parent / name
    path.parent.mkdir()
    path.write_text("mine\n")
    with pytest.raises(ConfigError) as error:
        is_finished(cells[1])
    assert str(error.value) == (
        f"{path} exists and is not of a training in {cells[1].folder}; name another folder with "
        "--to, or move it away."
    )


@pytest.fixture
def finished(tmp_path, shop):
    """Cells of pop and attrec with a prior, both finished on the log as it is now."""
    plan = plan_log(str(shop), ["pop", "attrec"], [], 1, tmp_path / "to", True)
    sha = split_checksum(prepare_data(plan.cells[0].config).split)
    for cell in plan.cells:
        write_run(cell, [1, 2, 30], sha=sha)
        (cell.folder / CONFIG).write_text(to_yaml(resolve(cell.config)))
    return plan


def test_runs_of_another_log_are_refused(finished, tmp_path):
    check_plan(finished, tmp_path / "to" / "shop")
    folder = finished.cells[1].folder
    report = json.loads((folder / METRICS).read_text())
    write_json(folder / METRICS, {**report, "data": {"sha256": "other"}})
    with pytest.raises(ConfigError) as error:
        check_plan(finished, tmp_path / "to" / "shop")
    assert str(error.value) == (
        f"{folder} is a run of another log, or the log has changed; name another folder with "
        "--to, or remove that run."
    )


def test_unfinished_runs_of_another_log_are_refused(shop, tmp_path):
    (cell,) = (plan := plan_log(str(shop), ["fmc"], [], 1, tmp_path / "to")).cells
    config = resolve(cell.config)
    partial = PartialRun(cell.folder, config, prepare_data(config).split)
    (partial.folder / "checkpoints" / "last-1").mkdir(parents=True)
    partial.leave()
    check_plan(plan, tmp_path / "to" / "shop", "MRR")
    (partial.folder / "data.sha256").write_text("other")
    with pytest.raises(ConfigError) as error:
        check_plan(plan, tmp_path / "to" / "shop", "MRR")
    assert str(error.value) == (
        f"{partial.folder} is a run of another log, or the log has changed; name another folder "
        "with --to, or remove that run."
    )


def test_the_row_to_compare_with_is_checked_first(finished, tmp_path):
    folder = tmp_path / "to" / "shop"
    check_plan(dataclasses.replace(finished, against="attrec + prior"), folder)
    with pytest.raises(ConfigError) as error:
        check_plan(dataclasses.replace(finished, against="pop + prior"), folder)
    assert str(error.value) == (
        "--against must be one of pop, attrec, attrec + prior, the rows of shop, but is "
        "'pop + prior'."
    )


def test_results_of_others_stay(finished, tmp_path):
    folder = tmp_path / "to" / "shop"
    (folder / "results.csv").write_text("mine\n")
    with pytest.raises(ConfigError) as error:
        check_plan(finished, folder)
    assert str(error.value) == (
        f"{folder} holds results.csv, which does not belong to a table; name another folder with "
        "--to, or move it away."
    )
    (folder / "results.csv").rename(folder / "plot.png")
    with pytest.raises(ConfigError, match=r" holds plot\.png, which does not belong to a table; "):
        check_plan(finished, folder)
    for damaged in ('"protocol"', '["protocol"]', '{"rows": []}', "[" * 10**5):
        (folder / "results.json").write_text(damaged)
        with pytest.raises(ConfigError, match=r" holds plot\.png, which does not belong to a "):
            check_plan(finished, folder)
    for rows in ("3", "[3]", "[{}]"):
        (folder / "results.json").write_text(f'{{"protocol": {{}}, "rows": {rows}}}')
        with pytest.raises(ConfigError, match="which does not belong to a table"):
            check_plan(finished, folder)
    (folder / "results.json").write_text('{"protocol": {}, "rows": []}')
    check_plan(finished, folder)


def test_a_table_that_was_not_written_completely_is_replaced(cells, tmp_path):
    """The command may have been killed after any of its files."""
    table = ComparisonTable("logs", compare_rows(rows_of(cells), "MRR"), "MRR", {})
    folder = tmp_path / "to" / "logs"
    for suffix, text in table.formats().items():
        (folder / f"results.{suffix}").write_text(text)
        comparison_run.check_results(folder)


def test_the_metric_of_a_table(tmp_path):
    """NDCG@10 if the runs have it, else that which picks the epoch."""
    for cutoffs, metric in (("[5, 10]", "NDCG@10"), ("[5]", "HR@5")):
        (tmp_path / "log.yaml").write_text(f"evaluate: {{k: {cutoffs}, metric: HR@5}}\n")
        plan = plan_log(str(tmp_path / "log.yaml"), ["pop"], [], 1, tmp_path / "to")
        assert check_plan(plan, tmp_path / "to" / "log").metric == metric


def test_a_baseline_that_is_no_row(cells, tmp_path, capsys, monkeypatch):
    """A table without the best baseline of the runs names it."""
    monkeypatch.setattr(comparison_run, "is_finished", lambda cell: True)
    plan, path = LogPlan("logs", cells, {}, metric="HR@10"), cells[0].folder / METRICS
    report = json.loads(path.read_text())
    # The rows of an ablation are not models.
    for value, in_order, told in ((0.9, False, True), (0.0, False, False), (0.9, True, False)):
        baselines = {"transition": {"HR@10": 0.1}, "other": {"HR@10": value}}
        write_json(path, {**report, "baselines": baselines})
        with StopSignals() as stop:
            plan = dataclasses.replace(plan, in_order=in_order)
            comparison_run.train_plan(plan, tmp_path / "to" / "logs", 1, stop)
        sentence = (
            "note: other, a baseline of every run that is not a row of this table, has HR@10 "
            "0.9000; add it to --models to compare with it.\n"
        )
        assert (sentence in capsys.readouterr().out) == told


@pytest.mark.parametrize(
    ("settings", "told"), [("neighbours: 3", True), ("neighbours: 200", False)]
)
def test_a_baseline_with_other_settings_than_the_row_of_its_name(tmp_path, settings, told):
    """The defaults are 200 neighbours; a row that has them is the baseline itself."""
    source = write_yaml(
        tmp_path / "logs",
        pop="model: {name: pop}\n",
        transition=f"model: {{name: transition, {settings}}}\n",
    )
    cells = plan_log(source, None, [], 1, tmp_path / "to").cells
    for cell in cells:
        write_run(cell, [11, 12, 13], baselines={"transition": {"MRR": 0.9}})
    table = ComparisonTable("logs", compare_rows(rows_of(cells), "MRR"), "MRR", {})
    note = (
        "note: transition with its default settings, a baseline of every run, has MRR 0.9000; the "
        "row transition has other settings."
    )
    assert comparison_run._better_baseline(cells, table) == (note if told else None)


def test_a_row_has_no_name_of_a_file_of_the_table(tmp_path):
    """Its folder would be where the table is written."""
    row = "data: {events: 1000}\nmodel: {name: pop}\n"
    source = write_yaml(tmp_path / "logs", **{"results.json": row, "results": row})
    result = run_command(compare.main, f"--data={source}", f"--to={tmp_path / 'to'}")
    assert_refused(
        result,
        2,
        "The names of rows must not begin with results. or plot., as the files of the table do, "
        "but one is 'results.json'; rename its configuration.",
    )
    assert not (tmp_path / "to").exists()
    check_plan(plan_log(source, ["results"], [], 1, tmp_path / "to"), tmp_path / "to" / "logs")


def test_slices_need_a_log(shop, tmp_path):
    plan = plan_log(str(shop), ["pop"], [f"data.source={tmp_path}"], 1, tmp_path / "to")
    with pytest.raises(
        ConfigError, match=r"^--slices needs a log, but data\.source is a prepared folder; give"
    ):
        check_plan(dataclasses.replace(plan, slices=True), tmp_path / "to" / "shop")


@pytest.mark.parametrize("search", [[], ["--trials=1"]])
def test_a_log_that_cannot_be_read_ends_before_the_first_training(tmp_path, search):
    (tmp_path / "shop.yaml").write_text("data: {source: file, path: nowhere.csv}\n")
    arguments = [f"--data={tmp_path / 'shop.yaml'}", "--models=pop,fmc", *search]
    code, out, error = run_command(compare.main, *arguments, f"--to={tmp_path / 'to'}")
    assert_refused((code, out, error), 2, "nowhere.csv")
    assert not (tmp_path / "to").exists()


def test_a_log_on_which_nothing_can_be_trained(tmp_path, monkeypatch):
    """The other logs get their tables."""
    write_yaml(tmp_path / "logs", pop="model: {name: pop}\n")
    (tmp_path / "other.yaml").write_text("model: {name: pop}\n")
    trained = []

    def train_plan(plan, *_, **__):
        trained.append(plan.name)
        if plan.name == "logs":
            raise NothingTrained("No model could be trained on logs: Why.")

    monkeypatch.setattr(comparison, "train_plan", train_plan)
    code, _, error = run_command(
        compare.main,
        *("--data", str(tmp_path / "logs"), str(tmp_path / "other.yaml")),
        *(f"--to={tmp_path / 'to'}", "--models=pop", "--metric=MRR"),
    )
    assert trained == ["logs", "other"]
    assert (code, error) == (1, "error: No model could be trained on logs: Why.\n")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--seeds=0"], "--seeds must be 1 or greater, but is 0."),
        (["--jobs=0"], "--jobs must be 1 or greater, but is 0."),
        (["--metric=NDCG@7"], "--metric must be one of HR@10, NDCG@10, MRR, but is 'NDCG@7'."),
        (["--models=sassrec"], None),
        (["train.epoch=3"], "Unknown configuration key train.epoch; did you mean train.epochs?"),
    ],
)
def test_invalid_arguments(shop, tmp_path, arguments, sentence):
    to = tmp_path / "to"
    code, out, error = run_command(
        compare.main, f"--data={shop}", f"--to={to}", "--models=pop", *arguments
    )
    assert (code, out) == (2, "") and not to.exists()
    if sentence is None:
        assert re.fullmatch(r"error: model\.name must be .*sasrec.*\n", error)
    else:
        assert error == f"error: {sentence}\n"


def test_invalid_splits(shop, tmp_path):
    for names, sentence in (
        ("temporal,temporal", "--splits must have each split once, but has temporal twice."),
        ("tempora", "but has 'tempora' (did you mean 'temporal'?)."),
        ("", "but has ''"),
    ):
        arguments = [
            f"--data={shop}",
            "--models=pop",
            f"--splits={names}",
            f"--to={tmp_path / 'x'}",
        ]
        assert_refused(run_command(compare.main, *arguments), 2, sentence)
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "shop-splits.txt").write_text("mine")
    arguments = [f"--data={shop}", "--models=pop", "--splits=temporal", f"--to={tmp_path / 'to'}"]
    refused = run_command(compare.main, *arguments)
    assert_refused(refused, 2, "does not belong to a comparison; name another")
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "manifest.json").write_text("{}")
    source = f"data.source={tmp_path / 'log'}"
    with pytest.raises(ConfigError, match=r"--splits needs a log, but data\.source is a"):
        plan_log(str(shop), ["pop"], [source], 1, tmp_path, split="temporal")


def test_invalid_logs(shop, tmp_path):
    assert_refused(
        run_command(compare.main, "--data", str(shop), str(shop)),
        2,
        "--data must name each log once, but has shop twice.",
    )
    assert_refused(
        run_command(compare.main, "--data", "train.epochs=3"),
        2,
        "--data must name a configuration or a folder of configurations.",
    )
    assert_refused(
        run_command(compare.main, "--data", "beauty", "--models=gru5rec"),
        2,
        "'gru5rec' is neither a configuration of beauty,",
    )


def test_a_row_to_compare_with_that_fails(cells, tmp_path, monkeypatch, capsys):
    """The others get a table with the best counting model, which names the reason."""
    good = [cell for cell in cells if cell.model == "good"]
    monkeypatch.setattr(comparison_run, "is_finished", lambda cell: cell not in good)
    monkeypatch.setattr(
        comparison_run, "train_cells", lambda waiting, _, __, done, ___: done(waiting[0], "Why.")
    )
    plan, folder = LogPlan("logs", cells, {}), tmp_path / "to" / "logs"
    plan = dataclasses.replace(plan, metric="NDCG@10", against="good")
    with StopSignals() as stop:
        table = comparison_run.train_plan(plan, folder, 1, stop)
    assert table.against == "transition" and table.failed == {"good": "Why."}
    out = capsys.readouterr().out
    assert "logs good, seed 1: failed: Why.\n" in out
    assert "good was not trained; the rows are compared with the best by validation.\n" in out
    assert [row["model"] for row in rows_in(folder)] == ["pop", "transition", "good"]


def test_settings_are_searched_with_the_same_budget(tmp_path):
    """Each trained row gets the best settings of its search, and the counting model none."""
    pytest.importorskip("optuna")
    source = write_yaml(
        tmp_path / "logs",
        narrow="data: {events: 1000, seed: 3}\nmodel: {name: fmc, dim: 4}\n"
        "train: {epochs: 2, batch_size: 256}\nevaluate: {k: [10], metric: NDCG@10}\n"
        "search: {train.l2: {choices: [0.0, 0.5]}}\n",
        top="data: {events: 1000, seed: 3}\nmodel: {name: pop}\nevaluate: {k: [10]}\n",
    )
    to = tmp_path / "to"
    arguments = [f"--data={source}", f"--to={to}", "--seeds=1", "--trials=2"]
    code, out, error = run_command(compare.main, *arguments)
    assert (code, error) == (0, "") and "logs narrow: searched, 2 trials." in out
    assert "the best by validation of a search of 2 trials" in " ".join(out.split())
    folder = to / "logs" / "narrow"
    with open(folder / "search" / "trials.csv", newline="") as stream:
        trials = list(csv.DictReader(stream))
    best = max(trials, key=lambda row: float(row["NDCG@10"]))
    assert len(trials) == 2 and not (to / "logs" / "top" / "search").exists()
    (run,) = folder.glob("settings-*/seed-1")
    config = load(run / CONFIG)
    assert config.train.l2 == float(best["train.l2"])
    assert (config.model.parameters["dim"], config.train.epochs) == (4, 2)
    before = (run / METRICS).stat().st_mtime_ns
    assert run_command(compare.main, *arguments)[0] == 0
    assert (run / METRICS).stat().st_mtime_ns == before


def test_budgets_that_change(shop, tmp_path, monkeypatch):
    """A larger one that finds other settings has runs of its own; a smaller one is refused."""

    def searched(process, *_):
        folder = tmp_path / "shop" / "fmc" / "search"
        folder.mkdir(parents=True, exist_ok=True)
        trials = int(next(one for one in process.command if "--trials=" in one).partition("=")[2])
        (folder / "trials.csv").write_text("trial\n" + "0\n" * trials)
        settings = f"data: {{events: 1000}}\nmodel: {{name: fmc, dim: {4 * trials}}}\n"
        (folder / "best.yaml").write_text(settings)
        for file, text in process.files.items():
            file.write_text(text)

    monkeypatch.setattr(comparison_search, "run_process", searched)
    plan = plan_log(str(shop), ["fmc"], [], 2, tmp_path)
    with StopSignals() as stop:
        first, again, larger = (
            search_rows(plan, tmp_path / "shop", Budget(trials, None), stop) for trials in (2, 2, 3)
        )
        assert first.cells == again.cells
        assert [cell.config.model.parameters["dim"] for cell in larger.cells] == [12, 12]
        folders = {cell.folder for one in (first, larger) for cell in one.cells}
        assert len(folders) == 4 and "trials: fmc 3." in larger.note
        with pytest.raises(ConfigError, match=r"^--trials must be 3 or more, because .* but is 2;"):
            search_rows(plan, tmp_path / "shop", Budget(2, None), stop)
        # The search itself counts its trials, and writes a damaged table again.
        (tmp_path / "shop" / "fmc" / "search" / "trials.csv").write_bytes(b"\xff")
        assert search_rows(plan, tmp_path / "shop", Budget(3, None), stop).cells == larger.cells
        (tmp_path / "shop" / "fmc" / "search.yaml").write_text("mine: true\n")
        with pytest.raises(ConfigError, match="is not an earlier one of its kind"):
            search_rows(plan, tmp_path / "shop", Budget(3, None), stop)


def test_searches_that_fail(shop, tmp_path, monkeypatch):
    monkeypatch.setattr(comparison_search, "run_process", lambda *_: "The log is empty.")
    plan = plan_log(str(shop), ["pop", "fmc"], [], 2, tmp_path)
    with StopSignals() as stop:
        found = search_rows(plan, tmp_path / "shop", Budget(3, None), stop)
    assert [cell.model for cell in found.cells] == ["pop"]
    assert found.left_out == {"fmc": "its search failed: The log is empty"}
    arguments = [f"--data={shop}", "--models=fmc", "--trials=2", f"--to={tmp_path / 'to'}"]
    code, out, error = run_command(compare.main, *arguments)
    sentence = "No model could be trained on shop: fmc: its search failed: The log is empty."
    assert (code, error) == (1, f"error: {sentence}\n") and sentence not in out
    for option in ("--trials=0", "--seconds=-1"):
        result = run_command(compare.main, f"--data={shop}", "--models=pop", option)
        assert_refused(result, 2, f"{option.partition('=')[0]} must be greater than 0")


def test_ranges_of_a_search(shop, tmp_path):
    plan = plan_log("beauty", ["sasrec", "lightgcn"], ["data.path=x.csv"], 1, tmp_path)
    assert plan.ranges["sasrec"].keys() == {"model.dropout", "train.l2", "train.learning_rate"}
    sasrec, lightgcn = (cell.config for cell in plan.cells)
    assert default_ranges(sasrec)["model.dropout"] == {"low": 0.1, "high": 0.7, "step": 0.1}
    rate = lightgcn.train.learning_rate
    assert default_ranges(lightgcn) == {
        "train.learning_rate": {"low": rate / 5, "high": rate * 5, "log": True}
    }
    assert Budget(3, 60.0).arguments() == ["--trials=3", "--seconds=60"]
    assert str(Budget(3, 60.0)) == "3 trials or 60 seconds"
    large = Budget(1_234_567, 1_234_567.5)
    assert large.arguments() == ["--trials=1234567", "--seconds=1234567.5"]
    assert str(large) == "1234567 trials or 1234567.5 seconds"
