"""Rows of a variable, also of one with a copy on each replica."""

import numpy as np
import tensorflow as tf

from tfrec_attn.config import Runtime
from tfrec_attn.keras_versions.variables import gather_from
from tfrec_attn.runtime.distribution import make_strategy


def test_replicas_read_rows_of_their_copies_only():
    strategy = make_strategy(Runtime(strategy="mirrored", devices=["CPU:0", "CPU:1"]))
    with strategy.scope():
        table = tf.Variable(np.arange(6.0).reshape(3, 2))

    def step():
        with tf.GradientTape() as tape:
            rows = gather_from(table, tf.constant([2, 1]))
        return rows, tape.gradient(rows, table).indices

    run = tf.function(lambda: strategy.run(step), autograph=False).get_concrete_function()
    kinds = [one.type for one in run.graph.get_operations()]
    assert kinds.count("ResourceGather") == 2
    assert "ReadVariableOp" not in kinds
    rows, indices = run()
    for copy, index in zip(rows.values, indices.values, strict=True):
        assert copy.numpy().tolist() == [[4.0, 5.0], [2.0, 3.0]]
        assert index.numpy().tolist() == [2, 1]


def test_a_variable_of_one_device():
    assert gather_from(tf.Variable([[1.0], [2.0]]), [1]).numpy().tolist() == [[2.0]]
