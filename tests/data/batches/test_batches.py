"""What all kinds of training batches share: pipelines and sample weights."""

import numpy as np
import pytest
import tensorflow as tf

from tests.data.batches.histories import all_for_training, sequences_of, weighted
from tfrec_attn.data.batches.next_items import NextItems
from tfrec_attn.data.batches.windows import Windows
from tfrec_attn.data.sequences.splits import leave_one_out


def streams_of(split):
    yield Windows(split, max_length=2, targets=2, negatives=3, batch_size=6)
    yield Windows(split, max_length=2, targets=2, negatives=3, shared=True, batch_size=6)
    yield NextItems(split, max_length=4, negatives=2, batch_size=6)
    yield NextItems(split, max_length=4, negatives=20, shared=True, batch_size=6)


@pytest.mark.parametrize("weights", [None, np.arange(1, 17)])
def test_pipelines_share_each_batch_by_rows(weights):
    split = all_for_training([1, 2, 3, 4, 5], [2, 3, 4, 5, 6], [7, 8], [9, 8, 7, 9], num_items=20)
    for stream in streams_of(split if weights is None else weighted(split, weights)):
        whole = list(stream.dataset(first_step=2).take(4))
        for pipelines, each in ((1, 2), (2, 1), (3, 2)):
            replicas = pipelines * each
            # What a pipeline gives, one element for each of its replicas in turn.
            given = [
                iter(stream.dataset(2, tf.distribute.InputContext(pipelines, pipeline, replicas)))
                for pipeline in range(pipelines)
            ]
            for batch in whole:
                parts = [next(pipeline) for pipeline in given for _ in range(each)]
                for key, value in batch.items():
                    if key == "negatives" and value.shape.rank == 2:
                        assert all((part[key].numpy() == value.numpy()).all() for part in parts)
                    else:
                        np.testing.assert_array_equal(
                            np.concatenate([part[key] for part in parts]), value
                        )
                assert [part["user"].shape[0] for part in parts] == [6 // replicas] * replicas


def test_sample_weights_are_those_of_the_targets():
    # Item n has the weight n; the last event of each user is held out.
    split = leave_one_out(sequences_of([1, 2, 3, 4, 5, 9, 9], [6, 7, 9, 9]))
    split = weighted(split, split.sequences.items)
    for stream in (
        NextItems(split, max_length=3, batch_size=4),
        Windows(split, max_length=2, targets=2, batch_size=4),
    ):
        batch = {
            key: value.numpy() for key, value in stream.batch(tf.constant(1, tf.int64)).items()
        }
        targets = batch["targets"].astype(float)
        # Windows: the mean of the one or two targets.
        expected = (
            targets
            if isinstance(stream, NextItems)
            else targets.sum(axis=1) / (targets > 0).sum(axis=1)
        )
        assert batch["sample_weight"].dtype == batch["normalizer"].dtype == np.float32
        np.testing.assert_allclose(batch["sample_weight"], expected, rtol=1e-6)
        np.testing.assert_allclose(batch["normalizer"], np.full(4, 1 / expected.sum()), rtol=1e-6)
        assert 0 in targets and targets.max() < 9


def test_weights_change_no_other_feature():
    split = all_for_training([1, 2, 3, 4, 5], [2, 3, 4, 5, 6], [7, 8], [9, 8, 7, 9], num_items=20)
    for plain, ones in zip(
        streams_of(split), streams_of(weighted(split, np.ones(16))), strict=True
    ):
        batch, other = (stream.batch(tf.constant(3, tf.int64)) for stream in (plain, ones))
        assert {"sample_weight", *batch} | {"normalizer"} == set(other)
        for key, value in batch.items():
            np.testing.assert_array_equal(other[key], value)
