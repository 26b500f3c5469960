"""Hair grows where it should, lies outside the skin, keeps its length and can be grown again."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import cKDTree

from lib.errors import InputError
from lib.faces import hair, styles
from lib.faces.mesh import Surface, compute_normals, load_mesh

COUNT = 1500


@pytest.fixture(scope="module")
def surface():
    """The average head, a little wider and longer than its own canonical shape."""
    mesh = load_mesh()
    points = mesh.canonical * np.array([1.04, 1.02, 0.98])
    normals = compute_normals(points, mesh.triangles)
    return Surface(points, normals, mesh.canonical, mesh.triangles, mesh.corner_uv, mesh.ear)


@pytest.fixture(scope="module")
def grown(surface):
    return {
        name: hair.grow_hair(surface, style, np.random.default_rng(3), count=COUNT)
        for name, style in styles.STYLES.items()
    }


def _distance(surface, points):
    """Signed distance to the plane of the nearest vertex: negative inside the skin."""
    away, near = cKDTree(surface.points).query(points)
    height = ((points - surface.points[near]) * surface.normals[near]).sum(-1)
    return away, height, near


def _point_to_skin(surface, points):
    """Distance to the skin, from the planes of the triangles whose centres are nearest."""
    corners = surface.points[surface.triangles]
    near = cKDTree(corners.mean(axis=1)).query(points, k=12)[1]
    a, b, c = (corners[near, i] for i in range(3))
    normal = np.cross(b - a, c - a)
    square = (normal**2).sum(-1)
    to = points[:, None] - a
    v = (np.cross(to, c - a) * normal).sum(-1) / square
    w = (np.cross(b - a, to) * normal).sum(-1) / square
    inside = np.minimum(np.minimum(v, w), 1 - v - w) > -0.05
    height = np.abs((to * normal).sum(-1)) / np.sqrt(square)
    return np.where(inside, height, np.inf).min(axis=1)


def _canonical(surface, points):
    return surface.canonical[cKDTree(surface.points).query(points)[1]]


def _long_enough():
    return [
        n for n, s in styles.STYLES.items() if s.flow != "tied" and s.cut is None and not s.fringe
    ]


@pytest.mark.parametrize("name", styles.STYLES)
def test_roots_lie_on_the_scalp(surface, grown, name):
    roots = grown[name].points[:, 0]
    assert _point_to_skin(surface, roots).max() < 1e-6
    height = hair.hairline(_canonical(surface, roots), styles.STYLES[name])
    # Fluff may start just below the line; a vertex of the mesh is up to .05 dm away.
    assert height.min() > -0.13
    assert np.median(height) > 0.15
    assert surface.ear[cKDTree(surface.points).query(roots)[1]].mean() < 0.02


@pytest.mark.parametrize("name", styles.STYLES)
def test_strands_stay_outside_the_skin(surface, grown, name):
    points = grown[name].points.reshape(-1, 3)
    away, height, near = _distance(surface, points)
    # The planes of the folded ear say nothing about inside and outside.
    judged = (away < 0.15) & (surface.ear[near] < 0.05)
    assert (height[judged] < -0.03).mean() < 0.01
    assert np.isfinite(points).all()


@pytest.mark.parametrize("name", _long_enough())
def test_length_keeps_its_bounds(grown, name):
    style, strands = styles.STYLES[name], grown[name]
    length = np.linalg.norm(np.diff(strands.points, axis=1), axis=2).sum(axis=1)
    longest = max(style.top, style.side, style.back)
    # A helix of radius r and period l is longer than its axis by sqrt(1 + (2 pi r / l)^2).
    curl = np.sqrt(1 + (2 * np.pi * 1.6 * max(style.coil, style.wave) / style.wavelength) ** 2)
    assert length.max() < 1.75 * longest * curl + 0.2
    assert 0.35 * min(style.side, style.top) < np.median(length) < 1.25 * longest * curl


def test_cut_hair_ends_at_one_height(surface):
    style = replace(styles.STYLES["long_straight"], cut=-1.0)
    strands = hair.grow_hair(surface, style, np.random.default_rng(0), count=COUNT)
    lowest = strands.points[:COUNT, :, 1].min(axis=1)
    assert np.percentile(lowest, 1) > -1.15
    assert np.median(lowest) < -0.7


@pytest.mark.parametrize("name", ["buzz", "bob_fringe", "long_curly", "bun"])
def test_same_seed_same_hair(surface, grown, name):
    again = hair.grow_hair(surface, styles.STYLES[name], np.random.default_rng(3), count=COUNT)
    other = hair.grow_hair(surface, styles.STYLES[name], np.random.default_rng(4), count=COUNT)
    for field in ("points", "radius", "tint"):
        np.testing.assert_array_equal(getattr(grown[name], field), getattr(again, field))
    assert np.abs(grown[name].points - other.points).max() > 0.05


@pytest.mark.parametrize(
    "name", ["tied_back", "bun", "top_knot", "slick_back", "long_straight", "bob"]
)
def test_face_stays_open(grown, name):
    """Nothing crosses the box over eyes, nose and mouth."""
    x, y, z = grown[name].points.reshape(-1, 3).T
    assert not ((np.abs(x) < 0.45) & (y < 0.45) & (y > -1.0) & (z > 0.6)).any()


def test_the_open_face_turns_hair_aside(surface):
    """Long hair combed forward falls over the eyes unless the face is kept clear."""
    combed = replace(styles.STYLES["long_straight"], flow="forward")
    crossing = {}
    for clear in (0.0, 1.0):
        style = replace(combed, clear=clear)
        points = hair.grow_hair(surface, style, np.random.default_rng(3), count=COUNT).points
        x, y, z = points.reshape(-1, 3).T
        crossing[clear] = ((np.abs(x) < 0.4) & (y < 0.1) & (y > -0.9) & (z > 0.6)).sum()
    assert crossing[0.0] > 500
    assert crossing[1.0] < 0.02 * crossing[0.0]


def test_fringe_does_cross_the_forehead(grown):
    x, y, z = grown["bob_fringe"].points.reshape(-1, 3).T
    forehead = (np.abs(x) < 0.4) & (y > 0.25) & (y < 0.6) & (z > 0.8)
    assert forehead.sum() > 300
    x, y, z = grown["bob"].points.reshape(-1, 3).T
    assert ((np.abs(x) < 0.4) & (y > 0.25) & (y < 0.6) & (z > 0.8)).sum() < 10


def test_tail_hangs_from_the_tie(surface, grown):
    """All hair passes near the tie; the tail ends below it, behind the neck."""
    style = styles.STYLES["tied_back"]
    points = grown["tied_back"].points[:COUNT]
    knot = points[:, hair._TIED_STEPS - 1]
    assert np.percentile(np.linalg.norm(knot - np.median(knot, axis=0), axis=1), 95) < 0.15
    assert np.median(points[:, -1, 1]) < style.tie[0] - 0.5
    assert np.median(points[:, -1, 2]) < 0


def test_bald_crown_is_bare(surface, grown):
    style = styles.STYLES["bald_crown"]
    top = surface.canonical[(surface.canonical[:, 1] > 0.75)]
    assert hair.scalp_coverage(top, style).max() == 0
    assert hair.scalp_coverage(top, styles.STYLES["buzz"]).mean() > 0.5
    roots = _canonical(surface, grown["bald_crown"].points[:, 0])
    assert (roots[:, 1] < 0.70).all()
    # What is left is a fringe round sides and back.
    azimuth = np.degrees(np.arctan2(np.abs(roots[:, 0]), roots[:, 2] - 0.15))
    assert np.percentile(azimuth, 2) > 45
    assert (azimuth > 140).mean() > 0.15


def test_receding_bares_the_temples_first(surface):
    plain, bared = styles.STYLES["crop_side"], replace(styles.STYLES["crop_side"], recede=0.2)
    loss = hair.hairline(surface.canonical, plain) - hair.hairline(surface.canonical, bared)
    azimuth = np.degrees(
        np.arctan2(np.abs(surface.canonical[:, 0]), surface.canonical[:, 2] - 0.15)
    )
    above = surface.canonical[:, 1] > 0.3
    assert loss[above & (np.abs(azimuth - 32) < 6)].mean() > 0.10
    assert 0.03 < loss[above & (azimuth < 8)].mean() < 0.09
    assert np.abs(loss[azimuth > 90]).max() < 1e-9


def test_front_moves_the_hairline_by_its_amount():
    """On the midline, where the line is level, the signed distance is a height."""
    style = replace(styles.STYLES["buzz"], front=0.0)
    point = np.array([[0.0, 0.8, 0.9]])
    change = hair.hairline(point, style) - hair.hairline(point, replace(style, front=0.05))
    assert change[0] == pytest.approx(0.05, abs=0.004)
    rise = hair.hairline(point + np.array([0, 0.01, 0]), style) - hair.hairline(point, style)
    assert rise[0] == pytest.approx(0.01, abs=0.004)


@pytest.mark.parametrize("name", styles.STYLES)
def test_paint_is_the_same_on_both_sides(surface, name):
    mirror = surface.canonical * np.array([-1, 1, 1])
    style = styles.STYLES[name]
    for paint in (hair.hairline, hair.scalp_coverage):
        np.testing.assert_array_equal(paint(surface.canonical, style), paint(mirror, style))
    cover = hair.scalp_coverage(surface.canonical, style)
    assert cover.min() >= 0 and cover.max() <= 1
    face = (surface.canonical[:, 1] < 0.45) & (surface.canonical[:, 2] > 0.8)
    assert cover[face].max() == 0


@pytest.mark.parametrize("name", styles.BROWS)
def test_brows_lie_on_their_mask(surface, name):
    shape = styles.BROWS[name]
    strands = hair.grow_brows(surface, shape, np.random.default_rng(1))
    middle = strands.points[:, 2]
    at = middle / np.array([1.04, 1.02, 0.98])
    inside = hair.brow_paint(at, shape) > 0.5
    assert inside.mean() > 0.80
    assert _point_to_skin(surface, strands.points[:, 0]).max() < 0.02
    left = middle[:, 0] > 0
    assert left.sum() == len(left) / 2
    mirror = surface.canonical * np.array([-1, 1, 1])
    np.testing.assert_array_equal(
        hair.brow_paint(surface.canonical, shape), hair.brow_paint(mirror, shape)
    )


def test_brow_shapes_differ_as_named(surface):
    x, y = np.meshgrid(np.linspace(0, 0.6, 241), np.linspace(-0.1, 0.5, 241))
    plane = np.stack([x, y, np.full_like(x, 1.0)], axis=-1)
    area, rise = {}, {}
    for name, shape in styles.BROWS.items():
        mask = hair.brow_paint(plane, shape) > 0.5
        area[name] = mask.sum()
        column = [y[mask & (np.abs(x - at) < 0.02)].mean() for at in (0.14, 0.36)]
        rise[name] = column[1] - column[0]
    assert area["bushy"] > 1.5 * area["natural"] > 2.0 * area["thin"]
    assert rise["arched"] > rise["natural"] > rise["straight"]


def test_brow_hairs_converge_and_lean_outward(surface):
    strands = hair.grow_brows(surface, styles.BROWS["natural"], np.random.default_rng(1))
    step = strands.points[:, -1] - strands.points[:, 0]
    out = step[:, 0] * np.sign(strands.points[:, 0, 0])
    side = np.abs(strands.points[:, 0, 0])
    inner, outer = side < 0.16, side > 0.40
    assert out[outer].mean() > 0.02
    assert step[inner, 1].mean() > 0.02 > 0.005 > step[outer, 1].mean()


@pytest.mark.parametrize("kind", styles.FACIAL_HAIR)
def test_facial_hair_grows_on_its_paint(surface, kind):
    paint = hair.facial_hair_paint(surface.canonical, kind)
    strands = hair.grow_facial_hair(surface, kind, np.random.default_rng(2))
    roots = strands.points[:, 0]
    assert _point_to_skin(surface, roots).max() < 1e-6
    near = cKDTree(surface.points).query(roots)[1]
    assert (paint[near] > 0.2).mean() > 0.93
    mirror = surface.canonical * np.array([-1, 1, 1])
    np.testing.assert_allclose(paint, hair.facial_hair_paint(mirror, kind), atol=1e-12)
    _, y, _ = surface.canonical.T
    assert paint[y > 0.1].max() == 0


def test_kinds_of_facial_hair_cover_what_they_are_named_for():
    lip = np.array([[0.10, -0.53, 1.15]])
    chin = np.array([[0.0, -1.0, 1.0]])
    cheek = np.array([[0.58, -0.62, 0.5]])
    expected = {"moustache": (1, 0, 0), "goatee": (0, 1, 0), "beard": (1, 1, 1)}
    for kind, wanted in expected.items():
        found = [hair.facial_hair_paint(p, kind)[0] > 0.5 for p in (lip, chin, cheek)]
        assert tuple(found) == tuple(bool(w) for w in wanted), kind
    np.testing.assert_array_equal(
        hair.facial_hair_paint(cheek, "stubble"), hair.facial_hair_paint(cheek, "beard")
    )


def test_lashes_start_at_the_lid_and_point_away(surface):
    """Quads that stand on flat skin, upward or downward, in any order of corners."""
    at = surface.points[np.argmin(((surface.canonical - [0.0, 0.4, 1.1]) ** 2).sum(1))]
    base = np.array([[-0.05, 0, 0], [0.05, 0, 0]])
    for sign, turn in ((1, 0), (1, 2), (-1, 1), (-1, 3)):
        far = base[::-1] + np.array([0, 0.08 * sign, 0.10])
        quad = np.roll(np.concatenate([base, far]) + at, turn, axis=0)
        strands = hair.grow_lashes(surface, quad[None], np.random.default_rng(0), per_quad=80)
        step = strands.points[:, -1] - strands.points[:, 0]
        assert np.abs(strands.points[:, 0] - at)[:, 1:].max() < 1e-9
        assert (step[:, 2] > 0.04).all()
        assert (step[:, 1] * sign > 0.03).all()


def test_sexes_overlap_in_hair():
    """No length class is more than 30 points more common in one sex: a pixel stays below .65."""
    share = {}
    for male in (0, 1):
        rng = np.random.default_rng(8)
        drawn = [
            styles.sample_style(rng, male, rng.beta(1.3, 2.6), str(rng.choice(styles.TEXTURES)))
            for _ in range(3000)
        ]
        share[male] = np.array(
            [
                np.mean([s.side > 0.85 and s.flow != "tied" for s in drawn]),
                np.mean([s.side < 0.4 for s in drawn]),
                np.mean([s.flow == "tied" for s in drawn]),
            ]
        )
    assert np.abs(share[0] - share[1]).max() < 0.25
    assert min(share[0].min(), share[1].min()) > 0.12


def test_texture_restricts_styles_and_follows_ancestry():
    rng = np.random.default_rng(0)
    coily = {styles.sample_style(rng, 0.5, 0.2, "coily").name for _ in range(400)}
    assert "afro_round" in coily and "long_straight" not in coily
    african = [styles.sample_texture(rng, (0, 0, 1)) for _ in range(2000)]
    asian = [styles.sample_texture(rng, (0, 1, 0)) for _ in range(2000)]
    assert np.mean([t == "coily" for t in african]) == pytest.approx(0.68, abs=0.04)
    assert np.mean([t == "straight" for t in asian]) == pytest.approx(0.82, abs=0.04)
    assert "coily" not in asian


def test_colour_follows_skin_and_greys_with_age():
    rng = np.random.default_rng(0)
    luminance = np.array([0.2126, 0.7152, 0.0722])
    dark = np.array([styles.sample_hair_colour(rng, (0.12, 0.07, 0.05), 0.1) for _ in range(800)])
    fair = np.array([styles.sample_hair_colour(rng, (0.62, 0.45, 0.36), 0.1) for _ in range(800)])
    old = np.array([styles.sample_hair_colour(rng, (0.12, 0.07, 0.05), 1.0) for _ in range(800)])
    assert (dark @ luminance).max() < 0.06
    assert 0.03 < ((fair @ luminance) > 0.15).mean() < 0.25
    asian = np.array(
        [styles.sample_hair_colour(rng, (0.62, 0.45, 0.36), 0.1, (0.1, 0.9, 0)) for _ in range(400)]
    )
    assert (asian @ luminance).max() < 0.06
    assert np.median(old @ luminance) > 0.2
    assert (
        min(c.min() for c in (dark, fair, old)) >= 0
        and max(c.max() for c in (dark, fair, old)) <= 1
    )


@pytest.mark.parametrize(
    ("call", "wrong", "near"),
    [
        (styles.get_style, "bunn", "bun"),
        (styles.get_brow, "bushi", "bushy"),
        (lambda n: hair.facial_hair_paint(np.zeros((1, 3)), n), "mustache", "moustache"),
        (lambda n: styles.sample_style(np.random.default_rng(0), 0, 0, n), "curley", "curly"),
        (lambda n: replace(styles.STYLES["bun"], flow=n), "tide", "tied"),
    ],
)
def test_unknown_names_are_answered_with_the_nearest(call, wrong, near):
    with pytest.raises(InputError, match=f"'{wrong}'.*did you mean '{near}'"):
        call(wrong)


def test_wrong_things_are_refused(surface):
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="hair style is needed"):
        hair.grow_hair(surface, "bun", rng)
    with pytest.raises(InputError, match="eyebrow shape is needed"):
        hair.grow_brows(surface, "bushy", rng)
    with pytest.raises(InputError, match="lash strips"):
        hair.grow_lashes(surface, np.zeros((3, 3)), rng)
