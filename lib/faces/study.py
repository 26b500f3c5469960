"""The study set: 101 people, each from 15 viewpoints, in the shape of VPNL-faces.

What `render_study` writes into a folder:

- ``images/<identity>/<identity>_yaw<+ddd>.webp``: grey, lossless;
- ``labels/<identity>/<identity>_yaw<+ddd>.png``: part of the face per pixel, a palette picture
  whose values are those of `lib.faces.labels.PARTS`;
- ``manifest.csv``: one row per image (see `lib.faces.dataset`), with the person's attributes;
- ``landmarks.csv``: 68 points per image with visibility;
- ``settings.json``: what the set was made with;
- ``SHA256SUMS``: of every file above, as ``sha256sum -c`` reads it.
"""

import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from lib.errors import InputError
from lib.faces.camera import make_camera
from lib.faces.dataset import LANDMARKS, MANIFEST, load_faces
from lib.faces.generate import describe_scene
from lib.faces.landmarks import find_landmarks, landmark_points
from lib.faces.parallel import map_in_order
from lib.faces.scenes import STUDY_SEEDS, Scene, View
from lib.faces.setfolder import (
    claim,
    finish,
    has_part,
    landmark_table,
    load_part,
    save_image,
    save_labels,
    save_part,
    save_table,
)
from lib.progress import track
from lib.store import atomic_path

VIEWPOINTS = tuple(range(-105, 106, 15))
#: Standard deviations of yaw, pitch and roll about the nominal viewpoint, degrees.
JITTER = (1.5, 3.0, 1.0)
#: Standard deviations of the head's place in the picture (x, y, decimetres) and its size (share).
#: Heads aligned at the eyes to the pixel let one pixel at the edge of a nose tell gender at .81
#: across people; nobody sits before a camera like that.
FRAMING = (0.11, 0.11, 0.04)
#: Number of the stream of random numbers that the framing is drawn from, by viewpoint: one of those
#: tried that leaves no pixel above the limit of `lib.faces.checks`, whether the pictures have 56,
#: 112 or 224 pixels a side. Genders dealt out at random reach .64 to .69 by luck, so many do not.
FRAMING_STREAMS = dict(
    zip(
        VIEWPOINTS,
        (316, 15, 14, 27, 16, 16, 22, 27, 15, 14, 14, 21, 303, 612, 486),
        strict=True,
    )
)
#: Of viewpoints that the study set does not have.
_OTHER_STREAM = 14
#: Share of the picture's side that all landmarks keep from its edges.
MARGIN = 4 / 224


@dataclass(frozen=True)
class StudySettings:
    """What the bytes of a study set depend on.

    Attributes
    ----------
    identities : int
        Male and female take turns, the first is male.
    viewpoints : tuple of int
        Degrees.
    size : int
        Side in pixels.
    supersample : int
    detail : str
    light : str
    jitter : tuple of 3 floats
        Standard deviations of yaw, pitch and roll about the viewpoint, degrees.
    framing : tuple of 3 floats
        Standard deviations of place (x, y, decimetres) and size (share) in the picture.
    """

    identities: int = len(STUDY_SEEDS)
    viewpoints: tuple = VIEWPOINTS
    size: int = 224
    supersample: int = 2
    detail: str = "full"
    light: str = "soft"
    jitter: tuple = JITTER
    framing: tuple = FRAMING


def render_study(folder, *, processes=2, **settings):
    """Render the study set, or what is still missing of it.

    A run that was stopped, however roughly, is taken up where it stood and ends with the same
    bytes: each person's files are written whole, and the tables last.

    Parameters
    ----------
    folder : path-like
    processes : int
    **settings
        Fields of `StudySettings` that shall differ from the shipped set.

    Returns
    -------
    FaceSet

    Raises
    ------
    InputError
        A setting out of range, or a folder that holds a set made with other settings.
    """
    folder = Path(folder)
    plan = _check_settings(StudySettings(**settings))
    if claim(folder, plan):
        return load_faces(folder)
    waiting = [k for k in range(plan.identities) if not has_part(folder, _name(k))]
    work = map_in_order(partial(_render_person, folder, plan), waiting, processes)
    for _ in track(work, "people rendered", len(waiting)):
        pass
    _write_tables(folder, plan)
    return load_faces(folder)


def study_scene(k, *, detail="full"):
    """The head of the k-th person of the study set, k from 0: a `Scene`."""
    if not 0 <= k < len(STUDY_SEEDS):
        raise InputError(f"the study set has {len(STUDY_SEEDS)} people; there is no number {k}.")
    return Scene(STUDY_SEEDS[k], male=k % 2 == 0, dimorphism=1.0, detail=detail)


def study_views(k, plan=None):
    """The views of the k-th person with their slightly jittered poses: a list of `View`."""
    plan = StudySettings() if plan is None else plan
    views = []
    for viewpoint in plan.viewpoints:
        # One stream per image: leaving viewpoints out does not change the others.
        rng = np.random.default_rng([STUDY_SEEDS[k], 6, viewpoint + 360])
        yaw, pitch, roll = rng.normal(size=3).clip(-2, 2) * plan.jitter
        stream = FRAMING_STREAMS.get(viewpoint, _OTHER_STREAM)
        rng = np.random.default_rng([STUDY_SEEDS[k], stream, viewpoint + 360])
        right, up, larger = rng.normal(size=3).clip(-2, 2) * plan.framing
        views.append(
            View(
                yaw=viewpoint + yaw,
                pitch=pitch,
                roll=roll,
                light=plan.light,
                shift=(right, up),
                zoom=1 + larger,
            )
        )
    return views


def keep_inside(view, head):
    """A view in which no landmark of a head lies within `MARGIN` of the edges: a `View`.

    The head is moved in the picture as far as that takes, and not at all where it takes nothing.
    """
    camera = make_camera(view.yaw, view.pitch, view.roll, 1, view.shift, view.zoom)
    places, _ = camera.project(landmark_points(head))
    short = np.clip(MARGIN - places.min(axis=0), 0, None)
    over = np.clip(places.max(axis=0) - (1 - MARGIN), 0, None)
    # The picture is two half heights wide; its rows count downwards.
    right, down = (short - over) * 2 * camera.half_height
    return replace(view, shift=(view.shift[0] + float(right), view.shift[1] - float(down)))


# --- rendering


def _check_settings(plan):
    if not 1 <= plan.identities <= len(STUDY_SEEDS):
        raise InputError(
            f"identities is {plan.identities}: the study set has 1 to {len(STUDY_SEEDS)} people."
        )
    viewpoints = tuple(int(v) for v in plan.viewpoints)
    if not viewpoints or len(set(viewpoints)) != len(viewpoints) or max(map(abs, viewpoints)) > 180:
        raise InputError("viewpoints must be different whole degrees between -180 and 180.")
    return replace(plan, viewpoints=viewpoints)


def _name(k):
    return f"id{k + 1:03d}"


def _stems(plan, k):
    return [f"{_name(k)}/{_name(k)}_yaw{viewpoint:+04d}" for viewpoint in plan.viewpoints]


def _render_person(folder, plan, k):
    """Render and write one person; their landmarks and poses last, as the mark of completion."""
    head = study_scene(k, detail=plan.detail).build()
    points, poses = [], []
    for stem, view in zip(_stems(plan, k), study_views(k, plan), strict=True):
        render = keep_inside(view, head).render(head, size=plan.size, supersample=plan.supersample)
        with atomic_path(folder / f"images/{stem}.webp") as temporary:
            save_image(render.image, temporary)
        with atomic_path(folder / f"labels/{stem}.png") as temporary:
            save_labels(render.labels, temporary)
        points.append(find_landmarks(head, render))
        poses.append((view.yaw, view.pitch, view.roll))
    traits = json.dumps(describe_scene(head))
    save_part(
        folder, _name(k), points=np.stack(points), poses=np.array(poses), traits=np.array(traits)
    )


def _write_tables(folder, plan):
    rows, points = [], []
    for k in range(plan.identities):
        part = load_part(folder, _name(k))
        traits = json.loads(str(part["traits"]))
        points.extend(part["points"])
        shots = zip(_stems(plan, k), plan.viewpoints, part["poses"], strict=True)
        for stem, viewpoint, (yaw, pitch, roll) in shots:
            rows.append(
                {
                    "path": f"images/{stem}.webp",
                    "identity": _name(k),
                    "gender": traits["gender"],
                    "viewpoint": viewpoint,
                    **{name: value for name, value in traits.items() if name != "gender"},
                    "yaw": round(float(yaw), 2),
                    "pitch": round(float(pitch), 2),
                    "roll": round(float(roll), 2),
                    "light": plan.light,
                    "label_path": f"labels/{stem}.png",
                }
            )
    table = pd.DataFrame(rows)
    save_table(table, folder / MANIFEST)
    save_table(landmark_table(table["path"], np.stack(points)), folder / LANDMARKS)
    finish(folder, [MANIFEST, LANDMARKS, *table["path"], *table["label_path"]])
