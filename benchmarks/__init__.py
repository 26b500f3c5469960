"""The same work by this project and by others, side by side in one run: ``make bench``."""
