"""Exact masks: parts by label and side, action units by a slow loop, attributes in their place."""

import functools

import numpy as np
import pytest

from lib.errors import InputError
from lib.faces.concepts import CONCEPTS, expression_weights
from lib.faces.exact import MOVES, ExactMasks, action_unit_field, shape_field
from lib.faces.head import build_head
from lib.faces.identity import sample_identity
from lib.faces.labels import PARTS
from lib.faces.landmarks import find_landmarks
from lib.faces.mesh import apply_morphs, load_mesh
from lib.faces.render import render_head

SIZE = 72
SIDED = ("eye", "eyebrow", "cheek")


@functools.cache
def shown(yaw=0, **settings):
    """A head, its picture, its exact masks."""
    person = sample_identity(11, male=True, age=30)
    head = build_head(person, hair=None, detail="fast", **settings)
    render = render_head(head, yaw=yaw, size=SIZE, supersample=1, buffers=True)
    return head, render, ExactMasks(render, head)


def parts(render, *names):
    return np.isin(render.labels, [PARTS[name] for name in names])


def centre(mask):
    """Column and row of a mask's middle, pixels."""
    rows, columns = np.nonzero(mask)
    return columns.mean() + 0.5, rows.mean() + 0.5


def test_every_concept_has_a_mask_within_the_head():
    _, render, masks = shown(glasses="round")
    outside = parts(render, "background", "cloth")
    for name in CONCEPTS:
        mask = masks.mask(name)
        assert mask.shape == (SIZE, SIZE) and mask.dtype == bool
        assert mask.any() and mask.mean() < 0.3, name
        if name != "Eyeglasses":
            assert not (mask & outside).any(), name


@pytest.mark.parametrize(
    ("concept", "labels"),
    [
        ("nose", ("nose",)), ("Big_Nose", ("nose",)), ("Pointy_Nose", ("nose",)),
        ("Big_Lips", ("lips",)), ("Wearing_Lipstick", ("lips",)),
        ("mouth", ("lips", "mouth")), ("Mouth_Slightly_Open", ("lips", "mouth")),
        ("Narrow_Eyes", ("eye", "eyelid", "lash")),
    ],
)  # fmt: skip
def test_parts_are_their_labels(concept, labels):
    _, render, masks = shown(expression=_frozen("jawOpen"))
    np.testing.assert_array_equal(masks.mask(concept), parts(render, *labels))


class _frozen(dict):
    """Face units at half strength, as a key of the cache."""

    def __init__(self, *names):
        super().__init__(dict.fromkeys(names, 0.5))

    def __hash__(self):
        return hash(tuple(self))


@pytest.mark.parametrize("yaw", [0, 40, -40])
@pytest.mark.parametrize("part", SIDED)
def test_left_and_right_are_the_subjects(part, yaw):
    head, render, masks = shown(yaw)
    left, right = masks.mask(f"left_{part}"), masks.mask(f"right_{part}")
    assert not (left & right).any()
    both = {
        "eye": parts(render, "eye", "eyelid", "lash"),
        "cheek": parts(render, "cheek"),
        "eyebrow": masks.mask("Arched_Eyebrows"),
    }[part]
    np.testing.assert_array_equal(left | right, both & (render.side != 0))
    assert ((left | right).sum() / both.sum()) > 0.98
    assert centre(left)[0] > centre(right)[0]
    # The half turned towards the camera shows more: at positive yaw that is the right one.
    if yaw:
        assert (left.sum() < right.sum()) == (yaw > 0)
    # Both lie about their landmarks.
    points = find_landmarks(head, render)[:, :2]
    for mask, rows in {
        "eye": ((left, slice(42, 48)), (right, slice(36, 42))),
        "eyebrow": ((left, slice(22, 27)), (right, slice(17, 22))),
        "cheek": (),
    }[part]:
        assert np.abs(centre(mask) - points[rows].mean(0)).max() < 2.5


def test_from_the_front_the_sides_mirror_each_other():
    _, _, masks = shown()
    for part in SIDED:
        left, right = masks.mask(f"left_{part}"), masks.mask(f"right_{part}")[:, ::-1]
        assert (left & right).sum() / (left | right).sum() > 0.7, part


def test_glasses_are_frame_and_lenses_and_nothing_without_them():
    _, render, masks = shown(glasses="round")
    mask = masks.mask("Eyeglasses")
    np.testing.assert_array_equal(mask, parts(render, "glasses") | render.lens)
    eyes = parts(render, "eye")
    assert eyes.sum() >= 6 and mask[eyes].all()
    assert not shown()[2].mask("Eyeglasses").any()


@pytest.mark.parametrize(
    "name", [name for name in CONCEPTS if CONCEPTS[name].kind == "action unit"]
)
def test_fields_are_the_way_that_the_mesh_moves(name):
    field = action_unit_field(name)
    mesh = load_mesh()
    assert field.shape == (len(mesh.canonical),) and field.min() >= 0 and field.max() == 1
    # Half the strength moves everything half as far: the field is a share, and the same.
    weights = expression_weights([name], 0.5)
    points = apply_morphs({k if "/" in k else f"unit/{k}": w for k, w in weights.items()})
    still = apply_morphs({})
    moved = np.linalg.norm(mesh.stencil @ (points - still)[: mesh.stencil.shape[1]], axis=1)
    np.testing.assert_allclose(field, moved / moved.max(), atol=1e-9)
    # Units move both sides alike, and the crown never.
    x, y, _ = mesh.canonical.T
    assert field[y > 0.8].max() < 0.1
    left, right = (field[x * sign > 0.02] > MOVES for sign in (1, -1))
    assert left.mean() == pytest.approx(right.mean(), rel=0.15)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        # Canonical heights, decimetres: brows at .2, lids at 0, tip of the nose at -.34, mouth at
        # -.67, chin at -1.08.
        ("AU_1", 0.0, 0.6), ("AU_2", 0.0, 0.6), ("AU_4", -0.1, 0.6), ("AU_5", -0.1, 0.4),
        ("AU_6", -0.7, 0.3), ("AU_9", -0.7, 0.3), ("AU_12", -1.1, -0.2), ("AU_15", -1.1, -0.4),
        ("AU_17", -1.2, -0.5), ("AU_25", -1.2, -0.4), ("AU_26", -1.5, -0.5),
    ],
)  # fmt: skip
def test_action_units_move_their_part_of_the_face(name, low, high):
    y = load_mesh().canonical[action_unit_field(name) > 0.7, 1]
    assert len(y) > 10 and low < y.min() and y.max() < high


@pytest.mark.parametrize("name", ["AU_2", "AU_12", "Double_Chin"])
def test_moved_pixels_agree_with_the_slow_loop(name):
    _, render, masks = shown()
    field = shape_field("double_chin") if name == "Double_Chin" else action_unit_field(name)
    canonical = load_mesh().canonical
    skin = np.argwhere(np.isfinite(render.canonical[..., 0]))
    head = np.argwhere(~parts(render, "background", "hair", "cloth", "glasses"))
    mask = masks.mask(name)
    inside = head[mask[tuple(head.T)]]
    rng = np.random.default_rng(0)
    found = 0
    for row, column in np.concatenate([rng.permutation(head)[:80], rng.permutation(inside)[:40]]):
        # Eyes, brows and lashes stand for the nearest skin.
        away = ((skin - (row, column)) ** 2).sum(1)
        votes = set()
        for y, x in skin[away == away.min()]:
            distance = np.linalg.norm(canonical - render.canonical[y, x], axis=1)
            three = np.argsort(distance)[:3]
            weight = 1 / np.maximum(distance[three], 1e-6)
            votes.add(bool((field[three] * weight).sum() / weight.sum() > MOVES))
        # Of two that are as near either may be taken.
        assert bool(mask[row, column]) in votes
        found += len(votes) == 1
    assert found > 100 and not mask[parts(render, "background", "cloth")].any()


def test_blush_lies_in_its_ellipses_on_the_cheeks():
    _, render, masks = shown()
    mask = masks.mask("Rosy_Cheeks")
    x, y = render.canonical[mask, 0], render.canonical[mask, 1]
    assert (((np.abs(x) - 0.42) / 0.17) ** 2 + ((y + 0.30) / 0.15) ** 2 < 1).all()
    assert mask[:, : SIZE // 2].any() and mask[:, SIZE // 2 :].any()
    np.testing.assert_array_equal(mask & ~parts(render, "cheek", "skin"), False)


@pytest.mark.parametrize("kind", ["moustache", "goatee", "beard", "stubble"])
def test_facial_hair_is_where_it_grows(kind):
    head, render, masks = shown(facial_hair=kind)
    concept = {
        "moustache": "Mustache", "goatee": "Goatee", "beard": "No_Beard",
        "stubble": "5_o_Clock_Shadow",
    }[kind]  # fmt: skip
    mask, hairs = masks.mask(concept), parts(render, "beard")
    assert hairs.any() and mask[hairs].all()
    lips = parts(render, "lips")
    assert not (mask & lips).any()
    column, row = centre(mask)
    points = find_landmarks(head, render)[:, :2]
    assert abs(column - points[33, 0]) < 2
    upper_lip, chin = points[51, 1], points[8, 1]
    if kind == "moustache":
        assert points[33, 1] - 1 < row < upper_lip + 2
    else:
        assert row > upper_lip
    if kind == "goatee":
        assert row < chin + 2


def test_a_moustache_is_no_goatee_even_on_a_full_beard():
    _, _, masks = shown(facial_hair="beard")
    moustache, goatee, beard = (masks.mask(n) for n in ("Mustache", "Goatee", "No_Beard"))
    assert not (moustache & goatee).any() or (moustache & goatee).sum() < 0.1 * goatee.sum()
    assert (beard & moustache).sum() > 0.7 * moustache.sum()
    assert beard.sum() > moustache.sum() + goatee.sum()


def test_smiling_is_the_mouth_and_the_skin_that_smiles():
    _, _, masks = shown()
    np.testing.assert_array_equal(masks.mask("Smiling"), masks.mask("mouth") | masks.mask("AU_12"))


@pytest.mark.parametrize(
    ("concept", "landmarks"),
    [("Bags_Under_Eyes", (41, 46)), ("High_Cheekbones", (36, 45)), ("Double_Chin", (8,))],
)
def test_shapes_lie_below_their_landmarks(concept, landmarks):
    head, render, masks = shown()
    row = centre(masks.mask(concept))[1]
    points = find_landmarks(head, render)[list(landmarks), 1]
    assert points.mean() - 2 < row < points.mean() + 0.25 * SIZE


def test_where_no_head_is_there_is_no_mask():
    head, _, _ = shown()
    empty = render_head(head, size=16, supersample=1, buffers=True, shift=(40.0, 0.0))
    assert (empty.labels == PARTS["background"]).all()
    masks = ExactMasks(empty, head)
    assert not any(masks.mask(name).any() for name in CONCEPTS)


@pytest.mark.parametrize("name", ["AU_3", "left_ear", "Nose", ""])
def test_unknown_concepts_are_refused(name):
    with pytest.raises(InputError, match="no concept"):
        shown()[2].mask(name)
