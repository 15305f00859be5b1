"""The command ablation: its values, table, plot and bad input."""

import csv
import re
import sys

import numpy as np
import pytest

from tests.commands import assert_refused, run_command
from tests.studies.comparison.test_comparison import write_run
from tfrec_attn import ablation
from tfrec_attn.config import load, to_dict
from tfrec_attn.config.config_files import packaged_studies
from tfrec_attn.config.yaml_tree import write_yaml
from tfrec_attn.data.sequences.splits import split_checksum
from tfrec_attn.errors import ConfigError
from tfrec_attn.runs.run import prepare_data
from tfrec_attn.runs.run_files import CONFIG
from tfrec_attn.studies.comparison.ablation import _baseline
from tfrec_attn.studies.comparison.ablation_plan import (
    combinations,
    parse_variation,
    plan_ablation,
)
from tfrec_attn.studies.comparison.ablation_plot import draw
from tfrec_attn.studies.comparison.comparison_run import NothingTrained
from tfrec_attn.studies.comparison.study_file import read_study

SHOP = "data: {events: 1000}\nmodel: {name: attrec, dim: 8}\nevaluate: {k: [10]}\n"


@pytest.fixture
def shop(tmp_path):
    (tmp_path / "shop.yaml").write_text(SHOP)
    return str(tmp_path / "shop.yaml")


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("model.user_weight=0,0.2,...,1", ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
        ("model.dim=10, 20", ["10", "20"]),
        ("data.max_length=8,6,...,2", ["8", "6", "4", "2"]),
        ("train.loss=hinge,bpr", ["hinge", "bpr"]),
        ("model.max_norm=null,1.0", ["null", "1.0"]),
    ],
)
def test_values(text, values):
    assert parse_variation(text) == (text.partition("=")[0], values)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("dim=1,2", "--vary must be section.key=value,value,..., but is 'dim=1,2'."),
        ("train.seed=1,2", "--vary cannot have train.seed; give the number of seeds with --seeds."),
        (
            "data.path=a,b",
            "--vary cannot have data.path, because figures could not be compared; vary a key of "
            "model, train or prior, or data.max_length, data.targets, data.window, "
            "data.mask_share, data.mask_last.",
        ),
        ("model.dim=8", "--vary model.dim must have two different values or more, but has '8'."),
        (
            "model.dim=8,9,8",
            "--vary model.dim must have two different values or more, but has '8' twice.",
        ),
        *(
            (
                f"model.dim={values}",
                "--vary model.dim must have ... between two numbers and the last of a sequence of "
                "at most 200 with their distance, such as 0,0.2,...,1, but has "
                f"'{values}'.",
            )
            for values in ("1,...,5", "0,2,...,5", "1,1,...,5", "a,b,...,c", "0,1,...,1000", "...")
        ),
    ],
)
def test_values_that_cannot_be(text, sentence):
    with pytest.raises(ConfigError) as error:
        parse_variation(text)
    assert str(error.value) == sentence


def test_combinations():
    found = combinations({"model.l": ["1", "2"], "train.l": ["3"], "model.d": ["4"]})
    assert found == {
        "model.l=1 train.l=3 d=4": {"model.l": "1", "train.l": "3", "model.d": "4"},
        "model.l=2 train.l=3 d=4": {"model.l": "2", "train.l": "3", "model.d": "4"},
    }


def test_plan(shop, tmp_path):
    variations = {"model.user_weight": ["0", "0.2"], "data.max_length": ["4"]}
    plan = plan_ablation(shop, variations, ["train.epochs=2"], 2, tmp_path / "to")
    assert [(cell.model, cell.seed) for cell in plan.cells] == [
        ("user_weight=0 max_length=4", 1),
        ("user_weight=0 max_length=4", 2),
        ("user_weight=0.2 max_length=4", 1),
        ("user_weight=0.2 max_length=4", 2),
    ]
    config = plan.cells[3].config
    assert config.model.parameters["user_weight"] == 0.2 and config.model.parameters["dim"] == 8
    assert (config.data.max_length, config.train.epochs, config.train.seed) == (4, 2, 2)
    assert plan.cells[3].folder == tmp_path / "to" / "user_weight=0.2,max_length=4" / "seed-2"


@pytest.mark.parametrize(
    ("values", "overrides", "own"),
    [
        (["4", "8"], [], "dim=8"),
        (["4", "8"], ["model.dim=4"], "dim=4"),
        (["4", "16"], [], None),
    ],
)
def test_the_row_of_the_configuration_itself(shop, tmp_path, values, overrides, own):
    assert plan_ablation(shop, {"model.dim": values}, overrides, 1, tmp_path).against == own


@pytest.fixture
def finished(shop, tmp_path):
    """The command and its folder; all its runs are finished, and the second is better."""
    arguments = [shop, "--vary=model.dim=8,16", "--seeds=1", f"--to={tmp_path / 'to'}"]
    plan = plan_ablation(shop, {"model.dim": ["8", "16"]}, [], 1, tmp_path / "to")
    sha = split_checksum(prepare_data(plan.cells[0].config).split)
    for cell, ranks in zip(plan.cells, ([11, 2, 30, 40] * 5, [1, 2, 3, 4] * 5), strict=True):
        write_run(cell, ranks, sha=sha)
        (cell.folder / CONFIG).write_text(write_yaml(to_dict(cell.config)))
    return arguments, tmp_path / "to"


def test_table_and_plot(finished):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    arguments, to = finished
    code, out, error = run_command(ablation.main, *arguments)
    assert (code, error) == (0, "")
    with open(to / "results.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["model"] for row in rows] == ["dim=8", "dim=16"]
    # The configuration has dim 8.
    assert rows[0]["difference"] == "" and float(rows[1]["p_adjusted"]) < 0.05
    assert re.search(r"^dim=16 .* better ", out, re.M)
    caption = " ".join(out.split())
    assert "NDCG@10 less that of dim=8 (the row of the configuration itself), with" in caption
    assert (to / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert (to / "plot.pdf").read_bytes().startswith(b"%PDF")
    assert "<svg" in (to / "plot.svg").read_text()


def test_without_matplotlib(finished, monkeypatch):
    arguments, to = finished
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    code, out, error = run_command(ablation.main, *arguments)
    assert (code, error) == (0, "")
    assert "There is no plot, because Matplotlib is not installed; get it with " in out
    assert not list(to.glob("plot.*")) and (to / "results.csv").exists()


@pytest.mark.parametrize(
    ("model", "name"),
    [("attrec", "decayed_transitions"), ("decayed_transitions", "decayed_transitions (default)")],
)
def test_the_baseline_of_the_plot(tmp_path, model, name):
    """Beside rows with other settings of the same model, its name says which settings it has."""
    path = tmp_path / "own.yaml"
    path.write_text(f"model: {{name: {model}}}\n")
    cell = plan_ablation(str(path), {"data.max_length": ["9", "8"]}, [], 1, tmp_path).cells[0]
    write_run(cell, [1, 2], baselines={"decayed_transitions": {"MRR": 0.25}})
    assert _baseline(cell, "MRR") == (name, 0.25) and _baseline(cell, "HR@3") is None


def test_points_of_the_plot(tmp_path, monkeypatch):
    """The values are those of the table, by line and in order; numbers are places on the axis."""
    figure = pytest.importorskip("matplotlib.figure", reason="matplotlib is not installed")
    drawn = []
    monkeypatch.setattr(figure.Figure, "savefig", lambda self, *_, **__: drawn.append(self))
    lines = {
        "dim=8": [("0", 0.1, 0.05, 0.2), ("0.5", 0.2, 0.1, 0.3)],
        # An end beyond the mean by rounding.
        "dim=$16": [("0", 0.3, 0.30000001, 0.4)],
    }
    assert draw(lines, "model.user_weight", "MRR", ("pop", 0.15), tmp_path / "plot") is None
    (axes,) = drawn[0].axes
    found = {one.get_label(): one for one in axes.containers}
    line, _, (bars,) = found["dim=8"].lines
    np.testing.assert_allclose(line.get_xydata(), [[0, 0.1], [0.5, 0.2]])
    np.testing.assert_allclose(bars.get_segments()[0], [[0, 0.05], [0, 0.2]])
    assert set(found) == {"dim=8", r"dim=\$16"}
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("model.user_weight", "MRR")
    (dashed,) = [one for one in axes.lines if one.get_linestyle() == "--"]
    assert (dashed.get_label(), dashed.get_ydata()[0]) == ("pop", 0.15)
    # With a value that is no number, all are places in order.
    lines = {"a": [("8", 0.1, 0.1, 0.1), ("null", 0.2, 0.2, 0.2)], "b": [("null", 0.3, 0.3, 0.3)]}
    assert draw(lines, "model.max_norm", "MRR", None, tmp_path / "plot") is None
    (axes,) = drawn[-1].axes
    found = [one.lines[0].get_xdata().tolist() for one in axes.containers]
    assert found == [[0, 1], [1]]
    assert [one.get_text() for one in axes.get_xticklabels()] == ["8", "null"]


def test_the_metric_is_that_of_the_runs(tmp_path, monkeypatch):
    """NDCG@10 where evaluate.k has 10, else evaluate.metric."""
    chosen = []

    def train_plan(plan, *_):
        chosen.append(plan.metric)
        raise NothingTrained("Why.")

    monkeypatch.setattr("tfrec_attn.studies.comparison.ablation.train_plan", train_plan)
    for cutoffs in ("[5, 10]", "[5]"):
        path = tmp_path / "log.yaml"
        path.write_text(f"data: {{events: 1000}}\nevaluate: {{k: {cutoffs}, metric: HR@5}}\n")
        arguments = (path, "--vary=model.dim=8,16", f"--to={tmp_path / 'to'}")
        assert run_command(ablation.main, *arguments) == (1, "", "error: Why.\n")
    assert chosen == ["NDCG@10", "HR@5"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["--vary=model.dims=1,2"],
            "Unknown configuration key model.dims; did you mean model.dim?",
        ),
        (
            ["--vary=model.dim=8,16", "--vary=model.dim=1,2"],
            "--vary must have each key once, but has model.dim twice.",
        ),
        (
            ["--vary=model.dim=8,08"],
            "--vary has the same values twice: dim=8 and dim=08.",
        ),
        (
            ["--vary=model.dim=8,16", "train.seed=3"],
            "train.seed cannot be set for all trainings; use --seeds.",
        ),
        (["--vary=model.dim=8,x"], "model.dim must be a whole number, but is text ('x')."),
        (["--vary=model.dim=8,16", "--seeds=0"], "--seeds must be 1 or greater, but is 0."),
        (
            ["--vary=model.dim=8,16", "--metric=HR@3"],
            "--metric must be one of HR@10, NDCG@10, MRR, but is 'HR@3'.",
        ),
    ],
)
def test_invalid_arguments(shop, tmp_path, arguments, sentence):
    to = tmp_path / "to"
    code, out, error = run_command(ablation.main, shop, *arguments, f"--to={to}")
    assert (code, out, error) == (2, "", f"error: {sentence}\n") and not to.exists()


@pytest.mark.parametrize("name", packaged_studies())
def test_studies_of_the_package(name, tmp_path):
    """Each can be planned, with the values of its configuration among those that vary."""
    study = read_study(name)
    variations = dict(map(parse_variation, study.vary))
    path = "data.path=log.csv"
    plan = plan_ablation(study.config, variations, [path], 1, tmp_path)
    assert len(plan.cells) == np.prod([len(values) for values in variations.values()])
    assert plan.against in {cell.model for cell in plan.cells}


def test_a_study_of_a_file(tmp_path):
    file = tmp_path / "width.yaml"
    file.write_text("study: {config: ml-100k/attrec, vary: {model.dim: '8,16'}}\n")
    assert read_study(str(file)) == ("ml-100k/attrec", ["model.dim=8,16"])
    assert read_study("ml-100k/attrec") is None and read_study(None) is None
    assert_refused(
        run_command(ablation.main, file, "--vary=model.dim=8,16"),
        *(2, f"{file} has its own keys to vary; leave out --vary, or name ml-100k/attrec."),
    )
    assert_refused(
        run_command(ablation.main, "ml-100k/attrec"),
        *(
            2,
            "--vary must name a key and its values, unless a study is given",
            "studies/attrec-dim",
        ),
    )
    (tmp_path / "shop.yaml").write_text(SHOP)
    file.write_text("study: {config: shop.yaml, vary: {model.dim: '8'}}\n")
    assert read_study(str(file)).config == str(tmp_path / "shop.yaml")
    assert_refused(run_command(ablation.main, file), 2, f"vary of {file} model.dim must have two")
    assert_refused(run_command(ablation.main, "studies/nope"), 2, "studies/attrec-dim")
    for text in (
        "study: {config: ml-100k/attrec, vary: {}}",
        "study: {config: ml-100k/attrec, vary: {model.dim: [8, 16]}}",
        "study: {vary: {model.dim: '8,16'}}",
        "study: 3",
        "study: {config: ml-100k/attrec, vary: {model.dim: '8,16'}}\ntrain: {epochs: 3}",
    ):
        file.write_text(text)
        with pytest.raises(ConfigError, match="must have only the section study, with config"):
            read_study(str(file))
    with pytest.raises(ConfigError, match="studies/attrec-dim describes an ablation, not a"):
        load("studies/attrec-dim")


def test_plots_of_the_same_values_are_the_same_files(tmp_path):
    pytest.importorskip("matplotlib.figure", reason="matplotlib is not installed")
    lines, found = {"": [("1", 0.1, 0.05, 0.2), ("2", 0.2, 0.1, 0.3)]}, []
    for _ in range(2):
        assert draw(lines, "model.dim", "MRR", ("pop", 0.15), tmp_path / "plot") is None
        found.append({path.name: path.read_bytes() for path in tmp_path.iterdir()})
    assert sorted(found[0]) == ["plot.pdf", "plot.png", "plot.svg"] and found[0] == found[1]
