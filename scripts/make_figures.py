"""Draw the figure of the README from the shipped study set: ``python scripts/make_figures.py``."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from lib import figures  # noqa: E402
from lib.faces.dataset import load_faces  # noqa: E402
from lib.faces.labels import colour_labels, load_labels  # noqa: E402
from lib.faces.setfolder import write_sums  # noqa: E402
from lib.store import atomic_path  # noqa: E402

IDENTITIES = ("id002", "id005", "id010")
VIEWPOINTS = (-90, -60, -30, 0, 30, 60, 90)


def main() -> int:
    """Write ``data/figures/turnaround.png`` and its sum; returns the exit status."""
    faces = load_faces(ROOT / "data" / "faces" / "study", size=160)
    table = faces.table.reset_index(names="row").set_index(["identity", "viewpoint"])["row"]
    tiles = []
    for identity in IDENTITIES:
        rows = np.array([table[identity, view] for view in VIEWPOINTS])
        tiles += list(np.repeat(faces.images(rows)[..., None], 3, 3))
    tiles += list(colour_labels(load_labels(faces, rows, 160)))
    sheet = figures.montage(np.stack(tiles), len(VIEWPOINTS), gap=3)
    folder = ROOT / "data" / "figures"
    with atomic_path(folder / "turnaround.png") as temporary:
        # 128 colours are plenty for grey faces and seventeen parts, and a third of the size
        Image.fromarray(sheet).quantize(128).save(temporary, format="PNG", optimize=True)
    write_sums(folder, [p.name for p in folder.iterdir() if p.suffix in {".svg", ".png", ".json"}])
    return 0


if __name__ == "__main__":
    sys.exit(main())
