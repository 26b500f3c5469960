"""Detectors of the published networks: trained, kept, explained and measured, at a tiny size.

``make test-nightly`` runs this. Nearly all of its time goes into building and tracing DenseNet-121
(427 layers) and ResNet-50: some minutes, however small the images are.
"""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from test_salience_training import planted_set

from lib import params, vgg
from lib.errors import InputError
from lib.salience import comparison
from lib.salience.training import (
    ADAPT,
    LOSSES,
    NORMALISATION_MOMENTUM,
    DetectorExplainer,
    DetectorTraining,
    ask_detectors,
    compare_with_salience,
    score_detectors,
    summarise_detection,
    train_detectors,
)


@pytest.mark.parametrize("network", ["resnet50", "densenet121"])
def test_a_published_network_is_trained_kept_explained_and_measured(network, tmp_path):
    # four cells of a map: 64 pixels halved five times
    data = planted_set(96)
    data = dataclasses.replace(
        data,
        images=data.images.repeat(2, 1).repeat(2, 2),
        salience=data.salience.repeat(2, 1).repeat(2, 2),
    )
    # the constants of the profile; weights that need no download, and few small steps
    chapter = params.load_profile("published")["08_salience"]
    settings = DetectorTraining(
        network=network,
        weights="random",
        runs=1,
        epochs=2,
        batch=4,
        learning_rate=chapter["detector_rate"],
        alpha=chapter["detector_alpha"],
        cam_class=chapter["cam_class"],
    )
    trained = train_detectors(data, settings, folder=tmp_path, progress=False)
    assert [detector.loss for detector in trained] == list(LOSSES)
    images = vgg.prepare(data.images[:3], vgg.MEANS["imagenet"])
    again = train_detectors(data, settings, folder=tmp_path, progress=False)
    for one, other in zip(trained, again, strict=True):
        np.testing.assert_array_equal(one.model(images), other.model(images))
        assert one.history.equals(other.history)
    assert not np.array_equal(trained[0].model(images), trained[1].model(images))

    kinds = tf.keras.layers
    for detector in trained:
        layers = detector.model.layers
        norms = [x for x in layers if isinstance(x, kinds.BatchNormalization)]
        assert {x.momentum for x in norms} == {NORMALISATION_MOMENTUM}
        assert all(np.abs(x.moving_mean).max() > 0 for x in norms)
        assert [x.name for x in layers if x.weights and not x.trainable] == (
            [ADAPT] if network == "densenet121" else []
        )
        assert np.isfinite(detector.history[["total", "cross_entropy", "salience"]]).all().all()

    answers = ask_detectors(trained, data)
    assert answers.cams.shape == (len(LOSSES), len(data.rows("test")), 2, 2)
    assert np.isfinite(answers.cams).all() and np.isfinite(answers.logits).all()
    summary = summarise_detection(score_detectors(trained, data, answers=answers))
    assert summary["auc"].between(0, 1).all() and len(summary) == 2
    distance = compare_with_salience(trained, data, answers=answers)["distance"]
    assert distance.between(0, 1).all() and distance.nunique() > 2

    explainer = DetectorExplainer(trained)
    maps = explainer.explain(data.images[:3]).maps
    assert maps.shape == (3, len(LOSSES), 2, 2) and maps.dtype == np.float32
    assert np.isfinite(maps).all() and (maps >= 0).all() and maps.max() > 0
    for k, detector in enumerate(trained):
        mean = next(x for x in detector.model.layers if x.name == "mean")
        whole = tf.keras.Model(detector.model.input, [mean.input, detector.model.output])
        with tf.GradientTape() as tape:
            tape.watch(watched := tf.constant(images))
            features, logits = whole(watched, training=False)
            score = tf.reduce_sum(tf.reduce_max(logits, -1))
        gradient = tape.gradient(score, features)
        weights = tf.reduce_mean(gradient, (1, 2))
        expected = tf.nn.relu(tf.einsum("nk,nyxk->nyx", weights, features)).numpy()
        scale = max(np.abs(expected).max(), 1e-12)
        np.testing.assert_allclose(maps[:, k] / scale, expected / scale, atol=1e-4)
    measured = comparison.measure_detectors(
        trained, data, data.rows("test")[:3], amounts=(0.1,), progress=False
    )
    assert measured["value"].dims == ("model", "column", "image")
    assert np.isfinite(measured["value"].sel(column=measured["measure"] == "accuracy")).all()
    assert len(comparison.compare_losses(measured)) > 4
    with pytest.raises(InputError, match="no rule for its skip connections"):
        DetectorExplainer(trained, "a_flat")
