"""A reader's own faces and network: what the two tutorials compute.

``lib`` takes them as they are; here is only what shows beforehand what will come of them, and a
network that stands for the reader's.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from lib import inputs, store
from lib.errors import InputError
from lib.faces.dataset import FaceSet, load_faces
from lib.faces.labels import has_labels

#: Channels of the convolutions of :func:`write_network`, each followed by pooling.
CHANNELS = (16, 32, 64)


def check_readiness(faces: FaceSet) -> pd.DataFrame:
    """What each part of the report needs of a set of faces, and whether it is there.

    Parameters
    ----------
    faces : FaceSet

    Returns
    -------
    DataFrame
        ``part`` of the report, ``needs``, ``found``, ``ready`` (bool).
    """
    table = faces.table
    people = table.groupby("identity")
    fewest = int(people.size().min())
    genders = people["gender"].first()
    known = genders.dropna().value_counts()
    unknown = int(genders.isna().sum())
    views = int(table["viewpoint"].notna().sum())
    try:
        ahead, why = f"{len(inputs.frontal(faces))} frontal images", ""
    except InputError as reason:
        ahead, why = "", str(reason).partition(",")[0]
    labelled = has_labels(faces)
    rows = [
        ("02, who it is", "two people or more", f"{len(people)} people", len(people) >= 2),
        (
            "02, validation",
            "two images of everybody or more",
            f"{fewest} or more",
            fewest >= 2,
        ),
        (
            "02, gender",
            "the gender of everybody, both of them",
            ", ".join(f"{n} {name}" for name, n in known.items()) or "none known",
            len(known) == 2 and not unknown,
        ),
        ("03 to 06, maps", "an image of everybody from viewpoint 0", ahead or why, not why),
        (
            "02, split by views",
            "the viewpoint of every image",
            f"known of {views} of {len(table)} images",
            views == len(table),
        ),
        (
            "03, parts of the face",
            "part labels, which photographs do not have",
            "there" if labelled else "none",
            labelled,
        ),
    ]
    return pd.DataFrame(rows, columns=["part", "needs", "found", "ready"])


def try_faces(source: str | Path, size: int) -> str:
    """What the report says about a folder: how many faces, or what is wrong with it.

    Parameters
    ----------
    source : path
    size : int
        Side, pixels.
    """
    try:
        faces = load_faces(source, size=size, min_identities=2)
    except InputError as reason:
        return str(reason).replace(f"{store.ROOT}/", "")
    return f"{len(faces)} images of {faces.table['identity'].nunique()} people"


def load_few(run: str, people: int) -> FaceSet:
    """Some faces of a run; those alone are opened, and not all to see whether any has changed.

    Parameters
    ----------
    run : str
    people : int
        How many, as :func:`lib.inputs.choose_identities` takes them; no more than there are.

    Returns
    -------
    FaceSet
        The rows that :func:`lib.inputs.load_faces` gives.

    Raises
    ------
    InputError
        01_faces has not run.
    """
    path = store.run_folder(run) / "faces.csv"
    table = store.load_table(path, made_by="01_faces", columns=["path", "identity", "gender"])
    made = store.provenance_of(path)["parameters"]
    source = store.ROOT / made["source"]
    names = inputs.choose_identities(table, min(people, table["identity"].nunique()))
    kept = table.loc[table["identity"].isin(names)].reset_index(drop=True)
    return FaceSet(source if source.is_dir() else source.parent, kept, made["size"])


def write_network(path: str | Path, size: int, classes: int = 10, seed: int = 0) -> Path:
    """A small Keras classifier with random convolutions, as a file: it stands for the reader's.

    Three convolutions of 3 x 3 with ReLU and pooling, and a dense layer with softmax. The kernels
    are He-normal (He et al. 2015, equation 10): it has seen nothing.

    Parameters
    ----------
    path : path
        Ending in ``.h5``: of the two forms of a Keras file the one without the time of day.
    size : int
        Side of its input, pixels.
    classes, seed : int

    Returns
    -------
    Path
    """
    import tensorflow as tf

    layers: list = [tf.keras.Input((size, size, 3), name="image")]
    for number, channels in enumerate(CHANNELS, 1):
        layers += [
            tf.keras.layers.Conv2D(
                channels, 3, padding="same", activation="relu", name=f"conv{number}"
            ),
            tf.keras.layers.MaxPooling2D(name=f"pool{number}"),
        ]
    layers += [
        tf.keras.layers.Flatten(name="flatten"),
        tf.keras.layers.Dense(classes, activation="softmax", name="classes"),
    ]
    model = tf.keras.Sequential(layers, name="own_network")
    for number, layer in enumerate(model.layers):
        if layer.weights:
            rng = np.random.default_rng([seed, number])
            kernel, bias = layer.get_weights()
            spread = np.sqrt(2 / np.prod(kernel.shape[:-1]))
            layer.set_weights([rng.normal(0, spread, kernel.shape), np.zeros_like(bias)])
    path = Path(path)
    logger, level = tf.get_logger(), tf.get_logger().level
    # what Keras thinks of the older form is nothing that a reader of the page can use
    with store.atomic_path(path) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        logger.setLevel("ERROR")
        model.save(temporary, save_format="h5", include_optimizer=False)
        logger.setLevel(level)
    return path
