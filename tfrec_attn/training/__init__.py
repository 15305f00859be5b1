"""From a model and a split to a finished run."""
