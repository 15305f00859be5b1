"""Schemas in files: what is read, and what is refused by name."""

import random

import pytest

from tests.data.quality.schema_cases import SCHEMA
from tfrec_attn.data.quality import message_file
from tfrec_attn.data.quality.schema_file import load_schema
from tfrec_attn.errors import DataError

FEATURE = "feature {{ name: 'event' type: BYTES {} }}"


@pytest.fixture
def written(tmp_path):
    """A function that writes a schema and returns its path."""

    def write(text):
        path = tmp_path / "schema.pbtxt"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def refusal(path):
    with pytest.raises(DataError) as caught:
        load_schema(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_inferred_schema_is_read():
    schema = load_schema(SCHEMA)
    assert [feature.name for feature in schema.feature] == [
        "user_id",
        "item_id",
        "timestamp",
        "rating",
        "event",
    ]
    assert [list(domain.value) for domain in schema.string_domain] == [["buy", "view"]]


def test_notes_demand_nothing(written):
    notes = "annotation { comment: 'x' } in_environment: 'T' not_in_environment: 'S'"
    domain = "string_domain { name: 'e' value: 'buy' is_categorical: CATEGORICAL_YES }"
    text = f"{FEATURE.format(f'{notes} {domain}')} default_environment: 'T' annotation {{ }}"
    assert len(load_schema(written(text)).feature) == 1


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (FEATURE.format("unique_constraints { min: 1 }"), "event.unique_constraints"),
        (FEATURE.format("time_domain { }"), "event.time_domain"),
        (FEATURE.format("value_counts { }"), "event.value_counts"),
        (
            FEATURE.format("drift_comparator { normalized_abs_difference { threshold: 0.1 } }"),
            "event.drift_comparator.normalized_abs_difference",
        ),
        (
            FEATURE.format(
                "skew_comparator { jensen_shannon_divergence { source { type: QUANTILES } } }"
            ),
            "event.skew_comparator.jensen_shannon_divergence.source",
        ),
        (
            "dataset_constraints { min_examples_count: 1 } sparse_feature { name: 'x' }",
            "sparse_feature, dataset_constraints",
        ),
        ("feature { name: 'a' struct_domain { } type: STRUCT }", "a.struct_domain, a.type=STRUCT"),
        ("feature { name: 'a' }", "a.type=TYPE_UNKNOWN"),
        (FEATURE.format("float_domain { min: 1 }"), "event.float_domain of type BYTES"),
        ("feature { name: 'a' type: INT float_domain { } }", "a.float_domain of type INT"),
        (
            "feature { name: 'a' type: FLOAT skew_comparator { infinity_norm { } } }",
            "a.skew_comparator.infinity_norm of type FLOAT",
        ),
        (
            FEATURE.format("distribution_constraints { min_domain_mass: 1 }"),
            "event.distribution_constraints without a string_domain",
        ),
    ],
)
def test_what_cannot_be_checked_is_named(written, text, named):
    path = written(text)
    assert refusal(path) == (
        f"{path} demands what cannot be checked ({named}): remove these fields from the schema."
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (FEATURE.format("") * 2, "{} has 2 times a feature with the name 'event'."),
        (
            "string_domain { name: 'e' }" * 3,
            "{} has 3 times a string_domain with the name 'e'.",
        ),
        (
            FEATURE.format("domain: 'e'"),
            "{}, feature 'event': expected the name of a string_domain as domain, got 'e'.",
        ),
        (
            "feature { nam: 'x' }",
            "{} does not hold a schema as tfrec_attn.data.validate writes it (1:11 : Message type "
            '"tensorflow.metadata.v0.Feature" has no field named "nam"',
        ),
        (b"\xff\xfe", "{} does not hold a schema as tfrec_attn.data.validate writes it ('utf-8'"),
        (
            "feature { struct_domain { " * 5_000,
            "{} does not hold a schema as tfrec_attn.data.validate writes it (",
        ),
    ],
)
def test_what_is_no_schema(written, text, said):
    path = written(text)
    assert refusal(path).startswith(said.format(path))


def test_files_that_cannot_be_read(tmp_path, written, monkeypatch):
    for path in (tmp_path, tmp_path / "none"):
        assert refusal(path) == (
            f"{path} is not a file: expected a schema that tfrec_attn.data.validate wrote."
        )
    monkeypatch.setattr(message_file, "_MAX_BYTES", 1_000)
    path = written(" " * 1_001)
    assert refusal(path) == (
        f"{path} has 1,001 bytes: expected a schema of at most 1,000; remove large domains."
    )


def test_a_damaged_schema_is_read_or_refused(written):
    random.seed(1)
    content = SCHEMA.read_bytes()
    for _ in range(100):
        damaged = bytearray(content)
        for _ in range(3):
            damaged[random.randrange(len(content))] = random.randrange(256)
        try:
            load_schema(written(bytes(damaged)))
        except DataError as error:
            assert "\n" not in str(error)
