"""The baked head: one shipped file, read once per process.

`scripts/bake_faces.py` makes `data/faces/assets.npz` out of CC0 sources; see
`data/faces/assets.LICENSE.md`.
"""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lib.errors import InputError
from lib.store import load_arrays

DEFAULT_PATH = Path(__file__).resolve().parents[2] / "data" / "faces" / "assets.npz"

HELPERS = ("lashes", "teeth", "tongue", "eye_left", "eye_right", "centre_left", "centre_right")
MASK_NAMES = ("lips", "eyelids", "ears", "mouth")
_REQUIRED = (
    "points", "body_size", "faces", "uv", "face_uv", "step_dm",
    "target_names", "target_starts", "target_index", "target_delta",
)  # fmt: skip


@dataclass(frozen=True)
class Mask:
    """A crop of a painted mask over texture space.

    Attributes
    ----------
    values : float32 array (h, w), 0..1
    top, left : int
        Position of the crop in the whole picture.
    size : int
        Side of the whole picture in pixels.
    """

    values: np.ndarray
    top: int
    left: int
    size: int

    def sample(self, uv):
        """Bilinear lookup at texture coordinates `uv` (n, 2); float32 (n,), 0 outside the crop."""
        height, width = self.values.shape
        x = uv[:, 0] * self.size - 0.5 - self.left
        y = (1 - uv[:, 1]) * self.size - 0.5 - self.top
        out = np.zeros(len(uv), np.float32)
        inside = (x > 0) & (x < width - 1) & (y > 0) & (y < height - 1)
        x, y = x[inside], y[inside]
        i, j = y.astype(int), x.astype(int)
        fy, fx = y - i, x - j
        v = self.values
        out[inside] = (1 - fy) * ((1 - fx) * v[i, j] + fx * v[i, j + 1]) + fy * (
            (1 - fx) * v[i + 1, j] + fx * v[i + 1, j + 1]
        )
        return out


@dataclass(frozen=True)
class Assets:
    """Everything the renderer needs and did not make itself.

    Attributes
    ----------
    points : float64 array (v, 3)
        Vertices of the base mesh, decimetres; the first `body_size` are skin.
    faces : int array (f, 4)
        Skin quads.
    uv, face_uv : arrays (t, 2) and (f, 4)
        Texture coordinates and their number at each corner.
    helpers : dict of str -> int array
        Quads of lashes, teeth and tongue; vertex numbers of eyes and eye centres.
    targets : dict of str -> (index (k,), delta (k, 3))
        Shape targets, decimetres at weight 1.
    masks : dict of str -> Mask
    """

    points: np.ndarray
    body_size: int
    faces: np.ndarray
    uv: np.ndarray
    face_uv: np.ndarray
    helpers: dict
    targets: dict
    masks: dict


def read_assets(path):
    """Read and check an asset file.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    Assets

    Raises
    ------
    InputError
        When the file is missing, damaged or of another make.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"The head assets {path} are missing: run scripts/bake_faces.py.")
    try:
        arrays = load_arrays(path)
    except InputError as why:
        raise InputError(
            f"The head assets {path} are damaged ({why}): restore the file or run "
            "scripts/bake_faces.py."
        ) from why
    wanted = [*_REQUIRED, *HELPERS, *(f"mask_{n}" for n in MASK_NAMES)]
    missing = [name for name in wanted if name not in arrays]
    if missing:
        raise InputError(
            f"The head assets {path} lack {', '.join(missing)}: run scripts/bake_faces.py."
        )
    starts, index = arrays["target_starts"], arrays["target_index"].astype(np.int64)
    vertices = len(arrays["points"])
    consistent = (
        len(starts) == len(arrays["target_names"]) + 1
        and starts[-1] == len(index) == arrays["target_delta"].shape[1]
        and index.max() < vertices
        and arrays["faces"].max() < arrays["body_size"] <= vertices
        and len(arrays["faces"]) == len(arrays["face_uv"])
    )
    if not consistent:
        raise InputError(
            f"The arrays in the head assets {path} do not fit together: run scripts/bake_faces.py."
        )
    delta = np.ascontiguousarray(arrays["target_delta"].T * float(arrays["step_dm"]))
    targets = {
        str(name): (index[a:b], delta[a:b])
        for name, a, b in zip(arrays["target_names"], starts[:-1], starts[1:], strict=True)
    }
    masks = {}
    for name in MASK_NAMES:
        top, _, left, _, size = (int(v) for v in arrays["maskbox_" + name])
        masks[name] = Mask(arrays["mask_" + name].astype(np.float32) / 255, top, left, size)
    return Assets(
        points=arrays["points"].astype(np.float64),
        body_size=int(arrays["body_size"]),
        faces=arrays["faces"].astype(np.int64),
        uv=arrays["uv"].astype(np.float64),
        face_uv=arrays["face_uv"].astype(np.int64),
        helpers={name: arrays[name].astype(np.int64) for name in HELPERS},
        targets=targets,
        masks=masks,
    )


@functools.cache
def load_assets():
    """The shipped assets, read once per process. See `read_assets`."""
    return read_assets(DEFAULT_PATH)
