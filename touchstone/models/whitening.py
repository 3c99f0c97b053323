"""Global contrast normalisation and ZCA whitening as a model's first layer, so that pixels go in."""

import torch
from torch import Tensor, nn

SCALE = 55.0  # length of an image after contrast normalisation
BIAS = 0.1  # added to every variance before the root is taken
LEAST = 1e-4  # a contrast below it, less than that of one grey level in one value, is that of a blank image
ROWS = 1000  # images whose second moments are taken at once


class Whiten(nn.Module):
    """z = W (g - mean) of the contrast-normalised image g = SCALE (x - m) / |x - m|, m the mean of the image's values.

    W = U (L + BIAS)^(-1/2) U', symmetric, with covariance U L U' of g over the training images: ZCA (Bell and
    Sejnowski, 1997). Source: Goodfellow et al. (2013), Maxout networks, section 5.2, for CIFAR-10, with the constants
    of the library that it was published with, which Network in Network (Lin et al., 2014) took over. The images are
    in [0, 1] here, which g does not depend on. Where an image is blank, g is 0.

    Everything is NaN until `fit` or until weights are loaded. Gradients go through the image's own mean and contrast.

    Args:
        shape: (C, H, W) of the images; D = C H W.
    """

    mean: Tensor  # (D,)
    matrix: Tensor  # (D, D), W
    inverse_matrix: Tensor  # (D, D), not saved

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__()
        size = shape[0] * shape[1] * shape[2]
        self.register_buffer("mean", torch.full((size,), torch.nan))
        self.register_buffer("matrix", torch.full((size, size), torch.nan))
        self.register_buffer("inverse_matrix", torch.full((size, size), torch.nan), persistent=False)
        self.register_load_state_dict_post_hook(_invert)

    def fit(self, x: Tensor) -> None:
        """Learn mean and W of training images x (N, C, H, W) uint8, in float64; kept in float32.

        Raises:
            ValueError: without images.
        """
        if not len(x):
            raise ValueError("there are no images to fit a whitening to; give weights that hold one (`normalize.`)")
        count, first, second = len(x), self.mean.new_zeros((), dtype=torch.float64), 0.0
        for rows in x.split(ROWS):
            g = contrast_normalized(rows.double() / 255)[0].flatten(1)
            first, second = first + g.sum(0), second + g.T @ g
        mean = first / count
        variances, directions = torch.linalg.eigh(second / count - torch.outer(mean, mean))
        roots = (variances.clamp(min=0) + BIAS).sqrt()  # rounding makes the smallest ones negative
        self.mean.copy_(mean)
        self.matrix.copy_(directions / roots @ directions.T)
        self.inverse_matrix.copy_(directions * roots @ directions.T)

    def forward(self, x: Tensor) -> Tensor:
        """Map pixels x (B, C, H, W) to whitened images of the same shape."""
        g = contrast_normalized(x)[0].flatten(1)
        return ((g - self.mean) @ self.matrix).view_as(x)

    def inverse(self, z: Tensor, x: Tensor | None = None) -> Tensor:
        """Return the pixels (B, C, H, W) of points z with the mean and the contrast of the images x (B, C, H, W).

        Raises:
            ValueError: without images.
        """
        if x is None:
            raise ValueError("points of whitened space have no mean and contrast: give the images that they come from")
        _, mean, contrast = contrast_normalized(x.to(z.dtype))
        g = z.flatten(1) @ self.inverse_matrix.to(z.dtype) + self.mean.to(z.dtype)
        return g.view_as(z) * contrast / SCALE + mean


def contrast_normalized(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return g (B, *shape) of images x (B, *shape), with the mean and the contrast |x - mean| of each, (B, 1, ...)."""
    dims = tuple(range(1, x.dim()))
    mean = x.mean(dims, keepdim=True)
    contrast = torch.linalg.vector_norm(x - mean, dim=dims, keepdim=True)
    blank = contrast < LEAST
    return (SCALE * (x - mean) / contrast.masked_fill(blank, 1.0)).masked_fill(blank, 0.0), mean, contrast


def _invert(layer: nn.Module, _keys: object) -> None:
    """Work out the inverse of a matrix that has been loaded."""
    layer.inverse_matrix.copy_(torch.linalg.inv(layer.matrix.double()))
