"""The claims ledger: what the paper says, what was measured here, on what evidence, and whether the two agree."""

import json
import math
import os
from functools import cache
from pathlib import Path
from typing import Literal

import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, Field

from tinynet_book.paper.cells import cell_claims
from tinynet_core.study.store import Store, StoreError

Evidence = Literal["recomputed", "measured", "released weights", "trained", "proxy", "quoted"]
Verdict = Literal["matches", "within tolerance", "differs", "not attempted"]


class Claim(BaseModel):
    """One number or sentence of the paper; ``digits`` of a number are its printed decimals where they are not seen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    source: str
    statement: str
    paper: bool | float
    unit: str = ""
    digits: int | None = None
    tolerance: float = Field(0.0, ge=0)
    notebook: str


class Finding(BaseModel):
    """What was measured for a claim; ``value`` None means it could not be, and ``note`` says why.

    ``low`` and ``high`` are the ends of the 95% interval of a number, where it has one. ``estimate`` is a number that
    was measured and does not decide, where ``value`` is None. No ``evidence`` says that nothing was measured.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: bool | float | None
    evidence: Evidence | Literal[""]
    note: str = ""
    records: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    estimate: float | None = None


@cache
def claims() -> dict[str, Claim]:
    """All claims by id: the sentences and derived numbers of ``claims.yaml``, and every cell of Tables 1 to 7."""
    written = yaml.safe_load((Path(__file__).parent / "claims.yaml").read_text(encoding="utf-8"))
    return {claim.id: claim for claim in map(Claim.model_validate, [*written, *cell_claims()])}


def verdict(claim: Claim, value: bool | float | None) -> Verdict:
    """``matches``: the same truth value, or the same number at the precision the paper prints."""
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
    """Whether an interval tells if ours differs from a number of the paper.

    It does where both ends agree with the paper, exactly or within tolerance, or where both differ on the same side.
    """
    if math.isnan(low) or math.isnan(high):
        return False
    differ = [verdict(claim, end) == "differs" for end in (low, high)]
    return not any(differ) or (all(differ) and not low <= claim.paper <= high)


def write_claims(store: Store, notebook: str, findings: dict[str, Finding]) -> pd.DataFrame:
    """Keep the ``findings`` of one notebook beside its records and return them as a table.

    Raises ``ValueError``, and writes nothing, unless they are exactly the claims that name this notebook, and each a
    truth value or a number as its claim is.
    """
    expected = {claim.id for claim in claims().values() if claim.notebook == notebook}
    if set(findings) != expected:
        raise ValueError(
            f"{notebook} must give findings for {sorted(expected)}: "
            f"missing {sorted(expected - set(findings))}, unknown {sorted(set(findings) - expected)}"
        )
    for key, finding in findings.items():
        verdict(claims()[key], finding.value)
    path = findings_path(store.root, notebook)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(f".{os.getpid()}.tmp")
    scratch.write_text(
        json.dumps({key: f.model_dump() for key, f in findings.items()}, indent=1) + "\n", encoding="utf-8"
    )
    scratch.rename(path)
    mine = ledger(store).query("notebook == @notebook").set_index("source")
    return mine[["statement", "verdict", "paper", "ours", "interval", "evidence", "note"]]


def findings_path(store: Path, notebook: str) -> Path:
    """The file in the folder ``store`` of the findings of a notebook, given by its name without the suffix."""
    return store / "claims" / f"{notebook}.json"


def ledger(store: Store) -> pd.DataFrame:
    """Every claim with its finding in ``store``; those without one are ``not attempted``."""
    found: dict[str, Finding] = {}
    for path in sorted((store.root / "claims").glob("*.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            found |= {key: Finding.model_validate(value) for key, value in content.items()}
        except (ValueError, AttributeError) as error:
            reason = str(error).splitlines()[0]
            raise StoreError(f"findings {path} are damaged ({reason}): delete the file and run its notebook") from error
    rows = []
    for claim in claims().values():
        finding = found.get(claim.id)
        value = finding.value if finding else None
        rows.append(
            {
                "id": claim.id,
                "source": claim.source,
                "statement": claim.statement,
                "paper": _text(claim.paper, claim.unit, claim.digits),
                "ours": _ours(finding, claim.unit),
                "interval": "" if finding is None else _interval(finding.low, finding.high),
                "tolerance": f"{claim.tolerance:.3g}" if claim.tolerance else "",
                "evidence": finding.evidence if finding else "",
                "verdict": verdict(claim, value),
                "note": finding.note if finding else "its notebook was not run",
                "notebook": claim.notebook,
                "records": " ".join(finding.records) if finding else "",
            }
        )
    return pd.DataFrame(rows)


def _ours(finding: Finding | None, unit: str) -> str:
    """The value, or in parentheses an estimate that decides nothing."""
    if finding is None:
        return ""
    estimate = _text(finding.estimate, unit)
    return _text(finding.value, unit) or (f"({estimate})" if estimate else "")


def _text(value: bool | float | None, unit: str, digits: int | None = None) -> str:
    if value is None or math.isnan(value):
        return ""
    if isinstance(value, bool):
        return "holds" if value else "does not hold"
    shown = f"{value:.4g}" if digits is None else f"{value:.{max(digits, 0)}f}"
    return f"{shown} {unit}".strip()


def _interval(low: float | None, high: float | None) -> str:
    """Both ends with four digits, or nothing."""
    return "" if low is None or high is None else f"[{low:.4g}, {high:.4g}]"
