"""The command `completion`: print what makes a shell complete commands and options."""

import argparse

from worker.cli.command import Subparsers
from worker.cli.exit_codes import DONE
from worker.cli.parser import Parser

SHELLS = ("bash", "zsh", "fish")


def add_parser(subparsers: Subparsers) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "completion",
        help="print the completion for a shell: bash, zsh or fish",
        description="Print the script by which a shell completes commands and options. It asks the "
        "installed version, so an upgrade needs no new script.",
        examples={
            'eval "$(mux-worker completion bash)"': "in ~/.bashrc",
            'eval "$(mux-worker completion zsh)"': "in ~/.zshrc, after compinit",
            "mux-worker completion fish | source": "in ~/.config/fish/config.fish",
        },
    )
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help=", ".join(SHELLS))
    parser.names = [*SHELLS]
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from argcomplete.shell_integration import shellcode

    print(shellcode(["mux-worker"], use_defaults=False, shell=arguments.shell))
    return DONE


def complete(parser: Parser) -> None:
    """Answer the shell that asks, and end the process."""
    import argcomplete

    argcomplete.autocomplete(parser, always_complete_options=False)
