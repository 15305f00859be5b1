"""Serving an exported model: clients, a local server that speaks TF Serving's protocol, and what proves a deployment."""
