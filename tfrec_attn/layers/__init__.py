"""Keras layers of sequential recommenders, for Keras 2 and Keras 3 and mixed precision."""

from tfrec_attn.layers.dropout import Dropout
from tfrec_attn.layers.embedding_table import EmbeddingTable
from tfrec_attn.layers.feed_forward import FeedForward
from tfrec_attn.layers.graph_propagation import GraphPropagation
from tfrec_attn.layers.history_embedding import HistoryEmbedding
from tfrec_attn.layers.item_neighbours import ItemNeighbours
from tfrec_attn.layers.learned_positions import LearnedPositions
from tfrec_attn.layers.lquery_attention import LQueryAttention
from tfrec_attn.layers.max_norm import MaxNorm
from tfrec_attn.layers.multi_query_self_attention import MultiQuerySelfAttention
from tfrec_attn.layers.self_attention import SelfAttention
from tfrec_attn.layers.self_attentive_intent import SelfAttentiveIntent
from tfrec_attn.layers.sinusoidal_positions import SinusoidalPositions
from tfrec_attn.layers.squared_distance import SquaredDistance
from tfrec_attn.layers.transformer_block import TransformerBlock
from tfrec_attn.layers.transformer_stack import TransformerStack
from tfrec_attn.layers.transition_distillation import TransitionDistillation
from tfrec_attn.layers.transition_prior import TransitionPrior

__all__ = [
    "Dropout",
    "EmbeddingTable",
    "FeedForward",
    "GraphPropagation",
    "HistoryEmbedding",
    "ItemNeighbours",
    "LQueryAttention",
    "LearnedPositions",
    "MaxNorm",
    "MultiQuerySelfAttention",
    "SelfAttention",
    "SelfAttentiveIntent",
    "SinusoidalPositions",
    "SquaredDistance",
    "TransformerBlock",
    "TransformerStack",
    "TransitionDistillation",
    "TransitionPrior",
]
