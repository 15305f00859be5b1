"""A training objective for which item vectors are smoothed along a graph."""

from tfrec_attn.layers.embedding_table import reading


class SmoothedObjective:
    """The loss of a batch in which the item tables of a model have smoothed rows.

    The loss trains the rows that are smoothed.

    Args:
        objective: One of `tfrec_attn.losses.objectives`.
        smoothing: An `EmbeddingSmoothing`.
    """

    def __init__(self, objective, smoothing):
        self.objective = objective
        self.smoothing = smoothing
        self.shared = objective.shared
        self.check = objective.check

    def __call__(self, model, features, training, micro_batches=1):
        rows = {table: self.smoothing(table.rows()) for table in model.vector_tables()}
        with reading(rows):
            return self.objective(model, features, training, micro_batches)
