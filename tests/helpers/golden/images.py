"""Golden values of images, metrics, splits and batches: inputs by formula, and numpy in float64 written out, without the engine.

Every function gives numbers, or lists of them, by name. ``values.py`` holds what they gave once, as literals; the test compares
these functions and the engine with the literals, so that the three cannot drift together.
"""

import numpy as np
from scipy import ndimage

DEGRADED = [(2, (32, 24)), (2, (18, 22)), (3, (27, 33)), (3, (24, 30)), (4, (20, 36)), (8, (24, 40))]
"""Scale and (H, W): even and odd, of HR and of LR."""
CROPPED = [(2, (182, 218)), (3, (320, 319)), (4, (255, 64)), (8, (64, 100))]


def image(*shape, k=0):
    """A complex volume (S, H, W) whose parts are small integers over powers of two: exact, and rich in every frequency."""
    s, i, j = np.indices(shape)
    real = (17 * i + 31 * j + 7 * s + 5 * k + i * j) % 23 - 7
    imaginary = (13 * i + 11 * j + 3 * s + 2 * k + i * i) % 19 - 9
    return real / 8 + 1j * imaginary / 16


def checks(x):
    """Three pixels of (..., H, W) and a weighted mean over all of them, real and imaginary parts."""
    weights = 1 + (7 * np.arange(x.size) + np.arange(x.size) ** 2) % 11
    first = x.reshape(-1, *x.shape[-2:])[0]
    H, W = first.shape
    found = np.array([first[0, 0], first[H // 2, W // 2], first[H - 1, 1], (weights * x.ravel()).sum() / weights.sum()])
    return [float(v) for v in (np.stack([found.real, found.imag], 1).ravel() if np.iscomplexobj(x) else found)]


def centred_dft(n):
    k = np.arange(n) - n // 2
    return np.exp(-2j * np.pi * np.outer(k, k) / n) / np.sqrt(n)


def degraded(x, scale, keep_amplitude=True):
    """Explicit DFT matrices: HR to k-space, its centre, back; sample N // 2 is the centre of every axis."""
    matrices = []
    for n in x.shape[-2:]:
        first = n // 2 - n // scale // 2
        matrices.append(centred_dft(n // scale).conj().T @ centred_dft(n)[first : first + n // scale])
    low = matrices[0] @ x @ matrices[1].T
    return low / scale if keep_amplitude else low


def degradation():
    out = {}
    for protocol in ("mcsr-1", "sanet-2021"):
        for scale, shape in DEGRADED:
            low = degraded(image(1, *shape)[0], scale, protocol == "mcsr-1")
            out[f"{protocol} x{scale} {shape[0]} x {shape[1]}"] = checks(low)
        sizes = [max(m for m in range(0, n + 1, 8 * scale)) for scale, shape in CROPPED for n in shape]
        out[f"{protocol} crop"] = sizes
        level, fraction = {"mcsr-1": (0.05, 0.01), "sanet-2021": (0, 1e-9)}[protocol]
        volume = np.abs(nearly_empty())
        strong = (volume > level * volume.max()).mean(axis=(1, 2))
        out[f"{protocol} slices"] = [int(s) for s in np.flatnonzero((strong >= fraction) & (strong > 0))]
    return out


def nearly_empty():
    """(7, 16, 16): a full slice, then 2, 3 and 4 of 256 pixels just above 5 % of the peak, all just below it, one at it, none."""
    volume = np.zeros((7, 16, 16))
    volume[0] = 1 + np.abs(image(1, 16, 16)[0].real)
    volume[0, 3, 3] = 8
    for slice_index, n in ((1, 2), (2, 3), (3, 4)):
        volume[slice_index].flat[:n] = 0.4375
    volume[4] = 0.375
    volume[5, 7, 7] = 8
    return volume + 0j


def pair(protocol):
    """Target and auxiliary (3, 16, 32), and LR images of both: one pixel beyond 6 standard deviations, the last slice constant."""
    target, auxiliary = image(3, 16, 32), 4 * image(3, 16, 32, k=3)
    target[0, 5, 9] = 60 - 45j
    target[2], auxiliary[2] = 3 + 4j, 8 - 6j
    low, auxiliary_low = (degraded(x, 2, protocol == "mcsr-1") for x in (target, auxiliary))
    for x, of in ((low, target), (auxiliary_low, auxiliary)):
        x[2] = of[2, 0, 0] * (1 if protocol == "mcsr-1" else 2)  # without rounding
    return target, auxiliary, low, auxiliary_low


def normalisation():
    out = {}
    for protocol in ("mcsr-1", "sanet-2021"):
        epsilon, limit = {"mcsr-1": (0, np.inf), "sanet-2021": (1e-11, 6)}[protocol]
        target, auxiliary, low, auxiliary_low = pair(protocol)
        mean, std = own_statistics(low, epsilon)
        out[f"{protocol} mean and std"] = [*mean.ravel().tolist(), *std.ravel().tolist()]
        clamped = np.clip((np.abs(target) - mean) / std, -limit, limit)
        out[f"{protocol} target"] = checks(clamped)
        out[f"{protocol} target LR"] = checks(np.clip((np.abs(low) - mean) / std, -limit, limit))
        out[f"{protocol} target complex"] = checks((target / std)[:2])
        for joint in (False, True):
            source = auxiliary_low if joint or protocol == "sanet-2021" else auxiliary
            m, s = own_statistics(source, epsilon)
            name = f"{protocol} auxiliary{' of a joint method' if joint else ''}"
            out[name] = checks(np.clip((np.abs(auxiliary) - m) / s, -limit, limit)[:2])
            out[f"{name} LR"] = checks(np.clip((np.abs(auxiliary_low) - m) / s, -limit, limit)[:2])
        reference = (
            target if limit == np.inf else (clamped * std + mean) * np.exp(1j * np.arctan2(target.imag, target.real))
        )
        out[f"{protocol} scored reference"] = checks(reference[:2])
        predicted = output() * std + mean
        out[f"{protocol} scored prediction"] = checks(np.maximum(predicted, 0) if protocol == "mcsr-1" else predicted)
    return out


def output():
    """Of a network, normalised (3, 16, 32): some of it is below zero when it is back in physical units."""
    return 4 * image(3, 16, 32, k=5).real


def own_statistics(low, epsilon):
    mean = np.abs(low).sum(axis=(1, 2), keepdims=True) / low[0].size
    variance = ((np.abs(low) - mean) ** 2).sum(axis=(1, 2), keepdims=True) / (low[0].size - 1)
    std = np.sqrt(variance) + epsilon
    return mean, np.where(std > 0, std, 1)


def scored_volume():
    """Reference (3, 32, 40), a body of two parts with a hole and a bright corner apart from it; a magnitude; a complex image.

    The parts have many grey levels: between two levels alone, all thresholds are equally good, and rounding chooses.
    """
    s, i, j = np.indices((3, 32, 40))
    body = ((i - 16) ** 2 * 2 + (j - 19) ** 2 < 230 + 20 * s) * (1.0 + (j > 21))
    body[(i - 14) ** 2 + (j - 12) ** 2 < 7] = 0
    body[(i < 3) & (j < 4)] = 2
    body[2, 8, 33] = body[0, 24, 32] = 2  # voxels that touch the body at an edge, and at a corner, alone
    body *= 1 + (29 * i + 41 * j + 13 * s + i * i) % 101 / 128
    magnitude = body * (1 + s / 8) + (1 + (5 * i + 3 * j + 7 * s + i * j) % 13) / 128
    turn = np.array([1, 0.8 + 0.6j, 0.6 + 0.8j, (5 + 12j) / 13])[(i // 5 + j // 7 + s) % 4]
    error = ((11 * i + 7 * j + 5 * s + i * i) % 17 - 8) / 64
    return magnitude * turn, magnitude + error, magnitude * turn + error * (0.5 - 0.25j)


def masks(magnitude):
    parts, n = ndimage.label(magnitude > otsu(magnitude), np.ones((3, 3, 3)))
    largest = max(range(1, n + 1), key=lambda k: int((parts == k).sum()))
    foreground = np.stack([~reached_from_outside(m) for m in parts == largest])
    high = foreground & (magnitude > otsu(magnitude[foreground]))
    near = np.zeros_like(foreground)
    offsets = [(a, b) for a in range(-2, 3) for b in range(-2, 3) if a * a + b * b <= 4]
    H, W = foreground.shape[1:]
    for mask in (foreground, high):
        for s, i, j in np.argwhere(foreground):
            around = [(i + a, j + b) for a, b in offsets if 0 <= i + a < H and 0 <= j + b < W]
            near[s, i, j] |= any(mask[s, a, b] != mask[s, i, j] for a, b in around)
    return {"foreground": foreground, "high": high, "low": foreground & ~high, "boundary": near}


def otsu(values):
    """The bin of 256 whose centre, as a threshold, leaves the largest variance between the two classes."""
    counts, edges = np.histogram(values, 256)
    centres = (edges[:-1] + edges[1:]) / 2
    best, threshold = -1.0, 0.0
    for k in range(255):
        n0, n1 = counts[: k + 1].sum(), counts[k + 1 :].sum()
        means = (counts[: k + 1] @ centres[: k + 1] / n0, counts[k + 1 :] @ centres[k + 1 :] / n1)
        between = float(n0) * float(n1) * (means[0] - means[1]) ** 2
        if between > best:
            best, threshold = between, centres[k]
    return threshold


def reached_from_outside(mask):
    """The background pixels that a path along rows and columns joins to the edge of the image."""
    H, W = mask.shape
    reached = np.zeros_like(mask)
    todo = [(i, j) for i in range(H) for j in range(W) if (i in (0, H - 1) or j in (0, W - 1)) and not mask[i, j]]
    while todo:
        i, j = todo.pop()
        if 0 <= i < H and 0 <= j < W and not mask[i, j] and not reached[i, j]:
            reached[i, j] = True
            todo += [(i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)]
    return reached


def structure(p, t, peak):
    windows = [np.lib.stride_tricks.sliding_window_view(x, (7, 7)).reshape(-1, 49) for x in (p, t)]
    (mp, mt), (vp, vt) = ([w.mean(1) for w in windows], [w.var(1, ddof=1) for w in windows])
    both = ((windows[0] - mp[:, None]) * (windows[1] - mt[:, None])).sum(1) / 48
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    return float(np.mean((2 * mp * mt + c1) * (2 * both + c2) / ((mp**2 + mt**2 + c1) * (vp + vt + c2))))


def laplacian_of_gaussian(x):
    y = np.arange(-7, 8)
    square = y[:, None] ** 2 + y**2
    bell = np.exp(-square / 4.5)
    kernel = (square - 4.5) / 1.5**4 * bell / bell.sum()
    kernel -= kernel.mean()
    padded = np.pad(x, 7, mode="edge")
    return sum(kernel[a, b] * padded[a : a + x.shape[0], b : b + x.shape[1]] for a in range(15) for b in range(15))


def metrics():
    """By metric id: of the volume and of each slice, for a magnitude, then for a complex prediction; pixels of regions."""
    truth, claimed, complex_image = scored_volume()
    t = np.abs(truth)
    peak, regions, low = t.max(), masks(t), degraded(truth, 4)
    lines = [laplacian_of_gaussian(x) for x in t]
    out = {}

    def psnr(difference):
        return float(10 * np.log10(peak**2 / np.mean(difference**2)))

    def rows(name, whole, single):
        for s in range(3):
            out.setdefault(name, {}).setdefault("slices", []).append(single(s))
        slices = out[name]["slices"]
        out[name].setdefault("volumes", []).append(whole() if whole else float(np.mean(slices[-3:])))

    for prediction in (claimed, complex_image):
        p = np.abs(prediction) if np.iscomplexobj(prediction) else prediction
        d, sharp = p - t, [laplacian_of_gaussian(x) for x in p]
        misfit = degraded((prediction if np.iscomplexobj(prediction) else p * truth / t), 4) - low
        rows("psnr@volume-max", lambda d=d: psnr(d), lambda s, d=d: psnr(d[s]))
        rows("ssim@volume-max", None, lambda s, p=p: structure(p[s], t[s], peak))
        rows(
            "nmse@volume",
            lambda d=d: float((d**2).sum() / (t**2).sum()),
            lambda s, d=d: float((d[s] ** 2).sum() / (t[s] ** 2).sum()),
        )
        for name, mask in regions.items():
            rows(f"psnr@{name}", lambda d=d, m=mask: psnr(d[m]), lambda s, d=d, m=mask: psnr(d[s][m[s]]))
            out[f"psnr@{name}"]["pixels"] = [int(m.sum()) for m in mask]
        rows("hfen", None, lambda s, a=sharp: float(np.linalg.norm(a[s] - lines[s]) / np.linalg.norm(lines[s])))
        rows(
            "kspace-error",
            lambda x=misfit: float(np.linalg.norm(x) / np.linalg.norm(low)),
            lambda s, x=misfit: float(np.linalg.norm(x[s]) / np.linalg.norm(low[s])),
        )
    return out


PATIENTS = ["kim", "ada", "eve", "bob", "joe", "dan", "fay", "guy", "hal", "ivy", "cleo"]
VISITS = [(patient, f"{patient}-{visit}") for patient in PATIENTS for visit in (1, 2)]
"""(patient_id, volume_id), two volumes per patient, patients in no order."""


def split():
    """A split by patient with shares 0.6, 0.15, 0.25 and seed 3, and three folds of seed 2: the patients of the parts."""
    names = sorted(PATIENTS)

    def drawn(*entropy):
        return [names[k] for k in np.random.default_rng(np.random.SeedSequence(entropy)).permutation(len(names))]

    order, shuffled = drawn(3, 7130), drawn(2, 9241)
    test, validation, train = order[: round(11 * 0.25)], order[3 : 3 + round(11 * 0.15)], order[5:]
    out = {"mcsr-1": " ".join(sorted(train)) + " | " + " ".join(sorted(validation)) + " | " + " ".join(sorted(test))}
    out["sanet-2021"] = " ".join(sorted(train)) + " | " + " ".join(sorted(test)) + " | " + " ".join(sorted(test))
    thirds = [shuffled[k::3] for k in range(3)]
    for k in range(3):
        parts = thirds[(k + 2) % 3], thirds[(k + 1) % 3], thirds[k]
        out[f"fold {k + 1}"] = " | ".join(" ".join(sorted(part)) for part in parts)
    return out


TRAINED = {"t0-1": (16, 16), "t1-1": (16, 16), "t2-1": (16, 32), "v-1": (16, 16), "e-1": (16, 16)}
"""Volumes of two slices and their (H, W); the first three train."""
SEED, BATCH_SIZE, STEPS, EPOCH = 5, 2, (0, 2, 4), 3
"""Steps whose batches are looked at; an epoch has three, the last one from the second epoch on."""
WAYS = [(augment, patch) for augment in ("none", "mirror", "dihedral") for patch in (0, 3)]


def stored_pair(volume_id):
    """Target and auxiliary (2, H, W) of a volume of the store that batches are drawn from."""
    k = list(TRAINED).index(volume_id)
    return image(2, *TRAINED[volume_id], k=k), image(2, *TRAINED[volume_id], k=k + 10)


def batches():
    """What the generators of (seed, epoch, 1) and (seed, step, 2) say: order, then orientation and place of every slice.

    By name: pixels and mean of the target, then the means of the auxiliary and of the LR images of both.
    """
    groups = [[("t0-1", 0), ("t0-1", 1), ("t1-1", 0), ("t1-1", 1)], [("t2-1", 0), ("t2-1", 1)]]
    out = {}
    for augment, patch in WAYS:
        for step in STEPS:
            rng = np.random.default_rng(np.random.SeedSequence([SEED, step // EPOCH, 1]))
            drawn = []
            for group in groups:
                order = rng.permutation(len(group))
                drawn += [[group[k] for k in order[i : i + BATCH_SIZE]] for i in range(0, len(group), BATCH_SIZE)]
            chosen = [drawn[k] for k in rng.permutation(len(drawn))][step % EPOCH]
            rng = np.random.default_rng(np.random.SeedSequence([SEED, step, 2]))
            slices = [seen(*one, augment, patch, rng) for one in chosen]
            name = f"{augment}, patch {patch}, step {step}"
            out[f"{name}: slices"] = " ".join(f"{volume}/{index}" for volume, index in chosen)
            found = [checks(np.stack(images)) for images in zip(*slices, strict=True)]
            out[name] = found[0] + [number for numbers in found[1:] for number in numbers[-2:]]
    return out


def seen(volume_id, index, augment, patch, rng):
    """Target, auxiliary and their LR images of a slice: mirrored and transposed about the centre sample, then cut."""
    images = [x[index] for x in stored_pair(volume_id)]
    images += [degraded(x, 2) for x in images]
    rows, columns, swap = rng.integers(0, 2, size=3)
    if augment != "none":
        for axis, wanted in ((0, rows), (1, columns)):
            if wanted:
                images = [
                    x.take((2 * (x.shape[axis] // 2) - np.arange(x.shape[axis])) % x.shape[axis], axis) for x in images
                ]
        if augment == "dihedral" and swap and (patch or images[0].shape[0] == images[0].shape[1]):
            images = [x.T for x in images]
    if patch:
        h, w = images[2].shape
        top, left = rng.integers(0, h - patch + 1), rng.integers(0, w - patch + 1)
        places = [(top * s, left * s, patch * s) for s in (2, 2, 1, 1)]
        images = [x[a : a + n, b : b + n] for x, (a, b, n) in zip(images, places, strict=True)]
    return images


def computed():
    """Every value, by what it belongs to and its own name."""
    parts = {"degradation": degradation, "normalisation": normalisation, "split": split, "batches": batches}
    return {name: compute() for name, compute in parts.items()} | metrics()
