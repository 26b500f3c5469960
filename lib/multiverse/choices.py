"""The open choices, and the runs that their specifications need.

A choice is one line of ``params/multiverse.yml``: a parameter of a chapter and the values it might
as well have. Choices of chapter 05 (``STATISTICS``) are read from the scores that are there; a
value of an earlier chapter needs a run of its own, which leaves out what no specification uses
(``spared`` in that file) and is named ``<base>.multiverse+<parameter>=<value>``. A choice that
changes nothing by itself is carried out beside a value of another (``paired``).
"""

from __future__ import annotations

import itertools
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from lib import params
from lib.errors import InputError

#: Chapter whose choices need no run of their own, and the last one that such a run has to reach.
STATISTICS = "05_generalization"
LAST = "04_masking"
#: A run that has its own fills is a specification by the fill that is analysed.
FILLS = "masking.fills"
#: Blocks of the file of choices.
PARTS = ("choices", "spared", "paired")
#: Settings of the statistics that make a specification; the others (draws, seed) make none.
ANALYSIS = ("mask", "fill", "axis", "ends", "alpha", "confidence")


class Choice(NamedTuple):
    """A parameter of a chapter and the values it might as well have.

    ``beside`` names another choice and those of its values beside which alone this one says
    anything.
    """

    chapter: str
    field: str
    options: tuple
    beside: tuple[str, tuple] | None = None

    @property
    def name(self) -> str:
        """As in SET, e.g. ``relevance.composite``."""
        return f"{self.chapter.partition('_')[2]}.{self.field}"

    @property
    def needs(self) -> str:
        """Whether its values need runs of their own, in words."""
        if self.chapter >= STATISTICS:
            return "no"
        if self.beside is None:
            return "yes"
        name, values = self.beside
        return f"yes, beside {name} {' or '.join(map(str, values))}"


def load_choices(path: Path) -> tuple[list[Choice], dict[str, Any]]:
    """Open choices, and what their runs leave out, from a YAML file.

    Parameters
    ----------
    path : Path
        ``choices``: one line per choice, ``chapter.parameter: [values]`` (where a parameter is a
        list, as ``masking.fills``, a plain value stands for a list of one); ``spared``: one line
        per setting, ``chapter.parameter: value``; ``paired``: one line per choice that changes
        nothing by itself, ``chapter.parameter: {chapter.parameter: [values]}``, another choice and
        those of its values beside which it does.

    Returns
    -------
    choices : list of Choice
    spared : dict of name -> value

    Raises
    ------
    InputError
        No such file, unreadable, a parameter that no chapter has or that makes no specification,
        a value that its chapter refuses, or a pair of what are no choices.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist; name a file like params/multiverse.yml.")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError):
        raise InputError(f"{path} is not readable YAML; mend it or restore it.") from None
    parts = [content.get(part) or {} for part in PARTS] if isinstance(content, dict) else [None]
    if not all(isinstance(part, dict) for part in parts) or set(content) - set(PARTS):
        raise InputError(f"{path} must hold blocks of lines named {', '.join(PARTS)}.")
    choices = [_read_choice(path, str(name), values) for name, values in parts[0].items()]
    spared = {}
    for name, value in parts[1].items():
        one = _read_choice(path, str(name), [value])
        spared[one.name] = one.options[0]
    for name, partner in parts[2].items():
        choices = _pair(path, choices, str(name), partner)
    return choices, spared


def _pair(path: Path, choices: list[Choice], name: str, partner: Any) -> list[Choice]:
    """The choices, one of them paired as a line of the file says."""
    if not isinstance(partner, dict) or len(partner) != 1:
        raise InputError(f"{path}: {name} must be paired as {{chapter.parameter: [values]}}.")
    (other, values), known = next(iter(partner.items())), {c.name: c for c in choices}
    for wanted in (name, str(other)):
        if wanted not in known or known[wanted].chapter >= STATISTICS:
            raise InputError(
                f"{path}: {wanted} is paired and is no choice of a chapter before {STATISTICS}; "
                f"add it to the choices or remove the line (choices: {', '.join(known)})."
            )
    if name == other:
        raise InputError(f"{path}: {name} is paired with itself; name another choice.")
    allowed = _read_choice(path, str(other), values).options
    lost = [v for v in allowed if v not in known[other].options]
    if lost:
        raise InputError(f"{path}: {name} is paired with {other} = {lost[0]}, which is no choice.")
    return [c._replace(beside=(other, allowed)) if c.name == name else c for c in choices]


def _read_choice(path: Path, name: str, values: Any) -> Choice:
    short, _, field = name.rpartition(".")
    named = {c.partition("_")[2]: c for c in params.CHAPTERS} | {c: c for c in params.CHAPTERS}
    if short not in named:
        raise InputError(f"{path}: {name!r} names no chapter; write one of {', '.join(named)}.")
    chapter = named[short]
    fields = params.CHAPTERS[chapter].model_fields
    if field not in fields or field == "run":
        known = ", ".join(set(fields) - {"run"})
        raise InputError(f"{path}: {chapter} has no parameter {field!r}; it has {known}.")
    if chapter > STATISTICS or (chapter == STATISTICS and field not in ANALYSIS):
        raise InputError(f"{path}: {name} changes no conclusion of {STATISTICS}; remove the line.")
    if not isinstance(values, list) or not values:
        raise InputError(f"{path}: the values of {name} must be a list, e.g. [a, b].")
    if typing.get_origin(fields[field].annotation) is list:
        values = [v if isinstance(v, list) else [v] for v in values]
    where = f"{path}, {name}"
    checked = [params.validate(chapter, {field: v}, where) for v in values]
    # as a record has it, so that 1e-4 and 0.0001 are one value
    return Choice(chapter, field, tuple(c.model_dump(mode="json")[field] for c in checked))


def list_departures(
    settings: Mapping[str, params.Chapter], choices: Iterable[Choice], grid: bool = False
) -> list[dict[str, Any]]:
    """Sets of departures from a base run that need a run of their own.

    Parameters
    ----------
    settings : mapping of chapter -> Chapter
        Of the base run.
    choices : iterable of Choice
        Those of ``STATISTICS`` are passed over.
    grid : bool
        Every combination, in place of one departure at a time.

    Returns
    -------
    list of dict
        Choice name -> value, without those values that the base run has anyway; the base run itself
        is not among them.
    """
    options = []
    own = {}
    for choice in choices:
        if choice.chapter < STATISTICS:
            base = settings[choice.chapter].model_dump(mode="json")[choice.field]
            own[choice.name] = base
            values = [v for v in choice.options if v != base]
            if choice.name == FILLS:
                # the base run's scores hold those already
                values = [v for v in values if not set(v) <= set(base)]
            options.append([{}, *({choice.name: v} for v in values)])
    paired = {c.name: c.beside for c in choices if c.beside and c.chapter < STATISTICS}
    if not grid:
        single = [departure for values in options for departure in values[1:]]
        return [found for departure in single for found in _add_partner(departure, paired, own)]
    combined = (dict(itertools.chain(*map(dict.items, c))) for c in itertools.product(*options))
    return [d for d in combined if d and _says_something(d, paired, own)]


def _add_partner(departure: dict, paired: Mapping, own: Mapping) -> list[dict]:
    """One departure, or it beside each value of its partner that makes it one."""
    (name,) = departure
    if name not in paired:
        return [departure]
    partner, values = paired[name]
    if own[partner] in values:
        return [departure]
    return [departure | {partner: value} for value in values]


def _says_something(departures: Mapping, paired: Mapping, own: Mapping) -> bool:
    return all(
        (own | departures)[partner] in values
        for name, (partner, values) in paired.items()
        if name in departures
    )


def read_back(
    departures: Mapping[str, Any], settings: Mapping[str, params.Chapter]
) -> dict[str, Any]:
    """Settings of the statistics that a run of these departures can satisfy.

    Such a run ends before the statistics; its base run may analyse a fill or a mask that it does
    not have, and settings that do not fit together are refused.
    """
    chapter = settings[STATISTICS]
    found = {} if chapter.mask == "relevance" else {"generalization.mask": "relevance"}
    fills = departures.get(FILLS, settings[LAST].fills)
    return found | ({"generalization.fill": fills[0]} if chapter.fill not in ("", *fills) else {})


def chapter_of(name: str) -> str:
    """Chapter of a choice's name: ``relevance.composite`` gives ``03_relevance``."""
    short = name.rpartition(".")[0]
    return next(c for c in params.CHAPTERS if short in (c, c.partition("_")[2]))


def first_chapter(departures: Mapping[str, Any]) -> str:
    """First chapter that a run of these departures does not share with its base run."""
    return min(map(chapter_of, departures))


def add_spared(departures: Mapping[str, Any], spared: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of a run: its departures, and what it leaves out of the chapters it repeats.

    An earlier chapter is left as it is, or it could not be shared.
    """
    start = first_chapter(departures)
    return {n: v for n, v in spared.items() if chapter_of(n) >= start} | dict(departures)


def variant_name(base: str, departures: Mapping[str, Any]) -> str:
    """Name of the run of a base run's departures.

    Raises
    ------
    InputError
        The base run's name is so long that it could not be found again in that of the variant.
    """
    name = params.run_name(f"{base}.multiverse", write_departures(departures))
    if not name.startswith(f"{base}.multiverse+"):
        raise InputError(f"The name of the run {base!r} is too long; give it a short one by RUN.")
    return name


def write_departures(departures: Mapping[str, Any]) -> dict[str, str]:
    """Departures as SET reads them: text to the letter, everything else as YAML."""
    written = {}
    for name, value in departures.items():
        field = name.rpartition(".")[2]
        as_text = params.CHAPTERS[chapter_of(name)].model_fields[field].annotation is str
        dumped = yaml.safe_dump(value, default_flow_style=True, width=10_000)
        written[name] = value if as_text else dumped.removesuffix("...\n").strip()
    return written
