"""Defines the functions that a version serves: of raw ids, the same for all models."""

import shutil
import tempfile
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfrec_attn.errors import ConfigError
from tfrec_attn.layers.item_neighbours import drop_padding
from tfrec_attn.lists.reranking import LEAST_POOL, RerankOptions
from tfrec_attn.models.base import SequenceModel
from tfrec_attn.models.base.scoring import Query
from tfrec_attn.models.base.untrained import FLOOR, UNTRAINED

from . import history as histories
from .catalogue import Catalogue
from .compact_matrix import FLOAT32, rows_of
from .diverse_lists import Allowed, DiverseLists
from .item_ranking import ItemRanking
from .model_copy import weights_read, with_item_matrix
from .related import COSINE, COUNTS, SCORE, RelatedItems
from .retrieval import InvertedFile
from .signatures import INPUTS, LISTS, Outputs, concrete, joined, split_ids
from .vocabulary import SEPARATOR, VocabularyTable, check_separator

# Most events of an attention map. A map of 256 x 256 weights has 256 KB.
MOST_MAPPED = 256


class _Shared(NamedTuple):
    """Functions that several signatures call."""

    query: Callable
    encode: Callable
    split: Callable


class Servable(tf.Module):
    """A trained model as functions from ids to ids, with operations of stock TensorFlow.

    Only the latest L known events of a history count. "" is padding. Unknown ids are ignored at any
    position. Nothing is known of a row that has no known event and, if the model `uses_user`, no
    known user. Such a row gets the most popular items: their score is their share of the training
    events, and `source` is "popular" instead of "model". Missing items are "" and have the lowest
    float as score.

    A user without training events (`trained_users` of the model) counts as unknown. An item without
    training events (`trained_items`) is ignored in a history. Such items are recommended after all
    others, in the order of their rows, with the score `UNTRAINED`. An index never finds them.

    Signatures, where B is the batch size, W the columns of a history (oldest event first) and N the
    number of items (docs/export.md describes them in full):

    - serving_default: user_id [B], history [B, W] -> items and scores [B, min(k, N)], source [B].
    - recommend: also exclude [B, E], allow [B, A] and k [B] -> the same outputs with K columns, the
      greatest k of the batch, and the applied k [B].
    - score: user_id, history, candidates [B, C] -> scores and known [B, C].
    - embed: user_id, history -> query [B, D']; with a `prior` also prior_items and prior_scores
      [B, P].
    - embed_items: item [B] -> vector [B, D'] and known [B]; the vector of an unknown item is zero.
    - similar: item, by and k [B] -> items and scores [B, K], known [B], the applied by and k [B];
      with counts also counted_items and counted_scores [B, K]. See `ItemSpace`.
    - recommend_diverse, with `diverse`: also allow_category [B, C], per_category,
      popularity_penalty and diversity [B] -> the outputs of recommend and known_category [B, C].
      See `tfrec_attn.lists.reranking`.
    - describe, with `items`: candidates [B, C] -> description and known [B, C].
    - explain: user_id, history, item [B] -> contribution [B, W] and known [B]; with attention also
      attention [B, W] and, if L is at most 256, attention_map [B, L, L].
    - serving_default_joined, recommend_joined and so on: the same with each list of ids as one text
      [B], joined by the separator, and with the output separator [B].

    Args:
        model: A `SequenceModel` with vocabularies; it is copied.
        item_counts: Training events of each item, or their share, [N]. None: the model also ranks
            the items for rows of which nothing is known.
        k: Number of items that `serving_default` returns (default: 10).
        max_k: Most items that `recommend` returns (default: 100).
        keep_seen: Whether to recommend items of the history (default: False).
        index: An `InvertedFile` over the model's item vectors, which proposes the items to rank.
            None (default): all items are ranked.
        separator: Character that joins ids in the joined signatures (default: the tab). No id may
            contain it.
        items: (JSON, category) of each item in order, "" if unknown; or None (default).
        diverse: Whether to add `recommend_diverse`. None (default) adds it if there are `items`.
        matrix: Type of the item matrix, "float32" (default), "bfloat16" or "int8". With an index it
            must be "float32".

    Raises:
        ValueError: If `item_counts` has not N numbers, k is below 1, or max_k is below k.
        ConfigError: If the separator is not one character, an id or a category contains it, or the
            model needs the time since the latest event.
    """

    def __init__(
        self,
        model: SequenceModel,
        item_counts: np.ndarray | None,
        *,
        k: int = 10,
        max_k: int = 100,
        keep_seen: bool = False,
        index: InvertedFile | None = None,
        separator: str = SEPARATOR,
        items: Sequence[tuple[str, str]] | None = None,
        diverse: bool | None = None,
        matrix: str = FLOAT32,
    ):
        super().__init__(name="servable")
        self._has_popular = item_counts is not None
        if model.gap_parameter and getattr(model, model.gap_parameter) is not None:
            raise ConfigError(
                f"model.{model.gap_parameter}={getattr(model, model.gap_parameter)} needs the time "
                "since the latest event, which a request does not have; train with "
                f"model.{model.gap_parameter}=null to export."
            )
        counts = np.asarray(
            item_counts if self._has_popular else np.zeros(model.num_items), np.float64
        )
        if counts.shape != (model.num_items,):
            raise ValueError(
                f"item_counts must have one number for each of {model.num_items} items, "
                f"but has the shape {counts.shape}."
            )
        if not 1 <= k <= max_k:
            raise ValueError(
                f"k must be at least 1 and at most max_k, but k is {k} and max_k is {max_k}."
            )
        check_separator(separator, model.item_vocabulary.ids())
        self.k, self.max_k, self.keep_seen = k, max_k, keep_seen
        self.index, self.separator = index, separator
        self.num_items, self.max_length = model.num_items, model.max_length
        copy, self.item_vectors = with_item_matrix(model, matrix)
        # TensorFlow saves attributes, with all functions of a Keras model, but not closures.
        self._model = lambda: copy
        self._related = RelatedItems(copy, self.item_vectors, model.trained_items)
        shares = counts / max(counts.sum(), 1.0)
        # A negative popularity marks an item without training events.
        self._has_untrained = model.trained_items is not None
        if self._has_untrained:
            shares = np.where(model.trained_items, shares, UNTRAINED)
        self.popularity = tf.Variable(
            np.append(0.0, shares), trainable=False, dtype=tf.float32, name="popularity"
        )
        folder = Path(tempfile.mkdtemp(prefix="vocabulary-"))
        self._remove_folder = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        model.item_vocabulary.save(folder / "items.txt")
        self._items = VocabularyTable(folder / "items.txt", model.num_items)
        self._catalogue = Catalogue(items, separator, folder) if items else None
        self._diverse = bool(items) if diverse is None else diverse
        self._ranking = ItemRanking(self.item_vectors, self.popularity, self._has_untrained, index)
        size = min(self.num_items, max(LEAST_POOL, 4 * max_k))
        self._lists = DiverseLists(
            self._ranking, self._related, self.popularity, self._catalogue, size
        )
        self._users = self._trained_users = None
        if model.uses_user:
            if model.trained_users is not None:
                self._trained_users = tf.Variable(
                    np.append(False, model.trained_users), trainable=False, name="trained_users"
                )
            model.user_vocabulary.save(folder / "users.txt")
            self._users = VocabularyTable(folder / "users.txt", model.num_users, both_ways=False)
        rows = tf.TensorSpec([None], tf.int32), tf.TensorSpec([None, model.max_length], tf.int32)
        ids = INPUTS["user_id"], INPUTS["history"]
        # All signatures share one trace of each function.
        query = tf.function(self._trace_query, input_signature=rows, autograph=False)
        encode = tf.function(self._trace_encode, input_signature=ids, autograph=False)
        split = tf.function(
            lambda texts: split_ids(texts, separator), input_signature=ids[:1], autograph=False
        )
        shared = _Shared(query, encode, split)
        self._shared = lambda: shared

    def signatures(self) -> dict[str, Callable[..., Outputs]]:
        """Returns the concrete functions by name, and tracks the variables that they read."""
        inputs = {
            self.serving_default: ("user_id", "history"),
            self.recommend: ("user_id", "history", "exclude", "allow", "k"),
            self.score: ("user_id", "history", "candidates"),
            self.embed: ("user_id", "history"),
            self.embed_items: ("item",),
            self.explain: ("user_id", "history", "item"),
        }
        if self._related.has_points or self._related.has_counts:
            inputs[self.similar] = ("item", "by", "k")
        if self._diverse:
            more = ("allow_category", "per_category", "popularity_penalty", "diversity")
            inputs[self.recommend_diverse] = (*inputs[self.recommend], *more)
        if self._catalogue is not None:
            inputs[self.describe] = ("candidates",)
        functions = {}
        for function, names in inputs.items():
            name = function.__name__
            functions[name] = concrete(function, names)
            if LISTS.intersection(names):
                functions[f"{name}_joined"] = joined(
                    functions[name], names, self._shared().split, self.separator
                )
        traced = [*functions.values(), *self.shared()]
        self._weights = weights_read(self._model(), traced)
        return functions

    def shared(self) -> list[Callable]:
        """Returns the concrete functions that several signatures call."""
        return [one.get_concrete_function() for one in self._shared()]

    def serving_default(self, user_id: tf.Tensor, history: tf.Tensor) -> Outputs:
        """Recommends the k best items."""
        query, rows, fallback = self._encode(user_id, history)
        k = min(self.k, self.num_items)
        return self._response(*self._ranking.best(query, fallback, self._seen(rows), k), fallback)

    def recommend(
        self,
        user_id: tf.Tensor,
        history: tf.Tensor,
        exclude: tf.Tensor,
        allow: tf.Tensor,
        k: tf.Tensor,
    ) -> Outputs:
        """Recommends k items a row, without the excluded ones and among the allowed ones."""
        query, rows, fallback = self._encode(user_id, history)
        hidden = tf.concat([self._seen(rows), self._items.rows(exclude)], axis=1)
        k, columns = self._applied(k)
        has_list = tf.reduce_any(allow != "", axis=1)

        def of(rows):
            return query.rows(rows), tf.gather(fallback, rows), tf.gather(hidden, rows)

        def among_some():
            free, listed = tf.where(~has_list)[:, 0], tf.where(has_list)[:, 0]
            of_all = self._ranking.best(*of(free), columns)
            allowed = self._items.rows(tf.gather(allow, listed))
            of_list = self._ranking.best_among(allowed, *of(listed), columns)
            order = [tf.cast(free, tf.int32), tf.cast(listed, tf.int32)]
            return tuple(
                tf.dynamic_stitch(order, list(parts)) for parts in zip(of_all, of_list, strict=True)
            )

        scores, items = tf.cond(
            tf.reduce_any(has_list),
            among_some,
            lambda: self._ranking.best(query, fallback, hidden, columns),
        )
        return {**self._response(_first(scores, k), items, fallback), "k": k}

    def recommend_diverse(
        self,
        user_id: tf.Tensor,
        history: tf.Tensor,
        exclude: tf.Tensor,
        allow: tf.Tensor,
        k: tf.Tensor,
        allow_category: tf.Tensor,
        per_category: tf.Tensor,
        popularity_penalty: tf.Tensor,
        diversity: tf.Tensor,
    ) -> Outputs:
        """Recommends items of allowed categories, re-ranked by a cap, a penalty and diversity."""
        query, rows, fallback = self._encode(user_id, history)
        hidden = tf.concat([self._seen(rows), self._items.rows(exclude)], axis=1)
        k, columns = self._applied(k)
        categories = self._lists.category_numbers(allow_category)
        allowed = Allowed.of((allow, self._items.rows(allow)), (allow_category, categories))
        options = RerankOptions.of(popularity_penalty, per_category, diversity)
        scores, items = self._lists.best(query, fallback, hidden, allowed, options, columns)
        response = self._response(_first(scores, k), items, fallback)
        return {**response, "k": k, "known_category": categories > 0}

    def describe(self, candidates: tf.Tensor) -> Outputs:
        """Returns the descriptions of items."""
        rows = self._items.rows(candidates)
        return {"description": self._catalogue.describe(rows), "known": self._known(rows) > 0}

    def score(self, user_id: tf.Tensor, history: tf.Tensor, candidates: tf.Tensor) -> Outputs:
        """Scores candidates as `recommend` does."""
        query, _, fallback = self._encode(user_id, history)
        rows = self._items.rows(candidates)
        return {
            "scores": tf.where(rows > 0, self._ranking.scores(query, fallback, rows), FLOOR),
            "known": self._known(rows) > 0,
        }

    def embed(self, user_id: tf.Tensor, history: tf.Tensor) -> Outputs:
        """Returns the query vectors and, if there is one, the prior."""
        query, _, _ = self._encode(user_id, history)
        if query.prior is None:
            return {"query": query.vectors}
        items, scores = drop_padding(*query.prior)
        listed = {"prior_items": self._items.ids(items), "prior_scores": scores}
        return {"query": query.vectors, **listed}

    def embed_items(self, item: tf.Tensor) -> Outputs:
        """Returns the item vectors."""
        rows = self._known(self._items.rows(item))
        return {"vector": rows_of(self.item_vectors, rows), "known": rows > 0}

    def similar(self, item: tf.Tensor, by: tf.Tensor, k: tf.Tensor) -> Outputs:
        """Finds the items that are nearest to an item."""
        rows, (k, columns) = self._known(self._items.rows(item)), self._applied(k)
        result, related = {"known": rows > 0, "k": k}, self._related
        if related.has_counts:
            scores, items = self._named(*related.counted(rows, columns), k)
            result |= {"counted_scores": scores, "counted_items": items}
        if related.has_points:
            by_score = by == SCORE
            found = related.nearest(rows, by_score, columns, self.index)
            scores, items = self._named(*found, k)
            by = tf.where(by_score, SCORE, COSINE)
        else:
            by = tf.fill(tf.shape(by), COUNTS)
        return {**result, "scores": scores, "items": items, "by": by}

    def explain(self, user_id: tf.Tensor, history: tf.Tensor, item: tf.Tensor) -> Outputs:
        """Returns the contribution of each event to the score of an item, and the attention."""
        rows = self._known(self._items.rows(history))
        events = histories.latest_events(rows, self.max_length + 1)
        features = {"user": self._user_rows(user_id, events), "history": events}
        explained = self._known(self._items.rows(item))
        contribution = histories.contributions(
            self._query, features, rows_of(self.item_vectors, explained), explained
        )
        result = {"contribution": histories.at_events(contribution, rows), "known": explained > 0}
        window = {**features, "history": events[:, 1:]}
        attention = self._model().attention(window)
        if attention is not None:
            result["attention"] = histories.at_events(attention, rows)
        if self.max_length <= MOST_MAPPED:
            attention_map = self._model().attention_map(window)
            if attention_map is not None:
                result["attention_map"] = attention_map
        return result

    def _encode(self, user_id, history):
        """(`Query`, rows of the history [B, W], whether to recommend the popular items [B])."""
        return self._shared().encode(user_id, history)

    def _trace_encode(self, user_id, history):
        rows = self._items.rows(history)
        events = histories.latest_events(self._known(rows), self.max_length)
        features = {"user": self._user_rows(user_id, events), "history": events}
        unknown = self._model().knows_nothing(features)
        return self._query(features), rows, unknown if self._has_popular else tf.zeros_like(unknown)

    def _query(self, features):
        return self._shared().query(features["user"], features["history"])

    def _trace_query(self, user, history):
        features = {"user": user, "history": history}
        return Query(self._model().query_vectors(features), self._model().prior(features))

    def _user_rows(self, user_id, events):
        if self._users is None:
            return tf.zeros_like(events[:, 0])
        rows = self._users.rows(user_id)
        if self._trained_users is None:
            return rows
        return tf.where(tf.gather(tf.convert_to_tensor(self._trained_users), rows), rows, 0)

    def _known(self, rows):
        """Rows of items, 0 for those without training events: int32 [...] -> int32 [...]."""
        if not self._has_untrained:
            return rows
        return tf.where(tf.gather(tf.convert_to_tensor(self.popularity), rows) < 0, 0, rows)

    def _seen(self, rows):
        return rows[:, :0] if self.keep_seen else rows

    def _applied(self, k):
        """(k [B] clipped to 0 .. min(max_k, N), the greatest k)."""
        k = tf.clip_by_value(k, 0, min(self.max_k, self.num_items))
        return k, tf.maximum(tf.reduce_max(k), 0)

    def _named(self, scores, rows, k):
        """(scores, ids) of lists [B, K], of which the first k [B] items stay."""
        scores = _first(scores, k)
        return scores, self._items.ids(tf.where(scores > FLOOR, rows, 0))

    def _response(self, scores, rows, fallback):
        items = self._items.ids(tf.where(scores > FLOOR, rows, 0))
        return {"items": items, "scores": scores, "source": tf.where(fallback, "popular", "model")}


def _first(scores, k):
    """Scores [B, K] with FLOOR after the first k [B] of each row."""
    return tf.where(tf.range(tf.shape(scores)[1]) < k[:, tf.newaxis], scores, FLOOR)
