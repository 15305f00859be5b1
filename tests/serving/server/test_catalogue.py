"""The search in the catalogue, against what a reader of the rules expects."""

import json

import pytest

from serving.protocol.statuses import StatusError
from serving.server.catalogue import MAX_TEXT, MOST_FOUND, Catalogue, plain, read_catalogue

IDS = ["7", "17", "i3", "70", "x-7-y", "e"]
TITLES = ["Seven", "Star Wars", "The Wars of Stars", "Café Müller", "", "Starship 7"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        # The id itself, ids that begin with it, and then words that begin with it.
        ("7", ["7", "70", "e", "17", "x-7-y"]),
        ("star", ["17", "e", "i3"]),
        ("  WARS   star ", ["17", "i3"]),
        ("star wars", ["17", "i3"]),
        ("cafe MULLER", ["70"]),
        ("CAFÉ", ["70"]),
        ("ars", ["17", "i3", "e"]),
        ("(star|wars)", []),
        ("zebra", []),
        ("", []),
        (" \t", []),
    ],
)
def test_which_items_are_found(text, found):
    result = Catalogue(IDS, TITLES).search(text)
    assert result.total == len(found)
    assert result.items == [(one, TITLES[IDS.index(one)]) for one in found]


def test_the_first_items_and_the_number_of_all():
    ids = [f"i{number}" for number in range(1000)]
    result = Catalogue(ids, [""] * 1000).search("9")
    expected = [one for one in ids if "9" in one]
    assert result.total == len(expected) == 271 and len(result.items) == MOST_FOUND
    assert result.items == [(one, "") for one in expected[:MOST_FOUND]]


def test_a_text_that_is_too_long():
    catalogue = Catalogue(IDS, TITLES)
    assert catalogue.search("7 " * (MAX_TEXT // 2)).total == 5
    with pytest.raises(StatusError, match=r"'text' must have at most 200 characters, but has 201;"):
        catalogue.search("a" * (MAX_TEXT + 1))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("  A  b\n", "a b"), ("Ünïcode ß", "unicode ss"), ("日本 語", "日本 語"), ("ﬁ", "fi")],
)
def test_plain_texts(text, expected):
    assert plain(text) == expected


def write(folder, items, descriptions=None):
    (folder / "assets").mkdir()
    (folder / "assets" / "items.txt").write_bytes(items)
    if descriptions is not None:
        (folder / "assets" / "descriptions.jsonl").write_bytes(descriptions)
    return folder


def test_the_assets_of_a_version(tmp_path):
    rows = [{"title": "Tea & Café"}, {}, {"category": "x", "title": None}]
    lines = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows).encode()
    catalogue = read_catalogue(write(tmp_path, "a\nb\u2028c\nd\n".encode(), lines))
    assert len(catalogue) == 3
    assert catalogue.search("cafe").items == [("a", "Tea & Café")]
    assert catalogue.search("b").items == [("b\u2028c", "")]


@pytest.mark.parametrize(
    ("items", "descriptions"),
    [
        (b"\xff\n", None),
        (b"a\nb\n", b"{}\n"),
        (b"a\n", b"[]\n"),
        (b"a\n", b"{\n"),
        (b"a\n", b"[" * 100_000),
    ],
    ids=["encoding", "fewer", "list", "json", "deep"],
)
def test_damaged_assets(tmp_path, items, descriptions):
    with pytest.raises(StatusError, match=r"cannot be read \(.*\); export it again\.$"):
        read_catalogue(write(tmp_path, items, descriptions))


def test_assets_that_were_changed(tmp_path):
    folder = write(tmp_path, b"a\n")
    (folder / "assets.extra").mkdir()
    (folder / "assets.extra" / "SHA256SUMS").write_text(f"{'0' * 64}  assets/items.txt\n")
    with pytest.raises(StatusError, match=r"\(assets/items\.txt is not what was written\); export"):
        read_catalogue(folder)


def test_a_version_without_a_file_of_its_items(tmp_path):
    with pytest.raises(StatusError, match=r"^This model has no file of its items to search in;"):
        read_catalogue(tmp_path)
