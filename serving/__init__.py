"""Clients of exported models, a local server with the protocol of TF Serving, and checks.

This is also the package `tfrec_attn.serving`; `export/__init__.py` tells how and why.
"""
