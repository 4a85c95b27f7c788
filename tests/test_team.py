"""One training over two processes on the CPU (gloo), beside one process."""

import os
import subprocess
import sys
from pathlib import Path

import ddp
import pytest
import torch
import yaml
from conftest import TINY

from tinynet_core import Store
from tinynet_core.training import checkpoint, loop

LAUNCH = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--multi_gpu", "--num_processes", "2"]
LAUNCH += ["--num_machines", "1", "--num_cpu_threads_per_process", "1", "--main_process_port", "0"]
LAUNCH += ["--mixed_precision", "bf16", "--dynamo_backend", "no"]  # which the recipe overrules
PRESET = TINY | {"dataset": TINY["dataset"] | {"val_images": 33}}


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    """The folder that ``ddp.py`` filled, started by accelerate on two processes, and what these wrote to stdout."""
    folder = tmp_path_factory.mktemp("together")
    (folder / "cut.pt").write_bytes(b"damaged")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(PRESET), encoding="utf-8")
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [*LAUNCH, str(Path(__file__).with_name("ddp.py")), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert (folder / "cut.damaged").read_bytes() == b"damaged"
    return folder, done.stdout


@pytest.fixture(scope="module")
def together(launched):
    return {
        name: checkpoint.load(launched[0] / f"{name}.pt", loop.TRAINING_VERSION) for name in ("whole", "half", "cut")
    }


def test_two_processes_take_the_steps_of_one(together, one_thread, tmp_path):
    """Same batches, same augmentation, statistics of the same parts of a batch: weights, averages and losses agree."""
    ddp.train(tmp_path / "alone.pt")
    alone, both = checkpoint.load(tmp_path / "alone.pt", loop.TRAINING_VERSION), together["whole"]
    start = alone["optimizer"]["state"]
    assert any(state["momentum_buffer"].abs().max() > 1e-2 for state in start.values())  # there were gradients
    for part in ("model", "ema"):
        for name, value in alone[part].items():
            if name.endswith(("weight", "bias")):  # running statistics are of parts one after the other, and of means
                torch.testing.assert_close(both[part][name], value, atol=1e-5, rtol=1e-4)
    for p, state in start.items():
        ours = both["optimizer"]["state"][p]["momentum_buffer"]
        torch.testing.assert_close(ours, state["momentum_buffer"], atol=1e-4, rtol=1e-3)
    for a, b in zip(alone["curve"], both["curve"], strict=True):
        assert b["train_loss"] == pytest.approx(a["train_loss"], abs=1e-5)
        assert b["raw_loss"] == pytest.approx(a["raw_loss"], rel=0.1)


def test_a_stop_changes_nothing(together):
    whole, half, resumed = (together[name] for name in ("whole", "half", "cut"))
    assert (half["epoch"], half["step"]) == (1, 16)
    assert resumed["curve"] == whole["curve"]
    assert all(torch.equal(resumed[part][k], v) for part in ("model", "ema") for k, v in whole[part].items())


def test_two_processes_started_from_the_shell_write_one_record(launched):
    folder, said = launched
    (record,) = Store(folder / "store").records()
    assert said.count(f"{record.key[:12]} efficientnet_b0: top-1 ") == 1
    assert len(record.curve) == 2
    assert record.metrics["top1"] * 33 == pytest.approx(round(record.metrics["top1"] * 33))  # every image counted once
    assert not list((folder / "store" / "checkpoints").glob("*.pt"))
