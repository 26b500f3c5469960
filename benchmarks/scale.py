"""Tables, sentences and figure of the book's page *Scale*, from what was measured.

    python -m benchmarks.scale

reads ``growth.csv``, ``results.csv``, ``clusters.csv`` and ``slurm.csv`` of this folder and writes
``book/scale/``. Nothing on that page is typed by hand.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import LogLocator

from lib import figures
from lib.store import ROOT, atomic_path

HERE = Path(__file__).parent
PAGE = ROOT / "book" / "scale"
#: CSV files of this folder that the page is made of.
TABLES = ("growth", "results", "clusters", "slurm")
NAMES = {"maps": "relevance maps", "masking": "masked faces scored"}
#: Images of the paper: pixels a side; bytes of a relevance, of a grey value, of a score.
SIDE, RELEVANCE, GREY, SCORE = 224, 4, 1, 1
#: Levels between 0 and 100% in the paper, and with these two.
LEVELS = 6
ALL_LEVELS = LEVELS + 2
#: People that a network tells apart in the study whose rates these are; features of a face on a
#: trunk at :data:`SIDE` pixels; views of a face that readouts learn from; bytes of a weight.
PEOPLE, WIDTH, VIEWS, WEIGHT = 101, 25_088, 15, 4
#: Networks, faces, trunks that the networks stand on. Faces are the frontal images that are masked.
STUDIES = (
    ("the published", 20, 101, 2),
    ("a laboratory's", 200, 2_000, 2),
    ("a large", 1_000, 100_000, 2),
    ("a large, ten networks on each trunk", 1_000, 100_000, 100),
)
#: Nodes of the cluster that are asked for.
NODES = 100


def fit(some: pd.DataFrame) -> dict[str, float]:
    """A straight line through the times of a series, and what memory did.

    Returns
    -------
    dict
        ``each`` seconds per unit of work; ``off``, the largest distance of a point from the line,
        as a share of the longest time; ``grew``, how many times the work grew; ``memory``, by which
        factor the peak did; ``added``, MB between the smallest and the largest peak.
    """
    each, start = np.polyfit(some["work"], some["seconds"], 1)
    off = np.abs(some["seconds"] - (start + each * some["work"])).max() / some["seconds"].max()
    peak = some["peak_mb"].to_numpy()
    work = some["work"].to_numpy()
    return {
        "each": each,
        "off": off,
        "grew": work[-1] / work[0],
        "memory": peak[-1] / peak[0],
        "added": peak.max() - peak.min(),
    }


def summarise(growth: pd.DataFrame) -> pd.DataFrame:
    """A row per series."""
    rows = []
    for (stage, grows), some in growth.groupby(["stage", "grows"], sort=False):
        found = fit(some.sort_values("number"))
        ends = f"{some['number'].min():,} to {some['number'].max():,}"
        rows.append({"stage": NAMES[stage], "grows": grows, "from_to": ends} | found)
    return pd.DataFrame(rows)


def plot_growth(growth: pd.DataFrame) -> plt.Figure:
    """Time and peak of memory of every series against its work."""
    figures.apply_style()
    fig, axes = plt.subplots(1, 2, figsize=(9, 3.6))
    styles = dict(zip(("readouts", "faces", "levels"), ("-", "--", ":"), strict=True))
    hues = {"maps": figures.HUES["blue"], "masking": figures.HUES["vermilion"]}
    for (stage, grows), some in growth.groupby(["stage", "grows"], sort=False):
        some = some.sort_values("number")
        look = {"color": hues[stage], "linestyle": styles[grows], "marker": "o", "markersize": 4}
        label = f"{NAMES[stage]}: {grows}"
        axes[0].plot(some["work"], some["seconds"], label=label, **look)
        axes[1].plot(some["work"], some["peak_mb"], **look)
    axes[0].set(title="Time", xlabel="maps, or masked faces", ylabel="seconds")
    axes[0].set(xscale="log", yscale="log")
    axes[1].set(title="Memory", xlabel="maps, or masked faces", ylabel="peak, MB", xscale="log")
    axes[1].set_ylim(0, 1.25 * growth["peak_mb"].max())
    for axis in (axes[0].xaxis, axes[0].yaxis, axes[1].xaxis):
        axis.set_major_formatter("{x:,g}")
        axis.set_minor_formatter("")
    axes[0].yaxis.set_major_locator(LogLocator(subs=(1, 3)))
    # below the curves of memory, which start far from zero
    axes[1].legend(
        *axes[0].get_legend_handles_labels(), fontsize=8, title="what grows", title_fontsize=8
    )
    return fig


def rates(results: pd.DataFrame) -> pd.DataFrame:
    """Units of work a second and core at 224 pixels, float32, from the benchmarks.

    Returns
    -------
    DataFrame
        Index ``features``, ``maps`` and ``masking``; columns ``rate``, ``machine``. The slower
        machine, where there are two.
    """
    rows = {}
    for stage, name in (
        ("features", "features_vs"),
        ("maps", "lrp_float32"),
        ("masking", "masking_vs_bare_forward"),
    ):
        some = results[
            results["name"].str.startswith(name) & results["unit"].str.contains(" 224 px")
        ]
        some = some.assign(cores=some["machine"].str.extract(r"(\d+) cores")[0].astype(int))
        some = some.assign(rate=some["ours"] / some["cores"]).sort_values("rate")
        rows[stage] = {"rate": some["rate"].iloc[0], "machine": some["machine"].iloc[0]}
    return pd.DataFrame(rows).T


def cost(results: pd.DataFrame, cluster: pd.Series) -> pd.DataFrame:
    """What each of :data:`STUDIES` takes, by the measured rates."""
    rate = rates(results)["rate"]
    rows = []
    for name, networks, faces, trunks in STUDIES:
        maps = networks * faces
        passes = (networks * LEVELS + 2) * faces * trunks
        features = VIEWS * faces * trunks
        seconds = features / rate["features"] + maps / rate["maps"] + passes / rate["masking"]
        hours = seconds / 3600
        rows.append(
            {
                "study": name,
                "networks": networks,
                "faces": faces,
                "trunks": trunks,
                "features": features,
                "maps": maps,
                "masked faces": passes,
                "core hours": hours,
                "node hours": hours / cluster["cores"],
                "days": hours / cluster["cores"] / NODES / 24,
                "maps, TB": maps * SIDE**2 * RELEVANCE / 1e12,
                "scores, TB": networks**2 * ALL_LEVELS * faces * SCORE / 1e12,
            }
        )
    return pd.DataFrame(rows)


def _short(value: float) -> str:
    """A number to two digits: 1,300,000 or 0.0041."""
    if value == 0:
        return "0"
    digits = 1 - int(np.floor(np.log10(abs(value))))
    return f"{round(value, digits):,.{max(digits, 0)}f}"


def _table(table: pd.DataFrame) -> str:
    """A Markdown table of text."""
    lines = [table.columns, ["---"] * len(table.columns), *table.astype(str).to_numpy()]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def weights_of_readouts(networks: int, people: int) -> dict[str, float]:
    """What readouts of either task in turns weigh, and what they add to a masked face.

    Returns
    -------
    dict
        ``bytes`` of all weights; ``share``, the multiplications of all readouts for one face over
        those of the trunk's convolutions (VGG-16: 15.3 thousand million at 224 pixels).
    """
    weights = WIDTH * (networks / 2) * (people + 2)
    return {"bytes": weights * WEIGHT, "share": weights / 15.35e9}


def grown_memory(growth: pd.DataFrame) -> float:
    """Bytes that masking takes for each pixel of each further face, from the peaks."""
    some = growth[(growth["stage"] == "masking") & (growth["grows"] == "faces")]
    slope = np.polyfit(some["number"], some["peak_mb"], 1)[0]
    return max(slope, 0.0) * 2**20 / some["size"].iloc[0] ** 2


def write_growth(growth: pd.DataFrame) -> str:
    """Text about growth."""
    found = summarise(growth)
    shown = pd.DataFrame(
        {
            "work": found["stage"],
            "what grows": found["grows"],
            "from, to": found["from_to"],
            "ms each": [f"{1000 * v:.1f}" for v in found["each"]],
            "off the line": [f"{v:.0%}" for v in found["off"]],
            "work grows": [f"{v:.1f}-fold" for v in found["grew"]],
            "peak grows": [f"{v:.2f}-fold" for v in found["memory"]],
            "by, MB": [f"{v:.0f}" for v in found["added"]],
        }
    )
    most = found.loc[found["memory"].idxmax()]
    words = (
        f"Measured at {growth['size'].iloc[0]} pixels on {growth['machine'].iloc[0]}, every point "
        "in a process of its own. The faces are the study's, repeated and moved by some pixels; "
        "the time of a convolution does not depend on what it sees. A straight line through the "
        f"times of a series misses none of its points by more than {found['off'].max():.0%} of the "
        f"longest. The peak of memory grows most with the {most['grows']} ({most['stage']}): "
        f"{most['memory']:.2f}-fold, while the work grows {most['grew']:.0f}-fold.\n"
    )
    return words + "\n" + _table(shown)


def write_cost(results: pd.DataFrame, clusters: pd.DataFrame, growth: pd.DataFrame) -> str:
    """Text about cost."""
    cluster = clusters.iloc[0]
    found, rate = cost(results, cluster), rates(results)
    words = (
        f"On {cluster['name']} ({cluster['nodes']:,} nodes of {cluster['cores']} cores, "
        f"[{cluster['processor']}]({cluster['source']})), at {SIDE} pixels in float32 and {LEVELS} "
        "levels between 0 and 100%, under relevance masks alone. The rates are the benchmarks', "
        f"of one core: {rate.loc['maps', 'rate']:.2f} maps a second "
        f"({rate.loc['maps', 'machine']}), {rate.loc['masking', 'rate']:.2f} masked faces a "
        f"second ({rate.loc['masking', 'machine']}) and {rate.loc['features', 'rate']:.2f} images "
        f"a second for the features of {VIEWS} views of every face "
        f"({rate.loc['features', 'machine']}). That a core of the cluster is as fast, and that "
        "cores do not wait for each other, is assumed; training of the readouts, statistics and "
        f"rendering are left out. Days are those of {NODES} nodes. Networks tell {PEOPLE} people "
        "or two genders, as in the study whose rates these are, so that a large study has many "
        "faces of each.\n"
    )
    shown = pd.DataFrame({"study": found["study"]})
    for name in ("networks", "faces", "trunks"):
        shown[name] = [f"{v:,}" for v in found[name]]
    for name in found.columns[4:]:
        shown[name] = [_short(v) for v in found[name]]
    large = found.iloc[2]
    few, many = (
        weights_of_readouts(large["networks"], people) for people in (PEOPLE, large["faces"])
    )
    share = (large["maps"] / rate.loc["maps", "rate"]) / 3600 / large["core hours"]
    each = grown_memory(growth)
    after = (
        f"In {large['study']} one, {share:.0%} of the time goes into the maps and nearly all else "
        "into masking, which grows with networks, faces, levels and trunks alike. What does not "
        "fit is storage: `relevance.nc` and `scores.nc` would hold "
        f"{_short(large['maps, TB'])} and {_short(large['scores, TB'])} TB. Nor does memory: "
        "chapter 03 holds all maps of its run at once (`lib.relevance.study.compute_maps`), and "
        f"masking took {each:.0f} bytes for each pixel of a further face, that is "
        f"{_short(each * SIDE**2 * large['faces'] / 1e9)} GB for {large['faces']:,} of {SIDE} "
        "pixels. Such a study has to be cut by faces into runs of their own; nothing here adds "
        "their tables up. And were every face a person of its own, the readouts would outgrow all "
        f"else: {_short(many['bytes'] / 1e12)} TB of weights instead of "
        f"{_short(few['bytes'] / 1e9)} GB, and for every masked face {_short(many['share'])} times "
        f"the multiplications of the trunk instead of {_short(few['share'])}.\n"
    )
    return words + "\n" + _table(shown) + "\n" + after


def write_jobs(jobs: pd.DataFrame | None) -> str:
    """The job list of a run of ``tests/slurm/check.py --record benchmarks/slurm.csv``."""
    if jobs is None:
        return "*No run has been recorded yet.*\n"
    times = [pd.to_datetime(jobs[name]) for name in ("begin", "end")]
    shown = pd.DataFrame(
        {
            "job": jobs["id"],
            "rule": [f"`{rule}`" for rule in jobs["rule"]],
            "state": jobs["state"].str.lower(),
            "node": jobs["node"],
            "began after, s": (times[0] - times[0].min()).dt.total_seconds().astype(int),
            "seconds": (times[1] - times[0]).dt.total_seconds().astype(int),
        }
    )
    return _table(shown)


def read_tables() -> dict[str, pd.DataFrame]:
    """The CSV files of :data:`TABLES` that are there."""
    paths = {name: HERE / f"{name}.csv" for name in TABLES}
    return {name: pd.read_csv(path) for name, path in paths.items() if path.is_file()}


def write(
    growth: pd.DataFrame,
    results: pd.DataFrame,
    clusters: pd.DataFrame,
    slurm: pd.DataFrame | None = None,
) -> dict[str, str]:
    """Parts of the page by name, from the tables of this folder."""
    return {
        "growth": write_growth(growth),
        "cost": write_cost(results, clusters, growth),
        "jobs": write_jobs(slurm),
    }


def main() -> None:
    """Write the parts of the page and its figure."""
    tables = read_tables()
    PAGE.mkdir(exist_ok=True)
    for name, text in write(**tables).items():
        with atomic_path(PAGE / f"{name}.txt") as temporary:
            temporary.write_text(text, encoding="utf-8")
    fig = plot_growth(tables["growth"])
    with atomic_path(PAGE / "growth.png") as temporary:
        fig.savefig(temporary, format="png", metadata={"Software": None})
    plt.close(fig)
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
