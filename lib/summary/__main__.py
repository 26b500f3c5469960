"""Make the first page's tables and figure of a finished run: ``python -m lib.summary <run>``."""

from __future__ import annotations

import argparse
import sys

from lib.errors import InputError
from lib.summary import write_summary


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m lib.summary", description=__doc__)
    parser.add_argument("run", help="name of the run, e.g. default")
    try:
        write_summary(parser.parse_args(arguments).run)
    except InputError as error:
        print(error, flush=True)  # to stdout: stderr belongs to the engine's log
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
