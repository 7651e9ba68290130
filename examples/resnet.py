"""A small ResNet with BatchNorm on handwritten digits.

isograd check examples/resnet.py:target
"""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn


class Block(nn.Module):
    """Two convolutions, and a shortcut around them."""

    def __init__(self, n_in, n_out, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.shortcut = nn.Identity()
        if stride != 1 or n_in != n_out:
            self.shortcut = nn.Conv2d(n_in, n_out, 1, stride)

    def forward(self, x):
        """Add what the convolutions find to the shortcut."""
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = self.bn2(self.conv2(out))
        return F.relu(out + self.shortcut(x), inplace=True)


class ResNet(nn.Module):
    """Stem, six blocks, average, linear."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()
        )
        self.stages = nn.Sequential(
            Block(16, 16), Block(16, 16), Block(16, 32, 2), Block(32, 32), Block(32, 64, 2),
            Block(64, 64),
        )  # fmt: skip
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        """Logits `[batch, 10]` from images `[batch, 1, 8, 8]`."""
        return self.head(self.stages(self.stem(x)).mean((2, 3)))


def target():
    torch.manual_seed(0)
    pixels, labels = load_digits(return_X_y=True)
    images = torch.tensor(pixels[:64] / 16, dtype=torch.float32).view(-1, 1, 8, 8)
    labels = torch.tensor(labels[:64])

    def step(model):
        return F.cross_entropy(model(images), labels)

    return ResNet(), step
