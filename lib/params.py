"""Every setting of the report, checked before anything runs.

One pydantic model per notebook. The same model is read by the notebook's validation cell
(:func:`check`), by the runner and by the Snakefile (:func:`resolve`), so a wrong name, type or
range is refused with the same sentence wherever it is given. ``params/<profile>.yml`` hold the
values; the literals of a notebook's parameters cell are those of ``default.yml``.

This module imports nothing beyond pydantic and PyYAML: the workflow engine, which lives in an
environment of its own, reads it too.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import json
import math
import os
import re
import shlex
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo

from lib.errors import InputError

ROOT = Path(__file__).resolve().parent.parent
#: Beside the profiles in ``params/``: the open choices of the multiverse.
NO_PROFILE = "multiverse"
#: Set in the environment of a notebook that the report runs, as opposed to one run by hand.
RUNNER = "FACE_DECISIONS_PROGRESS"
#: Environment variable: names of the runs whose artefacts a run may take over.
TAKE_FROM = "FACE_DECISIONS_TAKE_FROM"
#: Environment variable: minutes that a chapter may take before it counts as hanging.
TIMEOUT = "FACE_DECISIONS_TIMEOUT"
#: Names the further form in which a run keeps its figures.
FIGURES = "FACE_DECISIONS_FIGURES"
#: Where nothing else is said: a day.
USUAL_TIMEOUT = 1440.0
#: Other words for settings, which SET understands: those of iNNvestigate.
WORDS = {"preset": "composite"}
#: Longest run name; longer ones are shortened to a digest so that paths stay usable everywhere.
MAX_RUN_NAME = 60


def _run_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+=-]*", value):
        raise ValueError(
            "may hold letters, digits and . _ + = - only, and starts with one of the first two"
        )
    return value


RunName = Annotated[str, Field(min_length=1, max_length=80), AfterValidator(_run_name)]
Size = Annotated[int, Field(ge=32, le=512, description="side of an image, pixels")]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1, description="seed of the random generator")]
Degrees = Annotated[float, Field(ge=-180, le=180)]


#: Trunks by name (lib.vgg.NAMES; further seeds are ``synthface-2``, ...), and what 07_dissection
#: learns (lib.dissection).
TRUNKS = ("imagenet", "imagenet_torchvision", "vggface", "synthface")
LEARNED = ("recognition", "gender", "age", "smile", "vgg16", "resnet50", "resnet14")


def _named(value: str, known: typing.Sequence[str]) -> str:
    """Refuse a misspelt name now and not when its chapter starts; a path is looked at there."""
    if value in known or re.fullmatch(r"synthface-\d+", value) or re.search(r"[./\\~]", value):
        return value
    raise ValueError(
        f"there is no network {value!r}{_nearest(value, known)} (known: {', '.join(known)}, or the "
        "file of a Keras model)"
    )


Trunk = Annotated[str, AfterValidator(lambda value: _named(value, TRUNKS))]
Network = Annotated[str, AfterValidator(lambda value: _named(value, (*TRUNKS, *LEARNED)))]


def _leaves(value: Any) -> list:
    """What a value holds when all its lists are opened."""
    return [x for item in value for x in _leaves(item)] if isinstance(value, list) else [value]


class Chapter(BaseModel):
    """Settings that every notebook has."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    run: RunName = Field("default", description="name of the run; artefacts go to data/runs/<run>/")

    @field_validator("*", mode="before")
    @classmethod
    def _plain_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        """Pydantic takes yes for the number 1, and numbers in lists have no bounds."""
        kind = cls.model_fields[info.field_name].annotation
        if kind in (int, float) or isinstance(value, list):
            if any(isinstance(leaf, bool) for leaf in _leaves(value)):
                raise ValueError("input should be a number, not yes or no")
            if any(isinstance(leaf, float) and not math.isfinite(leaf) for leaf in _leaves(value)):
                raise ValueError("input should be finite")
        return value


class Pretraining(Chapter):
    """Settings of ``00_pretraining``."""

    trunk: str = Field(
        "synthface", pattern=r"^synthface(-\d+)?$", description="shipped trunk that is shown"
    )
    compared: Trunk = Field("imagenet", min_length=1, description="trunk beside it")
    source: str = Field("data/faces/study", min_length=1, description="faces of the probe")
    size: Size = 112
    probe_identities: int = Field(12, ge=0, description="people in the probe; 0 for all")
    schedule: Literal["trial", "shipped", "large"] = "trial"
    name: str = Field(
        "", pattern=r"^(synthface-\d+)?$", description="file to write; empty: none is written"
    )
    people: int = Field(0, ge=0, le=100_000, description="learned; 0 as scheduled")
    stages: list[list[float]] = Field([], description="of the training; empty as scheduled")
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    seed: Seed = 0


class Faces(Chapter):
    """Settings of ``01_faces``."""

    source: str = Field("data/faces/study", min_length=1, description="folder or manifest of faces")
    size: Size = 112
    show_identities: int = Field(8, ge=1, le=40, description="rows of the contact sheet")
    megapixels: float = Field(50, gt=0, le=1000, description="largest image that is decoded")
    check_size: int = Field(56, ge=16, le=224, description="side of images in the checks, pixels")
    check_draws: int = Field(20, ge=1, le=1000, description="random deals of gender")
    dictionary: str = Field("data/faces/dictionary", min_length=1, description="Face Dictionary")
    ellipse_level: float = Field(0.95, gt=0, lt=1, description="confidence of elliptical masks")
    seed: Seed = 0


def _distinct(values: list) -> list:
    if len(set(values)) < len(values):
        raise ValueError("holds an entry twice; keep one")
    return values


class Finetuning(Chapter):
    """Settings of ``02_finetuning``."""

    pretrainings: Annotated[list[Trunk], AfterValidator(_distinct)] = Field(
        ["imagenet", "synthface"], min_length=1, description="trunks, by name or model file"
    )
    tasks: Annotated[list[Literal["identity", "gender"]], AfterValidator(_distinct)] = Field(
        ["identity", "gender"], min_length=1
    )
    identities: int = Field(0, ge=0, description="people kept; 0 for all")
    initialisations: int = Field(5, ge=1, le=50, description="readouts per trunk and task")
    split: Literal["random", "held_out_views"] = "random"
    share: float = Field(0.2, gt=0, lt=1, description="validation images under random")
    held_out: list[Degrees] = Field(
        [-60.0, 0.0, 60.0], min_length=1, description="validation views, degrees"
    )
    epochs: int = Field(25, ge=1, le=10_000)
    learning_rate: float = Field(1e-3, gt=0, le=1)
    batch: int = Field(32, ge=1, le=10_000, description="images")
    standardise: Literal["none", "scale", "feature"] = "scale"
    means: Literal["imagenet", "vggface"] = "imagenet"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    vggface_file: str = Field("", description="weights of the reader's; empty: public release")
    vggface_sha256: str = Field("", pattern="^([0-9a-f]{64})?$", description="its checksum")
    seed: Seed = 0


Composite = Literal[
    *("a", "a_flat", "b", "b_flat", "epsilon", "gamma", "z_plus", "z_box", "w_square"),
    *("gradient", "gradient_x_input"),
]
Method = Literal[Composite, "grad_cam", "integrated_gradients"]


def _word(value: Any) -> Any:
    """YAML takes the word true for a truth value."""
    return "true" if value is True else value


#: Composites that iNNvestigate has too.
Counterpart = Literal[
    *("a", "a_flat", "b", "b_flat", "epsilon", "z_plus", "gradient", "gradient_x_input")
]


def _engine_has(value: str, info: Any) -> str:
    composite = info.data.get("composite", "a")
    known = typing.get_args(Counterpart)
    if value == "innvestigate" and composite not in known:
        raise ValueError(
            f"iNNvestigate has no composite {composite!r}, only {', '.join(known)}; choose one of "
            "them, or engine: shared"
        )
    return value


class Relevance(Chapter):
    """Settings of ``03_relevance``."""

    target: Annotated[
        Literal["true", "predicted", "rank_2", "contrast"], BeforeValidator(_word)
    ] = Field("true", description="class explained; contrast: true less strongest other")
    composite: Method = "a_flat"
    channels: Literal["sum", "largest"] = Field("sum", description="of a pixel's relevance")
    engine: Annotated[Literal["shared", "innvestigate"], AfterValidator(_engine_has)] = "shared"
    precision: Literal["auto", "float32", "winograd", "mixed"] = "auto"
    shown: int = Field(2, ge=1, le=20, description="faces drawn in every condition")
    subset: int = Field(10, ge=1, le=200, description="faces for other composites and explorer")
    presets: Annotated[list[Method], AfterValidator(_distinct)] = Field(
        ["a", "a_flat", "b", "b_flat"], min_length=1, description="whose matrices are compared"
    )
    methods: Annotated[list[Method], AfterValidator(_distinct)] = Field(
        ["gradient_x_input", "grad_cam"], description="further methods in the explorer"
    )
    viewpoints: Annotated[list[Degrees], AfterValidator(_distinct)] = Field(
        [-60.0, -30.0, 30.0, 60.0], description="other views, degrees; may be empty"
    )
    view_faces: int = Field(1, ge=1, le=200, description="people seen from there")
    checked: Annotated[list[Counterpart], AfterValidator(_distinct)] = Field(
        ["a", "a_flat", "b", "b_flat"], description="compared with iNNvestigate; may be empty"
    )
    checked_faces: int = Field(2, ge=1, le=200)
    cue_people: int = Field(30, ge=6, le=1000, multiple_of=2, description="half of either sex")
    cue_views: int = Field(5, ge=1, le=100, description="pictures of each, twice")
    cue_margin: int = Field(2, ge=0, le=20, description="pixels around the glasses")
    cue_methods: Annotated[list[Method], AfterValidator(_distinct)] = Field(
        [
            *("a", "a_flat", "b", "b_flat", "gamma", "z_plus", "z_box", "w_square", "epsilon"),
            *("gradient", "gradient_x_input", "grad_cam", "integrated_gradients"),
        ],
        description="put to the test; may be empty",
    )
    cue_faces: int = Field(12, ge=1, le=1000, description="pictures explained")
    cue_initialisations: int = Field(2, ge=1, le=50, description="readouts")
    cue_steps: int = Field(16, ge=1, le=1000, description="of integrated gradients")
    draws: int = Field(1000, ge=1, le=100_000, description="bootstrap samples of faces")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="of intervals, probability")
    seed: Seed = 0


def _levels(values: list[float]) -> list[float]:
    inside = [value for value in _distinct(values) if 0 < value < 100]
    if not all(0 <= value <= 100 for value in values) or len(inside) < 2:
        raise ValueError("must lie in 0 to 100, at least two of them between the two, for an area")
    return values


Fill = Literal["channel_mean", "black", "image_mean", "blur", "noise", "inpaint"]
Signed = Literal["positive", "negative"]
Scattered = Literal["mirrored", "shifted", "scrambled", "other_face"]


class Masking(Chapter):
    """Settings of ``04_masking``."""

    levels: Annotated[list[float], AfterValidator(_levels)] = Field(
        [0.0, 0.1, 0.3, 1.0, 3.2, 10.0, 31.6, 100.0], description="percent of pixels"
    )
    fills: Annotated[list[Fill], AfterValidator(_distinct)] = Field(
        ["channel_mean"], min_length=1, description="in place of removed pixels; the first is shown"
    )
    signed: Annotated[list[Signed], AfterValidator(_distinct)] = Field(
        [*typing.get_args(Signed)], description="masks of one sign; may be empty"
    )
    scattered: Annotated[list[Scattered], AfterValidator(_distinct)] = Field(
        [*typing.get_args(Scattered)], description="masks as scattered; may be empty"
    )
    baseline_sources: int = Field(1, ge=1, le=50, description="of every pretraining and task")
    random_draws: int = Field(3, ge=0, le=100, description="sets of random pixels; 0 for none")
    blur: float = Field(0.05, gt=0, le=1, description="deviation of the blur, share of the side")
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    example: int = Field(0, ge=0, description="person of the example figures, counted from 0")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="of the bands, probability")
    seed: Seed = 0

    @property
    def baselines(self) -> list[str]:
        """Masks beside relevance."""
        return [*self.signed, *self.scattered, *(["random"] if self.random_draws else [])]


class Generalization(Chapter):
    """Settings of ``05_generalization``."""

    mask: Literal["relevance", Signed, Scattered] = Field(
        "relevance", description="one of the masks of 04_masking that follow a source"
    )
    fill: Literal["", Fill] = Field("", description="one of 04_masking; empty: the first")
    axis: Literal["log10", "linear"] = Field("log10", description="of the area")
    ends: Literal["printed", "all"] = Field("printed", description="levels in the area")
    draws: int = Field(100, ge=1, le=100_000, description="sources drawn per bin")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="of intervals, probability")
    alpha: float = Field(0.05, gt=0, le=0.5, description="level of the tests, probability")
    seed: Seed = 0


def _shares(values: list[float]) -> list[float]:
    if not all(0 <= value <= 1 for value in values):
        raise ValueError("must hold shares of pixels, 0 to 1")
    return _distinct(values)


Transform = Literal[
    *("flip left-right", "flip up-down", "rotate +90", "rotate -90"),
    *("shift up", "shift down", "shift left", "shift right"),
    *("shift up left", "shift up right", "shift down left", "shift down right"),
]


def _one_each(values: list[int], info: Any) -> list[int]:
    generators = info.data.get("generators", values)
    if len(values) != len(generators):
        raise ValueError(
            f"holds {len(values)} numbers for {len(generators)} generators "
            f"({', '.join(map(str, generators))}); give one for each"
        )
    return values


def _with_genuine(value: str | list[str], info: Any) -> str | list[str]:
    """Real and synthetic faces and human salience are given together, or none of them."""
    genuine = info.data.get("genuine", "")
    if value and not genuine:
        raise ValueError("needs the folder of real faces: name it in genuine, or leave both empty")
    if genuine and not value and info.field_name != "unseen":
        raise ValueError("must name a folder where genuine does: give both, or leave both empty")
    return value


def _unlike_names(folders: list[str]) -> list[str]:
    names = [Path(folder).name for folder in folders]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(
            f"must hold folders of different names, by which their generators go, and {twice[0]!r} "
            "is there twice: rename one"
        )
    return folders


def _measured(values: list, info: Any) -> list:
    """Methods are compared in what the first one was measured in."""
    whole = info.field_name.removeprefix("method_")
    absent = [value for value in values if value not in info.data.get(whole, values)]
    if absent:
        raise ValueError(f"holds {absent[0]!r}, which is none of {whole}; add it there too")
    return values


class Salience(Chapter):
    """Settings of ``08_salience``."""

    method: Method = "grad_cam"
    faces: int = Field(24, ge=0, description="frontal faces, drawn at random; 0 for all")
    methods: Annotated[list[Method], AfterValidator(_distinct)] = Field(
        ["a_flat", "b", "gradient_x_input"], description="further methods; may be empty"
    )
    method_faces: int = Field(3, ge=1, description="faces for these")
    method_initialisations: int = Field(2, ge=1, le=50, description="readouts for these")
    amounts: Annotated[list[float], AfterValidator(_shares)] = Field(
        [0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0], min_length=1, description="salt and pepper"
    )
    transforms: Annotated[list[Transform], AfterValidator(_distinct)] = Field(
        [*typing.get_args(Transform)], min_length=1, description="of S_geo"
    )
    method_amounts: Annotated[list[float], AfterValidator(_shares), AfterValidator(_measured)] = (
        Field([0.1, 0.5], min_length=1, description="of the amounts, for these")
    )
    method_transforms: Annotated[
        list[Transform], AfterValidator(_distinct), AfterValidator(_measured)
    ] = Field(
        ["flip left-right", "rotate +90", "shift right"],
        min_length=1,
        description="of the transforms, for these",
    )
    other_faces: int = Field(6, ge=2, le=1000, description="people an image is set against")
    report_faces: int = Field(4, ge=1, le=1000, description="faces of the one-page report")
    precision: Literal["auto", "float32", "winograd", "mixed"] = "auto"
    detector: Literal["vgg16", "densenet121", "resnet50"] = "vgg16"
    detector_weights: str = Field("imagenet", min_length=1, description="to begin with")
    detector_size: Size = 112
    detector_runs: int = Field(3, ge=1, le=100, description="trainings of either kind")
    detector_epochs: int = Field(4, ge=1, le=10_000)
    detector_batch: int = Field(20, ge=1, le=10_000, description="images")
    detector_rate: float = Field(5e-4, gt=0, le=1, description="learning rate")
    detector_alpha: float = Field(0.5, ge=0, le=1, description="share of the cross-entropy")
    cam_class: Annotated[Literal["predicted", "true"], BeforeValidator(_word)] = "predicted"
    generators: Annotated[list[Literal["pca", "coarse", "patches"]], AfterValidator(_distinct)] = (
        Field(["pca", "coarse", "patches"], min_length=1, description="the first is trained on")
    )
    components: Annotated[list[Annotated[int, Field(ge=1)]], AfterValidator(_one_each)] = Field(
        [40, 40, 16], min_length=1, description="of each generator"
    )
    generator_people: int = Field(24, ge=2, le=10_000, description="generators are fitted to")
    training_people: int = Field(20, ge=2, le=10_000)
    validation_people: int = Field(8, ge=1, le=10_000)
    test_people: int = Field(16, ge=2, le=10_000)
    people_views: int = Field(3, ge=2, le=100, description="images of each")
    measured_people: int = Field(12, ge=2, le=10_000, description="of the test")
    genuine: str = Field("", description="folder of real faces; empty: rendered ones")
    synthetic: Annotated[str, AfterValidator(_with_genuine)] = Field(
        "", validate_default=True, description="folder of synthetic faces to train on"
    )
    unseen: Annotated[list[str], AfterValidator(_with_genuine), AfterValidator(_unlike_names)] = (
        Field([], description="folders of synthetic faces for the test")
    )
    human_maps: Annotated[str, AfterValidator(_with_genuine)] = Field(
        "", validate_default=True, description="folder of human salience"
    )
    draws: int = Field(1000, ge=1, le=100_000, description="bootstrap samples of faces")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="of intervals, probability")
    seed: Seed = 0


class Multiverse(Chapter):
    """Settings of ``10_multiverse``."""

    choices: str = Field(
        "params/multiverse.yml", min_length=1, description="file of open choices, one line each"
    )


class Claims(Chapter):
    """Settings of ``09_claims``."""

    reported: str = Field("data/reported.csv", min_length=1, description="printed claims, CSV")
    results: str = Field(
        "data/results/paper", min_length=1, description="tables of a run at the papers' scale"
    )


class Humans(Chapter):
    """Settings of ``06_humans``."""

    pair: Annotated[list[str], AfterValidator(_distinct)] = Field(
        [], max_length=2, description="pretrainings compared, the measured one first; empty: auto"
    )
    initialisation: Annotated[str, BeforeValidator(str)] = Field(
        "mean", pattern=r"^(mean|\d+)$", description="mean, or the number of a readout"
    )
    responses: str = Field("", description="CSV or folder of answers; empty: simulated observers")
    observers: int = Field(46, ge=2, le=1000, description="trial lists, and simulated observers")
    catch: int = Field(8, ge=0, le=100, description="catch trials of an observer")
    practice: int = Field(4, ge=0, le=20, description="comparisons for practice")
    picture: int = Field(224, ge=32, le=512, description="side of the page's pictures, pixels")
    pause: int = Field(25, ge=1, le=1000, description="comparisons between breaks")
    contact: str = Field("", max_length=200, description="whom to ask, shown on the page")
    min_catch: float = Field(0.75, ge=0, le=1, description="exclusion, share")
    max_one_side: float = Field(0.85, ge=0.5, le=1, description="exclusion, share")
    max_unanswered: float = Field(0.1, ge=0, le=1, description="exclusion, share")
    min_median_rt: float = Field(0.3, ge=0, le=60, description="exclusion, seconds")
    bias: float = Field(0.518, gt=0, lt=1, description="planted, probability")
    sd_observers: float = Field(0.1, ge=0, le=5, description="planted, log odds")
    sd_identities: float = Field(0.4, ge=0, le=5, description="planted, log odds")
    side_bias: float = Field(0.1, ge=-5, le=5, description="planted, log odds")
    lapse: float = Field(0.02, ge=0, le=1, description="planted, share of catch trials")
    splits: int = Field(1000, ge=1, le=100_000, description="halvings of the observers")
    studies: int = Field(2000, ge=2, le=1_000_000, description="simulated studies")
    mixed_studies: int = Field(100, ge=0, le=100_000, description="of these with mixed models")
    permutations: int = Field(2000, ge=1, le=1_000_000, description="relabellings of faces")
    cells: int = Field(16, ge=2, le=512, description="grid of patterns, cells along a side")
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    seed: Seed = 0


class Dissection(Chapter):
    """Settings of ``07_dissection``."""

    networks: Annotated[list[Network], AfterValidator(_distinct)] = Field(
        ["imagenet", "synthface", "recognition", "gender", "age", "smile"],
        min_length=1,
        description="trunks, what is learned here, or Keras files",
    )
    layers: Annotated[list[str], AfterValidator(_distinct)] = Field(
        [], description="layer or network:layer; empty: the last convolution at every size"
    )
    dictionary: str = Field("data/faces/dictionary", min_length=1, description="Face Dictionary")
    images: int = Field(720, ge=0, description="of the dictionary; 0 for all")
    mask: Literal["exact", "ellipse", "both"] = "both"
    ellipse_level: float = Field(0.95, gt=0, lt=1, description="confidence of elliptical masks")
    ellipses: str = Field("", description="CSV of landmarks; empty: the project's")
    tail: float = Field(0.005, gt=0, lt=0.5, description="share of positions at which a unit fires")
    limit: float = Field(0.04, ge=0, lt=1, description="overlap of interpretable units")
    chance: Literal["shuffled", "shifted"] = "shuffled"
    chance_draws: int = Field(8, ge=3, le=1000, description="per unit and concept")
    q: float = Field(0.05, gt=0, lt=1, description="false discovery rate")
    bias_draws: int = Field(20, ge=1, le=10_000, description="deals of the groups")
    gallery_units: int = Field(2, ge=1, le=5, description="of each network")
    gallery_images: int = Field(6, ge=1, le=12, description="of each unit")
    people: int = Field(50, ge=8, le=10_000, multiple_of=2, description="rendered, to learn from")
    scenes: int = Field(2, ge=2, le=20, description="heads of each")
    views: int = Field(2, ge=1, le=50, description="pictures of each head")
    learn_from: Trunk = Field(
        "synthface", min_length=1, description="trunk that learning goes on from"
    )
    trained_from: str = Field("conv5_1", min_length=1, description="its first layer that learns")
    epochs: int = Field(4, ge=1, le=1000, description="of recognition, gender, age, smile")
    width: float = Field(0.25, gt=0, le=1, description="of residual networks, share of channels")
    planted: Annotated[list[Literal["glasses", "greyscale"]], AfterValidator(_distinct)] = Field(
        ["glasses", "greyscale"], description="cues of the controlled experiments; may be empty"
    )
    percents: Annotated[list[Annotated[float, Field(ge=50, le=100)]], AfterValidator(_distinct)] = (
        Field([50.0, 75.0, 100.0], min_length=1, description="of the males with the cue, 50 to 100")
    )
    planted_seeds: int = Field(2, ge=1, le=100, description="networks for each cue and P")
    planted_in: Literal["resnet50", "resnet14", "vgg16"] = "resnet14"
    planted_people: int = Field(40, ge=8, le=10_000, multiple_of=2, description="half male")
    planted_views: int = Field(4, ge=1, le=100, description="pictures of each, twice")
    planted_epochs: int = Field(8, ge=1, le=1000)
    planted_images: int = Field(224, ge=0, description="of the dictionary; 0 for all")
    planted_explained: int = Field(24, ge=0, le=1000, description="pictures in glasses")
    samples: int = Field(1000, ge=1, le=100_000, description="of faces; shuffles of units")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="of intervals, probability")
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    seed: Seed = 0


class OwnFaces(Chapter):
    """Settings of ``11_own_faces``."""

    folder: str = Field(
        "data/faces/examples/folder_per_identity", min_length=1, description="folder of faces"
    )
    manifest: str = Field(
        "data/faces/examples/manifest/manifest.csv", min_length=1, description="CSV of faces"
    )
    size: Size = 112


class OwnNetwork(Chapter):
    """Settings of ``12_own_network``."""

    network: str = Field("", description="file of a Keras classifier; empty: a small one")
    tasks: Annotated[list[Literal["identity", "gender"]], AfterValidator(_distinct)] = Field(
        ["identity", "gender"], min_length=1
    )
    people: int = Field(12, ge=2, le=1000, description="whom it learns")
    epochs: int = Field(25, ge=1, le=10_000)
    composite: Composite = "a_flat"
    shown: int = Field(3, ge=1, le=20, description="faces whose maps are drawn")
    seed: Seed = 0


#: Notebook stem -> its model, in the order of the report.
CHAPTERS: dict[str, type[Chapter]] = {
    "00_pretraining": Pretraining,
    "01_faces": Faces,
    "02_finetuning": Finetuning,
    "03_relevance": Relevance,
    "04_masking": Masking,
    "05_generalization": Generalization,
    "06_humans": Humans,
    "07_dissection": Dissection,
    "08_salience": Salience,
    "09_claims": Claims,
    "10_multiverse": Multiverse,
    "11_own_faces": OwnFaces,
    "12_own_network": OwnNetwork,
}


def _nearest(word: str, known: typing.Iterable[str]) -> str:
    match = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" - did you mean {match[0]!r}?" if match else ""


def _allowed(field: FieldInfo) -> str:
    """Allowed values of a pydantic field in words, e.g. ``int, at least 32, at most 512``."""
    kind = field.annotation
    listed = typing.get_origin(kind) is list
    if listed:
        # an entry of a list is described as if it were a field of its own
        text = f"list of ({_allowed(FieldInfo.from_annotation(typing.get_args(kind)[0]))})"
    elif typing.get_origin(kind) is Literal:
        text = "one of " + ", ".join(str(v) or "''" for v in typing.get_args(kind))
    else:
        text = kind.__name__
    names = {
        "ge": "at least",
        "gt": "more than",
        "le": "at most",
        "lt": "less than",
        "min_length": "at least this many entries:" if listed else "at least this many characters:",
        "max_length": "at most this many entries:" if listed else "at most this many characters:",
    }
    for rule in field.metadata:
        for name, word in names.items():
            if getattr(rule, name, None) is not None:
                text += f", {word} {getattr(rule, name)}"
    return text


def _sentence(chapter: str, model: type[Chapter], error: ValidationError, where: str) -> str:
    parts = []
    for item in error.errors():
        name = str(item["loc"][0]) if item["loc"] else "?"
        if item["type"] == "extra_forbidden":
            known = model.model_fields
            parts.append(
                f"{chapter} has no parameter {name!r}{_nearest(name, known)}"
                f" (it has: {', '.join(known)})"
            )
        elif name in model.model_fields:
            reason = item["msg"].removeprefix("Value error, ")
            near = ""
            if item["type"] == "literal_error":
                known = re.findall(r"'([^']*)'", item["ctx"]["expected"])
                near = _nearest(str(item["input"]), known)
            parts.append(
                f"{chapter}: {name} = {item['input']!r} is refused: {reason[0].lower()}{reason[1:]}"
                f" (allowed: {_allowed(model.model_fields[name])}){near}"
            )
        else:
            parts.append(f"{chapter}: {item['msg']}")
    return "; ".join(parts) + f" [{where}]."


def _model(chapter: str) -> type[Chapter]:
    if chapter not in CHAPTERS:
        raise InputError(
            f"There is no chapter {chapter!r}{_nearest(chapter, CHAPTERS)}; "
            f"the report has {', '.join(CHAPTERS)}."
        )
    return CHAPTERS[chapter]


def validate(chapter: str, values: Mapping[str, Any], where: str = "parameters") -> Chapter:
    """Validated settings of one notebook.

    Parameters
    ----------
    chapter : str
        Notebook stem, e.g. ``"01_faces"``.
    values : mapping
        Parameter name -> value; what is missing takes its default.
    where : str
        Named in the error, so that the reader knows which file or command to mend.

    Raises
    ------
    InputError
        Unknown chapter or name (the nearest spelling is offered), wrong type or range (the allowed
        values are given).
    """
    model = _model(chapter)
    try:
        return model(**values)
    except ValidationError as error:
        raise InputError(_sentence(chapter, model, error, where)) from None


def check(chapter: str, namespace: Mapping[str, Any]) -> Chapter:
    """Validated settings from a notebook's own namespace (its validation cell).

    Papermill injects an unknown name with a mere message; here a name that a cell of plain values
    assigns and that is no parameter is refused. Call it right after the parameters cell, with
    ``globals()``.

    Raises
    ------
    InputError
        As :func:`validate`, for a missing parameter, and when the run's folder holds what other
        settings have made.
    """
    assigned = [name for cell in namespace.get("In", ()) for name in _literals(cell)]
    names = dict.fromkeys([*_model(chapter).model_fields, *assigned])
    values = {name: namespace[name] for name in names if name in namespace}
    missing = [name for name in _model(chapter).model_fields if name not in values]
    if missing:
        raise InputError(
            f"{chapter}: the parameters cell sets no {', '.join(missing)}; "
            "run the parameters cell first, or restore it from the repository."
        )
    settings = validate(chapter, values, where=f"parameters cell of notebooks/{chapter}.ipynb")
    if RUNNER not in os.environ:
        _refuse_other_settings(chapter, settings)
    return settings


def _literals(cell: str) -> list[str]:
    """Names that a cell assigns, if all it does is to assign literals, as parameters cells do."""
    try:
        lines = ast.parse(cell).body
        for line in lines:
            ast.literal_eval(line.value)
        return [line.targets[0].id for line in lines]
    except (SyntaxError, ValueError, AttributeError, TypeError):
        return []


def record_path(chapter: str, run: str) -> Path:
    """File in which the runner notes a chapter's settings and the digests of what it made."""
    return ROOT / "data" / "runs" / run / "logs" / f"{chapter}.json"


def _refuse_other_settings(chapter: str, settings: Chapter) -> None:
    """A notebook run by hand must not put other numbers under the name of a run of the report."""
    path = record_path(chapter, settings.run)
    if not path.is_file():
        return
    try:
        made = dict(json.loads(path.read_text(encoding="utf-8"))["settings"])
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(
            f"{path}, which says with what settings the run {settings.run!r} was made, cannot be "
            "read: give this one a name of its own, e.g. papermill ... -p run mine."
        ) from None
    given = settings.model_dump(mode="json")
    differ = [f"{k} = {made.get(k)!r}" for k, v in given.items() if made.get(k) != v]
    if differ:
        raise InputError(
            f"The run {settings.run!r} was made with {', '.join(differ)}: give this one a name of "
            "its own, e.g. papermill ... -p run mine."
        )


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which by itself keeps the last of two values of one name."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode) and seen.setdefault(key.value, line) != line:
                raise InputError(
                    f"line {line} gives {key.value!r} a second time (the first is in line "
                    f"{seen[key.value]}); keep one."
                )
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """Content of a YAML file.

    Raises
    ------
    InputError
        It cannot be opened, is no YAML, or gives a name twice in one block; the line is named.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}); mend that or restore the file."
        ) from None
    except (yaml.YAMLError, ValueError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        spot = f" near line {line + 1}" if line is not None else ""
        raise InputError(f"{path} is not readable YAML{spot}; mend it or restore it.") from None


def list_profiles(folder: Path | None = None) -> list[str]:
    """Names of the files of settings in ``params/``, sorted."""
    folder = folder or ROOT / "params"
    return sorted(p.stem for p in folder.glob("*.yml") if p.stem != NO_PROFILE and p.is_file())


def load_profile(profile: str, folder: Path | None = None) -> dict[str, dict[str, Any]]:
    """Settings of a profile as written in ``params/<profile>.yml``: chapter -> name -> value.

    Raises
    ------
    InputError
        Unknown profile, unreadable YAML, unknown chapter, or a setting that the file leaves out.
    """
    folder = folder or ROOT / "params"
    known = list_profiles(folder)
    if profile not in known:
        raise InputError(
            f"There is no profile {profile!r}{_nearest(profile, known)}; "
            f"params/ has {', '.join(known)}."
        )
    path = folder / f"{profile}.yml"
    content = read_yaml(path) or {}
    if not isinstance(content, dict) or not all(isinstance(v, dict) for v in content.values()):
        raise InputError(f"{path} must hold one block of 'name: value' lines per notebook.")
    for chapter in content:
        _model(chapter)
    for chapter, model in CHAPTERS.items():
        absent = set(model.model_fields) - {"run"} - set(content.get(chapter, {}))
        if absent:
            raise InputError(f"{path} sets no {', '.join(sorted(absent))} for {chapter}; add it.")
    return content


def read_timeout(text: str) -> float:
    """Minutes that a chapter may take, from TIMEOUT; 0 for as long as it needs.

    Raises
    ------
    InputError
        It is no number, or below 0.
    """
    try:
        minutes = float(text) if text.strip() else USUAL_TIMEOUT
    except ValueError:
        minutes = -1.0
    if not 0 <= minutes < float("inf"):
        raise InputError(
            f"TIMEOUT={text} is no number of minutes; write e.g. TIMEOUT=90, or 0 for no limit."
        )
    return minutes


def read_figures(text: str) -> bool:
    """Whether figures are kept as SVG beside the run, from FIGURES.

    Raises
    ------
    InputError
        It asks for another form.
    """
    if text.strip() not in ("", "svg"):
        raise InputError(f"FIGURES={text} is not known; write FIGURES=svg, or leave it out.")
    return bool(text.strip())


def parse_set(text: str) -> dict[str, str]:
    """Departures from a profile: ``"fill=blur faces.size=64"`` as a mapping name -> text.

    Values stay as they were written, less their quotation marks: ``source='/my faces'``.

    Raises
    ------
    InputError
        A word without ``=``, or a name given twice.
    """
    found: dict[str, str] = {}
    try:
        words = shlex.split(text)
    except ValueError:
        raise InputError(f'SET="{text}": a quotation mark is not closed.') from None
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name or not value:
            raise InputError(
                f'SET="{text}": {word!r} is not name=value; write e.g. SET="size=224".'
            )
        if name in found:
            raise InputError(f'SET="{text}" gives {name} twice; keep one.')
        found[name] = value
    return found


def write_set(settings: Mapping[str, str]) -> str:
    """Departures in one order and one spelling, as :func:`parse_set` reads them."""
    return " ".join(f"{name}={shlex.quote(value)}" for name, value in sorted(settings.items()))


def _read_value(chapter: str, field: str, value: str, text: str) -> Any:
    """A value of SET as its field means it: a path or name to the letter, the others as YAML."""
    if CHAPTERS[chapter].model_fields[field].annotation is str:
        return str(Path(value).expanduser()) if value.startswith("~") else value
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError:
        raise InputError(f'SET="{text}": the value of {field} is not readable.') from None


def chapters_with(name: str, text: str) -> list[tuple[str, str]]:
    """(chapter, field) pairs that ``name`` or ``chapter.name`` means."""
    scope, dot, field = name.rpartition(".")
    if dot:
        chapters = [c for c in CHAPTERS if scope in (c, c.partition("_")[2])]
        if not chapters:
            short = [c.partition("_")[2] for c in CHAPTERS]
            raise InputError(
                f'SET="{text}": there is no chapter {scope!r}{_nearest(scope, short)}; '
                f"the report has {', '.join(CHAPTERS)}."
            )
    else:
        chapters, field = list(CHAPTERS), name
    field = WORDS.get(field, field)
    pairs = [(c, field) for c in chapters if field in CHAPTERS[c].model_fields and field != "run"]
    if not pairs:
        known = sorted({f for c in chapters for f in CHAPTERS[c].model_fields} - {"run"})
        raise InputError(
            f'SET="{text}": no notebook has a parameter {field!r}{_nearest(field, known)}; '
            f"known: {', '.join(known)}."
        )
    return pairs


def run_name(profile: str, settings: Mapping[str, Any]) -> str:
    """Name of a run: the profile, then what departs from it, in a form fit for a folder."""
    if not settings:
        return profile
    words = [f"{k}={v}" for k, v in sorted(settings.items())]
    plain = "+".join([profile, *(re.sub(r"[^A-Za-z0-9.=-]+", "_", w) for w in words)])
    if len(plain) <= MAX_RUN_NAME and all(re.fullmatch(r"[A-Za-z0-9._=-]+", w) for w in words):
        return plain
    # A digest keeps two values apart that read the same after cleaning.
    digest = hashlib.sha256("\0".join(words).encode()).hexdigest()[:8]
    return f"{plain[:MAX_RUN_NAME].rstrip('+_=.-')}-{digest}"


def resolve(profile: str, set_: str = "", run: str = "") -> tuple[str, dict[str, Chapter]]:
    """Run name and validated settings of every notebook.

    Parameters
    ----------
    profile : str
        A file of ``params/`` without its ending.
    set_ : str
        Departures, ``"name=value chapter.name=value"``; a bare name reaches every notebook that has
        it. A bare ``fill`` that is not among the run's ``fills`` takes their place.
    run : str
        Name of the run; by default made from profile and departures.

    Raises
    ------
    InputError
        See :func:`load_profile`, :func:`parse_set` and :func:`validate`; or a chapter reads what
        the settings of another do not make.
    """
    content = load_profile(profile)
    settings = parse_set(set_)
    values = {chapter: dict(content.get(chapter, {})) for chapter in CHAPTERS}
    for name, value in settings.items():
        for chapter, field in chapters_with(name, set_):
            values[chapter][field] = _read_value(chapter, field, value, set_)
    fill, masking = settings.get("fill"), values["04_masking"]
    named = {"fills", "masking.fills", "04_masking.fills"} & set(settings)
    if fill and not named and fill not in masking["fills"]:
        masking["fills"] = [fill]
    name = run or run_name(profile, settings)
    where = f"params/{profile}.yml" + (f', SET="{set_}"' if set_ else "")
    checked = {c: validate(c, {**v, "run": name}, where) for c, v in values.items()}
    _refuse_what_is_not_made(checked, where)
    return name, checked


def _refuse_what_is_not_made(settings: Mapping[str, Chapter], where: str) -> None:
    """Chapter 05 can analyse those masks and fills alone that chapter 04 of the run computes."""
    masking, analysis = settings["04_masking"], settings["05_generalization"]
    made = {"mask": ["relevance", *masking.signed, *masking.scattered], "fill": masking.fills}
    settable = {"mask": "signed or scattered", "fill": "fills"}
    for field, known in made.items():
        wanted = getattr(analysis, field)
        if wanted and wanted not in known:
            raise InputError(
                f"05_generalization: {field} = {wanted!r} is not computed by 04_masking, whose "
                f"settings give {', '.join(known)}; choose one of them or add {wanted!r} to "
                f"{settable[field]} of 04_masking [{where}]."
            )
