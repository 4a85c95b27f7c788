"""The ``tinynet`` command."""

import json
import sys
import warnings
from dataclasses import asdict
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click
from click.core import ParameterSource

from tinynet_core.files import UserError, check_target
from tinynet_core.networks.family import SCALABLE, AnyFamily, family, network
from tinynet_core.networks.spec import CostedRow, Network, Specification
from tinynet_core.scaling.scale import Scale
from tinynet_core.study.commands import store_group, store_option, sweep_command, train_command, verify_command

if TYPE_CHECKING:
    from tinynet_core.scaling.shrink import Formula, Shrunk

UNITS = {"macs": "MACs", "params": "parameters", "peak_activations": "peak activations", "latency_ms": "ms of latency"}
SUFFIXES = {"k": 1e3, "M": 1e6, "G": 1e9, "B": 1e9}


class Fixed(click.ParamType):
    """A multiplier that stays, such as r=1."""

    name = "fixed"

    def convert(self, value, param, ctx) -> tuple[str, float]:
        if isinstance(value, tuple):
            return value
        key, _, number = value.partition("=")
        try:
            return {"r": "r", "d": "d", "w": "w"}[key], float(number)
        except (KeyError, ValueError):
            self.fail(f"{value!r} is not a multiplier such as r=1 or d=0.8", param, ctx)


class Amount(click.ParamType):
    """A count such as 141e6, 100M or 1.8G."""

    name = "amount"

    def convert(self, value, param, ctx) -> float:
        if isinstance(value, float):
            return value
        digits, factor = (value[:-1], SUFFIXES[value[-1]]) if value[-1:] in SUFFIXES else (value, 1.0)
        try:
            return float(digits) * factor
        except ValueError:
            self.fail(f"{value!r} is not an amount such as 141e6, 500k, 100M or 1.8G", param, ctx)


class Amounts(click.ParamType):
    """One amount, or several with commas between them."""

    name = "amount[,...]"

    def convert(self, value, param, ctx) -> list[float]:
        if isinstance(value, list):
            return value
        parts = [x.strip() for x in value.split(",")]
        if len({x[-1:] in SUFFIXES for x in parts}) > 1:
            self.fail(f"{value!r}: give each amount its suffix, 1G,2G, and decimals a point, 1.8G", param, ctx)
        return [Amount().convert(x, param, ctx) for x in parts]


head_option = click.option(
    "--head", type=click.Choice(["fixed", "scaled"]), help="Whether stem and head move with the width."
)
classes_option = click.option("--classes", type=click.IntRange(min=1), default=1000, show_default=True)
channels_option = click.option(
    "--channels",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Of the input of a network of your own.",
)
pixels_option = click.option(
    "--resolution", type=click.IntRange(min=1), help="Pixels at r = 1 of a network of your own."
)


def scale_options(command):
    """The three multipliers of a scalable network."""
    for name, what in (("w", "Width"), ("d", "Depth"), ("r", "Resolution")):
        command = click.option(f"--{name}", type=float, help=f"{what} multiplier.")(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tinynet-core")
def tinynet() -> None:
    """Cost, shrink, train and compare small networks, and build the book about them."""


@tinynet.command()
@click.argument("name")
@scale_options
@head_option
@classes_option
@click.option("--counters", "others", is_flag=True, help="How fvcore, ptflops, thop, calflops and torch count it.")
@click.option("--profile", is_flag=True, help="Time each row on one thread of this CPU with ONNX Runtime.")
@pixels_option
@channels_option
def cost(name: str, r, d, w, head, classes: int, others: bool, profile: bool, resolution, channels: int) -> None:
    """Exact cost of network NAME, such as tinynet_a, or efficientnet_b0 with --r, --d and --w.

    NAME may be a function of your own, as for tinynet shrink.
    """
    spec = _network(name, r, d, w, head, classes, resolution, channels)
    if others and profile:
        raise click.UsageError("--counters and --profile print two tables: ask for one of them")
    if others:
        from tinynet_core.networks.counters import counters

        for row in counters(spec):
            difference = f"{row.difference:+,}" if row.prints else ""
            click.echo(f"{row.tool:<25}{row.prints:>22}{difference:>14}  {row.reason}")
        return
    total = spec.complexity()
    click.echo(f"{spec.name}  {spec.scale or ''}  input {spec.resolution} px")
    times = _times(spec) if profile else []
    if rows := spec.rows():
        click.echo(architecture(rows, times))
    click.echo(f"MACs              {total.macs:>16,}")
    click.echo(f"parameters        {total.params:>16,}")
    click.echo(f"activations       {total.activations:>16,}")
    click.echo(f"peak activations  {total.peak_activations:>16,}")


def _times(spec: Any) -> list[float]:
    from tinynet_core.export import profile

    return profile(spec)


def _network(name: str, r, d, w, head, classes: int, resolution: int | None, channels: int) -> Specification:
    """The network called ``name`` at the multipliers that are given."""
    given = {k: v for k, v in (("r", r), ("d", d), ("w", w)) if v is not None}
    if _is_own(name, head, classes, channels):
        return _own(name, resolution, channels).at(Scale(**given))
    if resolution:
        raise click.UsageError(f"--resolution is for a network of your own; give {name} another --r")
    return network(name, Scale(**given) if given or name in SCALABLE else None, classes, head)


def _is_own(name: str, head: str | None, classes: int, channels: int) -> bool:
    """Whether a network is of a file of the user's; refuses options that would have no effect."""
    own = ":" in name
    if own and (head or classes != 1000):
        raise click.UsageError(f"--head and --classes are for a network of this package, {name} is another one")
    if not own and channels != 3:
        raise click.UsageError(f"--channels is for a network of your own, {name} has 3")
    return own


@tinynet.command("shrink")
@click.argument("name")
@click.option("--macs", type=Amounts(), help="Budget of multiply-adds for one image: 100M, 1.8G. Several: a table.")
@click.option("--params", type=Amount(), help="Budget of parameters: 2.5M.")
@click.option("--peak-activations", type=Amount(), help="Budget of elements that the widest layer holds.")
@click.option("--latency", type=float, help="Budget of milliseconds on one thread of this CPU with ONNX Runtime.")
@click.option("--method", type=click.Choice(["formula", "giant", "r", "d", "w"]), default="formula", show_default=True)
@click.option("--preset", help="Fit the formula on the random sample of this preset, from its store of records.")
@store_option
@head_option
@classes_option
@click.option("--fix", type=Fixed(), multiple=True, help="Keep a multiplier: r=1. Of two, the third is solved.")
@click.option(
    "--resolution",
    type=click.IntRange(min=1),
    help="Keep the input at so many pixels; for a network of your own, its pixels at r = 1.",
)
@click.option("--init", help="Weights of the whole network, as for export: those of the shrunk one are taken from it.")
@click.option("--out", type=click.Path(path_type=Path), default="shrunk.safetensors", help="File for them.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
@click.option("--table", "as_table", is_flag=True, help="All methods side by side, at each of --macs.")
@channels_option
@click.option("--time", is_flag=True, help="Measure the latency of each network of the table.")
@click.option("--csv", type=click.Path(dir_okay=False, path_type=Path), help="Write the table to this file as well.")
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Draw the table: out.svg, out.png.")
def shrink_command(
    name,
    macs,
    params,
    peak_activations,
    latency,
    method,
    preset,
    store,
    head,
    classes,
    fix,
    resolution,
    init,
    out,
    as_json,
    as_table,
    channels,
    time,
    csv,
    plot,
) -> None:
    """Find the smaller version of network NAME that comes nearest to a budget. Of several budgets all hold.

    NAME is a scalable network such as efficientnet_b0, resnet50 or ghostnet_a, or a function of your own that builds a
    torch module from a Scale: my_file.py:build or my_package.my_module:build.
    """
    from tinynet_core.scaling.released import released_formula
    from tinynet_core.scaling.shrink import METHODS, shrink

    as_table |= bool(time or csv or plot) or len(macs or []) > 1
    alone = params or peak_activations or latency or as_json or fix or init
    if as_table and (not macs or alone or (resolution and ":" not in name)):
        raise click.UsageError(
            "a table takes --macs alone as its budgets, and none of --fix, --resolution, --init and --json"
        )
    budgets = {"macs": macs and macs[0], "params": params, "peak_activations": peak_activations, "latency_ms": latency}
    given: dict[str, Any] = {k: v for k, v in budgets.items() if v is not None}
    own = _is_own(name, head, classes, channels)
    if name.endswith(".py"):
        raise click.UsageError(f"{name} has many names: add that of the function, {name}:NAME")
    if not given:
        raise click.UsageError("give a budget: --macs, --params, --peak-activations or --latency")
    if preset and method != "formula":
        raise click.UsageError(f"--preset gives a formula, but --method is {method}")
    fixed = dict(fix)
    if len(fixed) < len(fix):
        raise click.UsageError("--fix gives one multiplier twice")
    if csv:
        check_target(csv, (".csv",))
    if plot:
        check_target(plot, (".svg", ".png", ".pdf"))
    if resolution and "r" in fixed and not own:
        raise click.UsageError(f"--resolution {resolution} and --fix r={fixed['r']:g} both fix r: give one of them")
    if own and init:
        raise click.UsageError("--init is for networks of this package: of others no one knows what goes together")
    net: AnyFamily = _own(name, resolution, channels) if own else family(name, head=head, classes=classes)
    formula: Formula | None = None
    source = ""
    if preset:
        from tinynet_core.study.study import Study

        formula, source = Study(preset, store, train=False).formula(), f"the sample of preset {preset}"
    elif method == "formula":
        formula, source = released_formula(), "TinyNet-A to -E and EfficientNet-B0 as released"
    if as_table:
        from tinynet_core.scaling import compare

        chosen = click.get_current_context().get_parameter_source("method") != ParameterSource.DEFAULT
        found = compare.compare(net, macs, [method] if chosen else METHODS, formula, time)
        click.echo(compare.table(found))
        if csv:
            found.to_csv(csv, index=False)
        if plot:
            compare.plot(found, net, plot)
        return
    if resolution and not own:
        fixed["r"] = resolution / net.resolution
    result = shrink(net, method=method, formula=formula, fix=fixed, **given)
    if init:
        from tinynet_core.networks.inherit import write_inherited

        new = write_inherited(cast(Network, result.network), cast(Network, net.at(Scale())), init, out)
        also = f"; new are {', '.join(new)}" if new else ""
        click.echo(f"weights taken from {init} are in {out}{also}", err=as_json)
    if as_json:
        click.echo(shrunk_json(result, source, head, classes))
    else:
        click.echo(shrunk_text(result, net.at(Scale()), source, len(given) > 1))


def _own(name: str, resolution: int | None, channels: int) -> AnyFamily:
    from tinynet_core.networks.own import from_file

    return from_file(name, resolution, channels)


def architecture(rows: list[CostedRow], times: list[float]) -> str:
    """An architecture table, one line a row, with activations and milliseconds where there are ``times``."""
    lines = [
        f"{'input':<14}{'operator':<26}{'kernel':>6}{'stride':>8}{'repeats':>9}{'channels':>10}{'MACs':>15}{'params':>13}"
    ]
    if times:
        lines[0] += f"{'activations':>13}{'ms':>9}"
    for x in rows:
        row = x.row
        size, operator = f"{x.side}x{x.side}x{x.c_in}", row.operator + row.squeeze * " + SE"
        lines.append(
            f"{size:<14}{operator:<26}{row.kernel:>6}{row.stride:>8}{row.repeats:>9}{row.channels:>10}"
            f"{x.macs:>15,}{x.params:>13,}"
        )
    for i, ms in enumerate(times):
        lines[i + 1] += f"{rows[i].activations:>13,}{ms:>9.3f}"
    return "\n".join(lines)


def shrunk_text(result: "Shrunk", whole: Specification, source: str, several: bool) -> str:
    """A shrunk network beside the ``whole`` one; ``source`` says what the formula was fitted on."""
    before, after, spec, scale = whole.complexity(), result.complexity, result.network, result.scale
    by = f"the tiny formula, fitted on {source}" if source else f"method {result.method}"
    if result.method == "giant" and spec.name.startswith("efficientnet"):
        by += ", blocks to the nearest whole number (EfficientNet-B1 to B7 as released round them up)"
    wanted = f"{result.wanted:,.10g} {UNITS[result.budget]}" + (", the budget that binds," if several else "")
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
    return "\n".join([*lines, "", architecture(rows, [])] if rows else lines)


def shrunk_json(result: "Shrunk", source: str, head: str | None, classes: int) -> str:
    """A shrunk network as JSON; counts are whole numbers, latency is in milliseconds."""
    spec = result.network
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
            **asdict(result.complexity),
            "stages": [
                {"side": x.side, "channels_in": x.c_in, **x.row._asdict(), "macs": x.macs, "params": x.params}
                for x in spec.rows()
            ],
        },
        indent=1,
    )


@tinynet.command()
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path))
@scale_options
@head_option
@classes_option
@click.option("--weights", help="timm, torchvision, or a file; random weights by default.")
@pixels_option
@channels_option
def export(name: str, file: Path, r, d, w, head, classes: int, weights: str | None, resolution, channels: int) -> None:
    """Write network NAME as an ONNX file, and check that ONNX Runtime agrees with torch to 1e-4 of its logits.

    NAME may be a function of your own, as for tinynet shrink.
    """
    from tinynet_core.export import export_onnx

    done = export_onnx(_network(name, r, d, w, head, classes, resolution, channels), file, weights)
    click.echo(
        f"{done.path}  {done.size / 1e6:,.1f} MB; ONNX Runtime and torch differ by {done.difference:.1e} at most, "
        f"{done.share:.1e} of the largest logit"
    )


tinynet.add_command(sweep_command)
tinynet.add_command(train_command)
tinynet.add_command(verify_command)
tinynet.add_command(store_group)
for _entry in entry_points(group="tinynet_core.commands"):  # of other packages, such as the book's
    tinynet.add_command(_entry.load())


def main() -> None:
    """Run the command; a user's mistake ends with its message and status 2."""
    warnings.showwarning = lambda message, *_, **__: click.echo(f"warning: {message}", err=True)
    try:
        tinynet(standalone_mode=True)
    except (UserError, ValueError, OverflowError, OSError) as error:
        click.echo(f"error: {_told(error)}", err=True)
        sys.exit(getattr(error, "exit_status", 2))


def _told(error: Exception) -> str:
    """The message; of pydantic's ``ValidationError`` one line for each value that it refuses."""
    if not hasattr(error, "errors"):
        return str(error)
    lines = [".".join(map(str, e["loc"])) + ": " * bool(e["loc"]) + e["msg"] for e in error.errors()]
    return "\n".join(lines).replace("Value error, ", "")


if __name__ == "__main__":
    main()
