"""The pipelines on Flink, Spark and Prism write the same bytes as on one machine.

`make engines` fetches the engines into .engines; without one, its tests are skipped. The workers
are threads of this process (LOOPBACK) or processes of a pool (EXTERNAL).
"""

import warnings
from pathlib import Path

import pytest

from benchmarks._workers import ENGINES, RUNNERS, worker_pool
from tests.commands import assert_refused, run_command
from tests.lists.test_write_lists import write_histories
from tfrec_attn import recommend
from tfrec_attn.config import Columns, Data
from tfrec_attn.data import pipeline
from tfrec_attn.data.shards.prepare_locally import prepare_log
from tfrec_attn.data.shards.prepare_with_beam import prepare_with_beam
from tfrec_attn.runtime.beam_runner import HOW_TO_GET_IT

pytestmark = pytest.mark.filterwarnings("ignore")
LOOPBACK = ["--environment_type=LOOPBACK", "--parallelism=2"]


@pytest.fixture(scope="module", autouse=True)
def beam():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield pytest.importorskip("apache_beam", reason=HOW_TO_GET_IT)


def engines():
    """The engines; the tests of those that are not there are skipped."""
    for name, options in RUNNERS.items():
        file = Path(options[1].partition("=")[2])
        reason = f"there is no {file.relative_to(ENGINES.parent)}: run make engines"
        yield pytest.param(name, marks=pytest.mark.skipif(not file.exists(), reason=reason))


@pytest.fixture(params=engines())
def runner(request):
    """The options of an engine."""
    return RUNNERS[request.param]


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """Two logs of 300 events of 11 users with 23 items, with types."""
    folder = tmp_path_factory.mktemp("logs")
    for part in range(2):
        rows = "".join(
            f"u{row * row % 11}\ti{row // 2 % 23}\t{1_600_000_000 + 40 * (row // 2)}\t"
            f"{('view', 'buy', 'swipe')[row % 3]}\n"
            for row in range(part * 300, part * 300 + 300)
        )
        header = "user_id\titem_id\ttimestamp\tkind\n"
        (folder / f"{part}.tsv").write_text(header + rows, encoding="utf-8")
    return [str(folder / f"{part}.tsv") for part in range(2)]


OPTIONS = Data(
    columns=Columns(event="kind"),
    event_weights={"view": 1.0, "buy": 2.0, "swipe": 0.0},
    duplicates="drop",
    session_gap=900.0,
    repeats="collapse",
    min_user_events=3,
    min_item_events=3,
    split="temporal",
    valid_from=0.6,
    test_from=0.8,
)


def contents(folder):
    return {entry.name: entry.read_bytes() for entry in Path(folder).iterdir()}


@pytest.fixture(scope="module")
def prepared(logs, tmp_path_factory):
    """What one machine writes."""
    folder = tmp_path_factory.mktemp("local") / "out"
    prepare_log(logs, folder, OPTIONS, shards=3)
    return contents(folder)


def test_a_log_is_prepared_with_the_same_bytes(runner, logs, prepared, tmp_path):
    prepare_with_beam(logs, tmp_path / "out", OPTIONS, 3, beam_options=[*runner, *LOOPBACK])
    assert contents(tmp_path / "out") == prepared
    assert [one.name for one in tmp_path.iterdir()] == ["out"]


def test_lists_are_the_same(runner, exported, tmp_path):
    histories = {f"u{one}": [f"i{one}", "?", f"i{one * 3 % 19}"] for one in range(19)}
    file = write_histories(tmp_path / "h.jsonl", histories)
    command = [exported("sasrec")[1], "--histories", file, "--k", 5, "--to"]
    assert run_command(recommend.main, *command, tmp_path / "here.jsonl")[0] == 0
    options = [*runner, *LOOPBACK]
    assert run_command(recommend.main, *command, tmp_path / "there.jsonl", *options)[0] == 0
    files = [(tmp_path / f"{name}.jsonl").read_bytes() for name in ("here", "there")]
    assert files[0] == files[1]


IN_A_WORKER = {
    "dies": (
        "import os\nfrom tfrec_attn.data.shards import beam_transforms\n"
        "beam_transforms.write_item_sizes = lambda *_: os._exit(9)\n",
        "a worker ended in the middle, or lost its connection",
    ),
    "has another version": (
        "import tfrec_attn\ntfrec_attn.__version__ = '0.0.1'\n",
        "the workers have tfrec-attn 0.0.1, but this process has",
    ),
    "has a full disk": (
        "from tfrec_attn.data.shards import beam_files\n"
        "def full(*_):\n    raise OSError(28, 'No space left on device')\n"
        "beam_files.write_bytes = full\n",
        "a worker has no space left on its disk",
    ),
}


@pytest.mark.parametrize("what", IN_A_WORKER)
def test_a_worker_process_that(runner, logs, tmp_path, what):
    """The command ends with one sentence, and leaves nothing."""
    change, sentence = IN_A_WORKER[what]
    if "PrismRunner" not in runner[0] and what != "dies":
        pytest.skip("a worker raises the same error on each engine: Prism, the quickest, runs it")
    for name in ("work", "site"):
        (tmp_path / name).mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(change, encoding="utf-8")
    with worker_pool(tmp_path / "site") as (_, port):
        environment = ["--environment_type=EXTERNAL", f"--environment_config=localhost:{port}"]
        result = run_command(
            pipeline.main, "--input", *logs, "--to", tmp_path / "out", "--work", tmp_path / "work",
            *runner, *environment,
        )  # fmt: skip
    assert_refused(result, 2, sentence)
    assert {one.name for one in tmp_path.iterdir()} == {"site", "work"}
    assert not list((tmp_path / "work").iterdir())
