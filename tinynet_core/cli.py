"""The ``tinynet`` command."""

import json
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from tinynet_core.files import UserError, check_target, exported, write_table
from tinynet_core.networks.family import SCALABLE, AnyFamily, family, network
from tinynet_core.networks.spec import CostedRow, Network, Specification
from tinynet_core.scaling.scale import Scale
from tinynet_core.study.commands import store_group, store_option, sweep_command, train_command, verify_command

if TYPE_CHECKING:
    import pandas as pd

    from tinynet_core.scaling.shrink import Formula, Shrunk

COUNTED = {"macs": "MACs", "params": "parameters", "activations": "activations", "peak_activations": "peak activations"}
SUFFIXES = {"k": 1e3, "M": 1e6, "G": 1e9, "B": 1e9}


def amount(text: str) -> float:
    """Return the count that a text such as 141e6, 100M or 1.8G stands for."""
    digits, factor = (text[:-1], SUFFIXES[text[-1]]) if text[-1:] in SUFFIXES else (text, 1.0)
    try:
        return float(digits) * factor
    except ValueError:
        raise click.BadParameter(f"{text!r} is not an amount such as 141e6, 500k, 100M or 1.8G") from None


def amounts(text: str) -> list[float]:
    """Return the counts in a text of one amount, or of several with commas between them."""
    parts = [x.strip() for x in text.split(",")]
    if len({x[-1:] in SUFFIXES for x in parts}) > 1:
        raise click.BadParameter(f"{text!r}: end each amount with a suffix (1G,2G); write decimals with a point (1.8G)")
    return [amount(x) for x in parts]


def fixed(text: str) -> tuple[str, float]:
    """Return the name and the value of a fixed multiplier, such as r=1."""
    key, _, number = text.partition("=")
    try:
        return {"r": "r", "d": "d", "w": "w"}[key], float(number)
    except (KeyError, ValueError):
        raise click.BadParameter(f"{text!r} is not a multiplier such as r=1 or d=0.8") from None


whole = click.IntRange(min=1)
head_option = click.option("--head", type=click.Choice(["fixed", "scaled"]), help="Whether w scales stem and head too.")
classes_option = click.option("--classes", type=whole, default=1000, show_default=True, help="Number of classes.")
channels_option = click.option(
    "--channels", type=whole, default=3, show_default=True, help="Input channels of your own network."
)


def network_options(command):
    """Add the options for the multipliers and the other properties of a network."""
    pixels = click.option("--resolution", type=whole, help="Input pixels of your own network at r = 1.")
    command = head_option(classes_option(pixels(channels_option(command))))
    for name, what in (("w", "Width"), ("d", "Depth"), ("r", "Resolution")):
        command = click.option(f"--{name}", type=float, help=f"{what} multiplier.")(command)
    return command


class _Interruptible(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            sys.exit(130)  # the status that shells use for an interrupt: 128 + SIGINT


@click.group(cls=_Interruptible, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tinynet-core")
def tinynet() -> None:
    """Cost, shrink, train and compare small networks, and build the book about them."""


@tinynet.command()
@click.argument("name")
@network_options
@click.option("--counters", "others", is_flag=True, help="Print what fvcore, ptflops, thop, calflops and torch count.")
@click.option("--profile", "timed", is_flag=True, help="Time each row on one thread of this CPU with ONNX Runtime.")
def cost(name: str, others: bool, timed: bool, **properties: Any) -> None:
    """Print the exact cost of network NAME, such as tinynet_a, or efficientnet_b0 with --r, --d and --w.
    NAME may be a function of your own, as for tinynet shrink.
    """
    if others and timed:
        raise click.UsageError("--counters and --profile print two tables: ask for one of them")
    spec, times = _network(name, **properties), []
    if others:
        from tinynet_core.networks.counters import counters

        for row in counters(spec):
            difference = f"{row.difference:+,}" if row.prints else ""
            click.echo(f"{row.tool:<25}{row.prints:>22}{difference:>14}  {row.reason}")
        return
    total = spec.complexity()
    click.echo(f"{spec.name}  {spec.scale or ''}  input {spec.resolution} px")
    if timed:
        from tinynet_core.export import profile

        times = profile(spec)
    if rows := spec.rows():
        click.echo(architecture(rows, times))
    for key, label in COUNTED.items():
        click.echo(f"{label:<18}{getattr(total, key):>16,}")


def _network(name: str, r, d, w, head, classes: int, resolution: int | None, channels: int) -> Specification:
    """Return the network called ``name`` at the given multipliers."""
    given = {k: v for k, v in (("r", r), ("d", d), ("w", w)) if v is not None}
    if own := _own(name, head, classes, resolution, channels):
        return own.at(Scale(**given))
    if resolution:
        raise click.UsageError(f"--resolution is for a network of your own; give {name} another --r")
    return network(name, Scale(**given) if given or name in SCALABLE else None, classes, head)


def _own(name: str, head: str | None, classes: int, resolution: int | None, channels: int) -> AnyFamily | None:
    """Return the family in a user's file, or None for a name of this package. Raise for options without effect."""
    if name.endswith(".py"):
        raise click.UsageError(f"{name} may define several functions: add the name of one, {name}:NAME")
    if ":" not in name:
        if channels != 3:
            raise click.UsageError(f"--channels is for a network of your own; {name} has 3 channels")
        return None
    if head or classes != 1000:
        raise click.UsageError(f"--head and --classes are for networks of this package; {name} is your own network")
    from tinynet_core.networks.own import from_file

    return from_file(name, resolution, channels)


@tinynet.command("shrink")
@click.argument("name")
@click.option("--macs", type=amounts, help="Budget of multiply-adds: 100M or 1.8G. Several, 1G,2G, make a table.")
@click.option("--params", type=amount, help="Budget of parameters: 2.5M.")
@click.option("--peak-activations", type=amount, help="Budget of elements in input and output of the largest layer.")
@click.option("--latency", "latency_ms", type=float, help="Milliseconds of ONNX Runtime on one thread of this CPU.")
@click.option("--method", type=click.Choice(["formula", "giant", "r", "d", "w"]), show_default="formula")
@click.option("--preset", help="Fit the formula on the random sample of this preset, from its store of records.")
@store_option
@head_option
@classes_option
@click.option("--fix", type=fixed, multiple=True, help="Keep a multiplier: r=1. With two kept, the third is solved.")
@click.option("--resolution", type=whole, help="Input pixels to keep; for your own network, the pixels at r = 1.")
@click.option("--init", help="Weights of the whole network, as in export; the shrunk network inherits from them.")
@click.option("--out", type=click.Path(path_type=Path), help="File for the new weights; shrunk.safetensors by default.")
@click.option("--json", "form", flag_value="json", help="Print JSON for programs.")
@click.option("--table", "form", flag_value="table", help="All methods side by side, at each of --macs.")
@channels_option
@click.option("--time", is_flag=True, help="Measure the latency of each network of the table.")
@click.option("--csv", type=click.Path(dir_okay=False, path_type=Path), help="Write the table to this file as well.")
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Draw the table: out.svg, out.png.")
def shrink_command(
    name, method, preset, store, head, classes, fix, resolution, channels, init, out, form, time, csv, plot, **budgets
) -> None:
    """Find the smaller version of network NAME that comes nearest to a budget, or that meets several budgets.

    NAME is a scalable network such as efficientnet_b0, resnet50 or ghostnet_a, or a function of your own that builds a
    torch module from a Scale: my_file.py:build or my_package.my_module:build.
    """
    from tinynet_core.scaling.released import released_formula
    from tinynet_core.scaling.shrink import METHODS, compare, shrink

    given: dict[str, Any] = {k: v for k, v in budgets.items() if v is not None}
    macs, kept, own = given.get("macs", []), dict(fix), ":" in name
    as_table = bool(form == "table" or time or csv or plot) or len(macs) > 1
    if as_table and ([*given] != ["macs"] or form == "json" or init):
        raise click.UsageError("a table takes --macs alone as its budgets, and neither --init nor --json")
    methods = [method] if method else METHODS
    method = method or "formula"
    if preset and method != "formula":
        raise click.UsageError(f"--preset gives a formula, but --method is {method}")
    if len(kept) < len(fix):
        raise click.UsageError("--fix gives one multiplier twice")
    if resolution and "r" in kept and not own:
        raise click.UsageError(f"--resolution {resolution} and --fix r={kept['r']:g} both fix r: give one of them")
    if out and not init:
        raise click.UsageError("--out is the file for inherited weights: give --init too")
    if own and init:
        raise click.UsageError("--init is for networks of this package: how to match the weights of others is unknown")
    for path, suffixes in ((csv, (".csv",)), (plot, (".svg", ".png", ".pdf"))):
        if path:
            check_target(path, suffixes)
    net = _own(name, head, classes, resolution, channels) or family(name, head=head, classes=classes)
    if not given:
        raise click.UsageError("give a budget: --macs, --params, --peak-activations or --latency")
    if resolution and not own:
        kept["r"] = resolution / net.resolution
    formula: Formula | None = None
    source = ""
    if preset:
        from tinynet_core.study.study import Study

        formula, source = Study(preset, store, train=False).formula(), f"the sample of preset {preset}"
    elif method == "formula":
        formula, source = released_formula(), "TinyNet-A to -E and EfficientNet-B0 as released"
    if as_table:
        found = compare(net, macs, methods, formula, time, kept)
        click.echo(compared_text(found))
        if csv:
            write_table(found, csv)
        if plot:
            draw(found, net, plot)
        return
    result = shrink(net, method=method, formula=formula, fix=kept, **given | {"macs": macs[0] if macs else None})
    if init:
        from tinynet_core.networks.weights import write_inherited

        out = out or Path("shrunk.safetensors")
        new = write_inherited(cast(Network, result.network), cast(Network, net.at(Scale())), init, out)
        also = f"; newly initialised: {', '.join(dict.fromkeys(x.rpartition('.')[0] for x in new))}" if new else ""
        click.echo(f"weights taken from {init} are in {out}{also}", err=form == "json")
    if form == "json":
        click.echo(shrunk_json(result, source, head, None if own else classes))
    else:
        click.echo(shrunk_text(result, net.at(Scale()), source, len(given) > 1))


def architecture(rows: list[CostedRow], times: Sequence[float] = ()) -> str:
    """Return an architecture table as text, one line a row. With ``times``, add activations and milliseconds."""
    line = "{:<14}{:<26}{:>6}{:>8}{:>9}{:>10}{:>15}{:>13}" + "{:>13}{:>9}" * bool(times)
    cells: list[tuple] = [
        ("input", "operator", "kernel", "stride", "repeats", "channels", "MACs", "params", "activations", "ms")
    ]
    for x, ms in zip(rows, times or [0.0] * len(rows), strict=True):
        start = f"{x.side}x{x.side}x{x.c_in}", x.row.operator + x.row.squeeze * " + SE", x.row.kernel, x.row.stride
        counts = (f"{count:,}" for count in (x.macs, x.params, x.activations))
        cells.append((*start, x.row.repeats, x.row.channels, *counts, f"{ms:.3f}"))
    return "\n".join(line.format(*x) for x in cells)


def shrunk_text(result: "Shrunk", whole: Specification, source: str, several: bool) -> str:
    """Return a shrunk network beside the ``whole`` one as text; ``source`` says what the formula was fitted on."""
    before, after, spec, scale = whole.complexity(), result.complexity, result.network, result.scale
    by = f"the tiny formula, fitted on {source}" if source else f"method {result.method}"
    if result.method == "giant" and spec.name.startswith("efficientnet"):
        by += ", blocks rounded to the nearest whole number (the released EfficientNet-B1 to B7 round up)"
    unit = COUNTED.get(result.budget, "ms of latency")
    wanted = f"{result.wanted:,.10g} {unit}" + (", the binding budget," if several else "")
    uncertain = {k: f" +- {x:.2g}" for k, x in (("r", result.r_std), ("d", result.d_std)) if x is not None}
    lines = [f"{spec.name} shrunk to {wanted} by {by}", "", f"{'':<18}{'whole':>16}{'shrunk':>16}"]
    lines += [f"{k:<18}{1:>16}{getattr(scale, k):>16.10g}{uncertain.get(k, '')}" for k in "rdw"]
    lines.append(f"{'input (pixels)':<18}{whole.resolution:>16}{spec.resolution:>16}")
    for key in ("macs", "params", "peak_activations"):
        x, y = getattr(before, key), getattr(after, key)
        lines.append(f"{COUNTED[key]:<18}{x:>16,}{y:>16,}  {y / x:.1%}")
    if result.budget == "latency_ms":
        lines.append(f"{'latency (ms)':<18}{'':>16}{result.cost:>16.3g}")
    lines.append(f"{'off the budget':<18}{'':>16}{result.error:>+16.1%}")
    if uncertain:
        lines.append("+- is one standard deviation of the formula's posterior for a new model")
    rows = spec.rows()
    return "\n".join([*lines, "", architecture(rows)] if rows else lines)


def shrunk_json(result: "Shrunk", source: str, head: str | None, classes: int | None) -> str:
    """Return a shrunk network as JSON; counts are whole numbers, latency is in milliseconds."""
    spec = result.network
    kind = {"network": spec.name, "head": head, "classes": classes, "method": result.method, "formula": source or None}
    budget = {"kind": result.budget, "wanted": result.wanted, "cost": result.cost, "error": result.error}
    scale = {"scale": asdict(result.scale), "std": {"r": result.r_std, "d": result.d_std}}
    stages = [
        {"side": x.side, "channels_in": x.c_in, **x.row._asdict(), "macs": x.macs, "params": x.params}
        for x in spec.rows()
    ]
    costs = {"resolution": spec.resolution, **asdict(result.complexity), "stages": stages}
    return json.dumps(kind | {"budget": budget} | scale | costs, indent=1)


def compared_text(found: "pd.DataFrame") -> str:
    """Return the rows of ``compare`` as text, with budgets and costs in millions."""
    from pandas import isna

    shown = found.drop(columns="reason").assign(
        wanted=[f"{x / 1e6:,.4g}" for x in found.wanted],
        macs=["" if isna(x) else f"{x / 1e6:,.4g}" for x in found.macs],
        params=["" if isna(x) else f"{x / 1e6:,.3g}" for x in found.params],
        resolution=["none" if isna(x) else f"{x}" for x in found.resolution],
        off=["" if isna(x) else f"{x:+.1%}" for x in found.off],
    )
    names = {"wanted": "budget (M)", "macs": "MACs (M)", "params": "parameters (M)", "resolution": "pixels"}
    shown = shown.rename(columns={**names, "latency_ms": "latency (ms)"})
    text = shown.to_string(index=False, na_rep="", float_format="{:.3g}".format)
    reasons = [("none: " if isna(x.macs) else "not timed: ") + x.reason for x in found.itertuples() if x.reason]
    return "\n".join([text, *reasons])


def draw(found: "pd.DataFrame", net: AnyFamily, path: Path) -> None:
    """Draw the multipliers of ``compare`` over MACs, a line per method, to a file. Its suffix is the format."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.8), layout="constrained")
    panels = figure.subplots(1, 3, sharex=True)
    whole = net.cost(Scale()).macs / 1e6
    ticks = [*(found.wanted.unique() / 1e6), whole]
    for axes, x, title in zip(panels, "rdw", ("resolution r", "depth d", "width w"), strict=True):
        for method, some in found.dropna(subset="macs").groupby("method", sort=False):
            axes.plot(some.macs.astype(float) / 1e6, some[x], "o-", label=method)
        axes.plot(whole, 1, "k*", markersize=10, label="whole network")
        axes.set(xscale="log", xlabel="MACs (millions)", ylabel="multiplier", title=title)
        axes.set_xticks(ticks, [f"{x:,.4g}" for x in ticks])
        axes.minorticks_off()
    panels[0].legend(fontsize="small")
    figure.suptitle(f"{net.name}, shrunk by each method", fontsize="medium")
    with exported(path) as file:
        figure.savefig(file, format=path.suffix[1:])


@tinynet.command()
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path))
@network_options
@click.option("--weights", help="timm, torchvision, or a file; random weights by default.")
def export(name: str, file: Path, weights: str | None, **properties: Any) -> None:
    """Write network NAME as an ONNX file, if ONNX Runtime agrees with torch to 1e-4 of the largest logit.
    NAME may be a function of your own, as for tinynet shrink.
    """
    from tinynet_core.export import export_onnx

    difference, share = export_onnx(_network(name, **properties), file, weights)
    differ = f"differ by {difference:.1e} at most, {share:.1e} of the largest logit"
    click.echo(f"{file}  {file.stat().st_size / 1e6:,.1f} MB; ONNX Runtime and torch {differ}")


for _command in (sweep_command, train_command, verify_command, store_group):
    tinynet.add_command(_command)
for _entry in entry_points(group="tinynet_core.commands"):  # commands of other packages, such as the book's
    tinynet.add_command(_entry.load())


def main() -> None:
    """Run the command. A mistake of the user prints a message and ends with status 2."""
    warnings.showwarning = lambda message, *_, **__: click.echo(f"warning: {message}", err=True)
    try:
        tinynet(standalone_mode=True)
    except (UserError, ValueError, OverflowError, OSError) as error:
        click.echo(f"error: {_told(error)}", err=True)
        sys.exit(getattr(error, "exit_status", 2))


def _told(error: Exception) -> str:
    """Return the message of ``error``. Pydantic's ``ValidationError`` gets one line for each refused value."""
    if not hasattr(error, "errors"):
        return str(error)
    lines = [".".join(map(str, e["loc"])) + ": " * bool(e["loc"]) + e["msg"] for e in error.errors()]
    return "\n".join(lines).replace("Value error, ", "")


if __name__ == "__main__":
    main()
