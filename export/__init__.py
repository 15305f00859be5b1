"""Exports a run as a SavedModel for TF Serving: `python -m tfrec_attn.export RUN --to FOLDER`.

This folder is also the package `tfrec_attn.export`, through a link in the source tree. A file
`export.py` of the user's cannot hide that name. The modules import each other relatively, so that
they work under both names.
"""
