"""Several networks over one dictionary: what they have in common is computed once.

Networks that went on learning from one trunk differ in their later layers alone. Their earlier
layers are the trunk's, and so are all overlaps of those; and what enters the later layers is the
same for all of them. Masks, too, are drawn once for all networks of one image size.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence

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
    """Dissection of one network after another over one dictionary.

    Parameters
    ----------
    dictionary : lib.faces.dictionary.Dictionary
    precision : {"auto", "float32", "bfloat16"}
    **options
        Of `lib.dissection.dissect`, the same for all networks.
    """

    def __init__(self, dictionary, precision: str = "auto", **options):
        self.dictionary, self.precision, self.options = dictionary, precision, options
        #: Side -> the dictionary at that size.
        self.remembered: dict[int, Remembered] = {}
        #: Digest of a layer -> its overlaps.
        self.known: dict[str, xr.Dataset] = {}
        #: Digests of all layers of the networks so far.
        self.seen: set[str] = set()
        #: Digest of a layer, and the dictionary with its maps in the place of images.
        self.entry: tuple[str, Remembered] | None = None

    def dissect(self, trunk: Trunk, layers: Sequence[str]) -> dict[str, xr.Dataset]:
        """As `lib.dissection.dissect`."""
        digests = digest_layers(trunk)
        known = {n: self.known[digests[n]] for n in layers if digests.get(n) in self.known}
        rest = [name for name in layers if name not in known]
        if rest or not layers:
            network, images = self._enter(trunk, rest, digests)
            found = dissect(network, images, rest, precision=self.precision, **self.options)
            self.known |= {digests[n]: data for n, data in found.items() if n in digests}
            known |= found
        self.seen |= set(digests.values())
        return {name: known[name] for name in layers}

    def _enter(self, trunk: Trunk, rest: Sequence[str], digests: Mapping[str, str]):
        """The network that has to be run for some layers, and what it takes."""
        size, count = trunk.size, len(self.dictionary)
        if count * size**2 * PIXEL > KEEP:
            return trunk, self.dictionary
        if size not in self.remembered:
            self.remembered[size] = Remembered(self.dictionary, size)
        images = self.remembered[size]
        ahead = list(digests)
        first = min((ahead.index(name) for name in rest if name in digests), default=0)
        cuts = [name for name in ahead[1:first] if digests[name] in self.seen]
        if not cuts:
            return trunk, images
        cut = cuts[-1]
        if 4 * count * int(np.prod(trunk.model.get_layer(cut).output_shape[1:])) > KEEP:
            return trunk, images
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
        return _later(trunk, cut), self.entry[1]
