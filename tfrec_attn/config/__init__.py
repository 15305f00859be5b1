"""The keys of a configuration, their defaults and checks; without TensorFlow."""

# ruff: noqa: F401  These names are what others use.

from tfrec_attn.config.loading import (
    flatten,
    from_dict,
    load,
    overlay,
    to_dict,
    to_yaml,
    with_model_parameters,
    with_values,
)
from tfrec_attn.config.schema import (
    Columns,
    Config,
    Data,
    Evaluate,
    Model,
    Prior,
    Runtime,
    Train,
    documented,
    has_prior,
)
