"""The site in a browser, opened as files: everything works, nobody is asked, and everyone can use it."""

import base64
import io
import json
import re
import shutil
import subprocess

import board_runs as runs
import fake_run as fake
import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mcsr_bench.data.store import open_store

PSNR, SSIM, NMSE = "psnr@volume-max", "ssim@volume-max", "nmse@volume"


def content(png):
    """How much a picture varies: 0 for one colour."""
    return float(np.asarray(Image.open(io.BytesIO(png)).convert("L"), float).std())


def names(page):
    return page.locator("#table .tabulator-row [tabulator-field=title] a").all_inner_texts()


def column(page, field):
    return page.locator(f"#table .tabulator-row [tabulator-field={field}]").all_inner_texts()


def drawn(page):
    return page.evaluate("document.body.dataset.drawn")


def pixels(page, pane):
    """The red part of a canvas, (H, W), read by the page itself: a tainted one would not let it."""
    data = page.locator(f"#{pane}").evaluate("canvas => canvas.toDataURL()")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2]))).convert("RGB"), float)[..., 0]


def test_ranks_means_and_who_vouches_are_those_of_the_runs(opened, site):
    page = opened("index.html", board="knee-x2")
    assert set(names(page)) == {"zerofill", "edsr", "minet", "sanet"}
    scores = {}
    for path in (site.parent / "knee").glob("knee/x2/*/seed*/volumes.csv"):
        scores.setdefault(path.parts[-3], []).append(pd.read_csv(path)[PSNR].mean())
    expected = sorted(scores, key=lambda name: -np.mean(scores[name]))
    assert names(page) == expected
    assert column(page, "rank") == ["1", "1", "3", "4"]  # sanet and minet are 0.05 dB apart
    assert [text.split("\n")[0] for text in column(page, "m0")] == [f"{np.mean(scores[n]):.2f}" for n in expected]
    vouched = dict(zip(names(page), column(page, "vouched"), strict=True))
    assert vouched["edsr"] == "claimed"
    assert re.sub(r"\s", "", vouched["minet"]) == "claimedreproducedby2"
    reported = dict(zip(names(page), column(page, "reported"), strict=True))
    assert reported["sanet"].split("\n") == ["32.0±0.71", "Table I"]
    assert reported["zerofill"] == "–"
    page.locator("#dataset").select_option("toy (patients=16, slices=3)")
    page.wait_for_function("document.querySelectorAll('#table .tabulator-row').length === 3")
    assert set(column(page, "vouched")) == {"verified"}
    assert column(page, "rank")[names(page).index("toynet")] == "–"  # one seed
    assert "simulated" in column(page, "flags")[0]


def test_sort_filter_and_choose_another_table(opened):
    page = opened("index.html", board="knee-x2")
    page.get_by_role("button", name="Params").click()
    up = names(page)
    sizes = {"edsr": 5, "minet": 6, "sanet": 6, "zerofill": 9}
    assert [sizes[name] for name in up] == sorted(sizes.values())
    page.get_by_role("button", name="Params").click()
    assert [sizes[name] for name in names(page)] == sorted(sizes.values(), reverse=True)
    page.get_by_label("Filter").fill("net")
    assert set(names(page)) == {"minet", "sanet"}
    page.get_by_label("verified only").check()
    assert names(page) == []
    page.get_by_label("verified only").uncheck()
    page.get_by_label("Filter").fill("")
    page.locator("#scale").select_option("4")
    page.wait_for_function("document.querySelectorAll('#table .tabulator-row').length === 2")
    assert set(names(page)) == {"zerofill", "edsr"}
    assert column(page, "rank")[names(page).index("edsr")] == "–"
    assert "board=knee-x4" in page.evaluate("location.hash")


def test_the_metric_is_switched_everywhere_at_once(opened):
    page = opened("index.html", board="knee-x2")
    before = content(page.locator("#chart-patients").screenshot())
    assert before > 10
    assert "PSNR" in page.locator("#chart-patients").get_attribute("aria-label")
    page.get_by_label("NMSE").check()
    page.wait_for_selector(f"body[data-charts$='{NMSE}']")
    assert set(column(page, "rank")) == {"1"}  # the same in all rows
    assert page.locator("#table .chosen .tabulator-col-title").all_inner_texts() == ["NMSE"]
    for chart in ("cost", "patients", "pairs", "ranks"):
        said = page.locator(f"#chart-{chart}").get_attribute("aria-label")
        assert "NMSE" in said
        assert "PSNR" not in said
    assert column(page, "reported") == []  # the paper's table has no NMSE here
    page.get_by_label("SSIM").check()
    page.wait_for_selector(f"body[data-charts$='{SSIM}']")
    assert "0.716" in column(page, "reported")[names(page).index("sanet")]


def test_charts_have_content_and_the_front_is_right(opened):
    page = opened("index.html", board="knee-x2")
    for chart in ("cost", "patients", "pairs", "ranks"):
        page.locator(f"#chart-{chart} svg").wait_for()
        assert content(page.locator(f"#chart-{chart}").screenshot()) > 8
    points = [{"x": 1, "y": 1}, {"x": 2, "y": 3}, {"x": 3, "y": 2}, {"x": 4, "y": 3}, {"x": 5, "y": 9}]
    front = page.evaluate("points => mcsr.charts.front(points, true).map(p => p.x)", points)
    assert front == [1, 2, 5]
    assert page.evaluate("points => mcsr.charts.front(points, false).map(p => p.x)", points) == [1]
    page.locator("#reference").select_option("sanet")
    page.wait_for_function("document.getElementById('chart-pairs').getAttribute('aria-label').includes('from sanet')")
    page.locator("#cost").select_option("parameters")
    page.wait_for_function("document.getElementById('chart-cost').getAttribute('aria-label').includes('parameters')")
    boxes = page.evaluate(
        "[...document.querySelectorAll('#chart-cost .mark-text text')]"
        ".filter(t => ['sanet', 'minet', 'edsr'].includes(t.textContent))"
        ".map(t => t.getBoundingClientRect()).map(r => [r.left, r.top, r.right, r.bottom])"
    )
    assert len(boxes) == 3
    for i, (left, top, right, bottom) in enumerate(boxes):  # no name lies on another
        assert all(right <= a or c <= left or bottom <= b or d <= top for a, b, c, d in boxes[:i])


def test_copies_hold_what_is_shown(opened, tmp_path):
    page = opened("index.html", board="knee-x2", permissions=["clipboard-read", "clipboard-write"])
    page.get_by_label("Filter").fill("et")
    shown = names(page)
    copies = {}
    for name in ("LaTeX", "Markdown", "CSV"):
        page.get_by_role("button", name=name).click()
        page.wait_for_function("name => document.getElementById('said').textContent.includes(name)", arg=name)
        copies[name] = page.evaluate("navigator.clipboard.readText()").replace("\r\n", "\n")
    table = pd.read_csv(io.StringIO(copies["CSV"]))
    assert list(table["Method"]) == shown == ["sanet", "minet"] or list(table["Method"]) == shown == ["minet", "sanet"]
    assert list(table["Rank"]) == [1, 1]
    assert [f"{value:.2f}" for value in table["PSNR (dB)"]] == [text.split("\n")[0] for text in column(page, "m0")]
    lines = copies["Markdown"].splitlines()
    assert [line.split(" | ")[1] for line in lines[2:4]] == shown
    assert len({line.replace("\\|", "").count("|") for line in lines[:4]}) == 1
    assert copies["LaTeX"].count("\\\\\n") == 3
    assert "\\begin{tabular}{rl" in copies["LaTeX"]
    if shutil.which("pdflatex"):
        body = "\\documentclass{article}\\begin{document}\\tiny " + copies["LaTeX"] + "\\end{document}"
        (tmp_path / "t.tex").write_text(body)
        done = subprocess.run(["pdflatex", "-interaction=batchmode", "t.tex"], cwd=tmp_path, capture_output=True)
        assert done.returncode == 0


def test_a_row_opens_its_details_and_its_method(opened, site):
    page = opened("index.html", board="toy")
    page.get_by_role("button", name="Details of zerofill").click()
    dialog = page.get_by_role("dialog")
    text = dialog.inner_text()
    assert "mcsr-bench run --methods zerofill --dataset toy --scale 2 --seeds 0 --preset quick" in text
    assert "--set toy.patients=16 --set toy.slices=3 --plugins PATH" in text
    [record] = (site.parent / "toy").glob("toy*/x2/zerofill/seed0/trial.json")
    assert f"|split:{json.loads(record.read_text())['data']['split_hash']}|" in text
    links = dialog.get_by_role("link", name="CSV").evaluate_all(
        "all => all.map(a => decodeURIComponent(a.getAttribute('href')))"
    )
    assert [len(pd.read_csv(site / link)) for link in links] == [6, 18]  # patients, and three slices of each
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    page.locator("#table").get_by_role("link", name="zerofill").click()
    page.wait_for_url("**/methods/zerofill.html")
    assert page.get_by_role("heading", level=1).inner_text() == "zerofill"
    assert "Zero-filling" in page.locator(".lead").inner_text()
    page.get_by_role("link", name=re.compile("^toy")).click()
    page.wait_for_selector("body[data-charts^='toy']")


def test_the_viewer_shows_slices_of_two_methods_under_a_slider_and_their_errors(opened):
    page = opened("viewer.html")
    for pane in ("pane-left", "pane-right", "error-left", "error-right"):
        assert pixels(page, pane).std() > 10
    page.locator("#left").select_option("HR (the reference)")
    page.wait_for_function("document.body.dataset.drawn.includes(' hr ')")
    assert pixels(page, "error-left").max() == 0  # HR is where HR is
    before = drawn(page)
    page.locator("#case").select_option(index=1)
    page.wait_for_function("before => document.body.dataset.drawn !== before", arg=before)
    before = drawn(page)
    page.locator("#slice").focus()
    page.keyboard.press("ArrowLeft")
    page.wait_for_function("before => document.body.dataset.drawn !== before", arg=before)
    page.locator("#left").select_option("LR")
    page.locator("#right").select_option("HR (the reference)")
    page.wait_for_function("document.body.dataset.drawn.endsWith('lr hr')")
    page.get_by_label("slider").check()
    assert not page.locator("#pane-right").is_visible()
    page.locator("#divide").fill("0")
    right = pixels(page, "pane-left")
    page.locator("#divide").fill("100")
    left = pixels(page, "pane-left")
    page.locator("#divide").fill("50")
    half = pixels(page, "pane-left")
    edge = half.shape[1] // 2
    assert (half[:, : edge - 2] == left[:, : edge - 2]).all()
    assert (half[:, edge + 2 :] == right[:, edge + 2 :]).all()
    assert (left != right).any()
    page.locator("#errors").uncheck()
    assert not page.locator("#error-left").is_visible()


MAGMA_RED = (0x00, 0x1D, 0x51, 0x82, 0xB6, 0xE6, 0xFB, 0xFE, 0xFC)
"""Of the nine colours that the error maps go through, evenly."""


def test_what_is_shown_is_what_was_predicted_and_both_errors_have_one_scale(opened, site, monkeypatch):
    monkeypatch.setenv("MCSR_BENCH_CACHE", str(site.parent / "cache"))
    page = opened("viewer.html")
    page.locator("#left").select_option("zerofill")
    page.locator("#right").select_option("toynet")
    page.wait_for_function("document.body.dataset.drawn.endsWith(' m0 m2')")
    [volume] = re.findall(r"\((.*)\)", page.locator("#case option:checked").inner_text())
    k = int(page.locator("#slice-says").inner_text())
    images = {}
    for pane, method in (("left", "zerofill"), ("right", "toynet")):
        [folder] = (site.parent / "toy").glob(f"toy*/x2/{method}/seed0")
        with h5py.File(folder / "predictions.h5") as file:
            images[pane] = np.abs(file[volume]["target"][k])
        store = json.loads((folder / "trial.json").read_text())["data"]["store"]
    whole = np.abs(np.asarray(open_store(store).volumes[volume].target)).astype(float)
    white = np.percentile(whole, 99.7)
    errors = {pane: np.abs(image - whole[k]) for pane, image in images.items()}
    most = max(np.sort(error, axis=None)[int(0.995 * (error.size - 1))] for error in errors.values())
    for pane, image in images.items():
        shown = pixels(page, f"pane-{pane}")
        middle = ((np.arange(32) + 0.5) * shown.shape[0] / 32).astype(int)
        assert np.abs(shown[np.ix_(middle, middle)] - np.clip(255 * image / white, 0, 255)).max() <= 1
        colour = np.rint(np.minimum(255 * errors[pane] / most, 255)) / 255 * 8
        red = np.interp(colour, range(9), MAGMA_RED)
        difference = np.abs(pixels(page, f"error-{pane}")[np.ix_(middle, middle)] - red)
        assert np.percentile(difference, 99) <= 2  # one colour further at most, where a number is halfway
        assert difference.max() <= 4
    rows = pd.read_csv(folder / "slices.csv")
    [psnr] = rows[(rows["volume_id"] == volume) & (rows["slice_index"] == k) & (rows["role"] == "target")][PSNR]
    assert f"{psnr:.2f} dB" in page.locator("#says-right").inner_text()


def test_both_panes_zoom_and_pan_together_by_pointer_and_by_keyboard(opened):
    page = opened("viewer.html")
    view = lambda: [float(part) for part in page.evaluate("document.body.dataset.view").split()]  # noqa: E731
    whole = pixels(page, "pane-right")
    page.locator("#pane-left").hover()
    page.mouse.wheel(0, -300)
    page.wait_for_function("!document.body.dataset.view.startsWith('1.000')")
    zoomed = pixels(page, "pane-right")
    assert (zoomed != whole).any()
    page.mouse.down()
    page.mouse.move(500, 500)
    page.mouse.up()
    assert view()[1:] != [0, 0]
    assert (pixels(page, "pane-right") != zoomed).any()
    page.locator("#pane-right").focus()
    page.keyboard.press("0")
    page.wait_for_function("document.body.dataset.view === '1.000 0.000 0.000'")
    page.keyboard.press("+")
    page.keyboard.press("ArrowRight")
    assert view() == [1.25, 0.04, 0]
    before = drawn(page)
    page.keyboard.press("p")
    page.wait_for_function("before => document.body.dataset.drawn !== before", arg=before)
    before = drawn(page)
    page.keyboard.press("]")
    page.wait_for_function("before => document.body.dataset.drawn !== before", arg=before)
    dark = pixels(page, "pane-left").mean()
    page.get_by_label("Level").fill("10")
    page.wait_for_function("true")
    page.wait_for_timeout(300)
    assert pixels(page, "pane-left").mean() > dark + 5


def test_the_keyboard_alone_sorts_switches_and_opens(opened):
    page = opened("index.html", board="knee-x2")
    page.evaluate("document.activeElement.blur()")

    def tab_to(test, most=60):
        for _ in range(most):
            page.keyboard.press("Tab")
            if page.evaluate(f"(() => {{ const e = document.activeElement; return {test}; }})()"):
                return
        raise AssertionError(test)

    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    tab_to("e.id === 'scale'")
    tab_to("e.name === 'metric'")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector(f"body[data-charts$='{SSIM}']")
    tab_to("e.textContent === 'Method' && e.tagName === 'BUTTON'")
    page.keyboard.press("Enter")
    assert names(page) == sorted(names(page))
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"
    tab_to("(e.getAttribute('aria-label') || '') === 'Details of edsr'")
    page.keyboard.press("Enter")
    assert page.get_by_role("dialog").is_visible()
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Details of edsr"


@pytest.mark.parametrize("name", ["index.html", "viewer.html", "methods/sanet.html", "datasets/toy.html"])
def test_on_a_telephone_nothing_is_wider_than_the_screen(opened, name):
    page = opened(name, width=390)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    cut = "[...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll, .tabulator, .chart, dialog, select, pre') && "
    assert page.evaluate(cut + "e.getBoundingClientRect().right > 391).map(e => e.outerHTML.slice(0, 90))") == []
    assert content(page.screenshot()) > 10


def test_the_dark_is_dark_and_the_switch_is_kept(opened):
    page = opened("index.html", color_scheme="dark")
    brightness = lambda: np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("L"), float).mean()  # noqa: E731
    assert brightness() < 60
    page.get_by_role("button", name="Switch to light colours").click()
    assert brightness() > 180
    page.get_by_role("link", name="Slice viewer").click()
    page.wait_for_selector("body[data-drawn]")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(opened, scheme):
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="no axe here: accessibility is not looked at"
    )
    found = {}
    pages = ("index.html", "viewer.html", "methods/sanet.html", "datasets/evil.html")
    for name in pages if scheme == "light" else pages[:2]:  # colours are those of the first two
        page = opened(name, color_scheme=scheme, board="knee-x2" if name == "index.html" else None)
        if name == "index.html":
            page.get_by_text("How to read the table").click()
        found |= {
            f"{name} {v['id']}": v["nodes"][0]["html"][:200]
            for v in serious(axe.Axe().run(page, options={"preload": False}))
        }
        if name == "index.html" and scheme == "light":
            page.get_by_role("button", name="Details of sanet").click()
            found |= {
                f"dialog {v['id']}": v["nodes"][0]["html"][:200]
                for v in serious(axe.Axe().run(page, options={"preload": False}))
            }
    assert found == {}


def serious(results):
    return [v for v in results.response["violations"] if v["impact"] in ("serious", "critical")]


def test_hostile_text_is_shown_and_never_obeyed(opened, site):
    page = opened("index.html", board="evil")
    assert names(page) == ["sanet (key=" + runs.EVIL + ")", "edsr (key=" + runs.EVIL + ")"]
    assert runs.EVIL in page.locator("#about").inner_text()
    page.get_by_role("button", name="Details of edsr").click()
    assert runs.EVIL in page.get_by_role("dialog").inner_text()
    page.keyboard.press("Escape")
    for name in ("LaTeX", "Markdown", "CSV"):
        page.get_by_role("button", name=name).click()
    page.locator("#chart-patients svg").hover()
    others = [opened(f"{place}.html") for place in ("methods/edsr", "datasets/evil")]
    assert runs.EVIL in others[1].locator(".lead").inner_text()
    assert "\\x1b]0;owned\\x07\\u202etxt" in others[1].locator("main").inner_text()
    for one in (page, *others):
        assert one.evaluate("window.owned") is None
        assert one.locator("img[src=x]").count() == 0
    assert not (site.parent / "passwd").exists()


def test_every_page_is_small(opened, site):
    """Before pictures: what a page loads, with its data."""
    for name, board in (("index.html", "knee-x2"), ("methods/sanet.html", None), ("viewer.html", None)):
        opened.asked.clear()
        opened(name, board=board)
        files = {url.removeprefix(site.as_uri() + "/").partition("#")[0] for url in opened.asked}
        files = {file for file in files if not re.search("^data/.*/v[0-9]", file)}
        assert name in files
        assert sum((site / file).stat().st_size for file in files) < 2_000_000
        if name == "index.html":
            assert any("tabulator" in file for file in files)


def test_real_images_are_published_only_on_demand(site):
    assert fake.data_record("knee").real
    [board] = [path for path in (site / "data").iterdir() if path.name.startswith("knee-x2")]
    assert "--real-images" in (board / "viewer.js").read_text()
    assert [path.name for path in board.iterdir() if path.name not in ("board.js", "viewer.js")] == []
