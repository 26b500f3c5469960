"""A small study in bfloat16 comes to the conclusions that float32 comes to.

The whole report both ways is in tests/nightly/faults.py.
"""

import itertools

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from PIL import Image

from lib import masking, vgg
from lib.finetuning import Task, make_split, train_readouts
from lib.relevance import study
from lib.relevance.similarity import compute_similarity, relation

SIDE, PEOPLE = 32, 8
LEVELS = [3.16, 10.0, 31.6]


@pytest.fixture(scope="module")
def faces():
    """Every view of four women and four men of the shipped set."""
    folder = ROOT / "data" / "faces" / "study"
    table = pd.read_csv(folder / "manifest.csv", dtype={"identity": str})
    people = table.drop_duplicates("identity").groupby("gender").head(PEOPLE // 2)["identity"]
    table = table[table["identity"].isin(people)].sort_values(["identity", "viewpoint"])
    images = []
    for path in table["path"]:
        with Image.open(folder / path) as image:
            small = image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
            images.append(np.asarray(small))
    return table.reset_index(drop=True), np.array(images)


def carry_out(faces, features: str, maps: str) -> dict:
    """Chapters 02 to 04 in one precision: accuracies, likeness of maps, harm done by masks."""
    table, images = faces
    identity = table["identity"].astype("category").cat.codes.to_numpy()
    labels = {"identity": identity, "gender": (table["gender"] == "male").to_numpy(int)}
    tasks = [Task(name, values) for name, values in labels.items()]
    kept = make_split("random", identity, table["viewpoint"].to_numpy())
    trunks = {name: vgg.load_trunk(name, SIDE) for name in ("imagenet", "synthface")}
    readouts, right = {}, {}
    for name, trunk in trunks.items():
        found = vgg.compute_features(trunk, images, precision=features, progress=False)
        settings = {"initialisations": 2, "learning_rate": 1e-3, "standardise": "scale"}
        trained = train_readouts(found, tasks, kept, **settings, progress=False)
        readouts[name] = trained.readouts
        last = trained.history.query("part == 'validation' and epoch == epoch.max()")
        right[name] = last.groupby("task")["accuracy"].mean()
    rows = np.flatnonzero(table["viewpoint"] == 0)
    targets = {name: values[rows] for name, values in labels.items()}
    names = table["identity"][rows].tolist()
    given = (trunks, readouts, images[rows], targets, names)
    relevance = study.compute_maps(*given, "a_flat", precision=maps, progress=False)
    similarity = compute_similarity(relevance["relevance"].to_numpy()).mean(0)
    kinds = relation(study.models_of(relevance))
    scores = masking.compute_scores(
        *(trunks, readouts, images[rows], targets, relevance["relevance"]),
        levels=LEVELS, baselines=[], precision=features, progress=False,
    )  # fmt: skip
    long = masking.scores_table(scores)
    other = long["source_pretraining"] != long["destination_pretraining"]
    own, others = (
        long[some].groupby("destination_pretraining")["correct"].mean() for some in (~other, other)
    )
    return {
        "accuracy": pd.DataFrame(right),
        "alike": {kind: similarity[kinds == kind].mean() for kind in np.unique(kinds) if kind},
        "gain": others - own,
        "correct": scores["correct"].to_numpy(),
        "maps": relevance["relevance"].to_numpy(),
    }


def test_bfloat16_comes_to_the_conclusions_of_float32(faces):
    exact, rounded = (
        carry_out(faces, *how) for how in (("float32", "float32"), ("bfloat16", "mixed"))
    )
    for one in (exact, rounded):
        print(one["accuracy"], one["alike"], one["gain"], sep="\n")
    assert (exact["maps"] != rounded["maps"]).mean() > 0.9, "nothing was rounded"
    # what learns better
    assert np.abs(exact["accuracy"] - rounded["accuracy"]).max(axis=None) <= 0.1
    # what makes maps differ most: nothing moves as far as two relations lie apart that differ
    assert exact["alike"].keys() == rounded["alike"].keys()
    # (readouts that learn rounded features are others: r moves by up to 0.015)
    for kind, r in exact["alike"].items():
        assert rounded["alike"][kind] == pytest.approx(r, abs=0.02)
    for one, other in itertools.permutations(exact["alike"], 2):
        if exact["alike"][one] - exact["alike"][other] > 0.05:
            assert rounded["alike"][one] > rounded["alike"][other]
    # whose relevance does more harm
    assert (exact["correct"] == rounded["correct"]).mean() > 0.95
    clear = exact["gain"].abs() > 0.02
    assert clear.any()
    assert (np.sign(exact["gain"]) == np.sign(rounded["gain"]))[clear].all()
