"""comfyc cache ls | prune | verify"""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from datetime import datetime
from typing import Any, ClassVar

import click

from comfyc.options import json_option, loudness_options
from runtime.store_settings import MOST_GB


class BytesType(click.ParamType[int]):
    """`10GB`, `500 MiB`, `0`."""

    name = "SIZE"
    units: ClassVar = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", str(value).strip(), re.IGNORECASE)
        if match is None:
            self.fail(f"{value!r} is not a size; write 20GB or 500MB", param, ctx)
        size = float(match[1]) * self.units[match[2].upper()]
        if size > MOST_GB << 30:
            self.fail(f"{value!r} is larger than any disk", param, ctx)
        return int(size)


@click.group("cache")
def command() -> None:
    """The store of engines and weights, and the plans of workflows that were run directly.

    It is in $COMFYC_CACHE, else in the user's cache folder; $COMFYC_CACHE_MAX_GB bounds it.
    """


@command.command("ls")
@json_option
@loudness_options
def list_entries(as_json: bool) -> None:
    """List what is in the store, least recently used first."""
    from comfyc.plan_cache import PlanCache
    from comfyc.wording import bytes_text, count_text
    from runtime.store import Store

    store = Store()
    entries, plans = store.ls(), PlanCache(store.root).ls()
    if as_json:
        shown = [{**asdict(e), "path": str(e.path)} for e in entries]
        listed = [{"path": str(p.path), "workflow": p.workflow, "used": p.used} for p in plans]
        click.echo(
            json.dumps(
                {"root": str(store.root), "max_bytes": store.max_bytes, "entries": shown, "plans": listed}, indent=2
            )
        )
        return
    for entry in entries:
        click.echo(f"{_when(entry.used)}  {bytes_text(entry.size_bytes):>10}  {entry.key}")
    for plan in plans:
        click.echo(f"{_when(plan.used)}  {'plan':>10}  {plan.path.name}  {plan.workflow}")
    total = sum(e.size_bytes for e in entries)
    click.echo(
        f"{count_text(len(entries), 'file')}, {bytes_text(total)} of at most {bytes_text(store.max_bytes)}, "
        f"{count_text(len(plans), 'plan')}, in {store.root}",
        err=True,
    )


@command.command("prune")
@click.option("--max-size", type=BytesType(), help="Keep at most this much. Default: the store's bound.")
@click.option("--all", "everything", is_flag=True, help="Remove everything.")
@json_option
@loudness_options
def prune(max_size: int | None, everything: bool, as_json: bool) -> None:
    """Remove the least recently used files, leftovers of killed processes, and plans whose files are gone."""
    from comfyc.plan_cache import PlanCache
    from comfyc.wording import bytes_text, count_text
    from graphs.errors import StoreError, UsageError
    from runtime.store import Store

    if everything and max_size is not None:
        raise UsageError("--all and --max-size cannot go together")
    store = Store()
    gone = store.prune(0 if everything else store.max_bytes if max_size is None else max_size)
    left = store.ls()
    if everything and left:
        what = f"{count_text(len(left), 'file')} could not be removed"
        raise StoreError(what, where=str(store.root), hint="they are in use, or may not be written")
    plans = PlanCache(store.root).prune(None if everything else frozenset(e.key for e in left))
    freed = sum(e.size_bytes for e in gone)
    if as_json:
        click.echo(json.dumps({"removed": [e.key for e in gone], "plans": plans, "freed_bytes": freed}, indent=2))
    else:
        click.echo(f"removed {count_text(len(gone), 'file')} ({bytes_text(freed)}) and {count_text(plans, 'plan')}")


@command.command("verify")
@json_option
@loudness_options
def verify(as_json: bool) -> None:
    """Hash every file again; damaged ones are removed and made anew when needed.

    Exit code 1 if there were any.
    """
    from comfyc.wording import count_text
    from runtime.store import Store

    store = Store()
    count = len(store.ls())
    damaged = store.verify()
    if as_json:
        click.echo(json.dumps({"checked": count, "damaged": list(damaged)}, indent=2))
    else:
        click.echo(f"{count_text(count, 'file')} checked, {len(damaged)} damaged and removed")
    if damaged:
        raise click.exceptions.Exit(1)


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")
