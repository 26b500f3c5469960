"""Runs on a cluster: the profile, and parts of long loops that other jobs compute.

All of the work, once, and the same bytes. On a Slurm of its own: ``make test-slurm``.
"""

import re
import subprocess

import numpy as np
import pytest
import yaml
from test_masking import LEVELS, Spy, compute, make_study
from test_relevance_study import readouts_of, trunk  # noqa: F401  (a fixture)

from lib import network, params, parts, trunk_features, vgg
from lib.errors import InputError
from lib.masking.scores import compute_share
from lib.relevance import choose_precision, shards, study
from lib.relevance.compute import Difference

NAMES = ("identity-0", "identity-1", "gender-0")


def test_the_profile_says_what_every_rule_needs(root):
    rules = re.split(r"^ *rule ", (root / "Snakefile").read_text(), flags=re.MULTILINE)[1:]
    working = {rule.partition(":")[0] for rule in rules if "shell:" in rule}
    profile = yaml.safe_load((root / "cluster" / "slurm" / "config.yaml").read_text())
    assert set(profile["set-resources"]) == set(profile["set-threads"]) == working
    for needs in profile["set-resources"].values():
        assert set(needs) == {"mem_mb", "runtime", "gpu"}
        assert needs["mem_mb"] >= 1000 and needs["runtime"] >= 10
    assert "snakemake-executor-plugin-slurm==" in (root / "requirements-dag.lock").read_text()


def test_a_job_is_told_its_chapter_trunk_and_share(tmp_path, monkeypatch, capsys):
    asked = []
    kinds = {
        name: (chapter, lambda part: asked.append(part) or "what was done")
        for name, (chapter, _) in parts.KINDS.items()
    }
    monkeypatch.setattr(parts, "KINDS", kinds)
    for kind, chapter in (
        ("features", "02_finetuning"),
        ("relevance", "03_relevance"),
        ("masking", "04_masking"),
    ):
        words = [kind, "2", "5", str(tmp_path / "x"), "--trunk", "1"]
        assert parts.main([*words, "--parameters", "{run: r, seed: 7}"]) == 0
        settings = params.validate(chapter, {"run": "r", "seed": 7})
        assert asked.pop() == parts.Part(settings, tmp_path / "x", (2, 5), 1)
        assert f"{kind}, part 3 of 5: what was done in 0 s" in capsys.readouterr().out
        assert parts.main([*words, "--parameters", "{sed: 7}"]) == 1
        assert "'sed' - did you mean 'seed'?" in capsys.readouterr().out


def test_an_unknown_cluster_is_refused_in_a_sentence(root):
    engine = str(root / ".venv-dag" / "bin" / "python")
    command = [engine, "scripts/report.py", "--profile", "ci", "--cluster", "slum"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 2 and "CLUSTER=slum is neither slurm nor" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "images, readouts, parts", [(101, 10, 4), (24, 4, 5), (7, 3, 2), (2, 3, 4)]
)
def test_parts_are_whole_batches_and_all_of_them(images, readouts, parts):
    batch = max(1, 10 // readouts)
    found = [shards.cut_rows(images, readouts, part, parts) for part in range(parts)]
    rows = [row for part in found for row in range(part.start, part.stop)]
    assert rows == list(range(images // batch * batch))
    assert all(part.start % batch == part.stop % batch == 0 for part in found)
    sizes = [part.stop - part.start for part in found]
    assert max(sizes) - min(sizes) <= batch


def faces_and_targets():
    images = np.random.default_rng(1).integers(0, 256, (8, 16, 16), dtype=np.uint8)
    classes = np.array([2, 0, 1, 1, 0, 2, 2, 0])
    return images, {"identity": Difference(classes, "rival"), "gender": "predicted"}


def leave_blocks(folder, trunk, readouts, images, targets, parts=2, **settings):  # noqa: F811
    for name, some in readouts.items():
        for part in range(parts):
            path = folder / f"{name}-{part}.npz"
            study.compute_block(
                *(path, trunk, some, images, targets, "b", (part, parts)),
                progress=False,
                **settings,
            )


def test_maps_computed_elsewhere_are_taken_up(trunk, tmp_path, monkeypatch):  # noqa: F811
    images, targets = faces_and_targets()
    readouts = {"p": readouts_of(NAMES), "q": readouts_of(NAMES[:2], 9)}
    trunks = {"p": trunk, "q": trunk}
    given = (trunks, readouts, images, targets, "stuvwxyz", "b")
    whole = study.compute_maps(*given, progress=False)
    # the last two faces stand for further views, which no part holds
    leave_blocks(tmp_path, trunk, readouts, images[:6], {**targets, "identity": cut(targets)})
    seen, real = [], study._explain

    def explain(*arguments):
        seen.append((len(arguments[1]), arguments[5]))
        real(*arguments)

    monkeypatch.setattr(study, "_explain", explain)
    found = study.compute_maps(*given, progress=False, parts=tmp_path)
    # batches of 3 readouts hold 3 faces, of 2 readouts 5
    assert seen == [(3, slice(6, 8)), (2, slice(5, 8))]
    assert found.identical(whole)
    assert found["relevance"].to_numpy().tobytes() == whole["relevance"].to_numpy().tobytes()


def cut(targets):
    return shards.cut_target(targets["identity"], slice(0, 6))


@pytest.mark.parametrize("what", ["readout", "image", "target", "precision", "bytes"])
def test_a_block_of_other_work_is_left_alone(what, trunk, tmp_path):  # noqa: F811
    images, targets = faces_and_targets()
    readouts = {"p": readouts_of(NAMES)}
    leave_blocks(tmp_path, trunk, readouts, images, targets)
    into = {
        "relevance": np.zeros((3, 8, 16, 16), np.float32),
        "target": np.zeros((3, 8), np.int32),
        "score": np.zeros((3, 8), np.float32),
    }
    explained = [targets[name.rpartition("-")[0]] for name in NAMES]
    settings = {"engine": "shared", "precision": choose_precision(), "channels": "sum"}
    common = study._name_work(trunk, readouts["p"], images, explained, "b", settings)
    assert shards.take_up(tmp_path, common, images, explained, into) == [slice(6, 8)]
    if what == "readout":
        bias = readouts["p"][2].bias + 1
        other = [*readouts["p"][:2], network.Readout(NAMES[2], readouts["p"][2].kernel, bias)]
        common = study._name_work(trunk, other, images, explained, "b", settings)
    elif what == "image":
        images = images.copy()
        images[4, 0, 0] ^= 1
    elif what == "target":
        explained = [*explained[:2], np.zeros(8, int)]
    elif what == "precision":
        settings = settings | {"precision": "mixed"}
        common = study._name_work(trunk, readouts["p"], images, explained, "b", settings)
    else:
        path = tmp_path / "p-1.npz"
        path.write_bytes(path.read_bytes()[:-4000])
    left = shards.take_up(tmp_path, common, images, explained, into)
    # a changed image or file spoils its own block alone
    assert left == [slice(3, 8) if what in ("image", "bytes") else slice(0, 8)]


def test_features_are_taken_up_and_those_of_others_are_not(trunk, tmp_path, monkeypatch):  # noqa: F811
    images, _ = faces_and_targets()
    whole = vgg.compute_features(trunk, images, precision="float32", progress=False)
    trunk_features.save_features(tmp_path / "0.npz", trunk, images, "float32")
    seen = []

    def compute(trunk, images, *, precision):
        seen.append(trunk.name)
        return whole

    monkeypatch.setattr(vgg, "compute_features", compute)

    def load(trunks, images=images):
        return trunk_features.load_features(trunks, images, "float32", tmp_path)

    assert load({"p": trunk})["p"].tobytes() == whole.tobytes() and not seen
    # no folder, another face, another trunk, a damaged file
    trunk_features.load_features({"p": trunk}, images, "float32", tmp_path / "none")
    load({"p": trunk}, images[::-1])
    load({"p": vgg.Trunk("other", trunk.model)})
    path = tmp_path / "0.npz"
    path.write_bytes(path.read_bytes()[:-2000])
    load({"p": trunk})
    assert seen == ["small", "small", "other", "small"]


def test_shares_of_masking_are_all_of_it(tmp_path, monkeypatch):
    given = make_study(instances=1)
    settings = {"draws": 2, "levels": LEVELS, "precision": "float32"}
    whole = compute(given, **settings)
    kept = tmp_path / "kept"
    counts = [
        compute_share(*given, share=(part, 3), checkpoints=kept, progress=False, **settings)
        for part in range(3)
    ]
    assert max(counts) - min(counts) <= 1
    assert len(list(kept.glob("*.npz"))) == sum(counts)
    with monkeypatch.context() as patch:
        spy = Spy(patch)
        found = compute(given, **settings, checkpoints=kept)
    assert not spy.images and found.identical(whole)
    with pytest.raises(InputError, match="no share 3 of 3"):
        compute_share(*given, share=(3, 3), checkpoints=kept, **settings)
