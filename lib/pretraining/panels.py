"""Figures of ``00_pretraining``: the pictures learned from, the curves of training, the probes."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lib import figures
from lib.pretraining.images import Augmentation, Pictures, augment, pad_images

PARTS = {
    "accuracy": ("training images", "grey", ":"),
    "view_accuracy": ("held-out views", "vermilion", "-"),
    "scene_accuracy": ("held-out scenes", "blue", "--"),
}


def plot_people(pictures: Pictures, people: int = 3, columns: int = 8) -> Figure:
    """Some people, two scenes each: one row per scene, the views in order of yaw."""
    rows, labels = [], []
    table = pictures.table
    for person in range(min(people, table["person"].nunique())):
        own = table[(table["person"] == person) & (table["part"] != "scene")]
        for scene in sorted(own["scene"].unique())[:2]:
            chosen = own[own["scene"] == scene].sort_values("yaw").index.to_numpy()
            rows.append(chosen[np.linspace(0, len(chosen) - 1, columns).round().astype(int)])
            labels.append(f"person {person}, scene {scene}")
    fig, ax = plt.subplots(figsize=figures.sheet_size(columns, len(rows)))
    figures.plot_sheet(ax, pictures.images[np.concatenate(rows)], columns, row_labels=labels)
    return fig


def plot_augmented(
    pictures: Pictures, pixels: int, settings: Augmentation, seed: int = 0, columns: int = 8
) -> Figure:
    """One image as the network may see it: the original, then augmented ones."""
    row = pictures.rows("training")[:1]
    size = pictures.images.shape[1]
    padded = pad_images(pictures.images[row].repeat(2 * columns - 1, 0))
    shown, _ = augment(padded, size, pixels, settings, np.random.default_rng(seed))
    plain = pictures.images[row]
    step = np.linspace(0, size - 1, pixels).round().astype(int)
    first = plain[:, step][:, :, step]
    sheet = np.concatenate([first, shown.clip(0, 255).astype(np.uint8)])
    fig, ax = plt.subplots(figsize=figures.sheet_size(columns, 2))
    figures.plot_sheet(ax, sheet, columns)
    return fig


def plot_history(history: pd.DataFrame) -> Figure:
    """Loss and accuracy against the images shown so far; stages are told apart by their ground."""
    fig, axes = plt.subplots(1, 2, figsize=(9, 3.4))
    shown = history["images"].cumsum() / 1000
    for ax in axes:
        for number, stage in history.groupby("stage"):
            first = shown[stage.index[0]] - stage["images"].iloc[0] / 1000
            last = shown[stage.index[-1]]
            if number % 2 == 0:
                ax.axvspan(first, last, color="#F1F1F1", lw=0, zorder=0)
        ax.set_xlabel("images shown, thousands")
        ax.set_xlim(0, shown.iloc[-1])
    axes[0].plot(shown, history["loss"], color=figures.HUES["vermilion"], label="identity")
    axes[0].plot(shown, history["auxiliary"], color=figures.HUES["grey"], ls="--", label="shape")
    axes[0].set(ylabel="loss (nats; squared error)", ylim=(0, None))
    axes[0].legend()
    for name, (label, hue, line) in PARTS.items():
        known = history[name].notna()
        axes[1].plot(
            shown[known], history.loc[known, name], color=figures.HUES[hue], ls=line, label=label
        )
    axes[1].set(ylabel="share correct", ylim=(0, 1.02))
    axes[1].legend()
    return fig


def plot_probes(table: pd.DataFrame) -> Figure:
    """Accuracy of the probes, one bar per trunk and view asked about."""
    views = sorted(table["view"].unique())
    trunks = list(dict.fromkeys(table["trunk"]))
    colours = figures.colours_of(trunks)
    fig, ax = figures.new_figure(height=2.8)
    width = 0.8 / len(trunks)
    for k, trunk in enumerate(trunks):
        rows = table[table["trunk"] == trunk].set_index("view").loc[views]
        place = np.arange(len(views)) + (k - (len(trunks) - 1) / 2) * width
        bars = ax.bar(place, rows["accuracy"], width * 0.9, color=colours[trunk], label=trunk)
        ax.bar_label(bars, fmt="%.2f", padding=2)
    ax.axhline(table["chance"].iloc[0], color=figures.HUES["grey"], ls=":", label="chance")
    ax.set_xticks(range(len(views)), [f"{view:+.0f}°" for view in views])
    ax.set(xlabel="view asked about", ylabel="share correct", ylim=(0, 1.1))
    ax.grid(axis="x", visible=False)
    fig.legend(ncols=len(trunks) + 1, loc="outside lower center")
    return fig
