"""Maps brought to the size of the image."""

import numpy as np


def resize_maps(maps: np.ndarray, size: int) -> np.ndarray:
    """Maps (..., h, w) at (..., size, size), bilinear with aligned pixel areas, float64."""
    maps = np.asarray(maps, np.float64)
    for axis in (-2, -1):
        length = maps.shape[axis]
        if length == size:
            continue
        position = np.clip((np.arange(size) + 0.5) * length / size - 0.5, 0, length - 1)
        low = np.minimum(position.astype(int), max(length - 2, 0))
        share = position - low
        high = np.minimum(low + 1, length - 1)
        share = share[:, None] if axis == -2 else share
        maps = maps.take(low, axis) * (1 - share) + maps.take(high, axis) * share
    return maps
