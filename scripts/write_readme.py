"""Write what the README takes from elsewhere: ``make readme PROFILE=default`` after ``make book``.

From a finished run: its summary figure, to ``data/figures/answer.svg`` with ``answer.json`` beside
it (run, profile, commit, day, checksum), the sentences under it, and a line of findings for each
chapter. From ``data/results/paper``: the answer at the papers' scale. From
``benchmarks/results.csv``: the table of speeds. Each goes between two marks in ``README.md``, and
nothing else is touched.
"""

from __future__ import annotations

import datetime
import json
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from command_line import ask_git, make_parser  # noqa: E402

from lib import kept, params, store, summary  # noqa: E402
from lib.errors import InputError  # noqa: E402
from lib.faces.setfolder import write_sums  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results.csv"
#: What the README takes, by mark.
MARKS = ("answer", "scaled", "chapters", "speeds")
#: Row of the benchmarks -> what was timed.
TIMED = {
    "faces_images_per_s_112": "faces to order",
    "faces_one_view": "faces to order",
    "faces_vs_target": "faces to order",
    "lrp_winograd_vs_innvestigate": "relevance maps",
    "lrp_winograd_vs_zennit": "relevance maps",
    "lrp_mixed_vs_innvestigate": "relevance maps, bfloat16 backward",
    "lrp_mixed_vs_zennit": "relevance maps, bfloat16 backward",
    "lrp_float32_vs_innvestigate": "relevance maps, plain convolutions",
    "lrp_float32_vs_zennit": "relevance maps, plain convolutions",
    "lrp_float32_vs_convolutions": "relevance maps, plain convolutions",
    "lrp_float32_vs_floor": "relevance maps, plain convolutions",
    "lrp_winograd_vs_floor": "relevance maps",
    "lrp_mixed_vs_floor": "relevance maps, bfloat16 backward",
    "lrp_peak_memory": "memory of all three ways at once",
    "features_vs_bare_convolutions": "features of a trunk",
    "features_float32_vs_bare_convolutions": "features of a trunk, without bfloat16",
    "readouts_vs_features": "readouts on features",
    "trunks_peak_memory": "memory of features and readouts",
    "dissection_vs_bare_forward": "units dissected",
    "salience_vs_maps_2_faces": "measures of salience",
    "salience_vs_maps": "measures of salience",
    "salience_stability_maps": "stability over runs",
    "masking_vs_bare_forward": "masked images",
    "masking_passes_saved": "masking, all models",
}
ALT = (
    "Where relevance lies by facial part, how alike networks' maps are, what removing pixels by "
    "other networks' maps does, which units find a concept, and how salience differs."
)


def find_region(text: str, mark: str) -> tuple[int, int]:
    """Start and end of what lies between the two marks of one name.

    Raises
    ------
    InputError
        They are not there once each, in order.
    """
    begin, end = f"<!-- {mark}: make readme -->", f"<!-- /{mark} -->"
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise InputError(f"README.md must hold {begin} and {end} once each, in this order.")
    return text.index(begin) + len(begin), text.index(end)


def replace_region(text: str, mark: str, content: str) -> str:
    """The text with something else between two marks."""
    start, end = find_region(text, mark)
    return f"{text[:start]}\n{content.strip()}\n{text[end:]}"


def list_speeds(path: Path = RESULTS) -> str:
    """Markdown table of ``benchmarks/results.csv``, row by row."""
    table = pd.read_csv(path, keep_default_na=False)
    lines = [
        "| what | here | compared with | | ratio | unit | machine |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in table.itertuples():
        cells = (
            *(TIMED.get(row.name, row.name), f"{row.ours:g}", row.other_name),
            *(f"{row.other:g}", f"{row.ratio:.2f}", row.unit, row.machine),
        )
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(lines)


def list_chapters(text: str, lines: Mapping[str, str]) -> str:
    """The table of chapters with its last column from a run.

    Parameters
    ----------
    text : str
        The table as it is: notebook, question, what it stands for, and perhaps findings.
    lines : mapping
        Stem of a chapter -> what was found.
    """
    rows = []
    for line in text.strip().splitlines():
        cells = re.split(r"(?<!\\)\|", line.strip())[1:-1][:3]
        stem = re.search(r"notebooks/(\w+)\.ipynb", cells[0])
        if stem:
            last = f" {lines[stem[1]].replace('|', chr(92) + '|')} "
        else:
            last = "---" if set(cells[0].strip()) == {"-"} else " found "
        rows.append("|" + "|".join([*cells, last]) + "|")
    return "\n".join(rows)


def write_answer(about: Mapping[str, Any]) -> str:
    """Figure, caption and the five sentences, from ``answer.json``."""
    made = f"Run `{about['run']}` (profile `{about['profile']}`"
    made += f", `{about['set']}`" if about["set"] else ""
    made += f"), commit {about['commit'][:10]}, {about['date']}."
    figure = f"![{ALT}](data/figures/answer.svg)"
    answer = summary.list_answer(about["answer"])
    return "\n".join([figure, "", f"*{about['caption']} {made}*", "", *answer])


def write_scaled(scaled: kept.Kept | None) -> str:
    """The answer of the run at the papers' scale, folded up; nothing before it was kept."""
    if scaled is None:
        return ""
    figure = f"![{ALT}]({kept.RESULTS}/{kept.PAPER}/summary.svg)"
    size = scaled.about["size"]
    lines = [f"<details><summary>The same at the papers' image size, {size} px</summary>", ""]
    lines += [figure, "", f"*{scaled.findings['figure']['caption']}*", ""]
    lines += [*summary.list_answer(scaled.findings["answer"]), "", scaled.told(), "", "</details>"]
    return "\n".join(lines)


def keep_figure(run: str, profile: str, departures: str, folder: Path) -> dict[str, Any]:
    """Copy a run's summary figure to a folder, with where it comes from beside it.

    Parameters
    ----------
    run, profile, departures : str
        Name of the run, its profile and its SET.
    folder : Path

    Returns
    -------
    dict
        What was written to ``answer.json``.
    """
    found = summary.load_findings(run)
    source = store.run_folder(run) / "summary.svg"
    folder.mkdir(parents=True, exist_ok=True)
    with store.atomic_path(folder / "answer.svg") as temporary:
        shutil.copyfile(source, temporary)
    about = {
        "run": run,
        "profile": profile,
        "set": departures,
        "commit": ask_git(ROOT, "rev-parse", "HEAD"),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "sha256": store.sha256(folder / "answer.svg"),
        "licence": "CC0 1.0",
        "caption": found["figure"]["caption"],
        "answer": found["answer"],
        "chapters": found["chapter"],
    }
    with store.atomic_path(folder / "answer.json") as temporary:
        temporary.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    write_sums(folder, [p.name for p in folder.iterdir() if p.suffix in {".svg", ".png", ".json"}])
    return about


def fill(text: str, about: Mapping[str, Any] | None) -> str:
    """The README with its parts made anew; without a run, those alone that need none."""
    text = replace_region(text, "speeds", list_speeds())
    text = replace_region(text, "scaled", write_scaled(kept.load_kept()))
    if about is None:
        return text
    start, end = find_region(text, "chapters")
    text = replace_region(text, "chapters", list_chapters(text[start:end], about["chapters"]))
    return replace_region(text, "answer", write_answer(about))


def main() -> int:
    """Command line; returns the exit status."""
    parser = make_parser(__doc__)
    parser.add_argument("--speeds-only", action="store_true", help="leave out what needs a run")
    given = parser.parse_args()
    readme = ROOT / "README.md"
    try:
        about = None
        if not given.speeds_only:
            run, _ = params.resolve(given.profile, given.set_, given.run)
            summary.write_summary(run)
            departures = params.write_set(params.parse_set(given.set_))
            about = keep_figure(run, given.profile, departures, ROOT / "data" / "figures")
        text = fill(readme.read_text(encoding="utf-8"), about)
        with store.atomic_path(readme) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print(
        "wrote README.md" + ("" if about is None else " and data/figures/answer.svg, answer.json")
    )
    if about is not None:
        print(about["caption"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
