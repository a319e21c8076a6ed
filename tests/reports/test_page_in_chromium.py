"""The page in a browser, on a telephone, a screen and paper: all of it is there, nothing is cut, nobody is asked."""

import io
import shutil

import fake_run as fake
import numpy as np
import pytest
from PIL import Image

from mcsr_bench.plugin.registry import reports
from mcsr_bench.results.load import load_results

playwright = pytest.importorskip("playwright.sync_api", reason="no playwright here: the page is not looked at")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
REASON = "out of memory <in> /home/someone/a/very/long/path/without/any/space/" + "x" * 80
A4_ACROSS = 1047  # CSS pixels of 297 mm less two margins of 10 mm


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no Chromium here: the page is not looked at")
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory, pictures):
    """Two data sets, two references and seeds, a failed trial, and no prepared data."""
    root = tmp_path_factory.mktemp("page")
    for name in ("brain-sim", "knee"):
        for k, method in enumerate(("zerofill", "bicubic", "bspline")):
            for seed in (0, 1):
                psnr = fake.draw(method, 9, seed=seed, better=0.1 * k)
                data = fake.data_record(name, patients=9)
                card = {"trains": True}  # so that seeds count
                fake.write_trial_of(root / "r", method, psnr, data=data, seed=seed, card=card)
    fake.write_trial_of(root / "r", "edsr", [1.0], data=fake.data_record("knee"), status="failed", reason=REASON)
    write = reports().load("paper")().write
    write(load_results(root / "r"), root / "to", against=("zerofill", "bicubic"), formats=("html",))
    return root / "to" / "index.html"


@pytest.fixture
def opened(browser, report):
    """``opened(width)``: the page at a width, and what it said and asked for meanwhile."""
    pages = []

    def call(width, **options):
        page = browser.new_page(viewport={"width": width, "height": 900}, **options)
        pages.append(page)
        said = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: said.append(request.url[:80]))
        page.goto(report.as_uri())
        said.remove(report.as_uri())
        return page, [one for one in said if not one.startswith("data:image/png")]

    yield call
    for page in pages:
        page.close()


def content(png: bytes) -> float:
    """How much a picture varies: 0 for one colour."""
    return float(np.asarray(Image.open(io.BytesIO(png)).convert("L"), float).std())


@pytest.mark.parametrize("width", [390, 1300])
def test_status_and_failures_come_first_and_nothing_is_cut(opened, width):
    page, said = opened(width)
    assert said == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert content(page.screenshot()) > 10
    failed = page.locator(".status li", has_text="Failed: knee x2 edsr seed 0")
    box = failed.bounding_box()
    assert failed.is_visible()
    assert 0 <= box["x"] <= box["x"] + box["width"] <= width
    assert box["y"] < 900
    assert "out of memory <in>" in failed.inner_text()
    assert page.locator("#status").bounding_box()["y"] < page.locator("nav").bounding_box()["y"]
    assert page.locator("nav").bounding_box()["y"] < page.locator("table").first.bounding_box()["y"]
    cut = "[...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll') && e.scrollWidth > e.clientWidth + 1 "
    assert page.evaluate(cut + "&& getComputedStyle(e).display != 'inline').map(e => e.outerHTML.slice(0, 80))") == []


def test_the_contents_lead_everywhere(opened):
    page, _ = opened(1300)
    links = page.locator("nav a").evaluate_all("all => all.map(a => decodeURIComponent(a.hash.slice(1)))")
    assert len(links) == len(set(links)) >= 10
    for name in links:
        assert page.evaluate("id => document.getElementById(id) !== null", name), name
    heads = page.locator("section h3").all_inner_texts()
    assert [t for t in page.locator("nav a").all_inner_texts() if t not in heads] == ["Trials", "Made with"]
    assert len(heads) == len(set(heads))
    page.locator("nav a", has_text="per patient").click()
    assert page.evaluate("location.hash").startswith("#table-patients")
    assert page.evaluate("scrollY") > 0


def test_figures_have_content_and_lead_to_full_size(opened, report):
    page, _ = opened(1300)
    pictures = page.locator("figure img")
    assert pictures.count() >= 2
    for k in range(pictures.count()):
        assert pictures.nth(k).evaluate("image => image.naturalWidth") > 500
        assert content(pictures.nth(k).screenshot()) > 10
    links = page.locator("figure a").evaluate_all("all => all.map(a => a.getAttribute('href'))")
    assert {link.rpartition(".")[2] for link in links} == {"png", "csv"}
    assert all((report.parent / link).is_file() for link in links)
    texts = page.locator("p.undrawn").all_inner_texts()
    assert len(texts) == 2
    assert all("the prepared data" in text for text in texts)


def test_on_paper_no_table_is_wider_than_the_page_and_all_of_it_is_there(opened):
    page, _ = opened(A4_ACROSS)
    columns = page.locator("table.screen").first.locator("th").all_inner_texts()
    page.emulate_media(media="print")
    shown = "[...document.querySelectorAll('table')].filter(t => t.offsetParent)"
    widths = page.evaluate(shown + ".map(t => t.getBoundingClientRect().right)")
    assert len(widths) >= 6
    assert max(widths) <= A4_ACROSS
    wide = page.evaluate(shown + ".filter(t => t.classList.contains('screen')).length")
    assert wide == 0
    parts = page.locator("section", has=page.locator("table.screen.main")).first.locator("table.paper")
    assert parts.count() > 1
    heads = [parts.nth(k).locator("th").all_inner_texts() for k in range(parts.count())]
    assert [name for part in heads for name in part[1:]] == columns[1:]
    assert content(page.screenshot(full_page=True)) > 10
    assert page.pdf(prefer_css_page_size=True).count(b"/Type /Page\n") > 2


def test_in_the_dark_the_page_is_dark_and_its_failures_are_legible(opened):
    page, _ = opened(1300, color_scheme="dark")
    assert np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("L"), float).mean() < 60
    colour = page.locator(".status li").first.evaluate("e => getComputedStyle(e).color")
    red, green, blue = (int(part) for part in colour.strip("rgb()").split(","))
    assert 0.3 * red + 0.59 * green + 0.11 * blue > 120
