"""The entry point of the `comfyc` command. It imports next to nothing, so that Ctrl-C counts from the first moment."""

from __future__ import annotations


def main() -> None:
    """Runs the command line; whatever ends it becomes an exit code."""
    try:
        from comfyc.stopping import INTERRUPTED, watch_signals

        watch_signals()
        _run()
    except KeyboardInterrupt:  # before or after click's own handling
        raise SystemExit(INTERRUPTED) from None


def _run() -> None:
    from comfyc.command_line import cli
    from comfyc.streams import flush_output, output_error, prepare_streams

    prepare_streams()
    try:
        try:
            cli(prog_name="comfyc")
        finally:
            flush_output()
    except OSError as error:
        failure = output_error(error)
        if failure is None:
            raise
        import click

        if str(failure):
            click.echo(f"error: {failure}", err=True)
        raise SystemExit(failure.exit_code) from None
