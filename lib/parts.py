"""Part of a chapter's long loop as a job of its own: ``python -m lib.parts masking 0 4 ...``.

On a cluster several nodes compute one chapter: each leaves its part in the run's folder, and the
chapter, which runs last, finds it there (:mod:`lib.relevance.shards`, :mod:`lib.masking.scores`).
What is missing or does not fit it computes itself, so parts save time and decide nothing.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from lib import inputs, params, store
from lib.errors import InputError


def compute_features_part(settings: params.Chapter, number: int, path: Path) -> str:
    """Features of all images on one trunk.

    Parameters
    ----------
    settings : Chapter
        Of 02_finetuning.
    number : int
        Which trunk, in the order of the setting ``pretrainings``, counted from 0.
    path : Path
        File to write.

    Returns
    -------
    str
        What was done, in words.
    """
    from lib.trunk_features import save_features

    faces = inputs.load_faces(settings.run, settings.identities)
    options = {
        name: getattr(settings, name) for name in ("means", "vggface_file", "vggface_sha256")
    }
    chosen = settings.pretrainings[number : number + 1]
    ((name, trunk),) = inputs.open_trunks(chosen, faces.size, **options).items()
    save_features(path, trunk, faces.images(), settings.precision)
    return f"features of {len(faces)} images on {name}"


def compute_relevance_part(
    settings: params.Chapter, number: int, part: tuple[int, int], path: Path
) -> str:
    """Maps of the readouts on one trunk for a part of the frontal faces.

    Parameters
    ----------
    settings : Chapter
        Of 03_relevance.
    number : int
        Which trunk, in the order of the setting ``pretrainings``, counted from 0.
    part : (k, n)
        Which part, counted from 0, of how many.
    path : Path
        File to write.

    Returns
    -------
    str
        What was done, in words.
    """
    from lib.relevance import study

    faces = inputs.load_faces(settings.run)
    name, trunk = list(inputs.load_trunks(settings.run).items())[number]
    readouts = inputs.load_readouts(settings.run)
    rows = inputs.frontal(faces)
    tasks = study.list_models(readouts)["task"].unique()
    count = study.compute_block(
        path,
        trunk,
        readouts[name],
        faces.images(rows),
        study.choose_targets(faces, rows, tasks, settings.target),
        settings.composite,
        part,
        engine=settings.engine,
        precision=settings.precision,
        channels=settings.channels,
    )
    return f"maps of {len(readouts[name])} readouts on {name} for {count} of {len(rows)} faces"


def compute_masking_part(settings: params.Chapter, part: tuple[int, int], path: Path) -> str:
    """Scores under a share of the masks, left where 04_masking looks for them.

    Parameters
    ----------
    settings : Chapter
        Of 04_masking.
    part : (k, n)
        Which part, counted from 0, of how many.
    path : Path
        File to write when they are done; it holds their number.

    Returns
    -------
    str
        What was done, in words.
    """
    from lib import masking
    from lib.masking.scores import compute_share

    study = masking.load_study(settings.run)
    count = compute_share(
        *study[:5],
        part,
        levels=settings.levels,
        baselines=settings.baselines,
        fills=settings.fills,
        initialisations=settings.baseline_sources,
        draws=max(1, settings.random_draws),
        blur=settings.blur,
        seed=settings.seed,
        precision=settings.precision,
        checkpoints=store.run_folder(settings.run) / "checkpoints" / "04_masking",
    )
    with store.atomic_path(path) as temporary:
        temporary.write_text(f"{count}\n", encoding="utf-8")
    return f"{count} masks of {len(study.images)} faces"


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m lib.parts", description=__doc__)
    parser.add_argument("chapter", choices=["features", "relevance", "masking"])
    parser.add_argument("part", type=int, help="which part, counted from 0")
    parser.add_argument("parts", type=int, help="of how many")
    parser.add_argument("output", type=Path, help="file to write")
    parser.add_argument("--parameters", required=True, help="settings of the chapter, YAML")
    parser.add_argument("--trunk", type=int, default=0, help="which pretraining, where it matters")
    given = parser.parse_args(arguments)
    start = time.time()
    try:
        values: dict[str, Any] = yaml.safe_load(given.parameters)
        part = given.part, given.parts
        if given.chapter == "features":
            settings = params.validate("02_finetuning", values)
            said = compute_features_part(settings, given.trunk, given.output)
        elif given.chapter == "relevance":
            settings = params.validate("03_relevance", values)
            said = compute_relevance_part(settings, given.trunk, part, given.output)
        else:
            settings = params.validate("04_masking", values)
            said = compute_masking_part(settings, part, given.output)
    except InputError as error:
        print(f"\n{error}", flush=True)
        return 1
    words = f"part {given.part + 1} of {given.parts}"
    print(f"{given.chapter}, {words}: {said} in {time.time() - start:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
