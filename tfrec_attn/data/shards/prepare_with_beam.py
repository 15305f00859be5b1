"""Prepares logs with Apache Beam."""

from collections.abc import Sequence
from pathlib import Path

from tfrec_attn.config import Data
from tfrec_attn.data.sequences.splits import require_bounds
from tfrec_attn.data.shards import beam_files
from tfrec_attn.data.shards.manifest import VERSION, Manifest, PartitionedLog
from tfrec_attn.data.shards.preparation_folder import check_target, claimed, complete
from tfrec_attn.data.shards.prepared_log import ITEMS, OPTIONS, REJECTED, USERS, option
from tfrec_attn.data.shards.shard_files import shard_name
from tfrec_attn.runtime.beam_runner import Engine, require_beam


def prepare_with_beam(
    logs: Sequence[str],
    to: str | Path,
    data: Data,
    shards: int | None = None,
    work: str | None = None,
    beam_options: Sequence[str] = (),
    *,
    restart: bool = False,
) -> Manifest:
    """Prepares logs into a folder, which gets its name only when it is complete.

    Args:
        logs: Files, folders of parts or patterns, in order, local or in one of Beam's file systems.
        to: The folder, which must not exist.
        data: Section `data` of a configuration. Only its keys in `OPTIONS` are used.
        shards: As for `prepare_log`.
        work: Folder that the workers share. A new folder is created in it and removed at the end.
            None (default): `to`.partial/beam, for workers on this machine.
        beam_options: Options of the pipelines, such as `["--runner=DirectRunner"]`. Default: none.
        restart: As for `prepare_log`.

    Raises:
        ConfigError: If Beam is not installed, if `to` exists, or if the engine does not answer.
        DataError: As for `prepare_log`, or if a pipeline fails.
    """
    require_bounds(data.split, valid_from=data.valid_from, test_from=data.test_from)
    require_beam()
    from tfrec_attn.data.shards.beam_pipelines import BeamPipelines

    found = beam_files.parts_of_logs(logs)
    target = Path(to)
    check_target(target, restart)
    options = {key: option(data, key) for key in OPTIONS}
    request = {"version": VERSION, "logs": list(logs), "options": options, "shards": shards}
    with claimed(target, {**request, "runner": "beam"}, restart) as claim:
        try:
            with (
                beam_files.working_folder(work or str(claim.folder / "beam")) as shared,
                Engine(beam_options) as engine,
            ):
                partitioned = BeamPipelines(data, shared, engine).run(found, shards)
                _fetch(shared, claim.folder, partitioned)
            return complete(claim, target, partitioned)
        except BaseException:
            # Work with Beam cannot be resumed.
            claim.abandon()
            raise


def _fetch(shared: str, partial: Path, log: PartitionedLog) -> None:
    """Copies vocabularies, shards and rejected lines into the folder of unfinished work."""
    names = [shard_name(number, log.shards) for number in range(log.shards)]
    for name in (USERS, ITEMS, *names):
        beam_files.copy(f"{shared}/{name}", partial / name)
    rejected = list(beam_files.read_lines(f"{shared}/rejected-*.tsv"))
    if rejected:
        header = rejected[0]
        lines = [header, *(line for line in rejected if line != header)]
        text = "".join(f"{line}\n" for line in lines)
        (partial / REJECTED).write_text(text, encoding="utf-8", newline="\n")
