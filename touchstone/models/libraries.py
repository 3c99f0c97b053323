"""Classifiers of torchvision and timm by name, with random weights."""

from collections.abc import Mapping
from typing import Any

import torchvision
from torch import nn

from touchstone.models.net import split
from touchstone.registry import nearest


def from_torchvision(
    shape: tuple[int, int, int], classes: int, *, name: str, options: Mapping[str, Any] | None = None
) -> nn.Module:
    """Build a classifier of torchvision, with random weights.

    Args:
        shape: (channels, height, width) of the input; most of its nets take 3 channels.
        classes: number of logits.
        name: as torchvision lists it, e.g. "resnet50".
        options: further arguments of its constructor, e.g. {image_size: 32}.

    Raises:
        ValueError: for an unknown name, or a net that `split` refuses.
    """
    names = torchvision.models.list_models(torchvision.models)  # classifiers only
    if name not in names:
        raise ValueError(f"unknown torchvision classifier {name!r}; {nearest(name, names)}")
    net = torchvision.models.get_model(name, weights=None, num_classes=classes, **(options or {}))
    return split(net, shape, classes)


def from_timm(
    shape: tuple[int, int, int], classes: int, *, name: str, options: Mapping[str, Any] | None = None
) -> nn.Module:
    """Build a classifier of timm, with random weights; timm is not among our dependencies.

    Args:
        shape: (channels, height, width) of the input.
        classes: number of logits.
        name: as timm lists it, e.g. "resnet50" or "vit_tiny_patch16_224".
        options: further arguments of its constructor, e.g. {img_size: 32}.

    Raises:
        ModuleNotFoundError: if timm is not installed.
        ValueError: for an unknown name, or a net that `split` refuses.
    """
    try:
        import timm
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"model {name!r} needs timm, which is not installed: pip install timm") from error
    if not timm.is_model(name):
        raise ValueError(f"unknown timm classifier {name!r}; {nearest(name, timm.list_models())}")
    net = timm.create_model(name, pretrained=False, num_classes=classes, in_chans=shape[0], **(options or {}))
    return split(net, shape, classes)
