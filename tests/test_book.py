"""The book in a real browser, at the width of a phone: `make book-test`. Needs Chromium and its driver.

Each kind of fault is first shown to be found on a page that has it.
"""

import json
import re
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from advdpnp.config import ROOT
from advdpnp.store import results_root

pytestmark = pytest.mark.book
SITE = results_root() / "book" / "html"
WIDTH = 390  # CSS pixels: a phone held upright
KINDS = ("image", "link", "console", "overflow", "formula", "network")

# What a page says of itself, once its formulas are set.
LOOK = """
const done = arguments[0];
const ready = window.MathJax && MathJax.startup ? MathJax.startup.promise : Promise.resolve();
ready.then(() => done({
  images: [...document.images].filter(i => !(i.complete && i.naturalWidth)).map(i => i.src.slice(0, 200)),
  links: [...document.querySelectorAll('a[href]')].map(a => a.href),
  ids: [...document.querySelectorAll('[id]')].map(e => e.id),
  width: document.documentElement.scrollWidth,
  formulas: [...document.querySelectorAll('.math')].filter(
    m => !m.querySelector('mjx-container svg') || m.querySelector('[data-mjx-error]')).map(m => m.textContent),
}));
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from selenium import webdriver

    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        pytest.fail("chromium and chromedriver are not installed: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    quiet = "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking"
    for flag in f"{quiet} disable-component-update disable-sync disable-dev-shm-usage".split():
        options.add_argument(f"--{flag}")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    driver.set_script_timeout(60)
    screen = {"width": WIDTH, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    yield driver
    driver.quit()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def faults(browser, site: Path) -> dict[str, list[str]]:
    """Open every page below `site`; what is wrong, by kind, each with its page."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    home = f"http://127.0.0.1:{server.server_port}/"
    pages = sorted(str(path.relative_to(site)) for path in site.rglob("*.html") if "_static" not in path.parts)
    seen, found = {}, {kind: [] for kind in KINDS}
    browser.get("about:blank")
    requests(browser)  # what the browser itself asked for when it started
    try:
        for page in pages:
            browser.get(home + page)
            seen[page] = look = browser.execute_async_script(LOOK)
            found["image"] += [f"{page}: {image}" for image in look["images"]]
            found["formula"] += [f"{page}: {formula}" for formula in look["formulas"]]
            found["overflow"] += [f"{page}: {look['width']} px"] if look["width"] > WIDTH else []
            found["console"] += [f"{page}: {entry['message']}" for entry in browser.get_log("browser")]
            found["network"] += [f"{page}: {url}" for url in requests(browser) if not url.startswith((home, "data:"))]
    finally:
        server.shutdown()
    for page, look in seen.items():
        found["link"] += [f"{page}: {link}" for link in look["links"] if is_broken(link, home, site, seen)]
    return found


def requests(browser) -> list[str]:
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]


def is_broken(link: str, home: str, site: Path, seen: dict) -> bool:
    """A link into the site that leads to no file, or to no such place on its page."""
    if not link.startswith(home):
        return not link.startswith(("http:", "https:", "mailto:"))
    path, _, anchor = link.removeprefix(home).partition("#")
    page = path.partition("?")[0] or "index.html"
    if page in seen:
        return bool(anchor) and anchor not in seen[page]["ids"]
    return not (site / page).is_file()


@pytest.fixture(scope="module")
def of_the_book(browser):
    if not (SITE / "index.html").exists():
        pytest.fail(f"{SITE}: there is no book; run make book first")
    return faults(browser, SITE)


@pytest.mark.parametrize("kind", KINDS)
def test_no_page_of_the_book_has(of_the_book, kind):
    assert of_the_book[kind] == []


@pytest.fixture(scope="module")
def of_a_broken_page(browser, tmp_path_factory):
    site = tmp_path_factory.mktemp("broken")
    (site / "index.html").write_text(
        """<!doctype html><meta name="viewport" content="width=device-width"><img src="gone.png">
        <a href="gone.html">page</a> <a href="#gone">anchor</a> <div style="width: 800px">wide</div>
        <span class="math">\\(x\\)</span> <script>undefined_function()</script><script src="http://192.0.2.1/x.js"></script>"""
    )
    return faults(browser, site)


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_that_has_it_is_caught(of_a_broken_page, kind):
    assert of_a_broken_page[kind]


def test_both_broken_links_are_caught(of_a_broken_page):
    assert [re.search(r"(gone.*)", link)[1] for link in of_a_broken_page["link"]] == ["gone.html", "gone"]


def test_links_to_a_committed_report_lead_to_its_page():
    """Also where the page was made from results/, as after a run of that tier."""
    spec = spec_from_file_location("build", ROOT / "book" / "build.py")
    build = module_from_spec(spec)
    spec.loader.exec_module(build)
    found = {"short/report.md": ROOT / "results" / "short" / "report.md"}
    text = build.relink("[r](../published/short/report.md)", "docs/ledger.md", ROOT / "docs" / "ledger.md", found)
    assert text == "[r](../short/report.md)"


def test_every_page_shows_its_tier():
    for page in SITE.rglob("*.html"):
        if page.parts[len(SITE.parts)] not in (
            "_static",
            "_modules",
            "genindex.html",
            "search.html",
            "py-modindex.html",
        ):
            assert 'class="tier-label' in page.read_text(), page
