"""What the earlier chapters made, opened for the later ones.

A later chapter knows the run's name and repeats no setting of another chapter: the folder of faces
and the size of images come from the provenance of ``faces.csv``, the trunks and the identities from
that of ``readouts.nc``. What has changed on disk since (an image, a weight file) is refused: the
artefacts would no longer belong together.

TensorFlow is imported only by the functions that need a network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lib import store
from lib.errors import InputError
from lib.faces import dataset
from lib.faces.dataset import FaceSet

if TYPE_CHECKING:
    from lib.network import Readout
    from lib.vgg import Trunk

FACES = "01_faces"
READOUTS = "02_finetuning"


# ------------------------------------------------------------------------------------------ faces


def choose_identities(table: pd.DataFrame, count: int = 0) -> list[str]:
    """Names of the identities to keep, sorted.

    Parameters
    ----------
    table : DataFrame
        Of a face set: columns ``identity`` and ``gender``.
    count : int
        How many; 0 for all. The genders take turns, so that few identities are balanced too.

    Raises
    ------
    InputError
        There are fewer.
    """
    people = table.drop_duplicates("identity").sort_values("identity")
    if not count:
        return people["identity"].tolist()
    if count > len(people):
        raise InputError(
            f"identities = {count} are asked for and the faces have {len(people)}; ask for fewer, "
            "or 0 for all."
        )
    turn = people.groupby(people["gender"].fillna(""), sort=False).cumcount()
    return sorted(people["identity"].iloc[np.argsort(turn, kind="stable")[:count]])


def load_faces(run: str, identities: int | None = None) -> FaceSet:
    """The faces of a run, at its image size, sorted as in ``faces.csv``.

    Parameters
    ----------
    run : str
    identities : int, optional
        How many to keep (:func:`choose_identities`); by default those that the run's readouts know.

    Returns
    -------
    FaceSet

    Raises
    ------
    InputError
        A chapter has not run yet, or images were changed, added or removed since.
    """
    path = store.run_folder(run) / "faces.csv"
    table = store.load_table(path, made_by=FACES, columns=["path", "identity", "sha256"])
    settings = store.provenance_of(path)["parameters"]
    if identities is None:
        identities = _readout_settings(run)["identities"]
    source = store.ROOT / settings["source"]
    faces = dataset.load_faces(
        source, size=settings["size"], max_pixels=int(settings["megapixels"] * 1e6)
    )
    columns = ["path", "identity", "sha256"]
    if faces.table[columns].to_numpy().tolist() != table[columns].to_numpy().tolist():
        raise InputError(
            f"The images in {settings['source']} are no longer those that {FACES} listed for the "
            f"run {run!r}; run {FACES} again."
        )
    kept = faces.table["identity"].isin(choose_identities(faces.table, identities)).to_numpy()
    points = None if faces.points is None else faces.points[kept]
    return replace(faces, table=faces.table[kept].reset_index(drop=True), points=points)


def frontal(faces: FaceSet) -> np.ndarray:
    """Row of the frontal image (viewpoint 0) of each identity, in the order of the sorted names.

    Returns
    -------
    ndarray, (identities,), int

    Raises
    ------
    InputError
        An identity has no image with viewpoint 0.
    """
    table = faces.table.reset_index(drop=True)
    ahead = table[table["viewpoint"] == 0].drop_duplicates("identity").sort_values("identity")
    absent = sorted(set(table["identity"]) - set(ahead["identity"]))
    if absent:
        raise InputError(
            f"Identity {absent[0]!r} has no image with viewpoint 0, and maps are made of frontal "
            "faces; add one, or the viewpoint in the manifest or file name (yaw+000)."
        )
    return ahead.index.to_numpy()


# --------------------------------------------------------------------------------------- networks


def open_trunks(
    pretrainings: Sequence[str],
    size: int,
    *,
    means: str = "imagenet",
    vggface_file: str = "",
    vggface_sha256: str = "",
) -> dict[str, Trunk]:
    """Trunks by name, or by path of a Keras classifier, whose readout is left out.

    Parameters
    ----------
    pretrainings : sequence of str
        As :func:`lib.vgg.load_trunk` takes them; a path is relative to the repository or absolute.
    size : int
        Side of the images, pixels.
    means : {"imagenet", "vggface"}
        Channel means to subtract, the same for all.
    vggface_file, vggface_sha256 : str
        The reader's VGGFace weights and their checksum; empty for the public release.

    Returns
    -------
    dict
        Name -> Trunk, in the order given; a model's name is the stem of its file.

    Raises
    ------
    InputError
        See :func:`lib.vgg.load_trunk`; two trunks of one name; a model for another image size.
    """
    from lib import vgg

    found: dict[str, Trunk] = {}
    for given in pretrainings:
        path = store.ROOT / Path(given).expanduser()
        trunk = vgg.load_trunk(
            str(path) if path.is_file() else given,
            size,
            means=means,
            file=store.ROOT / Path(vggface_file).expanduser() if vggface_file else None,
            checksum=vggface_sha256 or None,
        )
        trunk = vgg.without_readout(trunk)
        if trunk.name in found:
            raise InputError(f"Two trunks are named {trunk.name!r}; rename one of the model files.")
        if trunk.model.input_shape[1:3] != (size, size):
            height, width = trunk.model.input_shape[1:3]
            raise InputError(
                f"{given} takes images of {width} x {height} pixels and the faces of this run have "
                f'{size} x {size}; make the run with SET="size={width}".'
            )
        found[trunk.name] = trunk
    return found


def trunk_digests(trunks: Mapping[str, Trunk]) -> dict[str, str]:
    """Checksum of the weights of each trunk, as it stands in the provenance of the readouts."""
    return {
        f"trunk {name}": t.provenance.get("digest") or t.provenance["sha256"]
        for name, t in trunks.items()
    }


def _readouts_path(run: str) -> Path:
    return store.run_folder(run) / "readouts.nc"


def _readouts_made(run: str) -> dict[str, Any]:
    with store.load_dataset(_readouts_path(run), made_by=READOUTS) as data:
        return store.provenance_of(data)


def _readout_settings(run: str) -> dict[str, Any]:
    return _readouts_made(run)["parameters"]


def load_trunks(run: str) -> dict[str, Trunk]:
    """The trunks on which a run's readouts were trained.

    Returns
    -------
    dict
        Name -> :class:`lib.vgg.Trunk`, in the order of the setting ``pretrainings``.

    Raises
    ------
    InputError
        The readouts are missing, or a trunk's weights are no longer those they were trained on.
    """
    made = _readouts_made(run)
    settings = made["parameters"]
    size = store.provenance_of(store.run_folder(run) / "faces.csv")["parameters"]["size"]
    names = ("means", "vggface_file", "vggface_sha256")
    trunks = open_trunks(settings["pretrainings"], size, **{name: settings[name] for name in names})
    for name, digest in trunk_digests(trunks).items():
        if made["inputs"].get(name) != digest:
            raise InputError(
                f"The weights of {name} are no longer those on which the readouts of the run "
                f"{run!r} were trained; run {READOUTS} again."
            )
    return trunks


def load_readouts(run: str) -> dict[str, list[Readout]]:
    """The readouts of a run.

    Returns
    -------
    dict
        Trunk's name -> list of :class:`lib.network.Readout`, named ``<task>-<initialisation>``,
        task by task. Classes of ``identity`` are the sorted names, of ``gender`` the sorted words.
    """
    from lib import finetuning

    with store.load_dataset(_readouts_path(run), made_by=READOUTS) as data:
        return finetuning.from_dataset(data)
