# The report as a graph: one rule per notebook, the book last.
#
# `make book` calls this with the run's name and settings in data/runs/<run>/run.json; by hand:
#   PATH=$PWD/.venv/bin:$PATH .venv-dag/bin/snakemake --cores all --config profile=ci
# The engine lives in .venv-dag (its dependencies and TensorFlow's exclude each other) and runs the
# notebooks with the Python of .venv, on this machine or, with a Snakemake profile, as Slurm jobs.
import os
import sys
from pathlib import Path

import yaml
from snakemake.utils import min_version

min_version("9.0")
sys.path.insert(0, workflow.basedir)
from lib import dependencies, params

RUN, SETTINGS = params.resolve(
    config.get("profile", "default"), config.get("set", ""), config.get("run", "")
)
OUT = f"data/runs/{RUN}"
# A chapter has the machine to itself, so that memory stays that of one. In ci starting a kernel takes
# longer than computing in it, and chapters that do not need each other run side by side.
THREADS = 1 if config.get("profile") == "ci" else workflow.cores


def notebook(stem):
    """Inputs of a chapter: its notebook, the modules of lib that it uses, and what these render from.

    lib/params.py is left out: what a notebook takes from it is in the rule's params, and a setting
    added for one chapter must not re-run the others.
    """
    path = f"notebooks/{stem}.ipynb"
    modules = dependencies.modules_of(Path(path))
    rendered = ["data/faces/assets.npz"] if "lib/faces/assets.py" in modules else []
    return [path, *(m for m in modules if m != "lib/params.py"), *rendered]


def settings(stem):
    """A chapter's settings as YAML: what Papermill injects, and what triggers a new run.

    A function, because the engine reads braces in a plain string as wildcards.
    """
    text = yaml.safe_dump(SETTINGS[stem].model_dump(mode="json"), sort_keys=True, allow_unicode=True)
    return lambda wildcards: text


def packages(stem):
    """Locked versions of the packages that a chapter's results depend on."""
    return " ".join(dependencies.packages_of(Path(f"notebooks/{stem}.ipynb")))


def table(name):
    """A table of the run and its provenance, kept until they are replaced."""
    return [update(f"{OUT}/{name}.csv"), update(f"{OUT}/{name}.csv.provenance.json")]


def weights(chapter):
    """State of the weight files that a chapter's settings name; other weights have a known digest."""
    shipped = [f"data/weights/{name}.npz" for name in chapter.pretrainings]
    own = [name for name in (*chapter.pretrainings, chapter.vggface_file) if name]
    return [dependencies.state_of(os.path.expanduser(path)) for path in (*shipped, *own)]


def state_of_responses(path):
    """State of the collected answers; none are there unless a path is given."""
    return dependencies.state_of(os.path.expanduser(path)) if path else "none"


def state_of_page():
    """Which packages of the experiment page are installed (scripts/setup_env.py)."""
    stamp = Path("experiment/node_modules/.installed")
    return stamp.read_text(encoding="utf-8") if stamp.is_file() else "none"


# Tables that printed claims are looked up in (lib.claims.evidence.MADE_BY).
CLAIM_TABLES = [
    *("faces", "concepts", "accuracies", "history", "predictions", "masks", "signs", "auc"),
    *("pairwise", "generalization_claims", "choices", "humans", "detectors"),
    *("curves", "trends", "salience", "detection", "detection_generalization"),
    "detection_contrasts",
]
# Tables of the first page (lib.summary.TABLES).
SUMMARY_TABLES = [
    *("probes", "faces", "shortcuts", "accuracies", "groups", "parts", "masks", "identities"),
    *("choices", "humans", "chance", "detectors", "salience_contrasts", "claims", "survival"),
    *("own_faces", "own_network"),
]


# The runner writes the notebook under `log:`, which outlives a failed job, and copies it to
# `output:` last: what failed can be read and is never published. `update()` keeps what an earlier run
# made until it is replaced; by itself the engine deletes outputs before it starts a job.
RUN_NOTEBOOK = (
    "python -m lib.runner {params.stem} --parameters {params.settings:q} --outputs {output:q}"
    " --inputs {input:q} --state {params:q}"
)


rule pretraining:
    input:
        notebook("00_pretraining"),
    output:
        table("pretraining"),
        table("probes"),
        notebook=update(f"{OUT}/notebooks/00_pretraining.ipynb"),
    log:
        notebook=f"{OUT}/logs/00_pretraining.ipynb",
    params:
        stem="00_pretraining",
        settings=settings("00_pretraining"),
        packages=packages("00_pretraining"),
        weights=[
            dependencies.state_of(f"data/weights/{name}.npz")
            for name in (SETTINGS["00_pretraining"].trunk, SETTINGS["00_pretraining"].compared)
        ],
        curves=dependencies.state_of(f"data/weights/{SETTINGS['00_pretraining'].trunk}_history.csv"),
        source=dependencies.state_of(SETTINGS["00_pretraining"].source),
    threads: THREADS
    shell:
        RUN_NOTEBOOK


rule faces:
    input:
        notebook("01_faces"),
    output:
        table("faces"),
        table("shortcuts"),
        table("concepts"),
        notebook=update(f"{OUT}/notebooks/01_faces.ipynb"),
    log:
        notebook=f"{OUT}/logs/01_faces.ipynb",
    params:
        stem="01_faces",
        settings=settings("01_faces"),
        packages=packages("01_faces"),
        source=dependencies.state_of(SETTINGS["01_faces"].source),
        dictionary=dependencies.state_of(SETTINGS["01_faces"].dictionary),
    threads: THREADS
    shell:
        RUN_NOTEBOOK


rule finetuning:
    input:
        notebook("02_finetuning"),
        # the size of images stands in the provenance alone
        f"{OUT}/faces.csv",
        f"{OUT}/faces.csv.provenance.json",
    output:
        table("accuracies"),
        table("history"),
        table("predictions"),
        readouts=update(f"{OUT}/readouts.nc"),
        logits=update(f"{OUT}/logits.nc"),
        notebook=update(f"{OUT}/notebooks/02_finetuning.ipynb"),
    log:
        notebook=f"{OUT}/logs/02_finetuning.ipynb",
    params:
        stem="02_finetuning",
        settings=settings("02_finetuning"),
        packages=packages("02_finetuning"),
        weights=weights(SETTINGS["02_finetuning"]),
    threads: THREADS
    shell:
        RUN_NOTEBOOK


rule relevance:
    input:
        notebook("03_relevance"),
        f"{OUT}/faces.csv",
        f"{OUT}/faces.csv.provenance.json",
        f"{OUT}/readouts.nc",
        # the explorer's own files
        [f"explorer/{name}" for name in ("index.html", "style.css", "app.js")],
        "benchmarks/results.csv",
    output:
        table("similarity"),
        table("groups"),
        table("presets"),
        table("parts"),
        table("engines"),
        table("truth"),
        maps=update(f"{OUT}/relevance.nc"),
        notebook=update(f"{OUT}/notebooks/03_relevance.ipynb"),
    log:
        notebook=f"{OUT}/logs/03_relevance.ipynb",
    params:
        stem="03_relevance",
        settings=settings("03_relevance"),
        packages=packages("03_relevance"),
        weights=weights(SETTINGS["02_finetuning"]),
    threads: THREADS
    shell:
        # the explorer is a folder of many small files
        RUN_NOTEBOOK + f" --pages {OUT}/pages/relevance"


rule masking:
    input:
        notebook("04_masking"),
        f"{OUT}/faces.csv",
        f"{OUT}/faces.csv.provenance.json",
        f"{OUT}/readouts.nc",
        f"{OUT}/relevance.nc",
    output:
        table("masks"),
        table("signs"),
        scores=update(f"{OUT}/scores.nc"),
        notebook=update(f"{OUT}/notebooks/04_masking.ipynb"),
    log:
        notebook=f"{OUT}/logs/04_masking.ipynb",
    params:
        stem="04_masking",
        settings=settings("04_masking"),
        packages=packages("04_masking"),
    threads: THREADS
    shell:
        RUN_NOTEBOOK


rule generalization:
    input:
        notebook("05_generalization"),
        f"{OUT}/scores.nc",
    output:
        table("auc"),
        table("anova"),
        table("pairwise"),
        table("assumptions"),
        table("identities"),
        table("generalization_claims"),
        notebook=update(f"{OUT}/notebooks/05_generalization.ipynb"),
    log:
        notebook=f"{OUT}/logs/05_generalization.ipynb",
    params:
        stem="05_generalization",
        settings=settings("05_generalization"),
        packages=packages("05_generalization"),
    threads: THREADS
    shell:
        RUN_NOTEBOOK


rule humans:
    input:
        notebook("06_humans"),
        f"{OUT}/faces.csv",
        f"{OUT}/faces.csv.provenance.json",
        f"{OUT}/readouts.nc",
        f"{OUT}/logits.nc",
        f"{OUT}/relevance.nc",
        # the experiment page's own files
        [f"experiment/{name}" for name in ("index.html", "style.css", "plugins.js", "app.js")],
    output:
        [table(name) for name in ("choices", "rank2", "agreement", "trials", "answers", "observers")],
        [table(name) for name in ("preference", "preferences", "humans", "printed", "coverage")],
        [table(name) for name in ("mixed", "consistency", "closeness", "predictors")],
        table("representations"),
        notebook=update(f"{OUT}/notebooks/06_humans.ipynb"),
    log:
        notebook=f"{OUT}/logs/06_humans.ipynb",
    params:
        stem="06_humans",
        settings=settings("06_humans"),
        packages=packages("06_humans"),
        weights=weights(SETTINGS["02_finetuning"]),
        responses=state_of_responses(SETTINGS["06_humans"].responses),
        page=state_of_page(),
    threads: THREADS
    shell:
        # no output of the rule: a run without a second pretraining, or a machine without jsPsych,
        # has no page
        RUN_NOTEBOOK + f" --pages {OUT}/pages/experiment"


rule dissection:
    input:
        notebook("07_dissection"),
        f"{OUT}/faces.csv",
        f"{OUT}/faces.csv.provenance.json",
        f"{OUT}/readouts.nc",
    output:
        [table(name) for name in ("units", "detectors", "chance", "ellipses", "biased", "carriers")],
        [table(name) for name in ("learners", "curves", "trends", "steepness")],
        overlaps=update(f"{OUT}/dissection.nc"),
        notebook=update(f"{OUT}/notebooks/07_dissection.ipynb"),
    log:
        notebook=f"{OUT}/logs/07_dissection.ipynb",
    params:
        stem="07_dissection",
        settings=settings("07_dissection"),
        packages=packages("07_dissection"),
        weights=weights(SETTINGS["02_finetuning"]),
        # networks and landmarks of the reader's
        files=[
            dependencies.state_of(os.path.expanduser(name))
            for name in (*SETTINGS["07_dissection"].networks, SETTINGS["07_dissection"].ellipses)
            if name
        ],
        shipped=[
            dependencies.state_of(f"data/weights/{name}.npz")
            for name in (*SETTINGS["07_dissection"].networks, SETTINGS["07_dissection"].learn_from)
        ],
        dictionary=dependencies.state_of(SETTINGS["07_dissection"].dictionary),
    threads: THREADS
    shell:
        RUN_NOTEBOOK


rule salience:
    input:
        notebook("08_salience"),
        f"{OUT}/faces.csv",
        f"{OUT}/faces.csv.provenance.json",
        f"{OUT}/readouts.nc",
        f"{OUT}/relevance.nc",
        f"{OUT}/scores.nc",
        f"{OUT}/auc.csv",
    output:
        [table(name) for name in ("salience", "salience_methods", "salience_contrasts")],
        [table(name) for name in ("salience_correlations", "salience_prediction")],
        [table(name) for name in ("salience_known", "detection", "detection_generalization")],
        [table(name) for name in ("detection_guidance", "detection_contrasts")],
        detectors=update(f"{OUT}/detection.nc"),
        measures=update(f"{OUT}/salience.nc"),
        notebook=update(f"{OUT}/notebooks/08_salience.ipynb"),
    log:
        notebook=f"{OUT}/logs/08_salience.ipynb",
    params:
        stem="08_salience",
        settings=settings("08_salience"),
        packages=packages("08_salience"),
        weights=weights(SETTINGS["02_finetuning"]),
        trunk=dependencies.state_of(f"data/weights/{SETTINGS['08_salience'].detector_weights}.npz"),
        # a reader's real and synthetic faces
        pictures=[
            dependencies.state_of(os.path.expanduser(name))
            for name in (
                SETTINGS["08_salience"].genuine,
                SETTINGS["08_salience"].synthetic,
                *SETTINGS["08_salience"].unseen,
                SETTINGS["08_salience"].human_maps,
            )
            if name
        ],
    threads: THREADS
    shell:
        RUN_NOTEBOOK


rule claims:
    input:
        notebook("09_claims"),
        # size, sources and draws stand in the provenance alone
        [f"{OUT}/{name}.csv" for name in CLAIM_TABLES],
        [f"{OUT}/{name}.csv.provenance.json" for name in CLAIM_TABLES],
        # one that is missing gets its sentence from the notebook
        [name for name in [SETTINGS["09_claims"].reported] if Path(name).is_file()],
        # tables of the run at the papers' scale, where they are there
        sorted(map(str, Path(SETTINGS["09_claims"].results).glob("*.csv*"))),
    output:
        table("claims"),
        table("statistics"),
        notebook=update(f"{OUT}/notebooks/09_claims.ipynb"),
    log:
        notebook=f"{OUT}/logs/09_claims.ipynb",
    params:
        stem="09_claims",
        settings=settings("09_claims"),
        packages=packages("09_claims"),
    threads: THREADS
    shell:
        RUN_NOTEBOOK


rule multiverse:
    input:
        notebook("10_multiverse"),
        f"{OUT}/faces.csv",
        f"{OUT}/readouts.nc",
        f"{OUT}/relevance.nc",
        f"{OUT}/scores.nc",
        f"{OUT}/auc.csv",
        # one that is missing gets its sentence from the notebook
        [name for name in [SETTINGS["10_multiverse"].choices] if Path(name).is_file()],
        # the runs that `make multiverse` has made beside this one
        sorted(map(str, Path("data/runs").glob(f"{RUN}.multiverse+*/scores.nc"))),
    output:
        table("specifications"),
        table("survival"),
        table("departures"),
        notebook=update(f"{OUT}/notebooks/10_multiverse.ipynb"),
    log:
        notebook=f"{OUT}/logs/10_multiverse.ipynb",
    params:
        stem="10_multiverse",
        settings=settings("10_multiverse"),
        packages=packages("10_multiverse"),
    threads: THREADS
    shell:
        RUN_NOTEBOOK


rule own_faces:
    input:
        notebook("11_own_faces"),
    output:
        table("own_faces"),
        notebook=update(f"{OUT}/notebooks/11_own_faces.ipynb"),
    log:
        notebook=f"{OUT}/logs/11_own_faces.ipynb",
    params:
        stem="11_own_faces",
        settings=settings("11_own_faces"),
        packages=packages("11_own_faces"),
        folder=dependencies.state_of(SETTINGS["11_own_faces"].folder),
        manifest=dependencies.state_of(SETTINGS["11_own_faces"].manifest),
    threads: THREADS
    shell:
        RUN_NOTEBOOK


rule own_network:
    input:
        notebook("12_own_network"),
        f"{OUT}/faces.csv",
        f"{OUT}/faces.csv.provenance.json",
    output:
        table("own_network"),
        notebook=update(f"{OUT}/notebooks/12_own_network.ipynb"),
    log:
        notebook=f"{OUT}/logs/12_own_network.ipynb",
    params:
        stem="12_own_network",
        settings=settings("12_own_network"),
        packages=packages("12_own_network"),
        network=state_of_responses(SETTINGS["12_own_network"].network),
    threads: THREADS
    shell:
        RUN_NOTEBOOK


# The first page: the answer in sentences and one figure, from the tables of all chapters.
rule summary:
    input:
        [f"{OUT}/{name}.csv" for name in SUMMARY_TABLES],
        [f"{OUT}/{name}.csv.provenance.json" for name in SUMMARY_TABLES],
        dependencies.modules_of(Path("lib/summary/__main__.py")),
        "lib/summary/__main__.py",
    output:
        table("summary"),
        table("findings"),
        figure=update(f"{OUT}/summary.svg"),
    params:
        run=RUN,
        packages=" ".join(dependencies.packages_of(Path("lib/summary/__main__.py"))),
    threads: THREADS
    shell:
        "python -m lib.summary {params.run:q}"


# On a cluster the long loops of three chapters are cut into jobs that leave what they have computed
# where the chapter finds it. They run before it (scripts/report.py) and are none of its inputs: here
# and there a run has the same artefacts with the same records.
SHARDS = int(config.get("shards", 0))

if SHARDS:

    rule finetuning_parts:
        input:
            expand(
                f"{OUT}/parts/features/{{trunk}}.npz",
                trunk=range(len(SETTINGS["02_finetuning"].pretrainings)),
            ),

    rule finetuning_part:
        input:
            ["lib/parts.py", *dependencies.modules_of(Path("lib/parts.py"))],
            rules.faces.output[:2],
        output:
            f"{OUT}/parts/features/{{trunk}}.npz",
        params:
            settings=settings("02_finetuning"),
            weights=weights(SETTINGS["02_finetuning"]),
        threads: THREADS
        shell:
            "python -m lib.parts features 0 1 {output:q}"
            " --trunk {wildcards.trunk} --parameters {params.settings:q}"

    rule relevance_parts:
        input:
            expand(
                f"{OUT}/parts/relevance/{{trunk}}-{{part}}.npz",
                trunk=range(len(SETTINGS["02_finetuning"].pretrainings)),
                part=range(SHARDS),
            ),

    rule relevance_part:
        input:
            ["lib/parts.py", *dependencies.modules_of(Path("lib/parts.py"))],
            rules.finetuning.output.readouts,
            rules.faces.output[:2],
        output:
            f"{OUT}/parts/relevance/{{trunk}}-{{part}}.npz",
        params:
            settings=settings("03_relevance"),
            weights=weights(SETTINGS["02_finetuning"]),
            shards=SHARDS,
        threads: THREADS
        shell:
            "python -m lib.parts relevance {wildcards.part} {params.shards} {output:q}"
            " --trunk {wildcards.trunk} --parameters {params.settings:q}"

    rule masking_parts:
        input:
            expand(f"{OUT}/parts/masking/{{part}}.txt", part=range(SHARDS)),

    # chapters that need none of the above, so that no node waits
    rule beside_finetuning:
        input:
            rules.pretraining.output.notebook,
            rules.own_faces.output.notebook,
            rules.own_network.output.notebook,

    rule beside_relevance:
        input:
            rules.dissection.output.notebook,

    rule beside_masking:
        input:
            rules.humans.output.notebook,

    rule masking_part:
        input:
            ["lib/parts.py", *dependencies.modules_of(Path("lib/parts.py"))],
            rules.relevance.output.maps,
            rules.finetuning.output.readouts,
            rules.faces.output[:2],
        output:
            f"{OUT}/parts/masking/{{part}}.txt",
        params:
            settings=settings("04_masking"),
            shards=SHARDS,
        threads: THREADS
        shell:
            "python -m lib.parts masking {wildcards.part} {params.shards} {output:q}"
            " --parameters {params.settings:q}"


rule all:
    default_target: True
    input:
        f"book/_build/{RUN}/html/index.html",
        # by name, so that one that was deleted is made again although the book is there
        rules.pretraining.output,
        rules.faces.output,
        rules.finetuning.output,
        rules.relevance.output,
        rules.masking.output,
        rules.generalization.output,
        rules.humans.output,
        rules.salience.output,
        rules.dissection.output,
        rules.claims.output,
        rules.multiverse.output,
        rules.own_faces.output,
        rules.own_network.output,
        rules.summary.output,


rule book:
    input:
        [f"{OUT}/notebooks/{stem}.ipynb" for stem in params.CHAPTERS],
        rules.summary.output,
        dependencies.book_sources(),
        dependencies.modules_of(Path("lib/publish.py")),
        "lib/publish.py",
        # shown beside this run, where they are there
        sorted(map(str, Path("data/results/paper").glob("SHA256SUMS"))),
    output:
        update(f"book/_build/{RUN}/html/index.html"),
    params:
        run=RUN,
        packages=" ".join(dependencies.locked(dependencies.BOOK_PACKAGES)),
    threads: THREADS
    shell:
        "python -m lib.publish {params.run:q}"
