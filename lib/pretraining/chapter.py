"""Tables of the appendix ``00_pretraining``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lib import vgg, weights
from lib.errors import InputError
from lib.faces.dataset import FaceSet
from lib.inputs import choose_identities
from lib.pretraining import probes, training
from lib.pretraining.images import People, Pictures
from lib.pretraining.network import State, fold, unfold
from lib.pretraining.shipping import BITS, FOLDER, describe_training, ship_trunk
from lib.pretraining.training import HISTORY, Training
from lib.store import ROOT

#: The share of held-out views that a trunk should name.
TARGET = 0.9


def people_folder(people: People) -> Path:
    """Where rendered people are kept: one folder per set of settings, shared by runs."""
    name = "-".join(
        f"{value}{label}"
        for label, value in (
            ("scenes", people.scenes), ("views", people.views), ("held", people.held_views),
            ("other", people.scene_views), ("px", people.size), ("seed", people.seed),
        )
    )  # fmt: skip
    return ROOT / ".cache" / "people" / name


def summarise_training(made: Mapping[str, Any]) -> pd.DataFrame:
    """The provenance of a trunk as a table of names and values."""
    images = made["images"]
    rows = [
        ("people", made["people"]["identities"]),
        ("training images", images["training"]),
        ("held-out views", images["view"]),
        ("images of held-out scenes", images["scene"]),
        ("images shown", made["image_passes"]),
        ("hours", f"{made['seconds'] / 3600:.2f}"),
        ("processor hours", f"{made['processor_seconds'] / 3600:.2f}"),
        ("precision", made["precision"]),
        ("binary digits of a kernel", made.get("kernel_bits", 10)),
        ("machine", made["machine"]),
        ("code", made["code"][:12] + ("+" if made["code"].endswith("+") else "")),
        *((f"accuracy, {name}", f"{value:.3f}") for name, value in made["accuracies"].items()),
    ]
    return pd.DataFrame([(name, str(value)) for name, value in rows], columns=["what", "value"])


def summarise_stages(plan: Training) -> pd.DataFrame:
    """One row per stage of a training."""
    columns = ["identities", "width", "pixels", "epochs", "rate", "last_rate", "batch"]
    rows = [{name: getattr(stage, name) for name in columns} for stage in plan.stages]
    return pd.DataFrame(rows)


def load_history(name: str, folder: Path = FOLDER) -> pd.DataFrame:
    """Curves of a shipped trunk, as :func:`lib.pretraining.shipping.ship_trunk` wrote them.

    Raises
    ------
    InputError
        There are none.
    """
    path = Path(folder) / f"{name}_history.csv"
    if not path.is_file():
        raise InputError(f"There are no curves {path}; restore them from the repository.")
    history = pd.read_csv(path)
    missing = [column for column in HISTORY if column not in history]
    if missing:
        raise InputError(f"{path} has no column {', '.join(missing)}; restore the file.")
    return history


def shipped_probes(made: Mapping[str, Any]) -> pd.DataFrame:
    """The table of probes that came with a trunk.

    Raises
    ------
    InputError
        The trunk came without one.
    """
    if not made.get("probes"):
        raise InputError("The trunk's provenance has no probes; train and ship it again.")
    columns = ["trunk", "view", "images", "accuracy", "chance", "penalty"]
    return pd.DataFrame(made["probes"])[columns]


def probe_faces(
    faces: FaceSet, trunks: Mapping[str, vgg.Trunk], identities: int = 0
) -> pd.DataFrame:
    """:func:`lib.pretraining.probes.probe_trunks` on faces.

    Parameters
    ----------
    faces : FaceSet
        With viewpoints.
    trunks : mapping
        Name -> trunk, all for one size of images.
    identities : int
        People kept; 0 for all.
    """
    table = faces.table
    keep = table["identity"].isin(choose_identities(table, identities))
    keep &= table["viewpoint"].isin([*probes.TRAINED, *probes.ASKED])
    rows = np.flatnonzero(keep)
    features = {
        name: vgg.compute_features(trunk, faces.images(rows, size=trunk.size))
        for name, trunk in trunks.items()
    }
    chosen = table.iloc[rows]
    return probes.probe_trunks(features, chosen["identity"], chosen["viewpoint"])


def ship(
    name: str,
    trained: tuple[State, pd.DataFrame],
    people: People,
    plan: Training,
    pictures: Pictures,
    precision: str,
    faces: FaceSet,
    compared: vgg.Trunk,
    folder: Path = FOLDER,
) -> Path:
    """Validate, probe and write a trained trunk.

    Parameters
    ----------
    name : str
    trained : state, history
        As :func:`lib.pretraining.training.train_trunk` gives them; at full width.
    people, plan, pictures, precision
        What it was trained with.
    faces : FaceSet
        Of the probes.
    compared : Trunk
        Probed beside it, at its size of images.
    folder : path
        For :func:`lib.pretraining.shipping.ship_trunk`.
    """
    state, history = trained
    last = plan.stages[-1]
    # What is told of the file is told of the rounded weights that are in it.
    arrays = weights.round_kernels(fold(state), BITS)
    rounded = unfold(arrays, state)
    accuracies = training.validate(rounded, pictures, plan, last.identities, last.pixels)
    about = describe_training(people, plan, history, pictures, accuracies, precision)
    about["kernel_bits"] = BITS
    own = vgg.Trunk(name, vgg.build_vgg16(compared.size, arrays, name))
    table = probe_faces(faces, {name: own, compared.name: compared})
    about["probes"] = table.round(4).to_dict("records")
    about["probe_size"] = compared.size
    about["name"] = name
    return ship_trunk(name, arrays, about, history, folder)


def state_verdict(made: Mapping[str, Any]) -> str:
    """Whether the trunk reached its aim on held-out views, in words."""
    reached = made["accuracies"]["view"] >= TARGET
    return f"the aim of {TARGET:.2f} on held-out views was {'reached' if reached else 'missed'}"
