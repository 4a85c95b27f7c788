"""Train a preset's baseline and the first of its random models, and write what they reached to book/calibration.csv.

    python benchmarks/calibrate.py reduced --models 100

Records are kept in the preset's store, so the script can be stopped and started again; `make bench` leaves it out.
"""

import click

import tinynet_core as tn
from tinynet_core.presets import project_root

COLUMNS = ["role", "r", "d", "w", "resolution", "macs", "params", "top1", "raw_top1"]
COLUMNS += ["wall_s", "status", "commit", "clean", "device"]


@click.command()
@click.argument("preset", default="reduced")
@click.option("--models", type=click.IntRange(min=1), default=100, show_default=True)
@click.option("--store", default="", help="Folder of records; runs/PRESET by default.")
def main(preset: str, models: int, store: str) -> None:
    """Train and write the table."""
    study = tn.Study(preset, store)
    experiments = [study.preset.experiment(tn.Scale()), *study.preset.random_experiments()[:models]]
    frame = study.frame(experiments)
    frame.insert(0, "role", ["baseline", *["random"] * (len(frame) - 1)])
    frame.insert(0, "preset", study.preset.name)
    path = project_root() / "book" / "calibration.csv"
    frame[["preset", *COLUMNS]].round(4).to_csv(path, index=False)
    click.echo(f"{len(frame)} models written to {path}")


if __name__ == "__main__":
    main()
