import os
import random
import signal
import time

import pytest
from soak import Soak, left_by, start

KILLS = 2


@pytest.fixture(scope="module")
def fire(tmp_path_factory):
    """The reference sweep, which nobody disturbs, and what kills others."""
    return Soak(tmp_path_factory.mktemp("kills"), KILLS, random.SystemRandom().randrange(2**24))


def test_kills_lose_nothing(fire):
    fire.run(progress=False)
    print(fire.summary())
    assert fire.violations == []
    assert fire.how.total() == KILLS


def test_sigterm_to_all_its_processes_ends_the_command_cleanly(fire, tmp_path):
    log, root = tmp_path / "log", tmp_path / "store"
    process = start(root, log)
    while not list(root.glob("checkpoints/*.pt")):
        assert process.poll() is None
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait() == 128 + signal.SIGTERM
    lines = log.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1  # no traceback of anybody
    assert lines[0].startswith("stopped by SIGTERM: ")
    assert lines[0].endswith("the same command goes on from the checkpoints")
    assert not list(root.glob("checkpoints/*.tmp"))
    assert left_by(root)[0].items() <= fire.reference.items()
