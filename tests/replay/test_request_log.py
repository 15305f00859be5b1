"""Logs of requests."""

from pathlib import Path

from tfrec_attn.replay.request_log import requests_of


def test_a_byte_order_mark_is_ignored():
    lines = [b'\xef\xbb\xbf{"user_id": "u", "history": ["a"]}\n', b"\n", b'{"history": []}\n']
    assert list(requests_of(Path("log.jsonl"), lines)) == [("u", ["a"]), ("", [])]
