"""Single convolutions in three directions on a GPU: forward, and the gradients by the images and by the weights.

The first five are those of convnet-benchmarks (Chintala, 2014), then the convolutions of ResNet-50 (He et al., 2016;
the stride on the 3x3 ones, as in torchvision).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import gpu_timing
import numpy as np
from gpu_timing import ConvcPeer, Peer, TorchPeer, measure

import convc
from convc.runtime.cuda import CudaExecutable

DIRECTIONS = ("fprop", "dgrad", "wgrad")


@dataclass(frozen=True)
class Layer:
    """`batch` images of c channels, size x size; k filters of r x r. `times`: how often the network has it."""

    name: str
    batch: int
    c: int
    k: int
    size: int
    r: int
    stride: int = 1
    padding: int = 0
    times: int = 1

    @property
    def out(self) -> int:
        return (self.size + 2 * self.padding - self.r) // self.stride + 1

    @property
    def flops(self) -> int:
        return 2 * self.batch * self.k * self.out**2 * self.c * self.r**2

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of images, weights and the output."""
        n = self.batch
        return {
            "x": (n, self.c, self.size, self.size),
            "w": (self.k, self.c, self.r, self.r),
            "y": (n, self.k, self.out, self.out),
        }


CONVNET_BENCHMARKS = (
    Layer("L1", 128, 3, 96, 128, 11),
    Layer("L2", 128, 64, 128, 64, 9),
    Layer("L3", 128, 128, 128, 32, 9),
    Layer("L4", 128, 128, 128, 16, 7),
    Layer("L5", 128, 384, 384, 13, 3),
)
_RESNET = (  # c, k, size, r, stride, times
    (3, 64, 224, 7, 2, 1),
    (64, 64, 56, 1, 1, 1), (64, 64, 56, 3, 1, 3), (64, 256, 56, 1, 1, 4), (256, 64, 56, 1, 1, 2),
    (256, 128, 56, 1, 1, 1), (128, 128, 56, 3, 2, 1), (128, 512, 28, 1, 1, 4), (256, 512, 56, 1, 2, 1),
    (512, 128, 28, 1, 1, 3), (128, 128, 28, 3, 1, 3),
    (512, 256, 28, 1, 1, 1), (256, 256, 28, 3, 2, 1), (256, 1024, 14, 1, 1, 6), (512, 1024, 28, 1, 2, 1),
    (1024, 256, 14, 1, 1, 5), (256, 256, 14, 3, 1, 5),
    (1024, 512, 14, 1, 1, 1), (512, 512, 14, 3, 2, 1), (512, 2048, 7, 1, 1, 3), (1024, 2048, 14, 1, 2, 1),
    (2048, 512, 7, 1, 1, 2), (512, 512, 7, 3, 1, 2),
)  # fmt: skip
RESNET50 = tuple(
    Layer(f"{c}to{k}_{r}x{r}{'s2' if stride > 1 else ''}_{size}", 64, c, k, size, r, stride, r // 2, times)
    for c, k, size, r, stride, times in _RESNET
)


def smaller(layer: Layer) -> Layer:
    """The same kind of layer, small enough for an emulator."""
    size = max(layer.r, 5)
    return replace(layer, batch=2, c=min(layer.c, 4), k=min(layer.k, 5), size=size)


def program(layer: Layer, direction: str) -> convc.Program:
    """The direction alone, as a graph."""
    n, shapes = layer.batch, layer.shapes
    types = {k: f"f32[n<={n},{','.join(map(str, s[1:]))}]" for k, s in shapes.items() if k != "w"}
    types["w"] = f"f32[{','.join(map(str, shapes['w']))}]"
    result, op, operands = {
        "fprop": ("y", "conv2d", ("x", "w")),
        "dgrad": ("x", "conv2d_dgrad", ("y", "w")),
        "wgrad": ("w", "conv2d_wgrad", ("y", "x")),
    }[direction]
    attributes = f"stride=[{layer.stride}, {layer.stride}], padding=[{layer.padding}, {layer.padding}]"
    head = ", ".join(f"%{o}: {types[o]}" for o in operands)
    call = f"{op}({', '.join(f'%{o}' for o in operands)}) {{{attributes}}}"
    text = f"graph @{direction}({head}) {{ %result: {types[result]} = {call} return %result }}"
    return convc.compile(convc.parse_graph(text), target="cuda")


def peers_of(layer: Layer, direction: str, torch: Any, compiled: bool) -> dict[str, Peer]:
    draw = np.random.default_rng(0)
    built = program(layer, direction)
    inputs = {v.name: draw.random(layer.shapes[v.name], np.float32) - 0.5 for v in built.graph.inputs}
    built(**inputs)
    assert isinstance(built.executable, CudaExecutable)
    peers: dict[str, Peer] = {"convc": ConvcPeer(built.executable)}
    if torch is None:
        return peers
    for name, run in torch_runs(layer, direction, torch, compiled).items():
        peers[name] = TorchPeer(torch, run)
    return peers


def torch_runs(layer: Layer, direction: str, torch: Any, compiled: bool) -> dict[str, Callable[[], object]]:
    """Eager as it comes, cuDNN's fastest (its own search), the same with channels last, and torch.compile."""
    arrays = {k: torch.rand(s, device=gpu_timing.TORCH) - 0.5 for k, s in layer.shapes.items()}
    last = {k: a.contiguous(memory_format=torch.channels_last) for k, a in arrays.items()}
    stride, padding = [layer.stride] * 2, [layer.padding] * 2
    conv = torch.nn.functional.conv2d

    def call(of: dict[str, Any], search: bool) -> Callable[[], object]:
        def run() -> object:
            torch.backends.cudnn.benchmark = search
            if direction == "fprop":
                return conv(of["x"], of["w"], stride=stride, padding=padding)
            mask = [direction == "dgrad", direction == "wgrad", False]
            return torch.ops.aten.convolution_backward(
                of["y"], of["x"], of["w"], None, stride, padding, [1, 1], False, [0, 0], 1, mask
            )

        return run

    runs = {"eager": call(arrays, False), "cudnn": call(arrays, True), "channels_last": call(last, True)}
    if compiled and direction == "fprop":
        fast = torch.compile(lambda x, w: conv(x, w, stride=stride, padding=padding), mode="max-autotune-no-cudagraphs")
        runs["compile"] = lambda: fast(arrays["x"], arrays["w"])
    return runs


def measure_layer(layer: Layer, torch: Any, rounds: int, compiled: bool) -> list[dict[str, Any]]:
    """A row for each direction: median seconds of every peer, and how often the fastest peer's time convc's is."""
    rows = []
    for direction in DIRECTIONS:
        seconds = measure(peers_of(layer, direction, torch, compiled), rounds)
        others = {name: t for name, t in seconds.items() if name != "convc"}
        best = min(others, key=lambda name: others[name]) if others else None
        rows.append(
            {
                "layer": layer.name,
                "direction": direction,
                "flops": layer.flops,
                "times": layer.times,
                "seconds": seconds,
                "gflops": 1e-9 * layer.flops / max(seconds["convc"], 1e-9),
                "best_peer": best,
                "best_peer_over_convc": seconds[best] / seconds["convc"] if best else None,
            }
        )
        if torch is not None:
            torch.cuda.empty_cache()
    return rows
