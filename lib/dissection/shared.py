"""Several networks over one dictionary: what they have in common is computed once.

Networks that went on learning from one trunk differ in their later layers alone. Their earlier
layers are the trunk's, and so are all overlaps of those; and what enters the later layers is the
same for all of them. Masks, too, are drawn once for all networks of one image size.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import tensorflow as tf
import xarray as xr

from lib.dissection.dissect import KEEP, dissect
from lib.dissection.experiment import LaterLayers, Remembered
from lib.vgg import Trunk, iter_features

#: Bytes remembered of a pixel: three channels, and of the exact and the elliptical masks a bit each
#: and a code for all.
PIXEL = 3 + 2 * (5 + 4)
#: Ends of the names of settings that only building and training a layer need.
UNUSED = ("_initializer", "_regularizer", "_constraint")


def digest_layers(trunk: Trunk) -> dict[str, str]:
    """Of every layer of a plain chain, a digest of all that its output depends on but the image.

    Parameters
    ----------
    trunk : Trunk

    Returns
    -------
    dict of layer -> str
        In the order of the layers. Two layers of one digest, of whatever networks, give the same
        maps. Empty where the network is no plain chain, each layer taking the output of the one
        before and nothing else.
    """
    layers = trunk.model.layers
    for before, layer in itertools.pairwise(layers):
        if isinstance(layer.input, list) or layer.input is not before.output:
            return {}
        # what a layer was called with beside a tensor (the 255 of x / 255) is not in its settings
        call = layer.inbound_nodes[0]
        if len(call.call_args) != 1 or any(x is not None for x in call.call_kwargs.values()):
            return {}
    found = {}
    digest = hashlib.sha256(json.dumps([trunk.size, *map(float, trunk.means)]).encode())
    for layer in layers:
        # names are not what a layer does (Keras counts some up), nor is how it would be trained
        settings = {
            key: value
            for key, value in layer.get_config().items()
            if key not in ("name", "trainable") and not key.endswith(UNUSED)
        }
        about = [type(layer).__name__, settings]
        digest.update(json.dumps(about, sort_keys=True, default=str).encode())
        for weights in layer.get_weights():
            digest.update(np.ascontiguousarray(weights))
        found[layer.name] = digest.hexdigest()
    return found


def _later(trunk: Trunk, cut: str) -> LaterLayers:
    """The layers after ``cut`` as a network that takes what ``cut`` gives."""
    names = [layer.name for layer in trunk.model.layers]
    entry = tf.keras.Input(trunk.model.get_layer(cut).output_shape[1:])
    x = entry
    for layer in trunk.model.layers[names.index(cut) + 1 :]:
        # copies: a layer that is called twice has no single output any more
        copy = type(layer).from_config(layer.get_config())
        x = copy(x)
        copy.set_weights(layer.get_weights())
    return LaterLayers(trunk.name, tf.keras.Model(entry, x), side=trunk.size)


class Shared:
    """Dissection of several networks, one after another, over one dictionary.

    Parameters
    ----------
    dictionary : lib.faces.dictionary.Dictionary
    networks : mapping of name -> Trunk
        In the order in which they will be dissected.
    layers : mapping of name -> sequence of str
    precision : {"auto", "float32", "bfloat16"}
    **options
        Of `lib.dissection.dissect`, the same for all networks.
    """

    def __init__(
        self,
        dictionary,
        networks: Mapping[str, Trunk],
        layers: Mapping[str, Sequence[str]],
        precision: str = "auto",
        **options,
    ):
        self.dictionary, self.networks, self.layers = dictionary, networks, layers
        self.precision, self.options = precision, options
        self.digests = {name: digest_layers(trunk) for name, trunk in networks.items()}
        #: Side -> the dictionary at that size.
        self.remembered: dict[int, Remembered] = {}
        #: Digest of a layer -> its overlaps.
        self.known: dict[str, xr.Dataset] = {}
        #: Digests of all layers of the networks so far.
        self.seen: set[str] = set()
        #: Digest of a layer, and the dictionary with its maps in the place of images.
        self.entry: tuple[str, Remembered] | None = None

    def dissect(self, name: str) -> dict[str, xr.Dataset]:
        """As `lib.dissection.dissect` of one of the networks."""
        layers, digests = self.layers[name], self.digests[name]
        known = {n: self.known[digests[n]] for n in layers if digests.get(n) in self.known}
        rest = [layer for layer in layers if layer not in known]
        if rest or not layers:
            network, images, keep = self._enter(name, rest)
            found = dissect(
                network, images, rest, precision=self.precision, keep=keep, **self.options
            )
            for layer, maps in keep.items():
                self.entry = digests[layer], images.with_features(maps)
            self.known |= {digests[n]: data for n, data in found.items() if n in digests}
            known |= found
        self.seen |= set(digests.values())
        return {layer: known[layer] for layer in layers}

    def _enter(self, name: str, rest: Sequence[str]):
        """The network that has to be run for some layers, what it takes, and which maps to keep."""
        trunk, digests = self.networks[name], self.digests[name]
        if len(self.dictionary) * trunk.size**2 * PIXEL > KEEP:
            return trunk, self.dictionary, {}
        if trunk.size not in self.remembered:
            self.remembered[trunk.size] = Remembered(self.dictionary, trunk.size)
        images = self.remembered[trunk.size]
        cut = self._cut(name, self.known, self.seen)
        if not cut or not self._fits(trunk, cut):
            return trunk, images, self._ahead(name)
        if self.entry is None or self.entry[0] != digests[cut]:
            self.entry = None
            maps = np.concatenate(
                [
                    found[cut]
                    for _, found in iter_features(
                        trunk, images.kept, [cut], precision=self.precision
                    )
                ]
            )
            self.entry = digests[cut], images.with_features(maps)
        return _later(trunk, cut), self.entry[1], {}

    def _cut(self, name: str, known: Collection[str], seen: Collection[str]) -> str:
        """The last layer in common with the networks before, ahead of what is not known."""
        digests = self.digests[name]
        rest = [layer for layer in self.layers[name] if digests.get(layer) not in known]
        ahead = list(digests)
        first = min((ahead.index(layer) for layer in rest if layer in digests), default=0)
        cuts = [layer for layer in ahead[1:first] if digests[layer] in seen]
        return cuts[-1] if cuts else ""

    def _fits(self, trunk: Trunk, cut: str) -> bool:
        maps = trunk.model.get_layer(cut).output_shape[1:]
        return 4 * len(self.dictionary) * int(np.prod(maps)) <= KEEP

    def _ahead(self, name: str) -> dict[str, np.ndarray]:
        """Room for what enters the later layers of the next network that goes on from this one."""
        trunk, digests = self.networks[name], self.digests[name]
        known = {*self.known, *(digests[n] for n in self.layers[name] if n in digests)}
        seen = {*self.seen, *digests.values()}
        names = list(self.networks)
        for other in names[names.index(name) + 1 :]:
            cut = self._cut(other, known, seen)
            mine = {digest: layer for layer, digest in digests.items()}
            layer = mine.get(self.digests[other].get(cut))
            if layer is None or self.networks[other].size != trunk.size:
                continue
            if not self._fits(trunk, layer):
                return {}
            shape = trunk.model.get_layer(layer).output_shape[1:]
            return {layer: np.empty((len(self.dictionary), *shape), np.float32)}
        return {}
