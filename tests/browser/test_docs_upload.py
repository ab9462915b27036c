"""The upload of docs/app.md and Mux's own uploader, in a real browser."""

import json
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from sandbox.app.server import SampleApp
from sandbox.fault_injection import Fault
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
    "upchunk.js": MODULES / "@mux" / "upchunk" / "dist" / "upchunk.mjs",
    "mux-uploader.js": MODULES / "@mux" / "mux-uploader" / "dist" / "mux-uploader.mjs",
}
HTML = """
<!doctype html><title>The app</title>
<script type="importmap">{"imports": {"@mux/upchunk": "./upchunk.js"}}</script>
<script src="/supabase.js"></script>
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
  const { uploadVideo } = await import("/app/upload-video.js");
  const { stayWhile } = await import("/app/leave-page.js");
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
  await import("/app/mux-uploader.js");
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
    modules = {Path(name).stem: code for name, code in snippets if "services" in name}
    translated = subprocess.run(
        ["node", "-e", TRANSLATE],
        input=json.dumps(modules),
        cwd=MODULES.parent,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    return {f"{name}.js": code for name, code in json.loads(translated).items()}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Write a file of three pieces."""
    path = tmp_path / "scales.mp4"
    path.write_bytes(bytes(range(256)) * (20 * 2**20 // 256))
    return path


@pytest.fixture
def app_page(page: Page, sample_app: SampleApp, mux: MuxSimulator, scripts: dict[str, str]) -> Page:
    """Open a page of the app, with the modules, and a route that creates uploads."""
    origin = sample_app.url.rstrip("/")

    def serve(route: Route) -> None:
        name = route.request.url.rpartition("/")[2]
        if name in PACKAGES:
            route.fulfill(body=PACKAGES[name].read_bytes(), content_type="text/javascript")
        elif name:
            code = scripts[name if name.endswith(".js") else f"{name}.js"]
            route.fulfill(body=code, content_type="text/javascript")
        else:
            route.fulfill(body=HTML, content_type="text/html")

    def create_upload(route: Route) -> None:
        upload = mux.state.add_upload(
            Timeline(file_after_seconds=None), AssetSettings(("public",)), cors_origin=origin
        )
        url = f"{mux.url}/direct-uploads/{upload.url_token}"
        route.fulfill(status=201, json={"id": upload.id, "url": url})

    page.route(f"{origin}/app/**", serve)
    page.route(f"{origin}/api/mux/uploads", create_upload)
    page.goto(f"{origin}/app/")
    return page


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
