import numpy as np
import pytest
import torch
from scipy.sparse import csc_matrix
from scipy.sparse.linalg import spsolve

from cxr.data.images.resize import fit_square
from cxr.data.phantom import make_phantom
from cxr.errors import ExplainError
from cxr.explain.quality.imputation import FILLS, NOISE, blurred, fill_named, linear_imputation, road

AROUND = [(dy, dx, 1 / 6 if 0 in (dy, dx) else 1 / 12) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]


def solved(image, hole):
    """ROAD's system written down pixel by pixel and solved directly."""
    missing = {place: k for k, place in enumerate(zip(*np.nonzero(hole), strict=True))}
    entries, right = [], np.zeros(len(missing))
    for (y, x), k in missing.items():
        for dy, dx, weight in AROUND:
            there = (y + dy, x + dx)
            if not (0 <= there[0] < image.shape[0] and 0 <= there[1] < image.shape[1]):
                continue
            entries.append((k, k, weight))
            if there in missing:
                entries.append((k, missing[there], -weight))
            else:
                right[k] += weight * image[there]
    rows, columns, values = zip(*entries, strict=True)
    out = image.copy()
    out[hole] = spsolve(csc_matrix((values, (rows, columns))), right)
    return out


def patches(share, patch, size, seed=0):
    cells = np.random.default_rng(seed).random((-(-size // patch),) * 2) < share
    return np.kron(cells, np.ones((patch, patch), bool))[:size, :size].astype(bool)


def xray(size):
    return fit_square(make_phantom(3, "covid19").image, size).astype(np.float32) / 255


def holes_of(size):
    y, x = np.mgrid[:size, :size]
    disc = (y - 0.4 * size) ** 2 + (x - 0.45 * size) ** 2 < (0.35 * size) ** 2
    scattered = [patches(share, patch, size) for patch in (1, 3, 4) for share in (0.3, 0.9)]
    return np.stack([*scattered, disc, x < size / 2, ~((y < 4) & (x < 4)), np.zeros_like(disc)])


@pytest.mark.parametrize("size", [64, 75])
def test_linear_imputation_agrees_with_a_direct_solution_to_one_percent_of_the_range(size):
    image, holes = xray(size), holes_of(size)
    filled = linear_imputation(torch.from_numpy(image)[None], torch.from_numpy(holes))[:, 0].numpy()
    expected = np.stack([solved(image, hole) if hole.any() else image for hole in holes])
    assert np.abs(filled - expected).max() < 0.01 * np.ptp(image)
    assert np.abs(filled - expected).mean() < 0.0005 * np.ptp(image)
    assert np.array_equal(filled[~holes], np.broadcast_to(image, holes.shape)[~holes])


def test_a_ramp_is_continued_through_a_hole():
    y, x = np.mgrid[:40, :48].astype(np.float64)
    ramp = torch.from_numpy(0.3 * y - 0.1 * x)[None]
    hole = torch.zeros(1, 40, 48, dtype=torch.bool)
    hole[:, 10:30, 12:31] = True
    assert torch.allclose(linear_imputation(ramp, hole)[0], ramp, atol=0.005 * float(ramp.max() - ramp.min()))


def test_an_image_of_which_nothing_is_left_becomes_its_mean():
    image = torch.from_numpy(xray(32))[None]
    filled = linear_imputation(image, torch.ones(1, 32, 32, dtype=torch.bool))
    assert torch.allclose(filled, image.mean().expand_as(filled))


def test_noise_lies_in_the_holes_alone_and_is_the_same_for_all_of_them():
    image = torch.from_numpy(xray(64))[None]
    holes = torch.from_numpy(np.stack([patches(0.5, 4, 64, seed) for seed in (0, 1)]))
    noise = road(image, holes, seed=5) - linear_imputation(image, holes)
    assert not noise[:, 0][~holes].any()
    both = (holes[0] & holes[1])[None]
    assert torch.allclose(noise[0][both], noise[1][both], atol=1e-6)
    assert float(noise[:, 0][holes].std() / image.std()) == pytest.approx(NOISE, rel=0.1)
    assert not torch.equal(road(image, holes, seed=6), road(image, holes, seed=5))


@pytest.mark.parametrize("scale", [1.0, 1024.0])
def test_noise_is_a_hundredth_of_the_image_whatever_its_scale_and_the_authors_own_where_that_is_requested(scale):
    grey = torch.from_numpy(xray(64))[None]
    image = scale * (grey - grey.mean()) / grey.std(correction=0)
    holes = torch.from_numpy(patches(0.5, 4, 64)[None])
    smooth = road(image, holes, noise=0.0)
    deviation = (road(image, holes) - smooth)[:, 0][holes].std()
    assert float(deviation) == pytest.approx(0.01 * scale, rel=0.1)
    absolute = (road(image, holes, noise=0.01 / float(image.std(correction=0))) - smooth)[:, 0][holes].std()
    assert float(absolute) == pytest.approx(0.01, rel=0.1)


def test_channels_of_one_grey_are_imputed_as_each_would_be_alone():
    grey, holes = torch.from_numpy(xray(64)), torch.from_numpy(patches(0.5, 4, 64)[None])
    scale, shift = torch.tensor([4.0, 4.5, -3.0])[:, None, None], torch.tensor([0.1, -2.0, 1.0])[:, None, None]
    together = road(grey * scale + shift, holes, noise=0.0)
    alone = torch.cat([road(channel[None], holes, noise=0.0) for channel in grey * scale + shift], dim=1)
    assert torch.allclose(together, alone, atol=0.005 * 4.5)
    coloured = torch.stack([grey, grey.flip(0)])
    apart = torch.cat([road(channel[None], holes, noise=0.0) for channel in coloured], dim=1)
    assert torch.allclose(road(coloured, holes, noise=0.0), apart, atol=0.005)


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("value", [0.0, -1.5])
def test_a_picture_of_one_grey_stays_as_it_is(fill, value):
    image = torch.full((2, 40, 40), value)
    holes = torch.from_numpy(np.stack([patches(share, 5, 40) for share in (0.0, 0.5, 1.0)]))
    assert torch.allclose(fill_named(fill).apply(image, holes, 0), image.expand(3, 2, 40, 40), atol=1e-5)


@pytest.mark.parametrize("fill", FILLS)
def test_pixels_outside_the_holes_are_never_changed(fill):
    image, holes = torch.from_numpy(xray(64))[None], torch.from_numpy(holes_of(64))
    filled = FILLS[fill].apply(image, holes, 0)
    assert torch.equal(filled[:, 0][~holes], image.expand(len(holes), 64, 64)[~holes])
    assert torch.isfinite(filled).all()


def test_blurring_takes_away_detail_and_keeps_the_mean_grey():
    image = torch.from_numpy(xray(224))[None]
    soft = blurred(image)
    assert soft.diff(dim=-1).abs().mean() < 0.3 * image.diff(dim=-1).abs().mean()
    assert float(soft.mean()) == pytest.approx(float(image.mean()), abs=0.02)


def test_an_unknown_fill_is_named_with_those_there_are():
    with pytest.raises(ExplainError, match=r"unknown fill 'black'. Available: road, mean, blur"):
        fill_named("black")
