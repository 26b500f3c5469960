"""The book as one page for printing: order, links, anchors, and what is said without a browser."""

import shutil
import sys

import pytest
from bs4 import BeautifulSoup
from conftest import ROOT

from lib.errors import InputError

sys.path.insert(0, str(ROOT / "scripts"))
import print_book

PAGE = """<html><head><link rel="stylesheet" href="{up}_static/a.css?v=1">
<script src="{up}_static/menu.js"></script>{math}</head><body>
<div class="bd-sidebar-primary"><nav>{nav}</nav></div>
<article class="bd-article"><h1 id="top">{title}</h1>{body}<script>x()</script>
<details class="hide above-input"><summary>Show</summary>source</details>
<details class="sd-dropdown"><summary>How</summary>made</details></article></body></html>"""
MATH = '<script defer="defer" src="{up}_static/mathjax/tex.js{v}"></script>'


@pytest.fixture
def book(tmp_path):
    """Three pages, of which the sidebar names the last one first."""
    html = tmp_path / "html"
    (html / "book" / "executed").mkdir(parents=True)
    (html / "_static").mkdir()
    (html / "_images").mkdir()
    (html / "_images" / "a.png").write_bytes(b"x")
    links = [("executed/01.html", "one"), ("words.html", "words"), ("words.html#b", "again")]
    nav = "".join(f'<a class="reference internal" href="{h}">{t}</a>' for h, t in links)
    body = (
        '<a href="executed/01.html#top">1</a><a href="words.html">w</a><a href="https://x.y/">x</a>'
    )
    write = {
        "index.html": ("", body, nav),
        "words.html": ("?v=1", '<a href="#top">t</a><a href="data.csv">d</a>', ""),
    }
    for name, (v, text, menu) in write.items():
        page = PAGE.format(
            up="../", math=MATH.format(up="../", v=v), nav=menu, title=name, body=text
        )
        (html / "book" / name).write_text(page)
    body = '<img src="../../_images/a.png"><a href="../index.html#top">i</a>'
    page = PAGE.format(up="../../", math="", nav="", title="one", body=body)
    (html / "book" / "executed" / "01.html").write_text(page)
    return html


def test_pages_follow_each_other_as_in_the_book(book):
    pages = print_book.order_pages(book)
    assert [p.name for p in pages] == ["index.html", "01.html", "words.html"]


def test_links_lead_within_the_joined_page_and_files_are_found(book):
    text = print_book.join_pages(print_book.order_pages(book), book)
    soup = BeautifulSoup(text, "html.parser")
    ids = [item["id"] for item in soup.select("[id]")]
    assert len(set(ids)) == len(ids) and ids.count("p1-top") == 1
    links = [a["href"] for a in soup.select("a")]
    assert links == ["#p1-top", "#p2", "https://x.y/", "#p0-top", "#p2-top", "book/data.csv"]
    assert all(link[1:] in ids for link in links if link.startswith("#"))
    assert soup.img["src"] == "_images/a.png" and (book / soup.img["src"]).is_file()
    scripts = [s["src"] for s in soup.select("script")]
    assert scripts == ["_static/mathjax/tex.js"], "formulas once, no menus"
    assert [s["href"] for s in soup.select("link")] == ["_static/a.css"]
    assert "source" not in soup.body.text and all(
        d.has_attr("open") for d in soup.select("details")
    )


def test_a_book_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"index\.html is missing: make the book of this run"):
        print_book.order_pages(tmp_path)


def test_without_a_browser_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(InputError, match=r"neither is on the path: install one .* CHROME="):
        print_book.find_browser()
    with pytest.raises(InputError, match=r"CHROME=firefoxx is no program"):
        print_book.find_browser("firefoxx")


def test_a_page_is_printed(book):
    try:
        browser = print_book.find_browser()
    except InputError as error:
        pytest.skip(str(error))
    joined, target = book / "print.html", book / "out.pdf"
    joined.write_text(print_book.join_pages(print_book.order_pages(book), book))
    print_book.print_page(joined, target, browser)
    content = target.read_bytes()
    assert content.startswith(b"%PDF-") and content.count(b"/Type /Page\n") >= 3
