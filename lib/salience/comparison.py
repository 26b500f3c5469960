"""Detectors trained by cross-entropy against detectors guided by salience (CYBORG).

Crum et al. 2023 (arXiv 2303.11969) measure both kinds; a run of one and the same run of the other
began with the same weights and saw the images in the same order, so they are compared in pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure
from scipy import stats

from lib import store
from lib.errors import InputError
from lib.multiplicity import correct_holm
from lib.salience.detection import (
    CLASSES,
    DetectionSet,
    load_detection_folders,
    render_detection_set,
)
from lib.salience.panels import plot_faces
from lib.salience.report import compute_salience
from lib.salience.study import load_unrelated, prune, reduce_measures
from lib.salience.training import (
    LOSSES,
    Answers,
    Detector,
    DetectorExplainer,
    compare_with_salience,
)

#: Loss -> words of figures and tables.
WORDS = {"cross_entropy": "cross-entropy", "cyborg": "CYBORG"}
#: Kind of salience -> how it is called wherever it appears.
SALIENCE_WORDS = {
    "simulated": "simulated human salience",
    "human": "human salience",
    "none": "no human salience",
}
#: What is compared beside the measures: name -> (measure, condition) of `compute_salience`.
BESIDE = {
    "S_unrelated objects": ("S_unrelated", "objects"),
    "S_unrelated textures": ("S_unrelated", "textures"),
    "accuracy": ("accuracy", "none"),
    "accuracy, background blurred": ("accuracy", "background"),
    "accuracy, object blurred": ("accuracy", "object"),
    "constant maps": ("constant", ""),
}


def load_pictures(settings, folder: Path) -> DetectionSet:
    """Genuine and synthetic faces of a run: rendered, or a reader's folders.

    Parameters
    ----------
    settings : pydantic model
        Of ``08_salience``.
    folder : Path
        Where rendered faces are kept for the next time.

    Raises
    ------
    InputError
        What `load_detection_folders` and `render_detection_set` refuse.
    """
    if settings.genuine:
        return load_detection_folders(
            _rooted(settings.genuine),
            _rooted(settings.synthetic),
            size=settings.detector_size,
            unseen={Path(given).name: _rooted(given) for given in settings.unseen},
            maps=_rooted(settings.human_maps),
            seed=settings.seed,
        )
    return render_detection_set(
        fitted=settings.generator_people,
        training=settings.training_people,
        validation=settings.validation_people,
        test=settings.test_people,
        views=settings.people_views,
        size=settings.detector_size,
        seen=settings.generators[0],
        unseen=settings.generators[1:],
        components=dict(zip(settings.generators, settings.components, strict=True)),
        seed=settings.seed,
        folder=folder,
    )


def _rooted(name: str) -> Path:
    """A path relative to the repository, or absolute."""
    return store.ROOT / Path(name).expanduser()


def draw_pictures(data: DetectionSet, people: int) -> Figure:
    """Some images of the test, genuine and from every generator, with the map in use.

    The same people in every row where the set has them (rendered faces), else the first ones. The
    place of a map that is missing stays empty.
    """
    rows = data.rows("test")
    names = list(dict.fromkeys(data.identity[rows]))[:people]
    shown = {}
    for words, generator, label in (
        ("genuine", data.seen, 0),
        *((generator, generator, 1) for generator in data.generators),
    ):
        mine = data.rows("test", generator)
        mine = mine[data.label[mine] == label]
        same = [mine[data.identity[mine] == name][:1] for name in names]
        found = np.concatenate(same)
        shown[words] = found if len(found) == len(names) else mine[:people]
    shown = {words: some for words, some in shown.items() if len(some)}
    count = min(map(len, shown.values()))
    salience = data.salience[shown["genuine"][:count]]
    images = {words: data.images[some[:count]] for words, some in shown.items()}
    return plot_faces(images, salience, SALIENCE_WORDS[data.salience_kind])


def choose_tested(data: DetectionSet, count: int, seed: int) -> np.ndarray:
    """Rows of test images, one of a person, genuine and synthetic in turn.

    Parameters
    ----------
    data : DetectionSet
    count : int
        People; all where there are no more.
    seed : int

    Returns
    -------
    ndarray of int
    """
    rows = data.rows("test")
    people = np.random.default_rng(seed).permutation(np.unique(data.identity[rows]))
    found = []
    for person in people:
        if len(found) == count:
            break
        mine = rows[data.identity[rows] == person]
        wanted = mine[data.label[mine] == len(found) % len(CLASSES)]
        found.append((wanted if len(wanted) else mine)[0])
    return np.array(found)


def choose_unrelated(data: DetectionSet, count: int, seed: int) -> dict[str, np.ndarray]:
    """Images against whose maps those of the test are set: other people's faces, and no faces.

    Parameters
    ----------
    data : DetectionSet
    count : int
        People of the validation, so nobody meets an image of their own; all where there are no
        more.
    seed : int

    Returns
    -------
    dict
        ``other faces`` (genuine, one of a person), ``objects``, ``textures`` -> uint8 (m, y, x[,
        3]).
    """
    rows = data.rows("validation")
    rows = rows[data.label[rows] == 0]
    people, first = np.unique(data.identity[rows], return_index=True)
    drawn = np.random.default_rng([seed, 1]).permutation(len(people))[:count]
    faces = data.images[rows[first[np.sort(drawn)]]]
    return {"other faces": faces, **load_unrelated(faces.shape[1], faces.ndim == 4)}


def measure_detectors(
    detectors: Sequence[Detector],
    data: DetectionSet,
    rows: np.ndarray,
    method: str = "grad_cam",
    *,
    folder: Path | None = None,
    **options,
) -> xr.Dataset:
    """The five measures of every detector on some images.

    Parameters
    ----------
    detectors : sequence of Detector
    data : DetectionSet
    rows : ndarray of int
    method : str
    folder : Path, optional
        Results are kept there while they are computed; what other settings have left is removed.
    **options
        Of `lib.salience.compute_salience`.

    Returns
    -------
    Dataset
        As of `compute_salience`; ``pretraining`` holds the loss, ``task`` is ``detection``,
        ``instance`` the run, ``identity`` the person. A group is a loss. The attribute
        ``human_salience`` says where that of CYBORG came from (`DetectionSet.salience_kind`).
    """
    explainer = DetectorExplainer(detectors, method)
    found = compute_salience(
        explainer,
        data.images[rows],
        [data.label[rows]] * len(detectors),
        groups={d.name: f"{d.loss}/detection" for d in detectors},
        folder=folder,
        **options,
    )
    if folder is not None:
        prune(folder, found.attrs["digest"])
    found = found.drop_attrs().assign_attrs(human_salience=data.salience_kind)
    return found.assign_coords(
        {
            "pretraining": ("model", [d.loss for d in detectors]),
            "task": ("model", ["detection"] * len(detectors)),
            "instance": ("model", [d.run for d in detectors]),
            "identity": ("image", data.identity[rows]),
            "label": ("image", data.label[rows]),
        }
    )


def _paired(gaps: np.ndarray, confidence: float) -> tuple[float, float, float, float]:
    """Mean of paired differences, its t interval, and p."""
    gaps = gaps[np.isfinite(gaps)]
    if not gaps.size:
        return (np.nan,) * 4
    mean = gaps.mean()
    # what cancels leaves rounding, which has a sign that says nothing
    mean = 0.0 if abs(mean) < 1e-12 else mean
    # differences that are all alike have no spread to judge them by
    if len(gaps) < 2 or np.ptp(gaps) < 1e-12:
        return mean, np.nan, np.nan, np.nan
    error = gaps.std(ddof=1) / np.sqrt(len(gaps))
    half = stats.t.ppf((1 + confidence) / 2, len(gaps) - 1) * error
    return mean, mean - half, mean + half, stats.ttest_1samp(gaps, 0).pvalue


def compare_losses(
    measured: xr.Dataset, draws: int = 1000, confidence: float = 0.95, seed: int = 0
) -> pd.DataFrame:
    """Every measure under CYBORG less that under cross-entropy, paired.

    Over runs: the difference of a run's means over images, with a paired t-test. S_stability is one
    number per kind of training, so it has no runs to pair; its interval is a bootstrap over images.
    What the runs share (data, the layers that did not learn) is no source of these errors.

    Below the measures stand, by the names of :data:`BESIDE`, their likeness to maps of objects and
    textures, the accuracy on the images as they are and under either blur of S_resilience, and the
    share of maps that are the same everywhere.

    Returns
    -------
    DataFrame
        ``measure``, one column per loss, ``difference``, ``low``, ``high``, ``p``, ``p_holm`` (over
        the measures; NaN for what stands beside them), ``n``, ``over`` (runs or images).

    Raises
    ------
    InputError
        There are not two kinds of training.
    """
    numbers = reduce_measures(measured)
    arrays = {name: numbers.sel(number=name).to_numpy() for name in numbers["number"].to_numpy()}
    columns = zip(*(measured[name].to_numpy() for name in ("measure", "condition")), strict=True)
    found = {column: k for k, column in enumerate(columns)}
    for name, column in BESIDE.items():
        if column in found:
            arrays[name] = measured["value"].to_numpy()[:, found[column]]
    kinds = numbers["pretraining"].to_numpy()
    absent = [loss for loss in LOSSES if loss not in kinds]
    if absent:
        raise InputError(f"There are no detectors of the loss {absent[0]!r} to compare with.")
    runs = numbers["instance"].to_numpy()
    shared = sorted(set(runs[kinds == LOSSES[0]]) & set(runs[kinds == LOSSES[1]]))
    place = {key: k for k, key in enumerate(zip(kinds, runs, strict=True))}
    rng = np.random.default_rng(seed)
    tails = (1 - confidence) / 2
    rows = []
    for name, array in arrays.items():
        one, other = (np.stack([array[place[loss, run]] for run in shared]) for loss in LOSSES)
        known = np.isfinite(one) & np.isfinite(other)
        if not known.any():
            continue
        means = [np.nanmean(np.where(known, some, np.nan)) for some in (one, other)]
        if name == "S_stability":
            gaps = (other - one)[0][known[0]]
            drawn = rng.choice(gaps, (draws, len(gaps))).mean(1)
            low, high = np.quantile(drawn, [tails, 1 - tails]) if len(gaps) > 1 else [np.nan] * 2
            rows.append((name, *means, gaps.mean(), low, high, np.nan, len(gaps), "images"))
            continue
        with_some = known.any(1)
        counts = np.maximum(known.sum(1), 1)
        gaps = (np.where(known, other - one, 0).sum(1) / counts)[with_some]
        rows.append((name, *means, *_paired(gaps, confidence), len(gaps), "runs"))
    columns = ["measure", *LOSSES, "difference", "low", "high", "p", "n", "over"]
    table = pd.DataFrame(rows, columns=columns)
    table.insert(7, "p_holm", correct_holm(table["p"].mask(table["measure"].isin(BESIDE))))
    return table


def compare_generalization(detection: pd.DataFrame, confidence: float = 0.95) -> pd.DataFrame:
    """Area under the ROC curve of CYBORG less that of cross-entropy, paired over runs.

    Parameters
    ----------
    detection : DataFrame
        Of `lib.salience.training.summarise_detection`.

    Returns
    -------
    DataFrame
        One row per generator, and one for the mean over the ``unseen``: ``generator``, ``seen``,
        one column per loss, ``difference``, ``low``, ``high``, ``p``, ``p_holm`` (over the
        generators; the mean is one test by itself), ``runs``.
    """
    wide = detection.set_index(["generator", "seen", "run", "loss"])["auc"].unstack("loss")  # noqa: PD010
    wide = wide.reindex(columns=list(LOSSES)).dropna().reset_index()
    unseen = wide[~wide["seen"]].groupby("run")[list(LOSSES)].mean().reset_index()
    groups = [(*key, some) for key, some in wide.groupby(["generator", "seen"], sort=False)]
    if len(set(wide.loc[~wide["seen"], "generator"])) > 1:
        groups.append(("mean of the unseen", False, unseen))
    rows = []
    for generator, seen, some in sorted(groups, key=lambda group: not group[1]):
        gaps = (some[LOSSES[1]] - some[LOSSES[0]]).to_numpy()
        means = (some[loss].mean() for loss in LOSSES)
        rows.append((generator, seen, *means, *_paired(gaps, confidence), len(gaps)))
    columns = ["generator", "seen", *LOSSES, "difference", "low", "high", "p", "runs"]
    table = pd.DataFrame(rows, columns=columns)
    single = table["generator"].isin(set(wide["generator"]))
    table.insert(8, "p_holm", correct_holm(table["p"].where(single)))
    return table


def compare_guidance(
    detectors: Sequence[Detector],
    data: DetectionSet,
    confidence: float = 0.95,
    answers: Answers | None = None,
) -> pd.DataFrame:
    """How near the class activation maps come to human, or simulated, salience in the test.

    Parameters
    ----------
    detectors : sequence of Detector
    data : DetectionSet
    confidence : float
    answers : Answers, optional
        Of `lib.salience.training.ask_detectors` to the test, where they are known already.

    Returns
    -------
    DataFrame
        Per quantity (``distance``: mean squared difference; ``r``: Pearson): one column per loss,
        ``difference``, ``low``, ``high``, ``p``, ``runs`` (paired). Without a map of a test image
        it is empty.
    """
    known = np.isfinite(data.salience).all((1, 2)) & (data.split == "test")
    table = compare_with_salience(detectors, data, answers=answers) if known.any() else None
    rows = []
    for name in () if table is None else ("distance", "r"):
        wide = table.groupby(["run", "loss"])[name].mean().unstack("loss")  # noqa: PD010
        wide = wide.reindex(columns=list(LOSSES)).dropna()
        gaps = (wide[LOSSES[1]] - wide[LOSSES[0]]).to_numpy()
        means = (wide[loss].mean() for loss in LOSSES)
        rows.append((name, *means, *_paired(gaps, confidence), len(gaps)))
    columns = ["quantity", *LOSSES, "difference", "low", "high", "p", "runs"]
    return pd.DataFrame(rows, columns=columns)


# ------------------------------------------------------------------------------------------- words


def state_difference(table: pd.DataFrame, confidence: float = 0.95) -> str:
    """Which measures differ between the two trainings, in words."""
    known = table[table["low"].notna() & ~table["measure"].isin(BESIDE)]
    if known.empty:
        return "with one run of a kind no difference has an interval"
    luck = len(known) * (1 - confidence)
    clear = known[(known["low"] > 0) | (known["high"] < 0)]
    names = [
        f"{row.measure} ({'higher' if row.difference > 0 else 'lower'} under CYBORG by "
        f"{abs(row.difference):.2f}{', over images alone' if row.over == 'images' else ''})"
        for row in clear.itertuples()
    ]
    text = (
        f"{len(clear)} of {len(known)} measures differ by an interval off zero, where chance alone "
        f"would give about {luck:.1f}"
    )
    return text + (": " + ", ".join(names) if names else "")


def state_generalization(table: pd.DataFrame) -> str:
    """Whether CYBORG does better on generators that were not trained on, in words."""
    unseen = table[~table["seen"]]
    if unseen.empty:
        return "there is no unseen generator"
    row = unseen.iloc[-1]
    where = "unseen generators" if row["generator"].startswith("mean") else "the unseen generator"
    text = (
        f"on {where} the area under the ROC curve is {row['cyborg']:.2f} under CYBORG and "
        f"{row['cross_entropy']:.2f} under cross-entropy"
    )
    if np.isnan(row["low"]):
        return f"{text}, without an interval for the difference"
    off = row["low"] > 0 or row["high"] < 0
    return (
        f"{text}, a difference of {row['difference']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}] "
        f"over {int(row['runs'])} runs, {'off' if off else 'not off'} zero"
    )
