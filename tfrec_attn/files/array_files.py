"""Arrays in files. NumPy's own writers say nothing where a disk is full at the end of a file."""

import io
from pathlib import Path
from typing import BinaryIO

import numpy as np


def save_array(path: Path, values: np.ndarray) -> None:
    """Writes an array as `.npy`.

    Raises:
        OSError: If it cannot be written whole.
    """
    buffer = io.BytesIO()
    np.save(buffer, values)
    path.write_bytes(buffer.getbuffer())


def append_array(file: BinaryIO, values: np.ndarray) -> None:
    """Writes the bytes of an array.

    Raises:
        OSError: If they cannot be written whole.
    """
    file.write(np.ascontiguousarray(values).data)
