"""The table of architectures. Importing it does not import torch."""

from touchstone.registry import ModelSpec, is_own

FIRST_CONV = "net.conv1.weight"  # of every net in this table that has one

_MATYASKO = "Matyasko (2020), doi:10.32657/10356/143316"
_LI = "Li et al. (2021), arXiv:2012.07688"
_XU = "Xu et al. (2021), arXiv:2010.03844"
_WRN = "Zagoruyko and Komodakis (2016), arXiv:1605.07146"
_HE = "He et al. (2016), section 4.2, shortcuts of option A"

MODELS: dict[str, ModelSpec] = {
    "lenet": ModelSpec(
        fn="touchstone.models.lenet:lenet",
        source="LeCun et al. (1998), in the form of Shen et al. (2020), arXiv:2011.13719, figure 1",
    ),
    "lenet5": ModelSpec(
        fn="touchstone.models.lenet:lenet",
        source=f"LeCun et al. (1998), in the form of {_LI}, and of Chen et al. (2019), arXiv:1903.09799; as lenet",
    ),
    "lenet-512": ModelSpec(
        fn="touchstone.models.lenet:lenet_512",
        source=f'{_MATYASKO}, chapters 3 and 4, "LeNet-5"',
    ),
    "mlp": ModelSpec(
        fn="touchstone.models.mlp:mlp",
        source="Fully connected net of any widths",
        conv1=False,
    ),
    "mlp-1000": ModelSpec(
        fn="touchstone.models.mlp:mlp",
        source=f"{_MATYASKO}, section 3.5.1",
        preset={"hidden": (1000, 1000, 1000), "init": "glorot"},
        conv1=False,
    ),
    "mlp-1200": ModelSpec(
        fn="touchstone.models.mlp:mlp",
        source=f"{_MATYASKO}, section 4.5",
        preset={"hidden": (1200, 1200, 1200), "init": "msra"},
        conv1=False,
    ),
    "mlp-1000-bn": ModelSpec(
        fn="touchstone.models.mlp_bn:mlp_bn",
        source=f"Miyato et al. (2016), arXiv:1507.00677, with the widths of {_MATYASKO}, section 3.5.1",
        preset={"hidden": (1000, 1000, 1000)},
        conv1=False,
    ),
    "critic": ModelSpec(
        fn="touchstone.models.mlp:critic",
        source=f"{_MATYASKO}, section 4.5",
        conv1=False,
    ),
    "smallcnn": ModelSpec(
        fn="touchstone.models.smallcnn:small_cnn",
        source=f"{_XU}, tables 4 and 5",
    ),
    "nin": ModelSpec(
        fn="touchstone.models.convnets:nin",
        source=f"Lin et al. (2014), Network in Network; {_MATYASKO}, section 3.5.2",
    ),
    "vgg13": ModelSpec(
        fn="touchstone.models.convnets:vgg13",
        source=f"Simonyan and Zisserman (2015), arXiv:1409.1556, configuration B, in the form of {_LI}",
    ),
    "cnn3": ModelSpec(
        fn="touchstone.models.convnets:cnn3",
        source=f"{_LI}, the substitute of table 3",
    ),
    "madry-mnist": ModelSpec(
        fn="touchstone.models.convnets:madry_mnist",
        source=f"Madry et al. (2018), arXiv:1706.06083, MNIST challenge; {_MATYASKO}, chapter 5",
    ),
    "fab-cnn8": ModelSpec(
        fn="touchstone.models.convnets:fab_cnn8",
        source=f"Croce and Hein (2020), arXiv:1907.02044, FAB, CIFAR-10; {_MATYASKO}, chapter 5",
    ),
    "resnet18": ModelSpec(
        fn="touchstone.models.resnet:resnet",
        source="He et al. (2016), table 1, for 32x32 images as in MART (Wang et al., 2020)",
        preset={"widths": (64, 128, 256, 512), "blocks": 2, "shortcut": "projection", "init": "default"},
    ),
    "resnet32": ModelSpec(
        fn="touchstone.models.resnet:resnet",
        source=_HE,
        preset={"widths": (16, 32, 64), "blocks": 5, "shortcut": "padding", "init": "msra"},
    ),
    "resnet56": ModelSpec(
        fn="touchstone.models.resnet:resnet",
        source=f"{_HE}; {_LI}",
        preset={"widths": (16, 32, 64), "blocks": 9, "shortcut": "padding", "init": "msra"},
    ),
    "wrn": ModelSpec(
        fn="touchstone.models.resnet:wide_resnet",
        source=f"{_WRN}, of any depth and width",
    ),
    "wrn-34-10": ModelSpec(
        fn="touchstone.models.resnet:wide_resnet",
        source=f"{_WRN}, in the form of TRADES (Zhang et al., 2019, arXiv:1901.08573)",
        preset={"depth": 34, "width": 10, "conv_bias": False, "bounded": False},
    ),
    "wrn-34-10-bounded": ModelSpec(
        fn="touchstone.models.resnet:wide_resnet",
        source=f"{_WRN}, in the form of {_XU}, tables 2 and 3",
        preset={"depth": 34, "width": 10, "conv_bias": True, "bounded": True},
    ),
    "torchvision": ModelSpec(
        fn="touchstone.models.libraries:from_torchvision",
        source="torchvision's classifier of that name, untrained",
        conv1=None,
        library="torchvision.models",
    ),
    "timm": ModelSpec(
        fn="touchstone.models.libraries:from_timm",
        source="timm's classifier of that name (Wightman, 2019), untrained",
        conv1=None,
    ),
}


def model_spec(name: str) -> ModelSpec:
    """Return the row of the table, or that of a net of the user's own, "module:function".

    Raises:
        KeyError: for a name that is neither.
    """
    return ModelSpec(fn=name, source="the user's own", conv1=None) if is_own(name) else MODELS[name]
