"""The framing of TFRecord files with its CRC-32C checksums, for many records at once.

A worker writes a shard without TensorFlow, because the import takes seconds and 300 MB.

Reference:
    https://www.tensorflow.org/tutorials/load_data/tfrecord; RFC 3720, appendix B.4, for CRC-32C.
"""

import functools

import numpy as np

_POLYNOMIAL, _ONES = np.uint32(0x82F63B78), np.uint32(0xFFFFFFFF)
_MASK = np.uint32(0xA282EAD8)
_PIECE = 4096  # bytes; the pieces of a record are processed in parallel
_HEAD, _TAIL = 12, 4  # bytes around a record


def framed(data: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Returns the content of a TFRecord file.

    Args:
        data: The records, one after the other, uint8 [total].
        sizes: Bytes of each record, int64 [U].

    Returns:
        uint8 [total + 16 U]: for each record its length, the checksum of the length, the record,
        and the checksum of the record.
    """
    count, ends = len(sizes), np.cumsum(sizes)
    lengths = np.ascontiguousarray(sizes, "<u8").view(np.uint8)
    begins = ends - sizes + _HEAD + (_HEAD + _TAIL) * np.arange(count)
    out = np.empty(len(data) + (_HEAD + _TAIL) * count, np.uint8)
    shift = np.repeat(begins - (ends - sizes), sizes)
    out[np.arange(len(data)) + shift] = data
    of_lengths = _masked(crc32c(lengths, np.full(count, 8)))
    for begin, field in (
        (begins - _HEAD, lengths.reshape(count, 8)),
        (begins - _TAIL, of_lengths),
        (begins + sizes, _masked(crc32c(data, sizes))),
    ):
        out[begin[:, np.newaxis] + np.arange(field.shape[1])] = field
    return out


def crc32c(data: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Returns the CRC-32C of many byte strings, uint32 [U].

    Long strings are cut into pieces. The register after a piece is linear in the register before
    the piece: it is that register, moved over a piece of zeros, plus the register of the piece
    alone.

    Args:
        data: The strings, one after the other, uint8 [total].
        sizes: Bytes of each string, [U].
    """
    sizes = np.asarray(sizes, np.int64)
    ends, more = np.cumsum(sizes), sizes // _PIECE
    # The first piece of a string is shorter, perhaps empty. All other pieces have the same size.
    first = ends - sizes
    row = np.repeat(np.arange(len(sizes)), more)
    number = np.arange(len(row)) - np.repeat(np.cumsum(more) - more, more)
    begins = np.concatenate([first, (first + sizes % _PIECE)[row] + number * _PIECE])
    lengths = np.concatenate([sizes % _PIECE, np.full(len(row), _PIECE)])
    start = np.where(np.arange(len(begins)) < len(sizes), _ONES, np.uint32(0))
    pieces = _registers(data, begins, lengths, start)
    found, rest = pieces[: len(sizes)], pieces[len(sizes) :]
    before = np.cumsum(more) - more
    for turn in range(int(more.max(initial=0))):
        rows = np.flatnonzero(more > turn)
        found[rows] = _looked_up(_over_a_piece(), found[rows]) ^ rest[before[rows] + turn]
    return found ^ _ONES


def _registers(
    data: np.ndarray, begins: np.ndarray, lengths: np.ndarray, register: np.ndarray
) -> np.ndarray:
    """Returns the register after each piece of `data`, given the register before it."""
    tables, heads = _tables(), lengths % 8
    for place in range(7):
        rows = np.flatnonzero(heads > place)
        low = (register[rows] ^ data[begins[rows] + place]) & np.uint32(255)
        register[rows] = tables[0].take(low) ^ (register[rows] >> np.uint32(8))
    # Process eight bytes of all pieces at a time. The longest pieces come first.
    order = np.argsort(-(lengths // 8), kind="stable")
    begins, counts, register = (begins + heads)[order], (lengths // 8)[order], register[order]
    words = np.ndarray(max(len(data) - 7, 0), "<u8", np.ascontiguousarray(data), strides=(1,))
    for step in range(int(counts.max(initial=0))):
        active = np.searchsorted(-counts, -step)
        word = words[begins[:active] + 8 * step] ^ register[:active]
        register[:active] = _looked_up(tables[::-1], word)
    result = np.empty_like(register)
    result[order] = register
    return result


def _looked_up(tables: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Returns the XOR of the table entries for the bytes of each value, lowest first, uint32."""
    places = values.astype(values.dtype.newbyteorder("<")).view(np.uint8).reshape(len(values), -1)
    found = tables[0].take(places[:, 0])
    for number in range(1, len(tables)):
        found ^= tables[number].take(places[:, number])
    return found


@functools.cache
def _tables() -> np.ndarray:
    """Returns the registers after each byte and 0 to 7 zero bytes that follow, uint32 [8, 256]."""
    one = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        one = np.where(one & np.uint32(1), one >> np.uint32(1) ^ _POLYNOMIAL, one >> np.uint32(1))
    tables = [one]
    for _ in range(7):
        tables.append(_after_zero(tables[-1], one))
    return np.stack(tables)


@functools.cache
def _over_a_piece() -> np.ndarray:
    """Returns what each byte of a register becomes after a piece of zeros, uint32 [4, 256]."""
    moved = np.uint32(1) << np.arange(32, dtype=np.uint32)
    for _ in range(_PIECE):
        moved = _after_zero(moved, _tables()[0])
    bits = np.arange(256)[:, np.newaxis] >> np.arange(8) & 1
    bytes_of = np.where(bits[np.newaxis], moved.reshape(4, 1, 8), np.uint32(0))
    return np.bitwise_xor.reduce(bytes_of, axis=2)


def _after_zero(register: np.ndarray, table: np.ndarray) -> np.ndarray:
    return table[register & np.uint32(255)] ^ (register >> np.uint32(8))


def _masked(checksum: np.ndarray) -> np.ndarray:
    """Returns the checksums as TFRecord files store them, uint8 [U, 4]."""
    rotated = (checksum >> np.uint32(15) | checksum << np.uint32(17)) + _MASK
    return np.ascontiguousarray(rotated, "<u4").view(np.uint8).reshape(-1, 4)
