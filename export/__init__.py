"""From a run to a SavedModel that stock TF Serving can serve: `python -m export RUN --to servables/NAME`."""
