"""A short trial of a recipe: one step in a process of its own, for its time and its memory.

Run as ``python -m cxr.training.planning.trial``, it reads ``{"recipe": ..., "n_classes": ...}`` from its input and
writes a :class:`Trial` as JSON.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from cxr.errors import RunError

if TYPE_CHECKING:
    import torch

    from cxr.training.recipe import Recipe

LIMIT_S = 180.0
_MODULE = "cxr.training.planning.trial"


@dataclass(frozen=True)
class Trial:
    """What one training step took.

    Attributes
    ----------
    seconds_per_image
        Forward, backward and optimiser, from images in memory on.
    peak_bytes
        Most memory at once: of the GPU, or of the whole process on a processor.
    device
        Where, in words.
    """

    seconds_per_image: float
    peak_bytes: int
    device: str


def try_step(recipe: Recipe, n_classes: int) -> Trial:
    """Do one step of the last stage of ``recipe`` with random images in a process of its own, and measure it.

    A GPU is used only while no run has it or waits for it; otherwise it is tried on the processor, which the result
    says.

    Raises
    ------
    RunError
        If the step fails, as where memory does not suffice, or takes more than three minutes.
    """
    from cxr.networks.free_gpu import free_gpu

    with free_gpu(recipe.device) as (gpu, _):
        values = recipe.model_dump(mode="json") | {"device": gpu or "cpu", "weights": None, "devices": 1}
        return _in_a_process(json.dumps({"recipe": values, "n_classes": n_classes}))


def _in_a_process(question: str) -> Trial:
    command = [sys.executable, "-m", _MODULE]
    try:
        done = subprocess.run(command, input=question, capture_output=True, text=True, timeout=LIMIT_S, env=os.environ)
    except subprocess.TimeoutExpired:
        raise RunError(f"one step took more than {LIMIT_S:.0f} s; try a smaller batch or image size") from None
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["it was killed, probably for lack of memory"])[-1]
        raise RunError(f"the trial step failed: {last}")
    return Trial(**json.loads(done.stdout.strip().splitlines()[-1]))


def _measure(recipe: Recipe, n_classes: int) -> Trial:
    """Do one step and return what it took."""
    import torch

    from cxr.models import build
    from cxr.networks.device import is_gpu, resolve_device
    from cxr.training.freezing import set_training_mode, thaw
    from cxr.training.optim import make_optimiser

    stage = recipe.stages[-1]
    device = resolve_device(recipe.device)
    torch.manual_seed(0)
    classes = [f"class {k}" for k in range(n_classes)]
    network = build(
        recipe.backbone,
        classes,
        size=recipe.size,
        channels=recipe.channels,
        task=stage.task,
        backbone_args=recipe.backbone_args,
    ).to(device)
    thaw(network, stage.train)
    set_training_mode(network)
    optimiser = make_optimiser(stage.optimiser, [p for p in network.parameters() if p.requires_grad])

    def step(n: int) -> None:
        images = torch.rand((n, 1, recipe.size, recipe.size), device=device)
        with _precision(recipe, device):
            network.network(network.normalise(images)).float().square().mean().backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        if is_gpu(device):
            torch.accelerator.synchronize()

    part = max(2, stage.batch // stage.accumulate // recipe.devices)
    step(part)  # what is done once, as choosing kernels and taking memory
    before = time.perf_counter()
    step(part)
    seconds = (time.perf_counter() - before) / part
    gpu_peak = int(torch.accelerator.max_memory_allocated()) if is_gpu(device) else 0
    peak = gpu_peak or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Trial(seconds, peak, str(device) if is_gpu(device) else "the processor")


def _precision(recipe: Recipe, device: torch.device) -> torch.autocast:
    import torch

    from cxr.networks.device import is_gpu

    half = recipe.precision == "bf16-mixed" or (is_gpu(device) and recipe.precision != "32-true")
    kind = torch.float16 if recipe.precision == "16-mixed" else torch.bfloat16
    return torch.autocast(device.type, dtype=kind, enabled=half)


def main() -> None:
    """Answer one question."""
    from cxr.training.recipe import load_recipe

    question = json.loads(sys.stdin.read())
    print(json.dumps(asdict(_measure(load_recipe(question["recipe"]), question["n_classes"]))))


if __name__ == "__main__":
    main()
