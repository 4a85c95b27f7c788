"""Keys, samples, shrunk networks and images do not depend on processor, BLAS, threads, libm or locale."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

SCRIPT = Path(__file__).with_name("machine_facts.py")
ABLE = " ".join(name for name in __cpu_dispatch__ if __cpu_features__[name])
OLD = {
    "OPENBLAS_CORETYPE": "Prescott",
    "OMP_NUM_THREADS": "1",
    "NPY_DISABLE_CPU_FEATURES": ABLE,
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-FMA,-FMA4,-AVX2",
    "LC_ALL": "C",
}
"""An environment that computes as an old processor does; its libm has no FMA and gives powers other last digits."""


def output(command, environment):
    known = {
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'book'}",
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", "/"),
    }
    done = subprocess.run(
        [sys.executable, *command], env=known | environment, capture_output=True, check=True, encoding="utf-8"
    )
    return done.stdout


def test_all_machines_ask_for_the_same_records():
    """What names a record, and what a reader is told of a network, is the same."""
    with ThreadPoolExecutor(2) as pool:
        here, there = (json.loads(x) for x in pool.map(lambda e: output([str(SCRIPT)], e), [{}, OLD]))
    for name, fact in here.items():
        assert there[name] == fact, name


@pytest.mark.skipif(not __cpu_features__.get("AVX2"), reason="this processor is as old ones are")
def test_the_environment_does_compute_otherwise():
    """Otherwise the test above says nothing."""
    code = "import numpy as np; print(np.linalg.inv(np.random.default_rng(0).normal(size=(200, 200))).tobytes().hex())"
    here = np.linalg.inv(np.random.default_rng(0).normal(size=(200, 200))).tobytes().hex()
    assert output(["-c", code], OLD).strip() != here
