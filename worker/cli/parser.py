"""The parser of the command line: help with examples and exit codes, and "did you mean"."""

import argparse
import os
import re
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

from worker.cli.exit_codes import DONE, FAILED, WRONG_SCHEMA, WRONG_USE
from worker.text import plain_id

MAX_HELP_WIDTH = 100

EXIT_CODES: Mapping[int, str] = {
    DONE: "done",
    FAILED: "failed",
    WRONG_USE: "wrong use or wrong settings",
}
SCHEMA_CODE: Mapping[int, str] = {
    WRONG_SCHEMA: "the database lacks files of sql/ that this version needs"
}
"""The exit code that commands have besides which use the database."""

_INVALID_CHOICE = r"argument (?P<of>\S+): invalid choice: '?(?P<given>.*?)'? \(choose from"

QUOTES = '""'
"""How an argument without any characters is written."""

_SENTENCES: Mapping[str, str] = {
    r"argument (\S+): not allowed with argument (\S+)": r"\1 and \2 do not go together.",
    r"argument (\S+): expected one argument": r"\1 needs a value.",
    r"argument (\S+): ignored explicit argument .*": r"\1 takes no value.",
    r"the following arguments are required: (\S+)": r"\1 is missing.",
    r"argument (--\S+): (.*)": r"\1 \2",
}
"""What argparse reports, as patterns, and how that is said here."""


class Formatter(argparse.HelpFormatter):
    """Writes help as wide as the terminal, up to MAX_HELP_WIDTH columns."""

    def __init__(self, prog: str) -> None:
        width = min(shutil.get_terminal_size().columns, MAX_HELP_WIDTH)
        super().__init__(prog, max_help_position=28, width=width)


class Parser(argparse.ArgumentParser):
    """An argument parser with examples and exit codes, that suggests what was meant.

    `names` are its commands, or what else its only argument chooses from.
    """

    def __init__(
        self,
        *args: Any,
        examples: Mapping[str, str] | None = None,
        exit_codes: Mapping[int, str] | None = None,
        uses_schema: bool = False,
        **kwargs: Any,
    ) -> None:
        self.examples = examples or {}
        self.exit_codes = {
            **EXIT_CODES,
            **(SCHEMA_CODE if uses_schema else {}),
            **(exit_codes or {}),
        }
        self.names: list[str] = []
        super().__init__(*args, **{"formatter_class": Formatter, "allow_abbrev": False, **kwargs})

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        """Parse the arguments; end with a suggestion where an option does not exist.

        Without any argument, end with the help.
        """
        args = sys.argv[1:] if args is None else args
        if not args:
            self.print_help(sys.stderr)
            self.exit(WRONG_USE)
        if args[0].startswith("-") and not self.knows(args[0]):
            self.refuse_unknown(args[0])
        arguments, unknown = self.parse_known_args(args, namespace)
        if unknown:
            command: Parser = getattr(arguments, "parser", self)
            command.refuse_unknown(unknown[0])
        return arguments

    def knows(self, argument: str) -> bool:
        """Whether an argument begins with an option of this parser."""
        return argument.partition("=")[0] in self._option_string_actions

    def refuse_unknown(self, argument: str) -> NoReturn:
        """End because of an argument that no command takes."""
        name = argument.partition("=")[0]
        if name.startswith("-"):
            meant = did_you_mean(name, re.findall(r"--[\w-]+", super().format_help()))
            self.error(f"There is no option {plain_id(name)}.{meant}")
        self.error(f"The argument {plain_id(argument)} is one too many.")

    def error(self, message: str) -> NoReturn:
        """Print what is wrong, in a sentence, and where to look; exit with WRONG_USE."""
        self.exit(WRONG_USE, f"{self._sentence(message)}\nSee {self.prog} --help.\n")

    def _sentence(self, message: str) -> str:
        """Return a message of argparse, or of a command, as a sentence."""
        if found := re.fullmatch(f"{_INVALID_CHOICE}.*", message):
            given, of = plain_id(found["given"]), found["of"].lower()
            return f"There is no {of} {given or QUOTES}.{did_you_mean(given, self.names)}"
        for pattern, sentence in _SENTENCES.items():
            if found := re.fullmatch(pattern, message):
                message = found.expand(sentence)
                break
        return message if message.endswith((".", "?")) else f"{message}."

    def format_help(self) -> str:
        """Return the help, followed by the examples and the exit codes."""
        text = super().format_help().replace("\npositional arguments:\n", "\narguments:\n")
        parts = [_without_placeholder(text)]
        if self.examples:
            examples = (f"  # {text}\n  {line}\n" for line, text in self.examples.items())
            parts.append("examples:\n" + "".join(examples))
        codes = (f"  {code}  {text}\n" for code, text in self.exit_codes.items())
        parts.append("exit codes:\n" + "".join(codes))
        return "\n".join(parts)

    def print_help(self, file: Any = None) -> None:
        """Print the help, with bold headings on a terminal."""
        stream = file or sys.stdout
        text = self.format_help()
        if stream is not None and stream.isatty() and not os.environ.get("NO_COLOR"):
            text = re.sub("^[a-z][a-z ]+:", "\x1b[1m\\g<0>\x1b[0m", text, flags=re.MULTILINE)
        self._print_message(text, stream)


def _without_placeholder(text: str) -> str:
    """Return a help whose list of commands does not begin with the word COMMAND."""
    before, heading, rest = text.partition("\ncommands:\n  COMMAND\n")
    names, end, after = rest.partition("\n\n")
    names = re.sub("^  ", "", names, flags=re.MULTILINE)
    return f"{before}\ncommands:\n{names}{end}{after}" if heading else text


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Return the question whether a known name was meant, with a blank before it; else ""."""
    from difflib import get_close_matches

    names = list(known)
    begun = [name for name in names if len(given) > 2 and name.startswith(given)]
    close = begun or get_close_matches(given.lower(), names, n=1, cutoff=0.6)
    return f" Did you mean {close[0]}?" if close else ""
