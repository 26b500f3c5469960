"""Known vulnerabilities of the pinned packages: ``make audit`` asks a public list about each.

pip-audit (requirements-audit.lock, in an environment of its own) reads the lock files; nothing is
installed for the question. It counts packages that the list does not answer for as clean; here a
scan that did not answer for every package says so and is no success.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ("requirements.lock", "requirements-dag.lock")
#: Exit status where the list could not be asked about all packages.
UNKNOWN = 2


def scan(lock: Path, service: str) -> list[dict]:
    """What the list says about each package of a lock file; empty where it cannot be reached."""
    program = ROOT / ".venv-audit" / "bin" / "pip-audit"
    command = [str(program), "--require-hashes", "--disable-pip", "--progress-spinner", "off"]
    command += ["--vulnerability-service", service, "--format", "json", "--requirement", str(lock)]
    done = subprocess.run(command, capture_output=True, text=True)
    try:
        return json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        said = done.stderr.strip().splitlines()
        print(f"{lock.name}: {said[-1] if said else 'no answer'}", file=sys.stderr)
        return []


def judge(answers: dict[str, list[dict]]) -> tuple[list[str], int, int]:
    """Sentences about what was found, and how many packages were answered for and were not."""
    found, known, unknown = [], 0, 0
    for packages in answers.values():
        unknown += not packages
        for package in packages:
            if "skip_reason" in package:
                unknown += 1
                continue
            known += 1
            for flaw in package["vulns"]:
                mended = ", ".join(flaw.get("fix_versions") or []) or "no version"
                names = " ".join([flaw["id"], *flaw.get("aliases", [])])
                found.append(f"{package['name']} {package['version']}: {names}, mended in {mended}")
    return sorted(set(found)), known, unknown


def main() -> int:
    """Command line; 0 where every package was answered for and none has a known flaw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--service", default="osv", choices=("osv", "pypi"))
    service = parser.parse_args().service
    found, known, unknown = judge({lock: scan(ROOT / lock, service) for lock in LOCKS})
    print("\n".join(found))
    print(f"{known} packages answered for, {len(found)} known flaws (see SECURITY.md)")
    if unknown:
        print(
            f"Not scanned: {service} did not answer for {unknown} packages or lists; check the "
            "network and run make audit again.",
            file=sys.stderr,
        )
        return UNKNOWN
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
