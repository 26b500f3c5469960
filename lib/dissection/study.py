"""What the chapter on dissection computes, network by network, in the order of its sections."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf
import xarray as xr
from PIL import Image
from scipy.stats import spearmanr

from lib import inputs, network, vgg
from lib.dissection.dissect import TAIL, dissect
from lib.dissection.hierarchy import (
    BIASED,
    INTERPRETABLE,
    compute_ranks,
    compute_strength,
    find_detectors,
)
from lib.dissection.summary import Gallery, pair_units, summarise_detectors, unit_gallery
from lib.errors import InputError
from lib.faces.concepts import CONCEPTS, NON_LOCAL, REGIONS
from lib.faces.dictionary import Dictionary, load_dictionary
from lib.faces.ellipse import LEVEL, ellipse_mask
from lib.network import Readout
from lib.relevance import make_engine
from lib.store import ROOT, sha256
from lib.vgg import Trunk

#: Where a unit answers to nothing known.
NONE = "none"
#: Images computed together where relevance is kept per unit.
BLOCK = 8
#: Columns of the two tables of `compare_masks`.
UNIT_COLUMNS = ["network", "layer", "unit", "exact", "ellipse", "same", "same_region"]
MASK_COLUMNS = [
    *("network", "layer", "units", "exact", "ellipse", "both", "same", "same_region"),
    *("detect_exact", "detect_ellipse"),
]
CARRIER_COLUMNS = ["task", "region", "units", "relevance", "low", "high", "p"]


# ------------------------------------------------------------------------------------- dictionary


@dataclass(frozen=True)
class OwnEllipses(Dictionary):
    """A dictionary whose ellipses are drawn around landmarks of the reader's choice.

    Attributes
    ----------
    ellipses : dict
        Concept -> groups of landmarks, one ellipse each; other concepts keep theirs.
    """

    ellipses: Mapping[str, tuple] = field(default_factory=dict)

    def ellipse_mask(self, concept, i, size=None, level=LEVEL):
        """As `Dictionary.ellipse_mask`; groups of which half is hidden are left out there too."""
        if concept not in self.ellipses or not self.has(concept)[i]:
            return super().ellipse_mask(concept, i, size, level)
        shape = super().ellipse_mask(concept, i, size, level).shape
        points = self.faces.landmarks([i], size)[0]
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
    except (OSError, ValueError, KeyError, pd.errors.ParserError):
        raise InputError(
            f"'{path}' is no table of landmarks: give a CSV with the columns concept, ellipse, "
            "landmark."
        ) from None
    for name in table["concept"].unique():
        if name not in CONCEPTS:
            near = difflib.get_close_matches(str(name), list(CONCEPTS), n=1)
            hint = f" - did you mean {near[0]!r}?" if near else ""
            raise InputError(f"'{path}' names the concept {name!r}, which does not exist{hint}.")
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
        rows = choose_images(found, images, seed)
        faces = found.faces
        points = None if faces.points is None else faces.points[rows]
        kept = replace(faces, table=faces.table.iloc[rows].reset_index(drop=True), points=points)
        carries = found.carries.iloc[rows].reset_index(drop=True)
        empty = [name for name in carries if not carries[name].any()]
        if empty:
            raise InputError(
                f"images = {images} are too few: none of them carries {', '.join(empty)}; keep "
                "more, or 0 for all."
            )
        found = replace(found, faces=kept, carries=carries)
    _check_masks(found)
    if ellipses:
        found = OwnEllipses(found.faces, found.carries, found.codebook, read_ellipses(ellipses))
    return found


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


def load_network(path: str | Path, means: str = "imagenet") -> Trunk:
    """Any Keras model from disk whose layers are to be dissected; it need not be a plain chain.

    Raises
    ------
    InputError
        No such file, no model, code stored in it, or an input other than one square image of three
        channels.
    """
    path = Path(path)
    vgg._refuse_code(path)
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
    return Trunk(path.stem, model, vgg.MEANS[means], {"name": path.stem, "sha256": sha256(path)})


def open_networks(names: Sequence[str], run: str, size: int) -> dict[str, Trunk]:
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

    Returns
    -------
    dict
        Name -> Trunk, in the order given.

    Raises
    ------
    InputError
        An unknown name (the nearest is offered), two networks of one name, or as there.
    """
    own = inputs.load_trunks(run)
    found: dict[str, Trunk] = {}
    for given in names:
        path = ROOT / Path(given).expanduser()
        if given in own:
            trunk = own[given]
        elif path.is_file():
            trunk = load_network(path)
        else:
            trunk = inputs.open_trunks([given], size)[given]
        if trunk.name in found:
            raise InputError(f"Two networks are named {trunk.name!r}; rename one of the files.")
        found[trunk.name] = trunk
    return found


def standard_layers(trunk: Trunk) -> list[str]:
    """The last convolution at every size of the maps; of VGG-16 that is one of each block."""
    last = {
        layer.output_shape[1:3]: layer.name
        for layer in trunk.model.layers
        if isinstance(layer, tf.keras.layers.Conv2D)
    }
    if not last:
        raise InputError(f"Network {trunk.name} has no convolution; name its layers in `layers`.")
    return list(last.values())


def choose_layers(networks: Mapping[str, Trunk], asked: Sequence[str]) -> dict[str, list[str]]:
    """Layers to dissect in each network.

    Parameters
    ----------
    networks : mapping
    asked : sequence of str
        ``layer``, in every network that has it, or ``network:layer``; of networks that none of
        them concerns, and where it is empty, the `standard_layers`.

    Raises
    ------
    InputError
        A network or a layer that does not exist; the nearest is offered.
    """
    chosen: dict[str, list[str]] = {name: [] for name in networks}
    every = {name: [x.name for x in trunk.model.layers] for name, trunk in networks.items()}
    for text in asked:
        scope, colon, layer = text.rpartition(":")
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
    return {name: some or standard_layers(networks[name]) for name, some in chosen.items()}


# ------------------------------------------------------------------------------------- dissection

Found = dict[str, dict[str, xr.Dataset]]


def dissect_networks(
    networks: Mapping[str, Trunk],
    layers: Mapping[str, Sequence[str]],
    dictionary: Dictionary,
    *,
    mask: str = "both",
    level: float = LEVEL,
    tail: float = TAIL,
    draws: int = 8,
    chance: str = "shuffled",
    precision: str = "auto",
    seed: int = 0,
) -> Found:
    """`lib.dissection.dissect` of every network; parameters as there.

    Returns
    -------
    dict
        Network -> layer -> Dataset.
    """
    options = dict(mask=mask, level=level, tail=tail, draws=draws, chance=chance, seed=seed)
    return {
        name: dissect(trunk, dictionary, layers[name], precision=precision, **options)
        for name, trunk in networks.items()
    }


def carried(dictionary: Dictionary) -> np.ndarray:
    """Which images carry which of the concepts, (images, concepts), in their usual order."""
    return dictionary.carries[dictionary.concepts].to_numpy()


def list_pairs(
    found: Found, carries: np.ndarray, limit: float = INTERPRETABLE, q: float = 0.05
) -> pd.DataFrame:
    """Every pair of a unit and a concept: `pair_units` with ``network`` and ``layer`` in front.

    Two columns more: ``above`` (of the unit: its best concept lies above chance at a false
    discovery rate ``q`` over the units x concepts of the layer) and ``detects_above``, as
    ``detects`` with `above` in the place of the fixed limit.
    """
    parts = []
    for name, layers in found.items():
        for layer, data in layers.items():
            pairs = pair_units(data, carries, limit=limit)
            units, concepts = data["iou"].shape
            best = (pairs["best"] & (pairs["q"] <= q)).to_numpy().reshape(units, concepts).any(1)
            likely = pairs["probability"].to_numpy().reshape(units, concepts)
            detects = find_detectors(likely, data["region"].to_numpy().astype(str), best)
            pairs["above"] = np.repeat(best, concepts)
            pairs["detects_above"] = detects.ravel()
            pairs.insert(0, "layer", layer)
            pairs.insert(0, "network", name)
            parts.append(pairs)
    return pd.concat(parts, ignore_index=True)


def list_units(pairs: pd.DataFrame) -> pd.DataFrame:
    """One row for every unit.

    Returns
    -------
    DataFrame
        ``network``, ``layer``, ``unit``, ``concept`` (the best one; empty where there is none),
        ``region``, ``kind``, ``iou``, ``iou_all``, ``chance``, ``q``, ``probability`` (of the best
        concept), ``interpretable``, ``above``, ``detects`` (concepts, separated by spaces).
    """
    keys = ["network", "layer", "unit"]
    rows = pairs.drop_duplicates(keys)[[*keys, "interpretable", "above"]]
    best = pairs.loc[
        pairs["best"],
        [*keys, "concept", "region", "kind", "iou", "iou_all", "chance", "q", "probability"],
    ]
    names = pairs[pairs["detects"]].groupby(keys)["concept"].agg(" ".join).rename("detects")
    table = rows.merge(best, on=keys, how="left").merge(names, on=keys, how="left")
    words = ["concept", "region", "kind", "detects"]
    table[words] = table[words].fillna("")
    front = [*keys, "concept", "region", "kind", "iou", "iou_all", "chance", "q", "probability"]
    return table[[*front, "interpretable", "above", "detects"]]


def count_detectors(pairs: pd.DataFrame) -> pd.DataFrame:
    """Detectors by region, kind and concept, in both ways of saying what is one.

    Returns
    -------
    DataFrame
        ``network``, ``layer``, ``by`` (region, kind or concept), ``group``, ``units``,
        ``detectors`` (best overlap above the fixed limit), ``detectors_above`` (above chance),
        ``share`` and ``share_above`` (of the units).
    """
    parts = []
    lead = ["network", "layer"]
    rest = pairs.drop(columns=lead)
    ahead = pd.concat([pairs[lead], rest], axis=1)
    for by in ("region", "kind", "concept"):
        fixed = summarise_detectors(ahead, by)
        other = summarise_detectors(ahead.assign(detects=ahead["detects_above"]), by)
        parts.append(
            fixed[[*lead, by, "units", "detectors", "share"]]
            .rename(columns={by: "group"})
            .assign(
                by=by, detectors_above=other["detectors"], share_above=other["share"].to_numpy()
            )
        )
    table = pd.concat(parts, ignore_index=True)
    return table[
        [*lead, "by", "group", "units", "detectors", "detectors_above", "share", "share_above"]
    ]


def choose_examples(units: pd.DataFrame, count: int = 5) -> pd.DataFrame:
    """Of every network the interpretable units of largest overlap, each of another region.

    Returns
    -------
    DataFrame
        Rows of ``units``, at most ``count`` for each network, largest overlap first.
    """
    some = units[units["interpretable"]].sort_values("iou", ascending=False, kind="stable")
    best = some.drop_duplicates(["network", "region"])
    order = list(units["network"].unique())
    parts = [best[best["network"] == name].head(count) for name in order]
    return pd.concat(parts, ignore_index=True)


def list_galleries(
    networks: Mapping[str, Trunk], dictionary: Dictionary, found: Found, chosen: pd.DataFrame,
    images: int = 6,
) -> list[Gallery]:  # fmt: skip
    """`unit_gallery` of some rows of `list_units`, each with the mask of its best concept."""
    return [
        unit_gallery(
            networks[row.network],
            dictionary,
            row.layer,
            found[row.network][row.layer],
            int(row.unit),
            row.concept,
            images,
        )
        for row in chosen.itertuples()
    ]


# ------------------------------------------------------------------------------------------ masks


def compare_masks(
    found: Found, carries: np.ndarray, limit: float = INTERPRETABLE
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The same units by exact and by elliptical masks.

    Parameters
    ----------
    found : dict
        Dissected with both masks.
    carries, limit
        As in `list_pairs`.

    Returns
    -------
    units : DataFrame
        ``network``, ``layer``, ``unit``, ``exact`` and ``ellipse`` (best overlaps), ``same``
        (concept), ``same_region``.
    summary : DataFrame
        ``network``, ``layer``, ``units``, ``exact`` and ``ellipse`` (interpretable units),
        ``both``, and of these ``same`` and ``same_region`` (shares), ``detect_exact`` and
        ``detect_ellipse`` (units that detect something).
    """
    units, rows = [], []
    for name, layers in found.items():
        for layer, data in layers.items():
            if "iou_ellipse" not in data:
                continue
            bare = data.isel(draw=slice(0))
            ways = [bare, bare.assign(iou=bare["iou_ellipse"])]
            tables = [pair_units(way, carries, limit=limit) for way in ways]
            count, concepts = data["iou"].shape
            region = data["region"].to_numpy()
            iou = [np.nan_to_num(way["iou"].to_numpy()) for way in ways]
            best, high = [x.argmax(1) for x in iou], [x.max(1) for x in iou]
            detect = [t["detects"].to_numpy().reshape(count, concepts).any(1) for t in tables]
            same, near = best[0] == best[1], region[best[0]] == region[best[1]]
            both = (high[0] > limit) & (high[1] > limit)
            units.append(
                pd.DataFrame(
                    {
                        "network": name,
                        "layer": layer,
                        "unit": np.arange(count),
                        "exact": high[0],
                        "ellipse": high[1],
                        "same": same,
                        "same_region": near,
                    }
                )
            )
            rows.append(
                {
                    "network": name,
                    "layer": layer,
                    "units": count,
                    "exact": int((high[0] > limit).sum()),
                    "ellipse": int((high[1] > limit).sum()),
                    "both": int(both.sum()),
                    "same": same[both].mean() if both.any() else np.nan,
                    "same_region": near[both].mean() if both.any() else np.nan,
                    "detect_exact": int(detect[0].sum()),
                    "detect_ellipse": int(detect[1].sum()),
                }
            )
    if not units:
        return pd.DataFrame(columns=UNIT_COLUMNS), pd.DataFrame(columns=MASK_COLUMNS)
    return pd.concat(units, ignore_index=True)[UNIT_COLUMNS], pd.DataFrame(rows)[MASK_COLUMNS]


# ------------------------------------------------------------------------------------------- bias


def _shares(weight: np.ndarray, groups: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Share of every group in the sum of the groups' mean weights: (groups, units)."""
    means = np.stack([weight[groups == name].mean(0) for name in names])
    total = means.sum(0)
    return np.divide(means, total, out=np.full(means.shape, 1 / len(names)), where=total > 0)


def summarise_biased(
    found: Found, dictionary: Dictionary, draws: int = 20, seed: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Units biased towards a group of a non-local concept, and how many chance would give.

    The published limits (.55 of two groups, .30 of four) are passed by chance too, the more often
    the fewer images there are: ``chance`` deals the groups to the images anew.

    Parameters
    ----------
    found : dict
    dictionary : Dictionary
    draws : int
        Deals of the groups.
    seed : int

    Returns
    -------
    summary : DataFrame
        ``network``, ``layer``, ``concept``, ``groups``, ``limit``, ``units``, ``biased``,
        ``share`` (of the units), ``chance`` (mean share over the deals), ``towards`` (the group
        that most of the biased units prefer; empty where there are none).
    units : DataFrame
        ``network``, ``layer``, ``concept``, ``unit``, ``towards`` (the group with the largest
        share), ``probability`` (that share), ``biased``.

    Raises
    ------
    InputError
        The dictionary knows no group of any non-local concept.
    """
    rows, parts = [], []
    known: dict[str, tuple[np.ndarray, list[str]]] = {}
    for concept, names in NON_LOCAL.items():
        try:
            groups = dictionary.group(concept)
        except InputError:
            continue  # a reader's dictionary need not have every column
        present = [name for name in names if (groups == name).any()]
        if len(present) > 1:
            known[concept] = groups, present
    if not known:
        raise InputError(
            "The dictionary names no groups of age, gender, ethnicity or skin tone, so no bias can "
            "be computed; add such a column to its manifest."
        )
    for name, layers in found.items():
        for layer, data in layers.items():
            peaks = data["peak"].to_numpy()
            strength = compute_strength(peaks, data["low"].to_numpy(), data["high"].to_numpy())
            for concept, (groups, present) in known.items():
                use = np.isin(groups, present)
                weight = compute_ranks(peaks[use]) * strength[use]
                limit = BIASED.get(len(present), 1.2 / len(present))
                share = _shares(weight, groups[use], present)
                biased = share.max(0) >= limit
                towards = np.array(present)[share.argmax(0)]
                rng = np.random.default_rng([seed, len(present)])
                chance = [
                    (_shares(weight, rng.permutation(groups[use]), present).max(0) >= limit).mean()
                    for _ in range(draws)
                ]
                lead = {"network": name, "layer": layer, "concept": concept}
                most = pd.Series(towards[biased]).mode()
                rows.append(
                    lead
                    | {
                        "groups": len(present),
                        "limit": limit,
                        "units": len(biased),
                        "biased": int(biased.sum()),
                        "share": biased.mean(),
                        "chance": np.mean(chance),
                        "towards": most.iloc[0] if len(most) else "",
                    }
                )
                parts.append(
                    pd.DataFrame(
                        lead
                        | {
                            "unit": np.arange(len(biased)),
                            "towards": towards,
                            "probability": share.max(0),
                            "biased": biased,
                        }
                    )
                )
    return pd.DataFrame(rows), pd.concat(parts, ignore_index=True)


# -------------------------------------------------------------------------------------- relevance


def _after(trunk: Trunk, layer: str) -> tf.keras.Model:
    """The part of a plain chain that follows a layer, as a model of that layer's maps."""
    network.read_chain(trunk.model)
    names = [x.name for x in trunk.model.layers]
    x = start = tf.keras.Input(trunk.model.get_layer(layer).output_shape[1:])
    for later in trunk.model.layers[names.index(layer) + 1 :]:
        x = later(x)
    if x is start:
        x = tf.keras.layers.Activation("linear")(x)
    return tf.keras.Model(start, x, name=f"{trunk.model.name}_after_{layer}")


def compute_unit_relevance(
    trunk: Trunk,
    readouts: Sequence[Readout],
    images: np.ndarray,
    classes: Mapping[str, np.ndarray],
    layer: str,
) -> np.ndarray:
    """Relevance of every unit of a layer for the decisions of the readouts.

    What is explained is the logit of the true class less that of its strongest rival, as a single
    logit's sign means nothing under softmax; rules are those of preset ``a`` (alpha1beta0, epsilon
    in the readout). A unit's relevance is the sum over the positions of its map.

    Parameters
    ----------
    trunk : Trunk
    readouts : sequence of Readout
        Named ``<task>-<instance>``.
    images : ndarray (n, y, x) or (n, y, x, 3), 0 to 255
    classes : mapping
        Task -> true class of each image.
    layer : str

    Returns
    -------
    ndarray (n, readouts, units), float32

    Raises
    ------
    InputError
        The network is no plain chain, or the readouts do not fit.
    """
    worker = make_engine(
        replace(trunk, model=_after(trunk, layer)), readouts, "a", precision="float32"
    )
    maps = vgg.compute_features(trunk, images, layer=layer, precision="float32")
    true = np.stack([classes[r.name.rpartition("-")[0]] for r in readouts], 1)
    out = []
    for start in range(0, len(maps), BLOCK):
        rows = slice(start, start + BLOCK)

        def choose(logits, rows=rows):
            first, second = true[rows], []
            for k, values in enumerate(logits):
                others = values.copy()
                others[np.arange(len(values)), first[:, k]] = -np.inf
                second.append(others.argmax(1))
            return first, np.stack(second, 1)

        out.append(worker.relevance(maps[rows], choose)[0].sum((2, 3)))
    return np.concatenate(out)


def summarise_carriers(
    relevance: np.ndarray,
    tasks: Sequence[str],
    units: pd.DataFrame,
    draws: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Which units carry the relevance of the decisions, by what they detect.

    Parameters
    ----------
    relevance : ndarray (faces, readouts, units)
        Of one network and layer.
    tasks : sequence of str
        Of each readout.
    units : DataFrame
        The rows of `list_units` of that layer, in the order of the units.
    draws : int
        Samples of the faces for the intervals, and shuffles of the units for the p-values.
    confidence : float
    seed : int

    Returns
    -------
    summary : DataFrame
        ``task``, ``region`` (of the best concept of interpretable units; ``none`` for the others),
        ``units`` (share of the units), ``relevance`` (their share of the absolute relevance, mean
        over faces and readouts), ``low``, ``high``, ``p`` (two-sided: as far from the share of the
        units when regions are dealt to the units anew).
    each : DataFrame
        ``task``, ``unit``, ``share`` (of the absolute relevance), ``sign`` (summed relevance over
        summed absolute relevance: 1 speaks for the true class always), ``rank`` (1 carries most).
    """
    size = np.abs(relevance)
    share = size / np.maximum(size.sum(-1, keepdims=True), 1e-30)
    label = np.where(units["interpretable"], units["region"], NONE)
    groups = [name for name in (*REGIONS, NONE) if (label == name).any()]
    member = np.stack([label == name for name in groups], 1).astype(float)
    rng = np.random.default_rng(seed)
    deals = np.stack([rng.permutation(len(label)) for _ in range(draws)])
    faces = rng.integers(0, len(share), (draws, len(share)))
    rows, parts = [], []
    for task in dict.fromkeys(tasks):
        mine = [k for k, name in enumerate(tasks) if name == task]
        per_face = share[:, mine].mean(1)
        mean = per_face.mean(0)
        by_face = per_face @ member
        value, expected = mean @ member, member.mean(0)
        sampled = by_face[faces].mean(1)
        low, high = np.quantile(sampled, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
        dealt = mean[deals] @ member
        far = np.abs(dealt - expected) >= np.abs(value - expected) - 1e-12
        p = (1 + far.sum(0)) / (1 + draws)
        for k, name in enumerate(groups):
            rows.append((task, name, expected[k], value[k], low[k], high[k], p[k]))
        total = relevance[:, mine].sum((0, 1))
        absolute = np.maximum(size[:, mine].sum((0, 1)), 1e-30)
        order = np.argsort(-mean, kind="stable")
        rank = np.empty(len(mean), int)
        rank[order] = np.arange(1, len(mean) + 1)
        parts.append(
            pd.DataFrame(
                {
                    "task": task,
                    "unit": np.arange(len(mean)),
                    "share": mean,
                    "sign": total / absolute,
                    "rank": rank,
                }
            )
        )
    return pd.DataFrame(rows, columns=CARRIER_COLUMNS), pd.concat(parts, ignore_index=True)


def relate_bias(each: pd.DataFrame, biased: pd.DataFrame) -> pd.DataFrame:
    """Do units that prefer a group carry more of a decision's relevance?

    Parameters
    ----------
    each : DataFrame
        Of `summarise_carriers`.
    biased : DataFrame
        Units of `summarise_biased` of the same network and layer.

    Returns
    -------
    DataFrame
        ``task``, ``concept``, ``rho`` (Spearman, over units, between share of relevance and the
        preferred group's probability), ``p``. NaN where all units are alike.
    """
    rows = []
    for task, mine in each.groupby("task", sort=False):
        for concept, part in biased.groupby("concept", sort=False):
            both = mine.merge(part, on="unit")
            alike = both["share"].nunique() < 2 or both["probability"].nunique() < 2
            rho, p = (np.nan, np.nan) if alike else spearmanr(both["share"], both["probability"])
            rows.append((task, concept, rho, p))
    return pd.DataFrame(rows, columns=["task", "concept", "rho", "p"])


def list_carriers(
    each: Mapping[str, pd.DataFrame],
    units: pd.DataFrame,
    layers: Mapping[str, Sequence[str]],
    count: int = 4,
) -> pd.DataFrame:
    """The units of each network's last layer that carry most relevance, and what they detect.

    Parameters
    ----------
    each : mapping
        Network -> second table of `summarise_carriers`.
    units : DataFrame
        Of `list_units`.
    layers : mapping
        Network -> layers dissected.
    count : int
        Units of each network and task.

    Returns
    -------
    DataFrame
        ``network``, ``task``, ``unit``, ``share``, ``concept``, ``region``, ``overlap``,
        ``interpretable``, ``above``.
    """
    parts = []
    for name, table in each.items():
        mine = units[(units["network"] == name) & (units["layer"] == layers[name][-1])]
        best = table[table["rank"] <= count].sort_values(["task", "rank"], ascending=[False, True])
        both = best.merge(mine.drop(columns=["layer"]), on="unit").rename(
            columns={"iou": "overlap"}
        )
        parts.append(both)
    columns = ["network", "task", "unit", "share", "concept", "region", "overlap"]
    columns += ["interpretable", "above"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def join_carriers(
    carriers: Mapping[str, pd.DataFrame], layers: Mapping[str, Sequence[str]]
) -> pd.DataFrame:
    """First tables of `summarise_carriers` under each other, ``network`` and ``layer`` in front."""
    columns = ["network", "layer", *CARRIER_COLUMNS]
    parts = [t.assign(network=n, layer=layers[n][-1])[columns] for n, t in carriers.items()]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


# ------------------------------------------------------------------------------------------ words


def _listed(parts: Sequence[str]) -> str:
    parts = list(parts)
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%"


def state_findings(
    units: pd.DataFrame,
    levels: pd.DataFrame,
    ellipses: pd.DataFrame,
    biased: pd.DataFrame,
    carriers: Mapping[str, pd.DataFrame],
) -> dict[str, str]:
    """The chapter's results in words, by the name that the text calls them.

    Parameters
    ----------
    units : DataFrame
        Of `list_units`.
    levels : DataFrame
        Of `lib.dissection.summarise_chance`.
    ellipses, biased : DataFrame
        Summaries of `compare_masks` (may be empty) and `summarise_biased`.
    carriers : mapping
        Network -> summary of `summarise_carriers` (may be empty).
    """
    names = list(dict.fromkeys(levels["network"]))
    total = levels.groupby("network", sort=False).sum(numeric_only=True)
    of = {name: total.loc[name] for name in names}
    regions = []
    for name in names:
        told = units[(units["network"] == name) & (units["detects"] != "")]["region"].value_counts()
        regions.append(f"the {told.index[0]} in {name}" if len(told) else f"no region in {name}")
    found = {
        "interpretable": _listed(
            f"{_percent(of[n]['fixed'] / of[n]['units'])} of the units in {n}" for n in names
        ),
        "above": _listed(f"{_percent(of[n]['chance'] / of[n]['units'])} in {n}" for n in names),
        "not_above": _listed(
            f"{_percent(of[n]['fixed_only'] / max(of[n]['fixed'], 1))} in {n}" for n in names
        ),
        "regions": _listed(regions),
        "ellipse": "",
    }
    if len(ellipses):
        weight = ellipses["both"] / max(ellipses["both"].sum(), 1)
        same, near = ((ellipses[k].fillna(0) * weight).sum() for k in ("same", "same_region"))
        found["ellipse"] = (
            "Of the units that are interpretable with exact masks and with ellipses, both name "
            f"the same concept for {_percent(same)} and the same region for {_percent(near)}."
        )
    excess = biased.assign(excess=biased["share"] - biased["chance"])
    mean = excess.groupby(["network", "concept"], sort=False)[["share", "chance", "excess"]].mean()
    words = []
    for name in names:
        concept = mean.loc[name]["excess"].idxmax()
        row = mean.loc[(name, concept)]
        words.append(
            f"{name} is biased most in {concept.replace('_', ' ')} ({_percent(row['share'])} of "
            f"the units of a layer, {_percent(row['chance'])} by luck)"
        )
    found["bias"] = _listed(words)
    found["carried"] = _state_carriers(carriers)
    return found


def _state_carriers(carriers: Mapping[str, pd.DataFrame]) -> str:
    words = []
    for name, table in carriers.items():
        for task, part in table[table["p"] <= 0.05].groupby("task", sort=False):
            row = part.loc[(part["relevance"] - part["units"]).abs().idxmax()]
            which = (
                "that are not interpretable" if row["region"] == NONE else f"of the {row.region}"
            )
            words.append(
                f"in {name} the units {which}, {_percent(row['units'])} of the last layer, carry "
                f"{_percent(row['relevance'])} of the relevance for {task}"
            )
    if not carriers:
        return ""
    if not words:
        return "Units of no region carry more or less of the relevance than their number."
    return f"The relevance is not spread evenly: {_listed(words)}."


# -------------------------------------------------------------------------------------- artefacts


def to_dataset(found: Found) -> xr.Dataset:
    """All layers of all networks in one dataset.

    Returns
    -------
    Dataset
        Dimension ``unit`` runs over all units, with coordinates ``network``, ``layer`` and
        ``number`` (of the unit in its layer); ``iou``, ``iou_all``, ``iou_chance``, perhaps
        ``iou_ellipse``, ``threshold``, ``tail``, ``low``, ``high``, ``peak``, as `dissect` gives.
    """
    parts = [
        data.assign_coords(
            network=("unit", np.full(data.sizes["unit"], name)),
            layer=("unit", np.full(data.sizes["unit"], layer)),
            number=("unit", np.arange(data.sizes["unit"])),
        )
        for name, layers in found.items()
        for layer, data in layers.items()
    ]
    joined = xr.concat(parts, "unit", join="exact")
    wide = ["iou", "iou_all", "iou_chance", *(["iou_ellipse"] if "iou_ellipse" in joined else [])]
    return joined.assign({name: joined[name].astype(np.float32) for name in wide})
