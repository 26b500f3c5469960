"""The page Scale: its texts are those of the measurements, its sums are right."""

import pandas as pd
import pytest

from benchmarks import scale


def growth_of(seconds, peaks, work=(10, 20, 40)):
    rows = {"stage": "masking", "grows": "faces", "number": work, "work": work}
    rows |= {"seconds": seconds, "peak_mb": peaks, "base_mb": 100.0, "size": 32}
    return pd.DataFrame(rows)


def test_a_straight_line_is_found_and_a_bend_is_told():
    straight = scale.fit(growth_of([3.0, 5.0, 9.0], [100.0, 100.0, 101.0]))
    assert straight["each"] == pytest.approx(0.2) and straight["off"] == pytest.approx(0, abs=1e-9)
    assert straight["grew"] == 4 and straight["memory"] == pytest.approx(1.01)
    assert straight["added"] == pytest.approx(1)
    bent = scale.fit(growth_of([1.0, 4.0, 16.0], [100.0, 200.0, 400.0]))
    assert bent["off"] > 0.05 and bent["memory"] == 4


def test_memory_of_a_face_is_the_slope_of_the_peaks():
    # 1024 pixels, 20 bytes each
    peaks = [100 + n * 1024 * 20 / 2**20 for n in (10, 20, 40)]
    assert scale.grown_memory(growth_of([1.0, 2.0, 3.0], peaks)) == pytest.approx(20)
    assert scale.grown_memory(growth_of([1.0, 2.0, 3.0], [100.0, 99.0, 98.0])) == 0


def test_what_a_study_costs_worked_by_hand():
    results = pd.DataFrame(
        {
            "name": [
                *("lrp_float32_vs_zennit", "masking_vs_bare_forward", "masking_vs_bare_forward"),
                "features_vs_bare_convolutions",
            ],
            "ours": [2.0, 8.0, 16.0, 8.0],
            "unit": [
                *("maps/s, a_flat, 224 px", "images/s, 224 px, float32", "images/s, 64 px"),
                "images/s, 224 px, float32",
            ],
            "machine": [
                *("slow, 2 cores", "slow, 4 cores, AVX512"),
                *("slow, 4 cores",),
                "x, 2 cores",
            ],
        }
    )
    found = scale.cost(results, pd.Series({"cores": 10}))
    study = found[(found["networks"] == 20) & (found["faces"] == 101)].iloc[0]
    # 1 map, 2 masked faces and 4 features a second and core
    assert study["maps"] == 2020 and study["masked faces"] == 122 * 101 * 2
    assert study["features"] == 3030
    assert study["core hours"] == pytest.approx((2020 + 24644 / 2 + 3030 / 4) / 3600)
    assert study["node hours"] == pytest.approx(study["core hours"] / 10)
    assert study["scores, TB"] == pytest.approx(20 * 20 * 8 * 101 / 1e12)
    assert study["maps, TB"] == pytest.approx(2020 * 224 * 224 * 4 / 1e12)


def test_readouts_of_as_many_people_as_faces_outgrow_the_trunk():
    """Two networks, one for ten people and one for either gender."""
    found = scale.weights_of_readouts(2, 10)
    assert found["bytes"] == 25_088 * 12 * 4
    # multiplications of VGG-16's thirteen convolutions at 224 pixels
    widths = [(3, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 256)]
    widths += [(256, 512), (512, 512), (512, 512), (512, 512), (512, 512), (512, 512)]
    sides = [224, 224, 112, 112, 56, 56, 56, 28, 28, 28, 14, 14, 14]
    trunk = sum(9 * a * b * side**2 for (a, b), side in zip(widths, sides, strict=True))
    assert found["share"] == pytest.approx(25_088 * 12 / trunk, rel=0.01)


def test_the_page_says_what_the_tables_of_measurements_say():
    for name, text in scale.write(**scale.read_tables()).items():
        assert (scale.PAGE / f"{name}.txt").read_text(encoding="utf-8") == text
        assert f"scale/{name}.txt" in (scale.PAGE.parent / "scale.md").read_text(encoding="utf-8")
