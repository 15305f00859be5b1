"""From interactions to encoded, filtered and split sequences."""
