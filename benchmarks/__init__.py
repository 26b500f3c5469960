"""The same work by this project and by others, side by side in one run: ``make bench``."""

import lib  # noqa: F401  (before TensorFlow, whose convolutions it chooses)
