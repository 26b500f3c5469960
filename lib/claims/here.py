"""What a run says about a claim."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Here(NamedTuple):
    """A value of this run, compared with the printed one by :func:`lib.claims.judge.holds`.

    ``words`` stand in the report (the value itself where empty). ``low`` and ``high`` are its
    interval where it has one: then the end that faces the bound has to hold. ``direction`` says
    whether the value is on the published side where the relation itself fails. ``verdict``
    overrides all of it, where a chapter has judged already or the sign is the opposite one.
    """

    value: float = np.nan
    words: str = ""
    low: float = np.nan
    high: float = np.nan
    direction: bool = False
    verdict: str = ""
