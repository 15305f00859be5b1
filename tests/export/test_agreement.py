"""Tests of the comparison with a run's metrics, on fakes whose ranks are counted with loops."""

import json
import math

import numpy as np
import polars as pl
import pytest

from export import agreement, verify
from tfrec_attn.errors import ConfigError

ITEMS = [f"i{number}" for number in range(9)]
EVENTS = [
    ("plain", ["i1", "i2"], "i0"),
    ("repeats", ["i1", "i2", "i1", "i1", "i7"], "i3"),
    ("again", ["i4", "i5", "i4"], "i4"),
    ("nothing", [], "i6"),
    ("popular", [], "i8"),
    ("long", ["i0", "i1", "i2", "i3", "i4", "i5"], "i8"),
]
K = (1, 3, 5)
POPULARITY = [0.1, 0.2, 0.05, 0.05, 0.1, 0.2, 0.1, 0.05, 0.15]


class Fake:
    """A runner with given scores, {user: scores of the items}; the earlier item wins ties.

    Attributes:
        lists: User -> items to recommend instead.
        source: User -> source other than "model".
    """

    def __init__(self, path, scores, keep_seen=False, max_k=100):
        self.path, self.scores, self.keep_seen, self.max_k = path, scores, keep_seen, max_k
        self.lists, self.source = {}, {"popular": "popular"}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def run(self, signature, **arrays):
        return getattr(self, signature)(**arrays)

    def embed(self, user_id, history):
        assert all(row[0] == "" for row in history)
        return {"query": np.array([self.scores[user] for user in user_id], np.float32)}

    def embed_items(self, item):
        return {
            "vector": np.eye(len(ITEMS), dtype=np.float32)[[ITEMS.index(one) for one in item]],
            "known": np.full(len(item), True),
        }

    def score(self, user_id, history, candidates):
        assert (list(user_id), history.tolist()) == ([""], [[""]])
        return {
            "scores": np.array(
                [[POPULARITY[ITEMS.index(one)] for one in candidates[0]]], np.float32
            )
        }

    def recommend(self, user_id, history, exclude, allow, k):
        assert not any(allow.ravel()) and not any(exclude.ravel())
        columns, rows = min(max(k), self.max_k, len(ITEMS)), []
        for user, seen in zip(user_id, history, strict=True):
            hidden = () if self.keep_seen else seen
            scores = POPULARITY if user in self.source else self.scores[user]
            order = sorted(range(len(ITEMS)), key=lambda item, scores=scores: -scores[item])
            row = self.lists.get(user, [ITEMS[item] for item in order if ITEMS[item] not in hidden])
            rows.append([one.encode() for one in [*row, *[""] * columns][:columns]])
        source = [self.source.get(user, "model").encode() for user in user_id]
        return {"items": np.array(rows, object), "scores": None, "source": np.array(source, object)}


def rank_of(scores, history, target, repeats="exclude"):
    """With loops, as the metrics are defined."""
    if repeats == "exclude" and target in history:
        return math.inf
    others = [
        item for item in ITEMS if item != target and (repeats == "include" or item not in history)
    ]
    return 1 + sum(scores[ITEMS.index(item)] >= scores[ITEMS.index(target)] for item in others)


def metrics_of(ranks):
    result = {}
    for k in K:
        result[f"HR@{k}"] = sum(rank <= k for rank in ranks) / len(ranks)
        result[f"NDCG@{k}"] = sum(1 / np.log2(1 + rank) for rank in ranks if rank <= k) / len(ranks)
    return {**result, "MRR": sum(1 / rank for rank in ranks) / len(ranks)}


@pytest.fixture
def made_up(tmp_path, monkeypatch):
    """A function that writes a run and a servable of a fake, and returns (the fake, its ranks)."""

    def make(scores=None, card=None, repeats="exclude", **options):
        random = np.random.default_rng(8)
        scores = scores or {user: random.permutation(9).tolist() for user, _, _ in EVENTS}
        by = {**scores, "popular": POPULARITY}
        ranks = [rank_of(by[user], history, target, repeats) for user, history, target in EVENTS]
        for folder, text in (("run/vocabulary", ITEMS), ("1/assets", ITEMS[::-1])):
            (tmp_path / folder).mkdir(parents=True)
            (tmp_path / folder / "items.txt").write_text("".join(f"{one}\n" for one in text))
        report = {
            "test": metrics_of(ranks),
            "data": {"sha256": "abc"},
            "protocol": {"repeats": repeats},
        }
        (tmp_path / "run" / "metrics.json").write_text(json.dumps(report))
        schema = {"user_id": pl.String, "history": pl.List(pl.String), "target": pl.String}
        pl.DataFrame(EVENTS, schema=schema, orient="row").write_parquet(
            tmp_path / "run" / "test.parquet"
        )
        if card is not None:
            (tmp_path / "1" / "assets.extra").mkdir()
            (tmp_path / "1" / "assets.extra" / "model_card.json").write_text(json.dumps(card))
        fake = Fake(tmp_path / "1", scores, **options)
        monkeypatch.setattr(agreement, "Runner", lambda path: fake)
        return fake, ranks

    return make


def compare(tmp_path):
    return agreement.compare(tmp_path / "1", tmp_path / "run")


def test_ranks_are_those_of_loops(made_up, tmp_path):
    _, ranks = made_up()
    report = compare(tmp_path)
    assert len(set(ranks)) > 2
    assert report["difference"] is None
    assert {name: row["servable"] for name, row in report["metrics"].items()} == pytest.approx(
        metrics_of(ranks), abs=1e-9
    )
    assert {name: row["recommend"] for name, row in report["metrics"].items()} == pytest.approx(
        {**metrics_of(ranks), "MRR": None}, abs=1e-9
    )
    # i8 is the third most popular item, after i1 and i5. i4 of `again` is in the history.
    assert (ranks[2], ranks[4]) == (math.inf, 3)
    assert report["recommend"] == {"k": 5, "keep_seen": False, "recall": None}


def test_ties_count_against_the_target_and_any_order_of_a_list_is_right(made_up, tmp_path):
    fake, ranks = made_up({user: [1.0] * 9 for user, _, _ in EVENTS})
    assert ranks == [7, 6, math.inf, 9, 3, 3]
    report = compare(tmp_path)
    assert report["difference"] is None
    assert report["metrics"]["HR@5"]["servable"] == pytest.approx(2 / 6)
    # i0 first, though it ranks seventh; i3 fourth.
    assert report["metrics"]["HR@1"]["recommend"] == pytest.approx(1 / 6)
    fake.lists["plain"] = ["i8", "i7", "i0", "i6", "i5"]
    assert compare(tmp_path)["difference"] is None


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (["i3", "i0", "i4", "i5", "i6"], "at rank 2 of 5"),
        (["i3", "i4", "i5", "i6", "i7"], "nowhere"),
        ([], "nowhere"),
    ],
)
def test_different_list_is_named(made_up, tmp_path, answer, found):
    fake, ranks = made_up({user: [9, 8, 7, 6, 5, 4, 3, 2, 1] for user, _, _ in EVENTS})
    assert ranks[0] == 1
    fake.lists["plain"] = answer
    report = compare(tmp_path)
    assert (
        report["difference"]
        == f"recommend must put 'i0' of user 'plain' at rank 1 of 5, but has it {found}."
    )
    assert report["metrics"]["HR@1"]["difference"] == 0


def test_a_target_below_the_list_must_not_be_in_it(made_up, tmp_path):
    fake, ranks = made_up({user: [1, 2, 3, 4, 5, 6, 7, 8, 9] for user, _, _ in EVENTS})
    assert ranks[0] == 7
    assert compare(tmp_path)["difference"] is None
    fake.lists["plain"] = ["i8", "i7", "i6", "i5", "i0"]
    assert (
        compare(tmp_path)["difference"]
        == "recommend must put 'i0' of user 'plain' at rank 7 of 5, but has it at rank 5 of 5."
    )


def test_a_difference_within_rounding_is_no_difference_of_lists(made_up, tmp_path):
    close = [1.0, 1.0 - 2e-7, *[0.5] * 7]
    fake, ranks = made_up(
        {user: [*close[::-1]] if user == "long" else [0.1, *close[1:]] for user, _, _ in EVENTS}
    )
    fake.lists["long"] = ["i7", "i8", "i6"]
    assert ranks[5] == 1
    assert compare(tmp_path)["difference"] is None
    fake.lists["long"] = ["i7", "i6", "i8"]
    assert (
        "of user 'long' at rank 1 of 5, but has it at rank 3 of 5"
        in compare(tmp_path)["difference"]
    )


def test_difference_with_its_possible_causes(made_up, tmp_path):
    # Of the targets only i0, of `plain`, has the score of another item.
    scores = {user: [1.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 1.0, 0.7] for user, _, _ in EVENTS}
    made_up(scores, card={"training": {"config": {"runtime": {"precision": "mixed_bfloat16"}}}})
    path = tmp_path / "run" / "metrics.json"
    report = json.loads(path.read_text())
    report["test"]["MRR"] += 0.01
    path.write_text(json.dumps(report))
    assert compare(tmp_path)["difference"].endswith(
        " (1 of 6 targets have another item's score within rounding; "
        "the run was measured in mixed_bfloat16, the servable computes in float32)."
    )


def test_where_all_items_compete_the_lists_have_the_history_too(made_up, tmp_path):
    _, ranks = made_up(card={"serving": {"keep_seen": True}}, keep_seen=True, repeats="include")
    assert ranks[2] < math.inf
    report = compare(tmp_path)
    assert (report["difference"], report["repeats"]) == (None, "include")
    assert report["recommend"] == {"k": 5, "keep_seen": True, "recall": None}
    for name in ("HR@1", "HR@5", "NDCG@5"):
        assert report["metrics"][name]["recommend"] == pytest.approx(metrics_of(ranks)[name])


@pytest.mark.parametrize("repeats", ["exclude", "include"])
def test_lists_of_another_rule_than_the_metrics_are_told(made_up, tmp_path, repeats):
    keep_seen = repeats == "exclude"
    fake, ranks = made_up(
        {user: [9, 8, 7, 6, 5, 4, 3, 2, 1] for user, _, _ in EVENTS},
        card={"serving": {"keep_seen": keep_seen}},
        keep_seen=keep_seen,
        repeats=repeats,
    )
    report = compare(tmp_path)
    other = metrics_of(
        [
            rank_of(fake.scores[user], history, target, "include" if keep_seen else "exclude")
            for user, history, target in EVENTS
        ]
    )
    verb, option = ("recommends", "--no-keep-seen") if keep_seen else ("leaves out", "--keep-seen")
    first = next(
        name
        for name, value in metrics_of(ranks).items()
        if value != report["metrics"][name]["recommend"]
    )
    assert report["metrics"][first]["servable"] == pytest.approx(metrics_of(ranks)[first])
    assert report["metrics"]["HR@3"]["recommend"] == pytest.approx(other["HR@3"], abs=0.2)
    assert report["difference"].startswith(f"{first} of the served lists is ")
    assert f"the servable {verb} items of the history" in report["difference"]
    assert report["difference"].endswith(
        f"evaluate.repeats={repeats}; export it again with {option}."
    )


def test_lists_shorter_than_a_cutoff_have_no_metric(made_up, tmp_path):
    _, ranks = made_up(max_k=3)
    metrics = compare(tmp_path)["metrics"]
    assert metrics["HR@3"]["recommend"] == pytest.approx(metrics_of(ranks)["HR@3"])
    assert metrics["HR@5"]["recommend"] is None
    assert metrics["HR@5"]["servable"] == pytest.approx(metrics_of(ranks)["HR@5"])


def test_recall_of_an_index(made_up, tmp_path, capsys):
    fake, _ = made_up(
        {user: [9, 8, 7, 6, 5, 4, 3, 2, 1] for user, _, _ in EVENTS},
        card={"serving": {"index": {"kind": "ivf"}}},
    )
    assert compare(tmp_path)["recommend"]["recall"] == 1.0
    # Exact: i0, i3, i4, i5, i6; and of the nine items three are left to `long`. The other four
    # lists are exact.
    fake.lists = {"plain": ["i3", "i4", "i5", "i8"], "long": ["i6", "i8"]}
    report = compare(tmp_path)
    assert report["difference"] is None
    assert report["recommend"]["recall"] == pytest.approx((3 / 5 + 2 / 3 + 4) / 6)
    verify.main([str(tmp_path / "1"), "--run", str(tmp_path / "run")])
    assert "recall@5 of the index 0.8778." in capsys.readouterr().out


def test_many_events_in_blocks(made_up, tmp_path, monkeypatch):
    _, ranks = made_up()
    events = pl.read_parquet(tmp_path / "run" / "test.parquet")
    pl.concat([events] * 100).write_parquet(tmp_path / "run" / "test.parquet")
    monkeypatch.setattr("tfrec_attn.replay.event_ranking._BLOCK_ELEMENTS", 7 * len(ITEMS))
    monkeypatch.setattr("tfrec_attn.replay.event_ranking._CANDIDATES", 4)
    report = compare(tmp_path)
    assert (report["events"], report["difference"]) == (600, None)
    assert report["metrics"]["MRR"]["servable"] == pytest.approx(metrics_of(ranks)["MRR"], abs=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda report: report.pop("test"), "has no metrics of test; train again"),
        (
            lambda report: report.update(test={"recall": 0.5}),
            "has the metric recall, but only HR@k, NDCG@k and MRR can be computed; train again",
        ),
    ],
    ids=["none", "unknown"],
)
def test_metrics_that_cannot_be_compared(made_up, tmp_path, change, message):
    made_up()
    path = tmp_path / "run" / "metrics.json"
    report = json.loads(path.read_text())
    change(report)
    path.write_text(json.dumps(report))
    with pytest.raises(ConfigError, match=rf"^metrics\.json of {tmp_path}/run {message}\.$"):
        compare(tmp_path)


def test_servable_of_another_log(made_up, tmp_path):
    made_up(card={"data": {"sha256": "abd"}})
    message = f"^{tmp_path}/1 was not exported from {tmp_path}/run: their logs differ; "
    with pytest.raises(ConfigError, match=message):
        compare(tmp_path)
    card = tmp_path / "1" / "assets.extra" / "model_card.json"
    card.write_text('{"data": {"sha256": "abc"}}')
    assert compare(tmp_path)["difference"] is None
    for folder, text in (("1/assets", "i0\ni1\n"), ("run/vocabulary", "i0\n")):
        path = tmp_path / folder / "items.txt"
        before = path.read_text()
        path.write_text(text)
        with pytest.raises(ConfigError, match=message):
            compare(tmp_path)
        path.write_text(before)
    (tmp_path / "1" / "assets" / "users.txt").write_text("u\n")
    (tmp_path / "run" / "vocabulary" / "users.txt").write_text("v\n")
    with pytest.raises(ConfigError, match=message):
        compare(tmp_path)
    card.write_text("{")
    with pytest.raises(ConfigError, match=r"model_card\.json is not JSON; export again\.$"):
        compare(tmp_path)
