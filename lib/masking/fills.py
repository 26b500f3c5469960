"""What stands in the place of removed pixels.

The paper does not say; with the channel mean the network gets zeros there, after the means are
subtracted. Every other choice is a way to see whether a result hangs on that one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import ndimage

from lib.errors import InputError
from lib.masking.masks import check_names, mask_pixels, rank_pixels
from lib.vgg import Trunk, prepare

#: ``channel_mean``: zero after mean subtraction. ``black``: grey level 0. ``image_mean``: the mean
#: of this image. ``blur``: the pixel of the blurred image. ``noise``: a pixel from a random place
#: of the image. ``inpaint``: biharmonic interpolation from the pixels that are left.
FILLS = ("channel_mean", "black", "image_mean", "blur", "noise", "inpaint")
_STREAM = 5


class Filler:
    """Images with pixels replaced, as a trunk takes them.

    Parameters
    ----------
    images : ndarray, (n, y, x) or (n, y, x, 3)
        Grey or RGB, 0..255.
    means : three floats
        BGR, subtracted from the image.
    fill : str
        One of :data:`FILLS`.
    blur : float
        Standard deviation of the Gaussian of ``blur``, as a share of the image's side.
    seed : int
        Of ``noise``; the noise of an image is the same at every level and for every source.

    Raises
    ------
    InputError
        An unknown fill, or images that :func:`lib.vgg.prepare` refuses.
    """

    def __init__(
        self,
        images: np.ndarray,
        means: Sequence[float],
        fill: str = "channel_mean",
        *,
        blur: float = 0.05,
        seed: int = 0,
    ):
        check_names("fill", [fill], FILLS)
        self.fill, self.means, self.images = fill, tuple(means), np.asarray(images)
        self.prepared = prepare(self.images, means)
        size = self.prepared.shape[1]
        if not 0 < blur <= 1:
            raise InputError(f"blur = {blur:g} is refused; it is a share of the side, 0 to 1.")
        if fill == "black":
            self.instead = np.broadcast_to(-np.asarray(means, np.float32), (len(images), 1, 1, 3))
        elif fill == "image_mean":
            self.instead = self.prepared.mean((1, 2), keepdims=True, dtype=np.float64)
            self.instead = self.instead.astype(np.float32)
        elif fill == "blur":
            deviation = (0, blur * size, blur * size, 0)
            self.instead = ndimage.gaussian_filter(self.prepared, deviation, mode="nearest")
        elif fill == "noise":
            self.instead = self._shuffled(seed)
        else:
            # inpainting falls back on it where no pixel is left to interpolate from
            self.instead = np.zeros((len(images), 1, 1, 3), np.float32)

    def _shuffled(self, seed: int) -> np.ndarray:
        """Each image with its pixels in random places: its own grey levels, no structure."""
        out = np.empty_like(self.prepared)
        for k, image in enumerate(self.prepared):
            pixels = image.reshape(-1, 3)
            places = np.random.default_rng([seed, _STREAM, k]).permutation(len(pixels))
            out[k] = pixels[places].reshape(image.shape)
        return out

    def apply(self, rows: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Masked images.

        Parameters
        ----------
        rows : ndarray of int, (m,)
            Which images.
        masks : ndarray of bool, (m, y, x)
            True where a pixel is removed.

        Returns
        -------
        ndarray, (m, y, x, 3), float32
            BGR, means subtracted; pixels that are left are untouched.
        """
        masks = np.asarray(masks, bool)
        if masks.shape != (len(rows), *self.prepared.shape[1:3]):
            raise InputError(
                f"Masks have shape {masks.shape} for {len(rows)} images of "
                f"{self.prepared.shape[1:3]} pixels; give one mask per image, of its size."
            )
        if self.fill == "inpaint":
            return np.stack([self._inpaint(r, m) for r, m in zip(rows, masks, strict=True)])
        return np.where(masks[..., None], self.instead[rows], self.prepared[rows])

    def picture(self, row: int, mask: np.ndarray) -> np.ndarray:
        """What the networks see of one masked face (y, x), as a picture: uint8 RGB (y, x, 3)."""
        shown = self.apply(np.array([row]), mask[None])[0] + np.asarray(self.means, np.float32)
        return shown[..., ::-1].round().clip(0, 255).astype(np.uint8)

    def _inpaint(self, row: int, mask: np.ndarray) -> np.ndarray:
        from skimage.restoration import inpaint_biharmonic

        if not mask.any():
            return self.prepared[row]
        if mask.all():
            return np.broadcast_to(self.instead[row], self.prepared[row].shape)
        image = self.images[row].astype(np.float64)
        channels = {} if image.ndim == 2 else {"channel_axis": -1}
        found = prepare(inpaint_biharmonic(image, mask, **channels)[None], self.means)[0]
        return np.where(mask[..., None], found, self.prepared[row])


def example_fills(
    images: np.ndarray,
    maps: np.ndarray,
    face: int,
    level: float,
    trunks: Mapping[str, Trunk],
    *,
    blur: float = 0.05,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """One face, and what the first trunk sees of it under every fill, for a figure.

    Parameters
    ----------
    images : ndarray, (n, y, x) or (n, y, x, 3)
    maps : array, (n, y, x)
        Relevance of one source model.
    face : int
        Which image.
    level : float
        Percent of pixels removed.
    trunks : mapping of name -> Trunk
    blur, seed
        See :class:`Filler`.

    Returns
    -------
    dict
        ``unmasked`` and every fill -> ndarray of uint8, (y, x, 3).
    """
    mask = mask_pixels(rank_pixels(np.asarray(maps)[face][None]), level)[0]
    means = next(iter(trunks.values())).means
    one = np.asarray(images)[face][None]
    found = {"unmasked": Filler(one, means).picture(0, np.zeros_like(mask))}
    for fill in FILLS:
        found[fill] = Filler(one, means, fill, blur=blur, seed=seed).picture(0, mask)
    return found
