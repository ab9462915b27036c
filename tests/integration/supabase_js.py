"""The app of docs/app.md for tests: its snippets, translated, and scenes played with them."""

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
    "skipLibCheck": True,  # what the libraries say to each other is theirs
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
"""What has to be installed before a scene can be played."""


def lay_out(directory: Path) -> None:
    """Put the snippets where the page says, and the story beside them; not yet translated."""
    for name, code in SNIPPET.findall(PAGE):
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)
    shutil.copy(Path(__file__).with_name("app_story.ts"), directory)
    settings = {"compilerOptions": SETTINGS, "include": ["app", "app_story.ts"]}
    (directory / "tsconfig.json").write_text(json.dumps(settings))
    (directory / "node_modules").symlink_to(MODULES)


def translate(directory: Path) -> str:
    """Translate to JavaScript, and give what TypeScript has to say about the types."""
    command = ["node", str(TSC), "--project", str(directory)]
    return subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True).stdout


class App:
    """Plays the scenes of app_story.ts, as whoever is signed in."""

    def __init__(self, directory: Path, supabase: LocalSupabase) -> None:
        self._directory = directory
        self._supabase = supabase
        self._begun: list[subprocess.Popen[str]] = []

    def begin(self, scene: str, user: UUID | None = ANNA, **asked: Any) -> subprocess.Popen[str]:
        """Start a scene."""
        token = None if user is None else self._supabase.user_token(user)
        shown = {
            "scene": scene,
            "url": self._supabase.url,
            "key": self._supabase.publishable_key,
            "token": token,
            **{name: str(value) for name, value in asked.items()},
        }
        process = subprocess.Popen(
            ["node", self._directory / "built" / "app_story.js", json.dumps(shown)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._begun.append(process)
        return process

    def end(self, scene: subprocess.Popen[str]) -> Any:
        """Wait for a scene to end, and give what it saw."""
        output, errors = scene.communicate(timeout=60)
        assert scene.returncode == 0, errors
        return json.loads(output)

    def play(self, scene: str, user: UUID | None = ANNA, **asked: Any) -> Any:
        """Play a scene from start to end."""
        return self.end(self.begin(scene, user, **asked))

    def close(self) -> None:
        """End the scenes that a failed test left behind."""
        for process in self._begun:
            process.kill()
            process.communicate()
