"""Landmarks and concepts: where they are on a face whose geometry is known."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from lib.errors import InputError
from lib.faces.camera import make_camera
from lib.faces.concepts import (
    ACTION_UNITS,
    CONCEPTS,
    EXPRESSIONS,
    concept_ellipse,
    expression_weights,
    get_concept,
)
from lib.faces.ellipse import ellipse_mask
from lib.faces.exact import ExactMasks, action_unit_field
from lib.faces.hair import brow_paint
from lib.faces.head import build_head, expression_targets
from lib.faces.ibug import MIRROR
from lib.faces.identity import average_identity, sample_identity
from lib.faces.labels import PARTS
from lib.faces.landmarks import (
    find_landmarks,
    landmark_points,
    landmark_positions,
    landmark_vertices,
)
from lib.faces.mesh import load_mesh
from lib.faces.render import render_head
from lib.faces.styles import BROWS

SIZE = 112


@pytest.fixture(scope="module")
def head():
    return build_head(average_identity(), hair=None, detail="fast")


@pytest.fixture(scope="module")
def pictures(head):
    """The average head from the front, and turned to its left and right."""
    return {
        yaw: render_head(head, yaw=yaw, size=SIZE, buffers=True, supersample=1)
        for yaw in (-75, 0, 75)
    }


def test_mirror_pairs_left_with_right_places():
    positions = landmark_positions()
    np.testing.assert_allclose(positions[MIRROR] * (-1, 1, 1), positions, atol=1e-9)
    assert (positions[np.arange(68) == MIRROR, 0] == 0).all()


def test_each_landmark_is_a_vertex_near_its_place():
    found = load_mesh().canonical[landmark_vertices()]
    distance = np.linalg.norm(found - landmark_positions(), axis=1)
    # Vertices of the forehead lie .04 dm apart, those of eyes and mouth .01 dm.
    assert distance.max() < 0.03
    assert distance[27:].max() < 0.005
    assert len(set(landmark_vertices())) == 68


def test_landmarks_lie_on_the_parts_they_name(head, pictures):
    landmarks, labels = find_landmarks(head, pictures[0]), pictures[0].labels
    seen = labels[tuple(np.floor(landmarks[:, 1::-1]).astype(int).T)]
    assert set(seen[17:27]) == {PARTS["brow"]}
    assert set(seen[27:36]) <= {PARTS["nose"], PARTS["skin"]}
    assert set(seen[36:48]) <= {PARTS["eye"], PARTS["eyelid"], PARTS["lash"]}
    assert set(seen[61:64]) | set(seen[65:68]) <= {PARTS["lips"], PARTS["mouth"]}
    assert (landmarks[:17, 1].argmax(), landmarks[27:31, 1].argmax()) == (8, 3)
    # A lash may hide a point of the lids.
    assert landmarks[np.r_[17:36, 48:68], 2].all() and landmarks[36:48, 2].sum() >= 8


def test_projection_by_hand(head, pictures):
    points = head.surface.points[landmark_vertices(head.identity.brow)]
    camera = make_camera(75.0, size=SIZE)
    turned = points @ camera.turn.T
    away = camera.distance - turned[:, 2]
    scale = camera.distance / camera.half_height * SIZE / 2 / away
    expected = np.stack([turned[:, 0], camera.centre - turned[:, 1]], 1) * scale[:, None] + SIZE / 2
    np.testing.assert_allclose(find_landmarks(head, pictures[75])[:, :2], expected, atol=1e-3)


def test_the_far_side_of_a_turned_head_is_hidden(head, pictures):
    right, left = [0, 1, 2, 17, 36, 31], [16, 15, 14, 26, 45, 35]
    turned_left = find_landmarks(head, pictures[75])[:, 2]
    turned_right = find_landmarks(head, pictures[-75])[:, 2]
    assert turned_left[right].all() and not turned_left[left].any()
    assert turned_right[left].all() and not turned_right[right].any()


def test_the_jaw_is_seen_where_it_marks_the_edge_of_the_face(head, pictures):
    # The widest part of the cheek hides some of the jaw behind it by less than a pixel.
    points = landmark_points(head)
    frontal = pictures[0]
    assert not frontal.visible(points)[3:14].all()
    assert find_landmarks(head, frontal)[3:14, 2].all()
    # Nothing but the edge of skin: where the hider is hair, the point is hidden.
    hairy = replace(frontal, labels=np.full_like(frontal.labels, PARTS["hair"]))
    np.testing.assert_array_equal(find_landmarks(head, hairy)[:, 2], frontal.visible(points))


def test_brow_landmarks_follow_the_person_s_brows():
    for shape in BROWS.values():
        brow = landmark_positions(shape)[17:27]
        assert (brow_paint(brow, shape)[[1, 2, 3, 6, 7, 8]] > 0.5).all()
    arched, straight = (landmark_positions(BROWS[name])[24, 1] for name in ("arched", "straight"))
    assert arched > straight + 0.03


# --- concepts


def test_the_published_list_of_concepts():
    kinds = [concept.kind for concept in CONCEPTS.values()]
    assert [kinds.count(k) for k in ("action unit", "part", "attribute")] == [12, 8, 18]
    sizes = {"eye": 12, "cheek": 8, "nose": 4, "mouth": 10, "chin": 4}
    regions = [concept.region for concept in CONCEPTS.values()]
    assert {region: regions.count(region) for region in sizes} == sizes
    chin = [name for name, concept in CONCEPTS.items() if concept.region == "chin"]
    assert chin == ["AU_17", "AU_26", "Double_Chin", "Goatee"]


def test_names_are_matched_whole():
    assert get_concept("AU_1").landmarks != get_concept("AU_12").landmarks
    with pytest.raises(InputError, match="AU_1x"):
        get_concept("AU_1x")


def test_landmarks_of_two_sided_concepts_are_mirror_images():
    for concept in CONCEPTS.values():
        groups = [frozenset(group) for group in concept.landmarks]
        mirrored = [frozenset(MIRROR[list(group)]) for group in concept.landmarks]
        if concept.name.startswith("left_"):
            twin = CONCEPTS[concept.name.replace("left", "right")]
            assert mirrored == [frozenset(group) for group in twin.landmarks]
        elif not concept.name.startswith("right_"):
            assert set(mirrored) == set(groups), concept.name


def test_every_action_unit_moves_the_skin_where_it_is_named_for():
    canonical = load_mesh().canonical
    expected = {  # canonical height and |x| of the strongest movement, dm
        "AU_1": (0.2, 0.15), "AU_2": (0.2, 0.45), "AU_5": (0.03, 0.3), "AU_9": (-0.35, 0.15),
        "AU_12": (-0.66, 0.25), "AU_15": (-0.7, 0.25), "AU_17": (-0.85, 0.0), "AU_26": (-0.9, 0.1),
    }  # fmt: skip
    for name, (height, side) in expected.items():
        most = canonical[action_unit_field(name) > 0.9]
        centre = np.abs(most[:, :2]).mean(axis=0) * (1, np.sign(most[:, 1].mean()))
        assert centre == pytest.approx((side, height), abs=0.22), name


def test_no_two_action_units_are_on_the_same_faces():
    faces = {
        unit: {e for e, units in EXPRESSIONS.items() if unit in units} for unit in ACTION_UNITS
    }
    assert len({frozenset(names) for names in faces.values()}) == len(ACTION_UNITS)


def test_the_mouth_is_open_in_the_expressions_that_part_the_lips():
    for name, units in EXPRESSIONS.items():
        weights = expression_weights(units, 0.75)
        face = build_head(average_identity(), hair=None, detail="fast", expression=weights)
        # Decimetres; three millimetres are a few pixels of dark in a picture of 224.
        assert (face.mouth_open > 0.02) == ("AU_25" in units), name


def test_expressions_use_every_action_unit_twice_and_known_face_units():
    used = [unit for units in EXPRESSIONS.values() for unit in units]
    assert all(used.count(unit) >= 2 for unit in ACTION_UNITS)
    for units in EXPRESSIONS.values():
        weights = expression_weights(units)
        assert len(expression_targets(weights)) == len(weights)
    assert expression_weights(["AU_12", "AU_26"], 0.5) == {
        "mouthSmileLeft": 0.45, "mouthSmileRight": 0.45, "jawOpen": 0.21,
    }  # fmt: skip


def test_exact_masks_of_parts_are_their_labels(head, pictures):
    picture = pictures[0]
    masks = ExactMasks(picture, head)
    for name, parts in (("nose", ["nose"]), ("mouth", ["lips", "mouth"])):
        wanted = np.isin(picture.labels, [PARTS[p] for p in parts])
        np.testing.assert_array_equal(masks.mask(name), wanted)
    half = SIZE // 2
    for part in ("eye", "eyebrow", "cheek"):
        left, right = masks.mask(f"left_{part}"), masks.mask(f"right_{part}")
        # The subject's left is on the right of the image; the average face is symmetric.
        assert left.sum() > 20 and not left[:, :half].any() and not right[:, half:].any()
        assert np.logical_xor(left, right[:, ::-1]).sum() < 0.25 * left.sum()


def test_the_far_cheek_of_a_turned_head_has_no_mask(head, pictures):
    masks = ExactMasks(pictures[75], head)
    assert masks.mask("right_cheek").sum() > 50
    assert masks.mask("left_cheek").sum() < 5


def test_action_unit_mask_is_where_the_picture_s_skin_moves(head, pictures):
    """The mask of AU 12 against the movement measured between two renders."""
    smiling = build_head(
        average_identity(), hair=None, detail="fast", expression=expression_weights(["AU_12"])
    )
    moved = np.linalg.norm(smiling.surface.points - head.surface.points, axis=1)
    mask = ExactMasks(pictures[0], head).mask("AU_12")
    xy, _ = pictures[0].project(head.surface.points)
    seen = pictures[0].visible(head.surface.points, tolerance=0.01)
    column, row = np.floor(xy[seen]).astype(int).T
    inside = mask[row, column]
    share = moved[seen] / moved.max()
    assert share[inside].mean() > 0.45 and share[~inside].mean() < 0.08
    assert inside[share > 0.5].mean() > 0.9 and not inside[share < 0.2].mean() > 0.02


def test_glasses_cover_frame_and_lenses_and_beards_the_painted_skin():
    person = sample_identity(3, male=True)
    head = build_head(person, glasses="round", facial_hair="goatee", detail="fast")
    picture = render_head(head, size=SIZE, buffers=True, supersample=1)
    masks = ExactMasks(picture, head)
    landmarks = find_landmarks(head, picture)
    glasses, goatee = masks.mask("Eyeglasses"), masks.mask("Goatee")
    for eye in (range(36, 42), range(42, 48)):
        x, y = landmarks[list(eye), :2].mean(axis=0).astype(int)
        assert glasses[y, x]
    x, y = landmarks[[8, 57], :2].mean(axis=0).astype(int)
    assert goatee[y, x] and not glasses[y, x]
    beard = picture.labels == PARTS["beard"]
    assert beard.sum() > 20 and goatee[beard].all()


def test_concept_ellipse_is_the_union_over_visible_groups():
    rng = np.random.default_rng(2)
    landmarks = np.column_stack([rng.uniform(10, 90, (68, 2)), np.ones(68)])
    right, left = CONCEPTS["AU_5"].landmarks
    one, two = (ellipse_mask(landmarks[list(group), :2], (96, 96)) for group in (right, left))
    np.testing.assert_array_equal(concept_ellipse("AU_5", landmarks, (96, 96)), one | two)
    landmarks[list(left), 2] = 0
    np.testing.assert_array_equal(concept_ellipse("AU_5", landmarks, (96, 96)), one)
    landmarks[:, 2] = 0
    np.testing.assert_array_equal(concept_ellipse("AU_5", landmarks, (96, 96)), one | two)


def test_an_empty_picture_has_empty_masks(head):
    empty = SimpleNamespace(
        labels=np.zeros((8, 8), np.uint8),
        side=np.zeros((8, 8), np.int8),
        lens=np.zeros((8, 8), bool),
        canonical=np.full((8, 8, 3), np.nan, np.float32),
    )
    masks = ExactMasks(empty, head)
    assert not any(masks.mask(name).any() for name in CONCEPTS)
