"""Names of the parts that label pictures carry."""

import numpy as np

PARTS = {
    "background": 0,
    "skin": 1,
    "forehead": 2,
    "brow": 3,
    "eye": 4,
    "eyelid": 5,
    "nose": 6,
    "lips": 7,
    "ear": 8,
    "cheek": 9,
    "chin": 10,
    "hair": 11,
    "cloth": 12,
    "mouth": 13,
    "glasses": 14,
    "lash": 15,
    "beard": 16,
}

# One colour per part for figures (sRGB, 0..255), in the order of PARTS.
PALETTE = np.array(
    [
        [70, 70, 70], [230, 190, 160], [255, 220, 120], [120, 60, 20], [255, 255, 255],
        [0, 160, 160], [255, 120, 0], [220, 20, 60], [150, 80, 200], [250, 150, 170],
        [120, 200, 60], [60, 40, 20], [60, 90, 160], [90, 0, 0], [0, 0, 0], [0, 90, 110],
        [150, 110, 60],
    ],
    np.uint8,
)  # fmt: skip


def colour_labels(labels):
    """A colour picture (y, x, 3) uint8 of a label picture (y, x)."""
    return PALETTE[labels]
