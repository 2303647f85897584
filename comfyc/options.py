"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from comfyc.parameter_types import BatchType, ParameterNameType, SettingType, SizeType, TargetsType
from graphs.plan import COMPATS, DEVICES, PRECISIONS
from runtime.backends import BACKENDS

F = TypeVar("F", bound=Callable[..., Any])
Decorator = Callable[[F], F]

FILE = click.Path(path_type=Path)  # existence is checked by the reader, whose message says what to do
DIRECTORY = click.Path(path_type=Path, file_okay=False)


def _loudness(ctx: click.Context, param: click.Parameter, value: int) -> None:
    """-v and -q act at once, before the command runs."""
    from comfyc.logs import set_up_logging

    ctx.meta[f"comfyc.{param.name}"] = value
    set_up_logging(-1 if is_quiet(ctx) else ctx.meta.get("comfyc.verbose", 0))


def is_quiet(ctx: click.Context | None = None) -> bool:
    """Whether -q was given."""
    ctx = ctx or click.get_current_context(silent=True)
    return bool(ctx and ctx.meta.get("comfyc.quiet"))


def loudness_options(command: F) -> F:
    """--verbose, --quiet: handled before the command runs, passed to none."""
    for option in (
        click.option(
            "-q", "--quiet", is_flag=True, expose_value=False, callback=_loudness, help="Errors only, no bars."
        ),
        click.option(
            "-v",
            "--verbose",
            count=True,
            expose_value=False,
            callback=_loudness,
            help="Say what each phase does; twice: everything.",
        ),
    ):
        command = option(command)
    return command


def models_option(command: F) -> F:
    return click.option(
        "-m",
        "--models",
        multiple=True,
        type=FILE,
        metavar="DIR",
        help="A models folder, a ComfyUI folder or an extra_model_paths.yaml; repeat for more. "
        "Default: $COMFYC_MODELS or ./models.",
    )(command)


def trust_option(command: F) -> F:
    return click.option("--trust-plan", "trust", is_flag=True, help="Run a plan that was not made with this cache.")(
        command
    )


def json_option(command: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Machine-readable, on stdout.")(command)


def object_info_option(command: F) -> F:
    return click.option(
        "--object-info",
        type=FILE,
        metavar="FILE",
        help="More node schemas, from a ComfyUI server's /object_info.",
    )(command)


def strict_option(command: F) -> F:
    return click.option(
        "--strict",
        is_flag=True,
        help="Check to the letter, as a server does, and make no output where one of them cannot run.",
    )(command)


def compile_options(command: F) -> F:
    """The options that decide what is compiled; `options_of` makes a CompileOptions of them."""
    for option in reversed(
        (
            click.option(
                "--backend",
                type=click.Choice(("auto", *BACKENDS)),
                default="auto",
                show_default=True,
                help="What runs the networks.",
            ),
            click.option(
                "--device",
                type=click.Choice(DEVICES),
                default="auto",
                show_default=True,
                help="Where the networks run.",
            ),
            click.option(
                "--precision",
                type=click.Choice(("auto", *PRECISIONS)),
                default="auto",
                show_default=True,
                help="Number format of the networks.",
            ),
            click.option("--batch", type=BatchType(), default=None, help="Batches the plan accepts, e.g. 1:4."),
            click.option("--size", type=SizeType(), default=None, help="Sizes it accepts, e.g. 512..1024 or 512x768."),
            click.option(
                "--target",
                "targets",
                type=TargetsType(),
                default=None,
                help="GPUs to build for (tensorrt), e.g. sm89,sm120.",
            ),
            click.option(
                "--freeze", multiple=True, type=ParameterNameType(), help="Fix a parameter for good; repeat for more."
            ),
            click.option(
                "--compat",
                type=click.Choice(COMPATS),
                default=COMPATS[0],
                show_default=True,
                help="The ComfyUI to agree with where versions differ.",
            ),
            click.option(
                "-O",
                "level",
                type=click.IntRange(0, 1),
                default=1,
                show_default=True,
                help="-O0 leaves out every pass that is not needed to run.",
            ),
            strict_option,
        )
    ):
        command = option(command)
    return command


def set_option(command: F) -> F:
    return click.option(
        "--set",
        "settings",
        multiple=True,
        type=SettingType(),
        help='Change a parameter, e.g. 6.text="a lighthouse" or 3.seed=7; repeat for more.',
    )(command)
