"""Versions of what computes the report's numbers.

Every artefact notes them, so another version of any of these packages makes other bytes: the
Snakefile then runs every chapter again. Standard library only: the workflow engine imports it.
"""

from __future__ import annotations

import contextlib
import platform
from importlib import metadata

#: Packages whose version can change a number in the report.
PACKAGES = ("numpy", "scipy", "pandas", "xarray", "tensorflow", "innvestigate", "pingouin", "numba")


def versions() -> dict[str, str]:
    """Versions of Python and of the installed packages in :data:`PACKAGES`."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
