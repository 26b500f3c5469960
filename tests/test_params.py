"""Settings: what is refused, and what the refusal says."""

import ast
import json

import pytest
import yaml

from lib import params
from lib.errors import InputError


def refused(*arguments) -> str:
    with pytest.raises(InputError) as caught:
        params.resolve(*arguments)
    return str(caught.value)


@pytest.mark.parametrize("profile", params.list_profiles())
def test_every_profile_resolves_and_names_its_run(profile):
    run, settings = params.resolve(profile)
    assert run == profile
    assert list(settings) == list(params.CHAPTERS)
    assert all(s.run == profile for s in settings.values())


def test_a_departure_reaches_the_setting_and_gets_a_name_of_its_own():
    run, settings = params.resolve("default", "faces.size=64 seed=3")
    assert (settings["01_faces"].size, settings["01_faces"].seed) == (64, 3)
    assert run == "default+faces.size=64+seed=3"
    assert params.resolve("default", "seed=3 faces.size=64")[0] == run


def test_a_quoted_value_may_hold_blanks():
    _, settings = params.resolve("default", "source='/my faces/all of them' size=64")
    assert settings["01_faces"].source == "/my faces/all of them"
    with pytest.raises(InputError, match="not closed"):
        params.resolve("default", "source='/my faces")


@pytest.mark.parametrize("word", ["2020", "on", "2026-01-01", "'/my faces #2'", "'{a} $x'"])
def test_a_path_is_taken_to_the_letter(word):
    _, settings = params.resolve("default", f"source={word}")
    assert settings["01_faces"].source == word.strip("'")


def test_files_of_networks_and_further_seeds_are_names_too():
    words = "pretrainings=[synthface-2,~/my/net,net.keras] networks=[a.h5,resnet50/gender,smile]"
    _, settings = params.resolve("default", words)
    assert settings["02_finetuning"].pretrainings == ["synthface-2", "~/my/net", "net.keras"]
    assert settings["07_dissection"].networks == ["a.h5", "resnet50/gender", "smile"]


def test_the_word_true_can_be_given_where_it_is_no_truth_value():
    _, settings = params.resolve("default", "target=true cam_class=true")
    assert settings["03_relevance"].target == settings["08_salience"].cam_class == "true"


def test_methods_are_compared_in_what_the_first_was_measured_in():
    _, settings = params.resolve("default", "amounts=[0.25,0.5] method_amounts=[0.25]")
    assert settings["08_salience"].method_amounts == [0.25]
    with pytest.raises(InputError, match=r"method_amounts.*0\.1.* none of amounts"):
        params.resolve("default", "amounts=[0.25,0.5]")
    with pytest.raises(InputError, match=r"method_transforms.*'shift up'.* none of transforms"):
        params.resolve("ci", "method_transforms=['shift up']")


def test_departures_in_another_order_are_the_same_run():
    one, two = ("seed=3 source='/my faces'", "source='/my faces' seed=3")
    assert params.resolve("default", one)[0] == params.resolve("default", two)[0]
    assert params.write_set(params.parse_set(one)) == params.write_set(params.parse_set(two)) == one


def test_a_fill_and_a_preset_are_named_in_one_word_each():
    run, settings = params.resolve("default", "fill=blur preset=b_flat")
    assert run == "default+fill=blur+preset=b_flat"
    assert settings["04_masking"].fills == ["blur"] and settings["05_generalization"].fill == "blur"
    assert settings["03_relevance"].composite == "b_flat"
    # one that the run computes anyway is chosen, and nothing else changes
    _, same = params.resolve("default", "fill=channel_mean")
    assert same["04_masking"].fills == ["channel_mean"]
    _, both = params.resolve("default", "fill=blur fills=[black,blur]")
    assert both["04_masking"].fills == ["black", "blur"]
    with pytest.raises(InputError, match=r"fill = 'blur' is not computed by 04_masking"):
        params.resolve("default", "generalization.fill=blur")
    with pytest.raises(InputError, match=r"fills.*'blurr'.*blur"):
        params.resolve("default", "fill=blurr")


def test_by_hand_a_run_of_other_settings_is_not_overwritten(tmp_path, monkeypatch):
    monkeypatch.setattr(params, "ROOT", tmp_path)
    monkeypatch.delenv(params.RUNNER, raising=False)
    made = params.Faces(run="mine", size=64)
    path = params.record_path("01_faces", "mine")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"settings": made.model_dump(mode="json"), "outputs": {}}))
    assert params.check("01_faces", made.model_dump()) == made
    with pytest.raises(InputError, match=r"'mine' was made with size = 64.*-p run"):
        params.check("01_faces", {**made.model_dump(), "size": 128})
    for text in ("", "{", "[]", '{"settings": 3}'):
        path.write_text(text)
        with pytest.raises(InputError, match=r"01_faces\.json, .* cannot be read: .*-p run"):
            params.check("01_faces", made.model_dump())
    monkeypatch.setenv(params.RUNNER, "x")
    assert params.check("01_faces", {**made.model_dump(), "size": 128}).size == 128


def test_values_that_read_alike_after_cleaning_get_different_runs():
    one, two = (params.run_name("default", {"source": s}) for s in ("/data/a b", "/data/a_b"))
    assert one != two
    assert all("/" not in name and " " not in name for name in (one, two))
    assert len(params.run_name("default", {"source": "x" * 500})) <= params.MAX_RUN_NAME + 9


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("defualt",), ["'default'", "ci, default, paper"]),
        (("default", "sise=64"), ["'sise'", "'size'"]),
        (("default", "facse.size=64"), ["'faces'"]),
        (("default", "size=3"), ["size = 3", "at least 32", "at most 512"]),
        (("default", "size=big"), ["size = 'big'", "int"]),
        (("default", "size"), ["name=value"]),
        (("default", "size=64 size=65"), ["twice"]),
        (("default", "run=mine"), ["'run'"]),
        (("default", "", "../out"), ["run = '../out'", "letters, digits"]),
        (("default", "seed=-1"), ["seed = -1", "at least 0"]),
        (("default", "seed=yes"), ["seed = True", "a number, not yes or no", "int"]),
        (("default", "learning_rate=on"), ["a number, not yes or no"]),
        (("default", "held_out=[0,.nan]"), ["held_out", "should be finite", "list of (float"]),
        (("default", "viewpoints=[500]"), ["viewpoints = 500", "at most 180"]),
        (("default", "tasks=[identiy]"), ["list of (one of identity, gender)", "'identity'?"]),
        (("default", "pair=[a,b,c]"), ["at most this many entries: 2"]),
        (("default", "pretrainings=[imagnet]"), ["no network 'imagnet'", "'imagenet'?", "vggface"]),
        (("default", "networks=[smiel]"), ["'smile'?"]),
        (("default", "learn_from=synthfac"), ["'synthface'?"]),
        (("default", "generators=[pca]"), ["3 numbers for 1 generators (pca)", "one for each"]),
        (("default", "genuine=a"), ["synthetic = ''", "human_maps = ''", "genuine", "both"]),
        (("default", "human_maps=a"), ["human_maps = 'a'", "in genuine"]),
        (("default", "unseen=[a]"), ["unseen = ['a']", "in genuine"]),
        (
            ("default", "genuine=a synthetic=b human_maps=c unseen=[d/gan,e/gan/]"),
            ["different names", "'gan' is there twice"],
        ),
    ],
)
def test_a_mistake_gets_one_sentence_with_what_is_allowed(arguments, words):
    message = refused(*arguments)
    assert all(word in message for word in words), message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("01_faces: [1, 2", "YAML"),
        ("- a\n- b\n", "name: value"),
        ("01_face:\n  size: 1\n", "'01_faces'"),
        ("01_faces:\n  size: 112\n", "sets no"),
    ],
)
def test_a_damaged_profile_is_named(tmp_path, text, word):
    (tmp_path / "mine.yml").write_text(text)
    with pytest.raises(InputError, match=word):
        params.load_profile("mine", tmp_path)


def test_a_name_given_twice_is_refused_with_its_lines(tmp_path):
    path = tmp_path / "mine.yml"
    path.write_text("# a comment\n01_faces:\n  size: 112\n  seed: 0\n  size: 64\n")
    with pytest.raises(InputError) as caught:
        params.load_profile("mine", tmp_path)
    said = str(caught.value)
    assert said.startswith(f"{path}: line 5 gives 'size' a second time (the first is in line 3)")
    path.write_text("01_faces: {}\n\n01_faces: {}\n")
    with pytest.raises(InputError, match="line 3 gives '01_faces' a second time"):
        params.load_profile("mine", tmp_path)
    # the same name in two blocks is no repetition, and a merged block may be overridden
    path.write_text("a: &a\n  size: 1\nb:\n  <<: *a\n  size: 2\n")
    assert params.read_yaml(path) == {"a": {"size": 1}, "b": {"size": 2}}


def test_what_is_no_file_is_no_profile(tmp_path):
    (tmp_path / "d.yml").mkdir()
    (tmp_path / "mine.yml").write_text("")
    with pytest.raises(InputError, match=r"no profile 'd'; params/ has mine"):
        params.load_profile("d", tmp_path)
    with pytest.raises(InputError, match=r"cannot be read .*directory"):
        params.read_yaml(tmp_path / "d.yml")


def test_the_validation_cell_refuses_a_name_that_no_parameter_has():
    namespace = {**params.Faces(run="by-hand").model_dump(), "shortcuts": None, "np": json}
    namespace["In"] = ["", "import json", "# Parameters\nsize = 112\n", "shortcuts = f(1)"]
    assert params.check("01_faces", namespace).size == 112, "a later cell's names are no parameters"
    namespace["In"].append("# Parameters\nsizes = 3\n")
    with pytest.raises(InputError, match=r"'sizes' - did you mean 'size'\?"):
        params.check("01_faces", {**namespace, "sizes": 3})
    namespace["In"].pop()
    del namespace["seed"]
    with pytest.raises(InputError, match="sets no seed"):
        params.check("01_faces", namespace)


@pytest.mark.parametrize("chapter", params.CHAPTERS)
def test_the_parameters_cell_is_the_default_profile(root, chapter):
    notebook = json.loads((root / "notebooks" / f"{chapter}.ipynb").read_text())
    tagged = [c for c in notebook["cells"] if "parameters" in c["metadata"].get("tags", [])]
    assert len(tagged) == 1
    lines = "".join(tagged[0]["source"])
    literals = {node.targets[0].id: ast.literal_eval(node.value) for node in ast.parse(lines).body}
    profile = yaml.safe_load((root / "params" / "default.yml").read_text())[chapter]
    assert literals == {"run": "default", **profile}
    # a unit or meaning in each comment, which may not hold '=': papermill would miss the line
    last = [lines.splitlines()[node.end_lineno - 1] for node in ast.parse(lines).body]
    comments = [line.partition("#")[2] for line in last]
    assert all(c.strip() and "=" not in c for c in comments)


def test_the_networks_that_are_known_by_name_are_those_that_can_be_opened():
    # lib.params cannot ask them: the workflow engine reads it, without TensorFlow
    from lib import vgg
    from lib.dissection.learners import ARCHITECTURES
    from lib.dissection.pictures import TASKS

    assert tuple(vgg.NAMES) == params.TRUNKS
    assert set(params.LEARNED) == {*TASKS, *ARCHITECTURES}
