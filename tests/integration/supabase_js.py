"""Compile the snippets of docs/app.md, and run scenes with them."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from sandbox.mux.server import MuxSimulator
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

NODE_TYPES = "declare const process: { env: Record<string, string | undefined>; stdin: unknown };"
"""What the page and the scenes use of Node's own types, which are not installed."""

MISSING = [
    name
    for name, found in (
        ("node", shutil.which("node")),
        ("node_modules/@supabase (npm ci)", (MODULES / "@supabase" / "supabase-js").exists()),
        ("node_modules/@mux (npm ci)", (MODULES / "@mux" / "mux-node").exists()),
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
    shutil.copy(CHECKOUT / "docs" / "database.types.ts", directory / "app")
    (directory / "node.d.ts").write_text(NODE_TYPES)
    shutil.copy(Path(__file__).with_name("app_story.ts"), directory)
    settings = {"compilerOptions": SETTINGS, "include": ["app", "app_story.ts", "node.d.ts"]}
    (directory / "tsconfig.json").write_text(json.dumps(settings))
    (directory / "node_modules").symlink_to(MODULES)


def translate(directory: Path) -> str:
    """Compile to JavaScript; return the output of the TypeScript compiler."""
    command = ["node", str(TSC), "--project", str(directory)]
    return subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True).stdout


class Scene(NamedTuple):
    """A scene that was begun."""

    name: str


class App:
    """Run the scenes of app_story.ts as a signed-in user or a visitor, one after the other."""

    def __init__(self, directory: Path, supabase: LocalSupabase) -> None:
        self._directory = directory
        self._supabase = supabase
        self._start()

    def _start(self) -> None:
        self._is_playing = False
        self._node = subprocess.Popen(
            ["node", self._directory / "built" / "app_story.js"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def begin(
        self, scene: str, user: UUID | None = ANNA, mux: MuxSimulator | None = None, **args: Any
    ) -> Scene:
        """Start a scene; with `mux` the app's server has an access token of it."""
        token = None if user is None else self._supabase.user_token(user)
        options = {
            "scene": scene,
            "url": self._supabase.url,
            "key": self._supabase.publishable_key,
            "token": token,
            **{name: str(value) for name, value in args.items()},
        }
        if mux is not None:
            options |= {"mux": mux.url, "mux_id": mux.token_id, "mux_secret": mux.token_secret}
        assert self._node.stdin is not None
        self._is_playing = True
        print(json.dumps(options), file=self._node.stdin, flush=True)
        return Scene(scene)

    def end(self, scene: Scene) -> Any:
        """Wait for a scene to end; return its result."""
        assert self._node.stdout is not None
        line = self._node.stdout.readline()
        assert line, f"{scene.name} failed; the error is on standard error"
        self._is_playing = False
        return json.loads(line)

    def play(
        self, scene: str, user: UUID | None = ANNA, mux: MuxSimulator | None = None, **args: Any
    ) -> Any:
        """Run a scene and return its result."""
        return self.end(self.begin(scene, user, mux, **args))

    def drop_scene(self) -> None:
        """Drop the scene that a failed test left behind."""
        if self._is_playing:
            self.close()
            self._start()

    def close(self) -> None:
        """End the process, whatever it does."""
        self._node.kill()
        self._node.communicate()
