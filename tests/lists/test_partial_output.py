"""A file that is written in parts."""

import polars as pl
import pytest

from tfrec_attn.errors import ConfigError
from tfrec_attn.lists.output_format import list_format
from tfrec_attn.lists.partial_output import PartialOutput


def test_parts_that_are_lost_or_damaged(tmp_path):
    target, folder = tmp_path / "l.csv", tmp_path / "l.csv.partial"

    def begun():
        output = PartialOutput(target, list_format(target))
        try:
            output.begin({"k": 1})
        except ConfigError:
            output.leave()
            raise
        return output

    output = begun()
    for number in range(2):
        output.add(pl.DataFrame({"a": [number]}), users=1)
    output.leave()
    output = begun()
    assert (output.parts, output.totals) == (2, {"users": 2})
    output.leave()
    # Without a part, all are written again.
    (folder / "part-000000").unlink()
    output = begun()
    assert (output.parts, output.totals) == (0, {})
    output.add(pl.DataFrame({"a": [7]}), users=1)
    output.leave()
    (folder / "request.json").write_text("[]")
    with pytest.raises(ConfigError, match=r"request.json cannot be read, so that the lists"):
        begun()
    (folder / "request.json").write_text('{"k": 1}')
    output = begun()
    output.finish()
    output.leave()
    assert target.read_text() == "a\n7\n" and not folder.exists()
