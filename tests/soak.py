"""Kill sweeps at random moments, for as long as wanted, and see that nothing is lost, doubled, different or left over.

    python tests/soak.py --kills 60

A small sweep is started as a process of its own and killed: the whole process group, the driver alone, or a worker
alone; at a moment drawn from the whole life of the process, and for some kills at the first checkpoint or record that
is being written after it. The same command is then run again, until the sweep is complete, and the next sweep begins.
"""

import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import click
import psutil
from tqdm import tqdm

from tinynet_core import CreatureDataset, Experiment, Recipe, Scale, Store, UserError, sweep
from tinynet_core.data import load_images
from tinynet_core.machine import Resources

KEY = re.compile(rb'"key":"([0-9a-f]{64})"')
KEPT = {"records.jsonl", "records.lock", "records.damaged.jsonl", "checkpoints", "weights"}
ORPHANS_S = 20  # within which the workers of a killed driver must be gone


def experiments():
    """Four networks of six epochs, some seconds of training in all."""
    dataset = CreatureDataset(genera=2, species=2, resolution=32, train_images=128, val_images=64)
    recipe = Recipe(epochs=6, warmup_epochs=0.5, batch_size=32)
    scales = (Scale(0.12, 0.5, 0.2), Scale(0.12, 1.0, 0.2))
    return [
        Experiment(network="efficientnet_b0", scale=scale, dataset=dataset, recipe=recipe, seed=seed)
        for scale in scales
        for seed in range(2)
    ]


def left_by(root):
    """What is known of every record but how long it took and where, and its weights, byte for byte."""
    records = {r.key: r.model_dump(exclude={"wall_s", "provenance"}) for r in Store(root).records()}
    return records, {p.name: p.read_bytes() for p in (root / "weights").glob("*")}


def recorded(root):
    file = root / "records.jsonl"
    return set(KEY.findall(file.read_bytes())) if file.exists() else set()


def being_written(root):
    return list((root / "checkpoints").glob("*.tmp"))


def start(root, log):
    """The sweep over ``experiments()`` as a process group of its own."""
    command = [sys.executable, __file__, "--drive", str(root)]
    with log.open("ab") as output:
        return subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)


class Soak:
    """Sweeps that are killed until there were ``kills`` kills. ``violations`` must stay empty."""

    def __init__(self, folder, kills, seed):
        self.folder, self.kills, self.seed, self.random = folder, kills, seed, random.Random(seed)
        self.log = folder / "log"
        self.how, self.violations = Counter(), []
        self.sweeps, self.orphans = 0, []
        load_images(experiments()[0].dataset)
        begin, root = time.monotonic(), folder / "reference"
        if start(root, self.log).wait():
            raise RuntimeError(f"a sweep that nobody disturbed failed: {self.log.read_text(encoding='utf-8')}")
        self.reference, self.weights = left_by(root)
        self.life_s = time.monotonic() - begin

    def run(self, progress=True):
        with tqdm(total=self.kills, desc="kills", disable=not progress) as bar:
            while self.how.total() < self.kills:
                root = self.folder / f"sweep-{self.sweeps}"
                self.sweeps += 1
                process = start(root, self.log)
                while (status := self._disturb(process, root)) is None or status == -signal.SIGKILL:
                    bar.update(self.how.total() - bar.n)
                    if status is not None:
                        process = start(root, self.log)
                if status:
                    said = self.log.read_text(encoding="utf-8")
                    self.violations.append(f"{root.name} ended with status {status}:\n{said}")
                    return
                self._inspect(root)

    def _disturb(self, process, root):
        """Kill something at a random moment, or wait for the end when there were enough kills; the driver's status."""
        left = 1 - len(recorded(root)) / len(self.reference)
        if self.how.total() >= self.kills or not left:
            return process.wait()
        moment = self.random.uniform(0, self.life_s * (0.4 + 0.4 * left))  # it takes some time to start
        aim = self.random.choice([None, None, being_written, recorded])
        with suppress(subprocess.TimeoutExpired):
            return process.wait(timeout=moment)
        before, end = aim and aim(root), time.monotonic() + 3
        while aim is not None and aim(root) == before and time.monotonic() < end:
            time.sleep(0.0002)
        workers = workers_of(process)
        target = self.random.choice(["group", "driver", "worker"] if workers else ["group", "driver"])
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            if target == "worker":
                self.random.choice(workers).kill()
            elif target == "group":
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
            self.how[target] += 1
        if target == "worker":
            return process.poll()
        self.orphans += workers
        return process.wait()

    def _inspect(self, root):
        """Hold a complete sweep against the reference."""
        keys = Counter(KEY.findall((root / "records.jsonl").read_bytes()))
        found, weights = left_by(root)
        strays = [str(p.relative_to(root)) for p in root.rglob("*") if p.name not in KEPT | self.weights.keys()]
        problems = {
            "lost or different": [key for key, record in self.reference.items() if found.get(key) != record],
            "not asked for": found.keys() - self.reference.keys(),
            "doubled": [key for key, count in keys.items() if count > 1],
            "weights lost or different": [name for name, x in self.weights.items() if weights.get(name) != x],
            "left over": strays,
        }
        self.violations += [f"{root.name}: {what}: {sorted(these)}" for what, these in problems.items() if these]
        _, alive = psutil.wait_procs(self.orphans, timeout=ORPHANS_S)
        if alive:
            self.violations.append(f"{root.name}: workers outlived their driver: {alive}")
        self.orphans = []

    def summary(self):
        how = ", ".join(f"{name} {count}" for name, count in self.how.most_common())
        good = "nothing lost, doubled, different or left over" if not self.violations else "VIOLATIONS"
        return f"seed {self.seed}: {self.how.total()} kills in {self.sweeps} sweeps ({how}): {good}"


def workers_of(process):
    """The worker processes under ``process``."""
    try:
        children = psutil.Process(process.pid).children(recursive=True)
        servers = {c.pid for c in children if "forkserver" in " ".join(c.cmdline())}
        return [c for c in children if c.ppid() in servers or "spawn_main" in " ".join(c.cmdline())]
    except psutil.Error:
        return []


@click.command()
@click.option("--kills", type=click.IntRange(min=1), default=60, show_default=True)
@click.option("--seed", type=int, default=lambda: int.from_bytes(os.urandom(3)), help="Of the moments; random.")
@click.option("--drive", "root", hidden=True, help="Run the sweep into this folder, and kill nothing.")
def soak(kills, seed, root):
    """Kill sweeps KILLS times; status 1 when anything was lost, doubled, different or left over."""
    if root:
        try:
            sweep(experiments(), Store(root), progress=False, resources=Resources(workers=2, gpus=0, retries=1000))
        except UserError as error:
            click.echo(error, err=True)
            sys.exit(getattr(error, "exit_status", 2))
        return
    with tempfile.TemporaryDirectory(prefix="tinynet-soak-") as folder:
        os.environ.setdefault("TINYNET_CACHE", f"{folder}/cache")
        fire = Soak(Path(folder), kills, seed)
        fire.run()
    for violation in fire.violations:
        click.echo(violation, err=True)
    click.echo(fire.summary())
    sys.exit(bool(fire.violations))


if __name__ == "__main__":
    soak()
