"""Controlled experiments: does dissection see a bias that was planted?

Teotia et al. 2022 (arXiv 2108.10360, section 5) train gender classifiers on faces of which P% of
the males and (100 - P)% of the females wear eyeglasses, or are greyscale, and dissect them: the
more the cue tells, the more detectors in the region of the eyes, and the more biased units in all
four blocks. Here the people are rendered, each in the same poses and light with and without the
cue, so that nothing but the cue differs. Beside dissection stands what the network does: its
accuracy where the cue goes with the gender and where it goes against it, and the share of relevance
that lies on the glasses.

One cell of the experiment is one network: a cue, a P, a seed. Seeds differ in the people who are
tested, the pictures that carry the cue, the first weights and the order of pictures; the cells of
one seed share the first three as far as P allows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf
from scipy import stats

from lib import store
from lib.dissection.dissect import TAIL, Tap, dissect
from lib.dissection.hierarchy import INTERPRETABLE
from lib.dissection.learners import ARCHITECTURES, find_hooks, make_learner, restart
from lib.dissection.networks import (
    CODE,
    STANDARDISED,
    digest_inputs,
    learned_blocks,
    split_network,
    take_images,
)
from lib.dissection.pictures import KINDS, Pairs, check_percent, nearest, plant_cue, split_people
from lib.dissection.summary import pair_units, summarise_bias, summarise_detectors
from lib.dissection.training import Trainer, cache_features
from lib.errors import InputError
from lib.faces.concepts import NON_LOCAL
from lib.faces.ellipse import LEVEL
from lib.progress import track
from lib.relevance import Difference, compute_relevance
from lib.relevance.truth import measure_mass, widen
from lib.vgg import MEANS, Trunk, choose_precision

#: P of the published experiments.
PERCENTS = (50, 60, 70, 80, 90, 100)
FEMALE, MALE = 0, 1
#: Method of relevance for networks with skip connections, which have no rules, and its steps from
#: the channel means to the image.
GRADIENT, STEPS = "integrated_gradients", 16
#: Bytes of pictures of one kind that are kept as a network takes them.
PREPARED = 1 << 28
#: Modules that a cell depends on.
CELL_CODE = (
    *CODE,
    "dissection/experiment.py",
    "dissection/dissect.py",
    "dissection/tails.py",
    "dissection/tally.py",
    "dissection/hierarchy.py",
    "dissection/summary.py",
    "faces/concepts.py",
    "relevance/compute.py",
    "relevance/engine.py",
    "relevance/rules.py",
    "relevance/truth.py",
)
TABLES = ("detectors", "bias", "relevance", "accuracy")
#: What is followed over P: table, column, condition, and whether it is predicted to rise.
QUANTITIES = {
    "detectors in the eye region": ("detectors", "detectors", {"region": "eye"}),
    "biased units": ("bias", "biased", {"concept": "gender"}),
    "relevance on the glasses": ("relevance", "mass", {}),
    "answers that follow the cue": ("accuracy", "by_cue", {}),
}


class Remembered:
    """A dictionary whose images and masks are read once and kept, for many networks of one size.

    Parameters
    ----------
    dictionary : lib.faces.dictionary.Dictionary
        Or what has its attributes.
    size : int
        Side, pixels.
    """

    def __init__(self, dictionary, size: int):
        self.dictionary, self.size = dictionary, size
        self.concepts = list(dictionary.concepts)
        self.has_exact_masks = dictionary.has_exact_masks
        self.has_landmarks = dictionary.has_landmarks
        self.kept = dictionary.images(np.arange(len(dictionary)), size=size, colour=True)
        self.carries = np.stack([dictionary.has(name) for name in self.concepts], axis=1)
        self.bits: dict = {}
        self.codes: dict = {}

    def __len__(self):
        return len(self.dictionary)

    def images(self, index, size=None, colour=None):
        """Images in colour, of the one size."""
        return self.kept[index]

    def on_features(self, trunk: Trunk, layer: str, precision: str) -> Remembered:
        """The same dictionary for a network's later layers: features take the place of images."""
        return self.with_features(
            cache_features(trunk, self.kept, layer, precision=precision, progress=False)
        )

    def with_features(self, features: np.ndarray) -> Remembered:
        """The same dictionary with features (images, y, x, channels) in the place of images."""
        copy = object.__new__(Remembered)
        copy.__dict__ |= self.__dict__
        copy.kept = features
        return copy

    def _once(self, key, make):
        if key not in self.bits:
            mask = make()
            self.bits[key] = np.packbits(mask, axis=-1), mask.shape[-1]
        bits, count = self.bits[key]
        return np.unpackbits(bits, axis=-1, count=count).view(bool)

    def coded(self, key, make):
        """Coded masks of one image, made once."""
        if key not in self.codes:
            self.codes[key] = make()
        return self.codes[key]

    def masks(self, i, size=None):
        """As `Dictionary.masks`."""
        return self._once(i, lambda: self.dictionary.masks(i, size))

    def ellipse_mask(self, concept, i, size=None, *level):
        """As `Dictionary.ellipse_mask`."""
        if concept not in self.concepts or not self.carries[i, self.concepts.index(concept)]:
            return np.zeros((self.size, self.size), bool)
        make = self.dictionary.ellipse_mask
        return self._once((concept, i, level), lambda: make(concept, i, size, *level))

    def group(self, concept):
        """As `Dictionary.group`."""
        return self.dictionary.group(concept)

    def digest(self, mask: str, level: float) -> str:
        """Hexadecimal digits of images, masks of one kind, concepts and groups."""
        found = hashlib.sha256(json.dumps(self.concepts).encode())
        found.update(np.ascontiguousarray(self.kept))
        found.update(np.ascontiguousarray(self.carries))
        for i in range(len(self)):
            if mask == "exact":
                found.update(np.packbits(self.masks(i, self.size)))
                continue
            for name in np.array(self.concepts)[self.carries[i]]:
                found.update(np.packbits(self.ellipse_mask(str(name), i, self.size, level)))
        for concept in NON_LOCAL:
            try:
                found.update("\n".join([concept, *self.group(concept)]).encode())
            except InputError:
                continue  # a reader's dictionary need not have every column
        return found.hexdigest()


@dataclass(frozen=True)
class LaterLayers(Trunk):
    """The later layers of a network as a trunk that takes features, for images of ``side`` pixels.

    What comes before them is the same in every cell, so that its features are computed once.
    """

    side: int = 0

    @property
    def size(self) -> int:
        """Side of the images, pixels."""
        return self.side

    def prepare(self, images: np.ndarray) -> np.ndarray:
        """Features as they are, float32."""
        return np.asarray(images, np.float32)


@dataclass(frozen=True)
class Results:
    """What the cells of an experiment gave; tables begin with ``kind``, ``percent``, ``seed``.

    Attributes
    ----------
    detectors : DataFrame
        ``block``, ``layer``, and the columns of :func:`lib.dissection.summarise_detectors` by
        region.
    bias : DataFrame
        ``block``, ``layer``, ``concept``, ``units``, ``biased`` (units biased towards some group),
        ``share``, ``largest`` (mean over units of the largest share of a group).
    relevance : DataFrame
        Of glasses: ``image`` (row of the pairs), ``person``, ``male``, ``method``, ``mass`` (share
        of the positive relevance for male less female inside the mask), ``hit``, ``area`` (share of
        the image inside the mask).
    accuracy : DataFrame
        Of people who were not trained on, in pictures with and without the cue: ``as_planted``
        (accuracy where males carry it and females do not), ``swapped`` (the other way round),
        ``balanced`` (both), ``by_cue`` (share of the answers that follow the cue), ``people``,
        ``pictures``; ``training`` (accuracy in the last epoch).
    """

    detectors: pd.DataFrame
    bias: pd.DataFrame
    relevance: pd.DataFrame
    accuracy: pd.DataFrame


class Bench:
    """Everything that the cells share: pictures, features, one compiled network, the dictionary.

    Parameters
    ----------
    pairs : Pairs
    architecture : {"resnet50", "resnet14", "vgg16"}
    width : float
        Of a residual network, share of the published channels.
    trunk : Trunk, optional
        Where ``vgg16`` goes on from.
    trained_from : str
        First layer of the trunk that learns.
    test_share : float
        Share of the people who are tested, not trained on.
    folder : path, optional
        For features; None keeps them in memory.
    precision : {"auto", "float32", "bfloat16"}
    progress : bool

    Raises
    ------
    InputError
        An unknown architecture or layer, no trunk, people of one gender only.
    """

    def __init__(
        self,
        pairs: Pairs,
        *,
        architecture: str = "resnet50",
        width: float = 1.0,
        trunk: Trunk | None = None,
        trained_from: str = "conv5_1",
        test_share: float = 0.25,
        folder: Path | None = None,
        precision: str = "auto",
        progress: bool = True,
    ):
        plant_cue(pairs.male, 50)  # refuses one gender
        self.pairs, self.trunk, self.test_share = pairs, trunk, test_share
        self.folder, self.precision, self.progress = folder, precision, progress
        self.person = pairs.table["person"].to_numpy()
        self.learner = make_learner(
            architecture, 2, size=pairs.plain.shape[1], trunk=trunk, trained_from=trained_from,
            width=width,
        )  # fmt: skip
        self.means = trunk.means if self.learner.cut else MEANS["imagenet"]
        self.name = architecture
        self.trainer = Trainer(self.learner.part, precision)
        hooks, _ = find_hooks(self.learner.complete)
        learned = learned_blocks(self.learner.complete, hooks, self.learner.cut)
        #: Block -> layer that is dissected: of the blocks that learn.
        self.hooks = {block: hooks[block] for block in learned}
        self._inputs: dict = {}
        self._gradient = None
        self._dictionary = None
        self._tap = None

    def take(self, kind: str):
        """Pictures without the cue and with it: functions of rows, as the learner takes them."""
        for which in ("plain", kind):
            if which in self._inputs:
                continue
            images = self.pairs.plain if which == "plain" else self.pairs.cued(which)
            if self.learner.cut:
                path = None if self.folder is None else self.folder / f"features-{which}.npy"
                self._inputs[which] = cache_features(
                    self.trunk, images, self.learner.cut, path,
                    precision=self.precision, progress=self.progress,
                ).__getitem__  # fmt: skip
            elif 4 * images.nbytes <= PREPARED:
                self._inputs[which] = take_images(images, self.means)(slice(None)).__getitem__
            else:
                self._inputs[which] = take_images(images, self.means)
        return self._inputs["plain"], self._inputs[kind]

    def split(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows to train on and rows to test, other people."""
        held = split_people(self.person, self.pairs.male, self.test_share, seed)
        return np.flatnonzero(~held), np.flatnonzero(held)

    def train(
        self,
        kind: str,
        cue: np.ndarray,
        seed: int,
        *,
        epochs: int,
        batch: int,
        learning_rate: float,
    ) -> pd.DataFrame:
        """Train the network anew on pictures of which some carry the cue.

        Parameters
        ----------
        kind : {"glasses", "greyscale"}
        cue : ndarray of bool, (n,)
            Which of all pictures carry it; those of tested people do not matter.
        seed, epochs, batch, learning_rate
            See :meth:`lib.dissection.training.Trainer.fit`.

        Returns
        -------
        DataFrame
            ``epoch``, ``loss``, ``accuracy``.
        """
        plain, cued = self.take(kind)

        def inputs(rows):
            out = np.array(plain(rows), np.float32)
            some = cue[rows]
            if some.any():
                out[some] = cued(rows[some])
            return out

        rows, _ = self.split(seed)
        restart(self.learner, self.trunk, (seed, 41))
        if self.learner.cut:
            self.learner.standardise(inputs(rows[:STANDARDISED]))
        history = self.trainer.fit(
            inputs, self.pairs.male.astype(int), rows, epochs=epochs, batch=batch,
            learning_rate=learning_rate, seed=(seed, 42), mirror=not self.learner.cut,
        )  # fmt: skip
        self.learner.finish()
        return history

    def test(self, kind: str, seed: int) -> dict[str, float]:
        """Accuracy with the cue as planted and swapped; columns of ``Results.accuracy``."""
        _, rows = self.split(seed)
        male = self.pairs.male[rows]
        without, with_cue = (
            self.trainer.predict(inputs, rows).argmax(1) == MALE for inputs in self.take(kind)
        )
        as_planted = (np.where(male, with_cue, without) == male).mean()
        swapped = (np.where(male, without, with_cue) == male).mean()
        return {
            "as_planted": float(as_planted),
            "swapped": float(swapped),
            "balanced": float((as_planted + swapped) / 2),
            "by_cue": float((as_planted + 1 - swapped) / 2),
            "people": len(np.unique(self.person[rows])),
            "pictures": 2 * len(rows),
        }

    def network(self) -> Trunk:
        """The network as it is now: prepared image -> logits of female and male."""
        return Trunk(f"{self.name}/gender", self.learner.complete, tuple(self.means))

    def explain(
        self, seed: int, count: int, composite: str = "a_flat", margin: int = 2
    ) -> pd.DataFrame:
        """Relevance for male less female inside the glasses that tested people wear.

        By the rules of ``composite`` where the network is a plain chain, else by integrated
        gradients (Sundararajan et al. 2017, equation 1) from the channel means.

        Parameters
        ----------
        seed : int
            Whose tested people.
        count : int
            Pictures at most; people take turns.
        composite : str
        margin : int
            Pixels around the glasses that count as glasses.

        Returns
        -------
        DataFrame
            Columns of ``Results.relevance``.
        """
        _, rows = self.split(seed)
        turn = pd.Series(self.person[rows]).groupby(self.person[rows]).cumcount().to_numpy()
        rows = np.sort(rows[np.argsort(turn, kind="stable")[:count]])
        images, mask = self.pairs.worn[rows], widen(self.pairs.mask[rows], margin)
        if self.learner.cut:
            method = composite
            trunk, readout = split_network(self.network())
            stream = compute_relevance(
                trunk, [readout], images, Difference(MALE, FEMALE), composite,
                on_zero="keep", progress=False,
            )  # fmt: skip
            maps = np.concatenate([batch.relevance[:, 0] for batch in stream])
        else:
            method, maps = GRADIENT, self._gradient_maps(take_images(images, self.means))
        mass, hit = measure_mass(maps, mask)
        return pd.DataFrame(
            {
                "image": rows,
                "person": self.person[rows],
                "male": self.pairs.male[rows],
                "method": method,
                "mass": mass,
                "hit": hit,
                "area": mask.mean((1, 2)),
            }
        )

    def _gradient_maps(self, inputs) -> np.ndarray:
        if self._gradient is None:
            model = self.learner.complete

            @tf.function(input_signature=[tf.TensorSpec((None, *model.input_shape[1:]))])
            def gradient(x):
                with tf.GradientTape() as tape:
                    tape.watch(x)
                    logits = model(x, training=False)
                    difference = tf.reduce_sum(logits[:, MALE] - logits[:, FEMALE])
                return tape.gradient(difference, x)

            self._gradient = gradient
        x = inputs(slice(None))
        points = ((step + 0.5) / STEPS for step in range(STEPS))
        mean = sum(self._gradient(tf.constant(np.float32(p) * x)).numpy() for p in points) / STEPS
        return (x * mean).sum(-1)

    def dissect(
        self,
        dictionary,
        *,
        mask: str = "exact",
        level: float = LEVEL,
        tail: float = TAIL,
        limit: float = INTERPRETABLE,
        seed: int = 0,
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Detectors by region and biased units of the network as it is now.

        Parameters
        ----------
        dictionary : Remembered
        mask : {"exact", "ellipse"}
        level, tail : float
            Of :func:`lib.dissection.dissect`.
        limit : float
            Overlap above which a unit is interpretable.
        seed : int
            Of the order of images.

        Returns
        -------
        detectors, bias : DataFrame
            Columns of ``Results``, without the first three; no bias where the dictionary has no
            groups.
        """
        trunk, layers = self.network(), list(self.hooks.values())
        if self.learner.cut:
            if self._dictionary is None or self._dictionary[0] is not dictionary:
                self._dictionary = (
                    dictionary,
                    dictionary.on_features(self.trunk, self.learner.cut, self.precision),
                )
            trunk = LaterLayers(trunk.name, self.learner.part, side=trunk.size)
            dictionary = self._dictionary[1]
        if self._tap is None:
            self._tap = Tap(trunk, layers, self.precision)
        self._tap.update()
        found = dissect(
            self._tap, dictionary, layers, mask=mask, level=level, tail=tail, draws=0, batch=32,
            seed=seed, progress=False,
        )  # fmt: skip
        detectors, bias = [], []
        for block, layer in self.hooks.items():
            pairs = pair_units(found[layer], dictionary.carries, limit=limit)
            detectors.append(_lead(summarise_detectors(pairs), block=block, layer=layer))
            try:
                each = summarise_bias(found[layer], dictionary)
            except InputError:  # it names no groups
                bias.append(pd.DataFrame(columns=_ORDER["bias"]))
                continue
            units = each.groupby(["concept", "unit"], sort=False).agg(
                biased=("biased", "any"), largest=("probability", "max")
            )
            counted = units.groupby("concept", sort=False).agg(
                units=("biased", "size"),
                biased=("biased", "sum"),
                share=("biased", "mean"),
                largest=("largest", "mean"),
            )
            bias.append(_lead(counted.reset_index(), block=block, layer=layer))
        return pd.concat(detectors, ignore_index=True), pd.concat(bias, ignore_index=True)


def _lead(table: pd.DataFrame, **columns) -> pd.DataFrame:
    """A table with columns of one value each in front."""
    table = table.copy()
    for position, (name, value) in enumerate(columns.items()):
        table.insert(position, name, value)
    return table


def run_experiment(
    pairs: Pairs,
    dictionary,
    *,
    kinds: Sequence[str] = KINDS,
    percents: Sequence[float] = PERCENTS,
    seeds: Sequence[int] = (0, 1, 2),
    architecture: str = "resnet50",
    width: float = 1.0,
    trunk: Trunk | None = None,
    trained_from: str = "conv5_1",
    epochs: int = 10,
    batch: int = 32,
    learning_rate: float = 1e-3,
    test_share: float = 0.25,
    mask: str = "exact",
    level: float = LEVEL,
    tail: float = TAIL,
    limit: float = INTERPRETABLE,
    explain: int = 24,
    composite: str = "a_flat",
    margin: int = 2,
    folder: str | Path | None = None,
    precision: str = "auto",
    progress: bool = True,
) -> Results:
    """Train, test and dissect a gender network for every cue, P and seed.

    Parameters
    ----------
    pairs : Pairs
        Of :func:`lib.dissection.pictures.load_pairs`.
    dictionary : lib.faces.dictionary.Dictionary
    kinds : sequence of {"glasses", "greyscale"}
    percents : sequence of float
        P, 50 to 100.
    seeds : sequence of int
    architecture : {"resnet50", "resnet14", "vgg16"}
        The published one is ``resnet50``.
    width : float
        Of a residual network, share of the published channels.
    trunk, trained_from
        Of ``vgg16``: where it goes on from, and the first layer that learns.
    epochs, batch : int
    learning_rate : float
        1e-3 suits a residual network, 1e-4 ``vgg16``.
    test_share : float
        Share of the people who are tested, not trained on.
    mask : {"exact", "ellipse"}
        Of the dictionary's concepts.
    level, tail, limit : float
        Of :meth:`Bench.dissect`.
    explain : int
        Pictures in glasses whose relevance is computed; 0 for none.
    composite : str
        How, for ``vgg16``; residual networks are explained by integrated gradients.
    margin : int
        Pixels around the glasses that count as glasses.
    folder : path, optional
        Each cell is kept here as soon as it is done; one of the same settings, pictures, trunk,
        dictionary and code is read and not computed again.
    precision : {"auto", "float32", "bfloat16"}
    progress : bool

    Returns
    -------
    Results

    Raises
    ------
    InputError
        An unknown cue or architecture (the nearest is offered), P outside 50 to 100, people of one
        gender only, no cell, or what training refuses.
    """
    kinds, percents, seeds = list(kinds), list(percents), list(seeds)
    for kind in kinds:
        if kind not in KINDS:
            raise InputError(f"There is no cue {kind!r}{nearest(kind, KINDS)}.")
    for percent in percents:
        check_percent(percent)
    if architecture not in ARCHITECTURES:
        raise InputError(
            f"There is no architecture {architecture!r}{nearest(architecture, ARCHITECTURES)}."
        )
    grid = [(kind, p, seed) for seed in seeds for kind in kinds for p in percents]
    if not grid or len(set(grid)) != len(grid):
        raise InputError("Give at least one cue, one P and one seed, each once.")
    plant_cue(pairs.male, 50)
    settings = {
        "architecture": architecture, "epochs": epochs, "batch": batch, "mask": mask,
        "learning_rate": learning_rate, "test_share": test_share, "explain": explain,
        "margin": margin, "precision": choose_precision(precision), "level": level, "tail": tail,
        "limit": limit,
    }  # fmt: skip
    goes_on = trunk if architecture == "vgg16" else None
    if goes_on is None:
        settings |= {"width": width}
    else:
        settings |= {"trained_from": trained_from, "composite": composite}
    remembered = Remembered(dictionary, pairs.plain.shape[1])
    settings["dictionary"] = remembered.digest(mask, level)
    arrays = [pairs.plain, pairs.worn, pairs.mask]
    digest = digest_inputs(settings, arrays, pairs.table, goes_on, CELL_CODE)
    place = None if folder is None else Path(folder) / f"experiment-{architecture}-{digest}"
    bench = None
    cells = []
    for kind, percent, seed in track(grid, "networks with a planted cue") if progress else grid:
        path = None if place is None else place / f"{kind}-{percent:g}-{seed}.json"
        cell = None if path is None else _load_cell(path)
        if cell is None:
            if bench is None:
                bench = Bench(
                    pairs, architecture=architecture, width=width, trunk=trunk,
                    trained_from=trained_from, test_share=test_share, folder=place,
                    precision=precision, progress=False,
                )  # fmt: skip
            rows, _ = bench.split(seed)
            cue = np.zeros(len(pairs), bool)
            cue[rows] = plant_cue(pairs.male[rows], percent, seed)
            history = bench.train(
                kind, cue, seed, epochs=epochs, batch=batch, learning_rate=learning_rate
            )
            detectors, bias = bench.dissect(
                remembered, mask=mask, level=level, tail=tail, limit=limit
            )
            accuracy = bench.test(kind, seed) | {"training": float(history["accuracy"].iloc[-1])}
            relevance = pd.DataFrame()
            if kind == "glasses" and explain:
                relevance = bench.explain(seed, explain, composite, margin)
            found = (detectors, bias, relevance, pd.DataFrame([accuracy]))
            cell = dict(zip(TABLES, (t.to_dict("list") for t in found), strict=True))
            # What is kept and what is returned are the same, whether it was computed or read.
            text = json.dumps(cell, default=_plain, sort_keys=True)
            if path is not None:
                kept = json.dumps({"sha256": _digest_of(text), "cell": json.loads(text)})
                with store.atomic_path(path) as temporary:
                    temporary.write_text(kept + "\n", encoding="utf-8")
            cell = json.loads(text)
        cells.append((kind, percent, seed, cell))
    for kept in place.glob("features-*.npy") if place is not None else ():
        kept.unlink()
    return Results(**{name: _join(cells, name) for name in TABLES})


def _plain(value):
    """NumPy's numbers as Python's."""
    return value.item()


#: Columns of a table of which no cell has rows, and their order in those that were kept.
_ORDER = {
    "detectors": ["block", "layer", "region", "units", "detectors", "pairs", "share"],
    "bias": ["block", "layer", "concept", "units", "biased", "share", "largest"],
    "relevance": ["image", "person", "male", "method", "mass", "hit", "area"],
    "accuracy": [
        *("as_planted", "swapped", "balanced", "by_cue", "people", "pictures", "training")
    ],
}


def _join(cells, name: str) -> pd.DataFrame:
    parts = [
        _lead(pd.DataFrame(cell[name])[_ORDER[name]], kind=kind, percent=percent, seed=seed)
        for kind, percent, seed, cell in cells
        if cell[name]
    ]
    if not parts:
        return pd.DataFrame(columns=["kind", "percent", "seed", *_ORDER[name]])
    return pd.concat(parts, ignore_index=True)


def _load_cell(path: Path) -> dict | None:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        cell = kept["cell"]
        whole = kept["sha256"] == _digest_of(json.dumps(cell, sort_keys=True))
        return cell if whole and set(cell) == set(TABLES) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None  # absent or damaged: computed again


def _digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


# ---------------------------------------------------------------------------------------- summary


def list_values(results: Results) -> pd.DataFrame:
    """What is followed over P, one value per cell and block.

    Returns
    -------
    DataFrame
        Columns ``kind``, ``quantity`` (of :data:`QUANTITIES`), ``block`` ("" for the whole
        network), ``percent``, ``seed``, ``value``: numbers of units; for relevance the mean over
        pictures; for the answers a share; ``most``, the largest that it could be.
    """
    parts = []
    for quantity, (table, column, condition) in QUANTITIES.items():
        some = getattr(results, table)
        for name, wanted in condition.items():
            some = some[some[name] == wanted]
        if some.empty:
            continue
        some = some.assign(quantity=quantity, block=some.get("block", ""))
        some = some.assign(most=some.get("units", 1))
        keys = ["kind", "quantity", "block", "percent", "seed"]
        grouped = some.groupby(keys, sort=False)[[column, "most"]].mean()
        parts.append(grouped.rename(columns={column: "value"}).reset_index())
    if not parts:
        raise InputError("The experiment has no cell to summarise.")
    return pd.concat(parts, ignore_index=True)


def summarise_experiment(
    results: Results, confidence: float = 0.95
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Curves over P, their trends, and whether the trend is steeper in later blocks.

    Parameters
    ----------
    results : Results
    confidence : float
        Of the intervals, which are Student's over seeds; those of the curves are cut where no value
        can lie. NaN with one seed, but a slope then has that of its regression over P.

    Returns
    -------
    curves : DataFrame
        ``kind``, ``quantity``, ``block``, ``percent``, ``seeds``, ``mean``, ``low``, ``high``.
    trends : DataFrame
        ``kind``, ``quantity``, ``block``, ``seeds``, ``slope`` (per 10 percentage points of P,
        least squares, mean over seeds), ``low``, ``high``; ``tau`` and ``tau_p`` (Kendall's tau-b
        over all cells as if independent, one-sided for a rise); ``page`` and ``page_p`` (Page's
        L: seeds ranked each by itself, one-sided for a rise; NaN with one seed or two P).
    steepness : DataFrame
        ``kind``, ``quantity``, ``seeds``, ``slopes`` (text, block by block), ``steeper`` (whether
        each block's slope exceeds that of the block before), ``page``, ``page_p`` (Page's L of the
        seeds' slopes over blocks).
    """
    if not 0 < confidence < 1:
        raise InputError(f"confidence = {confidence} is refused; it lies between 0 and 1.")
    values = list_values(results)
    keys = ["kind", "quantity", "block"]
    curves, trends, slopes = [], [], {}
    for key, some in values.groupby(keys, sort=False):
        wide = some.pivot_table("value", "seed", "percent", sort=True)
        for percent, column in wide.items():
            mean, *ends = _interval(column.to_numpy(), confidence)
            ends = np.clip(ends, 0, some["most"].max())
            curves.append((*key, percent, len(column), mean, *map(float, ends)))
        percents, grid = wide.columns.to_numpy(float) / 10, wide.to_numpy(float)
        each, trend = _trend(percents, grid, confidence)
        trends.append((*key, len(grid), *trend))
        slopes.setdefault(key[:2], {})[key[2]] = each
    columns = ["seeds", "slope", "low", "high", "tau", "tau_p", "page", "page_p"]
    steepness = []
    for key, by_block in slopes.items():
        if len(by_block) < 2:
            continue
        each = np.stack(list(by_block.values()), axis=1)
        mean = each.mean(0)
        steepness.append(
            (
                *key,
                len(each),
                ", ".join(f"{b}: {m:.2f}" for b, m in zip(by_block, mean, strict=True)),
                bool((np.diff(mean) > 0).all()),
                *_page(each),
            )
        )
    return (
        pd.DataFrame(curves, columns=[*keys, "percent", "seeds", "mean", "low", "high"]),
        pd.DataFrame(trends, columns=[*keys, *columns]),
        pd.DataFrame(
            steepness, columns=[*keys[:2], "seeds", "slopes", "steeper", "page", "page_p"]
        ),
    )


def _interval(values: np.ndarray, confidence: float) -> tuple[float, float, float]:
    """Mean and Student's interval; NaN of a single value."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, np.nan, np.nan
    reach = stats.t.ppf((1 + confidence) / 2, len(values) - 1) * stats.sem(values)
    return mean, float(mean - reach), float(mean + reach)


def _trend(x: np.ndarray, grid: np.ndarray, confidence: float):
    """Slopes (seeds,), and the trend's row; grid (seeds, percents)."""
    seeds = len(grid)
    nothing = (np.nan,) * 7
    if len(x) < 2:
        return np.full(seeds, np.nan), nothing
    centred = x - x.mean()
    each = (grid - grid.mean(1, keepdims=True)) @ centred / (centred @ centred)
    if seeds > 1:
        slope, low, high = _interval(each, confidence)
    else:
        slope, low, high = float(each[0]), np.nan, np.nan
        if len(x) > 2:
            error = stats.linregress(x, grid[0]).stderr
            reach = stats.t.ppf((1 + confidence) / 2, len(x) - 2) * error
            low, high = slope - reach, slope + reach
    tau = stats.kendalltau(np.tile(x, seeds), grid.ravel(), alternative="greater")
    return each, (slope, low, high, float(tau.statistic), float(tau.pvalue), *_page(grid))


def _page(grid: np.ndarray) -> tuple[float, float]:
    """Page's L of rows that are ranked each by itself, and its p for a rise over the columns."""
    if grid.shape[0] < 2 or grid.shape[1] < 3 or not np.isfinite(grid).all():
        return np.nan, np.nan
    found = stats.page_trend_test(grid)
    return float(found.statistic), float(found.pvalue)
