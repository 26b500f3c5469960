"""Trial lists: a target above two faces, counterbalanced for side and order.

Observers come in pairs. The second of a pair sees the first one's trials in reverse order and with
the sides swapped. So over an even number of observers every identity has each network's choice on
the left exactly as often as on the right, and the same mean position in the session. Within an
observer the sides are balanced in blocks of four trials: no long runs, no drift over the session.
"""

import itertools

import numpy as np
import pandas as pd

from lib.errors import InputError
from lib.humans.responses import check_names

#: Columns of a table of trials.
COLUMNS = ("observer", "trial", "condition", "target", "left", "right")
#: Values of ``condition``: a comparison of the study; a trial with one right answer (one of the two
#: faces is the target itself); a trial before the study whose answer is not kept.
CONDITIONS = ("test", "catch", "practice")
_BLOCK = 4


def make_trials(disagreements, observers=46, *, catch=8, seed=0):
    """Trial lists of all observers.

    Parameters
    ----------
    disagreements : DataFrame
        From `lib.humans.choices.find_disagreements`: ``identity`` and one column per pretraining.
    observers : int
        Number of lists; even for exact balance.
    catch : int
        Catch trials per observer, spread over the session; one face is the target, the other anyone
        who is no choice of a network for it.
    seed : int

    Returns
    -------
    DataFrame
        Columns `COLUMNS`: ``observer`` from 1, ``trial`` from 1 within the observer, identities in
        ``target``, ``left``, ``right``.

    Raises
    ------
    InputError
        No observer, no identity, too few faces for a catch trial, or a name that a table of answers
        cannot hold.
    """
    check_names(disagreements.to_numpy().ravel())
    if observers < 1:
        raise InputError(f"{observers} observers need no trials: ask for at least 1.")
    if not 0 <= catch <= len(disagreements):
        raise InputError(
            f"{catch} catch trials do not fit {len(disagreements)} identities on which the "
            f"pretrainings differ: ask for 0 to {len(disagreements)}."
        )
    if len(disagreements) == 0:
        raise InputError(
            "The pretrainings agree on every identity: there is nothing to ask people."
        )
    seeds = np.random.SeedSequence(seed).spawn((observers + 1) // 2)
    lists = []
    for pair, stream in enumerate(seeds):
        rng = np.random.default_rng(stream)
        first = _one_list(disagreements, catch, rng)
        lists.append(first.assign(observer=2 * pair + 1))
        if 2 * pair + 2 <= observers:
            lists.append(_mirror(first).assign(observer=2 * pair + 2))
    table = pd.concat(lists, ignore_index=True)
    table["trial"] = table.groupby("observer").cumcount() + 1
    return table[list(COLUMNS)]


def make_practice(disagreements, identities, count=4, *, seed=0):
    """Practice trials, the same for everybody.

    Targets are identities that are not asked about where there are enough of them; the two faces
    are drawn from the others.

    Parameters
    ----------
    disagreements : DataFrame
    identities : sequence of str
        All faces, at least three.
    count : int
    seed : int

    Returns
    -------
    DataFrame
        Columns `COLUMNS` without ``observer``.

    Raises
    ------
    InputError
        Fewer than three faces, or a name that a table of answers cannot hold.
    """
    names = [str(name) for name in identities]
    check_names(names)
    if len(names) < 3:
        raise InputError(f"A practice trial needs 3 faces; there are {len(names)}.")
    rng = np.random.default_rng([seed, 1])
    asked = set(disagreements["identity"])
    free = [name for name in names if name not in asked]
    rest = [name for name in names if name in asked]
    targets = [*rng.permutation(free), *rng.permutation(rest)]
    rows = []
    for k in range(count):
        target = str(targets[k % len(targets)])
        left, right = rng.choice([name for name in names if name != target], 2, replace=False)
        rows.append((k + 1, "practice", target, str(left), str(right)))
    return pd.DataFrame(rows, columns=list(COLUMNS[1:]))


def summarise_trials(trials, disagreements):
    """How even trial lists are, for a reader to check.

    Parameters
    ----------
    trials : DataFrame
        From `make_trials`.
    disagreements : DataFrame

    Returns
    -------
    DataFrame
        ``quantity``, ``lowest``, ``highest``: over the observers, comparisons, catch trials and the
        share of the first network's choice on the left (%); over the identities, the same share and
        the mean position in the session.
    """
    test = trials[trials["condition"] == "test"]
    first = disagreements.set_index("identity").iloc[:, 0]
    left = 100.0 * (test["left"] == test["target"].map(first))
    catch = (trials["condition"] == "catch").groupby(trials["observer"]).sum()
    counted = {
        "comparisons of an observer": test.groupby("observer").size(),
        "catch trials of an observer": catch,
        "first choice on the left, each observer, %": left.groupby(test["observer"]).mean(),
        "first choice on the left, each identity, %": left.groupby(test["target"]).mean(),
        "mean position of an identity": test.groupby("target")["trial"].mean(),
    }
    rows = [(name, float(v.min()), float(v.max())) for name, v in counted.items()]
    return pd.DataFrame(rows, columns=["quantity", "lowest", "highest"])


def balanced_sides(count, rng):
    """Which of ``count`` trials have the first choice on the left.

    Every full block of four has two; the rest of one to three trials is as even as it can be.

    Returns
    -------
    ndarray (count,) of bool
    """
    sides = [rng.permutation([True, True, False, False]) for _ in range(count // _BLOCK)]
    rest = count % _BLOCK
    spare = rng.permutation([True, False])[: rest % 2]
    tail = rng.permutation(np.concatenate([np.tile([True, False], rest // 2), spare]).astype(bool))
    return np.concatenate([*sides, tail]).astype(bool)


def _one_list(disagreements, catch, rng):
    """Test trials in random order with catch trials among them, one per equal stretch."""
    order = disagreements.iloc[rng.permutation(len(disagreements))]
    targets, first, second = (order.iloc[:, k].to_numpy(object) for k in range(3))
    left_first = balanced_sides(len(order), rng)
    test = pd.DataFrame(
        {
            "condition": "test",
            "target": targets,
            "left": np.where(left_first, first, second),
            "right": np.where(left_first, second, first),
        }
    )
    if catch == 0:
        return test
    caught = _catch_trials(disagreements, catch, rng)
    edges = np.linspace(0, len(test), catch + 1).astype(int)
    pieces = []
    for k, (start, stop) in enumerate(itertools.pairwise(edges)):
        here = int(rng.integers(start, stop)) + 1
        pieces += [test.iloc[start:here], caught.iloc[[k]], test.iloc[here:stop]]
    return pd.concat(pieces, ignore_index=True)


def _catch_trials(disagreements, count, rng):
    table = disagreements.astype(object).to_numpy()
    faces = sorted(set(table.ravel()))
    rows = rng.permutation(len(table))[:count]
    target_left = balanced_sides(count, rng)
    trials = []
    for row, on_left in zip(rows, target_left, strict=True):
        shown = set(table[row])
        foils = [face for face in faces if face not in shown]
        if not foils:
            raise InputError(
                f"Too few faces for a catch trial about {table[row][0]!r}: "
                "ask for 0 catch trials, or give more identities."
            )
        target, foil = table[row][0], foils[int(rng.integers(len(foils)))]
        left, right = (target, foil) if on_left else (foil, target)
        trials.append(("catch", target, left, right))
    return pd.DataFrame(trials, columns=["condition", "target", "left", "right"])


def _mirror(trials):
    swapped = trials.iloc[::-1].rename(columns={"left": "right", "right": "left"})
    return swapped[["condition", "target", "left", "right"]].reset_index(drop=True)
