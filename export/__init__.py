"""Exports a run as a SavedModel for TF Serving: `python -m tfrec_attn.export RUN --to FOLDER`.

A link in the source tree makes this folder the package `tfrec_attn.export` too. A user's own file
`export.py` cannot hide that name. The modules import each other relatively, so that they work under
both names.
"""
