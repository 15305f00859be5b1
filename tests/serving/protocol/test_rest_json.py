import json

import numpy as np
import pytest

from serving.protocol import rest_json
from serving.protocol.statuses import StatusError

TEXT, INT, FLOAT, BOOL = np.dtype(object), np.dtype(np.int32), np.dtype(np.float32), np.dtype(bool)
TYPES = {"history": TEXT, "k": INT}


def read(document, types=TYPES):
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return rest_json.to_arrays(rest_json.parse(body), types)


def refusal(document, types=TYPES):
    with pytest.raises(StatusError) as caught:
        read(document, types)
    assert caught.value.http == 400
    message = caught.value.message
    assert message.endswith(".") and "\n" not in message and len(message) < 400
    return message


def same(arrays, expected):
    assert arrays.keys() == expected.keys()
    for name, (dtype, values) in expected.items():
        assert arrays[name].dtype == dtype
        assert arrays[name].tolist() == values


EXPECTED = {"history": (TEXT, [[b"a", b"b"], [b"", b"c"]]), "k": (INT, [3, 4])}


def test_rows_and_columns_give_the_same_arrays():
    same(
        read({"instances": [{"history": ["a", "b"], "k": 3}, {"k": 4, "history": ["", "c"]}]}),
        EXPECTED,
    )
    same(read({"inputs": {"history": [["a", "b"], ["", "c"]], "k": [3, 4]}}), EXPECTED)


def test_a_single_input_needs_no_name():
    for document in (
        {"instances": ["a", "b"]},
        {"inputs": ["a", "b"]},
        {"inputs": {"item": ["a", "b"]}},
        {"instances": [{"item": "a"}, {"item": "b"}]},
    ):
        same(read(document, {"item": TEXT}), {"item": (TEXT, [b"a", b"b"])})


def test_bytes_as_base64():
    # base64 of 0xff 0x00 and of nothing, by hand
    same(
        read({"inputs": {"item": [{"b64": "/wA="}, {"b64": ""}, "日"]}}, {"item": TEXT}),
        {"item": (TEXT, [b"\xff\x00", b"", "日".encode()])},
    )
    same(read({"instances": [{"b64": "/wA="}]}, {"item": TEXT}), {"item": (TEXT, [b"\xff\x00"])})


def test_types():
    same(
        read({"inputs": {"x": [1, 0.1]}}, {"x": FLOAT}),
        {"x": (FLOAT, [1.0, float(np.float32(0.1))])},
    )
    same(read({"inputs": {"x": [[True, False]]}}, {"x": BOOL}), {"x": (BOOL, [[True, False]])})
    same(
        read({"inputs": {"x": [2**40, -1]}}, {"x": np.dtype(np.int64)}),
        {"x": (np.dtype(np.int64), [2**40, -1])},
    )


def test_empty_lists_have_a_shape():
    arrays = read({"inputs": {"history": [[], []], "k": [1, 2]}})
    assert arrays["history"].shape == (2, 0) and arrays["history"].dtype == TEXT
    assert read({"inputs": {"history": [], "k": []}})["history"].shape == (0,)


def test_the_signature():
    assert rest_json.parse(b'{"signature_name": "recommend", "inputs": 1}').signature == "recommend"
    assert rest_json.parse(b'{"inputs": 1}').signature == ""
    assert "'signature_name'" in refusal({"signature_name": 3, "inputs": 1})


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b"", "empty"),
        (b'{"inputs": [1,}', "offset: 14 (line 1, column 15)"),
        (b'{"inputs":\n [1, nope]}', "line 2, column 6"),
        (b'{"inputs": "\xff"}', "not UTF-8 at offset: 12"),
        (b"[" * 100_000, "too deeply"),
        (b'{"inputs": ' + b"9" * 5000 + b"}", "too many digits"),
    ],
    ids=["empty", "comma", "word", "encoding", "deep", "digits"],
)
def test_what_is_not_json_names_the_place(body, place):
    message = refusal(body)
    assert message.startswith("JSON Parse error: ") and place in message


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([1], ["JSON object", "[...] (JSON Array)"]),
        ({}, ["'instances'", "'inputs'", "none"]),
        ({"instances": [1], "inputs": 1}, ["both"]),
        ({"instances": []}, ["at least one"]),
        ({"instances": "a"}, ['"a" (JSON String)']),
        ({"instances": [1, 2]}, ["history, k", "list of objects"]),
        ({"inputs": [1, 2]}, ["history, k", "an object"]),
        (
            {"instances": [{"history": ["a"], "k": 1}, 7]},
            ["Element 1", "an object", "7 (JSON Number)"],
        ),
        ({"instances": [{"history": ["a"]}]}, ["Element 0", "'k'"]),
        ({"instances": [{"history": ["a"], "k": 1, "n": 2}]}, ["Element 0", '"n"']),
        (
            {"instances": [{"history": ["a"], "k": 1}, {"history": ["a", "b"], "k": 1}]},
            ["element: 1 key: history", "[2]", "[1]"],
        ),
        (
            {"instances": [{"history": ["a"], "k": 1}, {"history": ["a"], "k": "x"}]},
            ["element: 1 key: k", "int32", '"x" (JSON String)'],
        ),
        (
            {"instances": [{"history": [["a"], "b"], "k": 1}]},
            ["element: 0 key: history", "level 1", '"b"'],
        ),
        ({"inputs": {"history": [["a"]]}}, ["Missing named input: k"]),
        ({"inputs": {"history": [["a"]], "k": [1], "n": 2}}, ['"n"']),
        (
            {"inputs": {"history": [["a"], ["a", "b"]], "k": [1, 1]}},
            ["key: history", "1 elements", "level 1", "one of 2"],
        ),
        ({"inputs": {"history": [["a"], "b"], "k": [1, 1]}}, ["key: history", "level 1", '"b"']),
        (
            {"inputs": {"history": [["a", 3]], "k": [1]}},
            ["key: history", "string", "3 (JSON Number)"],
        ),
        ({"inputs": {"history": [["a", None]], "k": [1]}}, ["key: history", "null (JSON Null)"]),
        ({"inputs": {"history": [["a", {"b64": "?"}]], "k": [1]}}, ["key: history", "base64"]),
        (
            {"inputs": {"history": [["a", {"c": 1}]], "k": [1]}},
            ["key: history", "{...} (JSON Object)"],
        ),
        ({"inputs": {"history": [["\ud800"]], "k": [1]}}, ["key: history", "surrogate"]),
        ({"inputs": {"history": [["a"]], "k": [1.0]}}, ["key: k", "int32", "1.0"]),
        ({"inputs": {"history": [["a"]], "k": [True]}}, ["key: k", "int32", "true (JSON Boolean)"]),
        ({"inputs": {"history": [["a"]], "k": [2**31]}}, ["key: k", "int32", "2147483648"]),
        ({"inputs": {"history": [["a"]], "k": ["y" * 1000]}}, ["key: k", "yyy..."]),
    ],
)
def test_other_requests_are_refused(document, words):
    message = refusal(document)
    for word in words:
        assert word in message


def test_a_body_of_many_values_costs_nothing():
    assert "too many values" in refusal(b'{"inputs": [' + b"[]," * 200_000 + b"[]]}")
    assert "too many values" in refusal(b'{"inputs": [' + b"0," * 600_000 + b"0]}")


def test_a_key_that_comes_twice_is_refused():
    assert '"k"' in refusal(b'{"instances": [{"history": ["a"], "k": 1, "k": 2}]}')
    assert '"inputs"' in refusal(b'{"inputs": {}, "inputs": {}}')


def test_values_that_would_change_are_refused():
    # 2**24 + 1 is the first whole number that float32 does not have.
    for value in (2**24 + 1, 1e39):
        assert "key: x" in refusal({"inputs": {"x": [value]}}, {"x": FLOAT})


def test_lists_in_more_levels_than_arrays_have():
    document = b'{"inputs": {"x": ' + b"[" * 100 + b"]" * 100 + b"}}"
    assert "levels" in refusal(document, {"x": FLOAT})


def answer(outputs, rows):
    return json.loads(rest_json.from_arrays(outputs, rows))


OUTPUTS = {
    "items": np.array([[b"a", "日".encode()], [b"c", b""]], object),
    "known": np.array([True, False]),
}


def test_answers_in_rows_and_columns():
    assert answer(OUTPUTS, True) == {
        "predictions": [{"items": ["a", "日"], "known": True}, {"items": ["c", ""], "known": False}]
    }
    assert answer(OUTPUTS, False) == {
        "outputs": {"items": [["a", "日"], ["c", ""]], "known": [True, False]}
    }


def test_a_single_output_has_no_name():
    outputs = {"query": np.array([[1, 2.5]], np.float32)}
    assert answer(outputs, True) == {"predictions": [[1.0, 2.5]]}
    assert answer(outputs, False) == {"outputs": [[1.0, 2.5]]}


def test_float32_comes_in_its_shortest_digits():
    body = rest_json.from_arrays({"x": np.array([0.1, 3, 3.4028235e38, -1e-30], np.float32)}, False)
    assert body == b'{"outputs":[0.1,3.0,3.4028235e+38,-1e-30]}'
    random = np.random.default_rng(1).normal(size=(50, 3)).astype(np.float32)
    assert (np.array(answer({"x": random}, True)["predictions"], np.float32) == random).all()


def test_what_json_has_no_number_for():
    assert answer({"x": np.array([np.nan, np.inf, -np.inf, 1], np.float32)}, False) == {
        "outputs": [None, None, None, 1.0]
    }


def test_bytes_are_told_by_the_name_of_the_output():
    outputs = {"raw_bytes": np.array([b"\xff\x00"], object), "text": np.array([b"\xff"], object)}
    assert answer(outputs, True) == {
        "predictions": [{"raw_bytes": {"b64": "/wA="}, "text": "\ufffd"}]
    }


def test_empty_and_scalar_outputs():
    assert answer(
        {"items": np.zeros((2, 0), object), "scores": np.zeros((2, 0), np.float32)}, True
    ) == {"predictions": [{"items": [], "scores": []}] * 2}
    assert answer({"x": np.zeros((0, 2), object)}, False) == {"outputs": []}
    assert answer({"x": np.float32(2)}, False) == {"outputs": 2.0}
    with pytest.raises(StatusError, match="first dimension"):
        rest_json.from_arrays({"x": np.float32(2)}, True)
    with pytest.raises(StatusError, match="first dimension"):
        rest_json.from_arrays({"x": np.zeros(2), "y": np.zeros(3)}, True)


def test_error_bodies():
    assert json.loads(rest_json.error_body('it\'s "so"\n')) == {"error": 'it\'s "so"\n'}
