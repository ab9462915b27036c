"""Read settings from the environment and a file, and report all problems at once."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from worker.errors import SettingsError

ENV_FILE = ".env"
OTHER = "Name another file with --env-file"


WANTED = {
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid boolean": "true or false",
}
"""What a setting must be, by what pydantic calls it."""


class FileSettings(BaseSettings):
    """Settings of the environment and a file."""

    model_config = SettingsConfigDict(
        env_file=ENV_FILE, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    @classmethod
    def load(cls, env_file: str | None = None) -> Self:
        """Read the settings from the environment and a file, by default `.env` if it exists.

        Raises SettingsError, which names every problem and how to correct it, but never a secret.
        """
        file = Path(env_file or ENV_FILE)
        try:
            if file.is_dir():
                what_to_do = "Replace it with a file, or remove it" if env_file is None else OTHER
                raise SettingsError(f"{file} is a directory. {what_to_do}.")
            if env_file is not None and not file.exists():
                raise SettingsError(f"{file} does not exist. {OTHER}.")
            return cls(_env_file=file)
        except UnicodeDecodeError:
            raise SettingsError(f"{file} is not UTF-8 text. Save it in that encoding.") from None
        except OSError as error:
            raise SettingsError(
                f"{file} cannot be read ({error.strerror}). Make it readable, or remove it."
            ) from None
        except ValidationError as error:
            details = error.errors(include_url=False)
            raise SettingsError(_explain(details, cls.model_fields, file)) from None


class DatabaseSettings(FileSettings):
    """The setting of commands that connect to the database itself."""

    database_url: str | None = None


def _explain(details: Sequence[Any], fields: Mapping[str, FieldInfo], file: Path) -> str:
    """Return what is missing, what is wrong, and where the settings were read, in lines."""
    missing = [_missing(detail, fields) for detail in details if detail["type"] == "missing"]
    problems = [_wrong(detail, file) for detail in details if detail["type"] != "missing"]
    wrong = list(dict.fromkeys(problems))  # once, though several parts of a setting may have it
    lines = ["Settings are missing:", *missing] if missing else []
    lines += ["Settings are wrong:", *wrong] if wrong else []
    read = f"and from {file.absolute()}" if file.exists() else f"alone: there is no {file} here"
    return "\n".join(
        [*lines, f"They were read from the environment {read}. .env.example lists all settings."]
    )


def _missing(detail: Any, fields: Mapping[str, FieldInfo]) -> str:
    name = str(detail["loc"][0])
    return f"  {name.upper()}: {fields[name].description}"


def _wrong(detail: Any, file: Path) -> str:
    name = str(detail["loc"][0]).upper()
    problem = detail["msg"].removeprefix("Value error, ")
    if problem.startswith("Input should be "):
        wanted = problem.removeprefix("Input should be ").partition(", unable")[0]
        problem = f"must be {WANTED.get(wanted, wanted)}"
    elif detail["type"] != "value_error":
        problem = f"is wrong: {problem[0].lower()}{problem[1:]}"
    if problem.startswith("is missing"):
        return f"  {name} {problem}"
    is_in_environment = name in (variable.upper() for variable in os.environ)
    return f"  {name} {problem} (from {'the environment' if is_in_environment else file.name})"
