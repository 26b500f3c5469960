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
        self.blur, self.seed = blur, seed
        # Twelve bytes a pixel: bytes are prepared when they are asked for. Whether floats are in
        # the right range shows in all of them together.
        late = self.images.dtype == np.uint8
        checked = prepare(self.images[:1] if late else self.images, means)
        self._all, self.shape = None if late else checked, checked.shape[1:]
        if not 0 < blur <= 1:
            raise InputError(f"blur = {blur:g} is refused; it is a share of the side, 0 to 1.")

    def prepared(self, rows: np.ndarray) -> np.ndarray:
        """Some images as a trunk takes them, (m, y, x, 3), float32."""
        return prepare(self.images[rows], self.means) if self._all is None else self._all[rows]

    def instead(self, rows: np.ndarray, images: np.ndarray) -> np.ndarray:
        """What stands in the place of every pixel of some prepared images; broadcasts to them."""
        if self.fill == "black":
            return -np.asarray(self.means, np.float32)
        if self.fill == "image_mean":
            return images.mean((1, 2), keepdims=True, dtype=np.float64).astype(np.float32)
        if self.fill == "blur":
            deviation = self.blur * self.shape[0]
            return ndimage.gaussian_filter(images, (0, deviation, deviation, 0), mode="nearest")
        if self.fill == "noise":
            return np.stack([self._shuffled(*pair) for pair in zip(rows, images, strict=True)])
        # inpainting falls back on it where no pixel is left to interpolate from
        return np.zeros(3, np.float32)

    def _shuffled(self, row: int, image: np.ndarray) -> np.ndarray:
        """An image with its pixels in random places: its own grey levels, no structure."""
        pixels = image.reshape(-1, 3)
        places = np.random.default_rng([self.seed, _STREAM, row]).permutation(len(pixels))
        return pixels[places].reshape(image.shape)

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
        if masks.shape != (len(rows), *self.shape[:2]):
            raise InputError(
                f"Masks have shape {masks.shape} for {len(rows)} images of "
                f"{self.shape[:2]} pixels; give one mask per image, of its size."
            )
        images = self.prepared(rows)
        if self.fill == "inpaint":
            given = zip(rows, images, masks, strict=True)
            return np.stack([self._inpaint(*one) for one in given])
        return np.where(masks[..., None], self.instead(rows, images), images)

    def picture(self, row: int, mask: np.ndarray) -> np.ndarray:
        """What the networks see of one masked face (y, x), as a picture: uint8 RGB (y, x, 3)."""
        shown = self.apply(np.array([row]), mask[None])[0] + np.asarray(self.means, np.float32)
        return shown[..., ::-1].round().clip(0, 255).astype(np.uint8)

    def _inpaint(self, row: int, prepared: np.ndarray, mask: np.ndarray) -> np.ndarray:
        from skimage.restoration import inpaint_biharmonic

        if not mask.any():
            return prepared
        if mask.all():
            return np.zeros_like(prepared)
        image = self.images[row].astype(np.float64)
        channels = {} if image.ndim == 2 else {"channel_axis": -1}
        found = prepare(inpaint_biharmonic(image, mask, **channels)[None], self.means)[0]
        return np.where(mask[..., None], found, prepared)


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
