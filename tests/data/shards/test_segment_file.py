"""Files of segments: each part gets its rows back, in their order."""

import numpy as np
import polars as pl
import pytest

from tfrec_attn.data.shards.segment_file import read_part, segment_file
from tfrec_attn.runtime.beam_runner import HOW_TO_GET_IT

pytest.importorskip("apache_beam", reason=HOW_TO_GET_IT)


def write(path, *rounds):
    with segment_file(str(path), 4) as out:
        for values in rounds:
            frame = pl.DataFrame({"value": values})
            out.add(frame, np.array(values) % 4)
    return out.sizes


def test_the_rows_of_a_part_of_several_files(tmp_path):
    sizes = write(tmp_path / "new" / "0", [5, 3, 1, 9], [2, 13])
    write(tmp_path / "new" / "1", [7, 17])
    assert (sizes > 0).tolist() == [False, True, True, True]
    paths = [str(tmp_path / "new" / name) for name in "01"]
    found = {part: read_part(paths, part)["value"].to_list() for part in (1, 2, 3)}
    assert found == {1: [5, 1, 9, 13, 17], 2: [2], 3: [3, 7]}
    assert sorted(one.name for one in (tmp_path / "new").iterdir()) == [
        "0",
        "0.index",
        "1",
        "1.index",
    ]


def test_a_file_of_no_rows(tmp_path):
    write(tmp_path / "0")
    write(tmp_path / "1", [4])
    assert read_part([str(tmp_path / name) for name in "01"], 0)["value"].to_list() == [4]


def test_an_error_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), segment_file(str(tmp_path / "0"), 2) as out:
        out.add(pl.DataFrame({"value": [1]}), np.zeros(1, np.int64))
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_what_another_worker_has_written_stays(tmp_path):
    write(tmp_path / "0", [1, 2])
    before = (tmp_path / "0").stat().st_mtime_ns
    write(tmp_path / "0", [1, 2])
    assert (tmp_path / "0").stat().st_mtime_ns == before and len(list(tmp_path.iterdir())) == 2
