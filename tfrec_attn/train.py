"""Trains a model on a log: `python -m tfrec_attn.train [CONFIG.yaml] [section.key=value ...]`."""

import argparse
import contextlib
import dataclasses
import json
import os
import shutil
import sys
import time
from pathlib import Path

from tfrec_attn import config as configuration
from tfrec_attn import models, run
from tfrec_attn.config import Config
from tfrec_attn.data.replay_log import checksum
from tfrec_attn.data.splits import leak_report
from tfrec_attn.errors import ConfigError, TfrecError
from tfrec_attn.runtime import import_tensorflow, make_strategy, peak_memory_mb, seed_everything, set_precision
from tfrec_attn.tables import format_table


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns 0, 2 for configuration or data that cannot be used, 1 for a training that failed, 130 when interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m tfrec_attn.train",
        description="Trains a sequential recommender on a log of who touched what, and evaluates it. Without arguments: AttRec on "
        "generated data.",
        epilog=_help_of_keys(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", nargs="?", help="YAML file; without it the defaults below")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="values that go before the file's")
    parsed = parser.parse_args(arguments)
    overrides = parsed.overrides
    if parsed.config and "=" in parsed.config:
        parsed.config, overrides = None, [parsed.config, *overrides]
    try:
        folder = train(configuration.load(parsed.config, overrides))
    except TfrecError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: nothing was written\n")
        return 130
    _say(f"\nNext: python -m tfrec_attn.evaluate {folder}")
    return 0


def train(config: Config) -> Path:
    """Trains, evaluates and writes a run directory, which appears under its name when it is complete.

    Args:
      config: as `tfrec_attn.config.load` gives it.

    Returns: the run directory.

    Errors: ConfigError, DataError before anything is written; TrainingError when the loss is not finite. None leaves a directory.
    """
    config = configuration.with_model_parameters(config, models.parameters(config.model.name))
    if config.data.path is not None:
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, path=str(Path(config.data.path).resolve())))
    target = _target(config)
    new_parents = [parent for parent in target.parents if not parent.exists()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f"{target.name}.partial-{os.getpid()}")
        partial.mkdir()
    except OSError as error:
        raise ConfigError(f"run_dir {target} cannot be written: {error.strerror}.") from None
    try:
        _train_into(partial, config)
        partial.rename(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        for parent in new_parents:
            with contextlib.suppress(OSError):
                parent.rmdir()
        raise
    _say(f"\nWrote {target}: {', '.join(sorted(entry.name for entry in target.iterdir()))}")
    return target


def _train_into(folder: Path, config: Config) -> None:
    data = run.prepare_data(config, rejected=folder / run.REJECTED)
    _say(str(data.report))
    if data.rejected:
        _say(f"{data.rejected} lines could not be read: {run.REJECTED} in the run tells which and why.")
    leaks = leak_report(data.split) if data.split.name == "leave-one-out" else None
    if leaks:
        _say(str(leaks))
    (folder / run.CONFIG).write_text(configuration.to_yaml(config), encoding="utf-8")
    run.save_vocabularies(folder, data.sequences)
    run.save_replay(folder, data.split)

    import_tensorflow()
    seed_everything(config.train.seed)
    set_precision(config.runtime.precision)
    from tfrec_attn.fitting import evaluate_baselines, fit, rank, report

    baselines = evaluate_baselines(config, data.split)
    begin = time.perf_counter()
    with make_strategy(config.runtime.strategy).scope():
        model = run.build_model(config, data.sequences.user_vocabulary, data.sequences.item_vocabulary)
        fitted = fit(model, config, data.split, folder)
    result = {
        **report(rank(model.ranks, config, data.split, "valid"), config, "valid"),
        **report(rank(model.ranks, config, data.split, "test"), config, "test"),
        "baselines": baselines,
        **fitted,
        "train_seconds": time.perf_counter() - begin,
        "parameters": sum(weights.shape.num_elements() for weights in model.trainable_variables),
        "peak_memory_mb": peak_memory_mb(),
        "data": {
            **data.report.to_dict(),
            "rejected": data.rejected,
            "sha256": checksum(data.sequences),
            **({"leaks": leaks.to_dict()} if leaks else {}),
        },
    }
    run.write_json(folder / run.METRICS, result)
    _say(f"\n{_summary(config, result)}")


def _target(config: Config) -> Path:
    if config.run_dir is not None:
        target = Path(config.run_dir)
        if target.exists():
            raise ConfigError(f"run_dir {target} exists; name a new one, or remove it.")
        return target
    name = Path(config.data.path).name.split(".")[0] if config.data.source == "file" and config.data.path else config.data.source
    base = Path("runs") / f"{name}-{config.model.name}"
    number, target = 1, base
    while target.exists():
        number += 1
        target = base.with_name(f"{base.name}-{number}")
    return target


def _summary(config: Config, result: dict) -> str:
    table = format_table("test", {**result["baselines"], config.model.name: result["test"]}, result.get("test_interval"))
    return (
        f"{table}\n\nEpoch {result['best_epoch']} of {result['epochs']} by {config.evaluate.metric}; {result['train_seconds']:.0f} s, "
        f"{result['examples_per_second']:,.0f} examples/s, {result['parameters']:,} parameters, {result['peak_memory_mb']:,.0f} MB."
    )


def _help_of_keys() -> str:
    lines = ["keys and defaults:"]
    for key, default, text in configuration.documented():
        lines.append(f"  {key}={_shown(default)}\n      {text}")
        if key == "model.name":
            for name in models.names():
                lines.append(f"  parameters of model.name={name}, explained in its class:")
                lines.extend(f"    model.{parameter}={_shown(value)}" for parameter, value in models.parameters(name).items())
    return "\n".join(lines)


def _shown(value) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
