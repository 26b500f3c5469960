"""Bill of materials of the report, CycloneDX 1.5: every package that is installed for it, by
version and checksum, as the lock files pin them; licences as the installed packages state them.

``make sbom`` writes ``sbom.json``. Standard library only; the same lock files give the same bytes.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import uuid
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: Lock file -> what the packages are for. The page's packages are npm's.
LOCKS = {"requirements.lock": "the report and its tests", "requirements-dag.lock": "the workflow"}
PAGE = "experiment/package-lock.json"


def read_lock(path: Path) -> list[tuple[str, str, list[str]]]:
    """Name, version and SHA-256 of every file of each pin of a lock file."""
    text = path.read_text(encoding="utf-8")
    parts = re.split(r"^(?=[A-Za-z0-9][\w.-]*==)", text, flags=re.M)[1:]
    found = []
    for part in parts:
        name, version = re.match(r"([\w.-]+)==([^\s;\\]+)", part).groups()
        digests = re.findall(r"--hash=sha256:([0-9a-f]{64})", part)
        if not digests:
            raise SystemExit(f"{path.name}: {name} {version} has no checksum; lock it again.")
        found.append((name, version, sorted(digests)))
    return found


def licence_of(name: str, version: str) -> list[dict]:
    """Licence that an installed package of this very version states; empty where it is not."""
    try:
        about = metadata.metadata(name)
        if metadata.version(name) != version:
            return []
    except metadata.PackageNotFoundError:
        return []
    stated = about.get("License-Expression")
    if stated:
        return [{"expression": stated}]
    kinds = [c for c in about.get_all("Classifier", []) if c.startswith("License ::")]
    words = [c.rpartition(" :: ")[2] for c in kinds] or [about.get("License") or ""]
    return [{"license": {"name": word.splitlines()[0][:80]}} for word in words if word.strip()]


def list_components(root: Path = ROOT) -> list[dict]:
    """One component per package and version, sorted."""
    found: dict[tuple[str, str], dict] = {}
    for lock, purpose in LOCKS.items():
        for name, version, digests in read_lock(root / lock):
            address = f"pkg:pypi/{name.lower()}@{version.replace('+', '%2B')}"
            component = found.setdefault(
                (address, version),
                {
                    "type": "library",
                    "bom-ref": address,
                    "name": name,
                    "version": version,
                    "purl": address,
                    "hashes": [{"alg": "SHA-256", "content": digest} for digest in digests],
                    "licenses": licence_of(name, version),
                    "properties": [],
                },
            )
            component["properties"].append({"name": "used-for", "value": purpose})
    page = json.loads((root / PAGE).read_text(encoding="utf-8"))
    for path, about in page["packages"].items():
        if not path:
            continue
        name = path.rpartition("node_modules/")[2]
        address = f"pkg:npm/{name.replace('@', '%40')}@{about['version']}"
        found[(address, about["version"])] = {
            "type": "library",
            "bom-ref": address,
            "name": name,
            "version": about["version"],
            "purl": address,
            "licenses": [{"expression": about["license"]}] if "license" in about else [],
            "properties": [
                {"name": "used-for", "value": "the experiment page"},
                {"name": "integrity", "value": about["integrity"]},
            ],
        }
    return [found[key] for key in sorted(found)]


def make_sbom(root: Path = ROOT) -> dict:
    """The bill as CycloneDX 1.5."""
    components = list_components(root)
    project = (root / "pyproject.toml").read_text(encoding="utf-8")
    name, version = (re.search(rf'^{k} = "([^"]+)"', project, re.M)[1] for k in ("name", "version"))
    # from what it lists, so that the same lock files give the same bytes
    number = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(components, sort_keys=True))
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{number}",
        "version": 1,
        "metadata": {"component": {"type": "application", "name": name, "version": version}},
        "components": components,
    }


def main() -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default=str(ROOT / "sbom.json"))
    out = Path(parser.parse_args().out)
    bill = make_sbom()
    out.write_text(json.dumps(bill, indent=1) + "\n", encoding="utf-8")
    unknown = sum(not component["licenses"] for component in bill["components"])
    print(f"{len(bill['components'])} packages, {unknown} without a stated licence: {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
