"""The upload of docs/app.md and Mux's own uploader, in a real browser."""

import json
import subprocess
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from aiohttp import web
from playwright.sync_api import Page, expect

from sandbox.fault_injection import Fault
from sandbox.http_server import Server
from sandbox.mux.server import MuxSimulator
from sandbox.mux.timeline import AssetSettings, Timeline
from sandbox.supabase.stack import LocalSupabase
from tests.conftest import ANNA
from tests.course import Course
from tests.integration.supabase_js import MISSING, MODULES, SNIPPET
from tests.integration.supabase_js import PAGE as APP_PAGE

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
]

PACKAGES = {
    "supabase-js": MODULES / "@supabase" / "supabase-js" / "dist" / "umd" / "supabase.js",
    "upchunk": MODULES / "@mux" / "upchunk" / "dist" / "upchunk.mjs",
    "mux-uploader": MODULES / "@mux" / "mux-uploader" / "dist" / "mux-uploader.mjs",
}
HTML = """
<!doctype html><title>The app</title>
<script type="importmap">{"imports": {"@mux/upchunk": "./upchunk.js"}}</script>
<script src="supabase-js.js"></script>
<p><input type="file" id="file"> <output></output></p>
<mux-uploader></mux-uploader>
"""
TRANSLATE = """
const ts = require("typescript");
const names = JSON.parse(require("fs").readFileSync(0));
const options = { compilerOptions: { target: "es2022", module: "es2022" } };
for (const name in names) names[name] = ts.transpileModule(names[name], options).outputText;
console.log(JSON.stringify(names));
"""
UPLOAD = """
async ({ url, key, token, lesson }) => {
  const { uploadVideo } = await import("/upload-video.js");
  const { stayWhile } = await import("/leave-page.js");
  const client = supabase.createClient(url, key, { accessToken: async () => token });
  const [file] = document.getElementById("file").files;
  const shares = [];
  const sending = { onProgress: (share) => shares.push(share) };
  await stayWhile(uploadVideo(client, token, lesson, file, sending));
  return shares;
}
"""
UPLOADER = """
async () => {
  await import("/mux-uploader.js");
  const uploader = document.querySelector("mux-uploader");
  uploader.setAttribute("chunk-size", "8192");
  uploader.endpoint = async () => {
    const answer = await fetch("/api/mux/uploads", { method: "POST" });
    return (await answer.json()).url;
  };
  const output = document.querySelector("output");
  uploader.addEventListener("success", () => (output.textContent = "sent"));
}
"""


@pytest.fixture(scope="module")
def scripts() -> dict[str, str]:
    """Translate the modules of the page to JavaScript."""
    snippets = SNIPPET.findall(APP_PAGE)
    modules: dict[str, str] = {
        Path(name).stem: code for name, code in snippets if "services" in name
    }
    translated = subprocess.run(
        ["node", "-e", TRANSLATE],
        input=json.dumps(modules),
        cwd=MODULES.parent,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    return dict(json.loads(translated))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Write a file of three pieces."""
    path = tmp_path / "scales.mp4"
    path.write_bytes(bytes(range(256)) * (20 * 2**20 // 256))
    return path


class App:
    """An app with the modules of the docs, whose route creates uploads at the simulated Mux."""

    def __init__(self, mux: MuxSimulator, scripts: dict[str, str]) -> None:
        self._mux = mux
        self._scripts = scripts
        self.server = Server(self._app)

    def _app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/", self._page)
        app.router.add_get("/{name}", self._script)
        app.router.add_post("/api/mux/uploads", self._create_upload)
        return app

    async def _page(self, _request: web.Request) -> web.Response:
        return web.Response(text=HTML, content_type="text/html")

    async def _script(self, request: web.Request) -> web.Response:
        name = request.match_info["name"].removesuffix(".js")
        if name in PACKAGES:
            return web.Response(text=PACKAGES[name].read_text(), content_type="text/javascript")
        text = self._scripts.get(name, "")
        return web.Response(text=text, content_type="text/javascript")

    async def _create_upload(self, _request: web.Request) -> web.Response:
        upload = self._mux.state.add_upload(
            Timeline(file_after_seconds=None),
            AssetSettings(("public",)),
            cors_origin=self.server.url,
        )
        url = f"{self._mux.url}/direct-uploads/{upload.url_token}"
        return web.json_response({"id": upload.id, "url": url}, status=201)


@pytest.fixture
def app_page(page: Page, mux: MuxSimulator, scripts: dict[str, str]) -> Iterator[Page]:
    """Open the page of the app."""
    app = App(mux, scripts)
    with app.server:
        page.goto(app.server.url)
        yield page


def arrived(mux: MuxSimulator, file: Path) -> bool:
    """Whether the only upload has become an asset, of exactly this file."""
    (upload,) = mux.state.uploads()
    assert upload.file is not None
    is_same = upload.file.sha256 == sha256(file.read_bytes()).hexdigest()
    return is_same and upload.status(mux.state.clock.now()) == "asset_created"


def test_the_upload_of_the_docs_tracks_and_then_sends(
    app_page: Page, course: Course, mux: MuxSimulator, supabase: LocalSupabase, file: Path
) -> None:
    """The lesson is tracked before the first byte; a cut piece is sent again; all of it arrives."""
    lesson = course.lesson(ANNA)
    tracked = []

    def note(_: object) -> bool:
        tracked.append(course.tracking(lesson)["upload_id"])
        return True

    cut = Fault("cut", after_bytes=2**20)
    mux.faults.add(cut, method="PUT", path="/direct-uploads/*", times=1, match=note)
    app_page.locator("#file").set_input_files(file)
    arguments = {
        "url": supabase.url,
        "key": supabase.publishable_key,
        "token": supabase.user_token(ANNA),
        "lesson": str(lesson),
    }
    shares = app_page.evaluate(UPLOAD, arguments)
    assert arrived(mux, file)
    assert tracked == [mux.state.uploads()[0].id]
    assert 0 <= min(shares) < max(shares) == shares[-1] == 1


def test_muxs_own_uploader_sends_its_pieces(app_page: Page, mux: MuxSimulator, file: Path) -> None:
    """<mux-uploader> sends a file in pieces, and again what was refused for a moment."""
    mux.faults.add(Fault("answer", status=503), method="PUT", path="/direct-uploads/*", times=1)
    app_page.evaluate(UPLOADER)
    app_page.locator("mux-uploader input[type=file]").set_input_files(file)
    expect(app_page.locator("output")).to_have_text("sent")
    assert arrived(mux, file)
    sent = [one.status for one in mux.requests.all() if one.route.startswith("PUT /direct")]
    assert sent == [503, 308, 308, 200]
