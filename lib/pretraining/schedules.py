"""Named settings of a training: a trial of the code, the shipped trunk's own, a large one.

``trial`` takes seconds and shows that the code works; what it trains is no trunk.
``shipped`` is read from the provenance of a trunk that exists, so it is what made that file.
``large`` is meant for a GPU: more people, full width from the start, images up to 224 pixels. It
has not been run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lib.errors import InputError
from lib.pretraining.images import Augmentation, People
from lib.pretraining.training import Stage, Training

TRIAL = (
    People(identities=4, scenes=2, views=4, held_views=1, scene_views=1, size=48),
    Training((Stage(4, 1 / 16, 32, 20, 4e-3, 1e-3, 6), Stage(4, 1 / 8, 48, 3, 1e-3, 1e-4, 6))),
)
LARGE = (
    People(identities=1000, scenes=4, views=15, held_views=3, scene_views=6, size=224),
    Training(
        (
            Stage(1000, 1, 64, 40, 1.5e-3, 5e-4, 128),
            Stage(1000, 1, 112, 12, 5e-4, 2e-4, 128),
            Stage(1000, 1, 224, 4, 2e-4, 2e-5, 64),
        )
    ),
)
SCHEDULES = ("trial", "shipped", "large")


def read_schedule(made: Mapping[str, Any]) -> tuple[People, Training]:
    """Settings from the provenance of a trunk (:func:`lib.pretraining.shipping.ship_trunk`).

    Raises
    ------
    InputError
        The trunk has no such provenance.
    """
    try:
        people = {k: made["people"][k] for k in People.__dataclass_fields__}
        people["identities"] = made["people"]["planned"]
        settings = dict(made["training"])
        settings["stages"] = tuple(Stage(**stage) for stage in settings["stages"])
        settings["augmentation"] = Augmentation(**settings["augmentation"])
        return People(**people), Training(**settings)
    except (KeyError, TypeError) as error:
        raise InputError(
            f"The trunk's provenance does not say how it was trained ({error}); "
            "use the schedule trial or large."
        ) from None


def choose_schedule(
    name: str,
    made: Mapping[str, Any],
    *,
    identities: int = 0,
    stages: Sequence[Sequence[float]] = (),
    seed: int = 0,
) -> tuple[People, Training]:
    """Settings of a training.

    Parameters
    ----------
    name : {"trial", "shipped", "large"}
    made : mapping
        Provenance of the shipped trunk, for ``shipped``.
    identities : int
        People, in all stages alike; 0 as scheduled.
    stages : sequence
        Of (identities, width, pixels, epochs, rate, last rate, batch), as in
        :class:`~lib.pretraining.training.Stage`; empty as scheduled.
    seed : int
        Of the people, the first weights and the order of images: each seed another trunk.

    Returns
    -------
    people, training
    """
    if name not in SCHEDULES:
        raise InputError(f"There is no schedule {name!r}; use {', '.join(SCHEDULES)}.")
    given = {"trial": TRIAL, "large": LARGE}
    people, training = given[name] if name in given else read_schedule(made)
    if stages:
        for stage in stages:
            if len(stage) != 7:
                raise InputError(
                    f"A stage is {list(stage)}; give seven numbers: identities, width, pixels, "
                    "epochs, rate, last rate, batch."
                )
        chosen = tuple(
            Stage(int(n), w, int(p), e, rate, last, int(b)) for n, w, p, e, rate, last, b in stages
        )
        training = replace(training, stages=chosen)
    if identities:
        people = replace(people, identities=identities)
        training = replace(
            training, stages=tuple(replace(s, identities=identities) for s in training.stages)
        )
    elif stages:
        most = max(stage.identities for stage in training.stages)
        people = replace(people, identities=max(people.identities, most))
    return replace(people, seed=seed), replace(training, seed=seed)
