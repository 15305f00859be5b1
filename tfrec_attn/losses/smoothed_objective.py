"""A training objective with item vectors that are smoothed along a graph."""

from tfrec_attn.layers.embedding_table import reading


class SmoothedObjective:
    """An objective whose loss is computed with smoothed rows of the item tables.

    Its gradients are those of the rows before smoothing.

    Args:
        objective: A `WindowObjective` or a `PositionObjective`.
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
