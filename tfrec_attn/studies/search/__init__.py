"""The search for settings: its space, its trials, their journal and its results."""
