"""Prints, as JSON, what must be the same on every machine: run by ``test_machines.py`` in processes of its own."""

import json
import sys
import warnings

import numpy as np

from tinynet_core import Study, shrink
from tinynet_core.data.drawn import probe_hash
from tinynet_core.networks import SCALABLE, network
from tinynet_core.scaling.solve import UnreachableBudget
from tinynet_core.study.pages import plan, stages
from tinynet_core.study.series import shrunk

SHARES = (0.03, 0.05, 0.08, 0.125, 0.2, 0.25, 0.4, 0.5, 0.7, 0.9)


def inverse():
    """What does differ between kernels of OpenBLAS."""
    return np.linalg.inv(np.random.default_rng(0).normal(size=(200, 200))).tobytes().hex()


def plans():
    """The ordered keys of all that every preset plans; what follows from a formula is planned on published records."""
    keys = {}
    for name in ("smoke", "imagenet1k"):  # the latter plans the samples of imagenet100
        first, after = plan(Study(name))
        keys[name] = [task.key for task in (*first, *after)]
    keys["reduced"] = [task.key for stage in stages(Study("reduced")) for task in stage]
    return keys


def triples():
    """The sampled scales of each preset that has a sample of its own."""
    presets = [Study(name).preset for name in ("smoke", "reduced", "imagenet100")]
    samples = [(preset.random_experiments(), preset.equal_cost_experiments()) for preset in presets]
    return [[(e.scale.r, e.scale.d, e.scale.w) for e in sample] for pair in samples for sample in pair]


def chosen():
    """The frontier of the published sample, and r and d of its formula as they name networks."""
    study = Study("reduced")
    sample = study.sample()
    rows = [row for row, kept in enumerate(sample.models.frontier) if kept]
    found = [shrunk(study.preset, c, "formula", sample.formula) for c in SHARES]
    return {"frontier": rows, "formula": [str(experiment.scale) for experiment in found]}


def shrunken():
    """Every family at ten budgets by the methods behind which is a fit or a power: scales, and costs of networks."""
    found = {}
    for name in (name for name in SCALABLE if not name.endswith("_hswish")):  # another activation costs the same
        whole = network(name).complexity().macs
        asked = [{"macs": round(share * whole)} for share in SHARES]
        asked += [{"params": 2.6e6}] * (name == "efficientnet_b0")  # which the formula meets on a grid of fractions
        for method in ("formula", "giant"):
            for budget in asked:
                try:
                    scale = shrink(name, method=method, **budget).scale
                    answer = [scale.r, scale.d, scale.w, network(name, scale).complexity().macs]
                except UnreachableBudget as refusal:
                    answer = str(refusal)
                found[f"{name} {method} {budget}"] = answer
    return found


def images():
    """Hashes of the probe images of every data set that the package draws for a preset."""
    presets = [Study(name).preset for name in ("smoke", "reduced")]
    return [
        probe_hash(dataset)
        for preset in presets
        for dataset in (preset.dataset, preset.close.dataset, preset.detection.dataset)
    ]


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    facts = {found.__name__: found() for found in (inverse, plans, triples, chosen, shrunken, images)}
    json.dump(facts, sys.stdout, sort_keys=True, indent=0)
