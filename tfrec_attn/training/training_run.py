"""A whole training: from a configuration to a finished run directory."""

import contextlib
import dataclasses
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfrec_attn import config as configuration
from tfrec_attn import models
from tfrec_attn.cli.terminal import write_line
from tfrec_attn.config import Config, has_prior
from tfrec_attn.data.reading.catalog import is_function
from tfrec_attn.data.sequences.leakage import leak_report
from tfrec_attn.data.sequences.splits import item_counts, split_checksum
from tfrec_attn.data.sequences.trained_rows import TrainedRows, missing_text
from tfrec_attn.data.shards.prepared_log import is_folder
from tfrec_attn.errors import DataError, TrainingError, counted
from tfrec_attn.evaluation.list_metrics import list_metrics
from tfrec_attn.evaluation.protocol import protocol
from tfrec_attn.runs import run, run_files
from tfrec_attn.runs.items import load_item_table, save_items
from tfrec_attn.runs.partial_run import PartialRun
from tfrec_attn.runs.run_dir import check_run_dir, complete_run, open_run, taken_name_note
from tfrec_attn.runtime.cluster import Task, this_task
from tfrec_attn.runtime.distribution import (
    check_batch,
    cluster_errors,
    configure_devices,
    make_strategy,
)
from tfrec_attn.runtime.process import (
    environment,
    import_tensorflow,
    peak_memory_mb,
    seed_everything,
    set_precision,
)
from tfrec_attn.runtime.stop_signals import StopSignals, explain_rest
from tfrec_attn.training.cluster_start import wait_for_others
from tfrec_attn.training.result_text import describe_result
from tfrec_attn.training.settings import check_events, check_loss, check_tracker
from tfrec_attn.training.trackers import Tracking
from tfrec_attn.training.warm_start import PreviousRun, WarmStart, load_previous_run


def train(config: Config, *, restart: bool = False, notes: Sequence[str] = ()) -> Path | None:
    """Trains, evaluates and writes a run directory.

    The folder is `<run_dir>.partial` until the run is complete. An interrupted run with the same
    configuration and data is resumed from its last checkpoint. A complete run does not change.

    Args:
        config: A configuration of `tfrec_attn.config.load`.
        restart: Whether to start again: an unfinished run is removed, and a finished one is
            replaced when the new one is complete.
        notes: Lines to print first, by the chief of a cluster only.

    Returns:
        The run directory, or None for a process of a cluster that is not the chief.

    Raises:
        ConfigError: If the configuration cannot be used; nothing is written.
        DataError: If the log cannot be used; nothing is written.
        TrainingError: If the loss is not finite or the disk is full. A run with a checkpoint stays,
            and a run without one is removed.
        Interrupted: If a signal was received.
    """
    config, task = resolve(config), this_task(config.runtime.strategy)
    if task is None or task.is_chief:
        for line in notes:
            write_line(line)
        return _train(config, task, restart)
    import_tensorflow()
    with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):
        _train(config, task, restart)
    return None


def resolve(config: Config) -> Config:
    """Returns the configuration with all parameters of the model and with absolute paths."""
    name = config.model.name
    parameters, hints = models.parameters(name), models.hints(name)
    config = configuration.with_model_parameters(config, parameters, hints)
    data, train = config.data, config.train
    paths = {}
    if is_folder(data.source):
        paths["source"] = str(Path(data.source).resolve())
    if data.path is not None and not is_function(data.source):
        paths["path"] = str(Path(os.path.expanduser(data.path)).resolve())
    for key in ("items", "schema"):
        if getattr(data, key) is not None:
            paths[key] = str(Path(getattr(data, key)).resolve())
    if train.warm_start is not None:
        train = dataclasses.replace(train, warm_start=str(Path(train.warm_start).resolve()))
    return dataclasses.replace(config, data=dataclasses.replace(data, **paths), train=train)


def _train(config: Config, task: Task | None, restart: bool) -> Path:
    is_chief = task is None or task.is_chief
    with StopSignals() as stop, tempfile.TemporaryDirectory() as scratch:
        check_loss(config)
        check_tracker(config)
        check_events(config, config.data.session_gap, config.data.columns.timestamp)
        previous, rejected = load_previous_run(config), Path(scratch) / run_files.REJECTED
        if is_chief:
            check_run_dir(config, restart)
        with explain_rest(None, lambda: _rest(None, task), TrainingError):
            data = read_data(config, previous, rejected)
            items = config.data.items and load_item_table(
                config.data, data.sequences.item_vocabulary
            )
        complete = None if restart else complete_run(config, data.split)
        if complete is not None:
            write_line(
                f"{complete} is already complete, with this configuration and these events; "
                "to train it again, give --restart."
            )
            return complete
        if not is_chief:
            config = dataclasses.replace(config, run_dir=f"{scratch}/run")
        partial = open_run(config, data.split, restart)
        if note := taken_name_note(config, partial.target):
            write_line(note)
        try:
            with (
                explain_rest(partial.folder, lambda: _rest(partial, task), TrainingError),
                Tracking(config, is_chief) as tracking,
            ):
                if rejected.exists():
                    shutil.copyfile(rejected, partial.folder / run_files.REJECTED)
                if items:
                    save_items(partial.folder, items.frame)
                    write_line(str(items))
                _train_into(partial.folder, config, data, task, previous, stop, tracking)
                partial.finish()
        except BaseException:
            partial.leave()
            raise
        names = sorted(entry.name for entry in partial.target.iterdir())
        write_line(f"\nWrote {partial.target}: {', '.join(names)}")
    return partial.target


def read_data(config: Config, previous: PreviousRun | None, rejected: Path) -> run.PreparedData:
    """Reads, filters and splits the log of a configuration.

    Args:
        config: The configuration.
        previous: The run of a warm start, or None.
        rejected: File for bad lines if data.on_error is skip.

    Raises:
        ConfigError: As for `run.prepare_data`.
        DataError: As for `run.prepare_data`, or if a file cannot be read.
    """
    known = previous and previous.vocabularies
    try:
        data = run.prepare_data(config, rejected=rejected, known=known, schema=True)
    except OSError as error:
        file, reason = error.filename or rejected, error.strerror or error
        raise DataError(f"{file} cannot be used: {reason}.") from None
    if data.split.prepared is not None:
        options = data.split.prepared.manifest.options
        timestamp = options.get("columns", {}).get("timestamp", config.data.columns.timestamp)
        check_events(config, options.get("session_gap"), timestamp)
    return data


def _rest(partial: PartialRun | None, task: Task | None) -> str:
    """Returns what an interrupted training has written, and how to resume it."""
    if task is not None and not task.is_chief:
        return "the first task of the cluster keeps the checkpoints"
    if partial is not None and partial.has_checkpoint():
        return f"the last checkpoint is in {partial.folder}, and the same command resumes it"
    return "nothing was written"


def _train_into(
    folder: Path,
    config: Config,
    data: run.PreparedData,
    task: Task | None,
    previous: PreviousRun | None,
    stop: StopSignals,
    tracking: Tracking,
) -> None:
    """Trains and evaluates, and writes the files of the run to its folder."""
    leaks = leak_report(data.split) if data.split.name == "leave-one-out" else None
    _print_data(data, leaks)
    _save_data(folder, config, data)
    import_tensorflow()
    if task is not None:
        wait_for_others(task, config, data.split)
    strategy = prepare_process(config)
    from tfrec_attn.evaluation.held_out import summarise
    from tfrec_attn.training.counting import count
    from tfrec_attn.training.evaluating import (
        rank_and_list,
        rank_baselines,
        rank_by_model,
        report,
        with_repeats,
    )
    from tfrec_attn.training.fitting import fit
    from tfrec_attn.training.inputs import window_note
    from tfrec_attn.training.transition_prior import add_transition_prior

    config, repeats = with_repeats(config, data.split)
    write_line(str(repeats))
    if note := window_note(config, data.split):
        write_line(note)
    baselines = {
        name: summarise(ranks, config.evaluate.k)
        for name, ranks in rank_baselines(config, data.split).items()
    }
    # The models of the baselines have drawn random numbers.
    seed_everything(config.train.seed)
    begin = time.perf_counter()
    has_weights = previous and not models.joins_runs(config.model.name)
    warm = WarmStart(previous, config, data.split) if has_weights else None
    trained = _save_trained_rows(folder, config, data, previous)
    users, items = data.sequences.user_vocabulary, data.sequences.item_vocabulary
    with cluster_errors(task), strategy.scope():
        model = run.build_model(config, users, items, item_counts(data.split), trained)
        if warm:
            warm.copy_weights_to(model)
            write_line(warm.describe())
        if models.trains_on(config.model.name) == models.COUNTS:
            fitted = count(model, config, data.split, folder)
        else:
            fitted = fit(model, config, data.split, folder, warm, stop, tracking.log_epochs)
        prior, alone = {}, {}
        if has_prior(config):
            prior, alone = add_transition_prior(model, config, data.split, folder)
        valid = rank_by_model(model, config, data.split, "valid")
        test, lists = rank_and_list(model, config, data.split, "test")
    owners = {part: data.split.rows(getattr(data.split, part)) for part in ("valid", "test")}
    run_files.save_ranks(folder, {"valid": valid, "test": test, **alone}, owners["test"])
    earlier, checksum = fitted.pop("earlier_seconds"), split_checksum(data.split)
    result = {
        **report(valid, config, "valid", owners["valid"]),
        **report(test, config, "test", owners["test"]),
        "lists": list_metrics(lists, item_counts(data.split)),
        "baselines": baselines,
        **({"prior": prior} if prior else {}),
        **fitted,
        "train_seconds": earlier + time.perf_counter() - begin,
        "parameters": sum(weights.shape.num_elements() for weights in model.trainable_variables),
        "peak_memory_mb": peak_memory_mb(),
        "environment": environment(),
        "data": _describe_data(data, leaks, checksum),
        "repeats": dataclasses.asdict(repeats),
        "protocol": protocol(config, checksum),
        **({"warm_start": warm.report(model, test)} if warm else {}),
    }
    tracking.log({f"test_{name}": value for name, value in result["test"].items()})
    run_files.write_json(folder / run_files.METRICS, result)
    run_files.seal(folder)
    write_line(f"\n{describe_result(config, result)}")


def _print_data(data: run.PreparedData, leaks: Any) -> None:
    write_line(str(data.report))
    if data.rejected:
        write_line(
            f"{counted(data.rejected, 'line', form='')} could not be read: {run_files.REJECTED} in "
            "the run lists each with the reason."
        )
    if leaks:
        write_line(str(leaks))


def _save_data(folder: Path, config: Config, data: run.PreparedData) -> None:
    """Writes vocabularies and held-out events, also for a resumed run: they may have changed."""
    run_files.save_vocabularies(folder, data.sequences)
    gaps = models.gap_key(config.model.name, config.model.parameters) is not None
    run_files.save_replay(folder, data.split, gaps)


def _save_trained_rows(
    folder: Path, config: Config, data: run.PreparedData, previous: PreviousRun | None
) -> TrainedRows:
    """Writes which users and items are trained, and prints how many are not."""
    from tfrec_attn.training.inputs import trained_rows

    trained = trained_rows(config, data.split)
    if previous:
        trained = trained.union(run_files.load_trained_rows(previous.folder))
    run_files.save_trained_rows(folder, trained)
    if any(trained.missing().values()):
        write_line(missing_text(trained.missing()))
    return trained


def _describe_data(data: run.PreparedData, leaks: Any, checksum: str) -> dict[str, Any]:
    """Returns `data` of metrics.json."""
    return {
        **data.report.to_dict(),
        "rejected": data.rejected,
        "sha256": checksum,
        **({"leaks": leaks.to_dict()} if leaks else {}),
    }


def prepare_process(config: Config) -> Any:
    """Applies section `runtime` and the seed, and returns the strategy."""
    tf = import_tensorflow()
    configure_devices(config.runtime.devices)
    strategy = make_strategy(config.runtime)
    check_batch(config.train.batch_size, strategy.num_replicas_in_sync)
    # Making the strategy draws random numbers, so the seed comes after it.
    seed_everything(config.train.seed)
    set_precision(config.runtime.precision)
    if config.runtime.deterministic:
        tf.config.experimental.enable_op_determinism()
    return strategy
