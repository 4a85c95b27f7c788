"""Keys, samples, shrunk networks and images do not depend on processor, BLAS, threads, libm or locale."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import which

import numpy as np
import pytest
from conftest import ROOT

SCRIPT = Path(__file__).with_name("machine_facts.py")
KERNELS = {"Prescott": "SSE3", "Nehalem": "SSE42", "Sandybridge": "AVX", "Haswell": "AVX2", "Zen": "AVX2"}
"""Kernels of OpenBLAS, and what a processor needs to run them, as NumPy calls it."""


def features():
    """What this processor can do."""
    core = np._core._multiarray_umath
    return {name for name, there in core.__cpu_features__.items() if there}, set(core.__cpu_dispatch__)


def machines():
    """Environments that compute as other machines do, by name; every kernel of OpenBLAS that runs here."""
    able, dispatched = features()
    kernels = [name for name, needed in KERNELS.items() if needed in able]
    kernels += ["SkylakeX"] if {"X86_V4", "AVX512_SKX"} & able else []
    found = {name: {"OPENBLAS_CORETYPE": name, "OMP_NUM_THREADS": str(1 + i % 2)} for i, name in enumerate(kernels)}
    plain = {
        "NPY_DISABLE_CPU_FEATURES": " ".join(sorted(able & dispatched)),
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-FMA,-FMA4,-AVX2",
        "LC_ALL": "C",
    }
    for name in kernels[:2]:
        found[name] |= plain
    return found


def facts(environment, python=sys.executable):
    done = subprocess.run(
        [python, str(SCRIPT)],
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **environment},
        capture_output=True,
        check=True,
        text=True,
    )
    return json.loads(done.stdout)


def other_pythons():
    """Further interpreters on the path that have what the package needs."""
    found = [path for minor in range(11, 16) if (path := which(f"python3.{minor}"))]
    needs = "import sys, numpy, sklearn, pymoo, pydantic, timm; print(sys.executable)"
    runs = [subprocess.run([path, "-c", needs], capture_output=True, text=True) for path in found]
    return [run.stdout.strip() for run in runs if run.returncode == 0 and run.stdout.strip() != sys.executable]


def test_all_machines_ask_for_the_same_records():
    """What names a record, and what a reader is told of a network, is the same in every environment."""
    runs = [({}, sys.executable), *((e, sys.executable) for e in machines().values())]
    runs += [({}, python) for python in other_pythons()]
    with ThreadPoolExecutor(2) as pool:
        here, *others = pool.map(lambda run: facts(*run), runs)
    assert len(others) >= 2 or sys.platform != "linux"
    for (environment, python), there in zip(runs[1:], others, strict=True):
        for name, fact in here.items():
            assert there[name] == fact, (name, environment, python)


def test_the_environments_do_compute_otherwise():
    """Otherwise the test above says nothing: a power or a product differs in its last digits."""
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        pytest.skip("the environments are of x86 processors")
    code = """
import numpy as np
rng = np.random.default_rng(0)
a = rng.normal(size=(200, 200)); base, power = rng.uniform(1, 2, 20000), rng.uniform(-9, 9, 20000)
print(np.linalg.inv(a).tobytes().hex()[:4000], sum(b**p for b, p in zip(base.tolist(), power.tolist())).hex())
"""
    environments = [{}, *machines().values()]
    outputs = {
        subprocess.run([sys.executable, "-c", code], env=e, capture_output=True, check=True).stdout
        for e in environments
    }
    assert len(outputs) > 1
