"""Random versions of training images, as tensor operations on the whole batch, on its device."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from touchstone.recipe import Augment
from touchstone.rng import SampleRng

FILLS = {"zero": None, "edge": "replicate", "reflect": "reflect"}  # outside the image -> torch's name of such a padding
AREA = (0.08, 1.0)  # of a resized crop, as a share of the image
RATIO = (3 / 4, 4 / 3)  # its width by its height
TRIES = 10  # boxes drawn for a resized crop, of which the first that fits is taken
GATE, FLIP, CROP, SHIFT, ANGLE, BOX = range(6)  # streams of draws


def augmented(x: Tensor, how: Augment, *, seed: int) -> Tensor:
    """Return a random version of each image, a function of its place in the batch and the seed alone.

    In this order: flip, rotation, resized crop, crop, translation. Source of the mix of the first three:
    Li et al. (2021) as coded for Tiny-ImageNet (flip, rotate 10, resized_crop, probability 0.8).

    Args:
        x: (B, C, H, W) in [0, 1].
        how: they vary. A shift is in whole pixels, a turn around the centre to the nearest pixel with zero outside; the
            box of a resized crop is of AREA and RATIO, and blown up bilinearly.
        seed: of the batch.

    Returns:
        (B, C, H, W) in channels_last memory.
    """
    draws, height, width = SampleRng(seed, torch.arange(len(x), device=x.device)), *x.shape[2:]
    out = x
    if how.flip:
        out = torch.where(_chosen(draws, 0.5, FLIP), out.flip(3), out)
    if how.rotate:
        out = rotated(out, (2 * draws.uniform((), stream=ANGLE) - 1) * how.rotate)
    if how.resized_crop:
        out = blown_up(out, boxes(draws.uniform((TRIES, 4), stream=BOX), height, width))
    if how.crop:
        out = shifted(out, draws.integers(2 * how.crop + 1, (2,), stream=CROP) - how.crop, how.crop, how.fill)
    if how.translate:
        most = torch.tensor([round(how.translate * height), round(how.translate * width)], device=x.device)
        by = ((2 * most + 1) * draws.uniform((2,), stream=SHIFT)).long() - most
        out = shifted(out, by, int(most.max()), how.fill)
    if how.probability < 1:
        out = torch.where(_chosen(draws, how.probability, GATE), out, x)
    return out.contiguous(memory_format=torch.channels_last)


def _chosen(draws: SampleRng, share: float, stream: int) -> Tensor:
    """Draw (B, 1, 1, 1) bool, true for that share."""
    return draws.uniform((1, 1, 1), stream=stream) < share


def shifted(x: Tensor, by: Tensor, most: int, fill: str) -> Tensor:
    """Shift each image x (B, C, H, W) by `by` (B, 2) pixels down and right, |by| <= most, filling from outside."""
    height, width = x.shape[2:]
    mode = FILLS[fill]
    padded = F.pad(x, [most] * 4, mode=mode or "constant")
    rows = torch.arange(height, device=x.device) + (most - by[:, :1])  # (B, H)
    columns = torch.arange(width, device=x.device) + (most - by[:, 1:])  # (B, W)
    image = torch.arange(len(x), device=x.device)[:, None, None]
    # indexed as (B, H, W, C): pixels of channels_last images are contiguous
    return padded.permute(0, 2, 3, 1)[image, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def rotated(x: Tensor, degrees: Tensor) -> Tensor:
    """Turn each image x (B, C, H, W) counter-clockwise by its angle (B,): the nearest pixel, and zero from outside."""
    height, width = x.shape[2:]
    angle = torch.deg2rad(degrees)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    # where an output pixel comes from, in coordinates that run from -1 to 1 along each side
    theta = torch.stack([cos, -sin * height / width, zero, sin * width / height, cos, zero], dim=1).view(-1, 2, 3)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode="nearest", padding_mode="zeros", align_corners=False)


def boxes(draws: Tensor, height: int, width: int) -> Tensor:
    """Return the boxes (B, 4) int64 (top, left, height, width) of resized crops, from uniform draws (B, TRIES, 4).

    Where no try fits the box is the whole image.
    """
    area = (AREA[0] + (AREA[1] - AREA[0]) * draws[..., 0]) * height * width
    ratio = torch.exp(math.log(RATIO[0]) + math.log(RATIO[1] / RATIO[0]) * draws[..., 1])
    w, h = (area * ratio).sqrt().round().long(), (area / ratio).sqrt().round().long()
    fits = (w > 0) & (w <= width) & (h > 0) & (h <= height)
    top = (draws[..., 2] * (height - h + 1)).long()
    left = (draws[..., 3] * (width - w + 1)).long()
    tries = torch.stack([top, left, h, w], dim=-1)
    first = fits.byte().argmax(dim=1)
    box = tries[torch.arange(len(draws), device=draws.device), first]
    whole = torch.tensor([0, 0, height, width], device=draws.device)
    return torch.where(fits.any(dim=1, keepdim=True), box, whole)


def blown_up(x: Tensor, box: Tensor) -> Tensor:
    """Bring the box (B, 4) (top, left, height, width) of each image x (B, C, H, W) to H x W, bilinear."""
    height, width = x.shape[2:]
    rows = _sources(box[:, 0], box[:, 2], height)[:, :, None].expand(-1, -1, width)
    columns = _sources(box[:, 1], box[:, 3], width)[:, None, :].expand(-1, height, -1)
    grid = torch.stack([columns, rows], dim=-1)  # grid_sample wants (x, y)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _sources(start: Tensor, length: Tensor, side: int) -> Tensor:
    """Return where each of `side` output pixels comes from along one axis, (B, side) in [-1, 1], never off the box."""
    start, length = start[:, None].float(), length[:, None].float()
    inside = (torch.arange(side, device=start.device) + 0.5) * length / side - 0.5
    pixel = start + torch.minimum(inside.clamp_min(0), length - 1)
    return (2 * pixel + 1) / side - 1
