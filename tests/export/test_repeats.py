"""Tests that the served lists have the metrics of the training, also where users repeat items."""

import contextlib
import io
import json

import numpy as np
import polars as pl
import pytest

from export import verify
from export.command import export
from tfrec_attn import evaluate, train
from tfrec_attn.runs.run import load_model
from tfrec_attn.runtime.runner import Runner

FAST = [
    "train.epochs=2",
    "model.dim=8",
    "evaluate.k=[1,5,10]",
    "evaluate.bootstrap=0",
    "runtime.steps_per_execution=1",
]


def replays(repeated, users=40, songs=30):
    """Users who repeat four songs; a share of 1 - `repeated` of them ends with new ones."""
    random = np.random.default_rng(3)
    rows = []
    for user in range(users):
        own = random.permutation(songs)
        heard = [*own[[0, 1, 2, 3] * 2], *(own[[0, 1]] if user < repeated * users else own[[4, 5]])]
        rows += [
            (f"u{user}", f"s{song}", 1_600_000_000 + 100 * time + user)
            for time, song in enumerate(heard)
        ]
    return sorted(rows, key=lambda row: row[2])


def newcomers():
    """Users of whom half begin after the test events do, so that nothing is known of them."""
    random = np.random.default_rng(4)
    return [
        (f"u{user}", f"s{song}", 1_600_000_000 + (10_000 if user % 2 else 0) + 1000 * time + user)
        for user in range(40)
        for time, song in enumerate(random.permutation(30)[:10])
    ]


LOGS = {
    "all-repeat": (replays(1.0), "attrec", [], "include", 1.0),
    "excluded": (replays(1.0), "attrec", ["evaluate.repeats=exclude"], "exclude", 1.0),
    "newcomers": (
        newcomers(),
        "sasrec",
        ["train.loss=softmax", "data.split=temporal", "data.valid_from=0.4", "data.test_from=0.6"],
        "exclude",
        0.0,
    ),
}


@pytest.fixture(scope="module", params=LOGS)
def exported(request, tmp_path_factory):
    """(run, servable, rule, share of repeated test targets, what training printed)."""
    rows, model, options, rule, share = LOGS[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    pl.DataFrame(rows, ["user_id", "item_id", "timestamp"], orient="row").write_csv(
        folder / "log.csv"
    )
    source = ["data.source=file", f"data.path={folder / 'log.csv'}", f"run_dir={folder / 'run'}"]
    with contextlib.redirect_stdout(io.StringIO()) as out, pytest.MonkeyPatch.context() as patch:
        patch.setattr("export.warmup.write_warmup", lambda *_, **__: 0)
        assert train.main([*source, f"model.name={model}", *FAST, *options]) == 0
        servable = export(folder / "run", folder / "servable")
    return folder / "run", servable, rule, share, out.getvalue()


def test_the_served_lists_have_the_reported_metrics(exported):
    run, servable, _, _, _ = exported
    report, events = (
        json.loads((run / "metrics.json").read_text()),
        pl.read_parquet(run / "test.parquet"),
    )
    hits = np.zeros(11)
    with Runner(servable) as runner:
        for user, history, target in events.rows():
            request = {"user_id": [user], "history": [["", *history]]}
            request = {name: np.array(value, object) for name, value in request.items()}
            found = [one.decode() for one in runner.run("serving_default", **request)["items"][0]]
            if target in found:
                hits[found.index(target) + 1 :] += 1
    for k in (1, 5, 10):
        # Equally popular items count against the target in the metrics, but the list orders them.
        ties = 0 if report["protocol"]["split"] == "leave-one-out" else 0.15
        assert report["test"][f"HR@{k}"] == pytest.approx(hits[k] / len(events), abs=1e-9 + ties)
        assert report["test"][f"HR@{k}"] <= hits[k] / len(events) + 1e-9


def test_share_of_repeated_targets_is_reported(exported):
    run, servable, rule, share, out = exported
    report = json.loads((run / "metrics.json").read_text())
    assert (report["repeats"]["rule"], report["protocol"]["repeats"]) == (rule, rule)
    assert report["repeats"]["test"] == pytest.approx(share)
    card = json.loads((servable / "assets.extra" / "model_card.json").read_text())
    assert (card["repeats"], card["serving"]["keep_seen"]) == (report["repeats"], rule == "include")
    if share:
        assert f"{share:.1%} of the test targets are in their user's history" in out
        assert f"evaluate.repeats={rule}" in out
    if share == 1.0 and rule == "exclude":
        assert {name: value for name, value in report["test"].items() if value} == {}


def test_verification_finds_the_metrics_again(exported, capsys):
    run, servable, _, _, _ = exported
    for part in ("test", "valid"):
        assert verify.main([str(servable), "--run", str(run), "--split", part]) == 0, (
            capsys.readouterr().err
        )


def test_evaluation_and_recommend_follow_the_rule(exported, capsys):
    run, _, rule, _, _ = exported
    assert evaluate.main([str(run), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)["test"]
    assert again == pytest.approx(json.loads((run / "metrics.json").read_text())["test"], abs=1e-6)
    history = ["s0", "s1", "s2"]
    items = load_model(run).recommend([history], k=30)[0][0]
    assert set(history).isdisjoint(items) == (rule == "exclude")


@pytest.mark.parametrize("exported", ["all-repeat"], indirect=True)
def test_export_by_another_rule_is_reported(exported, capsys, tmp_path):
    run, _, rule, _, _ = exported
    with contextlib.redirect_stdout(io.StringIO()):
        servable = export(run, tmp_path / "servable", keep_seen=False)
    code = verify.main([str(servable), "--run", str(run)])
    error = capsys.readouterr().err
    assert code == 1 and "of the served lists is" in error
    assert f"evaluate.repeats={rule}; export it again with --keep-seen." in error
