"""What happens in k-space, on the last two axes of torch tensors.

One convention everywhere: the zero frequency, and the centre of the image, is sample ``N // 2`` of an axis of N samples;
transforms are orthonormal. A crop from N to n keeps the samples from ``N // 2 - n // 2`` on, so that the zero frequency lands
on ``n // 2`` for every mixture of odd and even sizes (a crop one sample off leaves magnitudes alone and turns the phase).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_AXES = (-2, -1)


def to_kspace(image: Tensor) -> Tensor:
    """Centred orthonormal 2-D FFT: image (..., H, W), real or complex, to k-space (..., H, W), complex."""
    return torch.fft.fftshift(torch.fft.fft2(torch.fft.ifftshift(image, dim=_AXES), norm="ortho"), dim=_AXES)


def to_image(kspace: Tensor) -> Tensor:
    """Centred orthonormal inverse 2-D FFT: k-space (..., H, W) to complex image (..., H, W)."""
    return torch.fft.fftshift(torch.fft.ifft2(torch.fft.ifftshift(kspace, dim=_AXES), norm="ortho"), dim=_AXES)


def crop_centre(x: Tensor, shape: tuple[int, int]) -> Tensor:
    """The central ``shape`` = (h, w) of x (..., H, W), centre sample on centre sample. ValueError if h > H or w > W."""
    (H, W), (h, w) = x.shape[-2:], shape
    if not (0 < h <= H and 0 < w <= W):
        raise ValueError(f"cannot crop {(H, W)} to {shape}")
    top, left = H // 2 - h // 2, W // 2 - w // 2
    return x[..., top : top + h, left : left + w]


def pad_centre(x: Tensor, shape: tuple[int, int]) -> Tensor:
    """x (..., h, w) in the middle of zeros (..., H, W), centre sample on centre sample: the adjoint of `crop_centre`."""
    (h, w), (H, W) = x.shape[-2:], shape
    if not (h <= H and w <= W):
        raise ValueError(f"cannot pad {(h, w)} to {shape}")
    out = x.new_zeros((*x.shape[:-2], H, W))
    top, left = H // 2 - h // 2, W // 2 - w // 2
    out[..., top : top + h, left : left + w] = x
    return out


def amplitude_factor(shape: tuple[int, int], lr_shape: tuple[int, int]) -> float:
    """sqrt(ny*nx / (Ny*Nx)): what an orthonormal crop from (Ny, Nx) to (ny, nx) must be multiplied by to keep amplitudes."""
    return math.sqrt((lr_shape[0] * lr_shape[1]) / (shape[0] * shape[1]))


def truncate(image: Tensor, shape: tuple[int, int], *, keep_amplitude: bool = True) -> Tensor:
    """The LR image whose k-space is the centre of the HR image's k-space.

    image: (..., H, W), real or complex; shape: (h, w) of the LR image. Returns a complex image (..., h, w). With
    ``keep_amplitude`` a constant stays that constant; without it the LR image is sqrt(H*W/(h*w)) times brighter, as the
    orthonormal crop of the published SANet pipeline leaves it. No window. ValueError if the LR image would be larger.
    """
    low = to_image(crop_centre(to_kspace(image), shape))
    return low * amplitude_factor((image.shape[-2], image.shape[-1]), shape) if keep_amplitude else low


def zero_fill(image: Tensor, shape: tuple[int, int], *, keep_amplitude: bool = True) -> Tensor:
    """Sinc interpolation: the k-space of an LR image (..., h, w) surrounded by zeros, as a complex image (..., H, W).

    With ``keep_amplitude`` it is the right inverse of `truncate` on the same grid: truncate(zero_fill(x)) = x.
    """
    high = to_image(pad_centre(to_kspace(image), shape))
    return high / amplitude_factor(shape, (image.shape[-2], image.shape[-1])) if keep_amplitude else high


def reflect(image: Tensor, axis: int) -> Tensor:
    """Mirror about the centre sample N // 2 of one of the last two axes (-2 or -1).

    A plain flip moves the centre sample of an even axis and shifts LR against HR by s - 1 pixels; a flip and a roll by one do
    not. The LR image of the mirrored HR image is the mirrored LR image: exactly for odd LR sizes, for even ones outside the
    lone Nyquist row and column.
    """
    flipped = torch.flip(image, (axis,))
    return torch.roll(flipped, 1, dims=axis) if image.shape[axis] % 2 == 0 else flipped


def transpose(image: Tensor) -> Tensor:
    """Swap rows and columns: with `reflect`, all eight symmetries of a square about its centre sample."""
    return image.transpose(-2, -1)


def lr_coordinates(size: int, lr_size: int) -> NDArray[np.float64]:
    """The positions of the HR samples of an axis, in LR sample indices: (size,) float64.

    Truncation keeps the centre sample, so HR sample j is at ``(j - size//2) * lr_size/size + lr_size//2``. Interpolation
    that assumes pixel centres (align_corners=False) is off by half an LR pixel less half an HR pixel.
    """
    return (np.arange(size, dtype=np.float64) - size // 2) * (lr_size / size) + lr_size // 2


def combine_coils(coil_images: Tensor, calibration: int = 24) -> Tensor:
    """One complex image from the images of several coils, the phase of the object kept.

    coil_images: complex (C, H, W). Returns complex (H, W). Sensitivities are the coil images at the resolution of the central
    ``calibration`` x ``calibration`` samples of k-space (Hann-windowed against ringing), divided by their root sum of
    squares. Their common phase is the object's own; it is taken off with the phase of a virtual reference coil, the
    principal component of the calibration data (Buehrer et al., MRM 57:1131, 2007), which is smooth and never vanishes where
    there is signal. Then the least-squares combination for unit-norm sensitivities: sum over coils of conj(s_c) * image_c
    (Roemer et al., MRM 16:192, 1990). Root sum of squares alone would lose the phase.
    """
    C, H, W = coil_images.shape
    if C == 1:
        return coil_images[0]
    n = (min(calibration, H), min(calibration, W))
    centre = torch.stack([crop_centre(to_kspace(image), n) for image in coil_images])
    window = [torch.hann_window(k + 2, periodic=False, dtype=centre.real.dtype)[1:-1] for k in n]
    flat = centre.reshape(C, -1).to(torch.complex128)
    _, vectors = torch.linalg.eigh(flat @ flat.mH)
    principal = vectors[:, -1]
    # eigh leaves the vector's phase open: fix it, so that the result does not depend on the linear-algebra library.
    strongest = principal[torch.argmax(principal.abs())]
    principal = (principal * (strongest.abs() / strongest)).to(centre.dtype)
    # Coil by coil: all of them at full size would take several times the memory of the k-space.
    reference, combined = (torch.zeros((H, W), dtype=centre.dtype) for _ in range(2))
    energy = torch.zeros((H, W), dtype=centre.real.dtype)
    for weight, low, image in zip(principal, centre, coil_images, strict=True):
        smooth = to_image(pad_centre(low * window[0][:, None] * window[1][None, :], (H, W)))
        energy += smooth.abs().square()
        reference += weight.conj() * smooth
        combined += smooth.conj() * image
    tiny = torch.finfo(energy.dtype).tiny
    phase = torch.where(reference.abs() > tiny, reference / reference.abs().clamp_min(tiny), torch.ones_like(reference))
    return phase * combined / energy.sqrt().clamp_min(tiny)
