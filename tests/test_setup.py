"""Set-up: what a person reads when something is missing, and that it is a no-op otherwise."""

import importlib.util
import os
import re
import subprocess
import sys
import tomllib

import pytest
import yaml


@pytest.fixture
def setup_env(root, tmp_path, monkeypatch):
    """The set-up script with its folder moved to an empty one."""
    spec = importlib.util.spec_from_file_location("setup_env", root / "scripts" / "setup_env.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", str(tmp_path))
    monkeypatch.setattr(module, "LOG", str(tmp_path / "setup.log"))
    return module


def pins(lines):
    return {line.split("==")[0]: line for line in lines if "==" in line}


def test_the_three_lists_of_pins_agree(root):
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    wanted = pins(project["dependencies"] + project["optional-dependencies"]["test"])
    conda = yaml.safe_load((root / "environment.yml").read_text())
    assert pins(conda["dependencies"][-1]["pip"]) == wanted
    lock = (root / "requirements.lock").read_text()
    for pin in wanted.values():
        assert re.search(rf"^{re.escape(pin)}[ \\]", lock, re.M), f"{pin} is not locked"
    engine = (root / "requirements-dag.lock").read_text()
    for line in (root / "requirements-dag.in").read_text().splitlines():
        assert re.search(rf"^{re.escape(line)}[ \\]", engine, re.M), f"{line} is not locked"
    # what may be added to the environment leaves its versions alone
    locked = dict(re.findall(r"^(\S+)==([^\s;\\]+)", lock, re.M))
    landmarks = (root / "requirements-landmarks.lock").read_text()
    (wanted,) = project["optional-dependencies"]["landmarks"]
    assert re.search(rf"^{re.escape(wanted)} ", landmarks, re.M)
    for name, version in re.findall(r"^(\S+)==([^\s;\\]+)", landmarks, re.M):
        assert locked.get(name, version) == version
    (wanted,) = (root / "requirements-audit.in").read_text().split()
    audit = (root / "requirements-audit.lock").read_text()
    assert re.search(rf"^{re.escape(wanted)} ", audit, re.M)
    compared = (root / "requirements-bench.lock").read_text()
    for line in pins((root / "requirements-bench.in").read_text().splitlines()).values():
        pin = line.partition(" ;")[0]
        found = re.search(rf"^{re.escape(pin)} .*\\\n +--hash=sha256:", compared, re.M)
        assert found, f"{pin} is not locked"


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ("[Errno -3] Temporary failure in name resolution", "package index cannot be reached"),
        ("error: dns error: failed to lookup", "package index cannot be reached"),
        ("error: command 'gcc' failed: No such file or directory", "no C compiler"),
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES", "checksum"),
        ("ERROR: No matching distribution found for tensorflow==2.14.1", "no build for this"),
        ("HTTPSConnectionPool(host='pypi.org'): Read timed out.", "index cannot be reached"),
        ("error: Failed to fetch x\n  Caused by: operation timed out", "index cannot be reached"),
        ("ConnectionResetError(104, 'Connection reset by peer')", "index cannot be reached"),
        ("OSError: [Errno 113] No route to host", "index cannot be reached"),
        (
            "SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] ...'))\n"
            "ERROR: No matching distribution found for numpy",
            "certificate",
        ),
        ("HTTP error: 403 Client Error: Forbidden for url: https://x", "refuses the download"),
        ("ProxyError('Tunnel connection failed: 403 Forbidden')", "refuses the download"),
        ("meson.build:1:0: ERROR: Unknown compiler(s): [['cc'], ['gcc']]", "no C compiler"),
        ("CMake Error: No CMAKE_C_COMPILER could be found.", "no C compiler"),
        ("/bin/sh: 1: gcc: not found", "no C compiler"),
        ("make: gcc: command not found", "no C compiler"),
        ("error: linker `cc` not found", "no C compiler"),
        (
            "fatal error: Python.h: No such file or directory\n"
            "error: command '/usr/bin/gcc' failed with exit code 1",
            "python3.11-dev",
        ),
        ("error: command '/usr/bin/gcc' failed with exit code 1", "does not build on this machine"),
        ("ERROR: Failed building wheel for h5py", "does not build on this machine"),
        ("something nobody foresaw", "its output is in .cache/setup.log"),
    ],
)
def test_a_failed_installer_gets_one_sentence(setup_env, capsys, said, word):
    with pytest.raises(SystemExit) as stopped:
        setup_env.follow([sys.executable, "-c", f"print({said!r}); raise SystemExit(1)"], "x", 0)
    assert stopped.value.code == 1
    message = capsys.readouterr().err
    assert word in message
    assert message.startswith("Set-up stopped: ") and message.count("\n") == 1


INSTALLER = """#!/bin/sh
# stands for uv: makes an environment, and installs unless the lock file asks for a failure
case "$1" in
    venv)
        test "$5" = --seed || exit 1  # an environment without pip fetches no weights
        mkdir -p "$4/bin" && ln -s "$(command -v "$REAL_PYTHON")" "$4/bin/python" ;;
    pip) ! grep -q broken "$6" ;;
esac
"""


def test_a_half_done_installation_is_not_forgotten(setup_env, tmp_path, monkeypatch, capsys):
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "uv").write_text(INSTALLER)
    (programs / "uv").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("REAL_PYTHON", sys.executable)
    lock = tmp_path / "requirements-dag.lock"
    lock.write_text("a==1\n")
    assert setup_env.ensure("engine") is True
    assert setup_env.ensure("engine") is False
    lock.write_text("a==2\nbroken==1\n")
    with pytest.raises(SystemExit):
        setup_env.ensure("engine")
    # some packages are those of the second lock by now
    lock.write_text("a==1\n")
    assert setup_env.ensure("engine") is True
    assert setup_env.ensure("engine") is False
    # one that came from another folder is made anew, whatever it holds
    stamp = tmp_path / ".venv-dag" / ".installed"
    stamp.write_text(stamp.read_text().replace(str(tmp_path), "/elsewhere"))
    (tmp_path / ".venv-dag" / "old").write_text("")
    assert setup_env.ensure("engine") is True
    assert not (tmp_path / ".venv-dag" / "old").exists()


FETCHER = """#!/bin/sh
# stands for the Python that fetches the page's packages; the registry is there or not
echo asked >> asked
test -e registry || { echo "npm could not fetch the packages."; exit 1; }
mkdir -p experiment/node_modules
printf %s "$(sha256sum < experiment/package-lock.json | cut -d ' ' -f 1)" \\
    > experiment/node_modules/.installed
"""


def test_without_the_npm_registry_set_up_goes_on_and_asks_again_only_when_told(
    setup_env, tmp_path, monkeypatch, capsys
):
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").write_text(FETCHER)
    (tmp_path / ".venv" / "bin" / "python").chmod(0o755)
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "package-lock.json").write_text("{}")

    def asked():
        return len((tmp_path / "asked").read_text().splitlines())

    assert setup_env.ensure_page(again=False) is True
    said = capsys.readouterr().out
    assert "npm could not fetch the packages. The report is made without the page" in said
    assert "`make experiment` tries again" in said
    assert setup_env.ensure_page(again=False) is False and asked() == 1
    assert capsys.readouterr().out == ""
    assert setup_env.ensure_page(again=True) is True and asked() == 2
    (tmp_path / "registry").write_text("")
    assert setup_env.ensure_page(again=True) is True and asked() == 3
    assert setup_env.ensure_page(again=True) is False and asked() == 3
    # other packages are asked for
    (tmp_path / "experiment" / "package-lock.json").write_text("{ }")
    assert setup_env.ensure_page(again=False) is True and asked() == 4


def test_an_environment_linked_from_another_copy_is_left_alone(setup_env, tmp_path, capsys):
    other = tmp_path / "other"
    other.mkdir()
    (other / ".installed").write_text("of another folder")
    (tmp_path / ".venv-dag").symlink_to(other)
    (tmp_path / "requirements-dag.lock").write_text("a==1\n")
    with pytest.raises(SystemExit):
        setup_env.ensure("engine")
    assert f".venv-dag is a link to {other}" in capsys.readouterr().err
    assert (other / ".installed").read_text() == "of another folder"


def test_no_python_311_gets_one_sentence(setup_env, monkeypatch, capsys):
    monkeypatch.setattr(setup_env.shutil, "which", lambda name: None)
    with pytest.raises(SystemExit):
        setup_env.python_311()
    assert "Python 3.11 is needed and was not found" in capsys.readouterr().err


def test_a_python_that_does_not_start_is_passed_over(setup_env, tmp_path, monkeypatch):
    shim = tmp_path / "python3.11"
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHON", str(shim))
    assert setup_env.python_311() == sys.executable


def test_nothing_happens_when_the_lock_has_not_changed(root):
    done = subprocess.run(
        [sys.executable, "scripts/setup_env.py"], cwd=root, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_published_workflows_fit_the_repository(root):
    folder = root / ".github" / "workflows"
    # YAML takes the word on for a truth value
    flows = {p.stem: yaml.safe_load(p.read_text()) for p in folder.glob("*.yml")}
    assert set(flows) == {"test", "pages"}
    assert flows["test"][True] == ["push", "pull_request"]
    # what is published is what the launch buttons open
    branch = yaml.safe_load((root / "_config.yml").read_text())["repository"]["branch"]
    assert flows["pages"][True]["push"]["branches"] == [branch]
    python = tomllib.loads((root / "pyproject.toml").read_text())["project"]["requires-python"]
    for name, command in (("test", ".ci/run"), ("pages", "make book")):
        (job,) = [job for job in flows[name]["jobs"].values() if len(job["steps"]) > 1]
        assert command in [step.get("run") for step in job["steps"]]
        (version,) = [
            step["with"]["python-version"]
            for step in job["steps"]
            if step.get("uses", "").startswith("actions/setup-python@")
        ]
        assert python.startswith(f">={version},")
    assert os.access(root / ".ci" / "run", os.X_OK)
    (upload,) = [
        s for s in flows["pages"]["jobs"]["build"]["steps"] if "upload" in s.get("uses", "")
    ]
    assert upload["with"]["path"] == "book/_build/default/html"


def test_a_misspelt_setting_of_make_starts_nothing(root):
    for name in ("PROFLE", "profile", "Set"):
        done = subprocess.run(
            # called by another make, make says which folder it enters
            ["make", "--no-print-directory", "book", f"{name}=ci"],
            cwd=root,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 2 and not done.stdout
        assert f"There is no setting {name}: make takes PROFILE SET RUN" in done.stderr
        assert done.stderr.count("\n") == 1
    plain = ["make", "help", "PROFILE=ci", "FACE_DECISIONS_FUZZ=1", "SHELL=/bin/bash"]
    assert subprocess.run(plain, cwd=root, capture_output=True).returncode == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["chapter"], "Which chapter? make chapter CHAPTER=01_faces"),
        (["chapter", "CHAPTER="], "Which chapter?"),
        (["book", "CHAPTER=01_faces"], "for one chapter and what it needs: make chapter CHAPTER="),
        (["multiverse", "GRID=maybe"], "GRID=maybe is neither yes nor no."),
    ],
)
def test_a_command_that_would_mean_hours_of_something_else_is_refused(root, words, said):
    done = subprocess.run(
        ["make", "--old-file=env", *words], cwd=root, capture_output=True, text=True
    )
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("goal", [["book"], ["chapter", "CHAPTER=01_faces"]], ids=str)
def test_make_hands_over_its_variables_to_the_letter(root, tmp_path, goal):
    """Neither make nor the shell expands what they hold; the settings' own refusal quotes them."""
    trap = tmp_path / "made"
    for name, value, shown in [
        ("PROFILE", f"$(shell touch {trap})", f"'$(shell touch {trap})'"),
        ("PROFILE", f"`touch {trap}`", f"'`touch {trap}`'"),
        ("PROFILE", "$HOME $$ ${HOME}", "'$HOME $$ ${HOME}'"),
        ("SET", "source=$HOME/a size=3", 'SET="source=$HOME/a size=3"'),
        ("SET", "size=3 # $(RUN) $@", 'SET="size=3 # $(RUN) $@"'),
        ("RUN", "$(MAKE)", "run = '$(MAKE)'"),
        ("TIMEOUT", "$(MAKE)", "TIMEOUT=$(MAKE) is no number of minutes"),
        ("FIGURES", "$(MAKE)", "FIGURES=$(MAKE) is not known"),
    ]:
        done = subprocess.run(
            ["make", "--old-file=env", *goal, f"{name}={value}"],
            cwd=root,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 2
        assert shown in done.stderr, done.stderr
        assert not trap.exists()


def test_help_lists_the_commands(root):
    said = subprocess.run(["make", "help"], cwd=root, capture_output=True, text=True).stdout
    for target in ("book", "experiment", "test", "bench", "clean", "reference"):
        assert f"make {target}" in said
