"""Make weights that come with their methods: ``python tests/budgets/ship.py RUN``, of a run at preset ``small`` on brain-sim.

The weights of seed 0 are rounded to float16, in the run too: the command that made it then predicts and scores these trials again,
so that the published scores are those of what is shipped. The file goes into ``weights/`` of the method's folder, and
its SHA-256 into the card. Trials that were shipped already, and those that have not finished, are left as they are.
"""

from __future__ import annotations

import argparse
import shutil
import tomllib
from pathlib import Path

from cards import card_of, folder_of, write_table

import mcsr_bench as mb
from mcsr_bench.plugin.registry import methods
from mcsr_bench.results.bundle import Bundle
from mcsr_bench.system import files
from mcsr_bench.weights.shipped import PROTOCOL, SEED, SHIPPED, halved
from mcsr_bench.weights.tensors import BundleInfo, load_tensors, read_info, save_tensors


def shippable(bundle: Bundle) -> bool:
    """Whether a trial is one whose weights are shipped: trained with seed 0 and the settings of preset small."""
    record = bundle.record
    standard = not (record.variant or record.changes or record.dataset_variant)
    return (
        (record.preset, record.protocol, record.seed) == (SHIPPED, PROTOCOL, SEED)
        and standard
        and not record.shipped
        and methods().card(record.method).trains
    )


def round_weights(bundle: Bundle) -> None:
    """Round a trial's weights to float16 where they are; what was predicted and scored from them is made again by the next run."""
    record = bundle.record
    info = read_info(bundle.checked(bundle.weights))
    assert info is not None
    if info.origin:
        return
    tensors, _ = load_tensors(bundle.weights)
    origin = {
        "command": f"mcsr-bench run --methods {record.method} --dataset {record.dataset} --scale {record.scale} "
        f"--preset {record.preset} --seeds {record.seed}",
        "dataset": record.dataset,
        "fingerprint": record.data.fingerprint,
        "split_hash": record.data.split_hash,
        "version": record.versions["mcsr-bench"],
    }
    with bundle.claimed():
        for path in (bundle.predictions, bundle.volumes, bundle.slices, bundle.stress):
            path.unlink(missing_ok=True)
        with files.replacing(bundle.weights) as temporary:
            own = BundleInfo(**info.model_dump(exclude={"origin"}), origin=origin)
            save_tensors(temporary, halved(tensors), own.model_dump(mode="json"))
            kept = {bundle.training_log.name: record.files[bundle.training_log.name]}
            record.files = kept | {bundle.weights.name: files.file_digest(temporary)}
            record.status, record.reason = (
                "interrupted",
                "its weights were rounded; the same command predicts and scores again",
            )
            bundle.write()


def ship(bundle: Bundle) -> Path:
    """Copy a trial's rounded weights into the folder of its method, and write their SHA-256 into the card."""
    name, at = bundle.record.method, f"x{bundle.record.scale}"
    to = folder_of(name) / "weights" / f"{at}.safetensors"
    to.parent.mkdir(exist_ok=True)
    with files.replacing(to) as temporary:
        shutil.copyfile(bundle.weights, temporary)
    before = tomllib.loads(card_of(name).read_text("utf-8")).get("shipped", {})
    shipped = before | {at: files.file_digest(to)}
    write_table(name, "shipped", [f'{scale} = "{digest}"' for scale, digest in sorted(shipped.items())])
    return to


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    for bundle in mb.load_results(parser.parse_args().run).bundles:
        if bundle.record.status == "done" and shippable(bundle):
            round_weights(bundle)
            print(f"{bundle.record.label}: {ship(bundle)}")


if __name__ == "__main__":
    main()
