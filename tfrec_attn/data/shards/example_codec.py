"""Encodes many `tf.train.Example` messages at once with NumPy.

A few passes over the events of a shard encode the messages of all its users.

Reference:
    https://protobuf.dev/programming-guides/encoding,
    tensorflow/core/example/{example,feature}.proto.
"""

from typing import NamedTuple

import numpy as np

_LENGTH_DELIMITED = 2
# Field numbers of Example, of Features, of the entries of its map, and of their lists.
_FEATURES, _ENTRY, _KEY, _VALUE, _LIST = 1, 1, 1, 2, 1
_BYTES_LIST, _INT64_LIST = 1, 3


class Rows(NamedTuple):
    """Bytes of many rows, one row after the other: data uint8 [total], sizes int64 [U]."""

    data: np.ndarray
    sizes: np.ndarray


def int64_feature(name: str, values: np.ndarray, lengths: np.ndarray) -> list[Rows]:
    """Encodes a feature with a list of integers for each row.

    Args:
        name: Name of the feature.
        values: All lists, one after the other.
        lengths: Length of each list, [U].
    """
    packed = _varints(values)
    ends = np.cumsum(packed.sizes)
    sums = np.concatenate([[0], ends])[np.concatenate([[0], np.cumsum(lengths)])]
    return _feature(name, _INT64_LIST, Rows(packed.data, np.diff(sums)))


def bytes_feature(name: str, data: np.ndarray, sizes: np.ndarray) -> list[Rows]:
    """Encodes a feature with one byte string for each row.

    Args:
        name: Name of the feature.
        data: All strings, one after the other, uint8.
        sizes: Bytes of each string, [U].
    """
    return _feature(name, _BYTES_LIST, Rows(data, sizes))


def examples(*features: list[Rows]) -> Rows:
    """Returns the messages with these features, in this order."""
    return _join(*_delimited(_FEATURES, [rows for feature in features for rows in feature]))


def _feature(name: str, kind: int, body: Rows) -> list[Rows]:
    key = name.encode()
    values = _delimited(_VALUE, _delimited(kind, _delimited(_LIST, [body])))
    named = _constant(bytes([_tag(_KEY), len(key)]) + key, len(body.sizes))
    head = _join(*_delimited(_ENTRY, [named, *values])[:-1])
    return [head, body]


def _delimited(field: int, parts: list[Rows]) -> list[Rows]:
    """Returns the parts of a message as a field, after its tag and its length."""
    lengths = np.sum([part.sizes for part in parts], axis=0)
    return [_constant(bytes([_tag(field)]), len(lengths)), _varints(lengths), *parts]


def _tag(field: int) -> int:
    return field << 3 | _LENGTH_DELIMITED


def _constant(text: bytes, count: int) -> Rows:
    return Rows(np.tile(np.frombuffer(text, np.uint8), count), np.full(count, len(text), np.int64))


def _varints(values: np.ndarray) -> Rows:
    """Encodes each value as a row of bytes with 7 bits of the value each, lowest bits first.

    The highest bit is set in all bytes except the last. A negative value takes 10 bytes.
    """
    rest = np.ascontiguousarray(values, np.int64).view(np.uint64)
    sizes = np.ones(len(rest), np.int64)
    for bits in range(7, 64, 7):
        longer = rest >= np.uint64(1 << bits)
        if not longer.any():
            break
        sizes += longer
    data = np.empty(sizes.sum(), np.uint8)
    index = np.cumsum(sizes) - sizes
    while len(rest):
        more = rest > np.uint64(127)
        data[index] = (rest & np.uint64(127)).astype(np.uint8) | (more.astype(np.uint8) << 7)
        rest, index = rest[more] >> np.uint64(7), index[more] + 1
    return Rows(data, sizes)


def _join(*parts: Rows) -> Rows:
    """Concatenates the rows of the same users."""
    sizes = np.sum([part.sizes for part in parts], axis=0)
    data = np.empty(sizes.sum(), np.uint8)
    begin = np.cumsum(sizes) - sizes
    for part in parts:
        source = np.cumsum(part.sizes) - part.sizes
        data[np.repeat(begin - source, part.sizes) + np.arange(len(part.data))] = part.data
        begin = begin + part.sizes
    return Rows(data, sizes)
