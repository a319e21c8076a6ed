"""Preparing large raw data: memory and disk. By default a sketch; the real size by environment variables:

MCSR_BENCH_SCALE_VOLUMES=100 MCSR_BENCH_SCALE_SLICES=36 pytest tests/benchmarks/test_scale.py --benchmark-only -s

writes that many volumes of 640 x 368 with 15 coils (all of them windows on one array: 1 GiB of disk, not 100) and prepares them as
users do. Read: the peak of memory over all its processes (each page counted once), which must not grow with the number of volumes.
"""

import csv
import os
import subprocess
import sys
import threading
from pathlib import Path

import h5py
import numpy as np

VOLUMES = int(os.environ.get("MCSR_BENCH_SCALE_VOLUMES", "8"))
SLICES = int(os.environ.get("MCSR_BENCH_SCALE_SLICES", "2"))
MATRIX, RECON, COILS = (640, 368), (320, 320), 15
LIMIT = 2 << 30


def write_files(root, fastmri_files):
    """Pairs of volumes that share one array of k-space, and lists that name them: 3 of 4 pairs train."""
    root.mkdir()
    images = fastmri_files.knee("PD", 1, SLICES, MATRIX, RECON)
    coils = fastmri_files.sensitivities(COILS, MATRIX)
    with h5py.File(root / "samples.h5", "w") as file:
        samples = file.create_dataset("kspace", (SLICES, COILS, *MATRIX), np.complex64)
        for i, image in enumerate(images):
            samples[i] = fastmri_files.to_kspace(coils * image)
    header = fastmri_files.header(MATRIX, RECON, SLICES, COILS)
    rows = []
    for n in range(VOLUMES // 2):
        rows.append([f"pd{n:04d}", f"fs{n:04d}"])
        for name, acquisition in zip(rows[-1], ("CORPD_FBK", "CORPDFS_FBK"), strict=True):
            with h5py.File(root / f"{name}.h5", "w") as file:
                layout = h5py.VirtualLayout((SLICES, COILS, *MATRIX), np.complex64)
                layout[:] = h5py.VirtualSource("samples.h5", "kspace", (SLICES, COILS, *MATRIX))
                file.create_virtual_dataset("kspace", layout)
                file["ismrmrd_header"] = header
                file.attrs.update(acquisition=acquisition, patient_id=f"p{n:04d}")
    for name, part in (("train", rows[: -len(rows) // 4]), ("test", rows[-len(rows) // 4 :])):
        with (root / f"{name}.csv").open("w", newline="") as handle:
            csv.writer(handle).writerows(part)


def tree_memory(pid):
    """Bytes of a process and all below it, shared pages split among those that share them."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        own = next(int(line.split()[1]) for line in lines if line.startswith("Pss_Anon:")) * 1024
        return own + sum(tree_memory(int(child)) for child in children.read_text().split())
    except (OSError, StopIteration):
        return 0


def watched(command, environment):
    """Run a command; returns the peak of its memory, without files that the system keeps in its cache."""
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    peak, ended = [0], threading.Event()

    def watch():
        while not ended.wait(0.1):
            peak[0] = max(peak[0], tree_memory(process.pid))

    thread = threading.Thread(target=watch)
    thread.start()
    output = process.communicate()[0]
    ended.set()
    thread.join()
    assert process.returncode == 0, output
    return peak[0]


def test_preparing_large_files(benchmark, tmp_path, fastmri_files):
    """Divide the time by the number of slices."""
    root = tmp_path / "data"
    write_files(root, fastmri_files)
    options = "prepare --dataset fastmri --scale 4 --jobs 2 --data-root"
    command = [sys.executable, "-m", "mcsr_bench", *options.split(), str(root)]
    for name in ("train", "test"):
        command += ["--set", f"fastmri.{name}_pairs={root}/{name}.csv"]
    environment = {**os.environ, "MCSR_BENCH_CACHE": str(tmp_path / "cache")}
    peak = benchmark.pedantic(lambda: watched(command, environment), rounds=1)
    stored = sum(p.stat().st_size for p in (tmp_path / "cache").rglob("*.npy"))
    needed = VOLUMES * SLICES * 8 * (320 * 320 + 80 * 80)
    benchmark.extra_info |= {"slices": VOLUMES * SLICES, "peak_mib": peak >> 20, "stored_mib": stored >> 20}
    print(f"\npeak {peak >> 20} MiB, {VOLUMES * SLICES} slices, store {stored >> 20} MiB")
    assert peak < LIMIT
    assert needed <= stored < 1.01 * needed
