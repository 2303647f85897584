"""comfyc completion SHELL"""

from __future__ import annotations

import click


@click.command("completion")
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
def command(shell: str) -> None:
    """Print the completion script for a shell.

    \b
    bash:  eval "$(comfyc completion bash)"   in ~/.bashrc
    zsh:   eval "$(comfyc completion zsh)"    in ~/.zshrc
    fish:  comfyc completion fish > ~/.config/fish/completions/comfyc.fish
    """
    from click.shell_completion import get_completion_class

    from comfyc.command_line import cli

    completion = get_completion_class(shell)
    assert completion is not None  # the choice lists only shells that click knows
    click.echo(completion(cli, {}, "comfyc", "_COMFYC_COMPLETE").source())
