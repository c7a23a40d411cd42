"""What a run leaves behind to go on from: its settings, and the parameters and optimizer state of the last epoch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from convc.build.files import write_atomically
from convc.compiler import model_graph
from convc.data import Dataset
from convc.errors import DataError
from convc.nn import Module
from convc.runtime.program import Program

Settings = Mapping[str, object]


def fingerprints(module: Module, dataset: Dataset) -> dict[str, str]:
    """Digests of the model's graph and of the data: a name may stay while what it names is edited."""
    _, graph = model_graph(module, (1, *dataset.image_shape), "train", "cross_entropy")
    pixels = hashlib.sha256()
    for split in dataset.parts().values():
        pixels.update(split.images.tobytes())
        pixels.update(split.labels.tobytes())
    model = hashlib.sha256(str(graph).encode())
    return {"model contents": model.hexdigest()[:16], "data contents": pixels.hexdigest()[:16]}


def write_settings(path: Path, settings: Settings) -> None:
    write_atomically(path, json.dumps(dict(settings), indent=2) + "\n")


def check_settings(path: Path, settings: Settings) -> None:
    """Raises DataError, naming the first setting that differs, unless the file holds these settings."""
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path} ({error}); choose another --out or delete {path.parent}") from None
    if not isinstance(held, dict):
        raise DataError(f"{path} holds no settings; choose another --out or delete {path.parent}")
    for name, asked in json.loads(json.dumps(dict(settings))).items():
        if held.get(name) != asked:
            raise DataError(
                f"a run goes on with the settings it began with, but {path.parent} was made with "
                f"{name} {_text(held.get(name))}, not {_text(asked)}; choose another --out or delete it"
            )


def save_checkpoint(path: Path, step: Program, run: str, epoch: int) -> None:
    """What `step` trains and keeps, after `epoch` of the run called `run`, as one safetensors file.

    State that another optimizer left in the model's store is not part of it.
    """
    # One key: safetensors writes several in an order that differs from process to process.
    names = [v.name for v in step.graph.inputs_of("parameter", "state")]
    step.parameters.save(path, {"convc": json.dumps({"run": run, "epoch": epoch})}, names)


def checkpoint_epoch(path: Path, run: str) -> int:
    """The epoch after which the file was saved; 0 where there is none, or it is that of another run.

    Raises DataError for a file that is no checkpoint.
    """
    from safetensors import SafetensorError, safe_open  # here, as in convc.runtime.store

    if not path.exists():
        return 0
    try:
        with safe_open(path, "numpy") as file:
            mark = json.loads((file.metadata() or {})["convc"])
        return int(mark["epoch"]) if mark["run"] == run else 0
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        raise DataError(f"{path} is not a checkpoint of convc; delete it to train that run anew") from None


def parameter_count(module: Module, dataset: Dataset) -> int:
    """How many numbers the model learns."""
    g, _ = module.forward_graph((1, *dataset.image_shape))
    return sum(v.type.elements for v in g.inputs if g.roles.get(v.name) == "parameter")


def _text(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
