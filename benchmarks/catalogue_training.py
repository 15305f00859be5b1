"""Measures an epoch of a model that is trained with a softmax over all items.

    python benchmarks/catalogue_training.py [CONFIG.yaml] [section.key=value ...] [--epochs 5]
    [--json FILE]

The seconds of an epoch are compared with the time that the matrix products of the logits take
alone, at the rate of a float32 matrix product in the same run. The recommendation loss needs three
products of positions x items x D, and distillation needs three more. Without a configuration, the
model is MQSA-TED with its authors' settings, and the log is synthetic.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from _machine import add_json, gemm_gflops, seconds_of, write_json

from tfrec_attn import config as configuration
from tfrec_attn import models
from tfrec_attn.runs import run
from tfrec_attn.runtime.process import import_tensorflow, peak_memory_mb, seed_everything

tf = import_tensorflow()

from tfrec_attn.training.fitting import compile_model  # noqa: E402
from tfrec_attn.training.inputs import held_out, training_stream  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
SYNTHETIC = ["data.source=synthetic", "data.events=60000"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", nargs="?", help="YAML file")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value")
    parser.add_argument("--epochs", type=int, default=5, help="epochs timed, after one that is not")
    add_json(parser)
    parsed = parser.parse_args()
    path = parsed.config or ROOT / "configs" / "beauty" / "mqsa_ted.yaml"
    config = configuration.load(path, parsed.overrides if parsed.config else SYNTHETIC)
    config = configuration.with_model_parameters(config, models.parameters(config.model.name))
    data = run.prepare_data(config)
    seed_everything(config.train.seed)
    model = run.build_model(config, data.sequences.user_vocabulary, data.sequences.item_vocabulary)
    stream = training_stream(config, data.split)
    steps = stream.steps_per_epoch
    compile_model(model, config, data.split, stream)
    lengths = data.split.train_end - data.sequences.offsets[:-1] - 1
    positions = lengths.clip(0, config.data.max_length).sum() / steps
    products = 6 if config.train.distillation.weight else 3
    items, width = data.sequences.num_items, model.item_vectors(tf.constant([1])).shape[1]
    gflop = products * 2 * positions * items * width / 1e9
    rate = gemm_gflops(tf)

    def epoch():
        model.fit(stream.dataset(), epochs=1, steps_per_epoch=steps, verbose=0)

    epoch()
    seconds = sorted(seconds_of(epoch) for _ in range(parsed.epochs))
    blocks = held_out(config, data.split, "test")
    ranker = tf.function(model.ranks, input_signature=[blocks.dataset().element_spec])
    evaluation = min(
        seconds_of(lambda: [ranker(block) for block in blocks.dataset()]) for _ in range(3)
    )
    after = gemm_gflops(tf)
    floor = steps * gflop / rate
    figures = {
        "model": config.model.name,
        "items": items,
        "steps": steps,
        "gflop_per_step": gflop,
        "gemm_gflops": [rate, after],
        "seconds_per_epoch": seconds[len(seconds) // 2],
        "best_seconds_per_epoch": seconds[0],
        "products_seconds_per_epoch": floor,
        "evaluation_seconds": evaluation,
        "peak_memory_mb": peak_memory_mb(),
    }
    median, best = seconds[len(seconds) // 2], seconds[0]
    print(
        f"{config.model.name}: {steps} steps of {positions:,.0f} positions x {items:,} items, "
        f"{gflop:.1f} GFLOP a step\n"
        f"float32 product {rate:.0f} GFLOP/s before, {after:.0f} after: "
        f"{floor:.1f} s an epoch for the products alone\n"
        f"epoch  median {median:.1f} s = {median / floor:.2f} x, "
        f"best {best:.1f} s = {best / floor:.2f} x\n"
        f"full ranking of {len(blocks):,} users: {evaluation:.2f} s; "
        f"peak memory {figures['peak_memory_mb']:,.0f} MB"
    )
    if parsed.json:
        write_json(parsed.json, figures)


if __name__ == "__main__":
    main()
