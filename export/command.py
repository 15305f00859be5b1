"""Exports a finished run: `python -m export RUN --to servables/NAME`."""

import argparse
import dataclasses
import sys
import tempfile
from pathlib import Path

import numpy as np
import yaml

from tfrec_attn import config as configuration
from tfrec_attn import models
from tfrec_attn.cli.arguments import Arguments, path
from tfrec_attn.data.sequences.trained_rows import missing_text
from tfrec_attn.runs import run
from tfrec_attn.runtime.process import import_tensorflow, set_precision

from .options import Options
from .separator import check_separator
from .shared_config import without_paths

_MEASURED = 1000


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns 0, or 2 for a run or options that cannot be exported, 130 when
    interrupted.
    """
    parser = Arguments(
        prog=f"python -m {__package__}",
        description="Makes a run a SavedModel that TF Serving serves.",
    )
    default = Options()
    parser.add_argument("run", type=path, help="folder that tfrec_attn.train has written")
    parser.add_argument(
        "--to",
        type=path,
        required=True,
        metavar="FOLDER",
        help="folder of the versions, named as the model is served",
    )
    parser.add_argument("--version", type=int, help="number of the version (default: the next)")
    parser.add_argument(
        "--keep",
        type=int,
        metavar="N",
        help="remove the lowest versions beyond this many (default: none)",
    )
    parser.add_argument(
        "--k", type=int, default=default.k, help=f"items of serving_default (default: {default.k})"
    )
    parser.add_argument(
        "--max-k",
        type=int,
        default=default.max_k,
        help=f"most items of recommend (default: {default.max_k})",
    )
    parser.add_argument(
        "--keep-seen",
        action=argparse.BooleanOptionalAction,
        help="recommend items of the history too (default: as the run was evaluated)",
    )
    parser.add_argument(
        "--separator",
        default=default.separator,
        metavar="CHARACTER",
        help="joins the ids of a row of text; in no id (default: the tab)",
    )
    parser.add_argument(
        "--index",
        choices=("exact", "ivf"),
        default=default.index,
        help="rank all items, or those of some cells",
    )
    parser.add_argument(
        "--cells",
        type=int,
        help="cells of the index (default: 4 times the root of the number of items)",
    )
    parser.add_argument(
        "--nprobe",
        type=int,
        help="cells a request (default: the fewest that find 0.96 of the best ten)",
    )
    parser.add_argument(
        "--int8", action="store_true", help="find the candidates of the index with vectors of int8"
    )
    parsed = vars(parser.parse_args(arguments))
    try:
        export(parsed.pop("run"), parsed.pop("to"), **parsed)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: nothing was written\n")
        return 130
    except Exception as error:
        # TfrecError, or ServableError, whose module would load TensorFlow.
        if not hasattr(error, "exit_code"):
            raise
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


def export(run_folder: str | Path, to: str | Path, **options) -> Path:
    """Writes a version of a servable, which appears under its number when it is complete, and
    prints what it is.

    Args:
      run_folder: a finished run.
      to: folder of the versions; its name is that of the model in TF Serving.
      options: those of `Options`.

    Returns: the folder of the version: a SavedModel with, in assets.extra, warm-up requests, a
    model card and the configuration.

    Errors: ConfigError, DataError and ServableError when the run, the options or the folder cannot
    be used. None leaves anything.
    """
    run_folder, to, options = Path(run_folder), Path(to), Options(**options)
    config = run.load_config(run_folder)
    models.parameters(config.model.name)
    if options.keep_seen is None:
        options = dataclasses.replace(options, keep_seen=config.evaluate.repeats == "include")
    counts = run.load_item_counts(run_folder)
    options.cells_of(len(counts))
    check_separator(options.separator, run.load_vocabularies(run_folder)[1].ids())
    import_tensorflow()
    from .saved_model import next_version, publish

    version = options.version or next_version(to)
    folder = publish(
        to,
        version,
        lambda partial: _write(partial, run_folder, to.resolve().name, version, counts, options),
        options.keep,
        _say,
    )
    _say(f"\nWrote {folder}: {_megabytes(folder):,.1f} MB.")
    return folder


def _write(
    folder: Path, run_folder: Path, name: str, version: int, counts: np.ndarray, options: Options
) -> None:
    """Fills the folder of a version."""
    from .model_card import write_card
    from .saved_model import save
    from .servable import Servable
    from .warmup import write_warmup

    set_precision("float32")
    model, index, facts = run.load_model(run_folder), None, None
    serving = {name: getattr(options, name) for name in ("k", "max_k", "keep_seen", "separator")}
    if options.index == "ivf":
        from .index_building import build_index
        from .replay import read_events

        cells, events = (
            options.cells_of(len(counts)),
            read_events(run_folder, "valid").head(_MEASURED),
        )
        _say(f"Putting {len(counts):,} items in {cells:,} cells ...")
        indexed, order, index, facts = build_index(
            model, events, cells=cells, nprobe=options.nprobe, int8=options.int8
        )
        save(Servable(indexed, counts[order], **serving, index=index), folder)
        facts |= _measured(folder, Servable(model, counts, **serving), run_folder, options)
    else:
        save(Servable(model, counts, **serving), folder)
    (folder / "assets.extra").mkdir()
    config = without_paths(configuration.to_dict(run.load_config(run_folder)))
    (folder / "assets.extra" / run.CONFIG).write_text(
        yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8"
    )
    write_warmup(folder, name=name, max_length=model.max_length, max_k=options.max_k)
    missing = run.load_trained_rows(run_folder).missing()
    if any(missing.values()):
        _say(missing_text(missing))
    facts = {"max_length": model.max_length, **serving, "index": facts}
    card = write_card(folder, run_folder, name=name, version=version, facts=facts)
    _say(_signatures(card["signatures"]))


def _measured(folder: Path, exact, run_folder: Path, options: Options) -> dict[str, float]:
    """Recall and latency of the index, which it prints, beside those of the exact search."""
    from .index_building import K
    from .index_measuring import measure_index
    from .replay import read_events
    from .saved_model import save

    events = read_events(run_folder, "test").head(_MEASURED)
    with tempfile.TemporaryDirectory() as other:
        save(exact, Path(other))
        result = measure_index(Path(other), folder, events, min(K, options.max_k))
    _say(
        f"Against the exact search, over {len(events):,} test histories: "
        + ", ".join(f"{key} {value}" for key, value in result.items())
    )
    return result


def _signatures(signatures: dict) -> str:
    def listed(tensors):
        shapes = {
            name: ", ".join(
                ["B", *("?" if size is None else str(size) for size in one["shape"][1:])]
            )
            for name, one in tensors.items()
        }
        return ", ".join(f"{name} {one['dtype']} [{shapes[name]}]" for name, one in tensors.items())

    return "\n".join(
        f"{name}: {listed(one['inputs'])}\n    -> {listed(one['outputs'])}"
        for name, one in signatures.items()
    )


def _megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
