"""The table of answers: what is read, what is refused and in which words, who is left out."""

import numpy as np
import pandas as pd
import pytest

from lib import humans
from lib.errors import InputError

NAMES = [f"id{k:03d}" for k in range(1, 21)]
DIFFER = pd.DataFrame(
    [(NAMES[k], NAMES[k + 1], NAMES[k + 2]) for k in range(12)],
    columns=["identity", "synthface", "imagenet"],
)


@pytest.fixture
def answers():
    """Three simulated observers, 12 test and 2 catch trials each, as a file would hold them."""
    trials = humans.make_trials(DIFFER, 3, catch=2, seed=1)
    return humans.simulate_observers(trials, DIFFER, bias=0.5, seed=2)


def write(folder, table, name="answers.csv", encoding="utf-8"):
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_bytes(table.to_csv(index=False).encode(encoding))
    return path


def load(path, **options):
    return humans.load_responses(path, DIFFER, faces=NAMES, **options)


def refused(match, tmp_path, table):
    with pytest.raises(InputError, match=match):
        load(write(tmp_path, table))


def test_a_file_is_read_as_it_was_written(answers, tmp_path):
    path = write(tmp_path, answers)
    pd.testing.assert_frame_equal(load(path), answers, check_dtype=False)
    # order of rows, a byte-order mark, Windows line ends, blank lines and spaces change nothing
    text = answers.sample(frac=1, random_state=0).to_csv(index=False, lineterminator="\r\n")
    path.write_bytes(b"\xef\xbb\xbf" + text.replace(",test,", ", test ,").encode() + b"\r\n\r\n")
    pd.testing.assert_frame_equal(load(path), answers, check_dtype=False)


def test_a_folder_of_one_file_per_observer_is_the_same_table(answers, tmp_path):
    for subj, rows in answers.groupby("subj"):
        write(tmp_path / "all", rows, f"{subj}.csv")
    pd.testing.assert_frame_equal(load(tmp_path / "all"), answers, check_dtype=False)


def test_file_names_in_capitals_are_read_as_well(answers, tmp_path):
    for number, (_, rows) in enumerate(answers.groupby("subj")):
        write(tmp_path / "all", rows, ("a.csv", "b.CSV", "c.Csv")[number])
    (tmp_path / "all" / "notes.txt").write_text("no answers")
    pd.testing.assert_frame_equal(load(tmp_path / "all"), answers, check_dtype=False)
    assert len(humans.hash_responses(tmp_path / "all")) == 3


@pytest.mark.parametrize("top", ["\n", "\r\n\r\n", ",,,\n", "sep=,\n", '"sep=,"\n', "\nSEP=,\n"])
def test_what_spreadsheets_put_above_the_names_is_passed_over(answers, tmp_path, top):
    path = tmp_path / "answers.csv"
    text = answers.to_csv(index=False)
    path.write_bytes(top.encode() + text.encode())
    pd.testing.assert_frame_equal(load(path), answers, check_dtype=False)
    # messages still count rows as the file does
    lines = text.splitlines()
    lines[7] = lines[7].replace(",test,", ",training,").replace(",catch,", ",training,")
    path.write_bytes(top.encode() + "\n".join(lines).encode())
    with pytest.raises(InputError, match=f"'training' in row {8 + top.count(chr(10))} of"):
        load(path)


def test_files_of_nothing_but_a_top(answers, tmp_path):
    path = tmp_path / "answers.csv"
    for text in ("sep=,", "\n\n", ",,,\n,,,", "sep=,\n\n"):
        path.write_text(text)
        with pytest.raises(InputError, match="is empty"):
            load(path)
    path.write_text("sep=;\n" + answers.to_csv(index=False, sep=";"))
    with pytest.raises(InputError, match="separated by semicolons"):
        load(path)
    path.write_text("sep=,\n" + answers.to_csv(index=False, sep=";"))
    with pytest.raises(InputError, match="separated by semicolons"):
        load(path)


def test_names_outside_ascii_survive(tmp_path):
    table = DIFFER.replace({"id003": "Zoë, 'the 3rd'"})
    trials = humans.make_trials(table, 2, catch=0)
    given = humans.simulate_observers(trials, table, seed=1)
    back = humans.load_responses(write(tmp_path, given), table)
    assert (back["target"] == "Zoë, 'the 3rd'").sum() == 2


def test_people_are_not_simulated_unless_the_file_says_so(answers, tmp_path):
    path = write(tmp_path, answers.drop(columns="simulated"))
    assert not load(path)["simulated"].any()
    assert load(write(tmp_path, answers))["simulated"].all()


def test_nothing_to_read(tmp_path, answers):
    with pytest.raises(InputError, match="does not exist"):
        load(tmp_path / "nowhere.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"holds no \.csv"):
        load(tmp_path / "empty")
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf \n")
    with pytest.raises(InputError, match="is empty"):
        load(tmp_path / "a.csv")
    refused("no answers", tmp_path, answers.iloc[:0])


def test_encodings(tmp_path, answers):
    named = answers.assign(subj=answers["subj"].str.replace("simulated", "Jürgen"))
    with pytest.raises(InputError, match=r"is not in UTF-8 \(line 2\)"):
        load(write(tmp_path, named, encoding="latin-1"))
    with pytest.raises(InputError, match="UTF-16"):
        load(write(tmp_path, named, encoding="utf-16"))
    rows = named.to_csv(index=False).splitlines()
    mixed = [row.encode("utf-8" if k < 9 else "latin-1") for k, row in enumerate(rows)]
    (tmp_path / "mixed.csv").write_bytes(b"\n".join(mixed))
    with pytest.raises(InputError, match=r"mixes UTF-8 with another encoding \(line 10\)"):
        load(tmp_path / "mixed.csv")
    # one file of a folder in another encoding: that file is named
    for k, (subj, part) in enumerate(named.groupby("subj")):
        write(tmp_path / "all", part, f"{k}.csv", "latin-1" if k == 1 else "utf-8")
        assert subj
    with pytest.raises(InputError, match=r"1\.csv is not in UTF-8"):
        load(tmp_path / "all")


def test_columns(tmp_path, answers):
    refused(
        r"lacks the column 'rt' \(is it 'RT'\?\)", tmp_path, answers.rename(columns={"rt": "RT"})
    )
    renamed = answers.rename(columns={"object_response": "object_respons"})
    refused("is it 'object_respons'", tmp_path, renamed)
    refused("lacks the column 'left', 'right'", tmp_path, answers.drop(columns=["left", "right"]))
    path = tmp_path / "german.csv"
    path.write_text(answers.to_csv(index=False, sep=";"))
    with pytest.raises(InputError, match="separated by semicolons"):
        load(path)
    text = answers.to_csv(index=False)
    path.write_text(text[:-60])
    with pytest.raises(InputError, match="the file was cut off"):
        load(path)
    path.write_text(text.replace("subj,session", "subj,subj", 1))
    with pytest.raises(InputError, match="column subj twice"):
        load(path)


def test_trials_that_are_missing_or_repeated(tmp_path, answers):
    refused("'simulated-001', session 1 lacks trial 5", tmp_path, answers.drop(index=4))
    last = answers.index[answers["subj"] == "simulated-001"][-1]
    assert answers.loc[last, "condition"] == "test"
    refused("was not asked about", tmp_path, answers.drop(index=last))
    twice = pd.concat([answers, answers.iloc[[3]]])
    refused("trial 4 of session 1 more than once", tmp_path, twice)
    again = answers.copy()
    rows = answers[(answers["subj"] == "simulated-001") & (answers["condition"] == "test")]
    again.loc[rows.index[1], ["target", "category", "left", "right", "object_response"]] = (
        rows.iloc[0][["target", "category", "left", "right", "object_response"]].to_numpy()
    )
    refused("was asked twice about", tmp_path, again)
    write(tmp_path / "all", answers, "a.csv")
    write(tmp_path / "all", answers[answers["subj"] == "simulated-002"], "b.csv")
    with pytest.raises(InputError, match="two files carry one observer's name"):
        load(tmp_path / "all")


def test_an_observer_is_asked_once_about_an_identity_in_however_many_sessions(tmp_path, answers):
    first = answers["subj"] == "simulated-001"
    again = pd.concat([answers, answers[first].assign(session=2)])
    refused(
        r"'simulated-001' was asked twice about .* \(session 1 and 2\), and the analysis takes one "
        "answer of an observer about an identity: keep the first",
        tmp_path,
        again,
    )
    with pytest.raises(InputError, match=r"'simulated-001' was asked twice .* keep the first"):
        humans.load_responses(write(tmp_path, again))
    # the same answers, the second half of them on another day
    halves = answers.copy()
    later = first & (halves["trial"] > 7)
    halves.loc[later, "session"] = 2
    halves.loc[later, "trial"] -= 7
    table = load(write(tmp_path, halves))
    assert table.groupby("subj")["session"].nunique().tolist() == [2, 1, 1]
    columns = ["subj", "target", "prefers"]
    scored, wanted = (humans.score_responses(t, DIFFER)[columns] for t in (table, answers))
    pd.testing.assert_frame_equal(scored, wanted)
    refused("'simulated-001' was not asked about", tmp_path, halves[~later])


def test_two_answers_of_one_observer_never_count_as_two_observers(answers):
    scored = humans.score_responses(answers, DIFFER)
    twice = pd.concat([scored, scored[scored["subj"] == "simulated-001"].assign(session=2)])
    for analyse in (
        humans.compute_preference,
        humans.summarise_identities,
        humans.compute_consistency,
        humans.fit_mixed_model,
        lambda table: humans.predict_choices(table, DIFFER, {}),
    ):
        with pytest.raises(InputError, match="'simulated-001' was asked twice"):
            analyse(twice)


@pytest.mark.parametrize("name", ["na", " Ann", "Ann ", "", "\tAnn"])
def test_names_that_a_table_of_answers_cannot_hold_are_refused(name, answers):
    differ = DIFFER.replace({"id003": name})
    words = "means that there was none" if name == "na" else "has a space at one of its ends"
    for make in (
        lambda: humans.make_trials(differ, 2, catch=0),
        lambda: humans.make_practice(DIFFER, [*NAMES, name]),
        lambda: humans.check_responses(answers, differ),
        lambda: humans.simulate_observers(
            humans.make_trials(DIFFER, 2, catch=0).replace({"id003": name}), differ
        ),
    ):
        with pytest.raises(InputError, match=words):
            make()


def test_people_and_simulated_observers_are_not_mixed(tmp_path, answers):
    person = answers["subj"] == "simulated-002"
    refused(
        r"mixes people's answers \(observer 'simulated-002'\) with simulated ones",
        tmp_path,
        answers.assign(simulated=~person),
    )
    # within one observer as well
    refused("mixes people's answers", tmp_path, answers.assign(simulated=answers["trial"] > 3))


def test_reaction_times_in_milliseconds(tmp_path, answers):
    one = answers["subj"] == "simulated-002"
    scaled = answers.assign(rt=answers["rt"].where(~one, 1000 * answers["rt"]))
    refused("of observer 'simulated-002' are above .* s; rt is in seconds", tmp_path, scaled)
    # one long pause is no other unit
    paused = answers.copy()
    paused.loc[2, "rt"] = 3600.0
    assert load(write(tmp_path, paused))["rt"].max() == 3600.0


def test_sessions_of_different_length_without_a_table_of_choices(tmp_path, answers):
    short = answers[~((answers["subj"] == "simulated-002") & (answers["trial"] > 9))]
    with pytest.raises(InputError, match="'simulated-002' has 8 test trials and others have 12"):
        humans.load_responses(write(tmp_path, short))


def test_faces(tmp_path, answers):
    catch = answers.index[answers["condition"] == "catch"][0]
    side = "left" if answers.loc[catch, "left"] != answers.loc[catch, "target"] else "right"
    other = answers.copy()
    other.loc[catch, side] = "id02O"
    refused(
        rf"the {side} face 'id02O' in row {catch + 2} of answers.csv is unknown \(did you mean",
        tmp_path,
        other,
    )
    test = answers.index[answers["condition"] == "test"][0]
    other = answers.copy()
    other.loc[test, ["left", "object_response"]] = "id020"
    refused(
        f"the faces in row {test + 2} of answers.csv are not the two networks' choices",
        tmp_path,
        other,
    )
    other = answers.copy()
    other.loc[test, "object_response"] = other.loc[test, "target"]
    refused("is neither of the faces shown", tmp_path, other)
    other = answers.copy()
    other.loc[test, ["target", "category"]] = "id020"
    refused("no identity on which the pretrainings differ", tmp_path, other)
    other.loc[test, "category"] = "id001"
    refused("another category than target", tmp_path, other)


def test_values(tmp_path, answers):
    def changed(column, value):
        table = answers.astype({column: object})
        table.loc[7, column] = value
        return table

    refused(r"trial is '2\.5' in row 9 of answers\.csv", tmp_path, changed("trial", "2.5"))
    refused("session is '0'", tmp_path, changed("session", "0"))
    # a damaged number must not be counted up to
    for number in ("1000000000000", "1e8", "1e30", "1e999", "inf"):
        for column in ("trial", "session"):
            refused(
                rf"{column} is '{number}' in row 9 of answers\.csv; it must be .* to 100000",
                tmp_path,
                changed(column, number),
            )
    refused("a comma for the decimal point", tmp_path, changed("rt", "0,9"))
    refused("rt is '-1'", tmp_path, changed("rt", "-1"))
    refused("rt is 'inf'", tmp_path, changed("rt", "inf"))
    refused("condition is 'training'", tmp_path, changed("condition", "training"))
    refused("simulated is 'maybe'", tmp_path, changed("simulated", "maybe"))
    refused("row 9 of answers.csv has no subj", tmp_path, changed("subj", " "))


def test_one_observer_and_one_side(tmp_path, answers):
    one = answers[answers["subj"] == "simulated-001"]
    refused("answers of 1 observer", tmp_path, one)
    assert len(load(write(tmp_path, one), at_least=1)) == 14
    refused("on the left", tmp_path, answers.assign(object_response=answers["left"]))
    refused("on the right", tmp_path, answers.assign(object_response=answers["right"]))
    refused("no answered trial", tmp_path, answers.assign(object_response="na"))


def test_scores_worked_by_hand():
    rows = [
        ("a", 1, "id002", "test", "id001", "id002", "id003"),  # the first network's, on the left
        ("a", 2, "id004", "test", "id002", "id004", "id003"),  # the other's
        ("a", 3, "na", "test", "id003", "id004", "id005"),
        ("a", 4, "id009", "catch", "id009", "id001", "id009"),
    ]
    columns = ["subj", "trial", "object_response", "condition", "target", "left", "right"]
    table = pd.DataFrame(rows, columns=columns).assign(session=1, rt=[1.0, 3.0, np.nan, 9.0])
    table = table.assign(category=table["target"], imagename="x.png", simulated=False)
    scored = humans.score_responses(table, DIFFER)
    assert scored["chose"].tolist()[:2] == ["synthface", "imagenet"]
    assert pd.isna(scored["chose"][2])
    assert scored["prefers"].tolist()[:2] == [1.0, 0.0] and np.isnan(scored["prefers"][2])
    assert scored["first_left"].tolist() == [True, False, True]
    summary = humans.summarise_observers(table, DIFFER).iloc[0]
    assert summary["preference"] == 0.5 and summary["catch"] == 1.0
    assert summary["left"] == 1.0 and summary["unanswered"] == pytest.approx(1 / 3)
    assert summary["median_rt"] == 2.0


def test_each_rule_excludes_the_observer_who_breaks_it_and_no_other():
    trials = humans.make_trials(DIFFER, 7, catch=4, seed=3)
    answers = humans.simulate_observers(trials, DIFFER, bias=0.5, seed=5)
    who = answers["subj"].str[-1].astype(int)
    wrong = np.where(answers["left"] == answers["target"], answers["right"], answers["left"])
    careless = (who == 1) & (answers["condition"] == "catch")
    answers.loc[careless, "object_response"] = wrong[careless]
    test = answers["condition"] == "test"
    answers.loc[(who == 2) & test, "object_response"] = answers["left"]
    absent = (who == 3) & test & (answers["trial"] <= 3)
    answers.loc[absent, "object_response"] = "na"
    answers.loc[absent, "rt"] = np.nan
    answers.loc[who == 4, "rt"] = 0.1
    kept, table = humans.apply_exclusions(humans.check_responses(answers, DIFFER), DIFFER)
    assert table["excluded"].tolist() == [True] * 4 + [False] * 3
    rules = humans.ExclusionRules().sentences()
    assert table["reasons"].tolist() == [*rules, "", "", ""]
    assert kept["subj"].nunique() == 3
    with pytest.raises(InputError, match="fewer than two are left"):
        humans.apply_exclusions(answers, DIFFER, humans.ExclusionRules(min_median_rt=60))
