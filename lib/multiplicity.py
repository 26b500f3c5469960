"""Several tests at once."""

import numpy as np


def correct_holm(p):
    """p-values corrected for their number by Holm's step-down method (1979).

    Parameters
    ----------
    p : array (n,) of float
        Not a number where there was no test; that counts for nothing and stays as it is.

    Returns
    -------
    ndarray (n,)
    """
    # statsmodels' multipletests collects garbage at every call, which takes half a second here.
    p = np.array(p, dtype=float)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    steps = p[order] * np.arange(len(order), 0, -1)
    p[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return p
