"""comfyc inspect PLAN"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from comfyc.options import FILE, json_option, loudness_options

if TYPE_CHECKING:
    from graphs.plan import Plan


@click.command("inspect")
@click.argument("plan", type=FILE)
@json_option
@loudness_options
def command(plan: Path, as_json: bool) -> None:
    """Show what is in a plan: parameters and defaults, steps, networks, engines and weights, what each pass did."""
    from comfyc.sources import plan_folder
    from graphs.errors import UsageError
    from graphs.plan_json import load_plan, plan_to_json

    folder = plan_folder(plan)
    if folder is None:
        raise UsageError("there is no such plan", where=str(plan), expected="a folder with a plan.json")
    found = load_plan(folder)
    if as_json:
        click.echo(json.dumps(plan_to_json(found), indent=2, ensure_ascii=False))
        return
    sides = (("batch", found.profile.batch), ("width", found.profile.width), ("height", found.profile.height))
    click.echo(f"{folder}: comfyc {found.comfyc_version}, {found.backend} on {found.device}, {found.compat}")
    click.echo("accepts " + ", ".join(f"{name} {low}..{high}" for name, (low, high) in sides))
    if why_not := _why_it_cannot_run(found):
        click.echo(f"cannot run here: {why_not}")
    _print_parameters(found)
    _print_steps(found)
    _print_networks(found)
    _print_passes(found)


def _why_it_cannot_run(plan: Plan) -> str:
    """The backend's own reason; empty where the plan's engines can run, as those for the CPU do."""
    if plan.device == "cpu":
        return ""
    from graphs.errors import UsageError
    from runtime.backends import backend

    try:
        state = backend(plan.backend).available()
    except UsageError:  # made by another version
        return f"this version has no backend {plan.backend}"
    return "" if state.can_run else state.reason


def _print_parameters(plan: Plan) -> None:
    click.echo(f"\nparameters ({len(plan.program.parameters)})")
    width = max((len(name) for name in plan.program.parameters), default=0)
    for name, parameter in plan.program.parameters.items():
        text = json.dumps(parameter.default, ensure_ascii=False)
        click.echo(f"  {name:<{width}}  {parameter.type:<7}  {text if len(text) <= 70 else text[:67] + '...'}")


def _print_steps(plan: Plan) -> None:
    click.echo(f"\nsteps ({len(plan.program.steps)})")
    for step in plan.program.steps:
        notes = []
        if step.networks:
            notes.append("networks " + ", ".join(step.networks.values()))
        if step.folded:
            when = f" while {', '.join(step.folded_when)} unchanged" if step.folded_when else ""
            notes.append(f"folded{when}")
        if step.frees:
            notes.append("frees " + ", ".join(step.frees))
        if step.releases:
            notes.append("last call of " + ", ".join(step.releases))
        nodes = f" (node {', '.join(step.nodes)})" if step.nodes else ""
        click.echo(f"  {step.id}: {step.op}{nodes}{' | ' + '; '.join(notes) if notes else ''}")


def _print_networks(plan: Plan) -> None:
    from comfyc.wording import bytes_text

    click.echo(f"\nnetworks ({len(plan.bindings)})")
    for name, binding in plan.bindings.items():
        engine, weights = binding.engine, binding.weights
        kind = plan.program.networks[name].kind if name in plan.program.networks else "?"
        sources = ", ".join(source for source, _ in weights.sources)
        click.echo(f"  {name}: {kind}, {engine.precision}, {engine.fingerprint}")
        click.echo(f"    engine   {bytes_text(engine.size_bytes):>10}  {engine.key}")
        for number, layer in enumerate(weights.layers):
            label = "weights" if not number else "changed" if layer.strength is None else "factors"
            strength = f" at {layer.strength:g}" if layer.strength is not None else ""
            origin = strength + (f" of {sources}" if sources and layer is weights.layers[-1] else "")
            click.echo(f"    {label}  {bytes_text(layer.size_bytes):>10}  {layer.key}{origin}")


def _print_passes(plan: Plan) -> None:
    from comfyc.wording import seconds_text

    click.echo(f"\npasses ({len(plan.passes)})")
    for record in plan.passes:
        click.echo(f"  {record.phase} {record.name}: {len(record.changes)} changes, {seconds_text(record.seconds)}")
        for where, reason in record.changes:
            click.echo(f"    {where}: {reason}")
