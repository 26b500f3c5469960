"""The same relevance by Zennit, in an environment of its own; started by bench_relevance.

Reads weights and images from the folder given, answers each line ``<number of maps>`` on its input
with a line ``<seconds>``, and writes the maps of the last answer to ``zennit.npy``.
"""

import sys
import time
import types
from pathlib import Path

import numpy as np
import torch

# Zennit imports two class names of torchvision, whose builds fit no CPU build of torch.
for module, names in (
    ("torchvision", ()),
    ("torchvision.models", ()),
    ("torchvision.models.resnet", ("Bottleneck", "BasicBlock")),
):
    stub = types.ModuleType(module)
    for name in names:
        setattr(stub, name, type(name, (torch.nn.Module,), {}))
    sys.modules[module] = stub

from zennit.attribution import Gradient  # noqa: E402
from zennit.composites import SpecialFirstLayerMapComposite  # noqa: E402
from zennit.rules import AlphaBeta, Epsilon, Flat, Pass  # noqa: E402
from zennit.types import Activation, Convolution  # noqa: E402
from zennit.types import Linear as AnyLinear  # noqa: E402


def build(folder: Path) -> torch.nn.Sequential:
    """VGG-16 and one readout with the weights of ``weights.npz``."""
    stored = np.load(folder / "weights.npz", allow_pickle=False)
    layers = []
    for name in stored["order"]:
        if str(name) == "pool":
            layers.append(torch.nn.MaxPool2d(2))
            continue
        kernel = stored[f"{name}_kernel"].transpose(3, 2, 0, 1)
        layer = torch.nn.Conv2d(kernel.shape[1], kernel.shape[0], 3, padding=1)
        layer.weight.data = torch.tensor(np.ascontiguousarray(kernel))
        layer.bias.data = torch.tensor(stored[f"{name}_bias"])
        layers += [layer, torch.nn.ReLU()]
    # Keras flattens (height, width, channel); the readout's rows are put into torch's order.
    height, width, channels = stored["feature_shape"]
    kernel = stored["readout_kernel"].reshape(height, width, channels, -1).transpose(2, 0, 1, 3)
    kernel = kernel.reshape(height * width * channels, -1)
    dense = torch.nn.Linear(*kernel.shape)
    dense.weight.data = torch.tensor(np.ascontiguousarray(kernel.T))
    dense.bias.data = torch.tensor(stored["readout_bias"])
    return torch.nn.Sequential(*layers, torch.nn.Flatten(), dense).eval()


def winners(logits: torch.Tensor) -> torch.Tensor:
    """Relevance at the output, (n, classes): the logit of the winner, and 0 elsewhere."""
    logits = logits.detach()
    index = logits.argmax(1, keepdim=True)
    return torch.zeros_like(logits).scatter(1, index, logits.gather(1, index))


def main() -> None:
    """Answer requests until the input ends."""
    folder = Path(sys.argv[1])
    model = build(folder)
    images = torch.tensor(np.load(folder / "images.npy").transpose(0, 3, 1, 2).copy())
    composite = SpecialFirstLayerMapComposite(
        layer_map=[
            (Activation, Pass()),
            (Convolution, AlphaBeta(alpha=1, beta=0)),
            (torch.nn.Linear, Epsilon(epsilon=0.1)),
        ],
        first_map=[(AnyLinear, Flat())],
    )
    with Gradient(model=model, composite=composite) as attributor:
        print("ready", flush=True)
        for line in sys.stdin:
            count = int(line)
            some = images[torch.arange(count) % len(images)]
            start = time.perf_counter()
            # The seed is made of the logits that Zennit computes anyway: one forward pass in all.
            _, relevance = attributor(some, winners)
            seconds = time.perf_counter() - start
            np.save(folder / "zennit.npy", relevance.detach().sum(1).numpy())
            print(seconds, flush=True)


if __name__ == "__main__":
    main()
