"""What every command that works on a run is told: its settings, departures from them, its name."""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path

from lib.errors import InputError


def make_parser(doc: str) -> argparse.ArgumentParser:
    """Command line with the three options that name a run, as ``lib.params.resolve`` takes them.

    Parameters
    ----------
    doc : str
        Of the script; its first line is shown by ``--help``.
    """
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--profile", default="default", help="file of params/, without its ending")
    parser.add_argument("--set", default="", dest="set_", help="departures: name=value ...")
    parser.add_argument("--run", default="", help="name of the run; empty: made from the two above")
    return parser


def ask_git(root: Path, *arguments: str) -> str:
    """What git says of the repository, for the provenance of what is kept in it."""
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True)
    if done.returncode:
        raise InputError(
            f"git {' '.join(arguments)} failed; what is kept would have no provenance."
        )
    return done.stdout.strip()
