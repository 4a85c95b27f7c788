"""Studies on many devices."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from tinynet_book.figures.style import BLUE, ORANGE, RED


def makespan_against_devices(cases: Mapping[str, Mapping[int, float]], ideal_h: float) -> Figure:
    """Hours of a study by number of GPUs, one line for each of ``cases``, and the same as a multiple of the ideal.

    ``ideal_h`` is the time on one GPU.
    """
    figure, panels = plt.subplots(1, 2, figsize=(12, 4.5))
    devices = np.array(sorted({n for case in cases.values() for n in case}))
    panels[0].plot(devices, ideal_h / devices, "--", color="0.4", label="ideal")
    panels[1].axhline(1, linestyle="--", color="0.4")
    for (name, case), colour, marker in zip(cases.items(), (BLUE, ORANGE), "os", strict=True):
        n, hours = np.array([*case]), np.array([*case.values()])
        panels[0].plot(n, hours, marker=marker, markersize=5, color=colour, label=name)
        panels[1].plot(n, hours * n / ideal_h, marker=marker, markersize=5, color=colour)
    for axes, label in zip(panels, ("hours until the last run ends", "times the ideal hours"), strict=True):
        axes.set(xlabel="GPUs", ylabel=label, yscale="log")
        axes.set_xscale("log", base=2)
        axes.set_xticks(devices, [str(x) for x in devices])
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
    panels[0].legend(loc="lower left", fontsize="small")
    figure.tight_layout()
    return figure


def waste_against_interval(
    intervals_s: Sequence[float], panels: Mapping[str, tuple[Sequence[float], Sequence[float], float]]
) -> Figure:
    """Share of the time that trains nothing against the work between two checkpoints.

    Each of ``panels``: the share for each of ``intervals_s``, that of the checkpoints alone, and Young's interval.
    """
    figure, many = plt.subplots(1, len(panels), figsize=(5.5 * len(panels), 4.2), squeeze=False, layout="constrained")
    minutes = np.asarray(intervals_s) / 60
    for axes, (title, (shares, writing, young)) in zip(many[0], panels.items(), strict=True):
        axes.plot(minutes, 100 * np.asarray(shares), color=RED, label="checkpoints and failures")
        axes.plot(minutes, 100 * np.asarray(writing), "--", color=ORANGE, label="checkpoints alone")
        axes.axvline(young / 60, color="0.4", linestyle=":", label="Young's interval")
        axes.set(xlabel="work between two checkpoints (minutes)", title=title, xscale="log", ylim=(0, None))
        axes.xaxis.set_major_formatter("{x:g}")
    many[0, 0].set(ylabel="time that trains nothing (% of all)")
    many[0, 0].legend(fontsize="small")
    return figure
