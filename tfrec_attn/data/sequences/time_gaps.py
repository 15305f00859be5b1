"""How long before each event its user's previous event was."""

import numpy as np

from tfrec_attn.data.sequences.encoding import Sequences


def time_gaps(sequences: Sequences) -> np.ndarray:
    """Returns the time since the user's previous event, float32 [E]; infinite for the first."""
    times = sequences.timestamps
    gaps = np.full(len(times), np.inf, np.float32)
    gaps[1:] = times[1:] - times[:-1]
    starts = sequences.offsets[:-1]
    gaps[starts[starts < len(times)]] = np.inf
    return gaps
