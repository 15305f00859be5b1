"""The keys of a configuration, their defaults and checks; without TensorFlow."""

from tfrec_attn.config.schema import (
    Columns,
    Config,
    Data,
    Evaluate,
    Model,
    Runtime,
    Train,
    documented,
    from_dict,
    load,
    to_dict,
    to_yaml,
    with_model_parameters,
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
    "to_dict",
    "to_yaml",
    "with_model_parameters",
]
