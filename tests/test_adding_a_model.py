"""Tests that docs/adding-a-model.md works as written, in an empty folder."""

import contextlib
import io
import json
import re
import shlex
import sys
from pathlib import Path

import pytest
import tensorflow as tf

import tfrec_attn.export.command
import tfrec_attn.export.verify
from tfrec_attn import evaluate, train
from tfrec_attn.runs import run

PAGE = (Path(__file__).parent.parent / "docs" / "adding-a-model.md").read_text(encoding="utf-8")
FILES = dict(
    re.findall(r"^Write `([\w.]+)`:\n\n```python\n(.*?)```", PAGE, flags=re.DOTALL | re.MULTILINE)
)
COMMANDS = [
    shlex.split(line)
    for block in re.findall(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL)
    for line in block.splitlines()
]
PROGRAMS = [
    block
    for block in re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    if block not in FILES.values()
]
MAINS = {
    "tfrec_attn.train": train.main,
    "tfrec_attn.evaluate": evaluate.main,
    "tfrec_attn.export": tfrec_attn.export.command.main,
    "tfrec_attn.export.verify": tfrec_attn.export.verify.main,
}


def entry_points():
    """The entry points in the pyproject.toml of the page, as pip writes them."""
    toml = re.search(r"```toml\n(.*?)```", PAGE, flags=re.DOTALL)[1]
    groups = re.findall(
        r'^\[project\.entry-points\."(.+)"\]\n((?:.+\n)+)', toml, flags=re.MULTILINE
    )
    return "\n".join(f"[{group}]\n" + lines.replace('"', "") for group, lines in groups)


def program(text):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(text, "docs/adding-a-model.md", "exec"), {})
    return out.getvalue()


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """(folder in which all of the page was run, output of each command, and of each program)."""
    folder, outputs = tmp_path_factory.mktemp("empty"), []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "path", [one for one in sys.path if one])
        for name, text in FILES.items():
            (folder / name).write_text(text)
        installed = folder / "installed" / "shop-1.0.dist-info"
        installed.mkdir(parents=True)
        (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: shop\nVersion: 1.0\n")
        (installed / "entry_points.txt").write_text(entry_points())
        for words in COMMANDS:
            assert words[:2] == ["python", "-m"] and words[2] in MAINS, words
            if "model.name=weighted_mean" in words:
                sys.path.append(str(installed.parent))
                (folder / "runs" / "shop").rename(folder / "runs" / "by-module")
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                assert MAINS[words[2]](words[3:]) == 0, words
            outputs.append(out.getvalue())
        yield folder, outputs, [program(text) for text in PROGRAMS]
    for name in FILES:
        sys.modules.pop(name.removesuffix(".py"), None)


def test_the_page_shows_each_kind():
    assert list(FILES) == ["shop_models.py", "shop_gaps.py", "shop_losses.py", "shop_data.py"]
    assert {words[2] for words in COMMANDS} == set(MAINS)
    assert len(PROGRAMS) == 3


def test_the_model_learns(done):
    folder = done[0]
    report = json.loads((folder / "runs" / "synthetic-WeightedMean" / "metrics.json").read_text())
    assert report["test"]["HR@10"] > report["baselines"]["pop"]["HR@10"]
    # The next item of each user is the one after the last. The model cannot tell the order, but
    # ranks near items high.
    shop = json.loads((folder / "runs" / "shop" / "metrics.json").read_text())
    assert shop["test"]["HR@10"] > 2 * shop["baselines"]["pop"]["HR@10"]


def test_evaluation_and_verification_give_the_same_figures(done):
    folder, (_, evaluated, _, verified, *_), _ = done
    mrr = json.loads((folder / "runs" / "synthetic-WeightedMean" / "metrics.json").read_text())[
        "test"
    ]["MRR"]
    assert f"{mrr:.4f}" in evaluated
    assert f"{mrr:.8f}" in verified


def test_names_of_modules_and_of_entry_points_train_the_same(done):
    one, other = (done[0] / "runs" / name for name in ("by-module", "shop"))
    assert run.load_config(one).model.name == "shop_models:WeightedMean"
    assert run.load_config(other).model.name == "weighted_mean"
    assert (
        json.loads((one / "metrics.json").read_text())["test"]
        == json.loads((other / "metrics.json").read_text())["test"]
    )


def test_a_request(done):
    folder, _, (answer, *_) = done
    assert "b'model'" in answer
    items, _ = run.load_model(folder / "runs" / "synthetic-WeightedMean").recommend(
        [["i3", "i17", "i21"]], k=10
    )
    assert re.findall(r"b'(i\d+)'", answer) == items[0]


def test_a_servable_without_a_run(done):
    folder, _, (*_, printed) = done
    assert printed.endswith("\nservables/pages/1\n")
    serve = tf.saved_model.load(str(folder / "servables" / "pages" / "1")).signatures[
        "serving_default"
    ]
    answer = serve(user_id=tf.constant([""]), history=tf.constant([["page 3", "page 9"]]))
    assert answer["items"].shape == [1, 5]
    assert {one.decode().split()[0] for one in answer["items"].numpy()[0]} == {"page"}
