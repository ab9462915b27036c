"""Compile the snippets of docs/app.md, and run scenes with them."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from uuid import UUID

from sandbox.supabase.stack import LocalSupabase
from tests.conftest import ANNA

CHECKOUT = Path(__file__).parents[2]
MODULES = CHECKOUT / "node_modules"
TSC = MODULES / "typescript" / "bin" / "tsc"
PAGE = (CHECKOUT / "docs" / "app.md").read_text()
SNIPPET = re.compile(r"^```tsx?\n// (app/\S+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SETTINGS = {
    "strict": True,
    "noUncheckedIndexedAccess": True,
    "exactOptionalPropertyTypes": True,
    "noUnusedLocals": True,
    "noUnusedParameters": True,
    "target": "es2022",
    "lib": ["es2022", "dom"],
    "module": "node16",
    "jsx": "react-jsx",
    "types": [],
    "skipLibCheck": True,  # the libraries' own types are not tested here
    "rootDir": ".",
    "outDir": "built",
}

MISSING = [
    name
    for name, found in (
        ("node", shutil.which("node")),
        ("node_modules/@supabase (npm ci)", (MODULES / "@supabase" / "supabase-js").exists()),
        ("node_modules/typescript (npm ci)", TSC.exists()),
    )
    if not found
]
"""What must be installed before a scene can run."""


def lay_out(directory: Path) -> None:
    """Write the snippets into the files that the page names, and the scenes next to them."""
    for name, code in SNIPPET.findall(PAGE):
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)
    shutil.copy(Path(__file__).with_name("app_story.ts"), directory)
    settings = {"compilerOptions": SETTINGS, "include": ["app", "app_story.ts"]}
    (directory / "tsconfig.json").write_text(json.dumps(settings))
    (directory / "node_modules").symlink_to(MODULES)


def translate(directory: Path) -> str:
    """Compile to JavaScript; return the output of the TypeScript compiler."""
    command = ["node", str(TSC), "--project", str(directory)]
    return subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True).stdout


class App:
    """Run the scenes of app_story.ts as a signed-in user or a visitor."""

    def __init__(self, directory: Path, supabase: LocalSupabase) -> None:
        self._directory = directory
        self._supabase = supabase
        self._processes: list[subprocess.Popen[str]] = []

    def begin(self, scene: str, user: UUID | None = ANNA, **args: Any) -> subprocess.Popen[str]:
        """Start a scene."""
        token = None if user is None else self._supabase.user_token(user)
        options = {
            "scene": scene,
            "url": self._supabase.url,
            "key": self._supabase.publishable_key,
            "token": token,
            **{name: str(value) for name, value in args.items()},
        }
        process = subprocess.Popen(
            ["node", self._directory / "built" / "app_story.js", json.dumps(options)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._processes.append(process)
        return process

    def end(self, scene: subprocess.Popen[str]) -> Any:
        """Wait for a scene to end; return its result."""
        output, errors = scene.communicate(timeout=120)
        assert scene.returncode == 0, errors
        return json.loads(output)

    def play(self, scene: str, user: UUID | None = ANNA, **args: Any) -> Any:
        """Run a scene and return its result."""
        return self.end(self.begin(scene, user, **args))

    def close(self) -> None:
        """Kill the scenes that a failed test left running."""
        for process in self._processes:
            process.kill()
            process.communicate()
