"""Render the shipped sets of faces: python scripts/render_faces.py study|dictionary|examples

study        101 people x 15 viewpoints, grey, 224 px, into data/faces/study
dictionary   the Face Dictionary, into data/faces/dictionary
examples     the two forms a reader's own faces may have, into data/faces/examples

Each is taken up where a stopped run left it and comes out the same on one machine, byte for byte.
"""

import argparse
import os
import sys
from pathlib import Path

# One thread per process: the work is split over processes.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from lib.errors import InputError  # noqa: E402
from lib.faces.design import render_dictionary  # noqa: E402
from lib.faces.generate import render_examples  # noqa: E402
from lib.faces.study import render_study  # noqa: E402


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Render the shipped sets of faces.")
    sets = parser.add_subparsers(dest="what", required=True)
    study = sets.add_parser("study", help="people from fifteen viewpoints")
    study.add_argument("--identities", type=int, help="only the first so many people")
    dictionary = sets.add_parser("dictionary", help="faces with concepts and masks")
    dictionary.add_argument("--images", type=int, help="only the first so many images")
    dictionary.add_argument("--quality", type=int, help="lossy WebP of this quality, 0 to 100")
    examples = sets.add_parser("examples", help="the forms of a reader's own faces")
    for one, render in (
        (study, render_study),
        (dictionary, render_dictionary),
        (examples, render_examples),
    ):
        one.add_argument("--folder", type=Path, help="default: data/faces/<set>")
        if one is not examples:
            one.add_argument("--processes", type=int, default=2)
        one.add_argument("--size", type=int, help="side in pixels")
        one.set_defaults(render=render)
    settings = {k: v for k, v in vars(parser.parse_args(arguments)).items() if v is not None}
    what, render = settings.pop("what"), settings.pop("render")
    folder = settings.pop("folder", ROOT / "data" / "faces" / what)
    try:
        made = render(folder, **settings)
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    megabytes = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e6
    print(f"{folder}: {len(made)} images, {megabytes:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
