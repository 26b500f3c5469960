"""Checks of what a caller gives: each refuses in one sentence that names the argument."""

from collections.abc import Mapping

import numpy as np

from lib.errors import InputError


def show(value, most=60):
    """A value as Python writes it, on one line and cut to ``most`` characters."""
    text = " ".join(repr(value).split())
    return text if len(text) <= most else text[: most - 3] + "..."


def is_whole(value):
    """Whether a value is a whole number; True and False are none."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def is_number(value):
    """Whether a value is a real number, NaN and infinity too; True and False are none."""
    return is_whole(value) or isinstance(value, float | np.floating)


def check_whole(name, value, low, high=None):
    """Refuse what is not a whole number from ``low`` on, or to ``high``."""
    if not is_whole(value) or value < low or (high is not None and value > high):
        rest = "on" if high is None else f"to {high}"
        raise InputError(f"{name} is {show(value)}: give a whole number from {low} {rest}.")


def check_number(name, value, low, high):
    """Refuse what is not a number from ``low`` to ``high``, NaN too."""
    if not is_number(value) or not low <= value <= high:
        raise InputError(f"{name} is {show(value)}: give a number from {low} to {high}.")


def check_switch(name, value):
    """Refuse what is neither True nor False."""
    if not isinstance(value, bool | np.bool_):
        raise InputError(f"{name} is {show(value)}: give True or False.")


def check_weights(name, weights, low, high):
    """Refuse what is not a mapping of names to numbers from ``low`` to ``high``."""
    if not isinstance(weights, Mapping):
        raise InputError(f"{name} is {show(weights)}: give a mapping of names to numbers.")
    for key, value in weights.items():
        check_number(f"{key!s} in {name}", value, low, high)
