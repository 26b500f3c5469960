"""Coverage-guided search for bytes that a parser does not refuse in a sentence.

``python tests/nightly/guided.py onnx -runs=100000`` (options are libFuzzer's). It needs atheris,
which is built for Linux on x86-64 alone and so is no part of the environments:
``.venv/bin/python -m pip install atheris==3.0.0``.
"""

import sys
import tempfile
from pathlib import Path

import atheris

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2])]

with atheris.instrument_imports(
    include=["lib.weights", "lib.faces.dataset", "lib.humans.responses"]
):
    from lib import weights
    from lib.faces import dataset
    from lib.humans import responses

from hostile import KINDS, little_memory, watched  # noqa: E402

from lib.errors import InputError  # noqa: E402

#: What is searched -> how bytes are read; files are written where the second argument says.
PARSERS = {
    "onnx": lambda data, path: weights.read_onnx(data),
    "pickle": lambda data, path: weights.read_pickle(data),
    "manifest": lambda data, path: dataset.load_faces(path),
    "responses": lambda data, path: responses.load_responses(path),
}


def main() -> None:
    """Search until libFuzzer has made its runs, or found something."""
    name = sys.argv.pop(1)
    kind, read = KINDS[name], PARSERS[name]
    folder = Path(tempfile.mkdtemp()) / "given"
    folder.mkdir()
    path = folder / kind.name
    kind.write(path)
    seeds = folder.parent / "seeds"
    seeds.mkdir()
    (seeds / "good").write_bytes(path.read_bytes())
    kind.read(path)

    def attempt(data: bytes) -> None:
        path.write_bytes(data)
        with watched(folder):
            try:
                read(data, path)
            except InputError as refused:
                assert str(refused).splitlines() == [str(refused)]

    atheris.Setup([*sys.argv, str(seeds)], attempt)
    with little_memory():
        atheris.Fuzz()


if __name__ == "__main__":
    main()
