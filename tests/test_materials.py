"""Bill of materials and scan: every pinned package is listed with its checksums, an installer that
gets other bytes refuses them, and a scan without answers is no clean bill."""

import base64
import hashlib
import importlib.util
import json
import re
import subprocess
import sys
import zipfile

import pytest


def script(root, name):
    spec = importlib.util.spec_from_file_location(name, root / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_bill_lists_every_pin_with_its_checksums(root, tmp_path):
    module = script(root, "make_sbom")
    bill = module.make_sbom(root)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    listed = {(c["name"], c["version"]): c for c in bill["components"] if "pypi" in c["purl"]}
    for lock in ("requirements.lock", "requirements-dag.lock"):
        text = (root / lock).read_text()
        pins = set(re.findall(r"^([\w.-]+)==([^\s;\\]+)", text, re.M))
        assert pins <= set(listed) and len(pins) > 50
        digests = {h["content"] for c in listed.values() for h in c.get("hashes", [])}
        assert set(re.findall(r"sha256:([0-9a-f]{64})", text)) <= digests
    flow = listed["tensorflow", "2.14.1"]
    assert flow["purl"] == "pkg:pypi/tensorflow@2.14.1"
    assert "Apache" in json.dumps(flow["licenses"])
    assert any(c["purl"].startswith("pkg:npm/jspsych@") for c in bill["components"])
    references = [c["bom-ref"] for c in bill["components"]]
    assert len(set(references)) == len(references)
    assert module.make_sbom(root) == bill, "the same lock files give the same bill"
    lock = tmp_path / "bare.lock"
    lock.write_text("a==1\nb==2 \\\n    --hash=sha256:" + "0" * 64 + "\n")
    with pytest.raises(SystemExit, match="a 1 has no checksum"):
        module.read_lock(lock)


def test_a_scan_that_was_not_answered_is_no_clean_bill(root, monkeypatch, capsys):
    module = script(root, "audit")
    clean = [{"name": "a", "version": "1", "vulns": []}]
    flaw = {"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["2"]}
    flawed = [{"name": "b", "version": "1", "vulns": [flaw]}]
    silent = [{"name": "c", "skip_reason": "not found"}]
    for answer, status in [(clean, 0), (clean + flawed, 1), (clean + silent, 2), ([], 2)]:
        monkeypatch.setattr(module, "scan", lambda lock, service, answer=answer: answer)
        monkeypatch.setattr(sys, "argv", ["audit"])
        assert module.main() == status
        said = capsys.readouterr()
        assert ("Not scanned" in said.err) == (status == 2)
        assert ("b 1: PYSEC-1 CVE-1, mended in 2" in said.out) == (answer == clean + flawed)


def make_wheel(folder, content):
    """A package of one module, as an index would hand it out."""
    name = folder / "locked_example-1.0-py3-none-any.whl"
    about = "locked_example-1.0.dist-info"
    files = {
        "locked_example.py": content,
        f"{about}/METADATA": "Metadata-Version: 2.1\nName: locked-example\nVersion: 1.0\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = []
    with zipfile.ZipFile(name, "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest())
            rows.append(f"{path},sha256={digest.rstrip(b'=').decode()},{len(text)}")
        wheel.writestr(f"{about}/RECORD", "\n".join([*rows, f"{about}/RECORD,,"]) + "\n")
    return name


def test_an_installer_that_gets_other_bytes_than_the_locked_ones_refuses_them(root, tmp_path):
    """What scripts/setup_env.py calls, with an index whose package was replaced."""
    text = (root / "scripts" / "setup_env.py").read_text()
    assert text.count('"--require-hashes"') == 2, "by pip, and by uv"
    wheel = make_wheel(tmp_path, "x = 1\n")
    lock = tmp_path / "some.lock"
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    lock.write_text(f"locked-example==1.0 \\\n    --hash=sha256:{digest}\n")
    install = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check"]
    install += ["--no-index", "--find-links", str(tmp_path), "--require-hashes", "-r", str(lock)]

    def carry_out(target):
        done = subprocess.run(
            [*install, "--target", str(tmp_path / target)], capture_output=True, text=True
        )
        return done.returncode, done.stdout + done.stderr

    assert carry_out("first")[0] == 0
    assert (tmp_path / "first" / "locked_example.py").read_text() == "x = 1\n"
    make_wheel(tmp_path, "x = 2\n")
    status, said = carry_out("second")
    assert status != 0 and "THESE PACKAGES DO NOT MATCH THE HASHES" in said
    assert not (tmp_path / "second" / "locked_example.py").exists()
    lock.write_text("locked-example==1.0\n")
    status, said = carry_out("third")
    assert status != 0 and "Hashes are required" in said
    assert not (tmp_path / "third" / "locked_example.py").exists()
