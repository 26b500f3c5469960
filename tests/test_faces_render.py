"""Whole pictures: every part in its place, the truth beside the picture consistent with it."""

import functools

import numpy as np
import pytest

from lib.errors import InputError
from lib.faces.assets import load_assets
from lib.faces.glasses import FRAMES
from lib.faces.head import build_head, expression_targets, place_head, sexless
from lib.faces.identity import sample_identity
from lib.faces.labels import PALETTE, PARTS, colour_labels
from lib.faces.light import Lamp, Light
from lib.faces.mesh import load_mesh
from lib.faces.render import _highlight, encode_srgb, render_head, to_grey, tone_curve

SIZE = 112


@functools.cache
def person(seed=11, **kwargs):
    return sample_identity(seed, male=True, age=30, hair_style="crop_side", **kwargs)


@functools.cache
def head(**kwargs):
    return build_head(person(), detail="fast", **kwargs)


@functools.cache
def frontal():
    return render_head(head(), size=SIZE, buffers=True)


def share(labels, part):
    return (labels == PARTS[part]).mean()


def test_frontal_view_shows_every_part():
    labels = frontal().labels
    for part in (
        "background", "skin", "forehead", "brow", "eye", "eyelid", "nose", "lips", "ear", "cheek",
        "chin", "hair", "cloth",
    ):  # fmt: skip
        assert share(labels, part) > 0.0005, part
    assert share(labels, "glasses") == 0 and share(labels, "beard") == 0


def test_parts_are_stacked_as_in_a_face():
    labels = frontal().labels
    rows = {p: np.nonzero(labels == PARTS[p])[0].mean() for p in PARTS if share(labels, p) > 0}
    order = ["hair", "forehead", "brow", "eye", "nose", "lips", "chin", "cloth"]
    assert [rows[p] for p in order] == sorted(rows[p] for p in order)


def test_same_head_same_bytes():
    again = render_head(build_head(person(), detail="fast"), size=SIZE, buffers=True)
    np.testing.assert_array_equal(again.image, frontal().image)
    np.testing.assert_array_equal(again.labels, frontal().labels)


def test_background_is_the_constant_asked_for():
    picture = frontal()
    grey = picture.image[picture.labels == PARTS["background"]]
    # Pixels shared with the head's edge aside, all have the value of linear .21.
    expected = round(float(encode_srgb(np.array(0.21))) * 255)
    assert (grey == expected).mean() > 0.97
    assert picture.image[2, 2] == expected


def test_grey_is_the_luminance_of_colour():
    # One sample per pixel: no averaging between the two.
    grey = render_head(head(), size=SIZE, supersample=1).image
    colour = render_head(head(), size=SIZE, supersample=1, colour=True).image / 255.0
    linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    expected = encode_srgb(linear @ [0.2126, 0.7152, 0.0722]) * 255
    assert np.abs(expected - grey).max() < 2.0


def test_canonical_buffer_is_the_projected_surface():
    picture = frontal()
    known = np.isfinite(picture.canonical).all(2)
    skin = np.isin(picture.labels, [PARTS[p] for p in ("forehead", "cheek", "chin", "nose")])
    assert known[skin].mean() > 0.999
    assert not known[np.isin(picture.labels, [PARTS["background"], PARTS["eye"]])].any()
    # A visible vertex is found again in the pixel it projects to.
    surface = head().surface
    front = np.nonzero((surface.normals[:, 2] > 0.7) & (surface.canonical[:, 2] > 0.9))[0][::7]
    seen = front[picture.visible(surface.points[front], 0.01)]
    xy, _ = picture.project(surface.points[seen])
    column, row = np.floor(xy).astype(int).T
    found = picture.canonical[row, column]
    good = np.isfinite(found).all(1)
    error = np.linalg.norm(found[good] - surface.canonical[seen][good], axis=1)
    # A pixel is 3.0 dm / 112 = .027 dm wide.
    assert good.sum() > 100 and np.median(error) < 0.03 and np.quantile(error, 0.95) < 0.08


def test_left_and_right_are_the_subjects():
    picture = frontal()
    column = np.arange(SIZE)[None, :] + 0.5
    left, right = picture.side > 0, picture.side < 0
    # Facing us, the subject's left is on the picture's right.
    assert (column * left).sum() / left.sum() > SIZE / 2 > (column * right).sum() / right.sum()
    eyes = picture.labels == PARTS["eye"]
    assert (
        (eyes & left).sum() > 3 and (eyes & right).sum() > 3 and not (eyes & ~left & ~right).any()
    )


def test_mirrored_yaw_mirrors_a_symmetric_head():
    # A head without chance in its shape is symmetric; so are the labels of opposite views.
    plain = build_head(
        sample_identity(1, strength=0, moles=(), skin_tone=0.3), hair=None, detail="fast"
    )
    one = render_head(plain, yaw=40, size=SIZE, buffers=True, neckline=0.0)
    two = render_head(plain, yaw=-40, size=SIZE, buffers=True, neckline=0.0)
    skin = [
        PARTS[p] for p in ("skin", "forehead", "cheek", "chin", "nose", "eyelid", "cloth", "ear")
    ]
    here, there = np.isin(one.labels, skin), np.isin(two.labels[:, ::-1], skin)
    both = here & there
    assert (here != there).mean() < 0.01
    assert (one.labels == two.labels[:, ::-1])[both].mean() > 0.985
    known = np.isfinite(one.canonical).all(2) & np.isfinite(two.canonical[:, ::-1]).all(2)
    mirrored = two.canonical[:, ::-1] * np.array([-1, 1, 1], np.float32)
    assert np.median(np.abs(one.canonical - mirrored)[known]) < 0.01


def test_visibility_tells_near_from_far_cheek():
    picture = render_head(head(), yaw=75, size=SIZE)
    surface = head().surface
    cheeks = [
        int(np.linalg.norm(surface.canonical - [s * 0.45, -0.33, 0.93], axis=1).argmin())
        for s in (1, -1)
    ]
    # Turned to the subject's left, the right cheek faces us.
    assert picture.visible(surface.points[cheeks]).tolist() == [False, True]
    outside = np.array([[9.0, 0.0, 0.0]])
    assert not picture.visible(outside)[0]


def test_light_from_a_side_lights_that_side():
    face = np.isin(frontal().labels, [PARTS["cheek"]])
    half = np.arange(SIZE)[None, :] < SIZE / 2
    for light, brighter in (("left", True), ("right", False)):
        image = render_head(head(), size=SIZE, light=light).image
        left, right = image[face & half].mean(), image[face & ~half].mean()
        assert (left > right + 25) == brighter and abs(left - right) > 25


def test_twice_the_light_is_twice_the_irradiance():
    # Below the shoulder of the tone curve light is linear.
    dim = render_head(head(), size=64, supersample=1, light=Light((), 0.2), colour=True).image
    twice = render_head(head(), size=64, supersample=1, light=Light((), 0.4), colour=True).image
    labels = render_head(head(), size=64, supersample=1).labels
    skin = labels == PARTS["forehead"]

    def linear(image):
        values = image[skin] / 255.0
        return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)

    np.testing.assert_allclose(linear(twice).mean(0) / linear(dim).mean(0), 2, rtol=0.02)


def test_jaw_drop_opens_the_mouth():
    open_head = head_with(expression={"jawOpen": 0.6})
    labels = render_head(open_head, size=SIZE).labels
    assert share(labels, "mouth") > 4 * share(frontal().labels, "mouth") + 0.002
    chin = [np.nonzero(x == PARTS["chin"])[0].mean() for x in (frontal().labels, labels)]
    assert chin[1] > chin[0] + 2


def test_blink_hides_the_eyes():
    labels = render_head(head_with(expression={"eyeBlink": 1.0}), size=SIZE).labels
    assert share(labels, "eye") < 0.25 * share(frontal().labels, "eye")


def test_gaze_moves_the_pupils():
    eyes = head_with(expression={"eyeLookInRight": 1.0, "eyeLookOutLeft": 1.0}).eyes
    # To the subject's left.
    assert all(eye.gaze[0] > 0.2 for eye in eyes)
    assert all(abs(eye.gaze[0]) < 0.05 for eye in head().eyes)


def head_with(**kwargs):
    return build_head(person(), detail="fast", **kwargs)


@pytest.mark.parametrize("name", FRAMES)
def test_glasses_frame_the_eyes(name):
    picture = render_head(head_with(glasses=name), size=SIZE, buffers=True)
    frame = picture.labels == PARTS["glasses"]
    assert 0.004 < frame.mean() < 0.06
    eyes = picture.labels == PARTS["eye"]
    assert picture.lens[eyes].mean() > 0.95
    assert not picture.lens[picture.labels == PARTS["chin"]].any()


def test_beard_is_a_part_and_leaves_the_rest():
    picture = render_head(head_with(facial_hair="beard"), size=SIZE)
    assert share(picture.labels, "beard") > 0.02
    upper = slice(0, SIZE // 3)
    np.testing.assert_array_equal(picture.labels[upper], frontal().labels[upper])


def test_no_hair_bares_the_scalp():
    picture = render_head(head_with(hair=None), size=SIZE, buffers=True)
    assert share(picture.labels, "hair") == 0


def test_heads_of_all_people_have_the_same_size():
    mesh = load_mesh()
    face = (mesh.canonical[:, 2] > 0) & (mesh.canonical[:, 1] > -0.9)
    sizes = []
    for seed in range(4):
        points = build_head(
            sample_identity(seed, male=bool(seed % 2)), hair=None, detail="fast"
        ).surface.points[face]
        sizes.append(np.sqrt(((points - points.mean(0)) ** 2).sum(1).mean()))
    assert np.ptp(sizes) < 0.02 * np.mean(sizes)


def test_necks_have_no_sex():
    woman, man = (
        place_head(sample_identity(8, male=m, strength=0).morphs)[0][: load_assets().body_size]
        for m in (0.1, 0.9)
    )
    height = load_mesh().neutral[: load_assets().body_size, 1]
    neck, face = height < -1.45, height > -0.6
    np.testing.assert_allclose(woman[neck], man[neck], atol=1e-9)
    assert np.linalg.norm(woman[face] - man[face], axis=1).mean() > 0.03


def test_sexless_weights_keep_their_sum():
    morphs = sample_identity(8, male=0.9, age=40).morphs
    even = sexless(morphs)
    assert sum(even.values()) == pytest.approx(sum(morphs.values()))
    assert even["macro/asian-male-young"] == pytest.approx(even["macro/asian-female-young"])


def test_neckline_is_drawn_anew_per_view_and_can_be_fixed():
    areas = [
        (render_head(head(), yaw=yaw, size=64).labels == PARTS["cloth"]).sum() for yaw in range(4)
    ]
    assert np.ptp(areas) > 20
    low, high = (
        render_head(head(), size=64, neckline=n).labels == PARTS["cloth"] for n in (-0.1, 0.1)
    )
    assert high.sum() > low.sum()


def test_tone_curve_and_srgb_by_hand():
    np.testing.assert_allclose(tone_curve(np.array([0.2, 0.38])), [0.2, 0.38])
    # .38 + over / (1 + over / .62) with over = .62 is .38 + .31.
    assert tone_curve(np.array(1.0)) == pytest.approx(0.69)
    assert tone_curve(np.array(50.0)) < 1
    np.testing.assert_allclose(encode_srgb(np.array([0.0, 0.0031308, 0.214, 1.0])),
                               [0, 0.04045, 0.5, 1.0], atol=5e-4)  # fmt: skip
    assert to_grey(np.array([1.0, 1.0, 1.0])) == pytest.approx(1)


def test_every_part_has_a_colour():
    assert len(PALETTE) == len(PARTS) == len({tuple(c) for c in PALETTE})
    assert colour_labels(np.array([[PARTS["nose"]]], np.uint8)).tolist() == [[[255, 120, 0]]]


def test_units_of_both_sides():
    assert expression_targets({"mouthSmile": 0.5}) == {
        "unit/mouthSmileLeft": 0.5,
        "unit/mouthSmileRight": 0.5,
    }
    assert expression_targets({"jawOpen": 1}) == {"unit/jawOpen": 1.0}


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: expression_targets({"frown": 1}), "frown"),
        (lambda: head_with(glasses="monocle"), "monocle"),
        (lambda: head_with(facial_hair="wig"), "wig"),
        (lambda: head_with(hair="mullet"), "mullet"),
        (lambda: head_with(lipstick=3), "lipstick"),
        (lambda: build_head(person(), detail="slow"), "slow"),
        (lambda: expression_targets({"jawOpen": None}), "jawOpen in expression is None"),
        (lambda: expression_targets(["jawOpen"]), "mapping"),
        (lambda: head_with(rosy="very"), "rosy is 'very'"),
        (lambda: render_head(head(), size=9000), "9000"),
        (lambda: render_head(head(), size=32.5), "size is 32.5"),
        (lambda: render_head(head(), yaw=float("nan")), "yaw is nan"),
        (lambda: render_head(head(), roll="left"), "roll is 'left'"),
        (lambda: render_head(head(), zoom=9), "zoom is 9"),
        (lambda: render_head(head(), supersample=0), "supersample"),
        (lambda: render_head(head(), background=2), "background"),
        (lambda: render_head(head(), light="moon"), "moon"),
    ],
)
def test_bad_requests_are_refused(call, word):
    with pytest.raises(InputError, match=word):
        call()


def test_highlights_lie_half_way_to_the_lamps():
    light = Light((Lamp((1, 0, 0), 0.7), Lamp((0, 1, 0), 0.2)), 0.0)
    view = np.array([0.0, 0.0, 1.0])
    half = np.sqrt(0.5)
    normals = np.array([[half, 0, half], [0, half, half], [-half, 0, half], [0, 0, -1.0]])
    got, cosine = _highlight(normals, view, light, 200, 1)
    # Where the normal halves the angle between lamp and camera the lamp is mirrored in full; 60
    # degrees off, 200 powers leave nothing.
    np.testing.assert_allclose(got, [0.7, 0.2, 0, 0], atol=1e-9)
    # To the power of 1 it is the cosine: 1 at half way, 1 / 2 at 60 degrees, 0 beyond 90.
    np.testing.assert_allclose(cosine, [0.7 + 0.1, 0.35 + 0.2, 0.1, 0], atol=1e-9)
