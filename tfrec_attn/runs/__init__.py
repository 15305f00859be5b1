"""Run directories: their files, their data and model, and unfinished runs."""
