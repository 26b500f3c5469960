"""What masking needs of a run, opened and matched."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr

from lib import inputs, store
from lib.errors import InputError
from lib.finetuning import make_tasks
from lib.masking.masks import find_constant
from lib.network import Readout
from lib.vgg import Trunk

RELEVANCE = "03_relevance"


class Study(NamedTuple):
    """The first five are what :func:`lib.masking.compute_scores` takes.

    Attributes
    ----------
    trunks : dict of name -> Trunk
    readouts : dict of name -> list of Readout
    images : ndarray of uint8, (identity, y, x)
        Frontal faces, 0 to 255.
    labels : dict of task -> ndarray of int, (identity,)
        True classes.
    relevance : DataArray, (model, identity, y, x)
        Read from the file when used.
    left_out : list of str
        Identities for which some map ranks no pixel; they are in none of the above.
    """

    trunks: dict[str, Trunk]
    readouts: dict[str, list[Readout]]
    images: np.ndarray
    labels: dict[str, np.ndarray]
    relevance: xr.DataArray
    left_out: list[str]


def load_study(run: str) -> Study:
    """Frontal faces, networks and relevance of a run.

    Raises
    ------
    InputError
        An earlier chapter has not run, its artefacts are of other faces, or no face is left whose
        maps all rank pixels.
    """
    path = store.run_folder(run) / "relevance.nc"
    schema = {"relevance": ("model", "identity", "y", "x")}
    relevance = store.load_dataset(path, made_by=RELEVANCE, schema=schema)["relevance"]
    readouts = inputs.load_readouts(run)
    faces = inputs.load_faces(run)
    rows = inputs.frontal(faces)
    names = faces.table["identity"].iloc[rows].astype(str).tolist()
    mapped = relevance["identity"].to_numpy().astype(str).tolist()
    if mapped != names:
        raise InputError(
            f"{path} holds maps of {len(mapped)} faces that are not the {len(names)} of the run "
            f"{run!r}; run {RELEVANCE} again."
        )
    left_out = find_constant(relevance)
    kept = np.flatnonzero(~np.isin(names, left_out))
    if not kept.size:
        raise InputError(
            "Every face has a relevance map that is the same everywhere, so there is nothing to "
            f"mask; run {RELEVANCE} with another target or composite."
        )
    known = (r.name.rpartition("-")[0] for some in readouts.values() for r in some)
    tasks = list(dict.fromkeys(known))
    return Study(
        inputs.load_trunks(run),
        readouts,
        faces.images(rows[kept]),
        {task.name: task.labels[rows[kept]] for task in make_tasks(faces.table, tasks)},
        relevance.isel(identity=kept),
        left_out,
    )
