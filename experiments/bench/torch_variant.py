"""The same ResNet in PyTorch, for comparison.

It is set up for speed: channels last, all cores, and images that are normalised
beforehand and stored on the device. It does not augment images or compute metrics. This
module needs only PyTorch.
"""

import contextlib
import os

import torch
from torch import nn
from torch.nn import functional


class Unit(nn.Module):
    """A pre-activation bottleneck unit; the first of a stage projects its input."""

    def __init__(self, channels, width, stride, first):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, width, 1, stride, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.first = first
        if first:
            self.proj_conv = nn.Conv2d(channels, 4 * width, 1, stride, bias=False)
        else:
            self.importance = nn.Parameter(torch.empty(()).uniform_(-1, 1))

    def forward(self, x):
        pre = functional.relu(self.bn1(x), inplace=True)
        branch = functional.relu(self.bn2(self.conv1(pre)), inplace=True)
        branch = functional.relu(self.bn3(self.conv2(branch)), inplace=True)
        branch = self.conv3(branch)
        if self.first:
            return self.proj_conv(pre) + branch
        return x + self.importance * branch


class PostUnit(nn.Module):
    """A post-activation basic unit; one that changes the shape projects its input."""

    def __init__(self, channels, width, stride, first):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.importance = None
        self.projects = stride > 1 or channels != width
        if self.projects:
            self.proj_conv = nn.Conv2d(channels, width, 1, stride, bias=False)
            self.proj_bn = nn.BatchNorm2d(width)
        if not first:
            self.importance = nn.Parameter(torch.empty(()).uniform_(-1, 1))

    def forward(self, x):
        branch = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        branch = self.bn2(self.conv2(branch))
        if self.importance is not None:
            branch = self.importance * branch
        if self.projects:
            x = self.proj_bn(self.proj_conv(x))
        return functional.relu(x + branch, inplace=True)


class ResNet(nn.Module):
    """The CIFAR ResNet with either kind of unit, from normalised images to logits."""

    def __init__(self, depth=56, width=16, num_classes=10, post=False):
        super().__init__()
        self.stem_conv = nn.Conv2d(3, width, 3, padding=1, bias=False)
        kind, layers, expansion = (PostUnit, 6, 1) if post else (Unit, 9, 4)
        units, channels = {}, width
        for stage in (1, 2, 3):
            inner = width * 2 ** (stage - 1)
            for unit in range(1, (depth - 2) // layers + 1):
                stride = 2 if stage > 1 and unit == 1 else 1
                name = f"stage{stage}_unit{unit}"
                units[name] = kind(channels, inner, stride, unit == 1)
                channels = expansion * inner
        self.units = nn.ModuleDict(units)
        # Post-activation units need an activated input; pre-activation units need a
        # final normalization.
        self.stem_bn = nn.BatchNorm2d(width) if post else None
        self.final_bn = None if post else nn.BatchNorm2d(channels)
        self.logits = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, x):
        x = self.stem_conv(x)
        if self.stem_bn is not None:
            x = functional.relu(self.stem_bn(x), inplace=True)
        for unit in self.units.values():
            x = unit(x)
        if self.final_bn is not None:
            x = functional.relu(self.final_bn(x), inplace=True)
        return self.logits(x.mean((2, 3)))


class Peer:
    """The model with its data and optimizer."""

    def __init__(self, settings):
        torch.manual_seed(0)
        if hasattr(os, "sched_getaffinity"):
            torch.set_num_threads(len(os.sched_getaffinity(0)))
        torch.backends.cudnn.benchmark = True
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.bfloat16 = settings["precision"] == "bfloat16"
        batch, steps, size = (
            settings[k] for k in ("batch_size", "steps", "image_size")
        )
        layout = {"device": self.device, "memory_format": torch.channels_last}
        post = settings["activation"] == "post"
        self.model = ResNet(settings["depth"], settings["width"], post=post).to(
            **layout
        )
        self.optimizer = torch.optim.SGD(
            self.model.parameters(),
            lr=0.1,
            momentum=0.9,
            nesterov=True,
            weight_decay=1e-4,
        )
        images = torch.randn(steps * batch, 3, size, size).to(**layout)
        labels = torch.randint(0, 10, (steps * batch,), device=self.device)
        self.images, self.labels = images.split(batch), labels.split(batch)

    def facts(self):
        """Parameters of the model, device and versions."""
        on_gpu = self.device == "cuda"
        return {
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "device": torch.cuda.get_device_name() if on_gpu else "cpu",
            "versions": {"torch": torch.__version__},
        }

    def train(self):
        """One epoch."""
        self.model.train()
        for images, labels in zip(self.images, self.labels, strict=True):
            with self.precision():
                logits = self.model(images)
            loss = functional.cross_entropy(logits.float(), labels)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
        if not torch.isfinite(loss):  # waits for the device
            raise ArithmeticError("the loss is not finite")
        self.wait()

    @torch.inference_mode()
    def infer(self):
        """Logits of all images."""
        self.model.eval()
        with self.precision():
            for images in self.images:
                self.model(images)
        self.wait()

    def precision(self):
        """Context of the forward pass."""
        if not self.bfloat16:
            return contextlib.nullcontext()
        return torch.autocast(self.device, torch.bfloat16)

    def wait(self):
        """Waits until the device has finished."""
        if self.device == "cuda":
            torch.cuda.synchronize()


make = Peer
