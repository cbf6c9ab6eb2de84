"""The slides of the method notebook in a real browser, opened from the file system, at 1280 x 720: `make slides`, then
`make book-test`. Each kind of fault is first shown to be found on slides that have it.
"""

import base64
import io
import re
import sys

import browser as chromium
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from advdpnp.config import ROOT
from advdpnp.store import results_root

sys.path.insert(0, str(ROOT / "book"))  # its files are scripts, not a package

SLIDES = results_root() / "slides" / "method.html"
pytestmark = pytest.mark.book
KINDS = ("network", "console", "overflow", "covered", "small", "formula", "picture", "empty")

# One slide, with all of its fragments shown: what does not fit, or cannot be read.
SLIDE_JS = """
const slide = Reveal.getCurrentSlide(), scale = Reveal.getScale(), box = slide.getBoundingClientRect();
const found = {overflow: [], covered: [], small: [], formula: [], picture: [], empty: []};
const visible = e => !e.closest('aside') && e.getClientRects().length;
const words = e => (e.textContent.trim() || e.alt || e.tagName).slice(0, 40);
const parts = [...slide.querySelectorAll('h1, h2, h3, p, li, pre, table, img, mjx-container')].filter(visible);
const sizes = parts.map(e => {
  const own = e.getBoundingClientRect();  // text may reach out of its element
  return [e, {left: own.left, top: own.top, right: own.left + Math.max(own.width, e.scrollWidth * scale),
              bottom: own.top + Math.max(own.height, e.scrollHeight * scale)}];
});
for (const [e, s] of sizes)
  if (s.left < box.left - 1 || s.top < box.top - 1 || s.right > box.right + 1 || s.bottom > box.bottom + 1)
    found.overflow.push(`${words(e)}: to ${Math.round(s.right - box.left)}, ${Math.round(s.bottom - box.top)}`);
for (const [a, s] of sizes)
  for (const [b, t] of sizes) {
    if (a === b || a.contains(b) || b.contains(a) || !(a.compareDocumentPosition(b) & 4)) continue;
    const wide = Math.min(s.right, t.right) - Math.max(s.left, t.left);
    const high = Math.min(s.bottom, t.bottom) - Math.max(s.top, t.top);
    if (wide > 2 && high > 2) found.covered.push(`${words(a)} by ${words(b)}`);
  }
for (const e of parts)
  if (e.textContent.trim() && !e.closest('mjx-container') && parseFloat(getComputedStyle(e).fontSize) < 16)
    found.small.push(words(e));
for (const e of slide.querySelectorAll('[data-mjx-error]')) found.formula.push(e.dataset.mjxError);
for (const e of parts) if (!e.closest('pre') && e.tagName !== 'MJX-CONTAINER') {
  const text = e.cloneNode(true);
  text.querySelectorAll('mjx-container, code').forEach(m => m.remove());
  if (/\\$/.test(text.textContent)) found.formula.push(words(e));
}
for (const e of slide.querySelectorAll('mjx-container'))
  if (visible(e) && !(e.querySelector('svg') && e.querySelector('svg').getBoundingClientRect().height > 4))
    found.formula.push(words(e));
for (const e of slide.querySelectorAll('img')) {
  const high = Math.min(e.height, e.width * e.naturalHeight / e.naturalWidth);
  if (!e.complete || !e.naturalWidth || e.alt.length < 20 || high < 200)
    found.picture.push(`${e.alt}: ${Math.round(high)}`);
}
if (!parts.some(e => e.textContent.trim() || e.alt)) found.empty.push(slide.outerHTML.slice(0, 60));
return found;
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    driver = chromium.start(tmp_path_factory.mktemp("profile"))
    size = {"width": 1280, "height": 720, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    yield driver
    driver.quit()


def faults(browser, path) -> dict[str, list[str]]:
    """Turn through the slides in `path`; what is wrong, by kind, each with its slide's number."""
    from selenium.webdriver.support.ui import WebDriverWait

    found = {kind: [] for kind in KINDS}
    browser.get("about:blank")
    list(chromium.requests(browser))  # what the browser itself asked for when it started
    browser.get(path.as_uri())
    WebDriverWait(browser, 60).until(lambda b: b.execute_script("return !!window.Reveal?.isReady()"))
    places = browser.execute_script("return Reveal.getSlides().map(s => Reveal.getIndices(s)).map(i => [i.h, i.v])")
    for number, (h, v) in enumerate(places, 1):
        browser.execute_script("Reveal.slide(arguments[0], arguments[1], 99)", h, v)
        for kind, what in browser.execute_script(SLIDE_JS).items():
            found[kind] += [f"slide {number}: {fault}" for fault in what]
    found["console"] += [entry["message"] for entry in browser.get_log("browser")]
    own = (path.as_uri(), "data:")
    found["network"] += [url for url in chromium.requests(browser) if not url.startswith(own)]
    return found


@pytest.fixture(scope="module")
def of_the_slides(browser):
    if not SLIDES.exists():
        pytest.fail(f"{SLIDES}: is not there; run make slides first")
    return faults(browser, SLIDES)


@pytest.mark.parametrize("kind", KINDS)
def test_no_slide_has(of_the_slides, kind):
    assert of_the_slides[kind] == []


def cell(text: str, kind: str, **output):
    """A cell of the slides; Markdown, or code with one output."""
    show = {"slideshow": {"slide_type": kind}}
    if not output:
        return new_markdown_cell(text, metadata=show)
    return new_code_cell(text, metadata=show, outputs=[new_output("display_data", output)])


def picture(width: int, height: int) -> str:
    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


@pytest.fixture(scope="module")
def of_broken_slides(browser, tmp_path_factory):
    slides = pytest.importorskip("slides", reason="make slides installs what it needs")
    cells = [
        cell("# Broken\n\n$x \\undefined$ and a lonely $", "slide"),
        cell("many words, " * 600, "slide"),
        cell("x = " + " + ".join("abcdefgh" for _ in range(30)), "subslide", **{"text/plain": "wide"}),
        cell("# Heading\n\n" + "words\n\n" * 11, "slide"),
        cell("dual_branch", "-", **{"image/png": picture(400, 400)}),
        cell("<script>undefined_function()</script><img src='http://192.0.2.1/x.png' alt='gone'>", "slide"),
        cell("<p style='font-size: 12px'>small</p><p style='margin-top: -30px'>over it</p>", "slide"),
        cell("<span></span>", "slide"),
        cell("$$" + " + ".join(["a b c d e f g h"] * 9) + "$$", "slide"),
    ]
    path = tmp_path_factory.mktemp("broken") / "broken.html"
    path.write_text(slides.page(new_notebook(cells=cells), "method"))
    return faults(browser, path)


@pytest.mark.parametrize("kind", KINDS)
def test_slides_that_have_it_are_caught(of_broken_slides, kind):
    assert of_broken_slides[kind]


def test_text_code_and_equations_that_are_too_long_are_caught_each(of_broken_slides):
    found = {int(re.match(r"slide (\d+)", fault)[1]) for fault in of_broken_slides["overflow"]}
    assert {2, 3, 8} <= found
    assert 1 not in found
