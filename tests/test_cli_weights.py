"""From an authors' checkpoint to a user's own volume, by the two commands."""

import nibabel
import numpy as np
import pytest
import released_tables as tables
import torch

SMALL = ("--set", "sanet.width=8", "--set", "sanet.blocks=1")


@pytest.fixture
def volumes(tmp_path):
    """A pair of NIfTI files: 3 slices of 12 x 10 and of 24 x 20."""
    rng = np.random.default_rng(0)
    low, high = np.diag([2.0, 2.0, 4.0, 1.0]), np.diag([1.0, 1.0, 4.0, 1.0])
    for name, shape, affine in (("t2", (12, 10, 3), low), ("t1", (24, 20, 3), high)):
        data = rng.uniform(10, 100, size=shape).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(data, affine), tmp_path / f"{name}.nii.gz")
    return tmp_path / "t2.nii.gz", tmp_path / "t1.nii.gz"


def checkpoint(tmp_path, **changes):
    state = tables.small_sanet()
    state |= changes
    torch.save({"state_dict": {f"sanet.{k}": v for k, v in state.items()}, "epoch": 35}, tmp_path / "best.ckpt")
    return tmp_path / "best.ckpt"


def test_a_lightning_checkpoint_becomes_a_bundle_that_predicts(here, tmp_path, volumes):
    out = here("import-weights", "sanet", checkpoint(tmp_path), "--to", tmp_path / "bundle", *SMALL)
    assert out.returncode == 0, out.stderr
    assert "sanet at 2x" in out.stdout
    assert "skipped as dead" in out.stdout
    target, auxiliary = volumes
    sr = tmp_path / "sr.nii.gz"
    out = here("predict", "--from", tmp_path / "bundle", "--target", target, "--aux", auxiliary, "--to", sr)
    assert out.returncode == 0, out.stderr
    found = nibabel.load(sr)
    assert found.shape == (24, 20, 3)
    np.testing.assert_allclose(np.abs(np.diag(found.affine))[:3], (1, 1, 4))
    assert np.isfinite(found.get_fdata()).all()


def test_what_does_not_match_is_listed_and_refused(here, tmp_path):
    path = checkpoint(tmp_path, **{"net9.head.weight": torch.ones(3)})
    out = here("import-weights", "sanet", path, "--to", tmp_path / "bundle", *SMALL)
    assert out.returncode == 2
    assert "net9.head.weight" in out.stdout
    assert len(out.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "bundle").exists()
    out = here("import-weights", "sanet", path, "--to", tmp_path / "bundle", *SMALL, "--partial")
    assert out.returncode == 0, out.stderr
    assert "not used: net9.head.weight" in out.stdout


def test_pickled_code_is_never_run(here, tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("code was run",))

    torch.save({"state_dict": Evil()}, tmp_path / "evil.ckpt")
    out = here("import-weights", "sanet", tmp_path / "evil.ckpt", "--to", tmp_path / "bundle")
    assert out.returncode == 2
    assert "code was run" not in out.stdout + out.stderr
    assert "weights_only" in out.stderr or "torch.load" in out.stderr
    assert not (tmp_path / "bundle").exists()


def test_mistakes_get_a_sentence(here, tmp_path, volumes):
    target, auxiliary = volumes
    for command, sentence in (
        (("import-weights", "sanet", tmp_path / "none.pt", "--to", tmp_path / "b"), "none.pt"),
        (("import-weights", "zerofill", target, "--to", tmp_path / "b"), "has no rules for checkpoints"),
        (
            ("predict", "--from", tmp_path, "--target", target, "--aux", auxiliary, "--to", tmp_path / "x.nii"),
            str(tmp_path),
        ),
    ):
        out = here(*command)
        assert out.returncode == 2
        assert sentence in out.stderr
        assert "Traceback" not in out.stderr
