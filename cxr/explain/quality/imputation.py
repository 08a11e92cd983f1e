"""Fills: what stands in an image where a part of it was taken out.

A fill should take information away without adding any: a black patch is a new mark, which networks answer to. The
default solves for a smooth continuation of what is left (Rong et al. 2022, "A Consistent and Efficient Evaluation
Strategy for Attribution Methods", ROAD).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from cxr.errors import ExplainError, unknown, wrong_use

NOISE = 0.01
"""Standard deviation of the noise on imputed pixels, as a share of the image's own (per channel).

ROAD's authors add 0.01 whatever the input is, on images that are standardised. Networks here take inputs of any scale,
torchxrayvision's from -1024 to 1024, where 0.01 would be no noise at all. On standardised inputs the two are the same:
X-rays there have a deviation of about 1.
"""
BLUR = 1 / 22.4
"""Standard deviation of the blur as a share of the longer side: 10 pixels of 224. Petsiuk et al. took 5, under which
the demo network still recognises many X-rays."""

_TOLERANCE = 2e-3
_MOST_CYCLES = 16


def road(image: torch.Tensor, holes: torch.Tensor, seed: int = 0, noise: float = NOISE) -> torch.Tensor:
    """Fill holes by noisy linear imputation.

    Every missing pixel is the weighted mean of its eight neighbours, missing ones included (direct neighbours 1/6
    each, diagonal ones 1/12; at the border the weights of those there are are scaled to 1), which is one linear system
    per image. It is solved by multigrid in float32 (float64 for such images) until a cycle moves no pixel by more than
    0.2 % of the image's range, and then agrees with a direct solution to 1 % of the range at every pixel. Noise keeps a
    network from telling filled parts by their smoothness; the same noise field serves all holes. It scales with the
    image, unlike in the authors' code (see :data:`NOISE`). Where nothing is left of an image, its mean stands.

    Parameters
    ----------
    image
        (C, H, W).
    holes
        (N, H, W), True where pixels are missing.
    noise
        Its standard deviation as a share of the image's own; for one of 0.01 in the input's own units, as the authors
        have it, give 0.01 divided by the image's standard deviation.

    Returns
    -------
    (N, C, H, W).
    """
    base, scale, shift = _one_channel(image)
    filled = linear_imputation(base, holes) * scale + shift
    rough = _noise_like(image, seed) * (noise * image.std(dim=(1, 2), correction=0)[:, None, None])
    return torch.where(holes[:, None], filled + rough, image)


def mean(image: torch.Tensor, holes: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """Fill holes with the image's mean, channel by channel; shapes as in :func:`road`."""
    return torch.where(holes[:, None], image.mean(dim=(1, 2), keepdim=True), image)


def blur(image: torch.Tensor, holes: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """Fill holes with the image blurred by a Gaussian of :data:`BLUR`; shapes as in :func:`road`."""
    return torch.where(holes[:, None], blurred(image), image)


@dataclass(frozen=True)
class Fill:
    """A way of filling: ``apply(image, holes, seed)`` returns one image per hole, as :func:`road` does."""

    title: str
    description: str
    apply: Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor]


FILLS: dict[str, Fill] = {
    "road": Fill(
        "Linear imputation",
        "A smooth continuation of what is left, with a little noise (after ROAD).",
        road,
    ),
    "mean": Fill("Mean", "The image's mean grey.", mean),
    "blur": Fill("Blur", "The image blurred, so that coarse structure stays.", blur),
}
"""Fills by the name that pages and the command line use; the first is the default."""


def fill_named(name: str) -> Fill:
    """Return a fill, or raise an ExplainError that names those there are."""
    if name not in FILLS:
        raise wrong_use(ExplainError(unknown("fill", name, FILLS)))
    return FILLS[name]


def blurred(image: torch.Tensor) -> torch.Tensor:
    """Return an image (C, H, W) blurred by a Gaussian; at the border the weights inside count alone."""
    sigma = BLUR * max(image.shape[-2:])
    reach = max(1, round(3 * sigma))
    steps = torch.arange(-reach, reach + 1, device=image.device, dtype=image.dtype)
    kernel = torch.exp(-0.5 * (steps / sigma) ** 2)

    def smooth(values: torch.Tensor) -> torch.Tensor:
        rows = F.conv2d(values[:, None], kernel.view(1, 1, 1, -1), padding=(0, reach))
        return F.conv2d(rows, kernel.view(1, 1, -1, 1), padding=(reach, 0))[:, 0]

    return smooth(image) / smooth(torch.ones_like(image[:1]))


def _noise_like(image: torch.Tensor, seed: int) -> torch.Tensor:
    # On the processor and in float32, so that every device and type of numbers gets the same noise.
    return torch.randn(image.shape, generator=torch.Generator().manual_seed(seed)).to(image)


def _one_channel(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return (base, scale, shift) with image = base * scale + shift; base has one channel where the image is grey.

    Imputation keeps scales and shifts, so that a grey image of three channels need not be imputed three times.
    """
    whole = image, torch.ones_like(image[:, :1, :1]), torch.zeros_like(image[:, :1, :1])
    shift = image.mean(dim=(1, 2), keepdim=True)
    centred = image - shift
    power = centred[0].square().sum()
    if len(image) == 1 or power == 0:
        return whole
    scale = (centred * centred[0]).sum(dim=(1, 2), keepdim=True) / power
    grey = (centred - scale * centred[:1]).abs().max() <= 1e-5 * centred.abs().max()
    return (centred[:1], scale, shift) if grey else whole


def linear_imputation(image: torch.Tensor, holes: torch.Tensor) -> torch.Tensor:
    """Solve ROAD's system without its noise: (C, H, W) and (N, H, W) to (N, C, H, W). See :func:`road`."""
    grids = _grids(holes[:, None].to(image.dtype))
    filled = _from_coarse_to_fine(image[None].expand(len(holes), *image.shape), grids)
    spread = (image.amax() - image.amin()).clamp(min=torch.finfo(image.dtype).tiny)
    for _ in range(_MOST_CYCLES):
        change = _correction(_residual(filled, grids[0]), grids)
        filled = filled + change
        if change.abs().amax() <= _TOLERANCE * spread:
            break
    nothing_left = holes.all(dim=(1, 2))[:, None, None, None]
    return torch.where(nothing_left, image.mean(dim=(1, 2), keepdim=True), filled)


# The system is (D - W) x = 0 at missing pixels: W sums the weighted neighbours, D their weights. The eight weights are
# those of [1 2 1] x [1 2 1] without its centre, for which Jacobi's sweep damps everything rough to a third.


@dataclass(frozen=True)
class _Grid:
    """One of ever coarser grids, (N, 1, h, w): where cells are missing (1, else 0), and 1 / D there (else 0)."""

    missing: torch.Tensor
    inverse: torch.Tensor


def _grids(missing: torch.Tensor) -> list[_Grid]:
    """Return the grids from the image's own to a single cell; a cell is missing where all four below it are."""
    grids: list[_Grid] = []
    while True:
        # A coarse cell has its known pixels half a cell away from a neighbour that is missing, not a whole one.
        nearer = 1 / (0.5 + 0.5 ** (len(grids) + 1))
        degree = nearer * _neighbours(torch.ones_like(missing[:1])) + (1 - nearer) * _neighbours(missing)
        grids.append(_Grid(missing, missing / degree.clamp(min=0.1)))
        if max(missing.shape[-2:]) == 1:
            return grids
        missing = -F.max_pool2d(-_even(missing, 1.0), 2)


def _neighbours(x: torch.Tensor) -> torch.Tensor:
    """Return the weighted sum of each pixel's neighbours; there are none beyond the border."""
    padded = F.pad(x, (1, 1, 1, 1))
    rows = (padded[..., :-2] + padded[..., 2:]).add_(padded[..., 1:-1], alpha=2)
    both = (rows[..., :-2, :] + rows[..., 2:, :]).add_(rows[..., 1:-1, :], alpha=2)
    return both.sub_(x, alpha=4).div_(12)


def _residual(x: torch.Tensor, grid: _Grid) -> torch.Tensor:
    return grid.missing * (_neighbours(x) - _neighbours(torch.ones_like(x[:1, :1])) * x)


def _even(x: torch.Tensor, value: float = 0.0) -> torch.Tensor:
    return F.pad(x, (0, x.shape[-1] % 2, 0, x.shape[-2] % 2), value=value)


def _finer(x: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)[..., : size[-2], : size[-1]]


def _from_coarse_to_fine(image: torch.Tensor, grids: list[_Grid]) -> torch.Tensor:
    """Return a first guess: means of what is known on ever coarser grids, then each grid filled from the coarser one.

    Every grid but the finest also gets one cycle of its own.
    """
    values = [image]
    for grid in grids[:-1]:
        present = _even(1 - grid.missing)
        total = F.avg_pool2d(present * _even(values[-1]), 2)
        values.append(total / F.avg_pool2d(present, 2).clamp(min=0.2))  # a quarter at least, where anything is known
    filled = values[-1]
    for k in range(len(grids) - 2, -1, -1):
        filled = torch.where(grids[k].missing > 0, _finer(filled, values[k].shape), values[k])
        if k:
            filled = filled + _correction(_residual(filled, grids[k]), grids[k:])
    return filled


def _correction(residual: torch.Tensor, grids: list[_Grid]) -> torch.Tensor:
    """Return about the e, zero off the holes, with (D - W) e = residual on the first grid: one V-cycle."""
    if len(grids) == 1:
        return torch.zeros_like(residual)
    here = grids[0]
    e = residual * here.inverse
    left = here.missing * _neighbours(e)  # the residual itself was used up by e
    e = e + here.missing * _finer(_correction(4 * F.avg_pool2d(_even(left), 2), grids[1:]), e.shape)
    return (residual + _neighbours(e)) * here.inverse
