"""The door for face images: what goes in comes out, and each kind of bad input is named."""

import hashlib
import os
import struct
import tracemalloc
import unicodedata
import zlib

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lib.errors import InputError
from lib.faces.dataset import load_faces, summarise_faces, write_manifest
from lib.faces.dictionary import load_dictionary
from lib.faces.imagefile import open_image, read_numbers


def save(path, level=100, size=(8, 8), mode="L", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, level).save(path, **options)
    return path


@pytest.fixture
def folder(tmp_path):
    """Two people, three views; the grey level of each image is its own."""
    root = tmp_path / "faces"
    for k, name in enumerate(["anna", "bo"]):
        for j, view in enumerate(["yaw-045", "yaw+000", "yaw+045"]):
            save(root / name / f"a_{view}.png", 10 * (3 * k + j) + 5)
    return root


def manifest(root, text, name="manifest.csv", encoding="utf-8"):
    (root / name).write_bytes(text.encode(encoding))
    return root / name


def refusal(source, *words, **options):
    """The sentence with which the source is refused; it names every word, in one line."""
    with pytest.raises(InputError) as caught:
        load_faces(source, **options)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, f"{word!r} not in {message!r}"
    return message


# --- what goes in comes out


def test_folder_gives_identity_view_and_pixels(folder):
    faces = load_faces(folder)
    assert list(faces.table["path"][:2]) == ["anna/a_yaw+000.png", "anna/a_yaw+045.png"]
    assert list(faces.table["identity"]) == ["anna"] * 3 + ["bo"] * 3
    assert list(faces.table["viewpoint"]) == [0, 45, -45, 0, 45, -45]
    assert faces.table["gender"].isna().all()
    images = faces.images()
    assert images.shape == (6, 8, 8) and images.dtype == np.uint8
    assert list(images[:, 3, 3]) == [15, 25, 5, 45, 55, 35]
    data = (folder / "bo/a_yaw+045.png").read_bytes()
    assert faces.table["sha256"].iloc[4] == hashlib.sha256(data).hexdigest()


def test_manifest_gives_gender_view_and_attributes(folder):
    text = (
        "path,identity,gender,viewpoint,age,hair\n"
        "anna/a_yaw+000.png,anna,F,0,31.5,bob\n"
        "bo/a_yaw+045.png,bo,male,-30,,\n"
    )
    table = load_faces(manifest(folder, text)).table
    assert list(table["gender"]) == ["female", "male"]
    assert list(table["viewpoint"]) == [0, -30]
    assert table["age"].iloc[0] == 31.5 and np.isnan(table["age"].iloc[1])
    assert table["hair"].iloc[0] == "bob" and pd.isna(table["hair"].iloc[1])


def test_selections_and_batches_agree_with_the_whole(folder):
    faces = load_faces(folder, size=4)
    whole = faces.images()
    assert whole.shape == (6, 4, 4)
    np.testing.assert_array_equal(faces.images([5, 0]), whole[[5, 0]])
    np.testing.assert_array_equal(faces.images(slice(1, 3)), whole[1:3])
    chosen = faces.table["identity"] == "bo"
    np.testing.assert_array_equal(faces.images(chosen), whole[3:])
    rows, batches = zip(*faces.iter_batches(4), strict=True)
    assert [len(r) for r in rows] == [4, 2]
    np.testing.assert_array_equal(np.concatenate(batches), whole)


def test_colour_of_a_grey_image_has_equal_channels_and_luma_follows_rec_601(tmp_path):
    save(tmp_path / "a/x.png", (200, 100, 50), mode="RGB")
    save(tmp_path / "b/x.png", 77)
    faces = load_faces(tmp_path)
    np.testing.assert_array_equal(faces.images(colour=True)[:, 0, 0], [[200, 100, 50], [77] * 3])
    luma = round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)
    assert list(faces.images()[:, 0, 0]) == [luma, 77]


def test_a_wide_image_is_cropped_about_its_centre_and_landmarks_follow(tmp_path):
    pixels = np.zeros((20, 40), np.uint8)
    pixels[:, 20:] = 255
    (tmp_path / "a").mkdir()
    Image.fromarray(pixels).save(tmp_path / "a/x.png")
    text = "path,identity,x0,y0,v0,x1,y1,v1\na/x.png,a,20,10,1,12,4,0\n"
    faces = load_faces(manifest(tmp_path, text))
    image = faces.images(size=10)[0]
    np.testing.assert_array_equal(image[:, :4], 0)
    np.testing.assert_array_equal(image[:, 6:], 255)
    np.testing.assert_allclose(faces.landmarks(size=10)[0], [[5, 5, 1], [1, 2, 0]])


def test_three_forms_of_landmarks_agree(folder):
    names = ["anna/a_yaw+000.png", "bo/a_yaw+045.png"]
    base = "path,identity\n" + "".join(f"{n},{n.split('/')[0]}\n" for n in names)
    values = np.array([[[1, 2, 1], [3.5, 4, 0]], [[5, 6, 1], [np.nan, np.nan, 0]]])
    wide = "path,x0,y0,v0,x1,y1,v1\n" + f"{names[1]},5,6,1,,,0\n{names[0]},1,2,1,3.5,4,0\n"
    long = f"path,point,x,y,visible\n{names[0]},0,1,2,1\n{names[0]},1,3.5,4,0\n{names[1]},0,5,6,1\n"
    inline = (
        f"path,identity,x0,y0,v0,x1,y1,v1\n{names[0]},anna,1,2,1,3.5,4,0\n{names[1]},bo,5,6,1,,,0\n"
    )
    for extra in (wide, long):
        manifest(folder, extra, "landmarks.csv")
        np.testing.assert_allclose(load_faces(manifest(folder, base)).landmarks(), values)
    (folder / "landmarks.csv").unlink()
    np.testing.assert_allclose(load_faces(manifest(folder, inline)).landmarks(), values)


def test_landmarks_beside_a_folder_are_read(folder):
    """What scripts/detect_landmarks.py writes into a folder without a manifest."""
    text = "path,x0,y0,v0\nbo/a_yaw+000.png,5,6,1\nanna/a_yaw-045.png,,,0\n"
    manifest(folder, text, "landmarks.csv")
    faces = load_faces(folder)
    rows = list(faces.table["path"])
    wanted = np.full((6, 1, 3), (np.nan, np.nan, 0))
    wanted[rows.index("bo/a_yaw+000.png")] = 5, 6, 1
    np.testing.assert_allclose(faces.landmarks(), wanted)
    assert faces.ignored == ()
    manifest(folder, "path,x0,y0,v0\nbo/none.png,1,2,1\n", "landmarks.csv")
    refusal(folder, "landmarks.csv", "line 2", "bo/none.png")


@pytest.mark.parametrize(
    ("ends", "views"),
    [
        (("-45", "0", "45"), (-45, 0, 45)),
        (("_-105", "_+000", "_+105deg"), (-105, 0, 105)),
        (("-01", "-02", "-00"), None),
        (("001", "002", "000"), None),
        (("-45", "0", "30"), None),
        (("-450", "0", "450"), None),
        (("-45", "0", "45b"), None),
        (("-0", "0", "_0"), None),
        (("_yaw30", "-30", "0"), (30, None, None)),
    ],
)
def test_angles_at_the_end_of_every_name_are_viewpoints_and_numbering_is_none(
    tmp_path, ends, views
):
    for k, name in enumerate(("anna", "bo")):
        for j, end in enumerate(ends):
            save(tmp_path / name / f"face{end}.png", 10 * (3 * k + j))
    table = load_faces(tmp_path).table.set_index("path")["viewpoint"]
    for name in ("anna", "bo"):
        found = [table[f"{name}/face{end}.png"] for end in ends]
        np.testing.assert_equal(found, [np.nan if v is None else v for v in views or (None,) * 3])


def test_write_manifest_and_read_it_back(folder):
    first = load_faces(folder)
    write_manifest(first, folder.parent / "all.csv")
    second = load_faces(folder.parent / "all.csv")
    np.testing.assert_array_equal(first.images(), second.images())
    same = ["identity", "viewpoint", "sha256"]
    pd.testing.assert_frame_equal(first.table[same], second.table[same])
    with pytest.raises(InputError, match="cannot name images"):
        write_manifest(first, folder / "anna" / "manifest.csv")


def test_summary_counts_gaps_duplicates_and_grey_levels(folder):
    (folder / "bo/a_yaw-045.png").unlink()
    save(folder / "bo/copy_yaw+045.png", 55)
    faces = load_faces(folder)
    tables = summarise_faces(faces)
    assert tables["identity"].to_numpy().tolist() == [
        ["anna", "unknown", 3, 3],
        ["bo", "unknown", 3, 2],
    ]
    assert tables["missing"].to_numpy().tolist() == [["bo", -45]]
    assert list(tables["duplicates"]["path"]) == ["bo/a_yaw+045.png", "bo/copy_yaw+045.png"]
    assert tables["viewpoint"].to_numpy().tolist() == [[-45, 1, 1], [0, 2, 2], [45, 2, 3]]
    pixels = faces.images()
    grey = tables["grey"].set_index("statistic")["value"]
    assert grey["mean"] == pytest.approx(pixels.mean())
    assert grey["sd"] == pytest.approx(pixels.std())
    for p in (5, 50, 95):
        expected = np.percentile(pixels, p, method="inverted_cdf")
        assert grey[f"percentile {p}"] == expected
    np.testing.assert_allclose(tables["grey_by_image"]["mean"], pixels.mean(axis=(1, 2)))


def test_memory_stays_flat_over_many_images(tmp_path):
    for k in range(40):
        save(tmp_path / f"p{k % 2}/{k}.png", k, size=(400, 400))
    faces = load_faces(tmp_path)
    tracemalloc.start()
    for _, _batch in faces.iter_batches(2):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The whole set is 6.4 MB; two batches of two images are 0.64 MB.
    assert peak < 2e6


# --- kinds of image


def test_pixel_types_become_8_bit(tmp_path):
    save(tmp_path / "a/palette.png", 1, mode="L").unlink()
    Image.fromarray(np.full((4, 4), 257 * 200, np.uint16)).save(tmp_path / "a/deep.png")
    save(tmp_path / "a/alpha.png", (250, 250, 250, 0), mode="RGBA")
    save(tmp_path / "a/cmyk.jpg", (0, 0, 0, 255), mode="CMYK")
    save(tmp_path / "a/lalpha.png", (90, 255), mode="LA")
    save(tmp_path / "a/mono.png", 1, mode="1")
    save(tmp_path / "a/palette.gif", (0, 255, 0), mode="RGB")
    faces = load_faces(tmp_path)
    levels = dict(zip(faces.table["path"], faces.images(size=4)[:, 2, 2].tolist(), strict=True))
    assert levels.pop("a/cmyk.jpg") <= 1
    assert levels == {
        "a/alpha.png": 128,
        "a/deep.png": 200,
        "a/lalpha.png": 90,
        "a/mono.png": 255,
        "a/palette.gif": round(0.587 * 255),
    }


def test_a_camera_s_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / "a/x.jpg", 100, size=(16, 8), exif=exif)
    table = load_faces(tmp_path).table
    assert table[["height", "width"]].iloc[0].tolist() == [16, 8]


def test_floating_point_pixels_are_refused(tmp_path):
    save(tmp_path / "a/x.tif", 0.5, mode="F")
    refusal(tmp_path, "a/x.tif", "32-bit")


def test_non_ascii_names_work_whichever_way_accents_are_stored(tmp_path):
    composed = unicodedata.normalize("NFC", "Zoë Ångström 花子")
    stored = unicodedata.normalize("NFD", composed)
    save(tmp_path / stored / "gesicht_für_yaw+030.png", 42)
    assert load_faces(tmp_path).table["identity"].tolist() == [composed]
    path = manifest(tmp_path, f"path,identity\n{composed}/gesicht_für_yaw+030.png,{composed}\n")
    faces = load_faces(path)
    assert faces.table["identity"].tolist() == [composed]
    assert faces.images()[0, 0, 0] == 42


def test_one_file_is_one_row_whichever_way_its_accents_are_written(tmp_path):
    one, other = (unicodedata.normalize(form, "zoë/é.png") for form in ("NFC", "NFD"))
    save(tmp_path / one)
    text = f"path,identity\n{one},zoë\n{other},zoë\n"
    refusal(manifest(tmp_path, text), "twice", "lines 2 and 3")
    manifest(tmp_path, f"path,x0,y0,v0\n{other},1,2,1\n", "landmarks.csv")
    faces = load_faces(manifest(tmp_path, f"path,identity\n{one},zoë\n"))
    np.testing.assert_array_equal(faces.landmarks(), [[[1, 2, 1]]])


NAMES = ["001", "1e3", "NA", "NaN", "null", "None", "inf", "true"]


def test_identities_stay_text_whatever_they_look_like(tmp_path):
    for k, name in enumerate(NAMES):
        save(tmp_path / name / "x.png", k)
    faces = load_faces(tmp_path)
    assert faces.table["identity"].tolist() == sorted(NAMES)
    write_manifest(faces, tmp_path / "all.csv")
    assert load_faces(tmp_path / "all.csv").table["identity"].tolist() == sorted(NAMES)


def test_label_paths_are_text_and_follow_a_manifest_that_is_written_above(folder):
    text = "path,identity,label_path\nanna/a_yaw+000.png,anna,001\nbo/a_yaw+045.png,bo,\n"
    faces = load_faces(manifest(folder, text))
    assert faces.table["label_path"].iloc[0] == "001"
    assert pd.isna(faces.table["label_path"].iloc[1])
    again = load_faces(write_manifest(faces, folder.parent / "all.csv"))
    assert again.table["label_path"].iloc[0] == "faces/001"
    assert pd.isna(again.table["label_path"].iloc[1])


@pytest.mark.parametrize("column", ["label_path", "mask_path"])
@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("../../../../etc/passwd", "leads out"),
        ("/etc/passwd", "absolute"),
        ("link.png", "outside"),
        ("x" * 5000, "cannot be read"),
    ],
    ids=["up", "absolute", "link", "long"],
)
def test_label_paths_stay_inside_the_folder(folder, column, path, word):
    os.symlink(save(folder.parent / "outside.png"), folder / "link.png")
    text = f"path,identity,{column}\nanna/a_yaw+000.png,anna,{path}\n"
    source = manifest(folder, text)
    refusal(source, "line 2", column, word, attributes=["mask_path"])


def test_a_folder_that_is_no_dictionary_says_what_a_dictionary_is(folder):
    for path, word in [(folder / "none", "does not exist"), (folder, "has no manifest.csv")]:
        with pytest.raises(InputError, match=f"{word}: a dictionary is a folder with") as caught:
            load_dictionary(path)
        assert "sub-folder" not in str(caught.value)


def test_byte_order_mark_and_semicolons_are_understood(folder):
    text = "path;identity;gender\r\nanna/a_yaw+000.png;anna;f\r\n\r\n"
    table = load_faces(manifest(folder, text, encoding="utf-8-sig")).table
    assert table[["identity", "gender"]].to_numpy().tolist() == [["anna", "female"]]


# --- bad folders


def test_missing_and_empty_sources(tmp_path):
    refusal(tmp_path / "nowhere", "nowhere", "does not exist")
    refusal(tmp_path, "holds no images")
    (tmp_path / "anna").mkdir()
    (tmp_path / "anna/notes.txt").write_text("no image")
    refusal(tmp_path, "holds no images")


def test_files_that_are_no_images_are_left_aside_and_listed(folder):
    (folder / "anna/notes.txt").write_text("hello")
    (folder / ".DS_Store").write_text("")
    faces = load_faces(folder)
    assert len(faces) == 6 and faces.ignored == ("anna/notes.txt",)


def test_loose_images_are_refused(folder):
    save(folder / "stray.png")
    refusal(folder, "stray.png", "no identity")


def test_one_identity_where_two_are_needed(folder):
    for path in (folder / "bo").iterdir():
        path.unlink()
    assert len(load_faces(folder)) == 3
    refusal(folder, "'anna'", "at least 2", min_identities=2)


def test_truncated_empty_and_foreign_files(folder):
    rng = np.random.default_rng(0)
    whole = folder / "bo/noise.png"
    Image.fromarray(rng.integers(0, 256, (64, 64), dtype=np.uint8)).save(whole)
    data = whole.read_bytes()
    whole.write_bytes(data[: len(data) // 2])
    refusal(folder, "bo/noise.png", "truncated")
    whole.write_bytes(b"")
    refusal(folder, "bo/noise.png", "empty file")
    whole.write_bytes(b"%PDF-1.4 not an image")
    refusal(folder, "bo/noise.png", "not an image")


def test_animation_is_refused(folder):
    frames = [Image.new("L", (8, 8), k) for k in (0, 100, 200)]
    frames[0].save(folder / "bo/loop.gif", save_all=True, append_images=frames[1:])
    refusal(folder, "bo/loop.gif", "3 frames")


def png_header(width, height):
    """A PNG whose header announces the size and whose pixels are absent."""
    body = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + body
    crc = struct.pack(">I", zlib.crc32(chunk))
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + crc + b"\0\0\0\0IDAT"


@pytest.mark.parametrize("side", [10_000, 30_000])
def test_a_huge_image_is_refused_from_its_header(folder, side):
    (folder / "bo/huge.png").write_bytes(png_header(side, side))
    tracemalloc.start()
    refusal(folder, "bo/huge.png", "more than the 50 million")
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


def test_the_pixel_limit_is_a_parameter(folder):
    refusal(folder, "8 x 8 pixels", max_pixels=63)
    assert len(load_faces(folder, max_pixels=64)) == 6


def test_the_limit_of_pixels_is_the_only_one(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png_header(15_000, 15_000))  # more than Pillow by itself would open
    usual = Image.MAX_IMAGE_PIXELS
    with pytest.raises(InputError, match=r"15000 x 15000 pixels, more than the 200 .*megapixels"):
        open_image(path, max_pixels=200e6)
    with pytest.raises(InputError, match="broken or truncated"):
        open_image(path, max_pixels=300e6)
    assert usual == Image.MAX_IMAGE_PIXELS


def test_mixed_sizes_matter_only_where_an_array_needs_one(folder):
    save(folder / "bo/small_yaw+090.png", 9, size=(6, 4))
    faces = load_faces(folder)
    with pytest.raises(InputError, match=r"2 sizes.*8 x 8 \(6 images.*4 x 6.*bo/small_yaw"):
        faces.images()
    assert faces.images(size=5).shape == (7, 5, 5)
    assert faces.images(slice(0, 6)).shape == (6, 8, 8)


def test_links_out_of_the_folder_are_refused(folder):
    outside = save(folder.parent / "outside.png")
    os.symlink(outside, folder / "bo/link.png")
    refusal(folder, "bo/link.png", "outside")
    refusal(manifest(folder, "path,identity\nbo/link.png,bo\n"), "line 2", "outside")


def test_links_in_a_circle_are_refused(folder):
    os.symlink("loop.png", folder / "bo/loop.png")
    refusal(folder, "bo/loop.png", "in a circle")
    refusal(manifest(folder, "path,identity\nbo/loop.png,bo\n"), "line 2", "in a circle")
    refusal(folder / "bo/loop.png", "loop.png", "does not exist")
    with pytest.raises(InputError, match="cannot be opened"):
        open_image(folder / "bo/loop.png")


def test_a_name_longer_than_the_system_allows_is_refused(folder):
    long = "x" * 5000
    for source in (folder / long, folder / f"{long}.csv", long):
        assert len(refusal(source, "x...", "characters)", "cannot be read")) < 500
    text = f"path,identity\nanna/a_yaw+000.png,anna\n{long}.png,bo\n"
    assert len(refusal(manifest(folder, text), "line 3", "xxx", "cannot be read")) < 500
    with pytest.raises(InputError, match="cannot be opened"):
        open_image(folder / long)


def test_names_that_are_not_utf_8_are_refused_at_the_door(folder):
    try:
        odd = folder / os.fsdecode(b"z\xff")
        save(odd / "x.png")
    except OSError:
        pytest.skip("this file system holds UTF-8 names only")
    refusal(folder, "z\\udcff/x.png", "not UTF-8").encode("utf-8")
    save(odd / "anna/x.png")
    (odd / "x.png").unlink()
    with pytest.raises(InputError, match="not UTF-8"):
        write_manifest(load_faces(odd), folder / "all.csv")
    (odd / "anna/x.png").rename(odd / "anna/x.txt")
    ignored = load_faces(folder).ignored
    assert ignored == ("z\\udcff/anna/x.txt",)


# --- bad manifests

GOOD = "anna/a_yaw+000.png,anna,f,0\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["manifest.csv is empty"]),
        ("path,identity\n", ["no rows"]),
        ("path,gender\na,f\n", ["no column 'identity'"]),
        ("path,identity,gendre\na,b,f\n", ["'gendre'", "did you mean 'gender'"]),
        ("path,identity,identity\na,b,c\n", ["'identity' twice"]),
        ("path,identity\nanna/none.png,anna\n", ["line 2", "anna/none.png", "is not in"]),
        ("path,identity\n../x.png,anna\n", ["line 2", "leads out"]),
        ("path,identity\nanna/../../x.png,anna\n", ["line 2", "leads out"]),
        ("path,identity\n..\\x.png,anna\n", ["line 2", "leads out"]),
        ("path,identity\n/etc/passwd,anna\n", ["line 2", "absolute"]),
        ("path,identity\nC:\\x.png,anna\n", ["line 2", "absolute"]),
        ("path,identity\nanna/a_yaw+000.png,\n", ["line 2", "identity is empty"]),
        (
            "path,identity\nanna/a_yaw+000.png,anna\nanna/./a_yaw+000.png,anna\n",
            ["twice", "lines 2 and 3"],
        ),
        ("path,identity,gender,viewpoint\n" + GOOD.replace(",f,", ",x,"), ["line 2", "gender 'x'"]),
        ("path,identity,gender,viewpoint\n" + GOOD.replace(",0", ",left"), ["line 2", "'left'"]),
        ("path,identity,gender,viewpoint\n" + GOOD.replace(",0", ",270"), ["line 2", "'270'"]),
        ("path,identity,gender,viewpoint\n" + GOOD.replace(",0", ",nan"), ["line 2", "'nan'"]),
        (
            "path,identity,gender,viewpoint\n" + GOOD + "anna/a_yaw+045.png,anna,m,45\n",
            ["'anna' has two genders", "a_yaw+000", "a_yaw+045"],
        ),
        ("path,identity\nanna/a_yaw+000.png,anna,f\n", ["line 2 has 3 cells", "header has 2"]),
        ('path,identity\n"anna/a_yaw+000.png,anna\n', ["not a well-formed CSV"]),
        ("path,identity,x0,y0\nanna/a_yaw+000.png,anna,1,2\n", ["no landmark column 'v0'"]),
        ("path,identity,x0,y0,v0\nanna/a_yaw+000.png,anna,1,b,1\n", ["line 2", "'b'", "'y0'"]),
        ("path,identity,sha256\nanna/a_yaw+000.png,anna,00ff\n", ["not the file the manifest"]),
    ],
)
def test_bad_manifests(folder, text, words):
    refusal(manifest(folder, text), *words)


def test_a_manifest_in_another_encoding_is_refused(folder):
    text = "path,identity\nanna/a_yaw+000.png,Zoë\n"
    refusal(manifest(folder, text, encoding="latin-1"), "line 2", "UTF-8")
    refusal(manifest(folder, text, encoding="utf-16"), "UTF-8")


def test_columns_of_one_s_own_are_kept_when_named(folder):
    path = manifest(folder, "path,identity,session\nanna/a_yaw+000.png,anna,3\n")
    refusal(path, "unknown column 'session'", "attributes=['session']")
    assert load_faces(path, attributes=["session"]).table["session"].tolist() == [3]


def test_landmarks_of_an_unlisted_image_are_refused(folder):
    manifest(folder, "path,x0,y0,v0\nbo/none.png,1,2,1\n", "landmarks.csv")
    refusal(manifest(folder, "path,identity\nanna/a_yaw+000.png,anna\n"), "line 2", "bo/none.png")


def test_a_set_without_landmarks_says_so(folder):
    with pytest.raises(InputError, match="has no landmarks"):
        load_faces(folder).landmarks()


@pytest.mark.parametrize("size", [0, -3, 2.5, "112"])
def test_bad_sizes(folder, size):
    refusal(folder, "size is", size=size)


def test_a_number_of_landmarks_that_would_fill_the_memory_is_refused(folder):
    manifest(folder, "path,identity\nanna/a_yaw+000.png,anna\nbo/a_yaw+000.png,bo\n")
    for number in ("1000000000", "-1", "0.5", "nan", "", "1e30"):
        rows = (
            f"path,point,x,y,visible\nanna/a_yaw+000.png,0,1,2,1\nbo/a_yaw+000.png,{number},1,2,1"
        )
        manifest(folder, rows, "landmarks.csv")
        refusal(folder, "line 3")


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[2Jb", "a\u202eb", "a\x00b"])
def test_an_identity_that_cannot_be_shown_in_one_line_is_refused(folder, name):
    path = manifest(folder, f'path,identity\nanna/a_yaw+000.png,"{name}"\n')
    said = refusal(path, path.name)
    assert said.isprintable()
    if "\0" not in name:
        (folder / name).mkdir()
        save(folder / name / "a.png")
        path.unlink()
        refusal(folder, "cannot be shown: rename it")


def test_an_identity_that_a_figure_would_take_for_a_formula_is_refused(folder):
    path = manifest(folder, "path,identity\nanna/a_yaw+000.png,$\\frac$\n")
    refusal(path, "manifest.csv, line 2", "two dollar signs")
    path = manifest(folder, "path,identity\nanna/a_yaw+000.png,A$AP\n")
    assert list(load_faces(path).table["identity"]) == ["A$AP"]


def test_what_is_no_file_is_not_waited_for(folder):
    os.mkfifo(folder / "anna" / "b_yaw+000.png")
    refusal(folder, "b_yaw+000.png", "no file")
    refusal("/dev/zero", "/dev/zero", "no file")


def test_a_label_picture_that_would_fill_the_memory_is_refused(tmp_path):
    (tmp_path / "l.png").write_bytes(png_header(10_000, 10_000))
    with pytest.raises(InputError, match="10000 x 10000 pixels"):
        read_numbers(tmp_path, "l.png")
