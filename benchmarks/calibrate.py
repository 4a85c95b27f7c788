"""Train what book/calibration.md tells of, with its records in results/calibration; stopped, it goes on where it was.

    python benchmarks/calibrate.py lengths

`make bench` leaves it out: it takes an hour on two cores.
"""

import click

import tinynet_core as tn
from tinynet_book.analysis import calibration
from tinynet_core.study.presets import load_preset, project_root

PARTS = {
    "lengths": lambda preset: [e for runs in calibration.lengths(preset).values() for e in runs],
    "graded": lambda preset: [e for runs in calibration.graded(preset).values() for e in runs],
    "variants": lambda preset: [
        e for networks in calibration.variants(preset).values() for runs in networks.values() for e in runs
    ],
    "scattered": calibration.scattered,
    "resnets": lambda preset: [e for runs in calibration.resnets(preset).values() for e in runs],
    "others": lambda preset: [e for runs in calibration.others(preset).values() for e in runs],
}


@click.command()
@click.argument("parts", type=click.Choice([*PARTS]), nargs=-1, required=True)
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True)
def main(parts: tuple[str, ...], workers: int) -> None:
    """Train the named parts."""
    preset = load_preset("creatures")
    store = tn.Store(project_root() / "results" / "calibration")
    for part in parts:
        tn.sweep(PARTS[part](preset), store, workers=workers)


if __name__ == "__main__":
    main()
