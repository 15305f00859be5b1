"""The keys of a configuration, their defaults and checks; without TensorFlow."""

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

__all__ = [
    "Columns",
    "Config",
    "Data",
    "Evaluate",
    "Model",
    "Prior",
    "Runtime",
    "Train",
    "documented",
    "flatten",
    "from_dict",
    "has_prior",
    "load",
    "overlay",
    "to_dict",
    "to_yaml",
    "with_model_parameters",
    "with_values",
]
