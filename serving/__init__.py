"""Clients of exported models, a local server with the protocol of TF Serving, and checks.

This is also the package `tfrec_attn.serving`; see `export/__init__.py`.
"""
