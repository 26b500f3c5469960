"""The first page: numbers of its figure and the direction of its sentences, from tables made to
give them, and the same the other way round."""

import hashlib
import json
import re

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from lib import figures, store, summary
from lib.errors import InputError
from lib.summary import numbers, panels, words

GENERAL, FACE = "imagenet", "synthface"
RELATIONS = numbers.RELATIONS


def frame(columns, rows):
    return pd.DataFrame(rows, columns=columns.split())


def make_tables(
    pair=(GENERAL, FACE), effect=0.1, likeness=(0.9, 0.8, 0.5), salience=0.2, units=0.5
):
    """Tables of a run whose results are the arguments; intervals are 0.04 to either side."""
    general, face = pair[0], pair[-1]
    types = [(p, t) for p in pair for t in ("identity", "gender")]
    wide = 0.04
    parts = [
        (f"{p}/{t}/{k}", p, t, k, part, area, share * (1 + 0.1 * k))
        for p, t in types
        for k in (0, 1)
        for part, area, share in (
            ("eyes", 0.02, 0.10 if p == general else 0.04),
            ("nose", 0.02, 0.06 if p == general else 0.12),
            ("lashes", 0.001, 0.05),
            ("background", 0.5, 0.2 if p == general else 0.3),
        )
    ]
    groups = [
        (r, "all", "all", v, v - wide, v + wide) for r, v in zip(RELATIONS, likeness, strict=True)
    ]
    groups += [("other initialisation", f"{p} {t}", f"{p} {t}", 0.9, 0.8, 1.0) for p, t in types]
    groups += [("other task", f"{p} identity", f"{p} gender", 0.7, 0.6, 0.8) for p in pair]
    if len(pair) > 1:
        groups += [
            ("other pretraining", f"{general} {t}", f"{face} {t}", 0.5, 0.4, 0.6)
            for t in ("identity", "gender")
        ]
        groups.append(("both other", f"{general} identity", f"{face} gender", 0.4, 0.3, 0.5))
    contrasts = []
    for k, (p, t) in enumerate(types):
        for relation, value in (("other_initialisation", 0.0), ("other_task", 0.01)):
            contrasts.append(
                (t, p, f"{relation} - same_instance", value, value - wide, value + wide)
            )
        # the last type has no clear difference
        value = effect if k < len(types) - 1 else effect / 10
        name = "other_pretraining - same_instance"
        contrasts.append((t, p, name, value, value - wide, value + wide))
    contrasts.append(("identity", f"{face} - {general}", "pretraining", 0.3, 0.2, 0.4))
    identities = frame("task pretraining contrast estimate low high", contrasts)
    identities = identities.assign(general=general, face=face)
    differences = [
        (m, "pretraining", t, general, face, v, v - wide, v + wide)
        for m, v in (("S_noise", salience), ("S_geo", 0.0))
        for t in ("identity", "gender")
    ]
    verdicts = (
        ["reproduced"] * 5 + ["same direction"] * 3 + ["not reproduced"] * 2 + ["not testable"]
    )
    claims = [("result", v) for v in verdicts] + [("design", "reproduced")] * 4
    runs = [
        (p, t, k, part, 0.9)
        for p, t in types
        for k in (0, 1)
        for part in ("training", "validation")
    ]
    levels = [(1.0, 0.9), (10.0, 0.4), (31.6, 0.1)]
    masks = [
        (p, t, k, mask, "mean", level, min(value + more, 1))
        for p, t in types
        for k in (0, 1)
        for mask, more in (("relevance", 0.0), ("mirrored", 0.2), ("random", 0.5))
        for level, value in levels
    ]
    people = [f"p{k}" for k in range(4)]
    choices = [
        (p, i, "x" if p == general or k == 0 else "y") for p in pair for k, i in enumerate(people)
    ]
    detectors = [
        (p, layer, "region", region, 100, count, count)
        for p in (*pair, "mine/gender")
        for layer in ("conv1", "conv5")
        for region, count in (("eye", 30 if p == general else 5), ("chin", 10))
    ]
    fates = ["everywhere", "depends", "everywhere"]
    tables = {
        "probes": frame("trunk view images accuracy chance", [(FACE, 45, 6, 0.8, 0.1)]),
        "faces": frame("path identity", [(f"{i}{k}", i) for i in people for k in range(3)]),
        "shortcuts": frame(
            "check value limit passed", [("a", 0.5, 0.7, True), ("b", 0.8, 0.7, False)]
        ),
        "accuracies": frame("pretraining task initialisation part accuracy", runs),
        "groups": frame("relation first second r low high", groups),
        "parts": frame("model pretraining task instance part area absolute", parts),
        "masks": frame(
            "destination_pretraining destination_task instance mask fill level accuracy", masks
        ),
        "identities": identities,
        "choices": frame("pretraining identity rank2", choices),
        "humans": frame("quantity here simulated", [("identities", 4, True)]),
        "chance": frame(
            "network layer units fixed chance",
            [
                (p, layer, 100, 60, int(100 * units) if p == general else 20)
                for p in (*pair, "mine/gender")
                for layer in ("conv1", "conv5")
            ],
        ),
        "detectors": frame("network layer by group units detectors detectors_above", detectors),
        "salience_contrasts": frame(
            "measure factor within first second difference low high", differences
        ),
        "claims": frame("kind verdict", claims),
        "survival": frame("survives", [(f,) for f in fates]).assign(
            general=general,
            face=face,
            null_claim=False,
            **{"reproduced": 3, "same direction": 1, "not reproduced": 0, "not testable": 0},
        ),
        "own_faces": frame("path identity", [("a", "x"), ("b", "y")]),
        "own_network": frame("task part accuracy", [("identity", "validation", 0.75)]),
    }
    if len(pair) < 2:
        tables["identities"] = identities.iloc[:0]
        tables["groups"] = tables["groups"][tables["groups"]["relation"] != "other pretraining"]
        tables["salience_contrasts"] = tables["salience_contrasts"].iloc[:0]
        tables["survival"] = tables["survival"].iloc[:0]
    return tables


def marks(table, panel, row):
    found = table[(table["panel"] == panel) & (table["row"] == row)]
    return {(r.pretraining, r.task): (r.value, r.low, r.high) for r in found.itertuples()}


# -------------------------------------------------------------------------------------- the numbers


def test_relevance_is_over_the_area_with_the_range_of_the_readouts():
    table = summary.compute_summary(make_tables())
    eyes = marks(table, "parts", "eyes")
    assert eyes[GENERAL, "identity"] == pytest.approx((5.25, 5.0, 5.5))
    assert eyes[FACE, "gender"] == pytest.approx((2.1, 2.0, 2.2))
    assert not marks(table, "parts", "lashes"), "too small for a steady ratio"


def test_rows_of_the_panels_are_those_of_the_chapters_tables():
    table = summary.compute_summary(make_tables())
    assert set(marks(table, "likeness", "other task")) == {(GENERAL, ""), (FACE, "")}
    assert set(marks(table, "likeness", "other pretraining")) == {("", "identity"), ("", "gender")}
    assert marks(table, "likeness", "other initialisation")[FACE, "gender"] == (0.9, 0.8, 1.0)
    assert not marks(table, "likeness", "both other")
    found = marks(table, "masking", "other pretraining")
    assert found[GENERAL, "identity"] == pytest.approx((0.1, 0.06, 0.14))
    assert found[FACE, "gender"] == pytest.approx((0.01, -0.03, 0.05))
    assert marks(table, "units", "conv5")[GENERAL, ""][0] == 0.5
    assert marks(table, "units by limit", "conv5")[FACE, ""][0] == 0.6
    assert "mine/gender" not in set(table["pretraining"]), "no trunk of the study"
    assert marks(table, "salience", "S_noise")["", "gender"] == pytest.approx((0.2, 0.16, 0.24))


def test_of_three_pretrainings_the_first_pair_is_shown():
    tables = make_tables()
    third = tables["identities"].assign(face="other", estimate=9.0)
    tables["identities"] = pd.concat([tables["identities"], third], ignore_index=True)
    more = tables["parts"].assign(pretraining="other")
    tables["parts"] = pd.concat([tables["parts"], more], ignore_index=True)
    assert summary.find_pair(tables) == (GENERAL, FACE)
    assert summary.compute_summary(tables).equals(summary.compute_summary(make_tables()))


# ---------------------------------------------------------------------------------------- the words


def test_the_five_sentences_of_known_tables():
    where, shared, matters, units, sure = summary.state_answer(make_tables())
    assert where == (
        "To tell identity, relevance is densest under imagenet on the eyes (5.2 times an even "
        "spread) and the nose (3.1) and under synthface on the nose (6.3) and the eyes (2.1); 21% "
        "and 32% of it lies on the background."
    )
    assert shared == (
        "Two networks' maps of a face correlate at r = 0.90 where the initialisation alone "
        "differs, 0.80 where the task does and 0.50 where the pretraining does: the pretraining "
        "moves them more than the task; 2 of 4 differences in their salience are clear, where luck "
        "alone would give 0.2."
    )
    assert matters == (
        "Taking away the pixels that the other pretraining finds relevant, in place of a network's "
        "own, does less harm in 3 and no clearly different harm in 1 of 4 kinds of network (area "
        "under the accuracy curve +0.078 on average); those of the other task do no clearly "
        "different harm in any of 4 kinds of network (+0.010)."
    )
    assert units == (
        "In the deepest layer that was dissected, 50% of the units under imagenet and 20% under "
        "synthface find a facial concept better than chance (60% and 60% by the published limit), "
        "most of them on the eye under imagenet and the chin under synthface."
    )
    assert sure == (
        "Of the 11 printed results 10 can be tested here: 5 came out as printed, 3 in the same "
        "direction, 2 not; and what is said about a pretraining is said about one trunk."
    )


def test_a_reversed_result_reverses_the_sentences():
    _, shared, matters, *_ = summary.state_answer(
        make_tables(effect=-0.1, likeness=(0.9, 0.5, 0.8), salience=0.0)
    )
    assert "the pretraining moves them less than the task" in shared
    assert "0 of 4 differences in their salience are clear" in shared
    assert "does more harm in 3 and no clearly different harm in 1 of 4" in matters
    assert "does less harm" not in matters and "-0.078 on average" in matters


def test_a_result_that_is_none_is_called_none():
    _, shared, matters, *_ = summary.state_answer(make_tables(effect=0.0, likeness=(0.9, 0.6, 0.6)))
    assert "whether pretraining or task moves them more, these faces cannot tell" in shared
    assert matters.count("no clearly different harm in any of 4 kinds of network") == 2


def test_an_effect_without_an_interval_is_not_called_clear():
    tables = make_tables()
    tables["identities"].loc[:, ["low", "high"]] = np.nan
    assert "no clearly different harm in any of 4" in summary.state_answer(tables)[2]


@pytest.mark.parametrize("parts", [True, False])
def test_one_pretraining_says_what_it_cannot_compare(parts):
    tables = make_tables(pair=(GENERAL,), likeness=(0.9, 0.8, 0.5))
    if not parts:
        tables["parts"] = tables["parts"].iloc[:0]
    where, shared, matters, units, _ = summary.state_answer(tables)
    assert ("no part labels" in where) != parts
    assert "moves them" not in shared and "0.80 where the task does" in shared
    assert matters.startswith("This run has one pretraining")
    assert "50% of the units under imagenet find" in units
    lines = summary.state_chapters(tables)
    assert lines["05_generalization"] == "one pretraining, so none to compare"
    fig = panels.plot_summary(summary.compute_summary(tables), (GENERAL,))
    said = " ".join(t.get_text() for ax in fig.get_axes() for t in ax.texts)
    assert ("no part labels" in said) != parts and "one pretraining" in said
    plt.close(fig)


def test_tables_that_chapters_could_not_compute_are_called_so():
    tables = make_tables(pair=(GENERAL,))
    absent = tables["identities"].reindex(columns=numbers.READ["identities"].split())
    absent.loc[0] = ["identity", GENERAL, "x - same_instance", 0.1, 0, 1, GENERAL, "no second one"]
    tables["identities"] = absent
    assert summary.find_pair(tables) == (GENERAL,)
    for name in set(tables) - {"accuracies", "faces", "claims"}:
        tables[name] = pd.DataFrame(columns=numbers.READ[name].split())
    answer, lines = summary.state_answer(tables), summary.state_chapters(tables)
    assert len(answer) == 5 and all(text.endswith(".") for text in answer)
    assert answer[3] == "The trunks of this run were not dissected."
    assert lines["04_masking"] == "no pixels were removed" and len(lines) == 13
    assert "faces of 4 people" in summary.state_caption(tables)
    table = summary.compute_summary(tables)
    assert table.empty
    plt.close(panels.plot_summary(table, (GENERAL,)))


def test_results_that_no_data_can_test():
    tables = make_tables()
    tables["claims"] = tables["claims"].assign(verdict="not testable")
    assert summary.state_answer(tables)[-1].startswith("None of the 11 printed results")


def test_a_line_for_every_chapter(root):
    lines = summary.state_chapters(make_tables())
    assert sorted(lines) == sorted(p.stem for p in (root / "notebooks").glob("*.ipynb"))
    assert lines["01_faces"] == "12 images of 4 people; 1 of 2 checks for shortcuts over its limit"
    assert lines["02_finetuning"].endswith(
        "identity 0.900 (imagenet) and 0.900 (synthface); "
        "gender 0.900 (imagenet) and 0.900 (synthface)"
    )
    assert lines["04_masking"] == (
        "with the most relevant 10% of the pixels gone, identity is right in 0.40; with as "
        "scattered pixels gone, in 0.60"
    )
    assert (
        lines["06_humans"] == "rank-2 choices differ for 3 of 4 people; the observers are simulated"
    )
    assert lines["08_salience"].startswith(
        "2 of 4 differences between imagenet and synthface are clear, 2 up and 0"
    )
    assert lines["10_multiverse"] == (
        "of 3 printed differences 2 hold in every specification and 1 depends on the choices; "
        "specifications: 4"
    )
    assert not any(line.endswith(".") for line in lines.values())


def test_real_observers_are_not_called_simulated():
    tables = make_tables()
    name = "preference for the first pretraining, %"
    tables["humans"] = frame("quantity here simulated", [(name, 51.84, False)])
    line = summary.state_chapters(tables)["06_humans"]
    assert line.endswith("observers prefer imagenet's in 51.8%") and "simulated" not in line


# --------------------------------------------------------------------------------------- the figure


def test_the_figure_shows_every_number_of_the_table_once():
    table = summary.compute_summary(make_tables())
    fig = panels.plot_summary(table, (GENERAL, FACE))
    shown = []
    for ax in fig.get_axes():
        for line in ax.get_lines():
            if line.get_marker() == "o":
                across = (
                    line.get_ydata()
                    if ax.get_title(loc="left") == "Units with a concept"
                    else line.get_xdata()
                )
                shown += list(np.asarray(across, float))
    assert sorted(shown) == pytest.approx(sorted(table["value"]))
    plt.close(fig)


def test_type_of_the_figure_is_readable_on_a_phone():
    fig = panels.plot_summary(summary.compute_summary(make_tables()), (GENERAL, FACE))
    fig.canvas.draw()
    texts = [
        t
        for ax in fig.get_axes()
        for t in (*ax.get_xticklabels(), *ax.get_yticklabels(), ax.xaxis.label)
    ]
    smallest = min(t.get_fontsize() for t in texts if t.get_text())
    assert smallest / 72 / fig.get_figwidth() * 350 >= 8, "pixels high, shown 350 pixels wide"
    plt.close(fig)


# ------------------------------------------------------------------------------------- what is kept


@pytest.fixture(autouse=True)
def style():
    with plt.rc_context():
        figures.apply_style()
        yield


def save_tables(run):
    """The tables of all chapters in the folder of a run, which is returned."""
    out = store.run_folder(run)
    for name, table in make_tables().items():
        parameters = {"size": 64} if name == "faces" else {"confidence": 0.9}
        store.save_table(table, out / f"{name}.csv", store.provenance("x", parameters))
    return out


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "ROOT", tmp_path)
    return save_tables("r")


def test_a_run_keeps_table_figure_and_words_and_makes_them_again_to_the_byte(run):
    made = summary.write_summary("r")
    first = [hashlib.sha256(path.read_bytes()).hexdigest() for path in made]
    assert [path.name for path in made] == ["summary.svg", "summary.csv", "findings.csv"]
    assert first == [hashlib.sha256(p.read_bytes()).hexdigest() for p in summary.write_summary("r")]
    about = store.provenance_of(run / "findings.csv")
    assert about["figure"] == first[0] and len(about["inputs"]) == len(summary.TABLES)
    found = summary.load_findings("r")
    assert list(found["answer"]) == [lead for lead, _ in summary.LEADS]
    assert "luck alone would give 0.4" in found["answer"]["How far that is shared"]
    assert "faces of 4 people at 64 px" in found["figure"]["caption"]
    page = summary.write_page(found, "r")
    assert "{figure} executed/r/summary.svg" in page and f":alt: {words.ALT}" in page
    for lead, chapters in summary.LEADS:
        line = next(ln for ln in page.splitlines() if f"**{lead}.**" in ln)
        assert found["answer"][lead] in line
        assert re.findall(r"executed/r/(\w+)\.ipynb", line) == list(chapters)
    assert found["chapter"]["01_faces"] in summary.write_chapters(found, {"01_faces": "Faces"}, "r")


def test_a_figure_of_other_tables_is_refused(run):
    summary.write_summary("r")
    (run / "summary.svg").write_text("<svg/>")
    with pytest.raises(InputError, match=r"not the figure that findings.csv was made with"):
        summary.load_findings("r")


def test_a_missing_table_names_its_chapter(run):
    (run / "groups.csv").unlink()
    with pytest.raises(InputError, match=r"groups.csv is missing: run 03_relevance first"):
        summary.write_summary("r")


def test_a_table_that_says_why_it_is_empty_counts_as_empty(run):
    store.save_table(
        pd.DataFrame({"why": ["no pair"]}), run / "choices.csv", {"chapter": "x", "parameters": {}}
    )
    (run / "survival.csv").write_text("\n")
    tables = summary.load_tables(run)
    assert tables["choices"].empty and list(tables["choices"].columns) == [
        *("pretraining", "identity", "rank2")
    ]
    assert tables["survival"].empty and set(numbers.READ) == set(summary.TABLES)


def test_the_graph_hands_the_summary_every_table_that_it_reads(root):
    text = (root / "Snakefile").read_text()
    listed = re.search(r"SUMMARY_TABLES = \[(.*?)\n\]", text, re.S).group(1)
    assert re.findall(r'"(\w+)"', listed) == list(summary.TABLES)
    for name, chapter in summary.TABLES.items():
        notebook = json.loads((root / "notebooks" / f"{chapter}.ipynb").read_text())
        source = "".join("".join(c["source"]) for c in notebook["cells"])
        assert re.search(rf"\b{name}\b", source), f"{chapter} writes no {name}"
