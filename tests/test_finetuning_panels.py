"""Figures of the chapter on readouts: the numbers drawn are those of the tables."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from lib import figures, finetuning_panels


@pytest.fixture(autouse=True)
def closed():
    figures.apply_style()
    yield
    plt.close("all")


def test_kernels_are_scaled_one_by_one_about_mid_grey():
    weights = np.zeros((3, 2, 2, 3), np.float32)
    weights[0, 0, 0] = [0.5, 0, -0.5]
    weights[1, 1, 1] = [-8, 4, 0]
    fig = finetuning_panels.plot_kernels({"imagenet": weights, "synthface": weights}, columns=3)
    shown = fig.axes[1].images[0].get_array()
    zoom, gap = finetuning_panels.ZOOM, finetuning_panels.ZOOM // 2
    tiles = [shown[: 2 * zoom, k * (2 * zoom + gap) :][:, : 2 * zoom] for k in range(3)]
    assert tiles[0][0, 0].tolist() == [255, 128, 0]
    assert tiles[1][-1, -1].tolist() == [0, 191, 128]
    assert (tiles[2] == 128).all()


def test_curves_are_the_history():
    rows = [
        (pretraining, task, index, epoch, part, epoch + index, 1 / (epoch + index))
        for pretraining in ("imagenet", "synthface")
        for task in ("identity", "gender")
        for index in (0, 1)
        for epoch in (1, 2, 3)
        for part in ("training", "validation")
    ]
    columns = ["pretraining", "task", "initialisation", "epoch", "part", "loss", "accuracy"]
    fig = finetuning_panels.plot_curves(pd.DataFrame(rows, columns=columns))
    loss = fig.axes[0].lines
    assert len(loss) == 8
    assert [line.get_ydata().tolist() for line in loss[:2]] == [[1, 2, 3], [2, 3, 4]]
    assert loss[0].get_color() == figures.PRETRAINING["imagenet"]
    assert (loss[0].get_linestyle(), loss[2].get_linestyle()) == ("-", "--")
    assert fig.axes[3].lines[0].get_ydata()[1] == 0.5


def test_views_are_means_of_validation_images():
    rows = [
        ("imagenet", "identity", index, part, view, accuracy)
        for index, accuracy in ((0, 0.5), (1, 1.0))
        for part in ("training", "validation")
        for view in (-30, 0)
    ]
    columns = ["pretraining", "task", "initialisation", "part", "view", "accuracy"]
    table = pd.DataFrame(rows, columns=columns)
    table.loc[table["part"] == "training", "accuracy"] = 0.0
    fig = finetuning_panels.plot_views(table)
    (line,) = fig.axes[0].lines
    assert line.get_xdata().tolist() == [-30, 0]
    assert line.get_ydata().tolist() == [0.75, 0.75]
