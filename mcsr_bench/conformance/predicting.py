"""Checks of what a method predicts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from mcsr_bench.plugin.batch import Batch
from mcsr_bench.plugin.loading import check_method, method_of
from mcsr_bench.plugin.method import Method, Settings, TorchMethod, TrainingSettings
from mcsr_bench.plugin.registry import methods
from mcsr_bench.protocol import PROTOCOLS

from .outcome import fail, skip
from .subject import Subject, distance, same, seeded
from .synthetic import make_batch, smooth_batch, smooth_images

BATCH_TOLERANCE = 1e-4
"""A slice alone against the same slice in a batch, relative to the largest value: float32 sums in another order."""
DEVICE_TOLERANCE = 1e-3
"""CPU against GPU, likewise, without reduced precision."""
PHASE_TOLERANCE = 1e-3
"""A magnitude method under another phase: the magnitude is rounded differently, and the network may amplify that."""
CHANGE = 1e-5
"""What counts as a change of the output, relative to its largest value."""


@dataclass
class Predicting:
    """The checks of `predict`; each returns what it found or raises."""

    subject: Subject

    def loads(self) -> str:
        """The card is sound, the class is a method, and every preset has a valid value for every setting."""
        card = self.subject.card
        loaded = methods().load(self.subject.name)
        if not (isinstance(loaded, type) and issubclass(loaded, Method)):
            fail(f'class = "{card.class_name}" is not a subclass of mcsr_bench.Method')
        if not (isinstance(loaded.Settings, type) and issubclass(loaded.Settings, Settings)):
            fail(f"{card.class_name}.Settings is not a subclass of mcsr_bench.Settings")
        if issubclass(loaded, TorchMethod) and not issubclass(loaded.Settings, TrainingSettings):
            fail(
                f"{card.class_name} is a TorchMethod, so its Settings must be a subclass of mcsr_bench.TrainingSettings"
            )
        known = {s for protocol in PROTOCOLS.values() for s in protocol.scales}
        if not card.scales or not set(card.scales) <= known:
            fail(f"scales = {list(card.scales)}: some of {sorted(known)} are allowed")
        if card.trains and "quick" not in card.presets:
            fail("a method that trains needs [presets.quick]")
        required = {name for name, field in loaded.Settings.model_fields.items() if field.is_required()}
        for preset, values in card.presets.items():
            missing = sorted(required - values.keys())
            if missing:
                fail(f"[presets.{preset}] gives no value for: {', '.join(missing)}")
            for scale in card.scales:
                check_method(card.name, scale, preset, {})
        method = self.subject.load()
        maps = method.maps(self.subject.batch())
        if not isinstance(maps, dict) or not all(isinstance(m, torch.Tensor) for m in maps.values()):
            fail("maps must return a mapping of names to tensors")
        presets = ", ".join(card.presets) or "no settings"
        return f"{card.title}: {card.contrasts}-contrast, {card.track}, presets: {presets}"

    def shapes(self) -> str:
        """(B, H, W), float32 and not negative or complex64, at every scale, for batches of 1 and 3, also where H < W."""
        for scale in self.subject.scales:
            for n, lr_shape in zip((1, 3), self.subject.lr_shapes(scale), strict=True):
                batch = smooth_batch(n, lr_shape, scale)
                for contrast, image in self.subject.predict(batch).items():
                    at = f"{n} LR slices of {lr_shape[0]} x {lr_shape[1]} at scale {scale}: the {contrast}"
                    expected = (n, *batch.hr_shape)
                    if tuple(image.shape) != expected:
                        fail(f"{at} is of shape {tuple(image.shape)}, not {expected}")
                    if image.dtype not in (torch.float32, torch.complex64):
                        fail(f"{at} is {str(image.dtype).removeprefix('torch.')}; float32 and complex64 are allowed")
                    if image.requires_grad:
                        fail(f"{at} still carries its gradient graph: predict under torch.no_grad()")
                    if not image.is_complex() and float(image.min()) < 0:
                        fail(f"{at} has a magnitude below zero: {float(image.min()):.3g}")
        return f"scales {', '.join(map(str, self.subject.scales))}; batches of 1 and 3; square and not"

    def finite(self) -> str:
        """Zero, constant and extreme slices give finite output at every scale."""
        for scale in self.subject.scales:
            names, batch = _hard_slices(self.subject, scale)
            for contrast, image in self.subject.predict(batch).items():
                values = torch.view_as_real(image).flatten(1) if image.is_complex() else image.flatten(1)
                bad = [name for name, one in zip(names, values, strict=True) if not bool(one.isfinite().all())]
                if bad:
                    fail(f"NaN or Inf in the {contrast} at scale {scale} for: {', '.join(bad)}")
        return f"on {', '.join(names)}"

    def deterministic(self) -> str:
        """The same call gives the same output, the same seed the same weights, and the input is left as it was."""
        batch, subject = self.subject.batch(2), self.subject
        kept = batch[:]
        method = subject.perturbed()
        outputs = [subject.predict(batch, method, seed) for seed in (1, 2)]  # so that what is drawn at random differs
        for name in ("target_lr", "auxiliary", "auxiliary_lr"):
            if not torch.equal(getattr(batch, name), getattr(kept, name)):
                fail(f"predict changed batch.{name} in place")
        if not same(*outputs):
            fail(f"two equal calls of predict differ by {distance(*outputs):.1e} of the largest value")
        states = []
        for seed in (1, 2):
            with seeded(seed):
                states.append(subject.load(seed=5).state())
        if not same(*states):
            fail("two methods made with the same seed have different weights")
        return "two calls and two initialisations from one seed, bit for bit"

    def batch(self) -> str:
        """A batch of 3 gives what 3 batches of 1 give."""
        side = self.subject.lr_side(self.subject.scale) * self.subject.scale
        brightness = torch.tensor([1.0, 100.0, 0.01])[:, None, None]  # what is taken over the whole batch shows
        target, auxiliary = smooth_images(3, (side, side), seed=0)
        together = make_batch(brightness * target, brightness * auxiliary, self.subject.scale)
        whole = self.subject.predict(together)
        worst = 0.0
        for i in range(3):
            alone = self.subject.predict(together[[i]])
            worst = max(worst, distance({k: v[i : i + 1] for k, v in whole.items()}, alone))
        if worst > BATCH_TOLERANCE:
            fail(
                f"a slice alone and in a batch of 3 differ by {worst:.1e} of the largest value (at most {BATCH_TOLERANCE:.0e})"
            )
        return f"3 slices together and alone differ by {worst:.1e} of the largest value (at most {BATCH_TOLERANCE:.0e})"

    def target(self) -> str:
        """A target that is NaN, or wrong, changes nothing of the prediction."""
        batch = self.subject.batch(2)
        without = self.subject.predict(batch)
        noise = 7 * smooth_images(2, batch.hr_shape, seed=9)[0]
        for name, poison in (("NaN", torch.full_like(noise, torch.nan)), ("wrong", noise)):
            if not same(without, self.subject.predict(replace(batch, target=poison))):
                fail(f"the prediction changes when the batch holds a target that is {name}: predict looks at it")
        return "a target of NaN and a wrong one change nothing"

    def auxiliary(self) -> str:
        """The output changes with the auxiliary if the card has ``multi``, and does not if it has ``single``."""
        batch = self.subject.batch(2)
        other = smooth_batch(2, self.subject.lr_shapes(batch.scale)[0], batch.scale, seed=1)
        changed = replace(
            batch,
            auxiliary=other.auxiliary,
            auxiliary_lr=other.auxiliary_lr,
            auxiliary_statistics=other.auxiliary_statistics,
        )
        one, two = self.subject.predict(batch), self.subject.predict(changed)
        difference = distance({"target": one["target"]}, {"target": two["target"]})
        if self.subject.card.contrasts == "multi":
            if difference <= CHANGE:
                fail('contrasts = "multi", but the output is the same with another auxiliary')
            return f"another auxiliary changes the output by {difference:.1e} of the largest value"
        if not same(one, two):
            fail(
                f'contrasts = "single", but another auxiliary changes the output by {difference:.1e} of the largest value'
            )
        return "not used, as in the card"

    def phase(self) -> str:
        """The output does not depend on the phase if the card has ``magnitude``, and does if it has ``complex``."""
        batch = self.subject.batch(1)
        turn = torch.polar(torch.ones(batch.hr_shape), 3 * smooth_images(1, batch.hr_shape, seed=4)[0][0].abs())
        low = turn[:: batch.scale, :: batch.scale]
        changed = batch.map(lr=lambda x: x * low, hr=lambda x: x * turn)
        one, two = ({k: v.abs() for k, v in self.subject.predict(b).items()} for b in (batch, changed))
        difference = distance(one, two)
        if self.subject.card.track == "magnitude":
            if difference > PHASE_TOLERANCE:
                fail(
                    f'track = "magnitude", but another phase changes the output by {difference:.1e} of the largest value'
                )
            return "not used, as in the card"
        if difference <= CHANGE:
            fail('track = "complex", but the output is the same with another phase')
        return f"another phase changes the output by {difference:.1e} of the largest value"

    def parameters(self) -> str:
        """The networks that predict have exactly as many parameters as the card gives, at every preset and scale that it names."""
        card = self.subject.card
        if not card.parameters:
            skip("the card has no [parameters]" if card.trains else "nothing is trained")
        for preset, sizes in card.parameters.items():
            if preset not in card.presets:
                fail(f"[parameters] names the preset '{preset}', which the card does not have")
            for at, stated in sizes.items():
                if at not in {f"x{s}" for s in card.scales}:
                    fail(
                        f"[parameters] {preset}.{at}: the card has the scales {', '.join(f'x{s}' for s in card.scales)}"
                    )
                with torch.device("meta"):
                    method = method_of(card.name, int(at[1:]), preset, {})
                if not isinstance(method, TorchMethod):
                    fail("the card has [parameters], but the method is not a TorchMethod: no network to count")
                counted = sum(p.numel() for p in method.network.parameters())
                if counted != stated:
                    fail(f"[parameters] {preset}.{at} = {stated:_}, but the network has {counted:_}")
        return f"as counted at {', '.join(card.parameters)}"

    def gpu(self) -> str:
        """CPU and GPU predict the same within tolerance."""
        if not torch.cuda.is_available():
            skip("this machine has no GPU")
        return self.same_on("cuda")

    def same_on(self, device: str) -> str:
        """`gpu` for a named device."""
        batch = self.subject.batch(2)
        on_cpu = self.subject.predict(batch)
        method = self.subject.load()
        method.load_state(self.subject.perturbed().state())
        if isinstance(method, TorchMethod):
            method.to(device)
        matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
        before = matmul.allow_tf32, cudnn.allow_tf32
        matmul.allow_tf32 = cudnn.allow_tf32 = False
        try:
            there = {k: v.cpu() for k, v in self.subject.predict(batch.to(device), method).items()}
        finally:
            matmul.allow_tf32, cudnn.allow_tf32 = before
        difference = distance(on_cpu, there)
        if difference > DEVICE_TOLERANCE:
            fail(f"cpu and {device} differ by {difference:.1e} of the largest value (at most {DEVICE_TOLERANCE:.0e})")
        return f"cpu and {device} differ by {difference:.1e} of the largest value (at most {DEVICE_TOLERANCE:.0e})"


def _hard_slices(subject: Subject, scale: int) -> tuple[list[str], Batch]:
    """Slices that divide by zero, overflow or underflow where a method is careless, with a name each."""
    side = subject.lr_side(scale) * scale
    target, auxiliary = (x[0] for x in smooth_images(1, (side, side), seed=3))
    zero, one = torch.zeros_like(target), torch.ones_like(target)
    pairs = {
        "zero": (zero, zero),
        "a zero target": (zero, auxiliary),
        "a zero auxiliary": (target, zero),
        "constant": (one, one),
        "amplitude 1e-12": (1e-12 * target, 1e-12 * auxiliary),
        "amplitude 1e12": (1e12 * target, 1e12 * auxiliary),
    }
    targets, auxiliaries = (torch.stack([pair[i] for pair in pairs.values()]) for i in (0, 1))
    return list(pairs), make_batch(targets, auxiliaries, scale)
