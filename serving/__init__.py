"""Serving an exported model: clients, a local server that speaks TF Serving's protocol, and what
proves a deployment.

This is also the package `tfrec_attn.serving`; `export/__init__.py` tells how and why.
"""
