"""Runs a SavedModel as TF Serving does, without its Python code."""

from tfrec_attn.runtime.runner import Runner, version_folder

__all__ = ["Runner", "version_folder"]
