"""What a run leaves behind to go on from: its settings, and the parameters and optimizer state of the last epoch.

All of it is read with its digest, and marked with the run that wrote it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convc.build.files import read_whole, write_atomically
from convc.compiler import model_graph
from convc.data import Dataset
from convc.errors import DataError
from convc.model_info import ModelInfo, mark_of
from convc.nn import Module
from convc.runtime.digest import read_mark
from convc.runtime.program import Program
from convc.runtime.store import ParameterStore

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


def settings_digest(settings: Settings) -> str:
    """SHA-256, in hex, of the settings as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(dict(settings), sort_keys=True).encode()).hexdigest()


def run_name(name: str, settings: Settings) -> str:
    """What the files of one run are marked with: two runs of one name and other settings never share a file."""
    return f"{name} of {settings_digest(settings)[:16]}"


def write_settings(path: Path, settings: Settings) -> None:
    """As JSON, with a digest of all the rest."""
    write_atomically(path, json.dumps({**settings, "sha256": settings_digest(settings)}, indent=2) + "\n")


def read_settings(path: Path) -> dict[str, Any]:
    """What `write_settings` wrote, without the digest. Raises DataError where the file holds none or is damaged."""
    remedy = f"choose another --out or delete {path.parent}"
    try:
        held: dict[str, Any] = json.loads(read_whole(path))
        digest = held.pop("sha256")
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        raise DataError(f"{path} holds no settings; {remedy}") from None
    if digest != settings_digest(held):
        raise DataError(f"{path} is damaged: its settings are not those that its SHA-256 was made of; {remedy}")
    return held


def check_settings(path: Path, settings: Settings) -> None:
    """Raises DataError, naming the first setting that differs, unless the file holds these settings."""
    refuse_others(path.parent, read_settings(path), settings)


def refuse_others(folder: Path, held: Settings, settings: Settings) -> None:
    """Raises DataError, naming the first of `settings` that differs from those held in the folder."""
    for name, asked in json.loads(json.dumps(dict(settings))).items():
        if held.get(name) != asked:
            raise DataError(
                f"a run goes on with the settings it began with, but {folder} was made with "
                f"{name} {_text(held.get(name))}, not {_text(asked)}; choose another --out or delete it"
            )


def save_checkpoint(path: Path, step: Program, run: str, epoch: int) -> None:
    """Write `checkpoint_bytes`."""
    write_atomically(path, checkpoint_bytes(step, run, epoch))


def checkpoint_bytes(step: Program, run: str, epoch: int) -> bytes:
    """What `step` trains, leaves frozen and keeps, after `epoch` of the run called `run`, as one safetensors file.

    State that another optimizer left in the model's store is not part of it.
    """
    names = [v.name for v in step.graph.inputs_of("parameter", "constant", "state")]
    return step.parameters.to_bytes(mark_of(None, run=run, epoch=epoch), names)


def save_weights(path: Path, store: ParameterStore, run: str, epoch: int, about: ModelInfo) -> None:
    """Write `weights_bytes`."""
    write_atomically(path, weights_bytes(store, run, epoch, about))


def weights_bytes(store: ParameterStore, run: str, epoch: int, about: ModelInfo) -> bytes:
    """The parameters alone, after `epoch` of the run called `run`, and what their model is, as a safetensors file."""
    return store.to_bytes(mark_of(about, run=run, epoch=epoch))


def saved_epoch(path: Path, run: str) -> int:
    """The epoch after which a checkpoint, or weights, were saved; 0 where there are none, or they are another run's.

    Raises DataError for a file that is damaged, or that neither of the two above wrote: the line says what to delete.
    """
    if not path.exists():
        return 0
    try:
        mark = read_mark(path, read_whole(path))
        return int(mark["epoch"]) if mark["run"] == run else 0
    except (DataError, KeyError, TypeError, ValueError) as error:
        reason = error if isinstance(error, DataError) else f"{path} has no mark of a run"
        raise DataError(f"{reason}; delete it, and that run is trained anew") from None


def parameter_count(module: Module, dataset: Dataset) -> int:
    """How many numbers the model learns."""
    g, _ = module.forward_graph((1, *dataset.image_shape))
    return sum(v.type.elements for v in g.inputs if g.roles.get(v.name) == "parameter")


def _text(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
