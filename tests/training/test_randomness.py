"""Random numbers without hidden state, and determinism."""

import tensorflow as tf

from tests.commands import run_command
from tfrec_attn import config as configuration
from tfrec_attn import train
from tfrec_attn.errors import ConfigError
from tfrec_attn.runs import run
from tfrec_attn.training import fitting, inputs, training_run

# 66 users with 160 items.
TINY = [
    "data.events=2000",
    "train.epochs=3",
    "model.dim=8",
    "evaluate.bootstrap=7",
    "runtime.steps_per_execution=2",
]
# Ops whose random state is in their kernel, and not in a checkpoint.
STATEFUL = (
    "RandomUniform",
    "RandomStandardNormal",
    "TruncatedNormal",
    "RandomUniformInt",
    "RandomShuffle",
    "Multinomial",
    "RandomGamma",
)


def traced(function, *arguments):
    """Returns the operations of a function, and the variables that it uses."""
    graph = tf.function(function).get_concrete_function(*arguments).graph
    nodes = graph.as_graph_def()
    parts = (nodes.node, *(part.node_def for part in nodes.library.function))
    return {node.op for part in parts for node in part}, graph.variables


def test_nothing_random_has_a_hidden_state():
    arguments = [
        "model.name=mqsa_ted",
        "model.dropout=0.3",
        "train.loss=gbce",
        "train.distillation={weight: 0.1, dropout: 0.2}",
    ]
    config = training_run.resolve(
        configuration.load(None, [*TINY, *arguments, "train.batch_size=3"])
    )
    split = run.prepare_data(config).split
    model = run.build_model(
        config, split.sequences.user_vocabulary, split.sequences.item_vocabulary
    )
    stream = inputs.training_stream(config, split)
    fitting.compile_model(model, config, split, stream)
    drawn, _ = traced(stream.batch, tf.constant(0, tf.int64))
    stepped, variables = traced(model.train_step, stream.batch(tf.constant(0, tf.int64)))
    assert any(op.startswith("Stateless") for op in drawn) and any(
        op.startswith("Stateless") for op in stepped
    )
    assert (drawn | stepped).isdisjoint(STATEFUL)
    assert not traced(lambda: tf.nn.dropout(tf.ones([2]), 0.5))[0].isdisjoint(STATEFUL)
    # The state of random layers of Keras 3 is in such variables.
    assert len(variables) > 5 and not any("seed" in one.name for one in variables)


def test_determinism_is_asked_for_where_it_is_wanted(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(tf.config.experimental, "enable_op_determinism", lambda: asked.append(True))

    def stop(*_):
        raise ConfigError("far enough.")

    monkeypatch.setattr(run, "build_model", stop)
    for value, expected in (("false", []), ("true", [True])):
        assert (
            run_command(
                train.main, *TINY, f"runtime.deterministic={value}", f"run_dir={tmp_path / 'run'}"
            )[0]
            == 2
        )
        assert asked == expected
