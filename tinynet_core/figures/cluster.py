"""Simulated studies on many devices."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from tinynet_core.figures.style import BLUE, GREEN, ORANGE, RED


def makespan_against_devices(cases: dict[str, pd.DataFrame], ideal_h: float, repetitions: int) -> Figure:
    """Wall time of a study on more and more GPUs, one line for each of ``cases`` (``simulation.summary``).

    ``ideal_h`` is the time on one GPU that never fails and never waits. Left the hours, right how many times the ideal.
    """
    figure, panels = plt.subplots(1, 2, figsize=(12, 4.5))
    devices = np.unique(np.concatenate([case.devices for case in cases.values()]))
    panels[0].plot(devices, ideal_h / devices, "--", color="0.4", label="ideal")
    panels[1].axhline(1, linestyle="--", color="0.4")
    for (name, case), colour, marker in zip(cases.items(), (BLUE, ORANGE, GREEN), "osD", strict=False):
        for axes, scale in zip(panels, (1.0, case.devices / ideal_h), strict=True):
            axes.fill_between(
                case.devices, case.low_h * scale, case.high_h * scale, color=colour, alpha=0.3, linewidth=0
            )
            axes.plot(case.devices, case.makespan_h * scale, marker=marker, markersize=5, color=colour, label=name)
    for axes, label in zip(panels, ("hours until the last run ends", "times the ideal hours"), strict=True):
        axes.set(xlabel="GPUs", ylabel=f"{label}\n(mean, 5th to 95th percentile, n = {repetitions})", yscale="log")
        axes.set_xscale("log", base=2)
        axes.set_xticks(devices, [str(x) for x in devices])
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
    panels[0].legend(loc="lower left", fontsize="small")
    figure.tight_layout()
    return figure


def waste_against_interval(panels: dict[str, tuple[pd.DataFrame, float]], repetitions: int) -> Figure:
    """Share of the paid time that trains nothing, by cause, against the work between two checkpoints.

    Each of ``panels`` is a ``simulation.summary`` over intervals in seconds, and Young's interval in seconds.
    """
    causes = {"checkpoints": ORANGE, "lost": RED, "restarts": BLUE, "away": "0.5", "idle": "0.8"}
    labels = ("checkpoints", "work lost", "restarts", "nodes away", "idle")
    figure, many = plt.subplots(1, len(panels), figsize=(5.5 * len(panels), 4.4), squeeze=False, layout="constrained")
    for axes, (title, (shares, young)) in zip(many[0], panels.items(), strict=True):
        minutes = shares.index.to_numpy(dtype=float) / 60
        heights = [100 * shares[cause] for cause in causes]
        axes.stackplot(minutes, heights, labels=labels, colors=list(causes.values()), linewidth=0)
        axes.axvline(young / 60, color="k", linestyle="--", label="Young's interval")
        axes.set(xlabel="work between two checkpoints (minutes)", title=title, xscale="log")
        axes.set_xlim(minutes.min(), minutes.max())
        axes.xaxis.set_major_formatter("{x:g}")
    many[0, 0].set(ylabel=f"share of the paid GPU-hours (%)\nmean of n = {repetitions}")
    figure.legend(*many[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=6, fontsize="small")
    return figure
