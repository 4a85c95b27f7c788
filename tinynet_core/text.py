"""What the ``tinynet`` command prints: architecture, costs, shrinking and plans, as text and as JSON."""

import json
from dataclasses import asdict

from tinynet_core.networks.spec import CostedRow, Specification
from tinynet_core.scaling.shrink import Shrunk

UNITS = {"macs": "MACs", "params": "parameters", "peak_activations": "peak activations", "latency_ms": "ms of latency"}


def architecture(rows: list[CostedRow]) -> str:
    """An architecture table, one line a row."""
    lines = [
        f"{'input':<14}{'operator':<26}{'kernel':>6}{'stride':>8}{'repeats':>9}{'channels':>10}{'MACs':>15}{'params':>13}"
    ]
    for x in rows:
        row = x.row
        size, operator = f"{x.side}x{x.side}x{x.c_in}", row.operator + row.squeeze * " + SE"
        lines.append(
            f"{size:<14}{operator:<26}{row.kernel:>6}{row.stride:>8}{row.repeats:>9}{row.channels:>10}"
            f"{x.macs:>15,}{x.params:>13,}"
        )
    return "\n".join(lines)


def shrunk_text(result: Shrunk, whole: Specification, source: str) -> str:
    """A shrunk network beside the ``whole`` one; ``source`` says what the formula was fitted on."""
    before, after, spec, scale = whole.complexity(), result.complexity, result.network, result.scale
    by = f"the tiny formula, fitted on {source}" if source else f"method {result.method}"
    wanted = f"{result.wanted:,.10g} {UNITS[result.budget]}"
    uncertain = {k: f" +- {x:.2g}" for k, x in (("r", result.r_std), ("d", result.d_std)) if x is not None}
    lines = [f"{spec.name} shrunk to {wanted} by {by}", "", f"{'':<18}{'whole':>16}{'shrunk':>16}"]
    lines += [f"{k:<18}{1:>16}{getattr(scale, k):>16.10g}{uncertain.get(k, '')}" for k in "rdw"]
    lines.append(f"{'input (pixels)':<18}{whole.resolution:>16}{spec.resolution:>16}")
    for key, label in (("macs", "MACs"), ("params", "parameters"), ("peak_activations", "peak activations")):
        x, y = getattr(before, key), getattr(after, key)
        lines.append(f"{label:<18}{x:>16,}{y:>16,}  {y / x:.1%}")
    if result.budget == "latency_ms":
        lines.append(f"{'latency (ms)':<18}{'':>16}{result.cost:>16.3g}")
    lines.append(f"{'off the budget':<18}{'':>16}{result.error:>+16.1%}")
    if uncertain:
        lines.append("+- is one standard deviation of the formula's posterior for a new model")
    rows = spec.rows()
    return "\n".join([*lines, "", architecture(rows)] if rows else lines)


def shrunk_json(result: Shrunk, source: str, head: str | None, classes: int) -> str:
    """A shrunk network as JSON; counts are whole numbers, latency is in milliseconds."""
    cost, spec = result.complexity, result.network
    return json.dumps(
        {
            "network": spec.name,
            "head": head,
            "classes": classes,
            "method": result.method,
            "formula": source or None,
            "budget": {"kind": result.budget, "wanted": result.wanted, "cost": result.cost, "error": result.error},
            "scale": asdict(result.scale),
            "std": {"r": result.r_std, "d": result.d_std},
            "resolution": spec.resolution,
            "macs": cost.macs,
            "params": cost.params,
            "activations": cost.activations,
            "peak_activations": cost.peak_activations,
            "stages": [
                {"side": x.side, "channels_in": x.c_in, **x.row._asdict(), "macs": x.macs, "params": x.params}
                for x in spec.rows()
            ],
        },
        indent=1,
    )
