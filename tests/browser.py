"""Chromium for the tests of the book: how it is started, how a page is opened, and what a page says of itself."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

WIDTHS, SCHEMES = (390, 1400), ("light", "dark")  # a phone held upright and a laptop, in CSS pixels
ONCE = ("image", "alt", "link", "console", "formula", "network", "head", "cut", "source")
EACH = ("overflow", "reach", "small", "contrast")  # at each width, in each scheme
KINDS = ONCE + EACH

# What does not depend on width and colours, once formulas are set.
ONCE_JS = """
const done = arguments[0];
const ready = window.MathJax && MathJax.startup ? MathJax.startup.promise : Promise.resolve();
const article = document.querySelector('article') || document.body;
ready.then(() => done({
  image: [...document.images].filter(i => !(i.complete && i.naturalWidth)).map(i => i.src.slice(0, 200)),
  alt: [...article.querySelectorAll('img, [role=img]')].filter(i => !i.closest('mjx-container'))
    .map(i => i.alt || i.getAttribute('aria-label') || '')
    .filter(text => text.length < 20 || /\\.(png|svg|jpg)$/.test(text)),
  formula: [...document.querySelectorAll('.math')].filter(
    m => !m.querySelector('mjx-container svg') || m.querySelector('[data-mjx-error]')).map(m => m.textContent),
  head: [...article.querySelectorAll('table:not(.indextable)')].filter(t => !t.tHead || !t.tHead.rows.length)
    .map(t => t.textContent.slice(0, 60)),
  cut: [...article.querySelectorAll('td, th')].filter(c => c.textContent.trim() === '...').map(
    c => c.closest('table').textContent.slice(0, 60)),
  source: [...article.querySelectorAll('pre, p')].map(e => e.textContent.trim().slice(0, 30))
    .filter(text => /^(flowchart|graph|sequenceDiagram)\\s/.test(text)),
  links: [...document.querySelectorAll('a[href]')].map(a => a.href),
  ids: [...document.querySelectorAll('[id]')].map(e => e.id),
}));
"""

# What does: text that is too small or too faint, what lies beside the screen.
EACH_JS = """
const seen = new Map(), found = {overflow: [], reach: [], small: [], contrast: []};
const rgba = text => {
  const parts = text.match(/[\\d.]+/g).map(Number);
  const scale = text.startsWith('color(') ? 255 : 1;
  return [...parts.slice(0, 3).map(p => p * scale), parts.length > 3 ? parts[3] : 1];
};
const over = (top, below) => [0, 1, 2].map(k => top[k] * top[3] + below[k] * (1 - top[3]));
const light = colour => {
  const [r, g, b] = colour.map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const dark = matchMedia('(prefers-color-scheme: dark)').matches;
const behind = element => {
  if (!element) return dark ? [0, 0, 0] : [255, 255, 255];
  if (seen.has(element)) return seen.get(element);
  const own = rgba(getComputedStyle(element).backgroundColor);
  const result = own[3] === 1 ? own.slice(0, 3) : over(own, behind(element.parentElement));
  seen.set(element, result);
  return result;
};
const done = new Set(), walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  if (done.has(element) || !walker.currentNode.textContent.trim()) continue;
  done.add(element);
  if (element.closest('script, style, noscript, mjx-container, option, .visually-hidden, .skip-to-content')) continue;
  if (!element.checkVisibility({checkOpacity: true, checkVisibilityCSS: true})) continue;
  const box = element.getBoundingClientRect();
  if (box.width < 2 || box.height < 2) continue;
  const style = getComputedStyle(element), svg = element.ownerSVGElement;
  const size = parseFloat(style.fontSize) * (svg ? svg.getScreenCTM().a : 1);
  const words = walker.currentNode.textContent.trim().slice(0, 30);
  const name = element.className.baseVal ?? element.className;
  const what = `${words} <${element.tagName.toLowerCase()} ${name}>`;
  if (size < 13.99) found.small.push(`${what} ${size.toFixed(1)} px`);
  const colour = rgba(svg ? style.fill : style.color), ground = behind(svg ? svg.parentElement : element);
  for (let up = element; up; up = up.parentElement) colour[3] *= Number(getComputedStyle(up).opacity);
  const [a, b] = [light(over(colour, ground)), light(ground)].sort((x, y) => y - x);
  const ratio = (a + 0.05) / (b + 0.05);
  if (ratio < 4.5) found.contrast.push(`${what} ${ratio.toFixed(2)}`);
}
const wide = document.documentElement.scrollWidth, page = document.documentElement.clientWidth;
if (wide > page) found.overflow.push(`${wide} px`);
for (const table of document.querySelectorAll('article table:not(.indextable)')) {
  if (table.getBoundingClientRect().width <= table.parentElement.clientWidth + 1) continue;
  const scrolls = ['auto', 'scroll'].includes(getComputedStyle(table.parentElement).overflowX);
  const first = table.querySelector('tbody tr > *');
  if (!scrolls || getComputedStyle(first).position !== 'sticky' || table.parentElement.tabIndex !== 0)
    found.reach.push(table.textContent.trim().slice(0, 60));
}
return found;
"""


def start(profile: Path):
    """Chromium without a window. Fails the test where it is not installed."""
    from selenium import webdriver

    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        pytest.fail("chromium and chromedriver are not installed: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    quiet = "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking"
    for flag in f"{quiet} disable-component-update disable-sync disable-dev-shm-usage".split():
        options.add_argument(f"--{flag}")
    options.add_argument(f"--user-data-dir={profile}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    driver.set_script_timeout(120)
    return driver


def screen(browser, width: int, scheme: str = "light", motion: str = "reduce") -> None:
    """From now on pages see this width, colour scheme and wish about motion."""
    size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    wishes = {"prefers-color-scheme": scheme, "prefers-reduced-motion": motion}
    features = [{"name": name, "value": value} for name, value in wishes.items()]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def faults(browser, site: Path) -> dict[str, list[str]]:
    """Open every page below `site` as a file; what is wrong, by kind, each with its page."""
    seen, found = {}, {kind: [] for kind in KINDS}
    browser.get("about:blank")
    list(requests(browser))  # what the browser itself asked for when it started
    for page in sorted(site.rglob("*.html")):
        if "_static" in page.parts:
            continue
        name = str(page.relative_to(site))
        screen(browser, WIDTHS[0])
        browser.get(page.as_uri())
        seen[page.as_uri()] = look = browser.execute_async_script(ONCE_JS)
        for kind in ONCE:
            found[kind] += [f"{name}: {fault}" for fault in look.get(kind, ())]
        for width in WIDTHS:
            for scheme in SCHEMES:
                screen(browser, width, scheme)
                for kind, what in browser.execute_script(EACH_JS).items():
                    found[kind] += [f"{name}, {width} px, {scheme}: {fault}" for fault in what]
        found["console"] += [f"{name}: {entry['message']}" for entry in browser.get_log("browser")]
        inside = (site.as_uri() + "/", "data:")
        found["network"] += [f"{name}: {url}" for url in requests(browser) if not url.startswith(inside)]
    for page, look in seen.items():
        found["link"] += [f"{page}: {link}" for link in look["links"] if is_broken(link, site, seen)]
    return found


def requests(browser) -> Iterator[str]:
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            yield message["params"]["request"]["url"]


def is_broken(link: str, site: Path, seen: dict) -> bool:
    """A link into the site that leads to no file, or to no such place on its page."""
    home = site.as_uri() + "/"
    if not link.startswith(home):
        return not link.startswith(("http:", "https:", "mailto:"))
    path, _, anchor = link.partition("#")
    page = path.partition("?")[0]
    if page in seen:
        return bool(anchor) and anchor not in seen[page]["ids"]
    return not (site / page.removeprefix(home)).is_file()
