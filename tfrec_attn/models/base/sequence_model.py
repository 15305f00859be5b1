"""The contract of all models: how queries and items become vectors. Everything else is written
once, here.
"""

from typing import ClassVar

import tensorflow as tf

from tfrec_attn.evaluation.ranking import ranks
from tfrec_attn.losses.objectives import inputs_of, latest
from tfrec_attn.models.base.keras_model import KerasModel
from tfrec_attn.models.base.recommendation import as_vocabulary, best_unseen, recommend
from tfrec_attn.models.base.scoring import Query, score_all
from tfrec_attn.models.base.untrained import UNTRAINED, pass_over, touched


class SequenceModel(KerasModel):
    """A recommender that scores item j by an inner product.

        score(features, j) = query_vectors(features) . item_vectors(j)

    A model is a final subclass with a constructor and two things: queries, by `query_vectors`, and
    items, by `item_tables` or `item_vectors`. One that trains at all positions of a sequence makes
    its queries in `sequence_vectors`, or in `encode` together with its attention; its query is then
    that of the latest position. The constructor takes `num_users`, `num_items`, `max_length` and
    about ten keywords, keeps each as an attribute of that name, and makes and builds its layers,
    such as `EmbeddingTable`s; `get_config` follows from the signature.

    Features are a dict: "user" int32 [B], 0 is an unknown user; "history" int32 [B, L], items 1..N
    with the latest last and 0 as padding on the left.

    Args:
        num_users: M.
        num_items: N.
        max_length: L, latest items of the history that the model uses.

    Attributes:
        user_vocabulary: Ids of the users, a `Vocabulary` or None; see `set_vocabularies`.
        item_vocabulary: Ids of the items.
        popularity: Each item's share of the training events, float32 [N], which answers where
            nothing is known of a row, or None.
        trained_users: Which users training touched, bool [M], or None: all of them.
        trained_items: Which items training touched, bool [N], or None: all of them.
        repeats: Whether items of the history are recommended: "exclude" (default) or "include".

    These are no Keras state: `save` and `save_weights` leave them out, and a loaded model gets
    them again.
    """

    # The batches that the model trains on: "windows", "next_items" or "masked_items".
    trains_on = "windows"
    # The training settings that do the model justice, by key, beneath the YAML file and the
    # arguments.
    recommended: ClassVar[dict[str, object]] = {}
    # Whether the query depends on who the user is, not only on the history.
    uses_user = False
    # Whether it depends on the history.
    uses_history = True

    def __init__(self, num_users, num_items, max_length, **kwargs):
        super().__init__(**kwargs)
        self.num_users = num_users
        self.num_items = num_items
        self.max_length = max_length
        self.user_vocabulary = None
        self.item_vocabulary = None
        self.popularity = None
        self.trained_users = None
        self.trained_items = None
        self.repeats = "exclude"

    def query_vectors(self, features, training=False):
        """Returns queries [B, D'], float32."""
        encoded = self.encode(features, training, latest_only=True)
        if encoded is None:
            return self.sequence_vectors(features, training=training)[:, -1]
        return tf.cast(encoded[0][:, -1], tf.float32)

    def sequence_vectors(self, features, training=False):
        """Returns queries at all positions [B, L, D'], float32.

        A model that trains on next items makes each from the items up to its position; one that
        trains on masked items can use the whole sequence.
        """
        encoded = self.encode(features, training)
        if encoded is None:
            name = type(self).__name__
            raise NotImplementedError(
                f"{name} must define query_vectors, sequence_vectors or encode."
            )
        return tf.cast(encoded[0], tf.float32)

    def attention(self, features):
        """Returns how much each position of the history weighs in the query, or None without
        attention.

        float32 [B, L], nonnegative, 0 at padding, for a history of at most `max_length` columns.
        """
        encoded = self.encode(features, latest_only=True)
        if encoded is None or encoded[1] is None:
            return None
        return tf.cast(encoded[1][:, -1], tf.float32)

    def attention_map(self, features):
        """Returns how much each position attends to each position, or None without attention.

        float32 [B, L, L], nonnegative: row l holds the weights with which position l attends to the
        columns. Rows and columns of padding are 0. For a history of at most `max_length` columns.
        """
        encoded = self.encode(features)
        return None if encoded is None or encoded[1] is None else tf.cast(encoded[1], tf.float32)

    def encode(self, features, training=False, latest_only=False):
        """Returns what the four methods above are made of by default, or None.

        That is (queries [B, L, D'], attention [B, L, L] or None), and with `latest_only` that of
        the latest position alone: [B, 1, D'] and [B, 1, L].
        """
        return None  # noqa: RET501
        return

    def item_tables(self):
        """Returns the `EmbeddingTable`s whose rows, side by side, are the item vectors."""
        return []

    def item_vectors(self, items=None):
        """Vectors of distinct items, int32 [R], or of all items 0..N in order -> float32 [R, D'].
        Row 0 is padding and means nothing.
        """
        parts = [table.rows(items) for table in self.item_tables()]
        if not parts:
            raise NotImplementedError(
                f"{type(self).__name__} must define item_tables or item_vectors."
            )
        return parts[0] if len(parts) == 1 else tf.concat(parts, axis=1)

    def item_columns(self):
        """Returns the tables whose rows are columns of `item_vectors`: {`EmbeddingTable`: first
        column}.

        An export keeps such a table once, in the matrix of item vectors.
        """
        tables = self.item_tables()
        return {table: sum(one.dim for one in tables[:place]) for place, table in enumerate(tables)}

    def prior(self, features):
        """Returns what the history adds to the scores of some items, as `Query.prior`, or None.

        Training leaves it out; ranks, recommendations, exports and explanations count it.
        """
        return None  # noqa: RET501  AutoGraph cannot convert a function without a statement
        return

    def set_vocabularies(self, items=None, users=None):
        """Names the items and users, so that `recommend` takes and gives these ids.

        Args:
            items: Ids of the items 1..N in order, a `Vocabulary` or texts; None leaves those there
                are.
            users: Ids of the users 1..M.

        Raises:
            ValueError: If there are not as many ids as rows.
            DataError: If an id comes twice, is empty or has a line break.
        """
        if items is not None:
            self.item_vocabulary = as_vocabulary("items", items, self.num_items)
        if users is not None:
            self.user_vocabulary = as_vocabulary("users", users, self.num_users)

    def call(self, features, training=False):
        """Scores of all items: {"user" [B], "history" [B, L]} -> float32 [B, N + 1], column 0
        (padding) the lowest float.
        """
        scores = self.scores(features, training)
        return tf.pad(scores, [[0, 0], [1, 0]], constant_values=scores.dtype.min)

    def scores(self, features, training=False):
        """Returns the scores of the items 1..N, float32 [B, N]."""
        return score_all(self.query(features, training), self.item_vectors()[1:], first=1)

    def ranks(self, features):
        """Rank of each target among the items that can be recommended
        (`tfrec_attn.evaluation.ranking.ranks`), int32 [B].
        """
        return ranks(self._answer_scores(features), features["target"], features["seen"])

    def known(self, features):
        """Returns the features that a query is made of, without what training never touched.

        Such a user is an unknown one, and such items are passed over in the history.
        """
        inputs = inputs_of(features)
        if self.uses_user and self.trained_users is not None:
            inputs["user"] = tf.where(
                touched(self.trained_users, inputs["user"]), inputs["user"], 0
            )
        if self.trained_items is not None:
            inputs = pass_over(inputs, touched(self.trained_items, inputs["history"]))
        return inputs

    def knows_nothing(self, features):
        """Returns which rows have nothing that the query depends on, so that popularity answers:
        bool [B].

        What training never touched counts as unknown.
        """
        features = self.known(features)
        nothing = tf.ones_like(features["user"], tf.bool)
        if self.uses_user:
            nothing &= features["user"] == 0
        if self.uses_history:
            nothing &= tf.reduce_all(features["history"] == 0, axis=1)
        return nothing

    def untrained_last(self, scores):
        """Returns scores of the items 1..N, float32 [B, N], with `UNTRAINED` for those that
        training never touched.
        """
        return (
            scores
            if self.trained_items is None
            else tf.where(self.trained_items, scores, UNTRAINED)
        )

    def _answer_scores(self, features):
        """Scores of the items 1..N by which they are recommended, float32 [B, N]: popularity where
        nothing is known.
        """
        scores = self.scores(features)
        if self.popularity is not None:
            nothing, popular = self.knows_nothing(features), tf.cast(self.popularity, scores.dtype)
            scores = tf.cond(
                tf.reduce_any(nothing),
                lambda: tf.where(nothing[:, tf.newaxis], popular, scores),
                lambda: scores,
            )
        return self.untrained_last(scores)

    def recommend(self, histories, k=10, users=None, exclude_seen=None):
        """The k best items for each history.

        Args:
            histories: Sequences of item ids, oldest first, of any length, empty too; ids that are
                unknown, or that training never touched, are passed over. They are those of
                `set_vocabularies`, which a model loaded from a run has, else 1..N.
            k: Items wanted; of more than N there are N. Items that training never touched come
                last, each with the score `UNTRAINED`.
            users: Ids of the users, or None for unknown users.
            exclude_seen: Leave out the items of the history; None follows `repeats`.

        Returns:
            (items, scores): lists of up to k ids and of their scores for each history, best first.

        Raises:
            ValueError: If `k` is below 1, there are more or fewer users than histories, or ids are
                no integers and the model has no vocabulary.
        """
        if exclude_seen is None:
            exclude_seen = self.repeats == "exclude"
        return recommend(self, histories, k, users, exclude_seen)

    @tf.function(reduce_retracing=True)
    def top_k(self, user, history, seen, k):
        """The k best items of rows, without those seen, as
        `tfrec_attn.models.base.recommendation.best_unseen`.
        """
        return best_unseen(self._answer_scores({"user": user, "history": history}), seen, k)

    def query(self, features, training=False):
        """Returns the `Query` of features, of whose `known` columns the latest `max_length` count."""
        # Training meets only what it touches.
        inputs = inputs_of(features) if training else self.known(features)
        inputs = latest(inputs, self.max_length)
        return Query(self.query_vectors(inputs, training=training), self.prior(inputs))

    def queries(self, features, training=False):
        """Returns the vectors [B, D'] of `query`."""
        return self.query(features, training).vectors
