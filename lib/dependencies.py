"""Which modules of ``lib`` a notebook depends on, read from its own import lines.

The Snakefile asks here, so that a changed module re-runs the notebooks that use it, directly or
through another module, and no others. Standard library only: the workflow engine imports it.
"""

from __future__ import annotations

import ast
import csv
import hashlib
import json
from pathlib import Path, PurePosixPath

from lib.errors import InputError

ROOT = Path(__file__).resolve().parent.parent


def _imported(source: str, package: str = "") -> set[str]:
    """Dotted names that a piece of Python imports; relative ones resolved against ``package``."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *([base] if base else [])])
            names.add(base)
            names.update(f"{base}.{alias.name}" for alias in node.names)
    return names


def _file_of(name: str, root: Path) -> Path | None:
    path = root.joinpath(*name.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def modules_of(start: Path, root: Path = ROOT) -> list[str]:
    """Files of ``lib`` that a notebook or script needs, transitively.

    Parameters
    ----------
    start : Path
        A ``.ipynb`` or ``.py`` file.
    root : Path
        Folder that holds ``lib``.

    Returns
    -------
    list of str
        Sorted paths relative to ``root``, e.g. ``["lib/errors.py", "lib/params.py"]``.
    """
    if start.suffix == ".ipynb":
        try:
            cells = json.loads(start.read_text(encoding="utf-8"))["cells"]
        except (ValueError, KeyError):
            raise InputError(
                f"{start} is not a notebook: restore it from the repository."
            ) from None
        code = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
        # Magics are not Python; none of them imports.
        lines = [ln for text in code for ln in text.splitlines() if not ln.lstrip().startswith("%")]
        source = "\n".join(lines)
    else:
        source = start.read_text(encoding="utf-8")
    todo = [(source, "", start)]
    found: set[Path] = set()
    while todo:
        source, package, where = todo.pop()
        try:
            names = _imported(source, package)
        except SyntaxError as error:
            raise InputError(f"{where}, line {error.lineno}: {error.msg}; mend it.") from None
        for name in names:
            parts = name.split(".")
            if parts[0] != "lib":
                continue
            # importing lib.a.b runs lib/__init__ and lib/a/__init__ too
            for depth in range(1, len(parts) + 1):
                file = _file_of(".".join(parts[:depth]), root)
                if file is not None and file not in found:
                    found.add(file)
                    inner = ".".join(file.relative_to(root).with_suffix("").parts)
                    package_of = (
                        inner.removesuffix(".__init__")
                        if file.name == "__init__.py"
                        else (inner.rpartition(".")[0])
                    )
                    todo.append((file.read_text(encoding="utf-8"), package_of, file))
    return sorted(str(f.relative_to(root)) for f in found)


def _named_in(manifest: Path) -> list[Path]:
    """Files that a manifest's columns of paths name, inside its folder."""
    with manifest.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        rows = list(csv.DictReader(file))
    columns = [c for c in (rows[0] if rows else ()) if c and c.endswith("path")]
    names = [row[c] for row in rows for c in columns if row[c]]
    return [manifest.parent / n for n in names if ".." not in PurePosixPath(n).parts]


def state_of(source: str, root: Path = ROOT) -> str:
    """Digest of what lies at a path now: names, sizes and times of change of its files.

    Reading thousands of images only to see whether one has changed would cost seconds at every
    start; the notebooks hash what they really read.

    Parameters
    ----------
    source : str
        File or folder, relative to ``root`` or absolute. A manifest stands for the files it names.

    Returns
    -------
    str
        16 hexadecimal digits, or ``"missing"``.
    """
    path = root / source
    if path.is_file():
        files = [path, path.parent / "landmarks.csv", *_named_in(path)]
        path = path.parent
    elif path.is_dir():
        files = sorted(path.rglob("*"))
    else:
        return "missing"
    digest = hashlib.sha256()
    for file in files:
        if file.is_file():
            status = file.stat()
            name = file.relative_to(path).as_posix().encode("utf-8", "surrogateescape")
            digest.update(name + f"\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def book_sources(root: Path = ROOT) -> list[str]:
    """Prose, style and configuration of the book: paths relative to ``root``, sorted."""
    made = {"executed", "_build"}
    prose = [
        str(path.relative_to(root))
        for path in (root / "book").rglob("*")
        if path.is_file()
        and not made & set(path.relative_to(root).parts)
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
    ]
    return sorted(["_config.yml", "_toc.yml", *prose])
