"""convc beside PyTorch and cuDNN on one GPU, in one process: convolutions, LeNet-5's train step, a study.

    python benchmarks/gpu.py [--only convnet resnet50 lenet study] [--rounds 30] [--no-compile] [--out FOLDER]

Every round runs each peer once, in turn, timed by events on its own stream; the L2 is overwritten before each
convolution. f32 throughout, TF32 off. Medians, ratios, and the two ceilings of the same run (copies within the
device's memory, a large product of matrices) go to <out>/<device>-<date>.json.
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpu_layers import CONVNET_BENCHMARKS, RESNET50, Layer, measure_layer, smaller
from gpu_timing import copy_bandwidth, matmul_rate
from gpu_training import lenet_step, study

from convc.runtime.cuda_device import Device, driver, open_device

PARTS = ("convnet", "resnet50", "lenet", "study")


def find_torch() -> Any:
    """PyTorch, where it sees a GPU, with TF32 off."""
    try:
        import torch
    except ImportError:
        return None
    if not torch.cuda.is_available():
        return None
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    return torch


def main(arguments: Sequence[str] | None = None) -> Path:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--epochs", type=int, default=10, help="of the study, at each rate")
    parser.add_argument("--no-compile", dest="compiled", action="store_false", help="leave torch.compile out")
    parser.add_argument("--small", action="store_true", help="tiny sizes, to try the script itself")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    asked = parser.parse_args(arguments)
    torch, device = find_torch(), open_device(0)
    print(f"{device.name}; PyTorch {torch.__version__ if torch else 'without a GPU: no peers'}")
    found: dict[str, Any] = facts(device, torch) | {"ceilings": ceilings(device, torch, asked.rounds, asked.small)}
    print(f"ceilings: {found['ceilings']}")
    for part, layers in (("convnet", CONVNET_BENCHMARKS), ("resnet50", RESNET50)):
        if part in asked.only:
            found[part] = run_layers(layers[:1] if asked.small else layers, torch, asked)
    if "lenet" in asked.only:
        found["lenet"] = lenet_step(
            torch, 1 if asked.small else 64, asked.rounds, 1 if asked.small else 10, asked.compiled
        )
        print(f"LeNet-5 step: {micro(found['lenet']['seconds'])}")
    if "study" in asked.only:
        found["study"] = study(torch, 1 if asked.small else asked.epochs, asked.small)
        print(f"study: {found['study']['seconds']} s")
    asked.out.mkdir(parents=True, exist_ok=True)
    path: Path = asked.out / f"{slug(device.name)}-{found['date']}.json"
    path.write_text(json.dumps(found, indent=2) + "\n")
    print(f"wrote {path}")
    return path


def facts(device: Device, torch: Any) -> dict[str, Any]:
    driver_version = ".".join(map(str, driver().get_version()))
    about = {
        "device": device.name,
        "arch": device.arch,
        "cuda": driver_version,
        "driver": driver().get_driver_version(),
    }
    if torch:
        about |= {"torch": torch.__version__, "cudnn": torch.backends.cudnn.version()}
    return about | {"date": datetime.date.today().isoformat()}


def ceilings(device: Device, torch: Any, rounds: int, small: bool) -> dict[str, float]:
    found = {"copy_gbytes_per_second": copy_bandwidth(device, 1 << (16 if small else 30), rounds)}
    if torch:
        found["matmul_gflops"] = matmul_rate(torch, 512 if small else 8192, rounds)
    return found


def run_layers(layers: Sequence[Layer], torch: Any, asked: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    for layer in layers:
        chosen = smaller(layer) if asked.small else layer
        for row in measure_layer(chosen, torch, asked.rounds, asked.compiled):
            ratio = f"{row['best_peer_over_convc']:.2f}x of {row['best_peer']}" if row["best_peer"] else "no peer"
            print(f"{row['layer']:20} {row['direction']}  {row['gflops']:8.0f} GFLOP/s  {ratio}", flush=True)
            rows.append(row)
    return rows


def micro(seconds: dict[str, float]) -> str:
    return ", ".join(f"{name} {1e6 * t:.0f} us" for name, t in seconds.items())


def slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


if __name__ == "__main__":
    main()
