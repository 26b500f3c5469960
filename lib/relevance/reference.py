"""iNNvestigate as an engine, in a graph and session of its own.

iNNvestigate needs TensorFlow's graph mode. Nothing is switched off globally for it: model and
analyzers live in their own graph, and eager mode stays on around it.
"""

from __future__ import annotations

import contextlib
import warnings
import weakref
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from lib import network
from lib.errors import InputError
from lib.network import Readout
from lib.relevance.composites import COMPOSITES, Composite
from lib.relevance.engine import check_readouts


def _keras_bases() -> dict[type, tuple[type, ...]]:
    """Every class of Keras layers and models there is, with its base classes."""
    found: dict[type, tuple[type, ...]] = {}
    waiting = [tf.keras.layers.Layer]
    while waiting:
        for kind in waiting.pop().__subclasses__():
            if kind not in found:
                found[kind] = kind.__bases__
                waiting.append(kind)
    return found


def _set_bases(bases: dict[type, tuple[type, ...]]) -> None:
    for kind, before in bases.items():
        if kind.__bases__ != before:
            kind.__bases__ = before


class Innvestigate:
    """Relevance by iNNvestigate (Alber et al. 2019, JMLR 20(93)); slow, and what the fast engine is
    checked against.

    Parameters
    ----------
    trunk : keras.Model
    readouts : sequence of Readout
    composite : Composite
        One that has a counterpart there.

    Raises
    ------
    InputError
        A composite without counterpart, or as for the fast engine.
    """

    def __init__(self, trunk: tf.keras.Model, readouts: Sequence[Readout], composite: Composite):
        if composite.innvestigate is None:
            known = ", ".join(name for name, c in COMPOSITES.items() if c.innvestigate)
            raise InputError(
                f"iNNvestigate has no composite {composite.name!r}; with it use one of {known}, or "
                "choose engine: shared."
            )
        self.chain = network.read_chain(trunk)
        check_readouts(self.chain, readouts, trunk.name)
        self.readouts = list(readouts)
        self.composite = composite
        self._analyzers: dict[int, tuple] = {}
        self._bases: dict[type, tuple[type, ...]] = {}
        config, values = trunk.get_config(), trunk.get_weights()
        self._graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=self._graph)
        # A session keeps its weights, and all copies that analyzers make of them, until it closes.
        weakref.finalize(self, self._session.close)
        with self._inside():
            self._trunk = type(trunk).from_config(config)
            self._trunk.set_weights(values)

    @contextlib.contextmanager
    def _inside(self) -> Iterator[None]:
        """The engine's graph and session.

        Whenever Keras makes a layer or model it gives the class the base class for the current
        mode, and so breaks all objects of that class made in the other mode. The bases are put back
        on the way out, and set for the graph again on the way in.
        """
        eager = _keras_bases()
        _set_bases(self._bases)
        try:
            with self._graph.as_default(), self._session.as_default():
                yield
        finally:
            self._bases = _keras_bases()
            _set_bases(eager)

    def _analyzer(self, classes: int):
        """Dense head with so many outputs and its analyzer, made when first needed."""
        import innvestigate

        if classes not in self._analyzers:
            output = self._trunk.output
            if len(output.shape) > 2:
                output = tf.keras.layers.Flatten(name=f"flatten_{classes}")(output)
            head = tf.keras.layers.Dense(classes, name=f"readout_{classes}")
            model = tf.keras.Model(self._trunk.input, head(output))
            name, settings = self.composite.innvestigate
            analyzer = innvestigate.create_analyzer(
                name, model, neuron_selection_mode="index", **dict(settings)
            )
            self._analyzers[classes] = (head, analyzer)
        return self._analyzers[classes]

    def relevance(self, x: np.ndarray, choose) -> tuple[np.ndarray, list[np.ndarray], tuple]:
        """As :meth:`lib.relevance.engine.SharedTrunk.relevance`."""
        with self._inside(), warnings.catch_warnings():
            # Keras on what it will drop one day; the versions here are pinned.
            warnings.filterwarnings("ignore", message=".*state_updates.*")
            features = self._trunk.predict_on_batch(x)
        logits = [readout.logits(features) for readout in self.readouts]
        first, second = choose(logits)
        return self.explain(x, first, second), logits, (first, second)

    def explain(self, x: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Relevance for targets that are known: iNNvestigate's work and nothing else.

        Parameters
        ----------
        x : ndarray, (n, y, x, channels), float32
        first, second : ndarray of int, (n, readouts)
            Class explained, and class whose logit is subtracted, or -1.

        Returns
        -------
        ndarray, (n, readouts, y, x, channels), float32
        """
        with self._inside(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*state_updates.*")
            maps = [
                self._one(readout, x, first[:, index], second[:, index])
                for index, readout in enumerate(self.readouts)
            ]
        return np.stack(maps, axis=1)

    def _one(self, readout: Readout, x: np.ndarray, first, second) -> np.ndarray:
        if (second < 0).all():
            head, analyzer = self._analyzer(readout.classes)
            head.set_weights([readout.kernel, readout.bias])
            return analyzer.analyze(x, neuron_selection=first)
        # The difference of two logits is the only output of a head with one neuron.
        head, analyzer = self._analyzer(1)
        maps = []
        for image, target, other in zip(x, first, second, strict=True):
            kernel, bias = readout.kernel[:, [target]], readout.bias[[target]]
            if other >= 0:
                kernel = kernel - readout.kernel[:, [other]]
                bias = bias - readout.bias[[other]]
            head.set_weights([kernel, bias])
            maps.append(analyzer.analyze(image[None], neuron_selection=0)[0])
        return np.stack(maps)
