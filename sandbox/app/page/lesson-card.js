// The card of one of the user's own lessons, with its video and its actions.

import { createUpload, backdateUpload } from "./app-server.js";
import { errorText, sendingErrorText } from "./error-text.js";
import { publishLesson, trackUpload, watchVideo } from "./lesson-video.js";
import { sendFile } from "./send-file.js";

const STATUS = { draft: "Draft", published: "Published", archived: "Archived" };
const SETTLED = ["status", "mux_playback_id"];
const SENDS_NO_FILE = "abandoned";
const percent = new Intl.NumberFormat("en", { style: "percent" });
const megabytes = new Intl.NumberFormat("en", {
  style: "unit",
  unit: "megabyte",
  maximumFractionDigits: 1,
});
const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });

/** Whether an id is a Mux id and no placeholder. */
export const isReal = (id) => Boolean(id) && !id.startsWith("temp_");

export const playbackUrl = (id) => `https://stream.mux.com/${id}.m3u8`;

/** Length and size of a video that is ready, as far as they are known. */
function mediaText({ durationSeconds, maxResolution, aspectRatio }) {
  const total = Math.round(durationSeconds ?? 0);
  const seconds = String(total % 60).padStart(2, "0");
  const length = durationSeconds === null ? null : `${Math.floor(total / 60)}:${seconds}`;
  return [length, maxResolution, aspectRatio].filter(Boolean).join(" · ");
}

export class LessonCard {
  #session;
  #changed;
  #hasProblem;
  #parts = {};
  #lesson = {};
  #video = null; // as check_asset_status answers
  #watching = null;
  #closed = new AbortController();
  #sending = null; // { share, total, isInterrupted }
  #file = "unknown"; // of the tracked upload: "unknown", "sent", "not sent", "failed"
  #problem = null; // { text, retry }
  #answer = "";

  /**
   * `changed` is called when the lesson may have changed in the database; `hasProblem` returns
   * whether the page shows a problem.
   */
  constructor(template, session, scenarios, changed, hasProblem) {
    this.#session = session;
    this.#changed = changed;
    this.#hasProblem = hasProblem;
    this.element = template.content.firstElementChild.cloneNode(true);
    for (const part of this.element.querySelectorAll("[data-part]")) {
      this.#parts[part.dataset.part] = part;
    }
    this.element.querySelector("select").replaceChildren(...scenarios());
    this.#listen();
  }

  get busy() {
    return this.#sending !== null;
  }

  close() {
    this.#closed.abort();
    this.#watching?.abort();
    this.element.remove();
  }

  /** Show the lesson as it is in the database; if the worker changed it, check its video at once. */
  show(lesson) {
    const changed = SETTLED.some((column) => this.#lesson[column] !== lesson[column]);
    this.#lesson = lesson;
    if (changed && this.#watching !== null) this.#restartWatching();
    this.draw();
  }

  /** Scroll to the lesson and focus it. */
  focus() {
    this.#parts.title.focus();
  }

  /** Poll the status of the video, unless that already runs. */
  watch() {
    if (this.#watching === null && !this.#closed.signal.aborted) void this.#poll();
  }

  async #poll() {
    const stop = new AbortController();
    this.#watching = stop;
    try {
      for await (const video of watchVideo(this.#session.supabase, this.#lesson.id, stop.signal)) {
        this.#video = video;
        this.draw();
        if (video.status === "ready" || video.status === "error") {
          this.#watching = null;
          await this.#changed();
        }
      }
    } catch (error) {
      if (stop.signal.aborted) return;
      this.#fail(`The video could not be checked: ${errorText(error)}`, () => this.watch());
    } finally {
      if (this.#watching === stop) this.#watching = null;
    }
  }

  #restartWatching() {
    this.#watching?.abort();
    this.#watching = null;
    this.watch();
  }

  /** Create an upload, track it before the first byte is sent, then send the file. */
  async upload(file, scenario) {
    if (file.size === 0) return this.#fail("The file is empty. Choose another file.");
    this.#begin(file);
    try {
      const token = await this.#session.token();
      const upload = await createUpload(token, this.#lesson.id, scenario);
      this.#video = await trackUpload(this.#session.supabase, this.#lesson.id, upload.id);
      this.#restartWatching();
      if (scenario === SENDS_NO_FILE) this.#end("not sent");
      else await this.#send(upload.url, file, scenario);
    } catch (error) {
      this.#end("unknown");
      this.#fail(`The upload did not start: ${errorText(error)}`, () => this.upload(file, scenario));
    }
  }

  async #send(url, file, scenario) {
    this.#begin(file);
    const onProgress = (share) => this.#sends({ share, isInterrupted: false });
    const onInterruption = () => this.#sends({ isInterrupted: true });
    try {
      await sendFile(url, file, { onProgress, onInterruption, signal: this.#closed.signal });
      this.#end("sent");
    } catch (error) {
      this.#end("failed");
      if (this.#closed.signal.aborted) return;
      const isFinal = error.status >= 400 && error.status < 500; // for this upload
      const again = () => (isFinal ? this.upload(file, scenario) : this.#send(url, file, scenario));
      this.#fail(sendingErrorText(error), again);
    }
  }

  async #publish() {
    try {
      const { playable } = await publishLesson(this.#session.supabase, this.#lesson.id);
      this.#answer = playable ? "Published." : "Published. The video follows when it is ready.";
      await this.#changed();
      this.#restartWatching();
    } catch (error) {
      this.#fail(errorText(error));
    }
  }

  async #unpublish() {
    const { supabase } = this.#session;
    const { error } = await supabase
      .from("lessons")
      .update({ status: "draft" })
      .eq("id", this.#lesson.id);
    if (error) this.#fail(`The lesson was not unpublished: ${errorText(error)}`);
    else await this.#changed();
  }

  async #backdate() {
    try {
      await backdateUpload(await this.#session.token(), this.#lesson.id);
      this.#restartWatching();
    } catch (error) {
      this.#fail(errorText(error));
    }
  }

  #listen() {
    const actions = {
      publish: () => this.#publish(),
      unpublish: () => this.#unpublish(),
      wait: () => this.#backdate(),
      retry: () => this.#problem?.retry?.(),
    };
    this.element.addEventListener("click", async ({ target }) => {
      const button = target.closest("button[data-do]");
      if (!button || button.ariaDisabled === "true") return;
      const action = actions[button.dataset.do];
      if (button.dataset.do !== "retry") this.#problem = null;
      this.#answer = "";
      button.ariaDisabled = "true"; // `disabled` would lose the keyboard focus
      try {
        await action();
      } finally {
        button.ariaDisabled = "false";
        this.draw();
      }
    });
    this.element.querySelector("form").addEventListener("submit", (event) => {
      event.preventDefault();
      const form = event.target;
      const [file] = form.elements.file.files;
      void this.upload(file, form.elements.scenario.value);
      form.reset();
      this.#parts.again.open = false;
      this.focus(); // the form is hidden while the file is sent
    });
  }

  #begin(file) {
    this.#sending = { share: 0, total: file.size, isInterrupted: false };
    this.#problem = null;
    this.#answer = "";
    this.draw();
  }

  #sends(change) {
    if (this.#sending === null) return;
    Object.assign(this.#sending, change);
    this.draw();
  }

  #end(file) {
    this.#sending = null;
    this.#file = file;
    this.draw();
  }

  #fail(text, retry = null) {
    this.#problem = { text, retry };
    this.draw();
  }

  /** Draw the lesson again; the page calls it too when its problems change. */
  draw() {
    const { title, description, price, status, mux_playback_id: playbackId } = this.#lesson;
    const video = this.#video?.status;
    const waits = video === "processing" && !this.busy;
    const stuck = waits && this.#video.stuck;
    const plays = isReal(playbackId);
    this.#setText("title", title);
    this.#setText("description", description);
    this.#setText("price", price === null ? "" : `Price ${price.toFixed(2)}`);
    this.#setText("status", STATUS[status] ?? status);
    this.#parts.status.dataset.status = status;
    this.#setText("video", this.#videoText());
    this.#parts.video.dataset.status = this.busy ? "sending" : (video ?? "");
    this.#drawProgress(waits && !stuck);
    this.#setText("problem", this.#problem?.text);
    this.#show("retry", Boolean(this.#problem?.retry));
    this.#show("stuck", stuck && status === "draft");
    this.#setText("answer", this.#answer);
    this.#setText("media", video === "ready" ? mediaText(this.#video) : "");
    this.#show("ids", plays);
    this.#setText("playback-id", plays ? playbackId : "");
    this.#setText("playback-url", plays ? playbackUrl(playbackId) : "");
    this.#setText("checked", waits ? this.#checkedText() : "");
    const more = video === undefined || video === "unknown" ? "a video" : "another video";
    this.#setText("again-title", `Upload ${more}`);
    this.#show("again", !this.busy);
    this.#show("unpublish", status === "published" && !this.busy);
    this.#show("demo", waits && !stuck);
  }

  /** Draw how much of the file is sent, and then how much of the video is encoded. */
  #drawProgress(encodes) {
    const share = this.busy ? this.#sending.share : this.#encodedShare();
    this.#show("progress", this.busy || (encodes && (share !== null || this.#file === "sent")));
    if (this.#parts.progress.hidden) return;
    const { bar } = this.#parts;
    bar.ariaLabel = `${this.busy ? "Sent" : "Encoded"} of “${this.#lesson.title}”`;
    if (share === null) bar.removeAttribute("value");
    else bar.value = share;
    const total = this.busy ? ` of ${megabytes.format(this.#sending.total / 1e6)}` : "";
    this.#setText("done", share === null ? "" : percent.format(share) + total);
  }

  /** The share of the video that is encoded; null if Mux has not reported any yet. */
  #encodedShare() {
    return this.#video?.progress == null ? null : this.#video.progress / 100;
  }

  #videoText() {
    if (this.busy) return this.#sendingText();
    if (this.#video?.error) return this.#video.error.message;
    switch (this.#video?.status) {
      case undefined:
        return "";
      case "unknown":
        return "No video yet.";
      case "ready":
        return "The video is ready.";
    }
    return this.#video.stuck && this.#file !== "not sent"
      ? "The video has been processing for more than half an hour."
      : this.#processingText();
  }

  #sendingText() {
    if (!navigator.onLine) return "You are offline. The upload continues when you are online again.";
    if (this.#sending.isInterrupted) return "The connection to Mux was interrupted. The page tries again.";
    return "Uploading the file to Mux. Keep this page open.";
  }

  #processingText() {
    switch (this.#encodedShare() === null ? this.#file : "sent") {
      case "sent":
        return this.#problem || this.#hasProblem()
          ? "The video is being processed."
          : "The video is being processed. You may close this tab.";
      case "failed":
        return "The file has not arrived at Mux.";
      case "not sent":
        return "No file was sent, as if the tab had been closed. The upload times out after a minute.";
    }
    return "The video is being processed. If the page was closed before the file was sent, upload it again.";
  }

  #checkedText() {
    const { checkedAt } = this.#video;
    return checkedAt ? `Last checked at ${clock.format(new Date(checkedAt))}.` : "";
  }

  #setText(name, text) {
    const part = this.#parts[name];
    if (part.textContent !== (text ?? "")) part.textContent = text ?? "";
    part.hidden = !text;
  }

  #show(name, shown) {
    this.#parts[name].hidden = !shown;
  }
}
