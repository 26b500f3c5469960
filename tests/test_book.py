"""The built book of the ``ci`` run, as a reader gets it: from a folder, with no network."""

import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import nbformat
import pytest
import yaml
from browser import Browser
from conftest import ROOT

from lib import params, publish, store, summary
from lib.errors import InputError
from lib.experiment import has_packages, install_packages

HTML = ROOT / "book" / "_build" / "ci" / "html"
SKIPPED = {"genindex.html", "search.html"}
#: package.json of what the pages are checked with; fetched by the first test that needs it.
AXE = ROOT / "tests" / "axe"
#: Largest page with everything that it loads, bytes.
HEAVIEST = 3_000_000


def pages() -> list[Path]:
    found = sorted(p for p in HTML.rglob("*.html") if "_static" not in p.parts)
    if not found:
        pytest.fail("there is no book of the ci run: make book PROFILE=ci")
    return found


class Links(HTMLParser):
    """References of a page, its anchors, and the addresses it loads by itself."""

    def __init__(self):
        super().__init__()
        self.links, self.anchors, self.loaded = [], set(), []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.anchors.update(v for k, v in attributes if k in ("id", "name") and v)
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag in ("script", "img", "link", "iframe", "source", "video") and given.get(
            "rel"
        ) not in (
            "canonical",
            "search",
            "index",
            "next",
            "prev",
        ):
            self.loaded += [given[k] for k in ("src", "href") if given.get(k)]


def parse(path: Path) -> Links:
    parser = Links()
    parser.feed(path.read_text(encoding="utf-8"))
    return parser


def test_every_internal_link_leads_somewhere():
    parsed = {page.resolve(): parse(page) for page in pages()}
    broken = []
    for page, found in parsed.items():
        for link in found.links:
            address, anchor = urldefrag(link)
            if re.match(r"[a-z]+:", address):
                continue
            target = (page.parent / unquote(address)).resolve() if address else page
            if not target.exists():
                broken.append(f"{page.name}: {link}")
            elif anchor and target in parsed and unquote(anchor) not in parsed[target].anchors:
                broken.append(f"{page.name}: {link} (no such place)")
    assert not broken


def test_nothing_is_loaded_from_the_network_and_everything_loaded_is_there():
    wrong = []
    for page in pages():
        for address in parse(page).loaded:
            if address.startswith("data:"):
                continue
            if re.match(r"([a-z]+:)?//", address):
                wrong.append(f"{page.name}: {address}")
            elif not (page.parent / unquote(address.partition("?")[0])).exists():
                wrong.append(f"{page.name}: {address} is missing")
    assert not wrong


@pytest.mark.parametrize("chapter", params.CHAPTERS)
def test_a_chapter_says_how_it_was_made(chapter):
    text = (HTML / "book" / "executed" / "ci" / f"{chapter}.html").read_text(encoding="utf-8")
    assert "Traceback" not in text
    assert not re.search(r"glue:|\{glue", re.sub(r"<[^>]+>", " ", text)), "a number is missing"
    words = re.sub(r"<[^>]+>", " ", text.partition("How this page was made")[2])
    _, settings = params.resolve("ci")
    for name in type(settings[chapter]).model_fields:
        assert name in words
    for wanted in ("duration", "machine", *store.versions()):
        assert wanted in words


def test_the_first_page_gives_the_answer_and_the_figure_of_its_run():
    text = (HTML / "book" / "index.html").read_text(encoding="utf-8")
    words = " ".join(html.unescape(re.sub(r"<[^>]+>", "", text)).split()).replace("’", "'")
    found = summary.load_findings("ci")
    for sentence in found["answer"].values():
        assert sentence in words
    for chapter in params.CHAPTERS:
        assert found["chapter"][chapter] in words
    made = store.run_folder("ci") / "summary.svg"
    shown = HTML / "_images" / "summary.svg"
    assert shown.read_bytes() == made.read_bytes()
    assert re.search(r'<figure[^>]*id="the-answer".*?_images/summary\.svg', text, re.S)


def test_pictures_have_alternative_text():
    for page in pages():
        for picture in re.findall(r"<img[^>]+>", page.read_text(encoding="utf-8")):
            if "logo" not in picture:
                assert re.search(r'alt="[^"]{10,}"', picture), f"{page.name}: {picture}"


def test_a_book_without_its_notebooks_is_refused():
    with pytest.raises(InputError, match=r"missing: run \d\d_\w+ first"):
        publish.assemble("no-such-run")


def test_finished_pages_of_a_run_go_into_its_book_as_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "ROOT", tmp_path)
    publish.copy_pages("plain", tmp_path / "html")
    assert not (tmp_path / "html").exists()
    folder = store.run_folder("r") / "pages" / "explorer" / "maps"
    folder.mkdir(parents=True)
    (folder / "a.js").write_bytes(b"x")
    publish.copy_pages("r", tmp_path / "html")
    assert (tmp_path / "html" / "pages" / "explorer" / "maps" / "a.js").read_bytes() == b"x"


def test_launch_buttons_need_a_public_address():
    text = (ROOT / "_config.yml").read_text(encoding="utf-8")
    given = yaml.safe_load(text)
    text = text.replace(f'url: "{given["repository"]["url"]}"', 'url: ""')
    shut = yaml.safe_load(publish.configure(text))
    assert shut == {k: v for k, v in given.items() if k not in ("repository", "launch_buttons")}
    text = text.replace('url: ""', 'url: "https://github.com/o/r"')
    opened = yaml.safe_load(publish.configure(text))
    assert opened == yaml.safe_load(text) and opened["launch_buttons"]["binderhub_url"]


def test_a_page_names_the_versions_and_the_machine_that_computed_it():
    about = {"papermill": {"parameters": {"run": "r", "fill": ""}, "duration": 2.0}}
    made = {"versions": {"numpy": "9.9", "python": "3.11.99"}, "machine": "node 7, 64 cores"}
    page = nbformat.v4.new_notebook(metadata=about | {"face_decisions": made})
    source = publish.footer(page, "01_faces", "r").source
    assert "| parameter `fill` | *empty* |" in source
    for row in ("| numpy | 9.9 |", "| python | 3.11.99 |", "| machine | node 7, 64 cores |"):
        assert row in source
    made["cost"] = {"seconds": 71.2, "processor": 130.4, "memory": 3_000_000_000, "sittings": 2}
    page = nbformat.v4.new_notebook(metadata=about | {"face_decisions": made})
    source = publish.footer(page, "01_faces", "r").source
    assert "| duration | 71 s in 2 sittings |" in source
    assert "| time of processors | 130 s |" in source and "| memory at most | 3.0 GB |" in source
    # without a note it was here
    page = nbformat.v4.new_notebook(metadata=about)
    source = publish.footer(page, "01_faces", "r").source
    assert f"| numpy | {store.versions()['numpy']} |" in source and "| machine | " in source


def test_a_page_is_mended_for_offline_reading_and_launches_its_source():
    page = (
        '<script src="../_static/vendor/fontawesome/6.5.2/js/all.min.js?digest=d"></script>\n'
        '<link rel="preload" as="font" href="x.woff2">\n<div role="list" class="citation-list">'
        '<summary aria-label="Toggle hidden content">Show</summary>'
        '<button class="search-button-field search-button__button" title="Search" '
        'aria-label="Search">Search</button><button class="search-button__button" title="Search" '
        'aria-label="Search"></button>'
        '<a href="https://mybinder.org/v2/gh/o/r/b?urlpath=lab/tree/book/executed/ci/01_faces.ipynb">'
    )
    assert publish.mend_page(page, "ci") == (
        '<div class="citation-list"><summary>Show</summary>'
        '<button class="search-button-field search-button__button" title="Search">Search</button>'
        '<button class="search-button__button" title="Search" aria-label="Search"></button>'
        '<a href="https://mybinder.org/v2/gh/o/r/b?urlpath=lab/tree/notebooks/01_faces.ipynb">'
    )


@pytest.fixture(scope="module")
def browser():
    browser = Browser()
    yield browser
    browser.close()


def fetch_axe() -> str:
    """Source of axe-core, which finds what people with a screen reader or weak sight stumble on."""
    if not has_packages(AXE):
        install_packages(AXE)
    return (AXE / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def axe() -> str:
    try:
        return fetch_axe()
    except InputError as error:
        pytest.skip(f"axe-core is not there, so accessibility was not checked: {error}")


VIOLATIONS = """axe.run(document, OPTIONS).then(found => found.violations
  .filter(v => v.impact === "serious" || v.impact === "critical")
  .map(v => `${v.id} (${v.nodes.length}): ${v.nodes[0].target.join(" ")}`))"""


@pytest.fixture(scope="module")
def visits(browser):
    """What every page does on a screen, by width and theme; each is opened once."""
    try:
        axe = fetch_axe()
    except InputError:
        axe = None
    seen = {}
    for width, dark in ((1440, False), (1440, True), (390, False), (390, True)):
        for page in pages():
            if page.name in SKIPPED or page.parent == HTML:
                continue
            browser.open(page.resolve().as_uri(), width, dark=dark)
            files = {Path(unquote(urlsplit(name).path)) for name in browser.loaded}
            found = {
                "wide": browser.run("document.documentElement.scrollWidth"),
                "weight": sum(file.stat().st_size for file in files if file.is_file()),
                "violations": [],
                "problems": list(browser.problems),
            }
            if axe and width == 1440:
                # what the reader's theme changes is colours
                options = {"runOnly": ["color-contrast"]} if dark else {}
                options["preload"] = False  # it would ask for style sheets as if over a network
                script = VIOLATIONS.replace("OPTIONS", json.dumps(options))
                found["violations"] = browser.run(f"{axe};{script}")
            seen[width, dark, str(page.relative_to(HTML))] = found
    return seen


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("dark", [False, True])
def test_pages_fit_the_screen_and_report_no_errors(visits, width, dark):
    wrong = []
    for (across, theme, name), found in visits.items():
        if (across, theme) == (width, dark):
            if found["wide"] > width:
                wrong.append(f"{name}: {found['wide']} px wide on a screen of {width}")
            wrong += [f"{name}: {problem}" for problem in found["problems"]]
    assert not wrong


def test_the_explorer_leads_back_to_its_chapter(browser):
    browser.open((HTML / "pages" / "relevance" / "index.html").resolve().as_uri())
    link = browser.run("document.querySelector('#about a').href")
    chapter = HTML / "book" / "executed" / "ci" / "03_relevance.html"
    assert Path(unquote(urlsplit(link).path)) == chapter.resolve()


def test_no_page_is_heavy(visits):
    weights = {name: found["weight"] for (_, _, name), found in visits.items()}
    assert min(weights.values()) > 10_000 and max(weights.values()) > 300_000, "little was weighed"
    assert not {name: w for name, w in weights.items() if w > HEAVIEST}


@pytest.mark.parametrize("dark", [False, True])
def test_no_page_has_a_serious_violation_of_accessibility(axe, visits, dark):
    wrong = [
        f"{name}: {problem}"
        for (_, theme, name), found in visits.items()
        for problem in found["violations"]
        if theme == dark
    ]
    assert not wrong


def test_the_check_of_accessibility_finds_what_is_wrong(browser, axe, tmp_path):
    path = tmp_path / "wrong.html"
    body = '<p style="color:#bbb">faint</p><img src="data:,"><a href="#"></a>'
    path.write_text(f"<html lang='en'><title>t</title><body><main>{body}</main>", encoding="utf-8")
    browser.open(path.as_uri())
    found = browser.run(f"{axe};" + VIOLATIONS.replace("OPTIONS", "{}"))
    assert {line.split()[0] for line in found} == {"color-contrast", "image-alt", "link-name"}


SHOWN = """(() => {
  const [view, room] = ["dialog.figure-view", ".figure-room"].map(s => document.querySelector(s));
  const picture = room.querySelector("img");
  return {open: view.open, width: picture.clientWidth, natural: picture.naturalWidth,
          screen: room.clientWidth, scrolls: room.scrollWidth > room.clientWidth,
          page: document.documentElement.scrollWidth, alt: picture.alt};
})()"""


@pytest.mark.parametrize("page", ["index", *(f"executed/ci/{c}" for c in params.CHAPTERS)])
def test_on_a_phone_every_figure_can_be_seen_at_its_own_size(browser, page):
    page = (HTML / "book" / f"{page}.html").resolve()
    browser.open(page.as_uri(), 390)
    figures = browser.run("document.querySelectorAll('figure img').length")
    frames = "[...document.querySelectorAll('figure .figure-frame')]"
    assert browser.run(f"{frames}.length") == figures > 0
    for k in range(figures):
        alt = browser.run(f"{frames}[{k}].querySelector('img').alt")
        inside = browser.run(f"{frames}[{k}].querySelector('img').clientWidth")
        browser.run(f"{frames}[{k}].querySelector('button').click()")
        browser.run("document.querySelector('.figure-room img').decode()")
        shown = browser.run(SHOWN)
        assert shown["open"] and shown["alt"] == alt
        assert shown["width"] == shown["natural"] and inside <= 390
        assert shown["scrolls"] == (shown["natural"] > shown["screen"])
        assert shown["page"] <= 390, "the page behind does not grow"
        if k % 2:
            browser.run("document.querySelector('.figure-close').click()")
        else:  # as a keyboard does: the key goes to what has the focus
            browser.run(
                "document.activeElement.dispatchEvent("
                "new KeyboardEvent('keydown', {key: 'Escape', bubbles: true}))"
            )
        assert not browser.run(SHOWN)["open"]
    assert not browser.problems


def test_the_search_finds_a_word_of_a_chapter(browser):
    page = (HTML / "search.html").resolve().as_uri()
    browser.open(f"{page}?q=viewpoint")
    found = ""
    for _ in range(100):
        found = browser.run("document.querySelector('#search-results')?.innerText || ''")
        if "Faces" in found:
            break
        browser.run("new Promise(done => setTimeout(done, 100))")
    assert "Faces" in found
    assert not browser.problems, "from a folder, no page fetches another"
