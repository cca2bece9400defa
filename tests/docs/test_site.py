"""The site builds without warnings, every link leads somewhere, and a browser shows all of it.

The site is built once, by Sphinx with warnings as errors. Its pages are read by an HTML parser; where
Chromium and Playwright are installed a browser opens them, too, on a screen of the size of a phone.
Nothing may be fetched from elsewhere, and no test asks another server for anything.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import statistics
import subprocess
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from documented import ROOT

pytest.importorskip("sphinx", reason="the site is built with the extra docs")
pytest.importorskip("furo", reason="the site is built with the extra docs")
pytest.importorskip("myst_parser", reason="the site is built with the extra docs")
pytest.importorskip("latex2mathml", reason="the site is built with the extra docs")

DOCS = ROOT / "docs"
PAGES = sorted(str(p.relative_to(DOCS).with_suffix(".html")) for p in DOCS.rglob("*.md"))

FETCHED = {
    ("img", "src"),
    ("script", "src"),
    ("iframe", "src"),
    ("source", "src"),
    ("video", "src"),
    ("object", "data"),
}
"""What a browser loads by itself, beside stylesheets and icons."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    done = subprocess.run(
        [*command, "-d", str(folder / "trees"), str(DOCS), str(folder / "html")],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONWARNINGS": "default"},
    )
    assert done.returncode == 0, done.stderr
    return folder / "html"


class Page(HTMLParser):
    """What matters of a page.

    Attributes:
        anchors: identifiers that links can lead to.
        links: targets of links.
        fetched: what the browser loads with the page.
        images: (source, text in its place).
        metas: names and contents of <meta>.
        formulas: number of <math> elements.
        text: all text.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.images: list[tuple[str, str]] = []
        self.metas: dict[str, str] = {}
        self.formulas = 0
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {key: value or "" for key, value in attrs}
        self.anchors |= {given[key] for key in ("id", "name") if key in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag == "link" and given.get("rel") in ("stylesheet", "icon", "preload", "shortcut icon"):
            self.fetched.append(given["href"])
        self.fetched += [given[key] for name, key in FETCHED if name == tag and key in given]
        if tag == "img":
            self.images.append((given.get("src", ""), given.get("alt", "")))
        if tag == "meta" and "name" in given:
            self.metas[given["name"]] = given.get("content", "")
        self.formulas += tag == "math"

    def handle_data(self, data: str) -> None:
        self.text += data


@functools.lru_cache(maxsize=200)
def page_of(path: Path) -> Page:
    """A page, read once."""
    return Page(path)


def test_every_page_is_built(site: Path) -> None:
    assert [name for name in PAGES if not (site / name).is_file()] == []


def test_internal_links_and_anchors_exist(site: Path) -> None:
    broken = []
    for path in site.rglob("*.html"):
        for link in page_of(path).links:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            fragment = unquote(parts.fragment) if target.suffix == ".html" else ""
            if not target.is_file() or (fragment and fragment not in page_of(target).anchors):
                broken.append((path.name, link))
    assert broken == []


def test_external_links_are_well_formed(site: Path) -> None:
    for path in site.rglob("*.html"):
        for link in page_of(path).links:
            parts = urlsplit(link)
            if parts.scheme and parts.scheme != "mailto":
                assert parts.scheme == "https", f"{path.name}: {link}"
                assert re.fullmatch(r"[\w-]+(\.[\w-]+)+", parts.netloc), f"{path.name}: {link}"
            if parts.netloc == "doi.org":
                assert re.fullmatch(r"/10\.\d{4,}/\S+", parts.path), f"{path.name}: {link}"


def test_pages_need_nothing_from_elsewhere(site: Path) -> None:
    for path in site.rglob("*.html"):
        for source in page_of(path).fetched:
            parts = urlsplit(source)
            assert parts.scheme in ("", "data"), f"{path.name}: {source}"
            assert not parts.netloc, f"{path.name}: {source}"
            if not parts.scheme:
                assert (path.parent / unquote(parts.path)).is_file(), f"{path.name}: {source}"
    for style in site.rglob("*.css"):
        for place in re.findall(r"url\(([^)]*)\)|@import\s+[\"']([^\"']*)", style.read_text()):
            assert not re.match(r"[\"']?(https?:)?//", "".join(place)), style.name


def test_images_have_a_text_in_their_place(site: Path) -> None:
    for name in PAGES:
        for source, text in page_of(site / name).images:
            assert text, f"{name}: {source}"


def test_pages_fit_a_phone(site: Path) -> None:
    for name in PAGES:
        assert "width=device-width" in page_of(site / name).metas["viewport"], name


def test_formulas_are_mathml(site: Path) -> None:
    theory = [name for name in PAGES if name.startswith("theory/")]
    assert len(theory) == 2
    for name in theory:
        page = page_of(site / name)
        assert page.formulas > 20
        assert "\\(" not in page.text
        assert "$" not in page.text
        assert "equation-" in "".join(page.anchors)


def test_commands_and_settings_of_the_code_are_in_the_reference(site: Path) -> None:
    from forcemap.fitter.cli import COMMANDS
    from forcemap.fitter.terms.kinds import SETTINGS

    commands = page_of(site / "reference/commands.html")
    assert {f"forcemap-{name}" for name in COMMANDS} <= commands.anchors
    settings = page_of(site / "reference/settings.html")
    for kind in SETTINGS:
        assert f"kind: {kind}" in settings.text
    for word in ("atom_sigma", "n_sparse", "tolerance", "eV/Å³", "5.5"):
        assert word in settings.text


def test_search_knows_the_words_of_the_pages(site: Path) -> None:
    index = (site / "searchindex.js").read_text(encoding="utf-8")
    for word in ("cutoff", "virial", "committe", "posterior"):
        assert word in index


# ---- in a browser ----------------------------------------------------------------------------------


class Quiet(SimpleHTTPRequestHandler):
    """Serves the site and prints nothing."""

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """Where the site is served, on this machine alone."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


PHONE = {"width": 390, "height": 844}


LOWERED = """
[...document.querySelectorAll("msub")].map(m =>
  m.children[1].getBoundingClientRect().bottom - m.children[0].getBoundingClientRect().bottom)
"""
"""By how much each subscript hangs below what it belongs to."""


OVERLAPPING = """
[...document.querySelectorAll("div.math > .eqno")].filter(number => {
  const formula = number.parentElement.querySelector("math")
  return number.getBoundingClientRect().left < formula.getBoundingClientRect().right - 1
}).map(number => number.innerText)
"""
"""Numbers of the equations that lie on their formulas."""


def browser_program() -> str | None:
    """A Chromium of the system, if there is one."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((found for name in names if (found := shutil.which(name))), None)


def test_a_browser_shows_all_pages_and_finds_words(address: str) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    program = browser_program()
    if program is None:
        pytest.skip("needs Chromium")
    faults: list[str] = []
    with playwright.sync_playwright() as machine:
        browser = machine.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(viewport=PHONE)
        page.on("console", lambda m: m.type == "error" and faults.append(f"{page.url}: {m.text}"))
        page.on("pageerror", lambda error: faults.append(f"{page.url}: {error}"))
        # Icons that are still on their way when the next page is opened are no fault.
        page.on(
            "requestfailed",
            lambda r: r.failure == "net::ERR_ABORTED" or faults.append(f"{page.url}: {r.url}"),
        )
        page.on(
            "request",
            lambda r: r.url.startswith((address, "data:")) or faults.append(f"asked: {r.url}"),
        )
        for name in PAGES:
            page.goto(f"{address}/{name}")
            broken = page.evaluate(
                "[...document.images].filter(i => !i.complete || !i.naturalWidth).map(i => i.src)"
            )
            faults += [f"{name}: broken image {source}" for source in broken]
            wide = page.evaluate("document.documentElement.scrollWidth")
            if wide > PHONE["width"]:
                faults.append(f"{name}: {wide} pixels wide on a phone")
        page.goto(f"{address}/theory/gaussian_process.html")
        page.evaluate("document.fonts.load('16px \"forcemap Math\"').then(fonts => fonts.length)")
        over = page.evaluate(OVERLAPPING)
        faults += [f"a formula runs into its number {number}" for number in over]
        lowered = page.evaluate(LOWERED)
        if not lowered or statistics.median(lowered) < 2.0:
            faults.append(f"subscripts are lowered by {lowered} pixels")
        page.goto(f"{address}/search.html?q=cutoff")
        page.wait_for_selector("ul.search li a", timeout=20_000)
        browser.close()
    assert faults == []
