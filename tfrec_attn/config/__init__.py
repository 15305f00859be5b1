"""The keys of a configuration, their defaults and checks; without TensorFlow."""

from tfrec_attn.config.loading import (
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
    Runtime,
    Train,
    documented,
)

__all__ = [
    "Columns",
    "Config",
    "Data",
    "Evaluate",
    "Model",
    "Runtime",
    "Train",
    "documented",
    "from_dict",
    "load",
    "overlay",
    "to_dict",
    "to_yaml",
    "with_model_parameters",
    "with_values",
]
