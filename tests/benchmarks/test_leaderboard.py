"""How long a site of 10 methods on 3 data sets at 2 scales takes to build and to load, and how many bytes its first page needs."""

import shutil

import board_runs as runs
import fake_run as fake
import pytest

import mcsr_bench as mb

METHODS = ("zerofill", "bicubic", "bspline", "edsr", "smore", "zeng", "lyu", "mcmrsr", "minet", "sanet")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("large") / "r"
    for name in ("knee", "head", "spine"):
        data = fake.data_record(name, patients=20, slices=12)
        for scale in (2, 4):
            better = {method: 0.2 * k for k, method in enumerate(METHODS)}
            runs.claimed(out, better, data=data, scale=scale, slices=12)
    return out


def test_building(run, tmp_path, benchmark):
    benchmark.pedantic(mb.leaderboard, (run, tmp_path / "site"), {"jobs": 1}, rounds=1)


def test_loading_the_first_page(run, tmp_path, benchmark):
    """Until the table and all charts are there; the goal is 2 s on an idle machine."""
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright here")
    if CHROMIUM is None:
        pytest.skip("no Chromium here")
    page_file = mb.leaderboard(run, tmp_path / "site", jobs=1)
    asked = set()
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1300, "height": 900})
        page.on("request", lambda request: asked.add(request.url))

        def load():
            page.goto(page_file.as_uri())
            page.wait_for_selector("body[data-charts]")

        benchmark.pedantic(load, rounds=3)
        browser.close()
    names = {url.removeprefix(page_file.parent.as_uri() + "/") for url in asked}
    benchmark.extra_info["bytes"] = sum((tmp_path / "site" / name).stat().st_size for name in names)
