"""Comparisons of models and ablations of a configuration: trainings, tests, tables and plots."""
