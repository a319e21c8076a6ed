"""Ten kills, two in each stage, change no byte; `tox -e kills` tries a hundred."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from compared import contents, differences  # noqa: E402

FILES = {
    "report/tables/efficiency-x2.csv": 'method,parameters,GMACs,s per step,"training, s"\nsanet,214,0.5,0.034,2.54\n',
    "report/tables/efficiency-x2.tex": (
        "\\begin{tabular}{lrr}\n    method & parameters & GMACs & s per step & "
        "\\begin{tabular}[b]{@{}r@{}}training,\\\\ s\\end{tabular} \\\\\n"
        "    \\midrule\n    sanet & 214 & 0.5 & 0.034 & 2.54 \\\\\n"
    ),
    "report/report.md": (
        "| method | parameters | GMACs | s per step | training, s |\n|---|---|---|---|---|\n"
        "| sanet | 214 | 0.5 | 0.034 | 2.54 |\n\n| method | PSNR (dB) |\n|---|---|\n| sanet | 31.25 |\n\n---\n\n"
        "- date: 2026-01-01\n- command: mcsr-bench --jobs 1\n- runs: run\n"
    ),
    "run/report/index.html": (
        "<tr><th>parameters</th><th>training, s</th><th>device</th></tr>\n<tr><td>214</td>\n<td>3</td><td>cpu</td></tr>\n"
        "<dl><dt>date</dt><dd>2026-01-01</dd><dt>runs</dt><dd>run</dd></dl>"
    ),
    "run/toy/trial.json": '{"status": "done", "pid": 7, "seconds": {"train": 3.5}, "profile": {"parameters": 214}}',
}
TIMES = {"0.034": "0.1", "2.54": "12.5", "<td>3</td>": "<td>44</td>", "2026-01-01": "2027-02-02", "jobs 1": "jobs 2"}
TIMES |= {'"pid": 7': '"pid": 8', "3.5}": "4.5}"}


def written(folder: Path, changes: dict[str, str]) -> dict[str, bytes]:
    for name, text in FILES.items():
        for old, new in changes.items():
            text = text.replace(old, new)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return contents(folder)


def test_times_and_dates_are_left_out_and_nothing_else_is(tmp_path: Path) -> None:
    whole = written(tmp_path / "a", {})
    assert list(differences(written(tmp_path / "b", TIMES), whole)) == []
    sizes = [line.partition(" ")[0] for line in differences(written(tmp_path / "c", {"214": "215"}), whole)]
    assert sizes == sorted(FILES)
    macs = [
        line.partition(" ")[0]
        for line in differences(written(tmp_path / "d", {"0.5 ": "0.6 ", ",0.5,": ",0.6,"}), whole)
    ]
    assert macs == sorted(FILES)[:3]
    [scores] = differences(written(tmp_path / "e", {"31.25": "31.26"}), whole)
    assert scores.startswith("report/report.md differs")


@pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")
def test_ten_kills_at_random_moments_change_no_byte() -> None:
    done = subprocess.run(
        [sys.executable, str(HERE / "harness.py"), "--kills", "10"],
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "; 0 faults" in done.stdout
    hit = re.findall(r"^(\w+) +(?:command|worker|group) +(\d+)$", done.stdout, re.MULTILINE)
    for stage in ("prepare", "train", "predict", "score", "report"):
        assert sum(int(n) for name, n in hit if name == stage) >= 2, done.stdout
