"""Trains a model on a log: `python -m tfrec_attn.train [CONFIG.yaml] [section.key=value ...]`."""

import argparse
import contextlib
import dataclasses
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tfrec_attn import config as configuration
from tfrec_attn import extensions, models
from tfrec_attn.cli.arguments import Arguments
from tfrec_attn.cli.terminal import format_table, say
from tfrec_attn.config import Config, loss_names
from tfrec_attn.config.config_files import packaged
from tfrec_attn.data.reading.catalog import is_function
from tfrec_attn.data.sequences.replay_log import item_counts, split_checksum
from tfrec_attn.data.sequences.splits import leak_report
from tfrec_attn.data.sequences.trained_rows import missing_text
from tfrec_attn.data.shards.prepared import is_folder
from tfrec_attn.errors import ConfigError, DataError, Interrupted, TfrecError, TrainingError
from tfrec_attn.evaluation.protocol import protocol
from tfrec_attn.runs import run
from tfrec_attn.runs.unfinished import PartialRun, check_run_dir, complete_run, open_run
from tfrec_attn.runtime.cluster import Task, this_task
from tfrec_attn.runtime.distribution import (
    check_batch,
    configure_devices,
    failing_together,
    make_strategy,
)
from tfrec_attn.runtime.process import (
    import_tensorflow,
    make_deterministic,
    peak_memory_mb,
    seed_everything,
    set_precision,
)
from tfrec_attn.runtime.stop_signals import StopSignals
from tfrec_attn.training import warm_start


def main(arguments: list[str] | None = None) -> int:
    """The command.

    Returns: 0; 2 for configuration or data that cannot be used; 1 for a training that failed; 130
    and 143 when SIGINT or SIGTERM ended it.
    """
    parser = Arguments(
        prog="python -m tfrec_attn.train",
        description="Trains a sequential recommender on a log of who touched what, and evaluates it. Without arguments: AttRec on "
        "generated data.",
        epilog=_help_of_keys(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "config",
        nargs="?",
        help="YAML file, or the name of one of the package, listed below; without it the defaults",
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="section.key=value", help="values that go before the file's"
    )
    parser.add_argument(
        "--restart",
        action="store_true",
        help="begin anew: remove the unfinished run, and replace the finished one once this is complete",
    )
    parsed = parser.parse_intermixed_args(arguments)
    overrides = parsed.overrides
    if parsed.config and "/" not in parsed.config.partition("=")[0] and "=" in parsed.config:
        parsed.config, overrides = None, [parsed.config, *overrides]
    try:
        notes = []
        config = configuration.load(parsed.config, overrides, models.recommended, notes.append)
        folder = train(config, restart=parsed.restart, notes=notes)
    except TfrecError as error:
        sys.stderr.write(f"{error}\n" if isinstance(error, Interrupted) else f"error: {error}\n")
        return error.exit_code
    if folder is not None:
        say(f"\nNext: python -m tfrec_attn.evaluate {folder}")
    return 0


def train(config: Config, *, restart: bool = False, notes: Sequence[str] = ()) -> Path | None:
    """Trains, evaluates and writes a run directory, which is `<run_dir>.partial` until it is
    complete.

    One that was interrupted goes on there from its last checkpoint, and one that is complete stays
    as it is, with the same configuration and data.

    Args:
      config: As `tfrec_attn.config.load` gives it.
      restart: Whether to begin anew: an unfinished run is removed, and a finished one is replaced
        when the new one is complete.
      notes: Lines to print first, by the one process of a cluster that prints.

    Returns:
      The run directory, or None for a process of a cluster that writes none.

    Raises:
      ConfigError, DataError: Before anything is written.
      TrainingError: If the loss is not finite or the disk is full. What has a checkpoint stays, all
        else that was written is removed.
      Interrupted: On a signal.
    """
    config, task = _resolved(config), this_task(config.runtime.strategy)
    if task is None or task.writes:
        for line in notes:
            say(line)
        return _train(config, task, restart)
    import_tensorflow()
    with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):
        _train(config, task, restart)
    return None


def _train(config: Config, task: Task | None, restart: bool) -> Path:
    with StopSignals() as stop, tempfile.TemporaryDirectory() as scratch:
        _check_loss(config)
        origin, rejected = warm_start.load_origin(config), Path(scratch) / run.REJECTED
        if task is None or task.writes:
            check_run_dir(config, restart)
        with _kept(None, task):
            data = _read(config, origin, rejected)
        complete = None if restart else complete_run(config, data.split)
        if complete is not None:
            say(
                f"{complete} is already complete, with this configuration and these events; to train it anew, give --restart."
            )
            return complete
        if task is not None and not task.writes:
            config = dataclasses.replace(config, run_dir=f"{scratch}/run")
        partial = open_run(config, data.split, restart)
        try:
            with _kept(partial, task):
                if rejected.exists():
                    shutil.copyfile(rejected, partial.folder / run.REJECTED)
                _train_into(partial, config, data, task, origin, stop)
                partial.finish()
        except BaseException:
            partial.leave()
            raise
        say(
            f"\nWrote {partial.target}: {', '.join(sorted(entry.name for entry in partial.target.iterdir()))}"
        )
    return partial.target


def _check_loss(config: Config) -> None:
    """Whether the loss takes the batches of the model, before anything is read; what is of other
    packages is imported.
    """
    model, loss = config.model.name, config.train.loss
    if models.is_foreign(model) or loss_names.is_foreign(loss):
        import_tensorflow()
    if models.is_foreign(model):
        models.get(model)
    given, taken = models.trains_on(model), loss_names.batches(loss)
    if given not in taken:
        raise ConfigError(
            f"train.loss={loss} takes {' and '.join(taken)}, but model.name={model} trains on {given}; set another train.loss."
        )


def _read(config: Config, origin: warm_start.Origin | None, rejected: Path) -> run.PreparedData:
    """The data, read before anything is written."""
    try:
        return run.prepare_data(
            config, rejected=rejected, known=origin and origin.vocabularies, schema=True
        )
    except OSError as error:
        raise DataError(
            f"{error.filename or rejected} cannot be used: {error.strerror or error}."
        ) from None


@contextlib.contextmanager
def _kept(partial: PartialRun | None, task: Task | None):
    """Adds to the error of a training that can go on how it does so."""
    try:
        yield
    except (TrainingError, Interrupted, KeyboardInterrupt, OSError) as error:
        if isinstance(error, KeyboardInterrupt):
            error = Interrupted(signal.SIGINT)
        elif isinstance(error, OSError):
            error = TrainingError(f"{partial.folder} cannot be written: {error.strerror or error}")
        rest = "nothing was written"
        if task is not None and not task.writes:
            rest = "the first task of the cluster keeps the checkpoints"
        elif partial is not None and partial.has_checkpoint():
            rest = f"the last good checkpoint is in {partial.folder}, and the same command goes on from it"
        error.args = (f"{str(error).rstrip('.')}; {rest}.",)
        raise error from None


def _resolved(config: Config) -> Config:
    """The configuration with all parameters of the model and with absolute paths."""
    name = config.model.name
    config = configuration.with_model_parameters(
        config, models.parameters(name), models.hints(name)
    )
    data, train = config.data, config.train
    if is_folder(data.source):
        data = dataclasses.replace(data, source=str(Path(data.source).resolve()))
    if data.path is not None and not is_function(data.source):
        data = dataclasses.replace(data, path=str(Path(os.path.expanduser(data.path)).resolve()))
    if data.schema is not None:
        data = dataclasses.replace(data, schema=str(Path(data.schema).resolve()))
    if train.warm_start is not None:
        train = dataclasses.replace(train, warm_start=str(Path(train.warm_start).resolve()))
    return dataclasses.replace(config, data=data, train=train)


def _train_into(
    partial: PartialRun,
    config: Config,
    data: run.PreparedData,
    task: Task | None,
    origin: warm_start.Origin | None,
    stop: StopSignals,
) -> None:
    folder = partial.folder
    say(str(data.report))
    if data.rejected:
        say(
            f"{data.rejected} lines could not be read: {run.REJECTED} in the run tells which and why."
        )
    leaks = leak_report(data.split) if data.split.name == "leave-one-out" else None
    if leaks:
        say(str(leaks))
    # Also when the training goes on: what is sealed at the end is of these data, whatever became of
    # the files meanwhile.
    run.save_vocabularies(folder, data.sequences)
    run.save_replay(folder, data.split)

    import_tensorflow()
    configure_devices(config.runtime.devices)
    strategy = make_strategy(config.runtime, task)
    check_batch(config.train.batch_size, strategy.num_replicas_in_sync)
    # Not before the strategy, which draws numbers too.
    seed_everything(config.train.seed)
    set_precision(config.runtime.precision)
    if config.runtime.deterministic:
        make_deterministic()
    from tfrec_attn.training.fitting import (
        evaluate_baselines,
        fit,
        rank,
        report,
        trained_rows,
        with_repeats,
    )

    config, repeats = with_repeats(config, data.split)
    say(str(repeats))
    baselines = evaluate_baselines(config, data.split)
    begin = time.perf_counter()
    warm = warm_start.WarmStart(origin, config, data.split) if origin else None
    trained = trained_rows(config, data.split)
    trained = trained.or_by(run.load_trained_rows(origin.folder)) if origin else trained
    run.save_trained_rows(folder, trained)
    if any(trained.missing().values()):
        say(missing_text(trained.missing()))
    vocabularies = data.sequences.user_vocabulary, data.sequences.item_vocabulary
    with failing_together(task), strategy.scope():
        model = run.build_model(config, *vocabularies, item_counts(data.split), trained)
        if warm:
            warm.take_weights(model)
            say(warm.opening())
        fitted = fit(model, config, data.split, folder, warm, stop)
        valid_ranks, test_ranks = (
            rank(model.ranks, config, data.split, part) for part in ("valid", "test")
        )
    earlier, checksum = fitted.pop("earlier_seconds"), split_checksum(data.split)
    result = {
        **report(valid_ranks, config, "valid"),
        **report(test_ranks, config, "test"),
        "baselines": baselines,
        **fitted,
        "train_seconds": earlier + time.perf_counter() - begin,
        "parameters": sum(weights.shape.num_elements() for weights in model.trainable_variables),
        "peak_memory_mb": peak_memory_mb(),
        "data": {
            **data.report.to_dict(),
            "rejected": data.rejected,
            "sha256": checksum,
            **({"leaks": leaks.to_dict()} if leaks else {}),
        },
        "repeats": dataclasses.asdict(repeats),
        "protocol": protocol(config, checksum),
        **({"warm_start": warm.report(model, test_ranks)} if warm else {}),
    }
    run.write_json(folder / run.METRICS, result)
    run.seal(folder)
    say(f"\n{_summary(config, result)}")


def _summary(config: Config, result: dict) -> str:
    table = format_table(
        "test",
        {**result["baselines"], extensions.short(config.model.name): result["test"]},
        result.get("test_interval"),
    )
    if "warm_start" in result:
        table += f"\n\n{warm_start.closing(result['warm_start'])}"
    return (
        f"{table}\n\nEpoch {result['best_epoch']} of {result['epochs']} by {config.evaluate.metric}; {result['train_seconds']:.0f} s, "
        f"{result['examples_per_second']:,.0f} examples/s, {result['parameters']:,} parameters, {result['peak_memory_mb']:,.0f} MB."
    )


def _help_of_keys() -> str:
    lines = ["configurations of the package:", *(f"  {name}" for name in packaged())]
    lines += ["", "keys and defaults:"]
    for key, default, text in configuration.documented():
        lines.append(f"  {key}={_shown(default)}\n      {text}")
        for extension in (extensions.LOSSES, extensions.SOURCES):
            if key == extension.key and (installed := extension.installed()):
                lines.append(f"      of installed packages: {', '.join(installed)}")
        if key == "model.name":
            for name in models.names():
                lines.extend(_help_of_model(name))
    return "\n".join(lines)


def _help_of_model(name: str) -> list[str]:
    try:
        parameters = models.parameters(name)
    except ConfigError as error:
        # A package that is broken must not keep others from training.
        return [f"  {error}"]
    lines = [f"    model.{parameter}={_shown(value)}" for parameter, value in parameters.items()]
    return [f"  parameters of model.name={name}, explained in its class:", *lines]


def _shown(value) -> str:
    return value if isinstance(value, str) else json.dumps(value)


if __name__ == "__main__":
    sys.exit(main())
