"""Find landmarks in face images: ``python scripts/detect_landmarks.py FOLDER_OR_MANIFEST``.

Writes ``landmarks.csv`` (path, x0, y0, v0, ... in the iBUG order) into the folder of the images,
where masks and the dictionary look for it. Needs mediapipe (requirements-landmarks.lock).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from lib.errors import InputError  # noqa: E402
from lib.faces.dataset import LANDMARKS, load_faces  # noqa: E402
from lib.faces.detect import detect_landmarks  # noqa: E402
from lib.progress import track  # noqa: E402
from lib.store import atomic_path  # noqa: E402


def main() -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", help="folder with one sub-folder per identity, or a manifest")
    given = parser.parse_args()
    try:
        faces = load_faces(given.source)
        rows = track(range(len(faces)), "landmarks")
        points = detect_landmarks(faces.images(k, colour=True)[0] for k in rows)
        names = [f"{axis}{k}" for k in range(points.shape[1]) for axis in "xyv"]
        table = pd.DataFrame(points.reshape(len(points), -1).round(2), columns=names)
        table.insert(0, "path", faces.table["path"])
        with atomic_path(faces.root / LANDMARKS) as temporary:
            table.to_csv(temporary, index=False, lineterminator="\n")
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    without = int(np.isnan(points[:, 0, 0]).sum())
    print(f"{faces.root / LANDMARKS}: {len(faces) - without} faces found, {without} images without")
    return 0


if __name__ == "__main__":
    sys.exit(main())
