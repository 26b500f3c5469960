"""What the chapter on dissection computes, network by network, in the order of its sections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from lib.dissection.collection import LEARNING_RATES
from lib.dissection.dissect import TAIL
from lib.dissection.experiment import run_experiment, summarise_experiment
from lib.dissection.hierarchy import (
    BIASED,
    INTERPRETABLE,
    compute_ranks,
    compute_strength,
    find_detectors,
)
from lib.dissection.pictures import load_pairs
from lib.dissection.shared import Shared
from lib.dissection.summary import Gallery, pair_units, summarise_detectors, unit_gallery
from lib.errors import InputError
from lib.faces.concepts import CONCEPTS, NON_LOCAL
from lib.faces.dictionary import Dictionary
from lib.faces.ellipse import LEVEL
from lib.vgg import Trunk

#: Columns of the two tables of `compare_masks`.
UNIT_COLUMNS = ["network", "layer", "unit", "exact", "ellipse", "same", "same_region"]
MASK_COLUMNS = [
    *("network", "layer", "units", "exact", "ellipse", "both", "same", "same_region"),
    *("detect_exact", "detect_ellipse"),
]
#: Columns of the two tables of `summarise_biased`.
BIAS_COLUMNS = (
    [
        *("network", "layer", "concept", "groups", "limit", "units", "biased", "share", "chance"),
        "towards",
    ],
    ["network", "layer", "concept", "unit", "towards", "probability", "biased"],
)
#: Columns of the tables of `plant_cues`.
_KEYS = ["kind", "quantity"]
PLANTED_COLUMNS = (
    [*_KEYS, "block", "percent", "seeds", "mean", "low", "high"],
    [*_KEYS, "block", "seeds", "slope", "low", "high", "tau", "tau_p", "page", "page_p"],
    [*_KEYS, "seeds", "slopes", "steeper", "page", "page_p"],
    ["kind", "percent", "as_planted", "swapped", "balanced", "by_cue"],
)


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

    What the networks have in common, layers of one trunk above all, is computed once
    (`lib.dissection.shared`).

    Returns
    -------
    dict
        Network -> layer -> Dataset; its images are named by their paths.

    Raises
    ------
    InputError
        As there; images carry a concept of which no exact mask can exist, as the codebook lacks it.
    """
    if mask != "ellipse" and dictionary.has_exact_masks:
        drawn = dict(zip(CONCEPTS, dictionary.codebook.any(0), strict=True))
        without = [name for name in dictionary.concepts if not drawn[name]]
        if without:
            raise InputError(
                f"Images of {dictionary.faces.root} carry {', '.join(without)}, which no code of "
                "its codebook.csv stands for: add it there and to the masks, leave its column out "
                "of the manifest, or use mask: ellipse."
            )
    shared = Shared(
        dictionary, networks, layers, precision, mask=mask, level=level, tail=tail, draws=draws,
        chance=chance, seed=seed,
    )  # fmt: skip
    paths = dictionary.table["path"].to_numpy(str)
    out: Found = {}
    for name in networks:
        found = shared.dissect(name)
        out[name] = {layer: data.assign_coords(image=paths) for layer, data in found.items()}
    return out


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

    The overlap is the one over all images: one over few images may be large by luck.

    Returns
    -------
    DataFrame
        Rows of ``units``, at most ``count`` for each network, largest overlap first.
    """
    some = units[units["interpretable"]]
    some = some.sort_values("iou_all", ascending=False, kind="stable")
    best = some.drop_duplicates(["network", "region"])
    order = list(units["network"].unique())
    parts = [best[best["network"] == name].head(count) for name in order]
    return pd.concat(parts, ignore_index=True)


def list_galleries(
    networks: Mapping[str, Trunk], dictionary: Dictionary, found: Found, chosen: pd.DataFrame,
    images: int = 6, **options,
) -> list[Gallery]:  # fmt: skip
    """`unit_gallery` of some rows of `list_units`, each with the mask of its best concept.

    ``mask``, ``level`` and ``precision`` are those of `dissect_networks`.
    """
    return [
        unit_gallery(
            networks[row.network],
            dictionary,
            row.layer,
            found[row.network][row.layer],
            int(row.unit),
            row.concept,
            images,
            **options,
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

    Both are empty where the dictionary knows no two groups of any non-local concept.
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
        return tuple(pd.DataFrame(columns=columns) for columns in BIAS_COLUMNS)
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


# ------------------------------------------------------------------------- controlled experiments


def plant_cues(
    kinds: Sequence[str],
    dictionary: Dictionary,
    trunk: Trunk,
    folder: str | Path,
    *,
    people: int,
    views: int = 4,
    seeds: int = 1,
    architecture: str = "resnet50",
    confidence: float = 0.95,
    seed: int = 0,
    **options,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Gender networks on rendered people of whom P% carry a cue, dissected and explained.

    Parameters
    ----------
    kinds : sequence of {"glasses", "greyscale"}
        None gives empty tables.
    dictionary : Dictionary
    trunk : Trunk
        Says the size of the pictures; ``vgg16`` goes on from it.
    folder : path
        Where pictures and cells are kept.
    people, views : int
        Of `lib.dissection.pictures.render_pairs`.
    seeds : int
        Networks for each cue and P.
    architecture : {"resnet50", "resnet14", "vgg16"}
    confidence : float
    seed : int
    **options
        Of `lib.dissection.experiment.run_experiment`.

    Returns
    -------
    curves, trends, steepness : DataFrame
        Of `lib.dissection.experiment.summarise_experiment`.
    accuracy : DataFrame
        ``kind``, ``percent``, and means over seeds of what the networks answer.
    """
    if not kinds:
        return tuple(pd.DataFrame(columns=columns) for columns in PLANTED_COLUMNS)
    pairs = load_pairs(folder, people, views=views, size=trunk.size, seed=seed)
    results = run_experiment(
        pairs,
        dictionary,
        kinds=kinds,
        seeds=range(seed, seed + seeds),
        architecture=architecture,
        trunk=trunk if architecture == "vgg16" else None,
        learning_rate=LEARNING_RATES[architecture],
        folder=folder,
        **options,
    )
    shown = ["as_planted", "swapped", "balanced", "by_cue"]
    means = results.accuracy.groupby(["kind", "percent"], sort=False)[shown].mean()
    return (*summarise_experiment(results, confidence), means.reset_index())


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
