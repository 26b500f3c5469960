"""What stands where the papers had their faces, networks and observers."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from lib.claims.evidence import Evidence, NotTestable


def _faces(evidence: Evidence) -> str:
    source = str(evidence.setting("faces", "source"))
    if source == "data/faces/study":
        return "heads rendered by the project, data/faces/study"
    return f"the reader's faces, {source}"


def _trunks(evidence: Evidence) -> str:
    names = list(dict.fromkeys(evidence.table("accuracies", ["pretraining"])["pretraining"]))
    own = {
        "imagenet": "ImageNet",
        "vggface": "VGGFace",
        "synthface": "synthface, trained on rendered people",
    }
    return " and ".join(own.get(name, name) for name in names)


def _observers(evidence: Evidence) -> str:
    simulated = evidence.table("humans", ["simulated"])["simulated"].astype(str).str.lower()
    if simulated.eq("true").any():
        return "simulated observers with a planted preference: nobody was asked"
    return f"answers in {evidence.setting('humans', 'responses')}"


def _dictionary(evidence: Evidence) -> str:
    source = str(evidence.setting("faces", "dictionary"))
    own = "rendered faces with exact masks, data/faces/dictionary"
    return own if source == "data/faces/dictionary" else f"the reader's dictionary, {source}"


def _detectors(evidence: Evidence) -> str:
    given = {n: evidence.setting("detection", n) for n in ("genuine", "synthetic", "human_maps")}
    faces = "rendered faces, and the same re-synthesised"
    if given["genuine"] or given["synthetic"]:
        faces = "the reader's faces"
    maps = "the reader's maps" if given["human_maps"] else "simulated human salience"
    return f"{faces}; {maps}"


def _planted(evidence: Evidence) -> str:
    kinds = list(dict.fromkeys(evidence.table("curves", ["kind"])["kind"]))
    return f"networks on rendered faces with planted {' and '.join(kinds)}"


def _tasks(evidence: Evidence) -> str:
    trunks = set(evidence.table("accuracies", ["pretraining"])["pretraining"])
    names = dict.fromkeys(evidence.table("detectors", ["network"])["network"])
    found = [name for name in names if name not in trunks]
    return f"networks on rendered faces: {', '.join(found)}" if found else "none"


#: What a claim needs -> (what the paper had, what stands there, the setting that replaces it).
NEEDS: dict[str, tuple[str, Callable[[Evidence], str] | str, str]] = {
    "faces": ("photographs of 101 people, VPNL-faces, not public", _faces, "source"),
    "two pretrainings": ("VGG-16 of ImageNet and of VGGFace", _trunks, "pretrainings"),
    "collected answers": ("46 observers, whose answers are not public", _observers, "responses"),
    "dictionary": ("photographs with attributes, of two databases", _dictionary, "dictionary"),
    "biased networks": (
        "gender networks trained on photographs with a planted bias",
        _planted,
        "planted",
    ),
    "task networks": (
        "published networks for age, gender, beauty, recognition and smile",
        _tasks,
        "networks",
    ),
    "detectors": (
        "photographs, faces of generative networks, and human salience",
        _detectors,
        "genuine, synthetic, unseen, human_maps",
    ),
    "printed numbers": ("the papers' own numbers", "the same", ""),
}


def describe_needs(reported: pd.DataFrame, evidence: Evidence) -> pd.DataFrame:
    """What the claims need, what the papers had, and what stands there in this run.

    Parameters
    ----------
    reported : DataFrame
        From :func:`lib.claims.reported.load_reported`.
    evidence : Evidence

    Returns
    -------
    DataFrame
        ``needed``, ``published``, ``here``, ``setting`` (that replaces it), ``claims`` (how many
        results need it); printed numbers left out.
    """
    results = reported.loc[reported["kind"] == "result"]
    rows = []
    for need, (published, here, setting) in NEEDS.items():
        if need == "printed numbers":
            continue
        try:
            words = here if isinstance(here, str) else here(evidence)
        except NotTestable as reason:
            words = f"nothing: {reason}"
        count = int(results["needs"].str.split("; ").map(lambda some, n=need: n in some).sum())
        rows.append((need, published, words, setting, count))
    columns = ["needed", "published", "here", "setting", "claims"]
    return pd.DataFrame(rows, columns=columns)
