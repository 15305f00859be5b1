"""The command that exports a finished run: `python -m tfrec_attn.export`."""

import dataclasses
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import yaml

from tfrec_attn import config as configuration
from tfrec_attn import models
from tfrec_attn.cli.arguments import Arguments, path
from tfrec_attn.cli.terminal import reporting, write_line
from tfrec_attn.data.sequences.trained_rows import missing_text
from tfrec_attn.replay.measured_run import read_events
from tfrec_attn.runs import run
from tfrec_attn.runs.items import described, load_items
from tfrec_attn.runtime.process import import_tensorflow, set_precision

from .options import Options
from .portable.formats import SAVED_MODEL, check_packages, check_versions

_MEASURED = 1000


@reporting(interrupted="nothing was written")
def main(arguments: list[str] | None = None) -> int:
    """Runs the command.

    Returns:
        Exit status: 0, or 2 if the run or the options cannot be used, or 130 when interrupted.
    """
    parsed = vars(_parser().parse_args(arguments))
    export(parsed.pop("run"), parsed.pop("to"), **parsed)
    return 0


def _parser() -> Arguments:
    parser = Arguments(
        prog=f"python -m {__package__}",
        description="Makes a run a SavedModel that TF Serving serves.",
    )
    parser.add_argument("run", type=path, help="folder that tfrec_attn.train has written")
    parser.add_argument(
        "--to",
        type=path,
        required=True,
        metavar="FOLDER",
        help="folder of the versions, named as the model is served",
    )
    for option in dataclasses.fields(Options):
        name = option.name.replace("_", "-")
        parser.add_argument(f"--{name}", **{"default": option.default, **option.metadata})
    return parser


def export(run_folder: str | Path, to: str | Path, **options) -> Path:
    """Writes a version of a servable, which appears under its number when it is complete.

    Prints the names of its signatures and its size.

    Args:
        run_folder: A finished run.
        to: Folder of the versions. Its name is the name of the model in TF Serving.
        **options: Fields of `Options`.

    Returns:
        The folder of the version. It holds a SavedModel and, in assets.extra, warm-up requests, a
        model card and the configuration of the run; or the files of `write_portable`.

    Raises:
        ConfigError: If the run, the options or the folder cannot be used. Then no files are left.
        DataError: If data of the run or the new items cannot be read. Then no files are left.
    """
    run_folder, to, options = Path(run_folder), Path(to), Options(**options)
    config = run.load_config(run_folder)
    models.parameters(config.model.name)
    if options.keep_seen is None:
        options = dataclasses.replace(options, keep_seen=config.evaluate.repeats == "include")
    counts = run.load_item_counts(run_folder)
    options.cells_of(len(counts))
    check_packages(options.format)
    check_versions(to, options.format)
    import_tensorflow()
    from .saved_model import next_version, publish
    from .vocabulary import check_separator

    check_separator(options.separator, run.load_vocabularies(run_folder)[1].ids())
    version = options.version or next_version(to)
    write = _write if options.format == SAVED_MODEL else _write_portable
    folder = publish(
        to,
        version,
        lambda partial: write(partial, run_folder, to.resolve().name, version, counts, options),
        options.keep,
        write_line,
        options.protect,
    )
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    write_line(f"\nWrote {folder}: {size / 1e6:,.1f} MB.")
    return folder


def _write(
    folder: Path, run_folder: Path, name: str, version: int, counts: np.ndarray, options: Options
) -> None:
    """Writes the SavedModel of a version, its warm-up requests and its model card."""
    from .item_addition import check_added_items
    from .model_card import without_paths, write_card
    from .warmup import write_warmup

    known, model, counts, new = _load(run_folder, counts, options)
    lists = {name: getattr(options, name) for name in ("k", "max_k", "keep_seen", "separator")}
    about = {"items": _about(run_folder, new), "diverse": options.diverse}
    search = _save(folder, run_folder, model, counts, {**lists, **about}, options)
    (folder / "assets.extra").mkdir()
    config = without_paths(configuration.to_dict(run.load_config(run_folder)))
    (folder / "assets.extra" / run.CONFIG).write_text(
        yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8"
    )
    write_warmup(folder, name=name, max_length=model.max_length, max_k=options.max_k)
    serving = {"max_length": model.max_length, **lists, **search, "points": _points(model)}
    if new is not None:
        serving["added_items"] = new.ids
    card = write_card(folder, run_folder, name=name, version=version, serving=serving)
    write_line(_names(card["signatures"]))
    if new is not None:
        check_added_items(folder, known, read_events(run_folder), new.ids, serving)


def _points(model) -> list[int]:
    """Columns of the item vectors that are its point, which `tfrec_attn.recommend` reads."""
    from tfrec_attn.models.base.similarity import item_space

    model = model.for_serving()
    return np.flatnonzero(item_space(model, model.item_vectors().shape[1]).points).tolist()


def _write_portable(
    folder: Path, run_folder: Path, name: str, version: int, counts: np.ndarray, options: Options
) -> None:
    """Writes the files of a version in ONNX or LiteRT."""
    from .portable.portable_folder import write_portable

    _, model, counts, _ = _load(run_folder, counts, options)
    events = read_events(run_folder, "valid").head(_MEASURED)
    about = {
        "format": options.format,
        "name": name,
        "version": version,
        "model": run.load_config(run_folder).model.name,
        "keep_seen": options.keep_seen,
    }
    histories = list(zip(events["user_id"], events["history"].to_list(), strict=True))
    write_line(write_portable(folder, model, counts, histories, about))


def _load(run_folder: Path, counts: np.ndarray, options: Options) -> tuple:
    """(the run's model, this model with the new items, counts of all items, new items or None)."""
    from .item_addition import add_items

    set_precision("float32")
    known = model = run.load_model(run_folder)
    new = _new_items(run_folder, options)
    if new is not None:
        counts = np.append(counts, np.zeros(len(new.ids), int))
        model = add_items(known, new)
    missing = run.load_trained_rows(run_folder).missing()
    if any(missing.values()):
        write_line(missing_text(missing))
    return known, model, counts, new


def _about(run_folder: Path, new) -> list[tuple[str, str]] | None:
    """(JSON, category) of each item, "" for new items; None if the run has no items file."""
    frame = load_items(run_folder)
    if frame is None:
        return None
    return described(frame) + [("", "")] * (0 if new is None else len(new.ids))


def _save(
    folder: Path, run_folder: Path, model, counts: np.ndarray, how: dict, options: Options
) -> dict[str, dict | None]:
    """Writes the SavedModel and describes its "index" and "matrix": None where it is exact."""
    from .index_building import build_index
    from .saved_model import save
    from .servable import Servable

    exact = Servable(model, counts, **how)
    if options.matrix != Options.matrix:
        save(Servable(model, counts, **how, matrix=options.matrix), folder)
        measured = _measured(folder, exact, run_folder, options.max_k)
        return {"index": None, "matrix": {"kind": options.matrix, **measured}}
    if options.index == Options.index:
        save(exact, folder)
        return {"index": None, "matrix": None}
    cells = options.cells_of(len(counts))
    write_line(f"Putting {len(counts):,} items in {cells:,} cells ...")
    events = read_events(run_folder, "valid").head(_MEASURED)
    indexed, order, inverted_file, index = build_index(
        model, events, cells=cells, nprobe=options.nprobe, int8=options.int8
    )
    if how["items"]:
        how = {**how, "items": [how["items"][place] for place in order]}
    save(Servable(indexed, counts[order], **how, index=inverted_file), folder)
    measured = _measured(folder, exact, run_folder, options.max_k)
    if measured["p50_ms"] >= measured["exact_p50_ms"]:
        write_line("The index is not faster for this catalogue: without --index, lists are exact.")
    return {"index": index | measured, "matrix": None}


def _new_items(run_folder: Path, options: Options):
    """Reads and prints the items of `--add-items`; None without this option."""
    if options.add_items is None:
        return None
    from .new_items import read_new_items
    from .vocabulary import check_separator

    new = read_new_items(options.add_items, run_folder)
    check_separator(options.separator, new.ids)
    write_line(str(new))
    return new


def _measured(folder: Path, exact, run_folder: Path, max_k: int) -> dict[str, float]:
    """Measures and prints recall and latency, compared with the exact search."""
    from .index_building import K, measure_index
    from .saved_model import save

    events = read_events(run_folder, "test").head(_MEASURED)
    with tempfile.TemporaryDirectory() as other:
        save(exact, Path(other))
        result = measure_index(Path(other), folder, events, min(K, max_k))
    (recall, share), (_, median), (_, exact_median) = result.items()
    write_line(
        f"Beside the exact float32 search, over {len(events):,} test histories: {recall} {share}, "
        f"median request {median} ms, exact {exact_median} ms."
    )
    return result


def _names(signatures: Iterable[str]) -> str:
    joined = {name for name in signatures if name.endswith("_joined")}
    return (
        f"Signatures: {', '.join(sorted({*signatures} - joined))}.\n"
        f"Joined signatures: {', '.join(sorted(joined))}.\n"
        "The model card, assets.extra/README.md, has their inputs and outputs."
    )
