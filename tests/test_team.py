"""One training over two processes on the CPU (gloo), beside one process."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import ddp
import numpy as np
import pytest
import torch
import yaml

from tinynet_core import Store
from tinynet_core.training import checkpoint, loop
from tinynet_core.training.team import Team, team

HERE = Path(__file__).parent
LAUNCH = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--multi_gpu", "--num_processes", "2"]
LAUNCH += ["--num_machines", "1", "--num_cpu_threads_per_process", "1", "--main_process_port", "0"]
LAUNCH += ["--mixed_precision", "bf16", "--dynamo_backend", "no"]  # which the recipe overrules


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """The last checkpoints of ``ddp.py`` by name, trained by two processes with the variables that launchers set."""
    folder = tmp_path_factory.mktemp("together")
    (folder / "cut.pt").write_bytes(b"damaged")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true"}
    common |= {"ACCELERATE_MIXED_PRECISION": "bf16", "PYTHONPATH": os.pathsep.join(sys.path)}  # the recipe overrules it
    processes = [
        subprocess.Popen(
            [sys.executable, str(HERE / "ddp.py"), str(folder)],
            env=os.environ | common | {"RANK": rank, "LOCAL_RANK": rank},
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        for rank in ("0", "1")
    ]
    errors = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    assert (folder / "cut.damaged").read_bytes() == b"damaged"
    names = ("frozen", "whole", "half", "cut")
    return {name: checkpoint.load(folder / f"{name}.pt", loop.TRAINING_VERSION) for name in names}


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_with_frozen_batch_norm_two_processes_are_one(together, one_thread, tmp_path):
    """Same global batch, same augmentation: weights, averages and losses agree to 1e-5, gradients to 3e-5."""
    ddp.train(tmp_path / "alone.pt", True, 0)
    alone, both = checkpoint.load(tmp_path / "alone.pt", loop.TRAINING_VERSION), together["frozen"]
    start = alone["optimizer"]["state"]
    assert any(state["momentum_buffer"].abs().max() > 1e-2 for state in start.values())  # there were gradients
    for part in ("model", "ema"):
        for name, value in alone[part].items():
            torch.testing.assert_close(both[part][name], value, atol=1e-5, rtol=1e-5)
    for p, state in start.items():
        ours = both["optimizer"]["state"][p]["momentum_buffer"]
        torch.testing.assert_close(ours, state["momentum_buffer"], atol=3e-5, rtol=1e-4)
    for a, b in zip(alone["curve"], both["curve"], strict=True):
        assert b == pytest.approx(a, abs=1e-5)


def test_with_batch_norm_the_accuracy_is_within_the_seed_spread_and_a_stop_changes_nothing(together, one_thread):
    alone = [ddp.train(None, False, seed).curve[-1]["raw_top1"] for seed in range(3)]
    whole, half, resumed = (together[name] for name in ("whole", "half", "cut"))
    assert min(alone) > 0.4  # it learns: a quarter is chance
    assert abs(whole["curve"][-1]["raw_top1"] - np.mean(alone)) < 3 * np.std(alone, ddof=1)
    assert (half["epoch"], half["step"]) == (1, 16)
    assert resumed["curve"] == whole["curve"]
    assert all(torch.equal(resumed[part][k], v) for part in ("model", "ema") for k, v in whole[part].items())


def test_two_processes_train_one_network_from_the_shell_and_write_one_record(tmp_path):
    preset = {
        "name": "tiny",
        "about": "for tests",
        "base": {"resolution": 24, "width": 0.25, "divisor": 4},
        "dataset": {"classes": 4, "resolution": 32, "train_images": 96, "val_images": 33, "difficulty": 0.0},
        "recipe": {"epochs": 2, "batch_size": 32, "warmup_epochs": 0.5},
    }
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(preset), encoding="utf-8")
    store = tmp_path / "store"
    environment = os.environ | {"ACCELERATE_USE_CPU": "true"}
    command = [*LAUNCH, "-m", "tinynet_core.cli", "train", str(tmp_path / "tiny.yaml"), "efficientnet_b0"]
    done = subprocess.run(
        [*command, "--store", str(store)],
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (record,) = Store(store).records()
    assert done.stdout.count(f"{record.key[:12]} efficientnet_b0: top-1 ") == 1
    assert len(record.curve) == 2
    assert record.metrics["top1"] * 33 == pytest.approx(round(record.metrics["top1"] * 33))  # every image counted once
    assert not list((store / "checkpoints").glob("*.pt"))


def test_one_process_alone_shares_nothing():
    alone = team()
    assert type(alone) is Team
    assert alone.leads
    assert alone.share(12) == slice(0, 12)
    assert alone.total(torch.tensor(3.0)) == 3
    assert alone.wrap(module := torch.nn.Linear(1, 1)) is module


def test_shares_of_a_batch_are_all_of_it():
    parts = []
    for rank in range(4):
        one = Team()
        one.rank, one.size = rank, 4
        parts += range(12)[one.share(12)]
    assert parts == list(range(12))
