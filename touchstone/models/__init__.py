"""The table of architectures. Importing it does not import torch."""

from touchstone.registry import ModelSpec

MODELS: dict[str, ModelSpec] = {
    "lenet": ModelSpec(
        fn="touchstone.models.lenet:LeNet",
        source="LeCun et al. (1998), in the form of Shen et al. (2020), figure 1",
    ),
}
