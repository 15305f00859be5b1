"""The contract of all models: how queries and items become vectors."""

from typing import ClassVar

import tensorflow as tf

from tfrec_attn.evaluation.ranking import ranks
from tfrec_attn.layers.embedding_table import reading
from tfrec_attn.losses.features import append_mask, inputs_of, latest_events, with_wide_ids
from tfrec_attn.models.base.keras_model import KerasModel, TracedConstant
from tfrec_attn.models.base.recommendation import as_vocabulary, best_unseen, recommend
from tfrec_attn.models.base.scoring import Query, popular_or, score_all
from tfrec_attn.models.base.similarity import similar
from tfrec_attn.models.base.untrained import UNTRAINED, drop_events, is_trained


class SequenceModel(KerasModel):
    """A recommender that scores item j by an inner product.

        score(features, j) = query_vectors(features) . item_vectors(j)

    A model is a final subclass with a constructor and two kinds of vectors: queries, by
    `query_vectors`, and items, by `item_tables` or `item_vectors`. A model that trains at all
    positions of a sequence defines `sequence_vectors`, or `encode` for queries and attention; its
    query is that of the latest position. The constructor takes `num_users`, `num_items`,
    `max_length` and keywords, keeps each as an attribute of that name, and builds all layers.

    Features are a dict, int64 in training and ranking and int32 in an export: "user" [B], 0 is
    unknown; "history" [B, L], items 1..N, latest last, 0 is padding on the left.

    Args:
        num_users: M.
        num_items: N.
        max_length: L, number of latest items of the history that the model uses.

    Attributes:
        user_vocabulary: Ids of the users, a `Vocabulary` or None; see `set_vocabularies`.
        item_vocabulary: Ids of the items.
        popularity: Scores for unknown inputs: share of the training events, float32 [N], or None.
        trained_users: Which users have training events, bool [M]; None: all.
        trained_items: Which items have training events, bool [N]; None: all.
        repeats: Whether items of the history are recommended: "exclude" (default) or "include".
        transition_prior: A `TransitionPrior` whose values are added to the scores, or None.

    A saved model does not contain the attributes.
    """

    # What the model trains on: batches of "windows", "next_items" or "masked_items", or "counts".
    trains_on = "windows"
    # Training settings by key; the YAML file and the arguments override them.
    recommended: ClassVar[dict[str, object]] = {}
    # Whether `sequence_vectors` takes rows of several sequences (`sequences_of`), which is faster.
    packs_sequences = False
    # Whether queries depend on the user, and on the history.
    uses_user, uses_history = False, True

    popularity, trained_users, trained_items = TracedConstant(), TracedConstant(), TracedConstant()
    transition_prior = TracedConstant()

    def __init__(self, num_users, num_items, max_length, **kwargs):
        super().__init__(**kwargs)
        self.num_users, self.num_items, self.max_length = num_users, num_items, max_length
        self.user_vocabulary = self.item_vocabulary = None
        self.popularity = self.trained_users = self.trained_items = self.transition_prior = None
        self.repeats = "exclude"

    def query_vectors(self, features, training=False):
        """Returns queries [B, D'], float32.

        They must not depend on padding. Default: the query of the latest position or, if the model
        trains on masked items, of a mask after it.
        """
        if self.trains_on == "masked_items":
            features = append_mask(features, self.num_items + 1)
            features = latest_events(features, self.max_length)
        encoded = self.encode(features, training, latest_only=True)
        if encoded is None:
            return self.sequence_vectors(features, training=training)[:, -1]
        return tf.cast(encoded[0][:, -1], tf.float32)

    def sequence_vectors(self, features, training=False):
        """Returns queries at all positions [B, L, D'], float32.

        Next items: a query depends on items up to its position. Masked items (N + 1): on all items.
        """
        encoded = self.encode(features, training)
        if encoded is None:
            raise NotImplementedError(f"{type(self).__name__} must define query_vectors.")
        return tf.cast(encoded[0], tf.float32)

    def attention(self, features):
        """Returns the weight of each position in the query, or None without attention.

        float32 [B, L], nonnegative, 0 at padding, for a history of at most `max_length` columns.
        """
        _, weights = self.encode(features, latest_only=True) or (None, None)
        return None if weights is None else tf.cast(weights[:, -1], tf.float32)

    def attention_map(self, features):
        """Returns how much each position (row) attends to each (column), or None without attention.

        float32 [B, L, L], nonnegative, 0 at padding, for a history of at most `max_length` columns.
        """
        _, weights = self.encode(features) or (None, None)
        return None if weights is None else tf.cast(weights, tf.float32)

    def encode(self, features, training=False, latest_only=False):
        """Returns (queries [B, L, D'], attention [B, L, L] or None) for the four methods above.

        With `latest_only`, returns those of the latest position: [B, 1, D'] and [B, 1, L]. A model
        that returns None defines the four methods itself.
        """
        return None  # noqa: RET501  AutoGraph cannot convert a function without a statement.

    def item_tables(self):
        """Returns the `EmbeddingTable`s whose concatenated rows are the item vectors."""
        return []

    def item_vectors(self, items=None):
        """Returns vectors [R, D'] of unique items, int32 [R], or of all items 0..N, float32.

        Row 0 is padding and has no meaning.
        """
        parts = [table.rows(items) for table in self.item_tables()]
        if not parts:
            raise NotImplementedError(f"{type(self).__name__} must define item_tables.")
        return parts[0] if len(parts) == 1 else tf.concat(parts, axis=1)

    def item_columns(self):
        """Returns the tables whose rows are columns of `item_vectors`, with their first columns.

        An export does not store these tables separately.
        """
        tables = self.item_tables()
        return {table: sum(one.dim for one in tables[:place]) for place, table in enumerate(tables)}

    def prior(self, features):
        """Returns what the history adds to the scores of some items, as `Query.prior`, or None.

        Training does not use it; ranks, recommendations, exports and explanations do. Default: the
        result of `transition_prior`.
        """
        layer = self.transition_prior
        return None if layer is None else layer(features["history"])

    def set_vocabularies(self, items=None, users=None):
        """Sets the ids that `recommend` takes and returns.

        Args:
            items: Ids of the items 1..N in order, a `Vocabulary` or texts; None changes nothing.
            users: Ids of the users 1..M in the same way.

        Raises:
            ValueError, DataError: If there are not as many ids as rows, or if an id is repeated, is
                empty or has a line break.
        """
        if items is not None:
            self.item_vocabulary = as_vocabulary("items", items, self.num_items)
        if users is not None:
            self.user_vocabulary = as_vocabulary("users", users, self.num_users)

    def call(self, features, training=False):
        """Returns scores of the items 0..N, float32 [B, N + 1]; column 0 is the lowest float."""
        scores = self.scores(features, training)
        return tf.pad(scores, [[0, 0], [1, 0]], constant_values=scores.dtype.min)

    def scores(self, features, training=False):
        """Returns the scores of the items 1..N, float32 [B, N]."""
        return score_all(self.query(features, training), self.item_vectors()[1:], first=1)

    def query(self, features, training=False):
        """Returns the `Query` of the latest `max_length` events of features."""
        inputs = self._inputs(features, training)
        return Query(self.query_vectors(inputs, training=training), self.prior(inputs))

    def queries(self, features, training=False):
        """Returns the vectors of `query`."""
        return self.query_vectors(self._inputs(features, training), training=training)

    def _inputs(self, features, training):
        # All ids of a training batch have training events.
        inputs = inputs_of(features) if training else self.known(features)
        return latest_events(inputs, self.max_length)

    def known(self, features):
        """Returns the inputs of a query without users and items that have no training events.

        The user becomes 0; other events move to the right.
        """
        inputs = inputs_of(features)
        if self.uses_user and self.trained_users is not None:
            user = inputs["user"]
            inputs["user"] = tf.where(is_trained(self.trained_users, user), user, 0)
        if self.trained_items is not None:
            inputs = drop_events(inputs, is_trained(self.trained_items, inputs["history"]))
        return inputs

    def knows_nothing(self, features):
        """Returns which rows have no known input that the query depends on, bool [B]."""
        features = self.known(features)
        nothing = tf.equal(features["user"], 0) if self.uses_user else None
        if self.uses_history or self.transition_prior is not None:
            empty = tf.reduce_all(features["history"] == 0, axis=1)
            nothing = empty if nothing is None else nothing & empty
        return tf.ones_like(features["user"], tf.bool) if nothing is None else nothing

    def untrained_last(self, scores):
        """Replaces the scores of items without training events by `UNTRAINED`: float32 [B, N]."""
        trained = self.trained_items
        return scores if trained is None else tf.where(trained, scores, UNTRAINED)

    def recommendation_scores(self, features):
        """Returns `scores`, with popularity where nothing is known and `UNTRAINED` items last."""
        return self.untrained_last(self._scores_or_popularity(features))

    def _scores_or_popularity(self, features):
        nothing = None if self.popularity is None else self.knows_nothing(features)
        with reading({table: table.rows() for table in self.item_tables()}):
            return popular_or(self.popularity, nothing, self.scores(features))

    def ranks(self, features):
        """Returns the rank of each target, int32 [B]."""
        features = with_wide_ids(features)
        scores = self._scores_or_popularity(features)
        return ranks(scores, features["target"], features["seen"], self.trained_items, UNTRAINED)

    def recommend(self, histories, k=10, users=None, exclude_seen=None):
        """Returns the k best items for each history.

        Args:
            histories: Lists of item ids, oldest first: texts after `set_vocabularies`, else 1..N.
                Unknown ids, and items without training events, are left out.
            k: Number of items, at most N. Default 10. Items without training events come last.
            users: Ids of the users, or None (default) for unknown users.
            exclude_seen: Whether to leave out items of the history. Default: as `repeats` says.

        Returns:
            (items, scores): lists of up to k ids and scores for each history, best first.

        Raises:
            ValueError: If an argument is not as above.
        """
        return recommend(self, histories, k, users, exclude_seen)

    similar = similar

    def top_k(self, user, history, seen, k):
        """Returns scores and items of the k best items not in `seen`, as `best_unseen`."""
        return best_unseen(self.recommendation_scores({"user": user, "history": history}), seen, k)
