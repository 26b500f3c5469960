"""Render a run's executed notebooks and the prose into the book: ``python -m lib.publish <run>``.

The pages are assembled in ``book/_build/<run>/source`` and built strictly (every warning is an
error) beside the published folder, which is replaced only when the build ended well.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import yaml

from lib import dependencies, kept, params, store, summary
from lib.errors import CANNOT_WRITE, InputError
from lib.machine import processor

#: In committed prose the chapters of the default run; rewritten for a run of another name.
COMMITTED = "executed/default/"
#: Beside a published book: its files and their sizes, by which a damaged one is known.
FILES = "files.json"
#: Folder of a run whose sub-folders are finished pages: in the book they are ``pages/<name>/``.
PAGES = "pages"
#: Folder of a book's chapters that holds the figures of the run at the papers' scale.
SCALED = "scaled/"
#: Parts of the theme's pages that fail where there is no network, weigh without need, or are wrong
#: when they are read aloud.
UNWANTED = (
    # 1.5 MB that draw the icons once more, which the style sheet and its font already do
    r'<script src="[^"]*/fontawesome/[^"]*\.js[^"]*"></script>\n?',
    r'<link rel="preload" as="font"[^>]*>\n?',
    r"<script>const THEBE_JS_URL.*?</script>\n?",
    r'<script async="async" src="[^"]*sphinx-thebe\.js[^"]*"></script>\n?',
    # a list whose entries are no list items to a screen reader
    r'(?<=<div) role="list"(?= class="citation-list">)',
    # names for screen readers that differ from the words on the button: the words will do
    r' aria-label="Toggle hidden content"',
    r'(?<=search-button-field search-button__button" title="Search") aria-label="Search"',
)


def _copy_if_changed(content: bytes, target: Path) -> None:
    """Write only what differs: Sphinx rebuilds a page when its source's time changes."""
    if target.is_file() and target.read_bytes() == content:
        return
    with store.atomic_path(target) as temporary:
        temporary.write_bytes(content)


def footer(notebook: nbformat.NotebookNode, chapter: str, run: str) -> nbformat.NotebookNode:
    """A last cell that says how the page was made: run, parameters, versions, duration, machine.

    Versions and machine are those that the runner has noted (:mod:`lib.runner`), which need not be
    those of the machine on which the book is built; without a note, they are these.
    """
    record = notebook.metadata["papermill"]
    here = {"versions": store.versions(), "machine": processor()}
    made = notebook.metadata.get("face_decisions", here)
    rows = [("run", _code(run)), ("notebook", _code(f"notebooks/{chapter}.ipynb"))]
    computed = record["parameters"].get("run", run)
    if computed != run:
        rows.insert(1, ("computed in the run", _code(computed)))
    rows += [
        (f"parameter {_code(k)}", _code(v)) for k, v in record["parameters"].items() if k != "run"
    ]
    rows += sorted(made["versions"].items(), key=lambda row: (row[0] != "python", row))
    cost = made.get("cost")
    duration, more = f"{record['duration']:.0f} s", []
    if cost:
        sittings = f" in {cost['sittings']} sittings" if cost["sittings"] > 1 else ""
        duration = f"{cost['seconds']:.0f} s{sittings}"
        more = [
            ("time of processors", f"{cost['processor']:.0f} s"),
            ("memory at most", f"{cost['memory'] / 1e9:.1f} GB"),
        ]
    rows += [("duration", duration), *more, ("machine", made["machine"])]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    text = f":::{{dropdown}} How this page was made\n| | |\n|---|---|\n{table}\n:::"
    cell = nbformat.v4.new_markdown_cell(text)
    cell["id"] = "how-this-page-was-made"
    return cell


def _code(value: object) -> str:
    """A value to the letter in a cell of a Markdown table."""
    text = str(value).replace("`", "'").replace("\n", " ")
    if not text:
        return "*empty*"
    return "`" + text.replace("|", "\\|") + "`"


def configure(text: str) -> str:
    """Configuration of the book; without a public address there is nothing to launch from.

    Given an empty address the theme fails, so its buttons are left out with it.
    """
    settings = yaml.safe_load(text)
    if not (settings.get("repository") or {}).get("url"):
        settings.pop("repository", None)
        settings.pop("launch_buttons", None)
    return yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)


def assemble(run: str) -> Path:
    """Put prose, configuration and executed notebooks of a run together; returns the folder."""
    source = store.ROOT / "book" / "_build" / run / "source"
    wanted = set()

    def add(name: str, content: bytes) -> None:
        """A file of ``book/executed/<run>``, in the repository as well."""
        for base in (store.ROOT, source):
            target = base / "book" / "executed" / run / name
            _copy_if_changed(content, target)
            wanted.add(target)

    for name in dependencies.book_sources():
        content = (store.ROOT / name).read_bytes()
        if Path(name).suffix in {".md", ".yml"}:
            content = content.replace(COMMITTED.encode(), f"executed/{run}/".encode())
        if name == "_config.yml":
            content = configure(content.decode()).encode()
        _copy_if_changed(content, source / name)
        wanted.add(source / name)
    paths = {c: store.run_folder(run) / "notebooks" / f"{c}.ipynb" for c in params.CHAPTERS}
    for chapter, path in paths.items():
        if not path.is_file():
            raise InputError(f"{path} is missing: run {chapter} first, or `make book`.")
    found, scaled = summary.load_findings(run), kept.load_kept()
    if scaled and scaled.findings == found:
        scaled = None  # the book of that run itself
    titles = {}
    for chapter, path in paths.items():
        notebook = nbformat.read(path, as_version=4)
        titles[chapter] = notebook.cells[0].source.splitlines()[0].removeprefix("# ")
        if scaled:
            text = kept.write_beside(scaled, chapter, found, run, SCALED)
            notebook.cells.append(nbformat.v4.new_markdown_cell(text, id="beside-the-papers-scale"))
        notebook.cells.append(footer(notebook, chapter, run))
        add(path.name, nbformat.writes(notebook).encode())
    # in the order of the book, in which the appendix comes last
    toc = params.read_yaml(store.ROOT / "_toc.yml")
    pages = [Path(page["file"]).name for part in toc["parts"] for page in part["chapters"]]
    titles = {stem: titles[stem] for stem in pages if stem in titles}
    answer, lines = summary.write_page(found, run), None
    if scaled:
        answer += "\n" + kept.write_answer(scaled, f"executed/{run}/{SCALED}") + "\n"
        lines = scaled.findings["chapter"]
        for path in scaled.figures():
            add(SCALED + path.name, path.read_bytes())
    add("answer.md", answer.encode())
    add("chapters.md", summary.write_chapters(found, titles, run, lines).encode())
    add("summary.svg", (store.run_folder(run) / "summary.svg").read_bytes())
    for path in source.rglob("*"):
        if path.is_file() and path not in wanted:
            path.unlink()  # a page that the report no longer has
    return source


def mend_page(text: str, run: str) -> str:
    """A page of the theme without what does not work here, its launch button at the source.

    The theme launches the page's own notebook, which is executed and is not committed; the one to
    launch is that in ``notebooks/``.
    """
    # A preloaded font is fetched as if from another site, which file:// refuses with an error
    # in the console; the style sheet loads the same font without one.
    # The theme's live-code script is declared twice, an error too, and its code is elsewhere.
    for unwanted in UNWANTED:
        text = re.sub(unwanted, "", text)
    return text.replace(f"urlpath=lab/tree/book/executed/{run}/", "urlpath=lab/tree/notebooks/")


def copy_pages(run: str, book: Path) -> None:
    """Put the finished pages that a run's chapters wrote into its book, as they are.

    A chapter links to one by ``../../../pages/<name>/index.html``.
    """
    made = store.run_folder(run) / PAGES
    if made.is_dir():
        shutil.copytree(made, book / PAGES, dirs_exist_ok=True)


def build(run: str) -> Path:
    """Build the book of a run; returns its first page.

    Raises
    ------
    InputError
        A notebook is missing, or Jupyter Book warned or failed (what it said is in the message and
        in ``book/_build/<run>/build.log``); the book that was there before stays.
    """
    source = assemble(run)
    render(source, source.parent)
    return replace_book(source.parent / "work" / "_build" / "html", source.parent, run)


def render(source: Path, folder: Path) -> None:
    """Build the pages of ``source`` strictly in ``folder/work``; ``build.log`` is what was said.

    Raises
    ------
    InputError
        Jupyter Book warned, failed, could not write, or took longer than a chapter may take.
    """
    log = folder / "build.log"
    command = [
        *(str(Path(sys.executable).with_name("jupyter-book")), "build", str(source)),
        *("--path-output", str(folder / "work"), "-W", "-n", "--keep-going"),
    ]
    limit = params.read_timeout(os.environ.get(params.TIMEOUT, ""))
    shown = os.path.relpath(log, store.ROOT)
    try:
        with log.open("w", encoding="utf-8") as file:
            status = subprocess.run(
                command,
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=store.ROOT,
                timeout=60 * limit or None,
            ).returncode
    except subprocess.TimeoutExpired:
        shutil.rmtree(folder / "work", ignore_errors=True)
        raise InputError(
            f"The book took longer than the {limit:g} minutes it may take and was stopped (log: "
            f"{shown}); if it only needs longer, run again with TIMEOUT=<minutes>, 0 for no limit."
        ) from None
    if not status:
        return
    text = log.read_text(encoding="utf-8", errors="replace")
    # Sphinx does not warn again about a page it has already read: forget what it read.
    shutil.rmtree(folder / "work", ignore_errors=True)
    if CANNOT_WRITE.search(text):
        raise _cannot_write(text, folder)
    said = [ln for ln in text.splitlines() if re.search(r"WARNING|ERROR|Error:", ln)]
    listed = list(dict.fromkeys(said[:12])) or text[-1500:].splitlines()
    raise InputError(f"Jupyter Book refused the pages (log: {shown}):", *listed)


def replace_book(made: Path, folder: Path, run: str) -> Path:
    """Put the pages that were built in the place of the published ones; returns the first page.

    Raises
    ------
    InputError
        They cannot be written; the book that was there before stays.
    """
    published = folder / "html"
    fresh, old = folder / ".html.new", folder / ".html.old"
    for left in (fresh, old):
        shutil.rmtree(left, ignore_errors=True)
    try:
        shutil.copytree(made, fresh)
        for page in fresh.rglob("*.html"):
            page.write_text(mend_page(page.read_text(encoding="utf-8"), run), encoding="utf-8")
        copy_pages(run, fresh)
    except OSError as error:
        shutil.rmtree(fresh, ignore_errors=True)  # which would fill the disk until the next build
        raise _cannot_write(str(error), folder) from None
    listed = {str(p.relative_to(fresh)): p.stat().st_size for p in fresh.rglob("*") if p.is_file()}
    with store.atomic_path(folder / FILES) as temporary:
        temporary.write_text(json.dumps(listed), encoding="utf-8")
    if published.exists():
        published.rename(old)
    fresh.rename(published)
    shutil.rmtree(old, ignore_errors=True)
    return published / "index.html"


def _cannot_write(said: str, folder: Path) -> InputError:
    """The sentence for a book that the system did not let us write, from what was said of it."""
    found = CANNOT_WRITE.search(said)
    why = found.group() if found else said.strip()[-200:]
    return InputError(
        f"The book cannot be written to {os.path.relpath(folder, store.ROOT)} ({why}): mend that, "
        "then run again (the book of an earlier run is unchanged)."
    )


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m lib.publish", description=__doc__)
    parser.add_argument("run", help="name of the run, e.g. default")
    run = parser.parse_args(arguments).run
    try:
        print("book: building", flush=True)
        build(run)
    except InputError as error:
        print(error, flush=True)  # to stdout: stderr belongs to the engine's log
        return 1
    except OSError as error:
        print(f"The book could not be written: {error}; free space and run again.", flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
