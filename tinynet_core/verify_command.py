"""``tinynet verify``: repeat a few of the trainings behind a store, and see whether they give the same."""

from typing import TYPE_CHECKING

import click

from tinynet_core.train_commands import store_option

if TYPE_CHECKING:
    from tinynet_core.study.verify import Check, Verification

OTHER_BITS = """\
Other bits: trainings that differ in a last bit part within the first epochs, and then differ as two seeds do. So the
first epochs and the end of a record are held closely, and the level of its top-1 widely. Many epochs rewritten to fit
each other cannot be told here, only by the bits on a machine of the record's kind."""


@click.command("verify")
@click.argument("preset", default="reduced")
@store_option
@click.option("--records", type=click.IntRange(min=1), default=2, show_default=True, help="How many to repeat.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of their choice.")
@click.option("--workers", type=click.IntRange(min=1), help="Runs at a time; as many as there are cores by default.")
@click.option("--strict", is_flag=True, help="Fail where a machine of the same name gives other bits, however near.")
def verify_command(preset: str, store: str, records: int, seed: int, workers: int | None, strict: bool) -> None:
    """Repeat a few trainings, chosen by --seed, of the store of PRESET (reduced by default), and compare.

    On the same kind of machine every number is to be the same bits. Another processor gives other bits: the record is
    then held to its first epochs, its own other numbers, the end of other trainings and the spread between seeds, and
    each of these is printed. The store is only read. The exit status is 0 where all agree, 1 where one does not, 2
    where nothing could be verified.
    """
    from tinynet_core.study.study import Study
    from tinynet_core.study.verify import verify

    opened = Study(preset, store).store
    found = verify(opened, records, seed, workers)
    click.echo(verification_text(found))
    agreeing = found.agreeing(strict)
    click.echo(f"{agreeing} of {records} records chosen by seed {seed} agree, in {opened.root}")
    if agreeing < records:
        raise SystemExit(1)


def verification_text(found: "Verification") -> str:
    """A table with one line a record; below those with other bits, what they are held to."""
    lines = [
        f"{'key':<14}{'network':<18}{'r':>7}{'d':>7}{'w':>7}{'seed':>6}{'recorded':>10}{'now':>9}{'time':>9}  "
        f"{'commit':<9}verdict"
    ]
    for check in found.checks:
        lines += [_line(check), *(f"  {held}{'' if held.holds else ' FAILS'}" for held in check.held)]
    if any(check.held for check in found.checks):
        lines.append(OTHER_BITS)
    return "\n".join(lines)


def _line(check: "Check") -> str:
    from tinynet_core.study.classify import Experiment

    experiment, made = check.record.experiment, check.record.provenance
    assert isinstance(experiment, Experiment)
    scale = experiment.spec().scale
    multipliers = "".join(f"{x:>7.3f}" for x in (scale.r, scale.d, scale.w)) if scale else " " * 21
    done = check.now is not None and check.now.done
    now = f"{check.now.metrics['top1']:.2%}" if check.now and done else "-"
    seconds = f"{check.now.wall_s:.1f} s" if check.now and done else "-"
    commit = f"{(made.get('commit') or '-')[:7]}{'' if made.get('clean') else '*'}"
    return (
        f"{check.record.key[:12]:<14}{experiment.network:<18}{multipliers}{experiment.seed:>6}"
        f"{check.record.metrics['top1']:>10.2%}{now:>9}{seconds:>9}  {commit:<9}{check}"
    )
