"""The result of a training as text: metrics, baselines and cost."""

import shlex
from pathlib import Path
from typing import Any

from tfrec_attn import extensions, models
from tfrec_attn.cli.terminal import format_table
from tfrec_attn.config import Config, has_prior
from tfrec_attn.data.shards.prepared_log import is_folder
from tfrec_attn.training.warm_start import describe_report


def better_baseline(config: Config, result: dict[str, Any]) -> str | None:
    """Returns advice if a baseline has a better metric than the model, or None."""
    metric, name = config.evaluate.metric, config.model.name
    # A counting model is not compared with its own default settings.
    values = {one: row[metric] for one, row in result["baselines"].items() if one != name}
    best = max(values, key=values.get)
    if round(values[best], 4) <= round(result["test"][metric], 4):
        return None
    prior = "" if has_prior(config) else "add the counts to its scores with prior.weight=auto, "
    if models.joins_runs(name):
        remedy = f"To improve the average, {prior}change its runs or their --weights"
    elif models.trains_on(name) == models.COUNTS:
        remedy = "To improve the model, vary its settings with tfrec_attn.ablation"
    else:
        remedy = f"To improve the model, {prior}search its settings with tfrec_attn.search"
    return (
        f"{best}, which only counts, has a better {metric}: {values[best]:.4f}, not "
        f"{result['test'][metric]:.4f}. {remedy}, or train another one; model.name={best} exports "
        "and serves as any model."
    )


def last_was_best(config: Config, result: dict[str, Any]) -> str | None:
    """Returns advice if the last epoch of the training was the best one, or None."""
    if not result["epochs"] or result["best_epoch"] != config.train.epochs:
        return None
    return (
        f"The last epoch is the best one: more than train.epochs={config.train.epochs} may "
        "improve the model."
    )


def describe_result(config: Config, result: dict[str, Any]) -> str:
    """Returns the metrics and the cost of a finished training, with its baselines, as text."""
    name, rows = extensions.short_name(config.model.name), dict(result["baselines"])
    if name in rows:
        # A baseline has the default parameters of its class, not those of the run.
        rows[f"{name} (default)"] = rows.pop(name)
    if "prior" in result:
        rows[name] = result["prior"]["test_alone"]
        name = f"{name} + prior"
    rows[name] = result["test"]
    parts = [format_table("test", rows, result.get("test_interval"))]
    if "warm_start" in result:
        parts.append(describe_report(result["warm_start"]))
    coverage, novelty, popular, diversity = result["lists"].values()
    length = next(iter(result["lists"])).partition("@")[2]
    parts.append(
        f"Lists of {length} for the test events: {coverage:.1%} of all items, "
        f"{popular:.1%} of the recommendations among the most popular items that have half of the "
        f"training events, novelty {novelty:.2f} bits, diversity {diversity:.3f}."
    )
    parts += filter(None, (last_was_best(config, result), better_baseline(config, result)))
    epoch = f"Epoch {result['best_epoch']} of {result['epochs']} by {config.evaluate.metric}; "
    parts.append(
        f"{epoch if result['epochs'] else ''}{result['train_seconds']:.0f} s, "
        f"{result['examples_per_second']:,.0f} examples/s, {result['parameters']:,} parameters, "
        f"{result['peak_memory_mb']:,.0f} MB."
    )
    return "\n\n".join(parts)


def next_commands(config: Config, folder: Path) -> str:
    """Returns the next commands for a finished run."""
    run, name = shlex.quote(str(folder)), shlex.quote(folder.name)
    # A report needs the events in memory.
    first = "evaluate" if is_folder(config.data.source) else "report"
    return (
        f"\nNext: python -m tfrec_attn.{first} {run}\n"
        f"      python -m tfrec_attn.export {run} --to servables/{name}"
    )
