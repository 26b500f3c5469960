"""The trial-level table of answers: reading it, checking it, and who is left out beforehand.

Columns are those of model-vs-human (Geirhos et al. 2021, https://github.com/bethgelab/model-vs-human)
and three of the comparison:

=================  ================================================================
``subj``           observer
``session``        whole number from 1; an observer may come in several, but is asked about each
                   identity once
``trial``          whole number from 1 within the session, test and catch together
``rt``             reaction time in seconds; empty where there was no answer
``object_response``  identity that was chosen, ``na`` where there was no answer
``category``       identity of the target
``condition``      ``test`` or ``catch``
``imagename``      file name of the target's picture
``target``         identity of the target (as ``category``)
``left``           identity shown on the left
``right``          identity shown on the right
``simulated``      optional: True where no person answered
=================  ================================================================

Further columns are kept. A file is CSV with commas, in UTF-8.
"""

import csv
import difflib
import hashlib
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lib.errors import InputError

COLUMNS = (
    "subj",
    "session",
    "trial",
    "rt",
    "object_response",
    "category",
    "condition",
    "imagename",
    "target",
    "left",
    "right",
)
#: ``object_response`` of a trial without an answer.
NO_ANSWER = "na"
_CONDITIONS = ("test", "catch")
#: Largest number of a session or a trial, and largest median reaction time in seconds, that are
#: taken for what they say and not for damage or another unit.
_MOST, _SLOWEST = 100_000, 60.0
#: Excel's line that names the separator, when it is the comma.
_SEPARATOR = re.compile(r'"?sep=,+"?,*', re.IGNORECASE).fullmatch
_TEXT = (
    "subj",
    "object_response",
    "category",
    "condition",
    "imagename",
    "target",
    "left",
    "right",
)


@dataclass(frozen=True)
class ExclusionRules:
    """Who is left out of the analysis: fixed before any answer is looked at.

    Attributes
    ----------
    min_catch : float
        Smallest share of catch trials answered correctly (0 to 1); not used without catch trials.
    max_one_side : float
        Largest share of test answers on one side (0 to 1).
    max_unanswered : float
        Largest share of test trials without an answer (0 to 1).
    min_median_rt : float
        Smallest median reaction time of the test trials, seconds.
    """

    min_catch: float = 0.75
    max_one_side: float = 0.85
    max_unanswered: float = 0.10
    min_median_rt: float = 0.30

    def sentences(self):
        """The rules in words, one each."""
        return [
            f"fewer than {self.min_catch:.0%} of the catch trials correct",
            f"more than {self.max_one_side:.0%} of the answers on one side",
            f"more than {self.max_unanswered:.0%} of the trials without an answer",
            f"a median reaction time below {self.min_median_rt:g} s",
        ]


def load_responses(path, disagreements=None, *, faces=None, at_least=2):
    """Read and check collected answers.

    Parameters
    ----------
    path : path-like
        A CSV file, or a folder whose ``*.csv`` (or ``*.CSV``) files are taken together (one per
        observer, as the experiment page hands them out).
    disagreements : DataFrame, optional
        From `lib.humans.choices.find_disagreements`. The two faces of every test trial must then be
        the two choices for its target, and every observer must be asked about each of these
        identities once: answers that were collected with another run's page are refused.
    faces : sequence of str, optional
        Every identity that may occur (catch trials show others as well); a name that is not among
        them is refused.
    at_least : int
        Number of observers below which the table is refused.

    Returns
    -------
    DataFrame
        Columns `COLUMNS` first, sorted by observer, session and trial; ``simulated`` is bool and
        always there; ``rt`` float64, NaN where unanswered.

    Raises
    ------
    InputError
        Nothing to read; not UTF-8, or several encodings in one file; a wrong or missing column;
        missing or repeated trials; an observer asked twice about an identity; an unknown face; an
        answer that is neither face; reaction times that cannot be seconds; some answers simulated
        and others not; all answers of the table on one side; too few observers.
    """
    path = Path(path)
    files = _files(path)
    table = pd.concat([_read(file) for file in files])
    return check_responses(
        table, disagreements, faces=faces, at_least=at_least, where=str(path), several=len(files)
    )


def hash_responses(path):
    """SHA-256 of the files that `load_responses` reads, for the provenance of what follows.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    dict
        ``responses/<file>`` -> 64 hexadecimal digits.
    """
    files = _files(Path(path))
    return {f"responses/{f.name}": hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def check_responses(
    table, disagreements=None, *, faces=None, at_least=2, where="the table", several=1
):
    """Check a table of answers; see `load_responses`.

    Parameters
    ----------
    table : DataFrame
    disagreements, faces, at_least
        As in `load_responses`.
    where : str
        What to call the table in messages.
    several : int
        Number of files it was put together from.

    Returns
    -------
    DataFrame

    Raises
    ------
    InputError
        As `load_responses`.
    """
    if disagreements is not None:
        check_names(disagreements.to_numpy().ravel())
    _check_columns(table.columns, where)
    if len(table) == 0:
        raise InputError(f"{where} has column names and no answers: collect some, or remove it.")
    table = table.copy() if table.index.is_unique else table.reset_index(drop=True)
    for column in _TEXT:
        table[column] = table[column].astype(object).where(table[column].notna(), "")
        table[column] = table[column].map(lambda value: str(value).strip())
        if column != "object_response" and (table[column] == "").any():
            row = _first(table[column] == "")
            raise InputError(f"{where}: row {row} has no {column}; mend the row or remove it.")
        unseen = ~table[column].map(str.isprintable)
        if unseen.any():
            raise InputError(
                f"{where}: {column} in row {_first(unseen)} holds a line break or another "
                "character that cannot be shown; mend the row or remove it."
            )
    table["object_response"] = table["object_response"].replace("", NO_ANSWER)
    for column in ("session", "trial"):
        table[column] = _whole_numbers(table[column], column, where)
    table["rt"] = _times(table["rt"], where)
    table["simulated"] = _flags(table, where)
    _check_seconds(table, where)
    _check_origin(table, where)
    _check_faces(table, disagreements, faces, where)
    _check_trials(table, disagreements, where, several)
    observers = table["subj"].nunique()
    if observers < at_least:
        raise InputError(
            f"{where} holds the answers of {observers} observer; an error over observers needs at "
            f"least {at_least}: put the others' files into the same folder and name the folder."
        )
    _check_sides(table, where)
    first = [*COLUMNS, "simulated"]
    rest = [column for column in table.columns if column not in first]
    table = table.sort_values(["subj", "session", "trial"], kind="stable", ignore_index=True)
    return table[[*first, *rest]]


def check_names(names):
    """Refuse names of faces that a table of answers cannot tell from something else.

    Parameters
    ----------
    names : iterable of str

    Raises
    ------
    InputError
        A name that is empty, begins or ends with a space, or is `NO_ANSWER`.
    """
    for name in map(str, names):
        if name == NO_ANSWER:
            raise InputError(
                f"An identity is called {name!r}, which in a table of answers means that there was "
                "none: rename that identity."
            )
        if not name or name != name.strip():
            raise InputError(
                f"The identity {name!r} is empty or has a space at one of its ends, which a table "
                "of answers does not keep: rename that identity."
            )


def refuse_repeated(scored):
    """Refuse scored trials in which an observer answered about an identity more than once.

    Two answers of one observer are not two observers: every count here is one of observers.

    Raises
    ------
    InputError
    """
    repeated = scored.duplicated(["subj", "target"])
    if repeated.any():
        row = scored[repeated].iloc[0]
        raise InputError(
            f"Observer {row['subj']!r} was asked twice about {row['target']!r}, and the analysis "
            "takes one answer of an observer about an identity: keep the first."
        )


def score_responses(responses, disagreements):
    """Test trials with the network whose choice was taken.

    Parameters
    ----------
    responses : DataFrame
        From `load_responses`.
    disagreements : DataFrame
        ``identity``, then the pretraining whose preference is measured, then the other.

    Returns
    -------
    DataFrame
        The test trials with ``chose`` (a pretraining, missing without an answer), ``prefers``
        (1.0 the first pretraining, 0.0 the other, NaN without an answer) and ``first_left``
        (whether the first pretraining's choice was on the left).
    """
    first, second = disagreements.columns[1:3]
    test = responses[responses["condition"] == "test"].reset_index(drop=True)
    choice = disagreements.set_index("identity")[first]
    theirs = test["target"].map(choice)
    answered = test["object_response"] != NO_ANSWER
    took_first = test["object_response"] == theirs
    chose = pd.Series(np.where(took_first, first, second), dtype=object).where(answered, None)
    return test.assign(
        chose=chose,
        prefers=took_first.astype(float).where(answered),
        first_left=test["left"] == theirs,
    )


def summarise_observers(responses, disagreements):
    """One row per observer.

    Returns
    -------
    DataFrame
        ``subj``, ``trials`` (test trials), ``preference`` (share of answers that took the first
        pretraining's choice), ``catch`` (share correct, NaN without catch trials), ``left`` (share
        of answers on the left), ``unanswered`` (share), ``median_rt`` (seconds), ``simulated``.
    """
    scored = score_responses(responses, disagreements)
    answered = scored[scored["prefers"].notna()]
    grouped = scored.groupby("subj")
    catch = responses[responses["condition"] == "catch"]
    correct = (catch["object_response"] == catch["target"]).groupby(catch["subj"]).mean()
    left = (answered["object_response"] == answered["left"]).groupby(answered["subj"]).mean()
    table = pd.DataFrame(
        {
            "trials": grouped.size(),
            "preference": grouped["prefers"].mean(),
            "catch": correct,
            "left": left,
            "unanswered": scored["prefers"].isna().groupby(scored["subj"]).mean(),
            "median_rt": grouped["rt"].median(),
            "simulated": grouped["simulated"].any(),
        }
    )
    return table.rename_axis("subj").reset_index()


def apply_exclusions(responses, disagreements, rules=None):
    """Leave out observers by rules stated beforehand.

    Parameters
    ----------
    responses, disagreements : DataFrame
    rules : ExclusionRules, optional
        Default: `ExclusionRules()`.

    Returns
    -------
    kept : DataFrame
        The responses of the others.
    observers : DataFrame
        `summarise_observers` with ``excluded`` (bool) and ``reasons`` (sentences, or empty).

    Raises
    ------
    InputError
        Fewer than two observers are left.
    """
    rules = ExclusionRules() if rules is None else rules
    table = summarise_observers(responses, disagreements)
    one_side = np.maximum(table["left"], 1 - table["left"])
    broken = np.column_stack(
        [
            table["catch"] < rules.min_catch,
            one_side > rules.max_one_side,
            table["unanswered"] > rules.max_unanswered,
            table["median_rt"] < rules.min_median_rt,
        ]
    )
    sentences = np.array(rules.sentences(), dtype=object)
    table["excluded"] = broken.any(axis=1)
    table["reasons"] = ["; ".join(sentences[row]) for row in broken]
    if (~table["excluded"]).sum() < 2:
        raise InputError(
            f"{table['excluded'].sum()} of {len(table)} observers fall under the exclusion rules "
            f"({'; '.join(rules.sentences())}) and fewer than two are left: collect more answers."
        )
    kept = responses[responses["subj"].isin(table.loc[~table["excluded"], "subj"])]
    return kept.reset_index(drop=True), table


# --- reading


def _files(path):
    if path.is_dir():
        # Some systems write names in capitals; answers must not be left out for that.
        files = sorted(
            p
            for p in path.iterdir()
            if p.suffix.lower() == ".csv" and p.is_file() and p.name[0] != "."
        )
        if not files:
            raise InputError(f"{path} holds no .csv file: put the observers' files there.")
        return files
    if not path.is_file():
        raise InputError(f"{path} does not exist: correct the path of the responses.")
    return [path]


def _read(path):
    """One CSV as strings, after the checks that pandas would not put into words."""
    text = _decode(path)
    # Spreadsheets may put an empty line or their own "sep=," before the column names.
    head = next((line for line in text.splitlines() if not _passed_over(line)), None)
    if head is None:
        raise InputError(f"{path} is empty: download the answers again or remove the file.")
    if "," not in head and (";" in head or "\t" in head):
        mark = "semicolons" if ";" in head else "tabs"
        raise InputError(f"{path} is separated by {mark}: save it as CSV with commas.")
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise InputError(f"{path} is not a readable CSV ({error}): download it again.") from None
    top = next(k for k, row in enumerate(lines) if not _passed_over(",".join(row)))
    header = [name.strip() for name in lines[top]]
    if len(set(header)) < len(header):
        repeated = sorted({name for name in header if header.count(name) > 1})
        raise InputError(f"{path} has the column {', '.join(repeated)} twice: remove one.")
    _check_columns(header, path)
    rows = {}
    for number, row in enumerate(lines[top + 1 :], start=top + 2):
        if len(row) == len(header):
            # The index says where a row came from, for the messages.
            rows[f"{number} of {path.name}"] = row
        elif any(cell.strip() for cell in row):
            raise InputError(
                f"{path}: row {number} has {len(row)} values under {len(header)} column names; "
                "the file was cut off or edited: download it again."
            )
    return pd.DataFrame(list(rows.values()), index=list(rows), columns=header, dtype=object)


def _passed_over(line):
    return not line.strip(", \t") or _SEPARATOR(line.strip()) is not None


def _decode(path):
    raw = path.read_bytes()
    advice = "save it as 'CSV UTF-8' (all rows in one encoding)."
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\x00" in raw:
        raise InputError(f"{path} is UTF-16 or no text at all: {advice}")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        mixed = any(byte >= 0x80 for byte in raw[: error.start].removeprefix(b"\xef\xbb\xbf"))
        what = "mixes UTF-8 with another encoding" if mixed else "is not in UTF-8"
        raise InputError(f"{path} {what} (line {line}): {advice}") from None


def _check_columns(found, where):
    found = [str(name) for name in found]
    missing = [name for name in COLUMNS if name not in found]
    if not missing:
        return
    spare = {name.lower(): name for name in found if name not in COLUMNS}
    words = []
    for name in missing:
        near = difflib.get_close_matches(name, list(spare), n=1, cutoff=0.6)
        words.append(f"{name!r} (is it {spare[near[0]]!r}?)" if near else f"{name!r}")
    raise InputError(
        f"{where} lacks the column {', '.join(words)}: rename or add it; "
        f"needed are {', '.join(COLUMNS)}."
    )


def _whole_numbers(values, column, where):
    numbers = pd.to_numeric(values, errors="coerce")
    bad = ~((numbers >= 1) & (numbers <= _MOST) & (numbers % 1 == 0))
    if bad.any():
        raise InputError(
            f"{where}: {column} is {values[bad].iloc[0]!r} in row {_first(bad)}; "
            f"it must be a whole number from 1 to {_MOST}."
        )
    return numbers.astype(int)


def _times(values, where):
    text = values.map(lambda value: "" if pd.isna(value) else str(value).strip().lower())
    blank = text.isin(["", "na", "nan"])
    numbers = pd.to_numeric(text.where(~blank, None), errors="coerce").astype(float)
    bad = (~blank) & (~np.isfinite(numbers) | (numbers < 0))
    if bad.any():
        hint = " (a comma for the decimal point?)" if "," in text[bad].iloc[0] else ""
        raise InputError(
            f"{where}: rt is {values[bad].iloc[0]!r} in row {_first(bad)}{hint}; it must be a time "
            "in seconds, 0 or more, or empty."
        )
    return numbers


def _flags(table, where):
    if "simulated" not in table:
        return pd.Series(False, index=table.index)
    text = table["simulated"].map(lambda value: "" if pd.isna(value) else str(value).lower())
    bad = ~text.isin(["true", "false", "1", "0", ""])
    if bad.any():
        raise InputError(
            f"{where}: simulated is {table['simulated'][bad].iloc[0]!r} in row {_first(bad)}; "
            "it must be True or False."
        )
    return text.isin(["true", "1"])


def _check_seconds(table, where):
    middle = table.groupby("subj")["rt"].median()
    slow = middle[middle > _SLOWEST]
    if len(slow):
        raise InputError(
            f"{where}: half of the reaction times of observer {slow.index[0]!r} are above "
            f"{slow.iloc[0]:.0f} s; rt is in seconds: divide it by 1000 if it is in milliseconds."
        )


def _check_origin(table, where):
    of = table.groupby("subj")["simulated"].agg(["all", "any"])
    if of["any"].any() and not of["all"].all():
        person, other = of.index[~of["all"]][0], of.index[of["any"]][0]
        raise InputError(
            f"{where} mixes people's answers (observer {person!r}) with simulated ones (observer "
            f"{other!r}): analyse them apart."
        )


def _first(mask):
    """Where the first marked row is, as a spreadsheet counts: the column names are row 1."""
    position = int(np.flatnonzero(mask)[0])
    label = mask.index[position]
    return label if isinstance(label, str) else position + 2


# --- what the answers say


def _check_faces(table, disagreements, faces, where):
    bad = ~table["condition"].isin(_CONDITIONS)
    if bad.any():
        raise InputError(
            f"{where}: condition is {table['condition'][bad].iloc[0]!r} in row {_first(bad)}; "
            f"it must be {' or '.join(_CONDITIONS)}."
        )
    bad = table["category"] != table["target"]
    if bad.any():
        raise InputError(
            f"{where}: row {_first(bad)} has another category than target; they are the same face."
        )
    if faces is not None:
        known = {str(face) for face in faces}
        for column in ("target", "left", "right"):
            _refuse_unknown(table, column, known, where)
    answer = table["object_response"]
    bad = (answer != table["left"]) & (answer != table["right"]) & (answer != NO_ANSWER)
    if bad.any():
        row = table[bad].iloc[0]
        raise InputError(
            f"{where}: the answer {row['object_response']!r} in row {_first(bad)} is neither "
            f"of the faces shown ({row['left']!r}, {row['right']!r}) nor {NO_ANSWER!r}."
        )
    if disagreements is not None:
        _check_pairs(table, disagreements, where)


def _refuse_unknown(table, column, known, where):
    bad = ~table[column].isin(known)
    if bad.any():
        name = table[column][bad].iloc[0]
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise InputError(
            f"{where}: the {column} face {name!r} in row {_first(bad)} is unknown{hint}; "
            "analyse the answers with the faces they were collected with."
        )


def _check_pairs(table, disagreements, where):
    test = table["condition"] == "test"
    known = set(disagreements["identity"])
    unknown = test & ~table["target"].isin(known)
    if unknown.any():
        raise InputError(
            f"{where}: the target {table['target'][unknown].iloc[0]!r} in row {_first(unknown)} is "
            "unknown, or no identity on which the pretrainings differ: analyse the answers with "
            "the run whose page collected them."
        )
    pairs = {
        row[0]: frozenset(row[1:3]) for row in disagreements.astype(str).itertuples(index=False)
    }
    shown = zip(table["target"], table["left"], table["right"], strict=True)
    wrong = test & np.array([pairs.get(target) != {left, right} for target, left, right in shown])
    if wrong.any():
        raise InputError(
            f"{where}: the faces in row {_first(wrong)} are not the two networks' choices for "
            f"{table['target'][wrong].iloc[0]!r}: analyse the answers with the run whose page "
            "collected them."
        )


def _check_trials(table, disagreements, where, several):
    repeated = table.duplicated(["subj", "session", "trial"])
    if repeated.any():
        row = table[repeated].iloc[0]
        hint = "two files carry one observer's name" if several > 1 else "rows were pasted twice"
        raise InputError(
            f"{where}: observer {row['subj']!r} has trial {row['trial']} of session "
            f"{row['session']} more than once ({hint}?): remove the repetition."
        )
    needed = None if disagreements is None else set(disagreements["identity"])
    for (subj, session), rows in table.groupby(["subj", "session"]):
        who = f"observer {subj!r}, session {session}"
        absent = np.setdiff1d(np.arange(1, rows["trial"].max() + 1), rows["trial"])
        if len(absent):
            raise InputError(
                f"{where}: {who} lacks trial {_some(absent)}: use the whole file, or remove that "
                "observer."
            )
    tests = {}
    for subj, rows in table[table["condition"] == "test"].groupby("subj"):
        asked, tests[subj] = rows["target"], len(rows)
        if asked.duplicated().any():
            sessions = rows.loc[asked == asked[asked.duplicated()].iloc[0], "session"].unique()
            within = f"session {' and '.join(map(str, sessions[:2]))}"
            raise InputError(
                f"{where}: observer {subj!r} was asked twice about "
                f"{_some(asked[asked.duplicated()])} ({within}), and the analysis takes one answer "
                "of an observer about an identity: keep the first."
            )
        if needed is not None and needed - set(asked):
            raise InputError(
                f"{where}: observer {subj!r} was not asked about "
                f"{_some(sorted(needed - set(asked)))}: the session was not finished; remove that "
                "observer or let the session be completed."
            )
    if not tests:
        raise InputError(f"{where} has no test trial, only catch trials: nothing to analyse.")
    tests = pd.Series(tests).reindex(table["subj"].unique(), fill_value=0)
    if tests.min() < tests.max():
        raise InputError(
            f"{where}: observer {tests.idxmin()!r} has {tests.min()} test trials and others have "
            f"{tests.max()}: complete the session or remove it."
        )


def _check_sides(table, where):
    answered = table[table["object_response"] != NO_ANSWER]
    if len(answered) == 0:
        raise InputError(f"{where} has no answered trial: nothing to analyse.")
    left = (answered["object_response"] == answered["left"]).mean()
    if left in (0.0, 1.0):
        side = "left" if left else "right"
        raise InputError(
            f"{where}: all answers of all observers are on the {side}; nobody compared the faces, "
            "or the columns left and right are wrong."
        )


def _some(values: Iterable):
    values = [str(value) for value in values]
    return ", ".join(values[:3]) + (f" and {len(values) - 3} more" if len(values) > 3 else "")
