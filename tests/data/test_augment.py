from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from cxr.data.phantom import make_phantom
from cxr.training.data.augment import Augment

ALL = {
    "rotate": 10,
    "translate": 0.1,
    "scale": 0.1,
    "shear": 5,
    "brightness": 0.2,
    "contrast": 0.3,
    "gamma": 0.3,
    "noise": 0.05,
    "hflip": True,
}


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def batch():
    pictures = [torch.from_numpy(make_phantom(i, "pneumonia", size=96).image) for i in range(6)]
    return torch.stack(pictures)[:, None].float() / 255


def test_without_ranges_every_bit_stays_and_no_random_number_is_drawn(batch):
    generator = _generator()
    before = generator.get_state()
    out = Augment()(batch, generator)
    assert torch.equal(out, batch)
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize("name", ALL)
def test_each_change_alone_changes_pixels_within_0_and_1_and_leaves_the_input(batch, name):
    copy = batch.clone()
    out = Augment(**{name: ALL[name]})(batch, _generator())
    assert torch.equal(batch, copy)
    assert not torch.equal(out, batch)
    assert out.shape == batch.shape
    assert out.dtype == batch.dtype
    assert out.min() >= 0
    assert out.max() <= 1


def test_the_same_state_of_the_generator_gives_the_same_pixels_and_another_does_not(batch):
    augment = Augment(**ALL)
    assert torch.equal(augment(batch, _generator(3)), augment(batch, _generator(3)))
    assert not torch.equal(augment(batch, _generator(3)), augment(batch, _generator(4)))


def test_the_global_generator_is_neither_used_nor_moved(batch):
    torch.manual_seed(1)
    first = Augment(**ALL)(batch, _generator())
    state = torch.get_rng_state()
    torch.manual_seed(2)
    assert torch.equal(first, Augment(**ALL)(batch, _generator()))
    torch.manual_seed(1)
    assert torch.equal(state, torch.get_rng_state())


def test_a_generator_put_back_to_its_state_continues_exactly(batch):
    augment, generator = Augment(**ALL), _generator()
    augment(batch, generator)
    state = generator.get_state()
    expected = augment(batch, generator)
    resumed = torch.Generator()
    resumed.set_state(state)
    assert torch.equal(augment(batch, resumed), expected)


def test_every_image_of_a_batch_is_changed_differently():
    same = torch.from_numpy(make_phantom(0, "normal", size=96).image)[None, None].float().repeat(4, 1, 1, 1) / 255
    out = Augment(rotate=10)(same, _generator())
    assert len({image.numpy().tobytes() for image in out}) == 4


def test_hflip_mirrors_about_half_of_the_images_exactly_and_leaves_the_others(batch):
    images = batch[:1].repeat(200, 1, 1, 1)
    out = Augment(hflip=True)(images, _generator())
    mirrored = sum(torch.allclose(o, batch[0].flip(-1), atol=1e-4) for o in out)
    kept = sum(torch.allclose(o, batch[0], atol=1e-4) for o in out)
    assert mirrored + kept == 200
    assert 70 < mirrored < 130


def test_no_change_ever_turns_an_xray_upside_down():
    image = torch.zeros(1, 1, 64, 64)
    image[:, :, :24] = 1
    out = Augment(**ALL)(image.repeat(200, 1, 1, 1), _generator())
    assert (out[:, :, :32].mean(dim=(1, 2, 3)) > out[:, :, 32:].mean(dim=(1, 2, 3))).all()


def test_a_turn_does_not_distort_an_image_that_is_not_square():
    y, x = torch.meshgrid(torch.arange(80.0), torch.arange(160.0), indexing="ij")
    disc = (((x - 79.5) ** 2 + (y - 39.5) ** 2) < 30**2).float()[None, None]
    out = Augment(rotate=45, padding="black")(disc.repeat(8, 1, 1, 1), _generator())
    assert (out - disc).abs().mean() < 0.01


def test_translation_stays_within_its_range():
    image = torch.zeros(1, 1, 101, 101)
    image[..., 48:53, 48:53] = 1
    out = Augment(translate=0.1)(image.repeat(100, 1, 1, 1), _generator())
    columns = (out.sum(dim=(1, 2)) * torch.arange(101.0)).sum(-1) / out.sum(dim=(1, 2, 3))
    moved = columns - 50
    assert moved.abs().max() <= 10.11
    assert moved.abs().max() > 7


MOVES = {"rotate": 45.0, "translate": 0.5, "scale": 0.5, "shear": 30.0}


@pytest.mark.parametrize("shape", [(64, 64), (40, 72)])
def test_padding_paints_no_black_where_the_image_has_none(shape):
    bright = torch.full((64, 1, *shape), 0.8)
    for padding in ("reflection", "edge"):
        out = Augment(**MOVES, padding=padding)(bright, _generator())
        assert torch.allclose(out, bright, atol=1e-6), padding
    black = Augment(**MOVES, padding="black")(bright, _generator())
    assert (black == 0).float().mean() > 0.1
    assert Augment().padding == "reflection"


def test_what_lies_inside_the_frame_does_not_depend_on_the_padding(batch):
    made = {
        padding: Augment(rotate=10, translate=0.1, padding=padding)(batch, _generator())
        for padding in ("reflection", "edge", "black")
    }
    for padding in ("edge", "black"):
        assert torch.allclose(made[padding][..., 32:64, 32:64], made["reflection"][..., 32:64, 32:64], atol=1e-4)
        assert not torch.equal(made[padding], made["reflection"])


def test_reflection_mirrors_the_image_at_its_rim_and_edge_draws_the_rim_out():
    columns = torch.arange(32.0)[None, None, None].expand(40, 1, 32, 32) / 31
    shift = 2 * 0.25 * (2 * torch.rand(40, generator=_generator()) - 1)  # the first numbers that are drawn
    from_column = columns * 31 + shift[:, None, None, None] * 16
    beyond = (from_column < 0) | (from_column > 31)
    mirrored = (((from_column + 0.5) % 64) - 32).abs()
    mirrored = 32 - mirrored - 0.5
    expected = {"reflection": mirrored.clamp(0, 31) / 31, "edge": from_column.clamp(0, 31) / 31}
    for padding, picture in expected.items():
        out = Augment(translate=0.25, padding=padding)(columns, _generator())
        assert beyond.any()
        assert torch.allclose(out, picture, atol=1e-5), padding


def test_half_and_double_precision_are_kept(batch):
    for dtype in (torch.float64, torch.bfloat16):
        assert Augment(brightness=0.1, noise=0.02)(batch.to(dtype), _generator()).dtype == dtype


def test_an_unknown_name_a_vertical_flip_and_a_value_out_of_range_are_refused():
    out_of_range = ({"rotate": -1}, {"rotate": 90}, {"gamma": 1.0}, {"noise": float("nan")}, {"padding": "white"})
    for wrong in ({"vflip": True}, *out_of_range):
        with pytest.raises(ValidationError) as caught:
            Augment(**wrong)
        assert next(iter(wrong)) in str(caught.value)
    assert Augment().hflip is False
