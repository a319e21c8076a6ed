"""Preparing large raw data: memory and disk. By default a sketch; the real size by environment variables:

MCSR_BENCH_SCALE_PATIENTS=50 MCSR_BENCH_SCALE_SLICES=36 pytest tests/benchmarks/test_scale.py --benchmark-only -s

prepares so many pairs of volumes of 640 x 368 with 15 coils as users do; all patients have the same two files, 2 GiB of disk, not
100. MCSR_BENCH_SCALE_LAYOUT: how HDF5 holds them, ``contiguous``, or compressed in blocks: ``blocks`` (h5py's choice), ``slices``,
``volume`` (one block for all of it). Read: the peak of memory over all processes (each page counted once), which must not grow with
the number of volumes.
"""

import os
import subprocess
import sys
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest

PATIENTS = int(os.environ.get("MCSR_BENCH_SCALE_PATIENTS", "4"))
SLICES = int(os.environ.get("MCSR_BENCH_SCALE_SLICES", "1"))
LAYOUT = os.environ.get("MCSR_BENCH_SCALE_LAYOUT", "contiguous")
MATRIX, RECON, COILS = (640, 368), (320, 320), 15
LIMIT = 2 << 30
PLUGINS = Path(__file__).parent / "plugins"


def write_files(root, fastmri_files):
    """A pair of volumes."""
    root.mkdir()
    shape = (SLICES, COILS, *MATRIX)
    chunks = {"contiguous": None, "blocks": True, "slices": (1, *shape[1:]), "volume": shape}[LAYOUT]
    how = {} if chunks is None else {"chunks": chunks, "compression": "gzip", "compression_opts": 1}
    coils = fastmri_files.sensitivities(COILS, MATRIX)
    for name, contrast, acquisition in (("pd", "PD", "CORPD_FBK"), ("fs", "FS-PD", "CORPDFS_FBK")):
        images = fastmri_files.knee(contrast, 1, SLICES, MATRIX, RECON)
        with h5py.File(root / f"{name}.h5", "w") as file:
            samples = np.empty(shape, np.complex64)
            for i, image in enumerate(images):
                samples[i] = fastmri_files.to_kspace(coils * image)
            file.create_dataset("kspace", data=samples, **how)
            file["ismrmrd_header"] = fastmri_files.header(MATRIX, RECON, SLICES, COILS)
            file.attrs.update(acquisition=acquisition, patient_id="p")


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


@pytest.mark.parametrize("check", [False, True], ids=["prepare", "check"])
def test_preparing_large_files(benchmark, tmp_path, fastmri_files, check):
    """Divide the time by the number of slices."""
    root = tmp_path / "data"
    write_files(root, fastmri_files)
    options = f"prepare --dataset many --plugins {PLUGINS} --set many.patients={PATIENTS} --scale 4 --jobs 2 --data-root {root}"
    command = [sys.executable, "-m", "mcsr_bench", *options.split(), *(["--check"] if check else [])]
    environment = {**os.environ, "MCSR_BENCH_CACHE": str(tmp_path / "cache")}
    peak = benchmark.pedantic(lambda: watched(command, environment), rounds=1)
    n_slices = 2 * PATIENTS * SLICES
    stored = sum(p.stat().st_size for p in (tmp_path / "cache").rglob("*.npy"))
    needed = 0 if check else n_slices * 8 * (320 * 320 + 80 * 80)
    benchmark.extra_info |= {"slices": n_slices, "peak_mib": peak >> 20, "stored_mib": stored >> 20}
    print(f"\npeak {peak >> 20} MiB, {n_slices} slices, store {stored >> 20} MiB")
    assert peak < LIMIT
    assert needed <= stored <= 1.01 * needed
