"""New items without a training: their rows by hand, the lists of the others, and bad files."""

import json

import numpy as np
import polars as pl
import pytest
import tensorflow as tf

from export import command
from export.item_addition import add_items, check_added_items
from export.new_items import NewItems, read_new_items
from tfrec_attn import models
from tfrec_attn.errors import ConfigError, DataError
from tfrec_attn.layers.transition_prior import TransitionPrior
from tfrec_attn.replay.event_blocks import padded
from tfrec_attn.replay.measured_run import read_events
from tfrec_attn.runs import run
from tfrec_attn.runs.items import save_items
from tfrec_attn.runtime.runner import Runner
from tfrec_attn.training.transfer import Neighbours

# y is like item 3; x is like items 1 and 4, and three times as much like 4.
NEW = NewItems(
    ["x", "y"],
    Neighbours(np.array([0, 0, 1]), np.array([1, 4, 3]), np.array([1.0, 3.0, 1.0])),
    [],
)
# A mask, another table for targets, users, distances, and vectors that spread along a graph.
MODELS = ("sasrec", "bert4rec", "caser", "attrec", "transrec", "lightgcn")


def scores(model, items=12):
    history = tf.constant([[0, 3, 1, 4], [0, 0, 0, 2]])
    return model.scores({"user": tf.constant([1, 0]), "history": history}).numpy()[:, :items]


@pytest.mark.parametrize("name", MODELS)
def test_rows_are_means_and_scores_stay(make_model, name):
    model = make_model(name)
    model.popularity, model.trained_items = np.full(12, 1 / 12, np.float32), np.arange(12) > 0
    before = [one.numpy() for one in model.for_serving().tables("items")]
    result = add_items(model, NEW)
    assert result.item_vocabulary.ids() == [*model.item_vocabulary.ids(), "x", "y"]
    assert result.trained_items.tolist() == [False] + [True] * 13
    np.testing.assert_array_equal(result.popularity[12:], 0)
    for old, table in zip(before, result.tables("items"), strict=True):
        table = table.numpy()
        np.testing.assert_array_equal(table[:13], old)
        np.testing.assert_allclose(table[13], (old[1] + 3 * old[4]) / 4, rtol=1e-5, atol=1e-7)
        np.testing.assert_array_equal(table[14], old[3])
    np.testing.assert_allclose(scores(result), scores(model), rtol=1e-5, atol=1e-6)
    # The twin of item 3 scores as it does, and as an event of a history it counts as it does.
    np.testing.assert_allclose(scores(result, 14)[:, 13], scores(model)[:, 2], rtol=1e-5, atol=1e-6)
    twin = {"user": tf.constant([1]), "history": tf.constant([[0, 14, 1]])}
    item = {"user": tf.constant([1]), "history": tf.constant([[0, 3, 1]])}
    np.testing.assert_allclose(result.queries(twin), model.queries(item), rtol=1e-5, atol=1e-6)


def test_a_prior_stays(make_model):
    model = make_model("sasrec")
    # More neighbours than items: the rows grow with the items.
    model.transition_prior = prior = TransitionPrior(12, 20)
    values = np.random.default_rng(1).uniform(0, 1, (13, 12)).astype(np.float32)
    prior.rows.set_rows(np.tile(np.arange(1, 13), (13, 1)), values)
    prior.weight.assign(0.7)
    result = add_items(model, NEW)
    np.testing.assert_allclose(scores(result), scores(model), rtol=1e-5, atol=1e-6)
    assert model.transition_prior is prior
    # A new item has no prior.
    np.testing.assert_allclose(
        scores(result, 14)[:, 13], scores_without(model)[:, 2], rtol=1e-5, atol=1e-6
    )


def scores_without(model):
    model.transition_prior = None
    return scores(model)


def test_models_that_count_are_refused(make_model):
    counting = [one for one in models.names() if models.trains_on(one) == models.COUNTS]
    assert len(counting) > 2
    for name in counting:
        with pytest.raises(ConfigError, match=r"counts the events; train it again, which takes"):
            add_items(make_model(name), NEW)


def test_models_with_other_weights_of_items_are_refused(make_model):
    model = make_model("sasrec")

    class Odd(type(model)):
        def __init__(self, num_users, num_items, max_length):
            super().__init__(num_users, num_items, max_length)
            self.odd = self.add_weight(name="odd", shape=[num_items])

    odd = Odd(6, 12, 4)
    odd.item_vocabulary = model.item_vocabulary
    with pytest.raises(
        ConfigError, match=r"but the weight odd(:0)? of Odd is not a table; train it again"
    ):
        add_items(odd, NEW)


# --- Files ---


@pytest.fixture
def read(run_folder, tmp_path):
    """A function that reads the text of a file of new items."""

    def read(text, name="new.tsv"):
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_new_items(tmp_path / name, run_folder("sasrec"))

    read.items = run.load_vocabularies(run_folder("sasrec"))[1]
    return read


def pairs(new, items):
    added, known, counts = new.neighbours
    names = [new.ids[one] for one in added], items.ids(known)
    return sorted(zip(*names, counts.tolist(), strict=True))


def test_a_table(read):
    text = "item\tneighbour\tweight\nnew\ti3\t2\n\nnew\t日本語\t0.5\nother\ti3\t1\n"
    new = read(text)
    assert pairs(new, read.items) == [("new", "i3", 2), ("new", "日本語", 0.5), ("other", "i3", 1)]
    assert str(new) == "Adding 2 items ('new', 'other'): means of the rows of 3 neighbours."
    assert pairs(read("neighbour,item\ni3,new\n", "new.csv"), read.items) == [("new", "i3", 1)]


def test_a_log(read):
    events = ["u,i1,1", "u,new,2", "u,i3,3", "v,new,5", "v,i3,6", "w,lone,1", "w,lone2,2"]
    new = read("user_id,item_id,timestamp\n" + "\n".join(events) + "\n", "log.csv")
    assert pairs(new, read.items) == [("new", "i1", 1), ("new", "i3", 2)]
    assert new.left_out == ["lone", "lone2"]
    assert str(new).endswith(" 2 items ('lone', 'lone2') left out, without a known neighbour.")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("item\tneighbour\ni3\ti4\n", "line 2: item must be a new id, but 'i3' is known already."),
        ("item\tneighbour\n\ti4\n", "line 2: item must be a new id, but '' is not an id."),
        ('item\tneighbour\n"a\tb"\ti4\n', "item must be a new id, but 'a\\tb' is not an id."),
        ("item\tneighbour\n \ti4\n", "line 2: item must be a new id, but ' ' is not an id."),
        ("item\tneighbour\nx\ty\n", "line 2: neighbour must be an item that the run has trained,"),
        ("item\tneighbour\nx\n", "line 2: expected item, neighbour, got ['x']."),
        ("item\tneighbour\tweight\nx\ti3\t0\n", "weight must be a number above 0, but is '0'."),
        ("item\tneighbour\tweight\nx\ti3\tinf\n", "weight must be a number above 0, but is 'inf'"),
        ('item\tneighbour\nx\t"i3\n', "cannot be read as a table: unexpected end of data."),
        ("item\tneighbour\n", "new.tsv has a header but no rows; give each new item and an"),
        ("user_id\titem_id\ttimestamp\nu\ti3\t1\n", "(it names no new item); give events"),
        ("user_id\titem_id\ttimestamp\nu\tx\t1\n", "(1 item ('x') there); give events before"),
        ("a\tb\n1\t2\n", "has no column 'user_id'"),
        ("", "new.tsv"),
        (b"\xff\xfe", "line 1: expected UTF-8 text, got bytes that are not"),
    ],
)
def test_files_that_cannot_be_used(read, text, words):
    with pytest.raises(DataError) as raised:
        read(text)
    assert words in str(raised.value)
    assert str(raised.value).endswith(".")


def test_no_file(run_folder):
    with pytest.raises(
        DataError, match=r"^--add-items /nothing does not exist; give a file of new"
    ):
        read_new_items("/nothing", run_folder("sasrec"))


# --- The command ---


def test_a_version_with_new_items(exported, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("export.warmup.write_warmup", lambda *_, **__: 0)
    folder, before, _ = exported("sasrec")
    (tmp_path / "new.tsv").write_text("item\tneighbour\nnew\ti3\n")
    arguments = [str(folder), "--to", str(tmp_path / "shop"), "--add-items"]
    assert command.main([*arguments, str(tmp_path / "new.tsv")]) == 0
    out, error = capsys.readouterr()
    assert error == "" and out.startswith("Adding 1 item ('new'): means of the rows of 1 neigh")
    version = tmp_path / "shop" / "1"
    card = json.loads((version / "assets.extra" / "model_card.json").read_text())
    assert card["serving"]["added_items"] == ["new"]
    events = read_events(folder)
    users, rows = events["user_id"].to_list(), padded(events["history"].to_list(), 10)
    empty, k = [[""]] * len(users), [10] * len(users)
    with Runner(before) as old, Runner(version) as new:
        asked = {"user_id": users, "history": rows, "allow": empty, "k": k}
        expected = old.run("recommend", **asked, exclude=empty)
        without = new.run("recommend", **asked, exclude=[["new"]] * len(users))
        np.testing.assert_array_equal(without["items"], expected["items"])
        np.testing.assert_allclose(without["scores"], expected["scores"], rtol=1e-5, atol=1e-6)
        # It is listed where its neighbour is, unless that is in the history.
        served = new.run("recommend", **asked, exclude=empty)["items"]
        assert (served == b"new").any()
        query = {"user_id": ["", ""], "history": [["new"], ["i3"]]}
        np.testing.assert_allclose(*new.run("embed", **query)["query"], rtol=1e-6)
        scored = new.run("score", **query, candidates=[["new", "i3"]] * 2)
        np.testing.assert_allclose(*scored["scores"].T, rtol=1e-6)
        assert scored["known"].all()

    from export.agreement import compare

    assert compare(version, folder)["difference"] is None


def test_the_items_file_of_the_run_does_not_have_new_items(tmp_path):
    assert command._about(tmp_path, NEW) is None
    save_items(tmp_path, pl.DataFrame({"id": ["a", "b"], "title": ["A", None]}))
    assert command._about(tmp_path, None) == [('{"title": "A"}', ""), ("", "")]
    assert command._about(tmp_path, NEW)[2:] == [("", "")] * len(NEW.ids)


def test_a_new_item_with_the_separator(run_folder, tmp_path, capsys):
    (tmp_path / "new.tsv").write_text("item\tneighbour\nn;w\ti3\n")
    arguments = [str(run_folder("sasrec")), "--to", str(tmp_path / "shop"), "--separator", ";"]
    assert command.main([*arguments, "--add-items", str(tmp_path / "new.tsv")]) == 2
    assert "';' is in the item 'n;w'" in capsys.readouterr().err
    assert not (tmp_path / "shop").exists()


def test_versions_that_do_not_pass(exported):
    folder, version, _ = exported("sasrec")
    model, events = run.load_model(folder), read_events(folder)
    serving = {"max_k": 100, "keep_seen": False, "index": None}
    # Item i3 is in the lists, which the check leaves out.
    for ids, words in ((["i3"], "the lists of the others changed"), (["new"], "are not served")):
        with pytest.raises(ConfigError, match=words):
            check_added_items(version, model, events, ids, serving)
    # As with an index, whose lists can differ.
    check_added_items(version, model, events, ["i3"], {**serving, "index": {}})
    for table in model.tables("items"):
        table.assign(-table)
    with pytest.raises(ConfigError, match="the lists of the others changed; train again"):
        check_added_items(version, model, events, ["i3"], {**serving, "index": {}})
