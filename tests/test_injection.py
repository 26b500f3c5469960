"""Names are text. One that is written as a page would be written runs nothing, wherever it stands:
in the tables, glued values and settings of the book, in the explorer, on the experiment page."""

import json
import shutil
import subprocess
import sys

import nbformat
import numpy as np
import pandas as pd
import pytest
from browser import Browser
from conftest import ROOT
from observer import click, wait

from lib import figures, humans, params, publish
from lib.claims.words import LinkedTable
from lib.errors import InputError
from lib.experiment import has_packages, install_packages, write_experiment
from lib.relevance.explorer import write_explorer

#: Each would set ``window.ran`` where it were markup.
HOSTILE = [
    "<img src=x onerror=window.ran=1>",
    "<script>window.ran=1</script>",
    "</script><script>window.ran=1</script>",
    '" autofocus onfocus="window.ran=1',
    "' onmouseover='window.ran=1",
    "<svg/onload=window.ran=1>",
    "[x](javascript:window.ran=1)",
    "&lt;img src=x onerror=window.ran=1&gt;",
    "${window.ran=1}",
    r"\(\href{javascript:window.ran=1}{x}\)",
]
#: What a page would hold if one of them had been taken for markup.
MARKUP = "img[src=x], svg[onload], [onfocus], [onmouseover], [onerror], a[href^='javascript:']"


@pytest.fixture(scope="module")
def browser():
    opened = Browser()
    yield opened
    opened.close()


def harmless(browser) -> None:
    """Nothing ran, nothing is markup, and nothing asked for a file that is not there."""
    assert browser.run("window.ran === undefined")
    assert browser.run(f"document.querySelectorAll({json.dumps(MARKUP)}).length") == 0
    assert browser.problems == []


def shown(text: str) -> dict:
    return {"output_type": "stream", "name": "stdout", "text": text}


def html(table) -> dict:
    data = {"text/html": table._repr_html_(), "text/plain": repr(table)}
    return {"output_type": "display_data", "data": data, "metadata": {}}


def glued(name: str, value: str) -> dict:
    """As ``myst_nb.glue(name, value, display=False)`` leaves it."""
    prefix = "application/papermill.record/"
    data = {f"{prefix}text/plain": repr(value)}
    about = {"scrapbook": {"mime_prefix": prefix, "name": name}}
    return {"output_type": "display_data", "data": data, "metadata": about}


def test_a_page_of_the_book_shows_names_as_they_are(browser, tmp_path):
    table = pd.DataFrame({"identity": HOSTILE, "value": np.arange(len(HOSTILE)) / 3})
    links = {"value": ["a.html#" + name for name in HOSTILE]}
    outputs = [
        html(figures.Table(table, caption=HOSTILE[0])),
        html(LinkedTable(table, links)),
        shown("\n".join(HOSTILE)),
        *(glued(f"name{k}", name) for k, name in enumerate(HOSTILE)),
    ]
    glue = "\n\n".join(f"Glued: {{glue:text}}`name{k}`" for k in range(len(HOSTILE)))
    prose = nbformat.v4.new_markdown_cell(f"# A page\n\nA formula, $x^2$.\n\n{glue}")
    code = nbformat.v4.new_code_cell("1", outputs=[nbformat.from_dict(o) for o in outputs])
    code.execution_count = 1
    page = nbformat.v4.new_notebook(cells=[prose, code])
    given = dict(zip("abcdefghij", HOSTILE, strict=True))
    page.metadata["papermill"] = {"parameters": given, "duration": 1.0}
    page.metadata["kernelspec"] = {"name": "python3", "display_name": "Python"}
    page.cells.append(publish.footer(page, "01_faces", "ci"))
    nbformat.write(page, tmp_path / "page.ipynb")
    settings = publish.configure((ROOT / "_config.yml").read_text(encoding="utf-8"))
    (tmp_path / "_config.yml").write_text(settings, encoding="utf-8")
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: page\n")
    shutil.copytree(ROOT / "book" / "_static", tmp_path / "book" / "_static")
    shutil.copy(ROOT / "book" / "references.bib", tmp_path / "book")
    builder = str(ROOT / ".venv" / "bin" / "jupyter-book")
    done = subprocess.run(
        [sys.executable, builder, "build", str(tmp_path)], capture_output=True, text=True
    )
    built = tmp_path / "_build" / "html" / "page.html"
    assert built.is_file(), done.stdout + done.stderr
    browser.open(built.as_uri())
    # formulas are set after the page has loaded
    browser.run("new Promise(done => setTimeout(done, 500)).then(() => MathJax.startup.promise)")
    assert browser.run("window.ran === undefined")
    assert browser.run("document.querySelectorAll('main').length") == 1
    inside = f"document.querySelector('main').querySelectorAll({json.dumps(MARKUP)}).length"
    assert browser.run(inside) == 0
    cells = browser.run("[...document.querySelectorAll('td:first-child')].map(c => c.textContent)")
    assert [cell.strip() for cell in cells[: len(HOSTILE)]] == HOSTILE
    glue = browser.run("document.querySelector('main').innerText")
    assert all(name in glue for name in HOSTILE[:3])


def test_the_explorer_shows_names_as_they_are(browser, tmp_path):
    names = HOSTILE[:3]
    rows = [(name, "identity", 0) for name in HOSTILE]
    models = pd.DataFrame(rows, columns=["pretraining", "task", "instance"])
    images = np.full((3, 16, 16), 120, np.uint8)
    maps = {"a_flat": np.ones((len(rows), 3, 16, 16), np.float32)}
    scores = np.ones((len(rows), 3))
    page = write_explorer(tmp_path / "x", images, names, models, maps, scores, title=HOSTILE[0])
    for face in range(3):
        chosen = ",".join(map(str, range(len(rows))))
        browser.open("about:blank")
        browser.open(f"{page.as_uri()}#face={face}&models={chosen}")
        harmless(browser)
        assert names[face] in browser.run("document.body.innerText")


def test_the_experiment_page_shows_names_as_they_are(browser, tmp_path):
    if not has_packages():
        try:
            install_packages()
        except InputError as reason:
            pytest.skip(f"the page was not tried: {reason}")
    names = HOSTILE[:6]
    rows = [(names[k], names[k - 1], names[k - 2]) for k in range(len(names))]
    differ = pd.DataFrame(rows, columns=["identity", "synthface", "imagenet"])
    trials = humans.make_trials(differ, 2, catch=0)
    pictures = {name: np.full((32, 32), 40 * k, np.uint8) for k, name in enumerate(names)}
    words = dict(title=HOSTILE[0], name=HOSTILE[1], question=HOSTILE[2], contact=HOSTILE[5])
    more = dict(agreement=HOSTILE[3], consent=HOSTILE, fixation=0, gap=0)
    page = write_experiment(tmp_path / "x", pictures, trials, **words, **more).as_uri()
    invited = '"><img src=x onerror=window.ran=1>'
    browser.open(page + "?observer=" + "".join(f"%{b:02x}" for b in invited.encode()))
    wait(browser, "document.querySelector('#agree')")
    harmless(browser)
    click(browser, "#agree")
    click(browser, "form button.main")
    wait(browser, "document.querySelector('#number')")
    assert browser.run("document.querySelector('#number').value") == invited
    harmless(browser)
    browser.run("document.querySelector('#number').value = '1'")
    click(browser, "form button.main")
    wait(browser, "document.querySelector('h1')?.textContent === 'What to do'")
    # what a browser keeps may have been written by anybody who sat there
    kept = {"subj": HOSTILE[0], "list": 0, "practised": True}
    kept["answers"] = [{"side": "left", "rt": 1, "input": "key"}]
    key = "Object.keys(localStorage).find(k => k.startsWith('face-choice:'))"
    browser.run(f"localStorage.setItem({key}, {json.dumps(json.dumps(kept))})")
    browser.run("location.reload()")
    wait(browser, "document.querySelector('h1')?.textContent === 'Welcome back'")
    harmless(browser)
    click(browser, "form button.main")
    wait(browser, "document.querySelector('.choice')")
    harmless(browser)
    browser.run("localStorage.clear()")


def test_a_run_and_a_setting_cannot_carry_markup_into_a_page():
    for name in HOSTILE:
        with pytest.raises(InputError, match="may hold letters"):
            params.validate("01_faces", {"run": name})
        cell = publish._code(name)
        assert cell.startswith("`") and cell.endswith("`") and "`" not in cell[1:-1]
