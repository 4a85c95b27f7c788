"""Keys, samples, shrunk networks and images do not depend on processor, BLAS, threads, libm or locale."""

import json
import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import which

import numpy as np
import pytest
from conftest import ROOT

SCRIPT = Path(__file__).with_name("machine_facts.py")
KERNELS = {
    "Prescott": {"SSE3"},
    "Nehalem": {"SSE42", "X86_V2"},
    "Sandybridge": {"AVX"},
    "Haswell": {"AVX2"},
    "Zen": {"AVX2"},
    "SkylakeX": {"X86_V4", "AVX512_SKX"},
}
"""Kernels of OpenBLAS, and what a processor needs to run them, as NumPy has called it."""
OTHER_LIBM = {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-FMA,-FMA4,-AVX2"}
"""A libm without FMA, whose powers have other last digits."""


def features():
    """What this processor can do."""
    core = np._core._multiarray_umath
    return {name for name, there in core.__cpu_features__.items() if there}, set(core.__cpu_dispatch__)


def machines():
    """Environments that compute as other machines do, by the kernel of OpenBLAS."""
    able, dispatched = features()
    kernels = [name for name, needed in KERNELS.items() if needed & able]
    others = ({"NPY_DISABLE_CPU_FEATURES": " ".join(sorted(able & dispatched))}, OTHER_LIBM, {"LC_ALL": "C"})
    return {
        name: {"OPENBLAS_CORETYPE": name, "OMP_NUM_THREADS": str(1 + i % 2), **others[i % 3]}
        for i, name in enumerate(kernels)
    }


def facts(environment, python=sys.executable):
    done = subprocess.run(
        [python, str(SCRIPT)],
        env={
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'book'}",
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/"),
            **environment,
        },
        capture_output=True,
        check=True,
        encoding="utf-8",
    )
    return json.loads(done.stdout)


def other_pythons():
    """Further interpreters on the path that have what the package needs."""
    found = [path for minor in range(11, 16) if (path := which(f"python3.{minor}"))]
    needs = "import sys, numpy, sklearn, pymoo, pydantic, timm; print(sys.executable)"
    runs = [subprocess.run([path, "-c", needs], capture_output=True, encoding="utf-8") for path in found]
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


@pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64", reason="the environments are of x86 processors"
)
def test_the_environments_do_compute_otherwise():
    """Otherwise the test above says nothing: an inverse differs with the kernel, a power with the libm."""
    inverse = """
import numpy as np
print(np.linalg.inv(np.random.default_rng(0).normal(size=(200, 200))).tobytes().hex())
"""
    power = """
import random
random.seed(0)
print([random.uniform(1, 2) ** random.uniform(-9, 9) for _ in range(20000)])
"""

    def output(code, environment):
        return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True).stdout

    assert len({output(inverse, {"OPENBLAS_CORETYPE": name}) for name in machines()}) > 1
    if output(power, {}) == output(power, OTHER_LIBM):
        pytest.skip("the C library of this machine computes powers in one way: that environment tells nothing here")
