"""What is dissected: the dictionary, a part of it or a reader's, and the networks."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf
from PIL import Image

from lib import inputs, vgg, weights
from lib.dissection.learners import ARCHITECTURES
from lib.dissection.networks import TrainedNetwork, train_networks
from lib.dissection.pictures import TASKS, load_pictures
from lib.errors import InputError
from lib.faces.concepts import CONCEPTS, NON_LOCAL, concept_ellipse
from lib.faces.dictionary import Dictionary, load_dictionary
from lib.faces.ellipse import LEVEL, ellipse_mask
from lib.store import ROOT, sha256
from lib.vgg import Trunk

#: Steps of what goes on from a trunk, and of a residual network that starts from nothing.
LEARNING_RATES = {"vgg16": 1e-4, "resnet50": 1e-3, "resnet14": 1e-3}
#: Task of a residual network that is named without one, that of the published experiments.
TASK = "gender"


# ------------------------------------------------------------------------------------- dictionary


@dataclass(frozen=True)
class ChosenDictionary(Dictionary):
    """A dictionary whose ellipses may be drawn around landmarks of the reader's choice.

    Attributes
    ----------
    ellipses : mapping
        Concept -> groups of landmarks, one ellipse each; other concepts keep theirs.
    """

    ellipses: Mapping[str, tuple] = field(default_factory=dict)
    _latest: dict = field(default_factory=dict, init=False, repr=False, compare=False)

    def _points(self, i, size):
        """Landmarks of one image, which are asked for once by every concept."""
        if (i, size) not in self._latest:
            self._latest.clear()
            self._latest[i, size] = self.faces.landmarks([i], size)[0]
        return self._latest[i, size]

    def masks(self, i, size=None):
        """As `Dictionary.masks`; of concepts that the manifest says are not there, empty."""
        found = super().masks(i, size)
        found[..., [not self.has(name)[i] for name in CONCEPTS]] = False
        return found

    def ellipse_mask(self, concept, i, size=None, level=LEVEL):
        """As `Dictionary.ellipse_mask`; groups of which half is hidden are left out there too."""
        size = self.faces.size if size is None else size
        if not self.has(concept)[i] or size is None:
            return super().ellipse_mask(concept, i, size, level)
        points, shape = self._points(i, size), (size, size)
        if concept not in self.ellipses:
            return concept_ellipse(concept, points, shape, level=level)
        groups = [points[list(group)] for group in self.ellipses[concept]]
        seen = [group for group in groups if np.mean(group[:, 2] > 0.5) >= 0.5]
        mask = np.zeros(shape, bool)
        for group in seen or groups:
            known = group[np.isfinite(group[:, :2]).all(axis=1), :2]
            if len(known) >= 2:
                mask |= ellipse_mask(known, shape, level=level)
        return mask


def read_ellipses(path: str | Path) -> dict[str, tuple]:
    """Which landmarks make a concept's ellipses, from a table of the reader's.

    Parameters
    ----------
    path : path
        CSV with the columns ``concept``, ``ellipse`` (any label; one ellipse for each) and
        ``landmark`` (0 to 67, of the 68 of iBUG).

    Raises
    ------
    InputError
        Not such a table, an unknown concept, a landmark out of range, an ellipse of one point.
    """
    try:
        table = pd.read_csv(path)[["concept", "ellipse", "landmark"]]
    except Exception:  # pandas has errors of its own, and of the csv module
        raise InputError(
            f"'{path}' is no table of landmarks: give a CSV with the columns concept, ellipse, "
            "landmark."
        ) from None
    for name in table["concept"].unique():
        if name not in CONCEPTS:
            near = difflib.get_close_matches(str(name), list(CONCEPTS), n=1)
            hint = f" - did you mean {near[0]!r}?" if near else ""
            raise InputError(f"'{path}' names the concept {name!r}, which does not exist{hint}.")
    if table.empty:
        raise InputError(f"'{path}' has a header and no rows: give a landmark in each.")
    table["ellipse"] = table["ellipse"].fillna("")
    if not table["landmark"].isin(range(68)).all():
        bad = table.loc[~table["landmark"].isin(range(68)), "landmark"].iloc[0]
        raise InputError(f"'{path}' names the landmark {bad!r}; there are 0 to 67.")
    out: dict[str, tuple] = {}
    for (concept, label), group in table.groupby(["concept", "ellipse"], sort=False):
        if group["landmark"].nunique() < 2:
            raise InputError(
                f"'{path}': ellipse {label!r} of {concept} has one landmark; it takes two or more."
            )
        points = tuple(int(k) for k in group["landmark"].unique())
        out[concept] = (*out.get(concept, ()), points)
    return out


def choose_images(dictionary, count: int, seed: int = 0) -> np.ndarray:
    """A few images in which every concept and group is as frequent as in the whole dictionary.

    Image by image the one is taken that brings the shares nearest to those of the whole, distances
    being in units of a share's standard deviation.

    Parameters
    ----------
    dictionary : Dictionary
    count : int
    seed : int
        Which of equally good images comes first.

    Returns
    -------
    ndarray (count,), int
        Ascending.
    """
    columns = [dictionary.carries[dictionary.concepts].to_numpy(float)]
    for concept, names in NON_LOCAL.items():
        try:
            groups = dictionary.group(concept)
        except InputError:
            continue
        columns.append((groups[:, None] == np.array(names)).astype(float))
    has = np.concatenate(columns, axis=1)
    has = has[:, has.std(0) > 0]
    order = np.random.default_rng(seed).permutation(len(has))
    has, share, spread = has[order], has.mean(0), has.std(0)
    total, chosen = np.zeros(has.shape[1]), []
    free = np.ones(len(has), bool)
    for n in range(1, min(count, len(has)) + 1):
        distance = ((((total + has) / n - share) / spread) ** 2).sum(1)
        best = int(np.where(free, distance, np.inf).argmin())
        free[best] = False
        total += has[best]
        chosen.append(order[best])
    return np.sort(chosen)


def keep_images(
    dictionary: Dictionary, images: int, seed: int = 0, setting: str = "images"
) -> Dictionary:
    """The dictionary with as many of its images (`choose_images`), all of them where 0 or more.

    Raises
    ------
    InputError
        None of those kept carries one of the concepts.
    """
    if not 0 < images < len(dictionary):
        return dictionary
    rows = choose_images(dictionary, images, seed)
    faces = dictionary.faces
    points = None if faces.points is None else faces.points[rows]
    kept = replace(faces, table=faces.table.iloc[rows].reset_index(drop=True), points=points)
    carries = dictionary.carries.iloc[rows].reset_index(drop=True)
    empty = [name for name in carries if not carries[name].any()]
    if empty:
        raise InputError(
            f"{setting} = {images} are too few: none of them carries {', '.join(empty)}; keep "
            "more, or 0 for all."
        )
    return replace(dictionary, faces=kept, carries=carries)


def open_dictionary(
    path: str | Path, images: int = 0, seed: int = 0, ellipses: str | Path = ""
) -> Dictionary:
    """The dictionary of a run, or a reader's.

    Parameters
    ----------
    path : path
        As `lib.faces.dictionary.load_dictionary` reads it.
    images : int
        How many to keep (`choose_images`); 0 for all.
    seed : int
    ellipses : path
        The reader's table of landmarks (`read_ellipses`); empty for the project's.

    Raises
    ------
    InputError
        As there; more images than there are; a concept that no image carries; a mask that has not
        its image's size.
    """
    found = load_dictionary(path)
    if images > len(found):
        raise InputError(
            f"images = {images} are asked for and '{path}' has {len(found)}; ask for fewer, or 0 "
            "for all."
        )
    empty = [name for name in found.carries if not found.carries[name].any()]
    if empty:
        raise InputError(
            f"'{path}': no image carries {', '.join(empty)}; leave such a column out of the "
            "manifest, or add images."
        )
    if images:
        found = keep_images(found, images, seed)
    _check_masks(found)
    own = read_ellipses(ellipses) if ellipses else {}
    return ChosenDictionary(found.faces, found.carries, found.codebook, own)


def _check_masks(dictionary: Dictionary) -> None:
    """Refuse a mask that cannot lie on its image; sizes are read from the headers of the files."""
    if not dictionary.has_exact_masks:
        return
    columns = ["path", "mask_path", "height", "width"]
    for path, mask, *size in dictionary.faces.table[columns].itertuples(index=False):
        try:
            with Image.open(dictionary.faces.root / mask) as image:
                width, height = image.size
        except (OSError, TypeError):
            raise InputError(
                f"'{path}' in {dictionary.faces.root} has no mask {mask!r} that can be read; add "
                "it, or leave the column mask_path out."
            ) from None
        if [height, width] != size:
            raise InputError(
                f"The mask '{mask}' in {dictionary.faces.root} has {width} x {height} pixels and "
                f"its image '{path}' {size[1]} x {size[0]}; give it the image's size."
            )


# --------------------------------------------------------------------------------------- networks


def read_learner(name: str) -> tuple[str, str] | None:
    """Architecture and task of a network that is trained here; None for any other.

    Parameters
    ----------
    name : str
        A task (then ``vgg16``), an architecture (then `TASK`), or ``architecture/task``.
    """
    if name in TASKS:
        return "vgg16", name
    if name in LEARNING_RATES:
        return name, TASK
    architecture, _, task = name.partition("/")
    return (architecture, task) if architecture in ARCHITECTURES and task in TASKS else None


def train_learners(
    names: Sequence[str],
    trunk: Trunk,
    folder: str | Path,
    *,
    people: int,
    scenes: int = 2,
    views: int = 2,
    trained_from: str = "conv5_1",
    width: float = 1.0,
    epochs: int = 5,
    precision: str = "auto",
    seed: int = 0,
) -> dict[str, TrainedNetwork]:
    """Those of some networks that have to be trained, see `read_learner`.

    Parameters
    ----------
    names : sequence of str
        Of any networks.
    trunk : Trunk
        Where learning goes on from; says the size of the pictures.
    folder : path
        Where pictures and networks are kept.
    people, scenes, views : int
        Rendered to learn from (`lib.dissection.pictures.render_pictures`).
    trained_from, width, epochs, precision, seed
        Of `lib.dissection.networks.train_networks`.

    Returns
    -------
    dict
        Name as given -> TrainedNetwork.
    """
    wanted = {name: read_learner(name) for name in names}
    wanted = {name: both for name, both in wanted.items() if both is not None}
    if not wanted:
        return {}
    pictures = load_pictures(folder, people, scenes=scenes, views=views, size=trunk.size, seed=seed)
    found = {}
    for architecture in dict.fromkeys(a for a, _ in wanted.values()):
        trained = train_networks(
            list(dict.fromkeys(task for a, task in wanted.values() if a == architecture)),
            pictures,
            architecture=architecture,
            trunk=trunk,
            trained_from=trained_from,
            width=width,
            epochs=epochs,
            learning_rate=LEARNING_RATES[architecture],
            folder=folder,
            precision=precision,
            seed=seed,
        )
        found |= {n: trained[task] for n, (a, task) in wanted.items() if a == architecture}
    return {name: found[name] for name in wanted}


def _check_name(name: str) -> None:
    """Refuse what is neither a trunk nor a file, with the nearest of all that there is."""
    if name in vgg.NAMES or name.startswith("synthface-") or Path(name).suffix:
        return
    known = [*vgg.NAMES, *TASKS, *LEARNING_RATES]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" - did you mean {near[0]!r}?" if near else ""
    raise InputError(
        f"networks: there is no network {name!r}{hint} (known: {', '.join(known)}, or the file of "
        "a Keras model)."
    )


def _unnest(model: tf.keras.Model) -> tf.keras.Model:
    """A model with models nested in it as one model, so that all layers have their names.

    So are networks stored whose pretrained part was taken over as a whole. Where a name is taken
    already, a nested layer's gets that of its model in front.
    """
    if not any(_is_graph(layer) for layer in model.layers):
        return model
    copies: dict[int, tf.keras.layers.Layer] = {}
    names = {layer.name for layer in model.layers}

    def copy_of(layer, owner):
        if id(layer) not in copies:
            config = layer.get_config()
            while owner is not model and config["name"] in names:
                config["name"] = f"{owner.name}_{config['name']}"
            names.add(config["name"])
            copies[id(layer)] = type(layer).from_config(config)
        return copies[id(layer)]

    def run(part, given):
        known = {id(x): y for x, y in zip(part.inputs, given, strict=True)}
        for depth in sorted(part._nodes_by_depth, reverse=True):
            for node in part._nodes_by_depth[depth]:
                if node.is_input:
                    continue
                call = (node.call_args, node.call_kwargs)
                args, kwargs = tf.nest.map_structure(lambda x: known.get(id(x), x), call)
                if _is_graph(node.layer):
                    found = run(node.layer, tf.nest.flatten(args))
                else:
                    copy = copy_of(node.layer, part)
                    found = copy(*args, **kwargs)
                    copy.set_weights(node.layer.get_weights())
                outputs = zip(tf.nest.flatten(node.outputs), tf.nest.flatten(found), strict=True)
                known.update((id(x), y) for x, y in outputs)
        return [known[id(x)] for x in part.outputs]

    entries = [tf.keras.Input(x.shape[1:], dtype=x.dtype) for x in model.inputs]
    return tf.keras.Model(entries, run(model, entries), name=model.name)


def _is_graph(layer: tf.keras.layers.Layer) -> bool:
    """Whether a layer is a model whose layers can be told apart."""
    return isinstance(layer, tf.keras.Model) and bool(getattr(layer, "_is_graph_network", False))


def load_network(path: str | Path, means: str = "imagenet") -> Trunk:
    """Any Keras model from disk whose layers are to be dissected; it need not be a plain chain.

    Layers of models nested in it (a pretrained part, say) are its layers.

    Raises
    ------
    InputError
        No such file, no model, code stored in it, or an input other than one square image of three
        channels.
    """
    path = Path(path)
    vgg.check_model_name(path)
    weights.refuse_code(path)
    try:
        model = tf.keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises many kinds, with long texts
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{path} is no Keras model that can be loaded ({first[:200]}).") from None
    shape = model.input_shape
    if not isinstance(shape, tuple) or len(shape) != 4 or None in shape[1:]:
        raise InputError(
            f"{path} takes input of shape {shape}; build it for one image of fixed size, e.g. "
            "(112, 112, 3)."
        )
    if shape[1] != shape[2] or shape[3] != 3:
        raise InputError(
            f"{path} takes {shape[2]} x {shape[1]} pixels of {shape[3]} channels; a square of 3 "
            "channels (BGR, means subtracted) is expected."
        )
    model = _unnest(model)
    return Trunk(path.stem, model, vgg.MEANS[means], {"name": path.stem, "sha256": sha256(path)})


def open_networks(
    names: Sequence[str], run: str, size: int, learned: Mapping[str, Trunk] | None = None
) -> dict[str, Trunk]:
    """The networks to dissect.

    Parameters
    ----------
    names : sequence of str
        Trunks of the run or others that `lib.vgg.load_trunk` knows, or Keras files of the reader's
        (relative to the repository or absolute), which keep their own image size.
    run : str
        Where the run's trunks come from.
    size : int
        Side of the images of trunks, pixels.
    learned : mapping, optional
        Name as given -> network that was trained for this chapter (`train_learners`).

    Returns
    -------
    dict
        Name of the network -> Trunk, in the order given.

    Raises
    ------
    InputError
        An unknown name (the nearest is offered), two networks of one name, a file that is called
        as one of the run's trunks and is another network, or as there.
    """
    own = inputs.load_trunks(run)
    found: dict[str, Trunk] = {}
    for given in names:
        path = ROOT / Path(given).expanduser()
        if learned and given in learned:
            trunk = learned[given]
        elif given in own:
            trunk = own[given]
        elif path.is_file():
            trunk = _open_file(path, own)
        else:
            _check_name(given)
            trunk = inputs.open_trunks([given], size)[given]
        if trunk.name in found:
            raise InputError(f"Two networks are named {trunk.name!r}; rename one of the files.")
        found[trunk.name] = trunk
    return found


def _open_file(path: Path, own: Mapping[str, Trunk]) -> Trunk:
    """A reader's network; the run's trunk where its readouts were trained on that very file."""
    trunk = own.get(path.stem)
    if trunk is None:
        return load_network(path)
    if trunk.provenance.get("sha256") == sha256(path):
        model = _unnest(trunk.model)
        return trunk if model is trunk.model else replace(trunk, model=model)
    raise InputError(
        f"{path} is called as the network {path.stem!r} of this run, and is another; rename the "
        "file."
    )


def standard_layers(trunk: Trunk) -> list[str]:
    """The last convolution at every size of the maps; of VGG-16 that is one of each block.

    Convolutions whose map is a single cell, such as weigh channels, are left out.
    """
    last = {
        layer.output_shape[1:3]: layer.name
        for layer in trunk.model.layers
        if isinstance(layer, tf.keras.layers.Conv2D) and layer.output_shape[1:3] != (1, 1)
    }
    if not last:
        raise InputError(f"Network {trunk.name} has no convolution; name its layers in `layers`.")
    return list(last.values())


def choose_layers(
    networks: Mapping[str, Trunk],
    asked: Sequence[str],
    learned: Mapping[str, TrainedNetwork] | None = None,
) -> dict[str, list[str]]:
    """Layers to dissect in each network.

    Parameters
    ----------
    networks : mapping
    asked : sequence of str
        ``layer``, in every network that has it, or ``network:layer``; a network trained here also
        by the name it was asked for. Of networks that none of them concerns, and where it is
        empty, those of the blocks that were trained here, or the `standard_layers`.
    learned : mapping, optional
        Of `train_learners`.

    Raises
    ------
    InputError
        A network or a layer that does not exist; the nearest is offered.
    """
    chosen: dict[str, list[str]] = {name: [] for name in networks}
    every = {name: [x.name for x in trunk.model.layers] for name, trunk in networks.items()}
    given = {name: one.trunk.name for name, one in (learned or {}).items()}
    for text in asked:
        scope, colon, layer = text.rpartition(":")
        scope = given.get(scope, scope)
        if colon and scope not in networks:
            raise InputError(
                f"layers: {text!r} names no network that is dissected; these are "
                f"{', '.join(networks)}."
            )
        places = [scope] if colon else [name for name in networks if layer in every[name]]
        if not places or layer not in every[places[0]]:
            known = sorted({x for name in places or networks for x in every[name]})
            near = difflib.get_close_matches(layer, known, n=1, cutoff=0.4)
            hint = f" - did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}."
            raise InputError(f"layers: no network has a layer {layer!r}{hint}")
        for name in places:
            if layer not in chosen[name]:
                chosen[name].append(layer)
    hooks = {
        one.trunk.name: [one.hooks[block] for block in one.learned]
        for one in (learned or {}).values()
    }
    return {
        name: some or hooks.get(name) or standard_layers(networks[name])
        for name, some in chosen.items()
    }
