"""Batched augmentation against the same thing done to one image at a time, and what it may depend on."""

import math
from typing import Any, get_args, get_type_hints

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as tv

from touchstone.recipe import Augment
from touchstone.training.augment import AREA, FILLS, RATIO, augmented, blown_up, boxes, rotated, shifted

MIX = {"flip": True, "rotate": 10.0, "resized_crop": True, "probability": 0.8}
EACH = {
    "crop": {"crop": 2},
    "reflect": {"crop": 2, "fill": "reflect"},
    "translate": {"translate": 0.2, "fill": "edge"},
    "flip": {"flip": True},
    "rotate": {"rotate": 10.0},
    "resized_crop": {"resized_crop": True},
    "mix": MIX,
}


@pytest.fixture(scope="module")
def x() -> Tensor:
    """Images (40, 2, 9, 11), in the memory layout that the loop uses, with no zero in them."""
    images = 0.1 + 0.9 * torch.rand(40, 2, 9, 11, generator=torch.Generator().manual_seed(0))
    return images.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("fill", "mode"), [("zero", "constant"), ("edge", "replicate"), ("reflect", "reflect")])
def test_a_shift_cuts_a_window_out_of_the_padded_image(x: Tensor, fill: str, mode: str) -> None:
    by = torch.randint(-3, 4, (len(x), 2), generator=torch.Generator().manual_seed(1))
    ours = shifted(x, by, 3, fill)
    for image, (down, right), got in zip(x, by.tolist(), ours, strict=True):
        padded = F.pad(image[None], [3] * 4, mode=mode)[0]
        assert torch.equal(got, padded[:, 3 - down : 12 - down, 3 - right : 14 - right])


def test_a_shift_goes_down_and_to_the_right() -> None:
    x = torch.zeros(1, 1, 4, 5)
    x[0, 0, 1, 1] = 1
    (found,) = shifted(x, torch.tensor([[1, 2]]), 2, "zero").nonzero().tolist()
    assert found == [0, 0, 2, 3]


def test_a_rotation_is_that_of_torchvision(x: Tensor) -> None:
    angles = torch.linspace(-30, 30, len(x))
    ours = rotated(x, angles)
    theirs = torch.stack([tv.rotate(image, float(angle)) for image, angle in zip(x, angles, strict=True)])
    same = torch.isclose(ours, theirs).float().mean()  # a point between two pixels may round either way
    assert same > 0.999
    assert (ours == 0).any()


def test_rotations_go_both_ways() -> None:
    lamp = torch.zeros(400, 1, 41, 41)
    lamp[:, :, 20, 35] = 1  # right of the centre
    rows = augmented(lamp, Augment(rotate=30.0), seed=1).nonzero()[:, 2]
    assert float((rows < 20).float().mean()) == pytest.approx(0.5, abs=0.1)
    assert float((rows > 20).float().mean()) == pytest.approx(0.5, abs=0.1)


def test_a_resized_crop_is_that_of_torchvision(x: Tensor) -> None:
    box = boxes(torch.rand(len(x), 10, 4, generator=torch.Generator().manual_seed(2)), 9, 11)
    ours = blown_up(x, box)
    for image, place, got in zip(x, box.tolist(), ours, strict=True):
        expected = tv.resized_crop(image, *place, size=[9, 11], antialias=False)
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)


def test_boxes_lie_inside_and_have_the_area_and_ratio_that_were_drawn() -> None:
    draws = torch.rand(2000, 10, 4, generator=torch.Generator().manual_seed(3))
    top, left, height, width = boxes(draws, 64, 64).T
    assert int(top.min()) == int(left.min()) == 0
    assert int((top + height).max()) == int((left + width).max()) == 64
    area, ratio = (height * width / 64**2).float(), width / height
    assert AREA[0] * 0.9 < area.min() < 0.1
    assert 0.9 < area.max() <= AREA[1]
    assert float(area.mean()) == pytest.approx(0.5, abs=0.04)  # large boxes of uneven sides do not fit
    assert (ratio >= RATIO[0] * 0.9).all()
    assert (ratio <= RATIO[1] * 1.1).all()
    assert float(ratio.log().mean()) == pytest.approx(0, abs=0.02)
    assert (top != left)[height == width].any()


def test_the_first_box_that_fits_is_taken_and_else_the_whole_image() -> None:
    wide = [1.0, 1.0, 0.5, 0.5]  # all of the area, but wider than high
    small = [0.0, 0.5, 0.0, 0.0]
    draws = torch.tensor([[wide, small, wide], [wide, wide, wide]])
    side = round(math.sqrt(0.08) * 20)
    assert boxes(draws, 20, 20).tolist() == [[0, 0, side, side], [0, 0, 20, 20]]


def test_flips_are_mirror_images_of_about_half(x: Tensor) -> None:
    out = augmented(x.repeat(10, 1, 1, 1), Augment(flip=True), seed=5)
    flipped = [torch.equal(got, image.flip(2)) for got, image in zip(out, x.repeat(10, 1, 1, 1), strict=True)]
    same = [torch.equal(got, image) for got, image in zip(out, x.repeat(10, 1, 1, 1), strict=True)]
    assert sum(flipped) + sum(same) == len(out)
    assert 0.4 < sum(flipped) / len(out) < 0.6


def shifts(x: Tensor, **options: Any) -> set[tuple[int, int]]:
    """Where a bright pixel at (4, 5) ends up relative to there, over many draws."""
    lamp = torch.zeros(2000, 1, *x.shape[2:])
    lamp[:, :, 4, 5] = 1
    lit = augmented(lamp, Augment(**options), seed=1).nonzero().tolist()
    return {(row - 4, column - 5) for _, _, row, column in lit}


def test_a_crop_shifts_by_up_to_its_padding_each_way(x: Tensor) -> None:
    assert shifts(x, crop=2) == {(a, b) for a in range(-2, 3) for b in range(-2, 3)}


def test_a_translation_shifts_by_up_to_a_share_of_each_side(x: Tensor) -> None:
    assert shifts(x, translate=0.28) == {(a, b) for a in range(-3, 4) for b in range(-3, 4)}
    assert shifts(x, translate=0.15) == {(a, b) for a in range(-1, 2) for b in range(-2, 3)}


def test_the_share_that_is_changed_at_all(x: Tensor) -> None:
    many = x.repeat(25, 1, 1, 1)
    changed = (augmented(many, Augment(**MIX), seed=7) != many).flatten(1).any(dim=1).float().mean()
    assert float(changed) == pytest.approx(0.8, abs=0.04)


def test_whether_an_image_is_changed_does_not_decide_how(x: Tensor) -> None:
    many = x.repeat(25, 1, 1, 1)
    flipped = (augmented(many, Augment(flip=True, probability=0.5), seed=7) != many).flatten(1).any(dim=1)
    assert float(flipped.float().mean()) == pytest.approx(0.25, abs=0.05)


@pytest.mark.parametrize("shift", [{"crop": 2}, {"translate": 0.28}], ids=["crop", "translate"])
@pytest.mark.parametrize(("fill", "dark"), [("zero", True), ("edge", False), ("reflect", False)])
def test_a_shift_fills_as_it_is_told(x: Tensor, shift: dict[str, Any], fill: str, dark: bool) -> None:
    assert bool((augmented(x, Augment(**shift, fill=fill), seed=3) == 0).any()) == dark


@pytest.mark.parametrize("name", EACH)
def test_it_is_a_function_of_the_seed_and_the_place_alone(x: Tensor, name: str) -> None:
    torch.manual_seed(0)
    first = augmented(x, Augment(**EACH[name]), seed=3)
    torch.manual_seed(1)
    assert torch.equal(augmented(x, Augment(**EACH[name]), seed=3), first)
    assert torch.equal(augmented(x[:7], Augment(**EACH[name]), seed=3), first[:7])
    assert not torch.equal(augmented(x, Augment(**EACH[name]), seed=4), first)
    assert first.shape == x.shape
    assert first.is_contiguous(memory_format=torch.channels_last)
    assert float(first.min()) >= 0
    assert float(first.max()) <= 1


def test_images_of_a_batch_vary_independently(x: Tensor) -> None:
    same = x[:1].repeat(40, 1, 1, 1)
    assert len({tuple(image.flatten().tolist()) for image in augmented(same, Augment(crop=2), seed=3)}) > 15


def test_no_option_leaves_the_images_as_they_are(x: Tensor) -> None:
    assert torch.equal(augmented(x, Augment(), seed=3), x)


def test_every_fill_of_a_recipe_is_known() -> None:
    assert set(FILLS) == set(get_args(get_type_hints(Augment)["fill"]))
