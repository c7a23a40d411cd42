"""LeNet-5 on a GPU beside PyTorch: one train step, and a study of five learning rates."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gpu_timing
import numpy as np
from gpu_timing import ConvcPeer, Peer, TorchPeer, measure

import convc
from convc.data import Dataset, epoch_order, load
from convc.optim import SGD
from convc.runtime.cuda import CudaExecutable
from convc.train import compile_trainer, fit

RATES = (1.0, 0.1, 0.01, 0.005, 0.001)


def torch_lenet(torch: Any) -> Any:
    nn = torch.nn
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    ).to(gpu_timing.TORCH)  # fmt: skip


def torch_step(torch: Any, channels_last: bool, mode: str) -> Callable[[Any, Any], Any]:
    """One step of stochastic gradient descent; `mode` of torch.compile, empty for eager."""
    model = torch_lenet(torch)
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, foreach=True)

    def loss_of(x: Any, y: Any) -> Any:
        return torch.nn.functional.cross_entropy(model(x), y)

    forward = torch.compile(loss_of, mode=mode) if mode else loss_of

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = forward(x, y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def lenet_step(torch: Any, batch: int, rounds: int, runs: int, compiled: bool) -> dict[str, Any]:
    """Median seconds of a step on data that lie on the device: `runs` steps, one after the other, are timed at once."""
    draw = np.random.default_rng(0)
    x, y = draw.standard_normal((batch, 1, 28, 28)).astype(np.float32), draw.integers(0, 10, batch).astype(np.int32)
    step = convc.compile(
        convc.models.lenet5(), x.shape, mode="train", optimizer=SGD(momentum=0.9), target="cuda"
    )  # fmt: skip
    step(x, y, lr=0.01)
    assert isinstance(step.executable, CudaExecutable)
    peers: dict[str, Peer] = {"convc": ConvcPeer(step.executable, flush=False, runs=runs)}
    if torch is not None:
        tx, ty = torch.from_numpy(x).to(gpu_timing.TORCH), torch.from_numpy(y).long().to(gpu_timing.TORCH)
        kinds = {"eager": (False, ""), "channels_last": (True, "")}
        kinds |= (
            {"compile": (False, "max-autotune"), "compile channels_last": (True, "max-autotune")} if compiled else {}
        )
        for name, (last, mode) in kinds.items():
            run = torch_step(torch, last, mode)
            images = tx.contiguous(memory_format=torch.channels_last) if last else tx
            peers[name] = TorchPeer(torch, lambda run=run, images=images: run(images, ty), flush=False, runs=runs)
    seconds = measure(peers, rounds)
    called = []
    for _ in range(rounds):
        began = time.perf_counter()
        step(x, y, lr=0.01)
        called.append(time.perf_counter() - began)
    return {"batch": batch, "seconds": seconds, "convc_call_with_copies": float(np.median(called))}


def study(torch: Any, epochs: int, small: bool) -> dict[str, Any]:
    """Wall seconds of all rates, compilation left out: training and validation on digits."""
    data = load("mnist5k").normalized()
    if small:
        parts = {k: s.take(np.arange(3)) for k, s in data.parts().items()}
        data = Dataset(data.name, parts["train"], parts["validation"], parts["test"], data.classes)
    batch = 2 if small else 128
    module = convc.models.lenet5()
    trainer = compile_trainer(module, data, batch=batch, optimizer=SGD(momentum=0.9), seed=0, target="cuda")
    fit(trainer.step, trainer.evaluation, data, lr=0.001, epochs=1)  # data and graphs are there
    rates = RATES[1:3] if small else RATES
    began = time.perf_counter()
    accuracies = {}
    for lr in rates:
        module.reset(0)
        accuracies[lr] = fit(trainer.step, trainer.evaluation, data, lr=lr, epochs=epochs)[-1].validation_accuracy
    seconds = {"convc": time.perf_counter() - began}
    if torch is not None:
        torch_study(torch, data, batch, rates[-1:], 1)
        began = time.perf_counter()
        torch_study(torch, data, batch, rates, epochs)
        seconds["eager"] = time.perf_counter() - began
    shown = {str(lr): float(a) for lr, a in accuracies.items()}
    return {"epochs": epochs, "rates": list(rates), "seconds": seconds, "validation_accuracy": shown}


def torch_study(torch: Any, data: Dataset, batch: int, rates: tuple[float, ...], epochs: int) -> None:
    """The same study by an eager loop whose data lie on the device and whose losses are fetched once an epoch."""

    def there(array: np.ndarray) -> Any:
        return torch.from_numpy(array).to(gpu_timing.TORCH)

    parts = {k: (there(s.images), there(s.labels).long()) for k, s in data.parts().items()}
    for lr in rates:
        model = torch_lenet(torch)
        optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, foreach=True)
        for epoch in range(1, epochs + 1):
            x, y = parts["train"]
            order = torch.from_numpy(epoch_order(len(y), seed=0, epoch=epoch)).to(gpu_timing.TORCH)
            total = torch.zeros((), device=gpu_timing.TORCH)
            for rows in order.split(batch):
                optimizer.zero_grad()
                loss = torch.nn.functional.cross_entropy(model(x[rows]), y[rows])
                loss.backward()
                optimizer.step()
                total += loss.detach() * len(rows)
            float(total)
            with torch.no_grad():
                x, y = parts["validation"]
                right = sum((model(a).argmax(1) == b).sum() for a, b in zip(x.split(batch), y.split(batch)))
                int(right)
