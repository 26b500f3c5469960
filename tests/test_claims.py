"""Printed claims: the ledger, verdicts on tables made to give them, and what is missing."""

import hashlib
import inspect
import re

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import pytest
from docutils.nodes import make_id
from scipy import stats

from lib import claims, figures
from lib.claims import design, evidence, judge, panels, reported, words
from lib.errors import InputError
from lib.generalization import claims as anova
from lib.humans import printed as people
from lib.humans.study import compare_with_printed

TYPES = [(p, t) for p in ("imagenet", "synthface") for t in ("identity", "gender")]


@pytest.fixture
def ledger(root):
    return claims.load_reported(root / "data" / "reported.csv")


class Run:
    """A folder of tables, as small as they can be, whose numbers a test sets."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.pairs(("imagenet", "synthface"))
        self.accuracies([0.99] * 8)

    def save(self, name, table):
        pd.DataFrame(table).to_csv(self.folder / f"{name}.csv", index=False)
        return self

    def pairs(self, *pairs, verdict="reproduced", printed="reproduced", note=""):
        rows = [
            {
                "claim": claim.id,
                "published": claim.published,
                "outcome_printed": "identity F(1,4) = 42.7, p = 0.0028, np2 = 0.91 [0.48, 0.95]",
                "verdict_printed": printed,
                "outcome_design": "identity F(1,2) = 23.4, p = 0.04, np2 = 0.92 [0.06, 0.95]",
                "verdict_design": verdict,
                "note": note,
                "general": general,
                "face": face,
            }
            for general, face in pairs
            for claim in anova.CLAIMS
        ]
        return self.save("generalization_claims", rows)

    def accuracies(self, values, trunks=("imagenet", "synthface")):
        count = len(values) // len(trunks) // 2
        rows = [
            (trunk, task, k, part)
            for trunk in trunks
            for task in ("identity", "gender")
            for k in range(count)
            for part in ("training", "validation")
        ]
        table = pd.DataFrame(rows, columns=["pretraining", "task", "initialisation", "part"])
        table["accuracy"] = 1.0
        table.loc[table["part"] == "validation", "accuracy"] = values
        return self.save("accuracies", table)

    def areas(self, gaps):
        """Areas of two networks a type: other pretraining above other task by ``gaps``."""
        rows = []
        for (pretraining, task), pair in zip(TYPES, gaps, strict=True):
            for instance, gap in enumerate(pair):
                for kind, auc in (("other_task", 0.5), ("other_pretraining", 0.5 + gap)):
                    rows.append((pretraining, task, instance, kind, auc))
        names = ["pretraining", "task", "instance"]
        columns = [*(f"destination_{n}" for n in names), "bin", "auc"]
        table = pd.DataFrame(rows, columns=columns).assign(general="imagenet", face="synthface")
        return self.save("auc", table)

    def choices(self, differ, of):
        names = [f"id{k:03d}" for k in range(of)]
        parts = [
            pd.DataFrame(
                {
                    "pretraining": trunk,
                    "identity": names[:: 1 if trunk == "imagenet" else -1],
                }
            )
            for trunk in ("imagenet", "synthface")
        ]
        table = pd.concat(parts, ignore_index=True)
        place = table["identity"].str[2:].astype(int)
        other = (table["pretraining"] == "synthface") & (place < differ)
        return self.save("choices", table.assign(rank2=np.where(other, "x", "y")))

    def answers(self, monkeypatch, mean=51.8, p=0.023, high=76.1, low=67.4, simulated=False):
        rows = {
            "observers": 46,
            "preference for the first pretraining, %": mean,
            "p": p,
            "highest preference of an identity for the first, %": high,
            "highest preference of an identity for the other, %": low,
        }
        table = pd.DataFrame({"quantity": list(rows), "here": list(rows.values())})
        self.save("humans", table.assign(simulated=simulated))
        made = {"chapter": "06_humans", "parameters": {"pair": []}}
        monkeypatch.setattr(evidence.store, "provenance_of", lambda path: made)
        return self

    def curve(self, before, at):
        rows = [
            ("imagenet", "gender", k, mask, "channel_mean", level, accuracy)
            for k in range(2)
            for mask, shift in (("relevance", 0.0), ("random", 0.5))
            for level, accuracy in ((1.0, 0.9), (10.0, before + shift), (31.6, at - shift))
        ]
        names = ["pretraining", "task", "instance"]
        columns = [*(f"destination_{n}" for n in names), "mask", "fill", "level", "accuracy"]
        return self.save("masks", pd.DataFrame(rows, columns=columns))

    def outcome(self, ledger, claim):
        row = ledger.set_index("id", drop=False).loc[claim]
        compute = judge.EVALUATORS[claim].compute
        return claims.judge_claim(row, claims.Evidence(self.folder), compute)


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path / "run")


# ------------------------------------------------------------------------------------- the ledger


def test_every_claim_has_one_evaluator_or_one_reason_and_nothing_else_has(ledger):
    known = set(ledger["id"])
    assert set(judge.EVALUATORS) | set(judge.GIVEN) == known
    assert not set(judge.EVALUATORS) & set(judge.GIVEN)
    statistics = set(ledger.loc[ledger["kind"] == "statistic", "id"])
    assert statistics <= set(judge.GIVEN)


def test_the_ledger_holds_the_constants_of_the_code_that_judges_them(ledger):
    value = ledger.set_index("id")["value"]
    effects = {
        "identity: pretraining": "identity_pretraining",
        "identity: source": "identity_source",
        "gender: pretraining": "gender_pretraining",
        "four sources, smallest of four": "four_sources",
    }
    assert set(effects) == {row[0] for row in anova.PRINTED}
    for effect, F, _, p, _ in anova.PRINTED:
        assert value[f"{effects[effect]}_F"] == F
        assert value[f"{effects[effect]}_p"] == p
    for claim in anova.CLAIMS:
        row = ledger.set_index("id").loc[claim.id]
        if row["unit"] == "types":
            assert row["value"] == claim.count, claim.id
        else:
            assert row["value"] == 0.05 and row["operator"] == "<>"[claim.expect == "null"]
    bounds = {c.id: re.search(r"ps ([<>]) (\.\d+)$", c.published) for c in anova.CLAIMS}
    for claim, found in bounds.items():
        if found:
            row = ledger.set_index("id").loc[f"{claim}_p"]
            assert (row["operator"], row["value"]) == (found.group(1), float(found.group(2)))
    assert sum(map(bool, bounds.values())) == 4
    for claim in anova.CLAIMS:
        if claim.bound:
            assert value[f"{claim.id}_p"] == claim.bound
    assert {c.id for c in anova.CLAIMS if c.is_null} | {"stable_initialisations"} == judge.NULL
    given = inspect.signature(people.recompute_printed).parameters
    names = {"mean": "preference", "sem": "preference_sem", "t": "preference_t"}
    names |= {"p": "preference_p", "observers": "observers"}
    for name, claim in names.items():
        assert value[claim] == given[name].default
    assert (value["extreme_face"], value["extreme_general"]) == given["extremes"].default
    differ = given["identities"].default
    assert value["rank2_differ"] == pytest.approx(differ / value["people"], abs=5e-4)


def test_chapter_06_prints_the_numbers_of_the_ledger(ledger):
    class Analysis:
        preference = pd.DataFrame(
            {"over": ["observers"], "n": 46, "mean": 0.5, "sem": 0.1, "t": 0.0, "p": 1.0}
        )
        identities = pd.DataFrame({"preference": [0.5]})

    beside = compare_with_printed(Analysis, 95, 101).set_index("quantity")["reported"]
    value = ledger.set_index("id")["value"]
    names = {
        "identities": "people",
        "observers": "observers",
        "preference for the first pretraining, %": "preference",
        "s.e.m. over observers, %": "preference_sem",
        "t": "preference_t",
        "p": "preference_p",
        "highest preference of an identity for the first, %": "extreme_face",
        "highest preference of an identity for the other, %": "extreme_general",
    }
    assert set(beside.index) == {*names, "of these with different rank-2"}
    for quantity, claim in names.items():
        assert beside[quantity] == value[claim]


def test_the_checksum_is_that_of_the_file(root):
    digest, name = (root / "data" / "SHA256SUMS").read_text().split()
    assert name == "reported.csv"
    assert digest == hashlib.sha256((root / "data" / name).read_bytes()).hexdigest()


def test_every_need_is_described_and_every_paper_is_in_the_bibliography(root, ledger):
    needs = {need for text in ledger["needs"] for need in text.split("; ")}
    assert needs == set(design.NEEDS)
    text = (root / "book" / "references.bib").read_text()
    assert all(f"{{{key}," in text for key in ledger["paper"].unique())


def test_what_stands_in_for_the_published_is_read_from_the_run(ledger, run, monkeypatch):
    run.answers(monkeypatch, simulated=True)
    run.save("curves", {"kind": ["glasses", "glasses", "greyscale"]})
    run.save("detectors", {"network": ["imagenet", "gender", "age", "age"]})
    table = claims.describe_needs(ledger, claims.Evidence(run.folder)).set_index("needed")
    assert table.loc["two pretrainings", "here"].startswith("ImageNet and synthface, trained on")
    assert "nobody was asked" in table.loc["collected answers", "here"]
    assert table.loc["biased networks", "here"].endswith("planted glasses and greyscale")
    assert table.loc["task networks", "here"] == "networks on rendered faces: gender, age"
    assert table.loc["faces", "here"] == "nothing: faces.csv of 01_faces is not in this run"
    run.accuracies([0.99] * 8, ("imagenet", "vggface"))
    table = claims.describe_needs(ledger, claims.Evidence(run.folder)).set_index("needed")
    assert table.loc["two pretrainings", "here"] == "ImageNet and VGGFace"
    assert table["claims"].to_dict()["collected answers"] == 4


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("operator", "~"), "operator '~' is not one of =, >"),
        (("paper", "smith1999"), "paper 'smith1999' is not one of crawford2020"),
        (("kind", "guess"), "kind 'guess'"),
        (("value", "many"), "value 'many' is no number"),
        (("id", "b"), "the id 'b' is empty or given twice"),
    ],
)
def test_a_wrong_row_is_named(tmp_path, change, said):
    row = dict.fromkeys([*reported.TEXT, *reported.NUMBERS], "1")
    row |= {"paper": "crum2023", "kind": "result", "operator": "="}
    path = tmp_path / "reported.csv"
    pd.DataFrame([row | {"id": "a"} | dict([change]), row | {"id": "b"}]).to_csv(path, index=False)
    with pytest.raises(InputError, match=re.escape(said)):
        claims.load_reported(path)


def test_a_ledger_that_is_missing_or_lacks_a_column_is_refused(tmp_path):
    with pytest.raises(InputError, match="restore it"):
        claims.load_reported(tmp_path / "none.csv")
    (tmp_path / "short.csv").write_text("id,paper\na,crum2023\n")
    with pytest.raises(InputError, match="no column place"):
        claims.load_reported(tmp_path / "short.csv")


# --------------------------------------------------------------------------------------- verdicts


@pytest.mark.parametrize(
    ("value", "operator", "printed", "tolerance", "expected"),
    [
        (51.0, "=", 51.8, 1.0, True),
        (50.7, "=", 51.8, 1.0, False),
        (0.98, ">", 0.98, 0.0, False),
        (4, ">=", 4, 0.0, True),
        (0.05, "<", 0.05, 0.0, False),
        (0.05, "<=", 0.05, 0.0, True),
    ],
)
def test_relations(value, operator, printed, tolerance, expected):
    assert judge.holds(value, operator, printed, tolerance) is expected


@pytest.mark.parametrize(
    ("accuracies", "verdict"),
    [
        ([0.99] * 8, "reproduced"),
        ([0.99] * 7 + [0.9], "same direction"),
        ([0.99] * 4 + [0.9] * 4, "not reproduced"),
    ],
)
def test_accuracy_of_all_of_most_and_of_half_of_the_networks(ledger, run, accuracies, verdict):
    assert run.accuracies(accuracies).outcome(ledger, "accuracy").verdict == verdict


def test_a_missing_table_is_a_reason_and_a_wrong_one_an_error(ledger, run):
    (run.folder / "accuracies.csv").unlink()
    found = run.outcome(ledger, "accuracy")
    assert (found.verdict, found.words) == ("not testable", "")
    assert found.why == "accuracies.csv of 02_finetuning is not in this run"
    (run.folder / "accuracies.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="has no column pretraining"):
        run.outcome(ledger, "accuracy")


@pytest.mark.parametrize(
    ("gaps", "verdict"),
    [
        ([(0.10, 0.11)] * 4, "reproduced"),  # its interval is above zero
        ([(0.10, -0.08)] * 4, "same direction"),  # a mean above zero, an interval about it
        ([(-0.10, -0.11)] * 4, "not reproduced"),
    ],
)
def test_less_across_pretrainings_by_an_interval(ledger, run, gaps, verdict):
    assert run.areas(gaps).outcome(ledger, "less_across_pretraining").verdict == verdict


def test_the_interval_of_a_difference_of_areas_worked_by_hand(ledger, run):
    gaps = [(0.10, 0.14), (0.00, 0.02), (0.05, 0.05), (0.20, 0.24)]
    found = run.areas(gaps).outcome(ledger, "less_across_pretraining")
    means, variances = np.mean(gaps, 1), np.var(gaps, 1, ddof=1) / 2 / 16
    df = variances.sum() ** 2 / (variances**2).sum()
    half = stats.t.ppf(0.975, df) * np.sqrt(variances.sum())
    mean = means.mean()
    assert found.value == pytest.approx(mean)
    assert found.words == f"{mean:+.3f} [{mean - half:+.3f}, {mean + half:+.3f}]"


@pytest.mark.parametrize(
    ("differ", "of", "verdict"),
    [(95, 101, "reproduced"), (60, 101, "same direction"), (30, 101, "not reproduced")],
)
def test_rank2_choices_that_differ(ledger, run, differ, of, verdict):
    found = run.choices(differ, of).outcome(ledger, "rank2_differ")
    assert found.verdict == verdict and found.value == pytest.approx(differ / of)


@pytest.mark.parametrize(
    ("before", "at", "verdict"), [(0.4, 0.5, "reproduced"), (0.5, 0.4, "not reproduced")]
)
def test_the_bump_is_a_rise_at_the_printed_level_of_the_relevance_mask(
    ledger, run, before, at, verdict
):
    found = run.curve(before, at).outcome(ledger, "bump")
    assert found.verdict == verdict and found.value == pytest.approx(at - before)


def test_positive_relevance_that_goes_first(ledger, run):
    rows = {"source_pretraining": "imagenet", "source_task": "gender", "order": "magnitude"}
    for positive, verdict in ((0.3, "reproduced"), (0.9, "not reproduced")):
        table = pd.DataFrame({"level": [1.0, 10.0, 31.6], "positive": [1, positive, 0]})
        run.save("signs", table.assign(negative=[0.2, 0.6, 1.0], **rows))
        found = run.outcome(ledger, "bump_sign")
        assert found.verdict == verdict and found.value == pytest.approx(0.6 - positive)


@pytest.mark.parametrize(
    ("p", "difference", "verdict"),
    [
        ([0.5, 0.2, 0.9, np.nan], [0.01, 0.02, 0.0, 0.0], "reproduced"),
        ([0.01, 0.2, 0.01, 0.9], [0.1, 0.02, 0.1, 0.0], "not reproduced"),
        ([0.5, 0.2, 0.9, np.nan], [0.01, 0.02, 0.0, 0.1], "not testable"),
    ],
)
def test_stability_over_initialisations(ledger, run, p, difference, verdict):
    rows = pd.DataFrame(TYPES, columns=["pretraining", "task"]).assign(
        analysis="initialisation", difference=difference, p_holm=p
    )
    run.save("pairwise", rows.assign(general="imagenet", face="synthface"))
    assert run.outcome(ledger, "stable_initialisations").verdict == verdict


def test_verdicts_of_chapter_05_are_taken_over(ledger, run):
    for verdict in ("reproduced", "same direction", "not reproduced"):
        run.pairs(("imagenet", "synthface"), verdict=verdict)
        found = run.outcome(ledger, "identity_pretraining")
        assert found.verdict == verdict
        printed = "" if verdict == "reproduced" else " (in the printed form: reproduced)"
        assert found.words == "identity F(1,2) = 23.4, p = 0.04" + printed
    run.pairs(("imagenet", "synthface"), verdict="not testable", note="one network only")
    found = run.outcome(ledger, "identity_pretraining")
    assert (found.verdict, found.why) == ("not testable", "one network only")


def test_the_published_pair_is_judged_where_it_is_there(run):
    assert claims.Evidence(run.folder).pair == ("imagenet", "synthface")
    run.pairs(("imagenet", "synthface"), ("imagenet", "vggface"), ("synthface", "vggface"))
    run.accuracies([0.99] * 12, ("imagenet", "synthface", "vggface"))
    assert claims.Evidence(run.folder).pair == ("imagenet", "vggface")
    run.accuracies([0.99] * 4, ("imagenet",))
    with pytest.raises(claims.NotTestable, match="one pretraining"):
        assert claims.Evidence(run.folder).pair


@pytest.mark.parametrize(
    ("claim", "given", "verdict"),
    [
        ("preference", {"mean": 52.5}, "reproduced"),
        ("preference", {"mean": 58.0}, "same direction"),
        ("preference", {"mean": 48.0}, "not reproduced"),
        ("preference_test", {"p": 0.01}, "reproduced"),
        ("preference_test", {"p": 0.4}, "same direction"),
        ("preference_test", {"p": 0.01, "mean": 45.0}, "not reproduced"),
        ("extreme_face", {"high": 95.0}, "same direction"),
        ("observers", {}, "reproduced"),
        ("preference", {"simulated": True}, "not testable"),
    ],
)
def test_people(ledger, run, monkeypatch, claim, given, verdict):
    found = run.answers(monkeypatch, **given).outcome(ledger, claim)
    assert found.verdict == verdict
    assert ("simulated" in found.why) == (verdict == "not testable")


def test_a_table_that_says_why_it_is_empty_is_quoted(ledger, run):
    run.save("choices", {"why": ["no network of this run tells identities apart"]})
    assert run.outcome(ledger, "rank2_differ").why.startswith("no network of this run")
    run.save("trends", pd.DataFrame())
    assert (
        run.outcome(ledger, "grey_units").why == "trends.csv of 07_dissection is empty in this run"
    )
    run.save("trends", trends([1.0]).head(0))
    assert (
        run.outcome(ledger, "grey_units").why == "trends.csv of 07_dissection is empty in this run"
    )


# ------------------------------------------------------------------------ dissection and salience


def trends(slopes, kind="greyscale", quantity="biased units", **p):
    p = {"tau_p": 0.5, "page_p": 0.5} | p
    blocks = [f"block {k}" for k in range(len(slopes))]
    table = pd.DataFrame({"block": blocks, "slope": slopes, "seeds": 3})
    return table.assign(kind=kind, quantity=quantity, **p)


@pytest.mark.parametrize(
    ("slopes", "rise", "steeper"),
    [
        ([0.1, 0.2, 0.3, 0.4], "reproduced", "reproduced"),
        ([0.2, 0.1, 0.3, 0.4], "reproduced", "same direction"),
        ([-0.1, 0.1, 0.3, 0.2], "same direction", "same direction"),
        ([0.4, 0.3, -0.2, -0.1], "not reproduced", "not reproduced"),
    ],
)
def test_units_biased_by_greyscale(ledger, run, slopes, rise, steeper):
    run.save("trends", trends(slopes))
    assert run.outcome(ledger, "grey_units").verdict == rise
    assert run.outcome(ledger, "grey_slopes").verdict == steeper
    assert (
        run.outcome(ledger, "glasses_detectors").why == "the experiment with glasses was not made"
    )


@pytest.mark.parametrize(
    ("slopes", "p", "verdict"),
    [
        ([0.5, 0.1], {"page_p": 0.02}, "reproduced"),
        ([0.5, 0.1], {"page_p": 0.03}, "same direction"),  # .06 for two blocks
        ([0.5, 0.1], {"page_p": np.nan, "tau_p": 0.02}, "reproduced"),
        ([-0.5, 0.1], {"page_p": 0.02}, "not reproduced"),
    ],
)
def test_eye_detectors_with_planted_glasses(ledger, run, slopes, p, verdict):
    run.save("trends", trends(slopes, "glasses", "detectors in the eye region", **p))
    assert run.outcome(ledger, "glasses_detectors").verdict == verdict


def test_the_tables_of_a_planted_experiment_are_understood(ledger, run):
    from lib.dissection.experiment import Results, summarise_experiment

    cells = pd.DataFrame(
        [
            (kind, float(percent), seed, f"layer{block}", block)
            for kind in ("glasses", "greyscale")
            for percent in (50, 75, 100)
            for seed in range(3)
            for block in range(1, 5)
        ],
        columns=["kind", "percent", "seed", "block", "number"],
    )
    # one unit more for 10 points of P in the first block, two in the second
    rise = cells["number"] * (cells["percent"] - 50) / 10 + cells["seed"]
    results = Results(
        cells.assign(region="eye", detectors=rise),
        cells.assign(concept="gender", biased=rise),
        pd.DataFrame(),
        pd.DataFrame(),
    )
    curves, table, _ = summarise_experiment(results)
    run.save("curves", curves).save("trends", table)
    for claim, value in (("grey_units", 4), ("grey_slopes", 3), ("glasses_detectors", 10)):
        found = run.outcome(ledger, claim)
        assert found.verdict == "reproduced" and found.value == pytest.approx(value)
    assert run.outcome(ledger, "bias_levels").value == 3


@pytest.mark.parametrize(
    ("eye", "verdict"), [((40, 5), "reproduced"), ((20, 21), "not reproduced")]
)
def test_detectors_of_networks_for_two_tasks(ledger, run, eye, verdict):
    rows = [
        (network, layer, "region", region, count if layer == "b" else 99 - count)
        for network, here in (("gender", eye[0]), ("age", eye[1]), ("imagenet", 0))
        for layer in "ab"
        for region, count in (("eye", here), ("mouth", 20), ("chin", 0))
    ]
    table = pd.DataFrame(rows, columns=["network", "layer", "by", "group", "detectors"])
    found = run.save("detectors", table).outcome(ledger, "tasks_differ")
    assert found.verdict == verdict
    # the last layer, the networks with a task, the regions with a detector
    known = stats.chi2_contingency([[eye[0], 20], [eye[1], 20]]).pvalue
    assert found.value == pytest.approx(known)
    run.save("detectors", table.loc[table["network"] != "age"])
    assert "no two networks" in run.outcome(ledger, "tasks_differ").why


def detection(gaps):
    """Areas of runs on a seen and two unseen generators; ``gaps`` of the guided kind."""
    rows = [
        (f"{loss}-{k}", loss, k, generator, generator == "seen", area)
        for k, gap in enumerate(gaps)
        for loss, extra in (("cross_entropy", 0.0), ("cyborg", gap))
        for generator, area in (("seen", 1.0 - extra), ("one", 0.6 + extra), ("two", 0.7 + extra))
    ]
    return pd.DataFrame(rows, columns=["detector", "loss", "run", "generator", "seen", "auc"])


@pytest.mark.parametrize(
    ("gaps", "verdict"),
    [
        ([0.05, 0.06, 0.07], "reproduced"),
        ([0.30, 0.01, -0.1], "same direction"),
        ([0.05], "same direction"),  # one run has no interval
        ([-0.05, -0.06, -0.07], "not reproduced"),
    ],
)
def test_guided_training_on_unseen_generators(ledger, run, gaps, verdict):
    from lib.salience.comparison import compare_generalization

    table = detection(gaps)
    run.save("detection", table).save("detection_generalization", compare_generalization(table))
    found = run.outcome(ledger, "guided_generalises")
    assert found.verdict == verdict and found.value == pytest.approx(np.mean(gaps))
    count = len(gaps)
    assert run.outcome(ledger, "runs").value == count
    assert run.outcome(ledger, "run_pairs").value == count * (count - 1) // 2
    seen = compare_generalization(table.loc[table["seen"]])
    run.save("detection_generalization", seen)
    assert "not seen" in run.outcome(ledger, "guided_generalises").why


def test_measures_that_differ_between_two_kinds_of_training(ledger, run):
    names = ["S_entropy", "S_noise", "S_stability", "S_resilience background"]
    names += ["S_resilience object", "S_geo", "spatial_entropy"]
    p = [0.01, 0.2, np.nan, 0.01, 0.04, np.nan, 0.01]
    low, high = [0.1, 0.1, 0.1, -0.3, 0.1, -0.1, 0.1], [0.2, 0.2, 0.2, -0.1, 0.2, 0.1, 0.2]
    table = pd.DataFrame({"measure": names, "low": low, "high": high, "p_holm": p})
    found = run.save("detection_contrasts", table).outcome(ledger, "kinds_differ")
    assert (found.value, found.verdict) == (2, "reproduced")
    both = "2 of 5: S_entropy, S_resilience; by an interval alone S_noise, S_stability"
    assert found.words == both
    hint = table.assign(p_holm=table["p_holm"].where(table["measure"] == "S_noise"))
    run.save("detection_contrasts", hint)  # intervals off zero and no p below .05
    assert run.outcome(ledger, "kinds_differ").verdict == "same direction"
    run.save("detection_contrasts", table.assign(low=-0.1, high=0.2, p_holm=0.3))
    assert run.outcome(ledger, "kinds_differ").verdict == "not reproduced"
    run.save("detection_contrasts", table.assign(low=np.nan, high=np.nan, p_holm=np.nan))
    assert "two runs" in run.outcome(ledger, "kinds_differ").why


def test_numbers_of_the_salience_study(ledger, run):
    rows = [("S_geo", f"turn {k}") for k in range(12)] + [("S_geo", "all")]
    rows += [("S_noise", a) for a in (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, "all")]
    run.save("salience", pd.DataFrame(rows, columns=["measure", "condition"]))
    assert run.outcome(ledger, "transforms") == judge.Outcome(12, "12", "reproduced")
    assert run.outcome(ledger, "amounts") == judge.Outcome(8, "8", "reproduced")


# ------------------------------------------------------------------------------------ side by side


def test_two_runs_stand_side_by_side(ledger, run, tmp_path):
    paper = Run(tmp_path / "paper").choices(95, 101)
    run.accuracies([0.9] * 8)
    here = claims.Evidence(run.folder)
    alone = claims.compare_claims(ledger, here, claims.Evidence(tmp_path / "none"))
    assert set(alone["paper_words"]) == {"not run yet"} and set(alone["paper_verdict"]) == {""}
    both = claims.compare_claims(ledger, here, claims.Evidence(paper.folder, "the paper-scale run"))
    assert both["verdict"].equals(alone["verdict"])
    row = both.set_index("id").loc["accuracy"]
    assert (row["verdict"], row["paper_verdict"]) == ("not reproduced", "reproduced")
    row = both.set_index("id").loc["rank2_differ"]
    assert (row["verdict"], row["paper_verdict"]) == ("not testable", "reproduced")
    row = both.set_index("id").loc["bump"]
    assert row["paper_words"] == "masks.csv of 04_masking is not in the paper-scale run"
    counts = claims.count_verdicts(both)
    assert (counts[list(judge.VERDICTS)].sum(axis=1) == counts["claims"]).all()
    assert counts["claims"].iloc[-1] == counts["claims"].iloc[:-1].sum() == 24
    reproduced = both.loc[(both["kind"] == "result") & (both["verdict"] == "reproduced")]
    assert counts["reproduced"].iloc[-1] == len(reproduced) == len(anova.CLAIMS)
    # of the eight, four claim no difference
    assert counts["null claims reproduced"].iloc[-1] == 4 == reproduced["null_claim"].sum()


def test_a_claim_that_nobody_looks_up_is_an_error(ledger, run):
    more = pd.concat([ledger, ledger.tail(1).assign(id="new", kind="result")])
    here = claims.Evidence(run.folder)
    with pytest.raises(InputError, match=r"'new'.*add one"):
        claims.compare_claims(more, here, here)


def test_printed_numbers_follow_from_one_another(ledger):
    table = claims.recompute_statistics(ledger).set_index("id")
    assert table["agrees"].all()
    assert table.loc["identity_pretraining_p", "recomputed"] == stats.f.sf(49.6, 1, 16)
    assert table.loc["preference_t", "recomputed"] == pytest.approx(1.8 / 0.77)
    assert table.loc["entropy_sample", "recomputed"] == pytest.approx(3.0413 / np.log2(49))
    given = ledger.loc[ledger["kind"] == "statistic", "id"]
    kept = [claim for claim in given if judge.GIVEN[claim].startswith("recomputed")]
    assert set(table.index) == {*kept, "extreme_face", "extreme_general"}


def test_a_misprinted_number_does_not_follow(ledger):
    for claim, value in (("entropy_sample", 0.55), ("preference_t", 2.6), ("extreme_face", 76.5)):
        wrong = ledger.assign(value=ledger["value"].where(ledger["id"] != claim, value))
        assert not claims.recompute_statistics(wrong).set_index("id").loc[claim, "agrees"]
    with pytest.raises(InputError, match="no claim entropy_sample_bits"):
        claims.recompute_statistics(ledger.loc[ledger["id"] != "entropy_sample_bits"])


# --------------------------------------------------------------------------------- words and form


def test_sections_are_headings_of_their_chapters_and_anchors_those_of_the_book(root):
    for chapter in {e.chapter for e in judge.EVALUATORS.values() if e.section}:
        cells = nbformat.read(root / "notebooks" / f"{chapter}.ipynb", 4).cells
        text = "\n".join(c.source for c in cells if c.cell_type == "markdown") + "\n"
        sections = {e.section for e in judge.EVALUATORS.values() if e.chapter == chapter}
        for section in sections - {""}:
            assert f"## {section}\n" in text
            assert judge.anchor(section) == make_id(section)


def test_every_result_has_a_label(ledger):
    assert set(words.LABELS) == set(ledger.loc[ledger["kind"] == "result", "id"])


def test_the_workflow_waits_for_every_table_that_it_makes_and_claims_read(root):
    text = (root / "Snakefile").read_text()
    listed = re.search(r"CLAIM_TABLES = \[(.*?)\]", text, re.S).group(1)
    listed = set(re.findall(r'"(\w+)"', listed))
    lines = [line for line in text.splitlines() if "table(" in line]
    made = set(re.findall(r'"(\w+)"', "\n".join(lines)))
    assert listed == set(evidence.MADE_BY) & made


def test_links_lead_to_the_sections_and_names_stay_text():
    table = pd.DataFrame({"what": ["<b>a</b>", "c"], "value": [1.0, 2.5]})
    page = words.LinkedTable(table, {"what": ["04_masking.html#four-sources", ""]})._repr_html_()
    assert '<a href="04_masking.html#four-sources">&lt;b&gt;a&lt;/b&gt;</a>' in page
    assert "<b>" not in page and "\0" not in page
    assert ">2.50<" in page and page.count("<a ") == 1


def test_every_verdict_is_written_in_its_tile(ledger, run, tmp_path):
    figures.apply_style()
    paper = claims.Evidence(tmp_path / "none")
    table = claims.compare_claims(ledger, claims.Evidence(run.folder), paper)
    fig = panels.plot_verdicts(table, words.LABELS)
    results = table.loc[table["kind"] == "result"]
    assert len(fig.axes) == 3
    for ax, (_, part) in zip(fig.axes, results.groupby("paper", sort=False), strict=True):
        texts = [t.get_text() for t in ax.texts]
        assert texts[::2] == ["not run yet"] * len(part)
        assert texts[1::2] == part["verdict"].tolist()
        assert [t.get_text() for t in ax.get_yticklabels()] == [words.LABELS[i] for i in part["id"]]
    plt.close(fig)


def test_findings_count_what_the_table_says(ledger, run, tmp_path):
    paper = claims.Evidence(tmp_path / "none")
    table = claims.compare_claims(ledger, claims.Evidence(run.folder), paper)
    found = words.summarise_findings(table, claims.recompute_statistics(ledger), paper)
    names = ("reproduced", "same_direction", "not_reproduced", "not_testable")
    assert sum(int(found[name]) for name in names) == int(found["claims"]) == 24
    assert found["reproduced"] == str(len(anova.CLAIMS) + 1)  # and the accuracies
    assert found["agree"] == "10 of 10" and "not been made yet" in found["paper_run"]
