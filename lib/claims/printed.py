"""Printed numbers recomputed from one another, for all three papers in one table."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lib.errors import InputError
from lib.generalization import claims as anova
from lib.humans import printed as people

#: Effect of :data:`lib.generalization.claims.PRINTED` -> claim of the ledger, less ``_F``, ``_p``.
EFFECTS = {
    "identity: pretraining": "identity_pretraining",
    "identity: source": "identity_source",
    "gender: pretraining": "gender_pretraining",
    "four sources, smallest of four": "four_sources",
}
#: Quantity of :func:`lib.humans.printed.recompute_printed` -> claim of the ledger.
QUANTITIES = {"t": "preference_t", "s.e.m. (%)": "preference_sem", "p": "preference_p"}
#: Cells of the sample map, 7 x 7.
CELLS = 49


def recompute_statistics(reported: pd.DataFrame) -> pd.DataFrame:
    """What follows from the printed numbers, beside what is printed.

    Parameters
    ----------
    reported : DataFrame
        From :func:`lib.claims.reported.load_reported`.

    Returns
    -------
    DataFrame
        ``id``, ``paper``, ``claim``, ``printed``, ``recomputed``, ``low``, ``high`` (from the
        rounding of what it follows from), ``agrees``, ``how``.

    Raises
    ------
    InputError
        The ledger lacks a number that the recomputation starts from.
    """
    ledger = reported.set_index("id")
    needed = [f"{claim}_{number}" for claim in EFFECTS.values() for number in "Fp"]
    needed += [*QUANTITIES.values(), "preference", "observers", "extreme_face", "extreme_general"]
    needed += ["entropy_sample", "entropy_sample_bits"]
    absent = [claim for claim in needed if claim not in ledger.index]
    if absent:
        raise InputError(f"reported.csv has no claim {', '.join(absent)}; restore the rows.")
    found = {}
    for row in anova.recompute_printed().itertuples():
        how = f"from F({row.df1},{row.df2}) = {row.F:g}"
        found[f"{EFFECTS[row.effect]}_p"] = (
            *(row.p_recomputed, row.p_low, row.p_high, row.agrees, how),
        )
    value = ledger["value"]
    table = people.recompute_printed(
        mean=value["preference"],
        sem=value["preference_sem"],
        t=value["preference_t"],
        p=value["preference_p"],
        observers=int(value["observers"]),
        extremes=(value["extreme_face"], value["extreme_general"]),
    ).set_index("quantity")
    names = QUANTITIES | {
        f"extreme {value[claim]:g}%": claim for claim in ("extreme_face", "extreme_general")
    }
    for quantity, claim in names.items():
        row = table.loc[quantity]
        found[claim] = (row["recomputed"], row["low"], row["high"], row["agrees"], row["how"])
    bits = ledger.loc["entropy_sample_bits"]
    ends = (bits["value"] + np.array([0, -1, 1]) * bits["tolerance"]) / np.log2(CELLS)
    half = ledger.loc["entropy_sample", "tolerance"]
    agrees = ends[1] <= value["entropy_sample"] + half and ends[2] >= value["entropy_sample"] - half
    found["entropy_sample"] = (*ends, bool(agrees), f"from the bits, over log2({CELLS})")
    rows = [
        {
            "id": claim,
            **ledger.loc[claim, ["paper", "claim"]],
            "printed": value[claim],
            **dict(zip(("recomputed", "low", "high", "agrees", "how"), numbers, strict=True)),
        }
        for claim, numbers in found.items()
    ]
    return pd.DataFrame(rows)
