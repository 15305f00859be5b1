"""Logs by the name of their source, without network access."""

import dataclasses
import hashlib
import io
import urllib.error
import urllib.request
import zipfile

import pytest

from tfrec_attn.data.reading import catalog
from tfrec_attn.data.reading.synthetic import synthetic
from tfrec_attn.errors import ConfigError, DataError

ROWS = [("1", "20", 5), ("2", "10", 6)]


def packed(member="ml-100k/u.data", text="1\t20\t3\t5\n2\t10\t4\t6\n"):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("ml-100k/README", "about")
        archive.writestr(member, text)
    return buffer.getvalue()


class Answer(io.BytesIO):
    def __init__(self, content, url):
        super().__init__(content)
        self.geturl = lambda: url


@pytest.fixture
def web(monkeypatch, tmp_path):
    """Serves `content` as the web, with the checksum of a good archive and an empty cache."""
    state = {"content": packed(), "asked": [], "url": None}

    def urlopen(url, timeout):
        state["asked"].append((url, timeout))
        if isinstance(state["content"], Exception):
            raise state["content"]
        return Answer(state["content"], state["url"] or url)

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    monkeypatch.setenv("TFREC_CACHE", str(tmp_path / "cache"))
    known = catalog.ARCHIVES["movielens-100k"]
    checksum = hashlib.md5(packed(), usedforsecurity=False).hexdigest()
    monkeypatch.setitem(
        catalog.ARCHIVES, "movielens-100k", dataclasses.replace(known, md5=checksum)
    )
    return state


def refusal(*args, kind=DataError, **options):
    with pytest.raises(kind) as caught:
        catalog.load(*args, **options)
    return str(caught.value)


def test_synthetic():
    assert catalog.load("synthetic", events=1_000, seed=3).frame.equals(synthetic(1_000, 3))


def test_file(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("user_id,item_id,timestamp\n1,20,5\nbad\n")
    result = catalog.load("file", path=path, on_error="skip")
    assert (result.frame.rows(), result.rejected) == ([("1", "20", 5)], 1)


def test_downloads_once(web, tmp_path):
    for _ in range(2):
        assert catalog.load("movielens-100k").frame.rows() == ROWS
    assert web["asked"] == [("https://files.grouplens.org/datasets/movielens/ml-100k.zip", 30)]
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["ml-100k.zip"]


@pytest.mark.parametrize("link", [False, True])
def test_another_file_of_the_name_stays(web, tmp_path, link):
    path = tmp_path / ("mine" if link else "cache/ml-100k.zip")
    (tmp_path / "cache").mkdir()
    path.write_bytes(b"half")
    if link:
        (tmp_path / "cache" / "ml-100k.zip").symlink_to(path)
    for _ in range(2):
        assert catalog.load("movielens-100k").frame.rows() == ROWS
    assert path.read_bytes() == b"half" and len(web["asked"]) == 1


def test_a_wrong_checksum_stores_nothing(web, tmp_path):
    web["content"] = b"moved"
    came = hashlib.md5(b"moved", usedforsecurity=False).hexdigest()
    message = refusal("movielens-100k")
    assert message.startswith(
        "https://files.grouplens.org/datasets/movielens/ml-100k.zip gave 5 bytes with MD5 "
        f"{came}, expected "
    )
    assert message.endswith(": try again, or give data.path.")
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("error", [urllib.error.URLError("no route"), TimeoutError("timed out")])
def test_no_network(web, tmp_path, error):
    web["content"] = error
    message = refusal("movielens-100k")
    assert message == (
        "https://files.grouplens.org/datasets/movielens/ml-100k.zip cannot be fetched into "
        f"{tmp_path / 'cache'} ({error}): "
        "fetch it yourself and give data.path."
    )
    assert list((tmp_path / "cache").iterdir()) == []


def test_never_over_plain_http(web, tmp_path):
    web["url"] = "http://files.grouplens.org/ml-100k.zip"
    assert "redirected to http://files.grouplens.org/ml-100k.zip, which is not https" in refusal(
        "movielens-100k"
    )
    assert list((tmp_path / "cache").iterdir()) == []


def test_own_copy(tmp_path):
    (tmp_path / "mine.zip").write_bytes(packed())
    (tmp_path / "u.data").write_text("1\t20\t3\t5\n2\t10\t4\t6\n")
    (tmp_path / "one.zip").write_bytes(packed("ml-1m/ratings.dat", "1::20::3::5\n2::10::4::6\n"))
    assert catalog.load("movielens-100k", path=tmp_path / "mine.zip").frame.rows() == ROWS
    assert catalog.load("movielens-100k", path=tmp_path / "u.data").frame.rows() == ROWS
    assert catalog.load("movielens-1m", path=tmp_path / "one.zip").frame.rows() == ROWS


def test_an_archive_member_with_a_parent_path_stays_inside(tmp_path):
    (tmp_path / "a.zip").write_bytes(packed("../../u.data"))
    assert catalog.load("movielens-100k", path=tmp_path / "a.zip").frame.rows() == ROWS
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_wrong_archives(tmp_path):
    path = tmp_path / "a.zip"
    assert refusal("movielens-100k", path=path).startswith(f"{path} cannot be read as a zip file (")
    path.write_bytes(b"no zip")
    assert (
        refusal("movielens-100k", path=path)
        == f"{path} cannot be read as a zip file (File is not a zip file)."
    )
    path.write_bytes(packed("other"))
    assert (
        refusal("movielens-100k", path=path)
        == f"{path} has no u.data in it: give the right archive in data.path."
    )
    path.write_bytes(packed(text="1\t20\t3\t5\n2\t10\n"))
    assert refusal("movielens-100k", path=path).startswith(
        f"{path}/ml-100k/u.data, line 2: expected 4 fields separated by tabs, got 2"
    )


def test_wrong_sources():
    choices = "synthetic, file, movielens-100k, movielens-100k-attrec, movielens-1m"
    assert refusal("movielens-10k", kind=ConfigError) == (
        f"data.source must be one of {choices}, or package.module:function, but is "
        "'movielens-10k' (did you mean 'movielens-100k'?)."
    )
    assert refusal("file", kind=ConfigError) == "data.source=file needs data.path."
    assert refusal("synthetic", kind=ConfigError, path="x") == (
        "data.source=synthetic reads no file: set data.source=file to read data.path=x."
    )


def histories(frame):
    """Items of each user in the order of time, lines of the same time in that of the frame."""
    ordered = frame.sort("timestamp", maintain_order=True)
    return {
        user: events["item_id"].to_list()
        for (user,), events in ordered.group_by("user_id", maintain_order=True)
    }


def test_the_order_of_the_authors_of_attrec(tmp_path):
    # The latest time of user 1 is 9, of which item 5 is the first line.
    events = "1 5 3 9", "1 4 3 9", "2 6 3 7", "1 7 3 9", "1 8 3 2", "2 6 3 8"
    path = tmp_path / "u.data"
    path.write_text("\n".join(events).replace(" ", "\t"))
    by_time = catalog.load("movielens-100k", path=path).frame
    frame = catalog.load("movielens-100k-attrec", path=path).frame
    assert sorted(frame.rows()) == sorted(by_time.rows())
    assert histories(by_time) == {"1": ["8", "5", "4", "7"], "2": ["6", "6"]}
    assert histories(frame) == {"1": ["8", "4", "7", "5"], "2": ["6", "6"]}


def test_the_authors_order_of_movielens(real_data):
    name = "interactions.tsv.gz"
    ours = catalog.load("movielens-100k-attrec", path=real_data / "ml-100k" / name).frame
    theirs = catalog.load("file", path=real_data / "ml-100k-attrec" / name).frame
    assert histories(ours) == histories(theirs)
