"""Numbering of the 68 landmarks of the iBUG 300-W scheme.

0 to 67, "right" and "left" being the subject's, right first: 0-16 jaw from ear to ear
over the chin (8), 17-21 right brow from its outer end, 22-26 left brow from its inner end, 27-30
bridge of the nose down to the tip, 31-35 base of the nose, 36-41 right eye and 42-47 left eye
(clockwise in the image from the corner on the image's left), 48-59 outer and 60-67 inner outline of
the lips (clockwise from the corner on the image's left).
"""

import numpy as np

COUNT = 68

#: Twin of each landmark on the other side of the face.
MIRROR = np.array(
    [
        *range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, *range(35, 30, -1),
        45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
        *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), 67, 66, 65,
    ]
)  # fmt: skip
