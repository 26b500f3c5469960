"""Digests of what a long computation is made from, by which its results are known again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from lib.network import Readout
    from lib.vgg import Trunk


def digest_trunk(trunk: Trunk, readouts: Sequence[Readout] = ()) -> str:
    """Digest of a trunk's layers and weights and of readouts on it."""
    found = hashlib.sha256(f"{trunk.name} {trunk.means} {trunk.size}".encode())
    # the name of a model is a number that Keras counts up
    layers = {k: v for k, v in trunk.model.get_config().items() if k != "name"}
    found.update(json.dumps(layers, sort_keys=True, default=str).encode())
    for weights in trunk.model.get_weights():
        found.update(np.ascontiguousarray(weights))
    for readout in readouts:
        found.update(f"{readout.name} {readout.kernel.shape}".encode())
        for array in (readout.kernel, readout.bias):
            found.update(np.ascontiguousarray(array))
    return found.hexdigest()
