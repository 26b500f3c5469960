"""One look for every figure: type, colours, and the few panels that several chapters draw.

Colours are those of Okabe and Ito (2008), told apart with any common colour vision; hue stands for
the pretraining and line style for the task, in every chapter. ``plot_*`` functions draw a table or
an array on given axes and compute nothing.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Sequence

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

#: Okabe-Ito hues by name.
HUES = {
    "black": "#000000",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "green": "#009E73",
    "yellow": "#F0E442",
    "blue": "#0072B2",
    "vermilion": "#D55E00",
    "purple": "#CC79A7",
    "grey": "#767676",
}
#: Pretraining -> colour.
PRETRAINING = {
    "imagenet": HUES["blue"],
    "synthface": HUES["vermilion"],
    "vggface": HUES["green"],
}
#: Task -> line style.
TASK = {"identity": "-", "gender": "--"}
#: Colours of pretrainings that have none of their own, in order of appearance.
SPARE = ("orange", "purple", "sky", "black", "grey")


def apply_style() -> None:
    """Set matplotlib's defaults for the report (idempotent)."""
    mpl.rcParams.update(
        {
            "figure.dpi": 110,
            "savefig.dpi": 110,
            "figure.constrained_layout.use": True,
            "font.family": "DejaVu Sans",
            "font.size": 9.5,
            "axes.titlesize": 10.5,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.edgecolor": "#555555",
            "axes.labelcolor": "#222222",
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": "#E4E4E4",
            "grid.linewidth": 0.7,
            "xtick.color": "#555555",
            "ytick.color": "#555555",
            "legend.frameon": False,
            "image.cmap": "gray",
            # SVG ids from a fixed salt: the same figure gives the same bytes
            "svg.hashsalt": "face-decisions",
        }
    )


def colours_of(pretrainings: Iterable[str]) -> dict[str, str]:
    """Colour of each pretraining; training seeds (``synthface-2``) share that of their family.

    Parameters
    ----------
    pretrainings : iterable of str
        All of a figure at once, so that a reader's own trunks get colours that differ.
    """
    names = list(dict.fromkeys(map(str, pretrainings)))
    families = {name: re.sub(r"-\d+$", "", name) for name in names}
    unknown = [f for f in dict.fromkeys(families.values()) if f not in PRETRAINING]
    spare = {f: HUES[SPARE[k % len(SPARE)]] for k, f in enumerate(unknown)}
    return {name: (PRETRAINING | spare)[families[name]] for name in names}


def reach(value, low, high) -> np.ndarray:
    """How far an interval reaches to either side of its value, (2, n), as ``errorbar`` takes it.

    An interval that leaves its value out, by a rounding or since few samples were drawn, reaches
    nowhere on that side: matplotlib refuses what is below zero.
    """
    value, low, high = (np.atleast_1d(np.asarray(some, float)) for some in (value, low, high))
    return np.maximum([value - low, high - value], 0)


def _bare(ax: Axes) -> None:
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(False)


def montage(images: np.ndarray, columns: int, gap: int = 2, fill: int = 255) -> np.ndarray:
    """Tile images into one.

    Parameters
    ----------
    images : (n, y, x) or (n, y, x, 3) uint8
    columns : int
    gap : int
        Pixels between tiles.
    fill : int
        Value of the gaps and of tiles that are missing in the last row, 0 to 255.

    Returns
    -------
    uint8 array (rows * y + ..., columns * x + ...[, 3])
    """
    n, height, width = images.shape[:3]
    rows = math.ceil(n / columns)
    shape = (rows * (height + gap) - gap, columns * (width + gap) - gap, *images.shape[3:])
    sheet = np.full(shape, fill, np.uint8)
    for k, image in enumerate(images):
        top, left = (k // columns) * (height + gap), (k % columns) * (width + gap)
        sheet[top : top + height, left : left + width] = image
    return sheet


def plot_sheet(
    ax: Axes,
    images: np.ndarray,
    columns: int,
    column_labels: Sequence[str] = (),
    row_labels: Sequence[str] = (),
    gap: int = 2,
) -> None:
    """Draw a contact sheet: images (n, y, x[, 3]) uint8, 0 to 255, row by row."""
    sheet = montage(images, columns, gap)
    ax.imshow(sheet, vmin=0, vmax=255, interpolation="lanczos")
    _bare(ax)
    height, width = images.shape[1] + gap, images.shape[2] + gap
    if column_labels:
        ax.set_xticks([width * (k + 0.5) for k in range(len(column_labels))], column_labels)
        ax.xaxis.tick_top()
    if row_labels:
        ax.set_yticks([height * (k + 0.5) for k in range(len(row_labels))], row_labels)
    ax.tick_params(length=0)


def sheet_size(columns: int, rows: int, width: float = 9.0) -> tuple[float, float]:
    """Figure size in inches for a sheet of square tiles, with room for labels."""
    return width, width * rows / columns + 0.4


def new_figure(columns: int = 1, rows: int = 1, width: float = 9.0, height: float = 3.2):
    """Figure and axes of the report's width (inches); ``height`` is that of one row."""
    return plt.subplots(rows, columns, figsize=(width, height * rows))


class Table:
    """A table as the report shows it: no index, rounded, numbers aligned.

    Parameters
    ----------
    table : DataFrame
    decimals : int
        Decimals of floating-point columns; rounding is what lets two machines agree to the letter.
    caption : str
        A line above the table, where what it holds depends on the run.
    """

    def __init__(self, table: pd.DataFrame, decimals: int = 2, caption: str = ""):
        self.table, self.format, self.caption = table, f"{{:.{decimals}f}}".format, caption

    def __repr__(self) -> str:
        text = self.table.to_string(index=False, float_format=self.format, na_rep="")
        return f"{self.caption}\n{text}" if self.caption else text

    def _repr_html_(self) -> str:
        text = self.table.to_html(
            index=False, border=0, float_format=self.format, na_rep="", justify="left"
        )
        if not self.caption:
            return text
        head, mark, body = text.partition("<thead>")
        return f"{head}<caption>{html.escape(self.caption)}</caption>{mark}{body}"
