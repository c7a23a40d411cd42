"""Train LeNet-5 on 4000 handwritten digits, test it on 500 others, and save its weights.

    python examples/train_and_evaluate.py

The loop is written out to show what one call does: `step` runs forward, backward and the update. The function
`convc.train.fit` is the same loop with validation and learning-rate schedules.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import convc
from convc.data import batches, epoch_order, load
from convc.train import evaluate

BATCH, EPOCHS, RATE = 64, 3, 0.02
WEIGHTS = Path("out/lenet5.safetensors")


def main() -> None:
    data = load("mnist5k").normalized()
    net = convc.models.lenet5()
    shape = (BATCH, *data.image_shape)
    step = convc.compile(net, shape, mode="train", optimizer=convc.SGD(momentum=0.9))
    evaluation = convc.compile(net, shape, mode="eval")  # shares the parameters with `step`
    print(f"LeNet-5 as {len(step.kernels)} kernels, {len(data.train)} images in batches of {BATCH}")

    for epoch in range(1, EPOCHS + 1):
        order = epoch_order(len(data.train), seed=0, epoch=epoch)
        # The last batch holds 32 images: a program runs any number of rows up to its capacity.
        losses = [step(x, labels, lr=RATE) for x, labels in batches(data.train, BATCH, order=order)]
        held_out = evaluate(evaluation, data.validation)
        print(f"epoch {epoch}: loss {np.mean(losses):.3f}, validation accuracy {held_out.accuracy:.1%}")

    print(f"test accuracy {evaluate(evaluation, data.test).accuracy:.1%}")
    net.store.save(WEIGHTS)
    print(f"saved {WEIGHTS}, {WEIGHTS.stat().st_size:,} bytes")
    show_a_mistake(net, data.test.images, data.test.labels)


def show_a_mistake(net: convc.nn.Module, images: np.ndarray, labels: np.ndarray) -> None:
    """Print the first image [1, 28, 28] that the model takes for another digit."""
    predict = convc.compile(net, (len(images), *images.shape[1:]))
    digits = predict(images).argmax(axis=1)
    wrong = np.flatnonzero(digits != labels)
    if not wrong.size:
        print("no mistakes on the test images")
        return
    print(f"image {wrong[0]} is a {labels[wrong[0]]}, and the model reads a {digits[wrong[0]]}:")
    for row in images[wrong[0], 0, ::2]:
        print("   ", "".join(" .+#"[min(3, int(np.digitize(value, (0.0, 1.0, 2.0))))] for value in row))


if __name__ == "__main__":
    main()
