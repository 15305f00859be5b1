"""Clients of served models, a local server with the protocol of TF Serving, and checks.

A link makes this folder the package `tfrec_attn.serving` too; see `export/__init__.py`.
"""
