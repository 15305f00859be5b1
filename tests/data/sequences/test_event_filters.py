"""Event filters of a configuration: what they leave, their report, and their errors."""

import gzip

import numpy as np
import pytest

from tfrec_attn import config as configuration
from tfrec_attn.data.sequences.splits import split_checksum
from tfrec_attn.errors import ConfigError, DataError
from tfrec_attn.runs import run

# who, what, when, stars, kind
EVENTS = [
    ("u", "a", 0, 5, "buy"),
    ("u", "b", 10, 2, "view"),
    ("u", "a", 20, 4, "view"),
    ("u", "a", 30, 4, "buy"),
    ("u", "c", 900, 3, "cart"),
    ("u", "d", 910, 5, "buy"),
    ("v", "b", 0, 4.5, "buy"),
    ("v", "c", 5, 4, "buy"),
    ("v", "d", 6, 1, "view"),
    ("v", "a", 9, 5, "buy"),
]
COLUMNS = ["data.columns.rating=stars", "data.columns.event=kind"]


@pytest.fixture
def path(tmp_path):
    lines = [
        "user_id,item_id,timestamp,stars,kind",
        *(",".join(map(str, event)) for event in EVENTS),
    ]
    path = tmp_path / "log.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def prepared(path, *overrides):
    keys = [
        "data.source=file",
        f"data.path={path}",
        "data.min_user_events=1",
        "data.max_length=1",
        "data.targets=1",
    ]
    return run.prepare_data(configuration.load(None, [*keys, *overrides]))


def weights(data):
    """Weights of each user's events, in order of time."""
    sequences = data.sequences
    return {
        user: sequences.weights[sequences.offsets[row] : sequences.offsets[row + 1]].tolist()
        for row, user in enumerate(sequences.user_vocabulary.ids())
    }


def histories(data):
    sequences, result = data.sequences, {}
    for row, user in enumerate(sequences.user_vocabulary.ids()):
        items = sequences.items[sequences.offsets[row] : sequences.offsets[row + 1]]
        result[user] = "".join(sequences.item_vocabulary.ids(items))
    return result


def refusal(kind, path, *overrides):
    with pytest.raises(kind) as caught:
        prepared(path, *overrides)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "expected", "report"),
    [
        ([], {"u": "abaacd", "v": "bcda"}, None),
        # b, c of u and d of v have less than four stars.
        (["data.min_rating=4"], {"u": "aaad", "v": "bca"}, {"events": 10, "low_ratings": 3}),
        (
            ["data.event_types=[buy,cart]"],
            {"u": "aacd", "v": "bca"},
            {"events": 10, "other_types": {"view": 3}},
        ),
        (["data.repeats=collapse"], {"u": "abacd", "v": "bcda"}, {"events": 10, "repeats": 1}),
        (
            ["data.session_gap=600"],
            {"u#1": "abaa", "u#2": "cd", "v#1": "bcda"},
            {"events": 10, "sessions": 3},
        ),
        # Without the views u has a a c d; a a become one; then the gap cuts off c d.
        (
            ["data.event_types=[buy,cart]", "data.repeats=collapse", "data.session_gap=600"],
            {"u#1": "a", "u#2": "cd", "v#1": "bca"},
            {"events": 10, "other_types": {"view": 3}, "sessions": 3, "repeats": 1},
        ),
    ],
)
def test_by_hand(path, overrides, expected, report):
    data = prepared(path, *COLUMNS, *overrides)
    assert histories(data) == expected
    assert data.report.to_dict().get("selection") == report


WEIGHTS = "data.event_weights={buy: 2, view: 0.5, cart: 1}"


@pytest.mark.parametrize(
    ("overrides", "expected", "weighed", "report"),
    [
        (
            [WEIGHTS],
            {"u": "abaacd", "v": "bcda"},
            {"u": [2, 0.5, 0.5, 2, 1, 2], "v": [2, 2, 0.5, 2]},
            {"events": 10, "other_types": {}, "weights": {"buy": 2, "cart": 1, "view": 0.5}},
        ),
        # 0 leaves the views out; "gift" is in no event.
        (
            ["data.event_weights={buy: 2, view: 0, cart: 1, gift: 9}"],
            {"u": "aacd", "v": "bca"},
            {"u": [2, 2, 1, 2], "v": [2, 2, 2]},
            {"events": 10, "other_types": {"view": 3}, "weights": {"buy": 2, "cart": 1}},
        ),
        # The cart needs no weight where it is no type that stays.
        (
            [
                "data.event_weights={buy: 2, view: 0.5}",
                "data.event_types=[buy,view]",
                "data.min_rating=4",
            ],
            {"u": "aaad", "v": "bca"},
            {"u": [2, 0.5, 2, 2], "v": [2, 2, 2]},
            {"events": 10, "low_ratings": 3, "other_types": {}, "weights": {"buy": 2, "view": 0.5}},
        ),
        # a was viewed and then bought: one event, which counts as the purchase.
        (
            [WEIGHTS, "data.repeats=collapse", "data.session_gap=600"],
            {"u#1": "aba", "u#2": "cd", "v#1": "bcda"},
            {"u#1": [2, 0.5, 2], "u#2": [1, 2], "v#1": [2, 2, 0.5, 2]},
            {
                "events": 10,
                "other_types": {},
                "weights": {"buy": 2, "cart": 1, "view": 0.5},
                "sessions": 3,
                "repeats": 1,
            },
        ),
        # Of a alone there are three events or more.
        (
            [WEIGHTS, "data.min_item_events=3"],
            {"u": "aaa", "v": "a"},
            {"u": [2, 0.5, 2], "v": [2]},
            {"events": 10, "other_types": {}, "weights": {"buy": 2, "cart": 1, "view": 0.5}},
        ),
    ],
)
def test_weights_by_hand(path, overrides, expected, weighed, report):
    data = prepared(path, *COLUMNS, *overrides)
    assert histories(data) == expected
    assert weights(data) == weighed
    assert data.report.to_dict()["selection"] == report


def test_weights_follow_their_events_in_any_order_of_the_log(path):
    header, *lines = path.read_text().splitlines()
    path.write_text("\n".join([header, *lines[::-1]]) + "\n")
    assert weights(prepared(path, *COLUMNS, WEIGHTS)) == {
        "u": [2, 0.5, 0.5, 2, 1, 2],
        "v": [2, 2, 0.5, 2],
    }


def test_weights_change_the_checksum(path):
    plain, ones, twos = (
        prepared(
            path,
            *COLUMNS,
            *(f"data.event_weights={{buy: {weight}, view: 1, cart: 1}}" for weight in weights),
        )
        for weights in ([], [1], [2])
    )
    assert plain.sequences.weights is None
    assert ones.sequences.weights.dtype == np.float32
    assert len({split_checksum(data.split) for data in (plain, ones, twos)}) == 3


def test_the_text_of_the_report(path):
    text = str(prepared(path, *COLUMNS, "data.event_weights={buy: 2, cart: 0.5, view: 0}").report)
    assert text.startswith(
        "10 events; 3 of other types left out (3 view); weights buy 2, cart 0.5.\n7 events of "
    )
    report = str(
        prepared(
            path, *COLUMNS, "data.min_rating=4", "data.event_types=buy", "data.session_gap=600"
        ).report
    )
    assert report.startswith(
        "10 events; 3 with a low rating left out; 1 of other types left out (1 view); cut into 3 "
        "sessions.\n6 events of "
    )


def test_a_rating_that_is_no_number(path):
    path.write_text(path.read_text().replace("2,view", "two,view"))
    assert refusal(DataError, path, *COLUMNS) == (
        f"{path}, line 3: expected the rating as a number, got 'two'; correct it, or leave such "
        "lines out with data.on_error=skip."
    )
    data = prepared(path, *COLUMNS, "data.on_error=skip")
    assert (data.rejected, histories(data)["u"]) == (1, "aaacd")


def test_empty_ratings_and_types_are_named(path):
    text = path.read_text()
    path.write_text(text.replace("10,2,view", "10,,view"))
    assert "line 3: expected a rating, got an empty one;" in refusal(DataError, path, *COLUMNS)
    path.write_text(text.replace("10,2,view", "10,2,"))
    assert "line 3: expected an event, got an empty one;" in refusal(DataError, path, *COLUMNS)
    assert histories(prepared(path))["u"] == "abaacd"


def test_infinite_ratings_are_none(path):
    path.write_text(path.read_text().replace("10,2,view", "10,inf,view"))
    assert "line 3: expected the rating as a number, got 'inf';" in refusal(
        DataError, path, *COLUMNS
    )


def test_compressed_logs_too(path, tmp_path):
    packed = tmp_path / "log.csv.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert histories(prepared(packed, *COLUMNS, "data.min_rating=4")) == {"u": "aaad", "v": "bca"}


@pytest.mark.parametrize(
    ("kind", "overrides", "message"),
    [
        (
            ConfigError,
            ["data.min_rating=4"],
            "data.min_rating needs data.columns.rating, the name of the column that holds the "
            "ratings.",
        ),
        (
            ConfigError,
            ["data.event_types=buy"],
            "data.event_types needs data.columns.event, the name of the column that holds the "
            "event types.",
        ),
        (
            ConfigError,
            [*COLUMNS, "data.event_types=[]"],
            "data.event_types must name a type or more, but is empty; null keeps all types.",
        ),
        (
            ConfigError,
            ["data.event_weights.buy=2"],
            "data.event_weights needs data.columns.event, the name of the column that holds the "
            "event types.",
        ),
        *(
            (
                ConfigError,
                [*COLUMNS, f"data.event_weights={{{given}}}"],
                "data.event_weights must be 0 or from 1e-6 to 1e6, one or more above 0, but is "
                f"{{{shown}}}.",
            )
            for given, shown in (
                ("", ""),
                ("buy: 0", "'buy': 0.0"),
                ("buy: 2, view: -1", "'buy': 2.0, 'view': -1.0"),
                ("a: 1e9", "'a': 1000000000.0"),
            )
        ),
        (
            ConfigError,
            [*COLUMNS, "data.event_weights.buy=much"],
            "data.event_weights.buy must be a number, but is 'much'.",
        ),
        (
            ConfigError,
            [*COLUMNS, "data.event_weights.buy=.inf"],
            "data.event_weights.buy must be a number, but is '.inf'.",
        ),
        (
            ConfigError,
            [*COLUMNS, "data.event_weights=2"],
            "data.event_weights must be a section of keys or null, but is '2'.",
        ),
        (
            DataError,
            [*COLUMNS, "data.event_weights={buy: 2, view: 1}"],
            "data.event_weights has no weight for 'cart', a type of the log: give it one, 0 "
            "leaves its events out.",
        ),
        (
            DataError,
            [*COLUMNS, "data.event_types=view", "data.event_weights={buy: 2, view: 0}"],
            "the event filters of the data section leave nothing of 10 events: "
            "loosen data.min_rating, data.event_types, data.event_weights or data.missing_ids.",
        ),
        (
            ConfigError,
            ["data.session_gap=0"],
            "data.session_gap must be greater than 0, but is 0.0.",
        ),
        (
            ConfigError,
            ["data.session_gap=-5"],
            "data.session_gap must be greater than 0, but is -5.0.",
        ),
        (
            ConfigError,
            ["data.session_gap=5", "data.columns.timestamp=null"],
            "data.session_gap needs times, but data.columns.timestamp is null.",
        ),
        (
            ConfigError,
            ["data.repeats=colapse"],
            "data.repeats must be one of keep, collapse, but is 'colapse' (did you mean "
            "'collapse'?).",
        ),
        (
            DataError,
            [*COLUMNS, "data.event_types=[buy,veiw]"],
            "data.event_types names 'veiw' (did you mean 'view'?), but the event types of the log "
            "are buy, cart, view.",
        ),
        (
            DataError,
            [*COLUMNS, "data.min_rating=6"],
            "the event filters of the data section leave nothing of 10 events: "
            "loosen data.min_rating, data.event_types, data.event_weights or data.missing_ids.",
        ),
    ],
)
def test_refusals(path, kind, overrides, message):
    assert refusal(kind, path, *overrides) == message


def test_a_missing_column_is_named(path):
    message = refusal(DataError, path, "data.columns.rating=star")
    assert message.startswith(
        f"{path} has no column 'star' (did you mean 'stars'?), its columns are user_id, "
    )


def test_the_synthetic_log_has_no_ratings():
    keys = ["data.events=1500", "data.columns.rating=rating", "data.min_rating=3"]
    with pytest.raises(
        ConfigError,
        match=r"^data.min_rating needs the column rating, but data.source=synthetic has none\.$",
    ):
        run.prepare_data(configuration.load(None, keys))
