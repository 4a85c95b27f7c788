"""Keys, samples, shrunk networks and images do not depend on processor, BLAS, threads, libm or locale."""

import json
import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from conftest import ROOT

SCRIPT = Path(__file__).with_name("machine_facts.py")
CORE = np._core._multiarray_umath
ABLE = {name for name, there in CORE.__cpu_features__.items() if there}
VECTORS = " ".join(sorted(ABLE & set(CORE.__cpu_dispatch__)))
MACHINES = {
    "Prescott": ("SSE3", {"NPY_DISABLE_CPU_FEATURES": VECTORS, "OMP_NUM_THREADS": "1"}),
    "Haswell": ("AVX2", {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-FMA,-FMA4,-AVX2", "OMP_NUM_THREADS": "2"}),
    "SkylakeX": ("AVX512_SKX", {"LC_ALL": "C", "OMP_NUM_THREADS": "1"}),
}
"""Kernels of OpenBLAS, what a processor needs to run them, and what else is of another machine: vector units, a libm
without FMA, whose powers have other last digits, and the locale."""


def machines():
    return [{"OPENBLAS_CORETYPE": name, **more} for name, (needed, more) in MACHINES.items() if needed in ABLE]


def facts(environment):
    known = {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'book'}", "HOME": os.environ.get("HOME", "/")}
    known |= {"PATH": os.environ["PATH"], **environment}
    return json.loads(subprocess.check_output([sys.executable, SCRIPT], env=known, encoding="utf-8"))


def test_all_machines_ask_for_the_same_records():
    """What names a record, and what a reader is told of a network, is the same in every environment."""
    with ThreadPoolExecutor(2) as pool:
        here, *others = found = [*pool.map(facts, [{}, *machines()])]
    inverses = {x.pop("inverse") for x in found}
    if sys.platform == "linux" and platform.machine() == "x86_64":
        assert len(inverses) > 1, "the environments compute alike, so this test says nothing"
    for machine, there in zip(machines(), others, strict=True):
        for name, fact in here.items():
            assert there[name] == fact, (name, machine)
