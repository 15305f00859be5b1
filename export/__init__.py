"""From a run to a SavedModel that TF Serving serves: `python -m tfrec_attn.export RUN --to
servables/NAME`.

This is also the package `tfrec_attn.export`, which no `export.py` of the user's hides; in the
source tree `tfrec_attn/export` is a link to this folder. The modules import each other relatively,
so that they work under both names and never load a file of the user's.
"""
