"""A file that is written in parts."""

import polars as pl
import pytest

from tfrec_attn.errors import ConfigError
from tfrec_attn.lists.output_format import LIST_FORMATS
from tfrec_attn.lists.partial_output import partial_output


def test_parts_that_are_lost_or_damaged(tmp_path):
    target, folder = tmp_path / "l.csv", tmp_path / "l.csv.partial"

    def begun():
        return partial_output(target, LIST_FORMATS[".csv"], {"k": 1})

    with begun() as output:
        for number in range(2):
            output.add(pl.DataFrame({"a": [number]}), users=1)
    with begun() as output:
        assert (output.parts, output.totals) == (2, {"users": 2})
    # Without a part, all are written again.
    (folder / "part-000000").unlink()
    with begun() as output:
        assert (output.parts, output.totals) == (0, {})
        output.add(pl.DataFrame({"a": [7]}), users=1)
    (folder / "request.json").write_text("[]")
    message = r"request.json cannot be read, so that the lists"
    with pytest.raises(ConfigError, match=message), begun():
        pass
    (folder / "request.json").write_text('{"k": 1}')
    with begun() as output:
        output.finish()
    assert target.read_text() == "a\n7\n" and not folder.exists()
