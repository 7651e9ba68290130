"""Handwritten digits that ship inside scikit-learn: 1,797 real images of 8 x 8 pixels.

Alpaydin and Kaynak (1998), "Optical recognition of handwritten digits", UCI repository.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from isograd.errors import IsogradError

TRAINED = 1000  # images to train on, as many as Nielsen used; the other 797 give the accuracy
CLASSES = 10
_WHITE = 16.0  # the largest pixel value in the file


@dataclass(frozen=True, slots=True)
class Digits:
    """Images and labels, split by position in the file.

    Attributes:
        images: `[1000, 64]`, float, in [0, 1].
        labels: `[1000]`, integer, in [0, 10).
        targets: `[1000, 10]`, the labels one-hot.
        unseen_images: `[797, 64]`, never trained on.
        unseen_labels: `[797]`.
    """

    images: Tensor
    labels: Tensor
    targets: Tensor
    unseen_images: Tensor
    unseen_labels: Tensor


def load(dtype: torch.dtype = torch.float32) -> Digits:
    """Load the images; no network is used.

    Args:
        dtype: Of images and targets.

    Returns:
        The first 1,000 images to train on and the remaining 797 to score on.

    Raises:
        IsogradError: If scikit-learn, whose files hold the images, is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise IsogradError(
            "the demo reads its images from scikit-learn, which could not be imported.",
            facts=(str(error),),
            causes=("it is not installed: run `pip install 'isograd[demo]'`.",),
        ) from None
    pixels, numerals = load_digits(return_X_y=True)
    images = torch.as_tensor(pixels / _WHITE, dtype=dtype)
    labels = torch.as_tensor(numerals, dtype=torch.int64)
    targets = torch.nn.functional.one_hot(labels[:TRAINED], CLASSES).to(dtype)
    return Digits(images[:TRAINED], labels[:TRAINED], targets, images[TRAINED:], labels[TRAINED:])
