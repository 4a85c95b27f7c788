"""Train a preset's networks of Table 3 and the first of its random models: what they reached, in book/calibration.csv.

    python benchmarks/calibrate.py reduced --models 100

Records are kept in the preset's store, so the script can be stopped and started again; `make bench` leaves it out.
"""

import click
import pandas as pd

import tinynet_core as tn
from tinynet_core.presets import project_root

COLUMNS = ["preset", "role", "model", "seed", "r", "d", "w", "resolution", "macs", "params", "top1", "raw_top1"]
COLUMNS += ["wall_s", "status", "commit", "clean", "device"]


@click.command()
@click.argument("preset", default="reduced")
@click.option("--models", type=click.IntRange(min=1), default=100, show_default=True)
@click.option("--store", default="", help="Folder of records; the preset's own by default.")
def main(preset: str, models: int, store: str) -> None:
    """Train and write the table."""
    study = tn.Study(preset, store)
    random = study.frame(study.preset.random_experiments()[:models]).assign(role="random", model="")
    compared = study.named_frame(study.series("table3")).assign(role="compared")
    frame = pd.concat([compared, random]).assign(preset=study.preset.name)
    path = project_root() / "book" / "calibration.csv"
    frame[COLUMNS].round(4).to_csv(path, index=False)
    click.echo(f"{len(frame)} runs written to {path}")


if __name__ == "__main__":
    main()
