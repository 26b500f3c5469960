"""Salience maps of all networks on a trunk, for whatever image the measures make."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lib.errors import InputError
from lib.network import Readout
from lib.relevance import make_engine
from lib.relevance.compute import SEEDS, choose_precision
from lib.relevance.engine import SharedTrunk
from lib.relevance.gradients import GradCam, IntegratedGradients

#: Images that go through Grad-CAM at a time: it keeps no more of them than one layer.
GRAD_CAM_BATCH = 16


@dataclass(frozen=True)
class Explanation:
    """Maps of some images.

    Attributes
    ----------
    maps : ndarray, (n, models, h, w), float32
        Relevance or salience of the winning class; of Grad-CAM at the size of its layer.
    predicted : ndarray, (n, models), int
        The winning class, to which the map belongs.
    """

    maps: np.ndarray
    predicted: np.ndarray


def describe_layers(model) -> str:
    """Layers of a network, what they do and what they are fed with, whatever they are called.

    Two networks may have the same weights and differ in a stride or an activation. Names that Keras
    gives depend on what was built before, so numbers stand for them.

    Parameters
    ----------
    model : keras.Model

    Returns
    -------
    str
        The name of its class alone, where it does not tell.
    """
    names: dict[str, str] = {}

    def collect(part) -> None:
        if isinstance(part, dict):
            if isinstance(part.get("name"), str):
                names.setdefault(part["name"], f"#{len(names)}")
            part = list(part.values())
        if isinstance(part, list | tuple):
            for inner in part:
                collect(inner)

    def number(part):
        if isinstance(part, dict):
            return {key: number(value) for key, value in part.items() if key != "trainable"}
        if isinstance(part, list | tuple):
            return [number(inner) for inner in part]
        return names.get(part, part) if isinstance(part, str) else part

    try:
        config = model.get_config()
        collect(config)
        return json.dumps(number(config), sort_keys=True, default=str)
    except (NotImplementedError, TypeError, ValueError):  # layers of a reader's own making
        return type(model).__qualname__


class Explainer:
    """A method of `lib.relevance` on the readouts of one trunk.

    Parameters
    ----------
    trunk : lib.vgg.Trunk
    readouts : sequence of lib.network.Readout
    method : str or Composite
        As ``composite`` of `lib.relevance.compute_relevance`.
    precision, **settings
        As there.

    Raises
    ------
    InputError
        No readouts, or what `lib.relevance.make_engine` refuses.
    """

    def __init__(self, trunk, readouts: Sequence[Readout], method="grad_cam", **settings):
        self.trunk, self.readouts = trunk, list(readouts)
        if not self.readouts:
            raise InputError(f"There are no readouts on trunk {trunk.name!r} to explain.")
        self.method = getattr(method, "name", method)
        self.names = [readout.name for readout in self.readouts]
        precision = choose_precision(settings.get("precision", "auto"))
        about = (method, precision, sorted((settings | {"precision": ""}).items()))
        #: Everything that decides the maps, beside the images and the weights.
        self.settings = repr((*about, [*map(float, trunk.means)], describe_layers(trunk.model)))
        # One readout with the classes of all: any network's map for one image costs one map, where
        # an engine of all readouts would compute those of all networks.
        classes = [readout.classes for readout in self.readouts]
        self._first = np.concatenate([[0], np.cumsum(classes)[:-1]]).astype(int)
        joined = Readout(
            "joined",
            np.concatenate([readout.kernel for readout in self.readouts], axis=1),
            np.concatenate([readout.bias for readout in self.readouts]),
        )
        self._joined = make_engine(trunk, [joined], method, **settings)
        self._classes = classes
        # What goes backward is one row per target, whose readout does not matter to these engines.
        shares = isinstance(self._joined, SharedTrunk | IntegratedGradients)
        self._together = None if shares else make_engine(trunk, self.readouts, method, **settings)
        self._seeds = min(SEEDS, settings.get("seeds", SEEDS))

    def explain(self, images: np.ndarray, batch: int | None = None) -> Explanation:
        """Maps of all networks for all images.

        Parameters
        ----------
        images : ndarray, (n, y, x) or (n, y, x, 3)
            0..255.
        batch : int, optional
            Images at a time.
        """
        if batch is None:
            quick = isinstance(self._joined, GradCam)
            batch = GRAD_CAM_BATCH if quick else max(1, self._seeds // len(self.readouts))
        parts = [self._explain(images[rows]) for rows in _blocks(len(images), batch)]
        return _join(parts)

    def explain_one(self, images: np.ndarray, model: np.ndarray, batch: int = SEEDS) -> Explanation:
        """One network's map for each image.

        Parameters
        ----------
        images : ndarray, (n, y, x) or (n, y, x, 3)
        model : ndarray, (n,), int
            Index of the network that each image is for.

        Returns
        -------
        Explanation
            With one model: maps (n, 1, h, w).
        """
        model = np.asarray(model)
        parts = []
        for rows in _blocks(len(images), batch):

            def choose(logits, rows=rows):
                found = [
                    self._first[m] + values[self._first[m] :][: self._classes[m]].argmax()
                    for values, m in zip(logits[0], model[rows], strict=True)
                ]
                return np.array(found)[:, None], np.full((len(found), 1), -1)

            maps, (first, _) = self._run(self._joined, images[rows], choose)
            parts.append(Explanation(maps, first - self._first[model[rows], None]))
        return _join(parts)

    def _explain(self, images: np.ndarray) -> Explanation:
        if self._together is not None:

            def choose(logits):
                first = np.stack([values.argmax(1) for values in logits], axis=1)
                return first, np.full(first.shape, -1)

            maps, (first, _) = self._run(self._together, images, choose)
            return Explanation(maps, first)
        parts = []
        for some in _blocks(len(self.readouts), self._seeds):

            def choose(logits, some=some):
                pieces = np.split(logits[0], self._first[1:], axis=1)
                found = [values.argmax(1) for values in pieces]
                first = np.stack(found, axis=1)[:, some] + self._first[some]
                return first, np.full(first.shape, -1)

            maps, (first, _) = self._run(self._joined, images, choose)
            parts.append((maps, first - self._first[some]))
        return Explanation(*(np.concatenate(kind, axis=1) for kind in zip(*parts, strict=True)))

    def _run(self, engine, images: np.ndarray, choose):
        prepared = self.trunk.prepare(np.asarray(images))
        if self.method == "grad_cam":
            # before it is resized, as in the paper: 7 x 7 cells at 224 pixels
            maps, _, target = engine.maps(prepared, choose)
        else:
            maps, _, target = engine.relevance(prepared, choose)
            maps = maps.sum(-1)
        if not np.isfinite(maps).all():
            raise InputError(
                f"A {self.method} map on trunk {self.trunk.name!r} is not finite: an activation or "
                "a denominator overflowed; look at the images and the weights."
            )
        return maps, target


def _blocks(count: int, batch: int) -> Iterator[slice]:
    return (slice(start, min(start + batch, count)) for start in range(0, count, batch))


def _join(parts: Sequence[Explanation]) -> Explanation:
    if not parts:
        raise InputError("There are no images to explain; give at least one.")
    return Explanation(
        np.concatenate([part.maps for part in parts]),
        np.concatenate([part.predicted for part in parts]),
    )
