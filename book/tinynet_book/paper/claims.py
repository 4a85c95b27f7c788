"""The claims ledger: what the paper says, what was estimated here, on what evidence, and whether the two agree.

Pages supply estimates. Only ``decided`` and ``verdict`` turn an estimate into the verdict on a claim.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, get_args

import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from tinynet_book.analysis.intervals import Interval
from tinynet_book.paper.cells import cell_claims
from tinynet_core.files import write_text
from tinynet_core.study.store import Store, StoreError

Evidence = Literal["recomputed", "measured", "trained", "released weights", "third party", "proxy", "quoted"]
"""Kinds of evidence, from the strongest to the weakest."""
THIRD_PARTY = "third party"
Verdict = Literal["matches", "within tolerance", "differs", "not attempted"]


class Claim(BaseModel):
    """One number or sentence of the paper. ``digits``: printed decimals, where the number itself does not show them.

    A sentence holds if the whole interval of its quantity lies between ``above`` and ``below``. ``notebook`` is the
    page that checks the claim. ``public`` is the page that compares it with third parties' measurements, or empty.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    source: str
    statement: str
    paper: bool | float
    unit: str = ""
    digits: int | None = None
    tolerance: float = Field(0.0, ge=0)
    above: float = 0.0
    below: float = math.inf
    notebook: str
    public: str = ""

    def page(self, evidence: str) -> str:
        """Return the notebook that gives the finding for this kind of evidence."""
        return self.public if self.public and evidence == THIRD_PARTY else self.notebook


@dataclass(frozen=True, slots=True)
class Estimate:
    """The result of a page for a claim.

    ``found`` is a number or its ``Interval``. For a sentence it is a truth value, the ``Interval`` of its quantity, or
    several intervals that must all agree. If ``found`` is None, ``note`` says why. ``open`` is the reason why the
    estimate may not decide the claim. ``most`` is the largest number that is possible here.
    """

    found: bool | float | Interval | Sequence[Interval] | None
    evidence: Evidence | Literal[""]
    note: str = ""
    records: tuple[str, ...] = ()
    open: str = ""
    most: float = math.inf


class Finding(BaseModel):
    """The stored form of an estimate. If ``value`` is None, the claim stays open, and ``note`` says why.

    ``low`` and ``high`` are the ends of the 95% interval; for numbers of third parties often the ends of their range.
    ``estimate`` is a number that was found but does not decide the claim.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: bool | float | None
    evidence: Evidence | Literal[""]
    note: str = ""
    records: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    estimate: float | None = None


_FINDINGS = TypeAdapter(dict[str, Finding])


@cache
def claims() -> dict[str, Claim]:
    """Return all claims by id: sentences and derived numbers of ``claims.yaml``, and every cell of Tables 1 to 7."""
    written = yaml.safe_load((Path(__file__).parent / "claims.yaml").read_text(encoding="utf-8"))
    return {claim.id: claim for claim in map(Claim.model_validate, [*written, *cell_claims()])}


def verdict(claim: Claim, value: bool | float | None) -> Verdict:
    """Return the verdict. ``matches``: the same truth value, or the same number at the printed precision."""
    if value is None or math.isnan(value):
        return "not attempted"
    if isinstance(claim.paper, bool) or isinstance(value, bool):
        if not (isinstance(claim.paper, bool) and isinstance(value, bool)):
            raise ValueError(f"claim {claim.id} needs a {type(claim.paper).__name__}, got {value!r}")
        return "matches" if value == claim.paper else "differs"
    digits = len(f"{claim.paper:g}".partition(".")[2]) if claim.digits is None else claim.digits
    if round(value, digits) == claim.paper:
        return "matches"
    return "within tolerance" if abs(value - claim.paper) <= claim.tolerance else "differs"


def settled(claim: Claim, low: float, high: float) -> bool:
    """Return whether an interval is narrow enough to decide if our number differs from the paper's.

    This is so if both ends agree with the paper (exactly or within tolerance), or if both differ on the same side.
    """
    if math.isnan(low) or math.isnan(high):
        return False
    differ = [verdict(claim, end) == "differs" for end in (low, high)]
    return not any(differ) or (all(differ) and not low <= claim.paper <= high)


def decided(claim: Claim, estimate: Estimate) -> tuple[bool | float | None, str]:
    """Return the value that decides a claim, or None with the reason why the claim stays open."""
    found = estimate.found
    if estimate.open or found is None:
        return None, estimate.open
    if isinstance(found, bool | float | int):
        return found, ""
    intervals = [found] if isinstance(found, Interval) else [*found]
    if isinstance(claim.paper, bool):
        if any(x.high < claim.above or x.low > claim.below for x in intervals):
            return False, ""
        holds = bool(intervals) and all(claim.above < x.low and x.high <= claim.below for x in intervals)
        return (True, "") if holds else (None, "the interval leaves both answers possible")
    (number,) = intervals
    if estimate.most < claim.paper:
        return None, f"at most {estimate.most:.1f} could be had here, no room for the paper's number"
    told = settled(claim, number.low, number.high)
    return (number.value, "") if told else (None, "too uncertain to compare with the paper's number")


def finding(claim: Claim, estimate: Estimate) -> Finding:
    """Decide the claim by the estimate, and return the finding to store."""
    (value, reason), found = decided(claim, estimate), estimate.found
    note = ". Open: ".join(filter(None, [estimate.note, reason]))
    shown = {"value": value, "evidence": estimate.evidence, "note": note, "records": estimate.records}
    if isinstance(found, Interval):
        shown |= {} if math.isnan(found.low + found.high) else {"low": found.low, "high": found.high}
        shown["estimate"] = found.value if value is None else None
    return Finding.model_validate(shown)


def claim(store: Store, estimates: Mapping[str, Estimate]) -> pd.DataFrame:
    """Store what a page found for its claims, and return the verdicts of the ledger as a table.

    Raises ``ValueError`` and stores nothing unless the estimates cover exactly the claims of one page. Each must be a
    truth value or a number, as its claim is. A claim may have a second page, for third parties' measurements.
    """
    if unknown := sorted(set(estimates) - set(claims())):
        raise ValueError(f"unknown claim {unknown[0]!r}")
    pages = sorted({claims()[key].page(x.evidence) for key, x in estimates.items()})
    if len(pages) != 1:
        raise ValueError(f"estimates must be of the claims of one page, got claims of {pages}")
    return write_claims(store, pages[0], {key: finding(claims()[key], x) for key, x in estimates.items()})


def write_claims(store: Store, notebook: str, findings: Mapping[str, Finding]) -> pd.DataFrame:
    """Store the ``findings`` of one notebook beside its records, and return them as a table. Raises as ``claim``."""
    expected = {claim.id for claim in claims().values() if notebook in (claim.notebook, claim.public)}
    if set(findings) != expected:
        raise ValueError(
            f"{notebook} must give findings for {sorted(expected)}: "
            f"missing {sorted(expected - set(findings))}, unknown {sorted(set(findings) - expected)}"
        )
    for key, found in findings.items():
        verdict(claims()[key], found.value)
    path = findings_path(store.root, notebook)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(_FINDINGS.dump_json(dict(findings), indent=1).decode() + "\n", path)
    mine = [_row(claim, notebook, findings[claim.id]) for claim in claims().values() if claim.id in findings]
    shown = ["statement", "verdict", "paper", "ours", "interval", "evidence", "note"]
    return pd.DataFrame(mine).set_index("source")[shown]


def findings_path(store: Path, notebook: str) -> Path:
    """Return the file in the folder ``store`` with the findings of ``notebook`` (its name without the suffix)."""
    return store / "claims" / f"{notebook}.json"


def ledger(store: Store) -> pd.DataFrame:
    """Return every claim with its findings, strongest evidence first. A claim without one is ``not attempted``."""
    found: dict[str, list[tuple[str, Finding]]] = {}
    for path in sorted((store.root / "claims").glob("*.json")):
        try:
            content = _FINDINGS.validate_json(path.read_bytes())
        except ValueError as error:
            reason = str(error).splitlines()[0]
            raise StoreError(f"findings {path} are damaged ({reason}): delete the file and run its notebook") from error
        for key, finding in content.items():
            found.setdefault(key, []).append((path.stem, finding))
    unknown = Finding(value=None, evidence="", note="its notebook was not run")
    rows, order = [], get_args(Evidence)
    for claim in claims().values():
        mine = found.get(claim.id) or [(claim.notebook, unknown)]
        told = sorted((x for x in mine if x[1].evidence), key=lambda x: order.index(x[1].evidence))
        rows += [_row(claim, page, x) for page, x in told or mine[:1]]
    return pd.DataFrame(rows)


def strongest(ledger: pd.DataFrame) -> pd.DataFrame:
    """Return one row per claim: the finding on the strongest evidence that decides it, or else on the strongest."""
    undecided = ledger.verdict == "not attempted"
    return ledger.loc[undecided.sort_values(kind="stable").index].drop_duplicates("id").sort_index()


def _row(claim: Claim, page: str, found: Finding) -> dict[str, str]:
    estimate = _text(found.estimate, claim.unit)  # in parentheses: does not decide the claim
    return {
        "id": claim.id,
        "source": claim.source,
        "statement": claim.statement,
        "paper": _text(claim.paper, claim.unit, claim.digits),
        "ours": _text(found.value, claim.unit) or (f"({estimate})" if estimate else ""),
        "interval": "" if found.low is None or found.high is None else f"[{found.low:.4g}, {found.high:.4g}]",
        "tolerance": f"{claim.tolerance:.3g}" if claim.tolerance else "",
        "evidence": found.evidence,
        "verdict": verdict(claim, found.value),
        "note": found.note,
        "notebook": page,
        "records": " ".join(found.records),
    }


def _text(value: bool | float | None, unit: str, digits: int | None = None) -> str:
    if value is None or math.isnan(value):
        return ""
    if isinstance(value, bool):
        return "holds" if value else "does not hold"
    shown = f"{value:.4g}" if digits is None else f"{value:.{max(digits, 0)}f}"
    return f"{shown} {unit}".strip()
