"""Classifiers of torchvision and timm by name, with random weights.

A net is returned as its library makes it, so that its checkpoints fit; `build` splits it in two afterwards.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, get_type_hints

import torchvision
from torch import nn

from touchstone.registry import nearest


def from_torchvision(
    shape: tuple[int, int, int],  # noqa: ARG001
    classes: int,
    *,
    name: str,
    options: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Build a classifier of torchvision, with random weights.

    Args:
        shape: (channels, height, width) of the input, which its nets are not told; most take 3 channels.
        classes: number of logits.
        name: as torchvision lists it, e.g. "resnet50".
        options: further arguments of its constructor, e.g. {image_size: 32}.

    Raises:
        ValueError: for an unknown name or option.
    """
    names = torchvision.models.list_models(torchvision.models)  # classifiers only
    if name not in names:
        raise ValueError(f"unknown torchvision classifier {name!r}; {nearest(name, names)}")
    builder, given = torchvision.models.get_model_builder(name), dict(options or {})
    allowed = _arguments(get_type_hints(builder)["return"])
    for option in given.keys() - allowed:
        raise ValueError(f"unknown option {option!r} of torchvision's {name!r}; {nearest(option, allowed)}")
    return _made(builder, name, given, weights=None, num_classes=classes)


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
        ValueError: for an unknown name or option.
    """
    try:
        import timm
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"model {name!r} needs timm, which is not installed: pip install timm") from error
    if not timm.is_model(name):
        raise ValueError(f"unknown timm classifier {name!r}; {nearest(name, timm.list_models())}")
    builder = partial(timm.create_model, name, pretrained=False)
    return _made(builder, name, options or {}, num_classes=classes, in_chans=shape[0])


def _arguments(kind: type[nn.Module]) -> set[str]:
    """Return the names of what a class takes when it is made; what some swallow as **kwargs they do not use."""
    named = [one for one in inspect.signature(kind).parameters.values() if one.kind is not one.VAR_KEYWORD]
    return {one.name for one in named} - {"num_classes"}


def _made(builder: Callable[..., nn.Module], name: str, options: Mapping[str, Any], **ours: Any) -> nn.Module:
    """Return the net of a library, or raise ValueError where it does not take its options."""
    try:
        return builder(**ours, **options)
    except TypeError as error:
        raise ValueError(f"{name!r} cannot be made with the options {dict(options)}: {error}") from error
