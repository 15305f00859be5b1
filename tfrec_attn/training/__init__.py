"""Training of a model on a split log, up to a finished run."""
