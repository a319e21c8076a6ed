"""A site from several runs, and a browser that opens its pages as files."""

import shutil
from urllib.parse import unquote

import board_runs as runs
import pytest

import mcsr_bench as mb

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A computed run, claimed ones at two scales, one that repeats a method, and a hostile one."""
    if CHROMIUM is None:
        pytest.skip("no Chromium here: the site is not looked at")
    root = tmp_path_factory.mktemp("board")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MCSR_BENCH_CACHE", str(root / "cache"))
        toy = runs.computed(root / "toy")
        knee = runs.claimed(root / "knee", {"zerofill": 0.0}, seeds=(0,))
        runs.claimed(knee, {"edsr": 1.0, "minet": 2.0, "sanet": 2.05}, weights="first")
        runs.claimed(knee, {"zerofill": 0.0, "edsr": 1.0}, seeds=(0,), scale=4)
        again = runs.claimed(root / "again", {"minet": 2.0}, seeds=(5, 6), weights="second")
        evil = runs.hostile(root / "evil")
        mb.leaderboard([toy, knee, again, evil], root / "site", plugins=runs.TOYS, jobs=1)
    return root / "site"


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright here: the site is not looked at")
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def opened(browser, site):
    """``opened("index.html", board="knee")``: a page of the site. Whatever it says or asks for beyond the folder fails the test."""
    contexts, said, asked = [], [], []

    def call(name, width=1300, board=None, **options):
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)  # a machine may be busy
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(f"dialog {dialog.message}"))
        page.on("request", lambda request: (said if outside(request.url) else asked).append(unquote(request.url)))
        full = next((p.name for p in sorted((site / "data").glob(f"{board}*"))), None) if board else None
        page.goto((site / name).as_uri() + (f"#board={full}" if full else ""))
        if name == "index.html":
            page.wait_for_selector("body[data-charts]")
        if name == "viewer.html":
            page.wait_for_selector("body[data-drawn]")
        return page

    def outside(url):
        return not url.startswith((site.as_uri() + "/", "data:", "blob:"))

    call.asked = asked
    yield call
    for context in contexts:
        context.close()
    assert said == []
