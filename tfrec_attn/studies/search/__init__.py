"""The search for settings: what it may try, its trials, their journal and its results."""
