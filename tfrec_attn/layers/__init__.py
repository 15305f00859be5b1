"""Keras layers of sequential recommenders, for Keras 2 and Keras 3 and mixed precision."""

from tfrec_attn.layers.dropout import Dropout
from tfrec_attn.layers.embedding_smoothing import EmbeddingSmoothing
from tfrec_attn.layers.embedding_table import EmbeddingTable
from tfrec_attn.layers.feed_forward import FeedForward
from tfrec_attn.layers.filter_block import FilterBlock
from tfrec_attn.layers.fourier_filter import FourierFilter
from tfrec_attn.layers.gated_residual_block import GatedResidualBlock
from tfrec_attn.layers.graph_propagation import GraphPropagation
from tfrec_attn.layers.graph_regularization import GraphRegularization
from tfrec_attn.layers.gru import GRU
from tfrec_attn.layers.history_embedding import HistoryEmbedding
from tfrec_attn.layers.item_neighbours import ItemNeighbours
from tfrec_attn.layers.layer_norm import LayerNorm
from tfrec_attn.layers.learned_positions import LearnedPositions
from tfrec_attn.layers.lquery_attention import LQueryAttention
from tfrec_attn.layers.max_norm import MaxNorm
from tfrec_attn.layers.multi_head_self_attention import MultiHeadSelfAttention
from tfrec_attn.layers.multi_query_self_attention import MultiQuerySelfAttention
from tfrec_attn.layers.post_norm_block import PostNormBlock
from tfrec_attn.layers.self_attention import SelfAttention
from tfrec_attn.layers.self_attentive_intent import SelfAttentiveIntent
from tfrec_attn.layers.sequential_transduction_unit import SequentialTransductionUnit
from tfrec_attn.layers.sinusoidal_positions import SinusoidalPositions
from tfrec_attn.layers.squared_distance import SquaredDistance
from tfrec_attn.layers.swiglu import SwiGLU
from tfrec_attn.layers.transformer_block import TransformerBlock
from tfrec_attn.layers.transformer_stack import TransformerStack
from tfrec_attn.layers.transition_distillation import TransitionDistillation
from tfrec_attn.layers.transition_prior import TransitionPrior
from tfrec_attn.layers.window_convolution import WindowConvolution

__all__ = [
    "GRU",
    "Dropout",
    "EmbeddingSmoothing",
    "EmbeddingTable",
    "FeedForward",
    "FilterBlock",
    "FourierFilter",
    "GatedResidualBlock",
    "GraphPropagation",
    "GraphRegularization",
    "HistoryEmbedding",
    "ItemNeighbours",
    "LQueryAttention",
    "LayerNorm",
    "LearnedPositions",
    "MaxNorm",
    "MultiHeadSelfAttention",
    "MultiQuerySelfAttention",
    "PostNormBlock",
    "SelfAttention",
    "SelfAttentiveIntent",
    "SequentialTransductionUnit",
    "SinusoidalPositions",
    "SquaredDistance",
    "SwiGLU",
    "TransformerBlock",
    "TransformerStack",
    "TransitionDistillation",
    "TransitionPrior",
    "WindowConvolution",
]
