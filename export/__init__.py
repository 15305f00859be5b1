"""Exports a run as a SavedModel for TF Serving: `python -m tfrec_attn.export RUN --to FOLDER`.

This folder is also the package `tfrec_attn.export`, through a link in the source tree: a name that
no file `export.py` of a user can hide. The modules import each other relatively, so that they work
under both names.
"""
