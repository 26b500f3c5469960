"""Holm's correction, against a second package."""

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from lib.multiplicity import correct_holm


@pytest.mark.parametrize("count", [0, 1, 12])
def test_holm_agrees_with_statsmodels(count):
    p = np.random.default_rng(count).random(count) ** 3
    p[count // 2 :] = p[count // 2 :].round(1)  # ties
    reference = multipletests(p, method="holm")[1] if count else []
    assert correct_holm(p) == pytest.approx(reference)


def test_what_was_not_tested_counts_for_nothing():
    p = np.array([np.nan, 0.03, np.nan, 0.01, 0.9])
    found = correct_holm(p)
    assert found[[1, 3, 4]] == pytest.approx([0.06, 0.03, 0.9])
    assert np.isnan(found[[0, 2]]).all() and np.isnan(p).sum() == 2
    assert np.isnan(correct_holm([np.nan])).all()
