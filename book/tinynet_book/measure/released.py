"""The task that evaluates released weights on ImageNet's validation images, and the rows of Table 3 with weights."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import file_digest
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tinynet_book.paper import rows
from tinynet_core.data.imagenet import imagenet_root
from tinynet_core.files import UserError
from tinynet_core.networks import network
from tinynet_core.study.task import Result, Task, cost_of

if TYPE_CHECKING:
    from tinynet_core.study.record import Record
    from tinynet_core.study.study import Study

IMAGENET_VALIDATION = 50_000
"""Validation images of the ILSVRC 2012 classification set."""


class ReleasedEvaluation(Task):
    """Evaluate a network with the weights released by ``library`` on the images in val/ of ``$TINYNET_IMAGENET``.

    The record's ``metrics`` are ``top1`` and ``top5`` as fractions and the number of ``images``. Its provenance has
    the file of the weights with its SHA-256, the library's protocol, and a SHA-256 of the images' names and sizes.
    """

    kind: Literal["released"] = "released"
    network: str
    library: Literal["timm", "torchvision"]

    @property
    def identity(self) -> dict[str, Any]:
        """Content for the key. It includes the network's name, because weights are released under a name."""
        return {**self.model_dump(mode="json"), "resolved": network(self.network).identity()}

    @property
    def label(self) -> str:
        return f"{self.network}, weights released by {self.library}"

    def cost(self) -> dict[str, int]:
        return cost_of(network(self.network))

    @property
    def work(self) -> int:
        return network(self.network).complexity().macs * IMAGENET_VALIDATION

    @property
    def steps(self) -> int:
        from tinynet_book.measure.evaluation import BATCH

        return -(-IMAGENET_VALIDATION // BATCH)

    def perform(self, device: str, root: Path | None, should_stop: Callable[[], bool] | None, compiled: bool) -> Result:
        """Evaluate the weights. A stopped task keeps nothing and starts anew.

        Raises ``UserError`` before it reads any image if the folder, the weights or the protocol do not fit.
        """
        from tinynet_book.measure import evaluation
        from tinynet_core.machine import cores
        from tinynet_core.networks.weights import released_file
        from tinynet_core.training.loop import Interrupted, pick_device

        folder = imagenet_root()
        protocol = evaluation.protocol(self.network, self.library)
        weights = released_file(self.network, self.library)
        module = network(self.network).build(weights=weights)
        images = evaluation.validation_images(folder, protocol.transform)
        start = time.monotonic()
        metrics = evaluation.accuracy(module, images, pick_device(device), cores(), should_stop or (lambda: False))
        if metrics is None:
            raise Interrupted
        with weights.open("rb") as file:
            sha256 = file_digest(file, "sha256").hexdigest()
        sources = {
            "weights": {"file": weights.name, "sha256": sha256},
            "protocol": protocol._asdict() | {"transform": " ".join(str(protocol.transform).split())},
            "images_sha256": evaluation.listing_sha256(images),
            self.library: version(self.library),
        }
        return Result(metrics=metrics, wall_s=time.monotonic() - start, sources=sources)


@dataclass(frozen=True, slots=True)
class Released:
    """Released weights for a row: the ``task`` that evaluates them, who did the ``training``, and a ``note`` on it."""

    task: ReleasedEvaluation
    training: str
    note: str

    @property
    def checks(self) -> bool:
        """Whether their accuracy checks the printed number of the row. Only weights of the authors' training do."""
        return self.training == "the authors'"


def released() -> dict[str, Released]:
    """Return the released weights for rows of Table 3, by the name of the row, in the order of the table."""
    offered = {row["model"]: row for row in rows("released")}
    found = {}
    for row in (row for row in rows("table3") if row["model"] in offered):
        about = offered[row["model"]]
        task = ReleasedEvaluation(network=row["network"], library=about["library"])
        found[row["model"]] = Released(task, about["training"], about["note"])
    return found


def evaluated(study: "Study", evaluate: bool = False) -> "tuple[dict[str, Record], dict[str, str]]":
    """Return records of released weights on ImageNet by row of Table 3, and a reason for every row without a record.

    With ``evaluate``, make the records that are not in the store, on the images of ``$TINYNET_IMAGENET``.
    """
    from tinynet_core.study.sweep import SweepStopped, run

    unknown = "no released weights are known to be of this row"
    found, reasons = {}, {row["model"]: unknown for row in rows("table3")}
    for row, offer in released().items():
        record, reasons[row] = study.store.get(offer.task), "not evaluated on ImageNet"
        if record is None and evaluate:
            try:
                record = run(offer.task, study.store, progress=True)
            except SweepStopped:
                raise
            except UserError as error:
                reasons[row] = str(error)
        if record is not None:
            found[row] = record
            del reasons[row]
    return found, reasons
