"""What is served: functions of raw ids, for every model the same."""

import shutil
import tempfile
import weakref
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfrec_attn.models.base.scoring import Query, score_all, score_listed
from tfrec_attn.models.base.untrained import UNTRAINED

from . import history as histories
from . import selection
from .explanation import contributions
from .item_matrix import with_item_matrix
from .search import search_all, search_index
from .selection import FLOOR
from .separator import SEPARATOR, check_separator
from .vocabulary_table import VocabularyTable

_INPUTS = {
    "user_id": tf.TensorSpec([None], tf.string),
    "history": tf.TensorSpec([None, None], tf.string),
    "exclude": tf.TensorSpec([None, None], tf.string),
    "allow": tf.TensorSpec([None, None], tf.string),
    "candidates": tf.TensorSpec([None, None], tf.string),
    "item": tf.TensorSpec([None], tf.string),
    "k": tf.TensorSpec([None], tf.int32),
}
# Lists of ids, which the joined signatures take as one text a row.
_LISTS = ("history", "exclude", "allow", "candidates")
# Else one long text would make every row of its batch as long.
MOST_IDS = 1 << 14
# Length of the histories of an attention map, whose rows and columns they are: 256 KB for one
# history.
MOST_MAPPED = 256


class Servable(tf.Module):
    """A trained model as functions from ids to ids; stock operations, the batch first in every
    input and output.

    The latest L known events of a history count; "" is padding and unknown ids are passed over,
    wherever they stand. Of a row with neither a known event nor (where the model `uses_user`) a
    known user, the most popular items are the best, their score is their share of the training
    events, and `source` is "popular" instead of "model". What cannot be answered has the lowest
    float as its score, and "" as its item.

    What training never touched (`trained_users` and `trained_items` of the model) is not known:
    such a user is an unknown one, and such items are passed over in a history. They are recommended
    after all others, in the order of their rows, with the score `UNTRAINED`; an index leaves them
    out.

    Args:
      model: a `SequenceModel` with vocabularies; it is copied.
      item_counts: training events of each item, [N], or its share of them; None: the model answers
          where nothing is known too.
      k: items of `serving_default`.
      max_k: most items of `recommend`.
      keep_seen: whether items of the history may be recommended.
      index: an `InvertedFile` over the model's item vectors that proposes the items to rank, or
          None: all are ranked.
      separator: the character that joins ids in the texts of the joined signatures; it stands in no
          id of an item.

    Signatures, with history [B, W] (oldest first):
      serving_default: user_id [B], history -> items [B, k], scores [B, k], source [B]; all N items
      where k is greater. recommend: also exclude [B, E], allow [B, A] (a row of "" allows all) and
      k [B] -> the same, as many columns as the greatest k of the
        batch asks for, at most max_k; "" and the floor past a row's own k; and k [B], the k that
        was applied: 0 for one below, max_k or N for one above.
      score: user_id, history, candidates [B, C] -> scores [B, C], known bool [B, C]: of items that
      training touched. embed: user_id, history -> query [B, D'], whose product with an item's
      vector is the score that the model gives, its `prior` aside. embed_items: item [B] -> vector
      [B, D'], known bool [B]; zeros where unknown. explain: user_id, history, item [B] ->
      contribution [B, W], by how much the item's score falls when the event is left out, and
        attention [B, W] of models that have it; both 0 for events that do not count. Where L is at
        most 256 also attention_map [B, L, L] of models that have it: how much each of the latest L
        known events (rows) attends to each (columns), the latest last, 0 at padding.
      serving_default_joined, recommend_joined, score_joined, embed_joined, explain_joined: the
      same, with history, exclude, allow and
        candidates as one text [B] of ids joined by the separator, "" for none. No row has to be
        padded, so that no batch can change an answer. W and C are those of the longest row of the
        batch; the column of an id is its place in the text of its row. Of a text of more than
        16,384 ids only the last 16,384 are read. They also give separator [B].

    Raises:
      ValueError: The numbers of items differ, k is below 1 or max_k below k.
      ConfigError: The separator is not one character, or stands in an id of an item.
    """

    def __init__(
        self,
        model,
        item_counts,
        *,
        k=10,
        max_k=100,
        keep_seen=False,
        index=None,
        separator=SEPARATOR,
    ):
        super().__init__(name="servable")
        counts = (
            np.zeros(model.num_items)
            if item_counts is None
            else np.asarray(item_counts, np.float64)
        )
        if counts.shape != (model.num_items,):
            raise ValueError(
                f"item_counts must have one number for each of {model.num_items} items, but has the shape {counts.shape}."
            )
        if not 1 <= k <= max_k:
            raise ValueError(
                f"k must be at least 1 and at most max_k, but k is {k} and max_k is {max_k}."
            )
        check_separator(separator, model.item_vocabulary.ids())
        self.k, self.max_k, self.keep_seen, self.index, self.separator = (
            k,
            max_k,
            keep_seen,
            index,
            separator,
        )
        self._has_popular = item_counts is not None
        self.num_items, self.max_length = model.num_items, model.max_length
        copy, self.item_vectors = with_item_matrix(model)
        # Training touched the rows whose popularity is not negative.
        self._passes_over = model.trained_items is not None
        shares = counts / max(counts.sum(), 1.0)
        shares = np.append(
            0.0, np.where(model.trained_items, shares, UNTRAINED) if self._passes_over else shares
        )
        self.popularity = tf.Variable(shares, trainable=False, dtype=tf.float32, name="popularity")
        # In a closure: of an attribute Keras would save functions of its own.
        self._model = lambda: copy
        folder = Path(tempfile.mkdtemp(prefix="vocabulary-"))
        self._remove_folder = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        model.item_vocabulary.save(folder / "items.txt")
        self._items = VocabularyTable(folder / "items.txt", model.num_items)
        self._users = self._trained_users = None
        if model.uses_user:
            if model.trained_users is not None:
                self._trained_users = tf.Variable(
                    np.append(False, model.trained_users), trainable=False, name="trained_users"
                )
            model.user_vocabulary.save(folder / "users.txt")
            self._users = VocabularyTable(folder / "users.txt", model.num_users, both_ways=False)

    def signatures(self):
        """Name -> concrete function; the module then holds every variable that they read."""
        inputs = {
            self.serving_default: ("user_id", "history"),
            self.recommend: ("user_id", "history", "exclude", "allow", "k"),
            self.score: ("user_id", "history", "candidates"),
            self.embed: ("user_id", "history"),
            self.embed_items: ("item",),
            self.explain: ("user_id", "history", "item"),
        }
        functions = {}
        for function, names in inputs.items():
            name = function.__name__
            functions[name] = _concrete(function, {one: _INPUTS[one] for one in names})
            if "history" in names:
                functions[f"{name}_joined"] = self._joined(functions[name], names)
        read = {
            variable.ref() for function in functions.values() for variable in function.variables
        }
        self._weights = [variable for variable in self._model().weights if variable.ref() in read]
        return functions

    def serving_default(self, user_id, history):
        """The k best items."""
        query, rows, nothing = self._encode(user_id, history)
        return self._answer(
            *self._catalogue(query, nothing, self._seen(rows), min(self.k, self.num_items)), nothing
        )

    def recommend(self, user_id, history, exclude, allow, k):
        """The k best items of each row's own k, without some, or among some."""
        query, rows, nothing = self._encode(user_id, history)
        hidden = tf.concat([self._seen(rows), self._items.rows(exclude)], axis=1)
        k = tf.clip_by_value(k, 0, min(self.max_k, self.num_items))
        columns = tf.maximum(tf.reduce_max(k), 0)
        has_list = tf.reduce_any(allow != "", axis=1)

        def some_have():
            free, listed = tf.where(~has_list)[:, 0], tf.where(has_list)[:, 0]
            of_all = self._catalogue(
                query.rows(free), *(tf.gather(one, free) for one in (nothing, hidden)), columns
            )
            allowed = self._items.rows(tf.gather(allow, listed))
            of_list = self._among(
                allowed,
                query.rows(listed),
                *(tf.gather(one, listed) for one in (nothing, hidden)),
                columns,
            )
            places = [tf.cast(free, tf.int32), tf.cast(listed, tf.int32)]
            return tuple(
                tf.dynamic_stitch(places, list(parts))
                for parts in zip(of_all, of_list, strict=True)
            )

        scores, items = tf.cond(
            tf.reduce_any(has_list),
            some_have,
            lambda: self._catalogue(query, nothing, hidden, columns),
        )
        wanted = tf.range(columns) < tf.reshape(k, tf.stack([tf.shape(rows)[0], 1]))
        return {
            **self._answer(tf.where(wanted, scores, FLOOR), items, nothing),
            "k": tf.reshape(k, tf.shape(rows)[:1]),
        }

    def score(self, user_id, history, candidates):
        """Scores of the candidates, by which `recommend` ranks them."""
        query, _, nothing = self._encode(user_id, history)
        rows = self._items.rows(candidates)
        return {
            "scores": tf.where(rows > 0, self._pair_scores(query, nothing, rows), FLOOR),
            "known": self._known(rows) > 0,
        }

    def embed(self, user_id, history):
        """Query vectors."""
        return {"query": self._encode(user_id, history)[0].vectors}

    def embed_items(self, item):
        """Item vectors."""
        rows = self._known(self._items.rows(item))
        return {
            "vector": tf.gather(tf.convert_to_tensor(self.item_vectors), rows),
            "known": rows > 0,
        }

    def explain(self, user_id, history, item):
        """What each event does to the score of an item."""
        rows = self._known(self._items.rows(history))
        events = histories.latest(rows, self.max_length + 1)
        features = {"user": self._user_rows(user_id, events), "history": events}
        item = self._known(self._items.rows(item))
        contribution = contributions(
            self._query, features, tf.convert_to_tensor(self.item_vectors), item
        )
        result = {"contribution": histories.spread(contribution, rows)}
        window = {**features, "history": events[:, 1:]}
        attention = self._model().attention(window)
        if attention is not None:
            result["attention"] = histories.spread(attention, rows)
        attention_map = (
            self._model().attention_map(window) if self.max_length <= MOST_MAPPED else None
        )
        return result if attention_map is None else {**result, "attention_map": attention_map}

    def _joined(self, function, names):
        """The same concrete function of lists that come as one text a row."""

        def joined(**inputs):
            ids = {name: self._split(inputs[name]) for name in names if name in _LISTS}
            return {
                **function(**{**inputs, **ids}),
                "separator": tf.fill(tf.shape(inputs["history"]), self.separator),
            }

        return _concrete(
            joined,
            {
                name: tf.TensorSpec([None], tf.string) if name in _LISTS else _INPUTS[name]
                for name in names
            },
        )

    def _split(self, texts):
        """Ids of each text, "" behind those of the shorter ones: string [B] -> string [B, W]."""
        ids = tf.strings.split(texts, self.separator)
        return tf.cond(
            ids.bounding_shape(axis=1) > MOST_IDS, lambda: ids[:, -MOST_IDS:], lambda: ids
        ).to_tensor("")

    def _encode(self, user_id, history):
        """(`Query`, history as rows [B, W], where nothing is known [B])."""
        rows = self._items.rows(history)
        events = histories.latest(self._known(rows), self.max_length)
        features = {"user": self._user_rows(user_id, events), "history": events}
        nothing = self._model().knows_nothing(features)
        return self._query(features), rows, nothing if self._has_popular else tf.zeros_like(nothing)

    def _query(self, features):
        return Query(self._model().query_vectors(features), self._model().prior(features))

    def _user_rows(self, user_id, events):
        if self._users is None:
            return tf.zeros_like(events[:, 0])
        rows = self._users.rows(user_id)
        if self._trained_users is None:
            return rows
        return tf.where(tf.gather(tf.convert_to_tensor(self._trained_users), rows), rows, 0)

    def _known(self, rows):
        """Rows of items with 0 for those that training never touched: int32 [...] -> int32 [...]."""
        if not self._passes_over:
            return rows
        return tf.where(tf.gather(tf.convert_to_tensor(self.popularity), rows) < 0, 0, rows)

    def _seen(self, rows):
        return rows[:, :0] if self.keep_seen else rows

    def _catalogue(self, query, nothing, hidden, k):
        """(scores, rows) [B, k] of the best items, those hidden [B, X] aside."""
        vectors, popular = tf.convert_to_tensor(self.item_vectors), nothing[:, tf.newaxis]
        if self.index is None:
            scores = score_all(query, vectors)
            scores = tf.cond(
                tf.reduce_any(nothing),
                lambda: tf.where(popular, self.popularity, scores),
                lambda: scores,
            )
            if self._passes_over:
                scores = tf.where(self.popularity < 0, self.popularity, scores)
            return search_all(scores, hidden, k)
        found = search_index(self.index, query.vectors, vectors, hidden, k, query.prior)

        def with_popular():
            scores = tf.broadcast_to(self.popularity, [tf.shape(hidden)[0], self.num_items + 1])
            return tuple(
                tf.where(popular, one, other)
                for one, other in zip(search_all(scores, hidden, k), found, strict=True)
            )

        return tf.cond(tf.reduce_any(nothing), with_popular, lambda: found)

    def _among(self, allowed, query, nothing, hidden, k):
        """(scores, rows) [B, k] of the best among listed items [B, A]."""
        rows = selection.distinct(allowed)
        return selection.best(
            selection.hide_among(self._pair_scores(query, nothing, rows), rows, hidden), rows, k
        )

    def _pair_scores(self, query, nothing, rows):
        scores = score_listed(query, tf.convert_to_tensor(self.item_vectors), rows)
        popularity = tf.gather(tf.convert_to_tensor(self.popularity), rows)
        return tf.where(
            nothing[:, tf.newaxis] | (popularity < 0)
            if self._passes_over
            else nothing[:, tf.newaxis],
            popularity,
            scores,
        )

    def _answer(self, scores, rows, nothing):
        items = self._items.ids(tf.where(scores > FLOOR, rows, 0))
        return {"items": items, "scores": scores, "source": tf.where(nothing, "popular", "model")}


def _concrete(function, specs):
    names = list(specs)

    def checked(**inputs):
        # The C++ session compares no ranks, and a model that does not use users would not notice a
        # batch of users of another size.
        inputs = {name: tf.ensure_shape(value, specs[name].shape) for name, value in inputs.items()}
        batch = tf.shape(inputs[names[0]])[:1]
        rest = {
            name: tf.reshape(inputs[name], tf.concat([batch, tf.shape(inputs[name])[1:]], axis=0))
            for name in names[1:]
        }
        return function(**{**inputs, **rest})

    return tf.function(checked, autograph=False).get_concrete_function(**specs)
