"""Convolutional nets."""

import torch
import torch.nn.functional as F
from torch import nn

from zoo.registry import Step, case, classify, like


def cell(n_in: int, n_out: int, stride: int = 1) -> nn.Sequential:
    """Convolution, BatchNorm, in-place ReLU."""
    conv = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(n_out), nn.ReLU(inplace=True))


def head(channels: int) -> nn.Sequential:
    """Average over the picture, then classify."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


@case()
def cnn_batchnorm_inplace_relu() -> tuple[nn.Module, Step]:
    net = nn.Sequential(cell(1, 8), nn.MaxPool2d(2), cell(8, 16), head(16))
    return classify(net, 8, 1, 8, 8)


class Basic(nn.Module):
    """The basic block of a ResNet; the second ReLU works in place on the sum."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.first = cell(n_in, n_out, stride)
        self.second = nn.Sequential(cell(n_out, n_out)[0], nn.BatchNorm2d(n_out))
        self.skip = nn.Conv2d(n_in, n_out, 1, stride) if n_in != n_out else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.second(self.first(x))
        out += self.skip(x)
        return F.relu(out, inplace=True)


def small_resnet() -> nn.Sequential:
    return nn.Sequential(cell(1, 8), Basic(8, 8, 1), Basic(8, 16, 2), Basic(16, 16, 1), head(16))


@case()
def resnet() -> tuple[nn.Module, Step]:
    return classify(small_resnet(), 8, 1, 8, 8)


@case()
def resnet_eval_mode() -> tuple[nn.Module, Step]:
    return classify(small_resnet().eval(), 8, 1, 8, 8)


@case()
def resnet_frozen_statistics() -> tuple[nn.Module, Step]:
    net = small_resnet()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval().requires_grad_(False)
    return classify(net, 8, 1, 8, 8)


@case()
def resnet_channels_last() -> tuple[nn.Module, Step]:
    return classify(small_resnet().to(memory_format=torch.channels_last), 8, 1, 8, 8)


class UNet(nn.Module):
    """Down, up, and a concatenation across."""

    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2, self.middle = cell(1, 8), cell(8, 16), cell(16, 16)
        self.up2 = nn.ConvTranspose2d(16, 16, 2, stride=2)
        self.up1 = nn.ConvTranspose2d(16, 8, 2, stride=2)
        self.join2, self.join1, self.out = cell(32, 16), cell(16, 8), nn.Conv2d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one = self.down1(x)
        two = self.down2(F.max_pool2d(one, 2))
        low = self.up2(self.middle(F.max_pool2d(two, 2)))
        low = self.up1(self.join2(torch.cat([low, two], 1)))
        return self.out(self.join1(torch.cat([low, one], 1)))


@case()
def unet() -> tuple[nn.Module, Step]:
    x, y = torch.randn(4, 1, 8, 8), torch.randint(0, 2, (4, 8, 8))

    def step(model: nn.Module) -> torch.Tensor:
        return F.cross_entropy(model(like(model, x)), like(model, y))

    return UNet(), step


@case()
def conv_transpose_generator() -> tuple[nn.Module, Step]:
    up = [nn.ConvTranspose2d(8, 16, 4), nn.BatchNorm2d(16), nn.ReLU(True)]
    net = nn.Sequential(*up, nn.ConvTranspose2d(16, 1, 4, 2, 1), nn.Tanh())
    z, picture = torch.randn(8, 8, 1, 1), torch.rand(8, 1, 8, 8)

    def step(model: nn.Module) -> torch.Tensor:
        return F.mse_loss(model(like(model, z)), like(model, picture))

    return net, step


@case()
def grouped_and_depthwise_conv() -> tuple[nn.Module, Step]:
    depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
    grouped = nn.Conv2d(8, 16, 3, padding=1, groups=4)
    net = nn.Sequential(cell(1, 8), depthwise, nn.Hardswish(), grouped, nn.ReLU6(), head(16))
    return classify(net, 8, 1, 8, 8)


@case()
def conv1d() -> tuple[nn.Module, Step]:
    net = nn.Sequential(
        nn.Conv1d(3, 8, 5, padding=2), nn.ReLU(), nn.AvgPool1d(2), nn.Conv1d(8, 8, 3, dilation=2)
    )
    return classify(nn.Sequential(net, nn.Flatten(), nn.Linear(8 * 12, 10)), 8, 3, 32)


@case()
def group_and_instance_norm() -> tuple[nn.Module, Step]:
    net = nn.Sequential(
        *[nn.Conv2d(1, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.ReLU()],
        *[nn.Conv2d(8, 8, 3, padding=1), nn.InstanceNorm2d(8, affine=True), nn.ReLU(), head(8)],
    )
    return classify(net, 8, 1, 8, 8)


@case()
def squeeze_and_excite() -> tuple[nn.Module, Step]:
    class Gate(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.squeeze, self.excite = nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            mean = x.mean((2, 3), keepdim=True)
            return x * self.excite(self.squeeze(mean).relu()).sigmoid()

    return classify(nn.Sequential(cell(1, 8), Gate(), cell(8, 8), head(8)), 8, 1, 8, 8)


@case()
def pixel_shuffle() -> tuple[nn.Module, Step]:
    small, large = torch.randn(4, 1, 4, 4), torch.randn(4, 1, 8, 8)

    def step(model: nn.Module) -> torch.Tensor:
        x = like(model, small)
        return F.l1_loss(model(x) + F.interpolate(x, scale_factor=2), like(model, large))

    net = nn.Sequential(cell(1, 8), nn.Conv2d(8, 4, 3, padding=1), nn.PixelShuffle(2))
    return net, step
