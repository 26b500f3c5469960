"""The Face Dictionary: balance of its design, its masks, and a reader's own."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lib.errors import InputError
from lib.faces.concepts import CONCEPTS, EXPRESSIONS, NON_LOCAL, concept_ellipse
from lib.faces.design import FACTORS, plackett_burman, plan_dictionary, render_dictionary
from lib.faces.dictionary import load_dictionary, summarise_balance, summarise_concepts
from lib.faces.ellipse import ellipse_mask, intersection_over_union
from lib.faces.exact import ExactMasks
from lib.faces.landmarks import find_landmarks
from lib.faces.scenes import DICTIONARY_SEEDS
from lib.faces.setfolder import check_sums

SHIPPED = Path(__file__).resolve().parents[1] / "data" / "faces" / "dictionary"
IMAGES = 5


@pytest.fixture(scope="module")
def plan():
    return plan_dictionary()


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dictionary") / "set"
    return render_dictionary(
        folder, processes=1, images=IMAGES, size=48, supersample=1, quality=None
    )


# --- the design


def test_any_two_factors_of_the_design_are_independent():
    design = plackett_burman()
    assert design.shape == (12, 11) and (design.sum(axis=0) == 6).all()
    for a, b in combinations(range(11), 2):
        pairs = design[:, a] * 2 + design[:, b]
        assert np.bincount(pairs, minlength=4).tolist() == [3, 3, 3, 3]


def test_non_local_concepts_are_crossed_completely(plan):
    groups = pd.DataFrame([entry.groups for entry in plan])
    counts = groups.value_counts()
    assert len(counts) == 4 * 2 * 4 * 2 and (counts == 14).all()
    for start in (0, 64, 448):
        assert (groups[start : start + 64].value_counts() == 1).all()
    for entry in plan:
        low, high = {"0-20": (10, 20), "20-40": (20, 40), "40-60": (40, 60), "60+": (60, 85)}[
            entry.groups["age"]
        ]
        assert low <= entry.scene.age <= high


def test_every_concept_has_eighty_images_with_and_without(plan):
    carried = pd.Series([name for entry in plan for name in entry.carries]).value_counts()
    assert set(carried.index) == set(CONCEPTS)
    assert carried.min() >= 80 and (len(plan) - carried).min() >= 80


def test_shape_attributes_are_balanced_within_every_group_of_people(plan):
    table = pd.DataFrame(
        [{**entry.groups, **{name: name in entry.carries for name in FACTORS}} for entry in plan]
    )
    counts = table.groupby(list(NON_LOCAL))[list(FACTORS)].sum()
    assert (counts == 6).all(axis=None)


def test_what_is_carried_is_what_is_built(plan):
    for entry in plan:
        scene = entry.scene
        assert ("Eyeglasses" in entry.carries) == (scene.glasses is not None)
        assert ("Big_Nose" in entry.carries) == ("big_nose" in scene.attributes)
        assert ("Wearing_Lipstick" in entry.carries) == (scene.lipstick > 0)
        assert ("Goatee" in entry.carries) == (scene.facial_hair == "goatee")
        assert ("AU_26" in entry.carries) == ("jawOpen" in scene.expression)
        assert "No_Beard" not in entry.carries or scene.facial_hair is None
        assert scene.male or scene.facial_hair is None
        assert scene.age >= 17 or (scene.facial_hair is None and scene.lipstick == 0)


def test_a_smile_and_an_open_mouth_are_their_action_units(plan):
    for entry in plan:
        assert ("Smiling" in entry.carries) == ("AU_12" in entry.carries)
        assert ("Mouth_Slightly_Open" in entry.carries) == ("AU_25" in entry.carries)


def test_people_are_all_different_and_seeds_change_them(plan):
    seeds = [entry.scene.seed for entry in plan]
    assert len(set(seeds)) == len(plan) and set(seeds) <= set(DICTIONARY_SEEDS)
    other = plan_dictionary(seed=1)
    assert not set(seeds) & {entry.scene.seed for entry in other}
    assert plan_dictionary() == plan


# --- masks


def test_masks_come_back_as_they_were_rendered(rendered, plan):
    entry = plan_dictionary()[2]
    head = entry.scene.build()
    render = entry.view.render(head, size=48, supersample=1, buffers=True)
    np.testing.assert_array_equal(rendered.images([2])[0], render.image)
    exact = ExactMasks(render, head)
    landmarks = find_landmarks(head, render)
    for name in CONCEPTS:
        mask = exact.mask(name) if name in entry.carries else np.zeros((48, 48), bool)
        seen = mask.mean() >= 0.0008
        assert rendered.has(name)[2] == seen
        np.testing.assert_array_equal(rendered.mask(name, 2), mask & seen)
        ellipse = concept_ellipse(name, landmarks.round(1), (48, 48)) & seen
        # The manifest keeps a tenth of a pixel.
        assert (rendered.ellipse_mask(name, 2) != ellipse).sum() <= 2
    assert check_sums(rendered.faces.root) == 1 + 3 + 2 * IMAGES


def test_masks_follow_the_size_that_is_asked_for(rendered):
    small, large = rendered.mask("nose", 0), rendered.mask("nose", 0, size=96)
    np.testing.assert_array_equal(large[::2, ::2], small)
    assert rendered.ellipse_mask("nose", 0, size=96).sum() == pytest.approx(
        4 * rendered.ellipse_mask("nose", 0).sum(), rel=0.15
    )


def test_grey_and_colour_come_from_the_same_faces(rendered):
    colour, grey = rendered.images(), rendered.images(colour=False)
    assert colour.shape == (IMAGES, 48, 48, 3) and grey.shape == (IMAGES, 48, 48)
    luma = colour @ np.array([0.299, 0.587, 0.114])
    assert np.abs(luma - grey).max() <= 1


def test_summaries_by_hand(rendered):
    table = summarise_concepts(rendered).set_index("concept")
    exact, ellipse = rendered.masks(0), rendered.ellipse_mask("nose", 0)
    assert exact.shape == (48, 48, 38)
    overlaps = []
    for i in np.flatnonzero(rendered.has("nose")):
        a, b = rendered.mask("nose", i), rendered.ellipse_mask("nose", i)
        overlaps.append((a & b).sum() / (a | b).sum())
    assert table.loc["nose", "iou"] == pytest.approx(np.mean(overlaps))
    assert (table["with"] + table["without"] == IMAGES).all()
    assert ellipse.any()
    balance = summarise_balance(rendered)
    assert balance.groupby(["first", "second"])["images"].sum().eq(IMAGES).all()
    assert rendered.group("gender").tolist() == rendered.table["gender"].tolist()
    assert set(rendered.group("age")) <= set(NON_LOCAL["age"])


# --- the shipped set


def test_the_shipped_dictionary_is_whole_and_can_be_rendered_again(plan):
    check_sums(SHIPPED)
    dictionary = load_dictionary(SHIPPED)
    assert len(dictionary) == len(plan) == 896
    assert len(CONCEPTS) == 38
    for name in CONCEPTS:
        assert 80 <= dictionary.has(name).sum() <= 896 - 80, name
    groups = dictionary.table[["age_group", "gender", "ethnicity", "skin_tone"]]
    assert (groups.value_counts() == 14).all()
    for k in (0, 450):
        entry = plan[k]
        head = entry.scene.build()
        render = entry.view.render(head, size=224, buffers=True)
        error = np.abs(render.image.astype(int) - dictionary.images([k])[0])
        # The pictures are compressed with loss; their masks are not.
        assert error.mean() < 2
        exact = ExactMasks(render, head)
        for name in ("nose", "mouth", "No_Beard", "AU_25"):
            carried = name in entry.carries
            assert dictionary.has(name)[k] == carried
            if carried:
                assert (dictionary.mask(name, k) != exact.mask(name)).mean() < 0.002
    # Seen from the front, an open mouth is labelled open, and no other is.
    table = dictionary.table
    front = (table["viewpoint"].abs() < 20).to_numpy()
    opened = table["expression"].map(lambda name: "AU_25" in EXPRESSIONS[name]).to_numpy()
    np.testing.assert_array_equal(dictionary.has("Mouth_Slightly_Open")[front], opened[front])


# --- a reader's own


@pytest.fixture
def own(tmp_path, rendered):
    """Two images, three concepts, no exact masks, ages in years."""
    first, second = rendered.faces.table["path"][:2]
    for name in (first, second):
        target = tmp_path / name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes((rendered.faces.root / name).read_bytes())
    points = np.full((2, 68, 3), 1.0)
    points[:, :, :2] = np.random.default_rng(0).uniform(5, 40, (2, 68, 2))
    header = ",".join(f"{axis}{k}" for k in range(68) for axis in "xyv")
    rows = [",".join(str(v) for v in row.ravel()) for row in points]
    (tmp_path / "landmarks.csv").write_text(
        f"path,{header}\n{first},{rows[0]}\n{second},{rows[1]}\n", encoding="utf-8"
    )
    text = f"path,identity,age,nose,Smiling,AU_1\n{first},a,20,1,0,1\n{second},b,61.5,0,0,1\n"
    (tmp_path / "manifest.csv").write_text(text, encoding="utf-8")
    return tmp_path, points


def test_a_dictionary_of_one_s_own(own):
    folder, points = own
    dictionary = load_dictionary(folder)
    assert dictionary.concepts == ["AU_1", "nose"] and not dictionary.has_exact_masks
    assert dictionary.has("nose").tolist() == [True, False]
    assert not dictionary.has("Goatee").any()
    assert dictionary.group("age").tolist() == ["20-40", "60+"]
    nose = list(CONCEPTS["nose"].landmarks[0])
    np.testing.assert_array_equal(
        dictionary.ellipse_mask("nose", 0), ellipse_mask(points[0, nose, :2], (48, 48))
    )
    assert not dictionary.ellipse_mask("nose", 1).any()
    with pytest.raises(InputError, match="no exact masks"):
        dictionary.mask("nose", 0)
    with pytest.raises(InputError, match="no column 'ethnicity'"):
        dictionary.group("ethnicity")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("nose", "nosee", "did you mean 'nose'"),
        (",1,0,1\n", ",2,0,1\n", "'nose' holds something other"),
        ("nose,Smiling,AU_1", "x0,y0,v0", "carries no concept"),
    ],
)
def test_bad_manifests_of_one_s_own(own, old, new, message):
    folder, _ = own
    path = folder / "manifest.csv"
    path.write_text(path.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        load_dictionary(folder)


def test_a_dictionary_needs_landmarks(own):
    folder, _ = own
    (folder / "landmarks.csv").unlink()
    with pytest.raises(InputError, match="no landmarks"):
        load_dictionary(folder)


@pytest.mark.parametrize("shape", [(90, 60), (60, 90), (60, 60)])
def test_masks_without_landmarks_lie_where_their_images_do(tmp_path, shape):
    """Of a picture that is no square the same part is cut: what is bright there is the concept."""
    codes = np.zeros(shape, np.uint16)
    codes[shape[0] // 2 - 9 : shape[0] // 2 + 12, shape[1] // 2 - 18 : shape[1] // 2 + 3] = 1
    Image.fromarray((codes * 255).astype(np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(codes).save(tmp_path / "a_mask.png")
    (tmp_path / "codebook.csv").write_text("code,nose\n0,0\n1,1\n")
    (tmp_path / "manifest.csv").write_text("path,identity,mask_path,nose\na.png,a,a_mask.png,1\n")
    dictionary = load_dictionary(tmp_path)
    assert dictionary.has_exact_masks and not dictionary.has_landmarks
    for size in (20, 60, 120):
        mask = dictionary.mask("nose", 0, size)
        image = dictionary.images([0], size=size, colour=False)[0]
        assert mask.sum() == pytest.approx(21 * 21 * (size / 60) ** 2, rel=0.05)
        np.testing.assert_array_equal(mask, image > 127)
    with pytest.raises(InputError, match="no landmarks"):
        dictionary.ellipse_mask("nose", 0, 20)


def test_landmarks_of_another_scheme_are_refused(own):
    folder, _ = own
    path = folder / "landmarks.csv"
    lines = [line.split(",")[: 1 + 3 * 5] for line in path.read_text().splitlines()]
    path.write_text("\n".join(map(",".join, lines)) + "\n")
    with pytest.raises(InputError, match=r"has 5 landmarks per image.*68 of iBUG"):
        load_dictionary(folder)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("skin_tone", "light", "'light' is no group of skin_tone: use bright, dark"),
        ("age", "young", "'age' holds something other than years.*'age_group'"),
        ("age_group", "60-80", "'60-80' is no group of age"),
    ],
)
def test_groups_that_do_not_exist_are_refused_and_not_left_out(own, column, value, message):
    folder, _ = own
    table = pd.read_csv(folder / "manifest.csv")
    table[column] = [value, None]
    table.to_csv(folder / "manifest.csv", index=False)
    with pytest.raises(InputError, match=message):
        load_dictionary(folder)
    table[column] = None
    table.to_csv(folder / "manifest.csv", index=False)
    assert load_dictionary(folder).group(column.removesuffix("_group")).tolist() == ["", ""]


def test_a_damaged_codebook_is_named(rendered, tmp_path):
    for path in rendered.faces.root.rglob("*"):
        if path.is_file():
            target = tmp_path / path.relative_to(rendered.faces.root)
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(path.read_bytes())
    book = tmp_path / "codebook.csv"
    lines = book.read_text(encoding="utf-8").splitlines()
    book.write_text("\n".join(lines[:2]) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match="lacks"):
        load_dictionary(tmp_path).masks(0)
    book.write_text("\n".join(["code,hat", *lines[1:]]) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match="no codebook"):
        load_dictionary(tmp_path)


def test_more_images_than_planned_are_refused(tmp_path):
    with pytest.raises(InputError, match="images is 5000"):
        render_dictionary(tmp_path / "set", images=5000)


def test_the_ellipse_of_a_moustache_lies_on_the_upper_lip(root):
    shipped = load_dictionary(root / "data/faces/dictionary")
    rows = np.flatnonzero(shipped.has("Mustache"))[::4]
    overlaps = [
        intersection_over_union(shipped.mask("Mustache", i), shipped.ellipse_mask("Mustache", i))
        for i in rows
    ]
    assert np.mean(overlaps) > 0.25
