// One lesson of the instructor who is logged in, and all that can be done with it.

import { createUpload, letHalfAnHourPass } from "./app-server.js";
import { publishLesson, trackUpload, watchVideo } from "./lesson-video.js";
import { sendFile } from "./sending.js";

const STATUS = { draft: "Draft", published: "Published", archived: "Archived" };
const SETTLED = ["status", "mux_playback_id"];
const SENDS_NOTHING = "abandoned";
const whole = new Intl.NumberFormat("en", { style: "percent" });
const megabytes = new Intl.NumberFormat("en", {
  style: "unit",
  unit: "megabyte",
  maximumFractionDigits: 1,
});
const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });

/** Whether an id is one of Mux and no placeholder. */
export const isReal = (id) => Boolean(id) && !id.startsWith("temp_");

export const playbackUrl = (id) => `https://stream.mux.com/${id}.m3u8`;

/** What can be said of an error, in one or two sentences. */
export const inWords = (error) => {
  const text = /[.?!]$/.test(error.message) ? error.message : `${error.message}.`;
  return error.hint ? `${text} ${error.hint}` : text;
};

export class LessonCard {
  #session;
  #changed;
  #parts = {};
  #lesson = {};
  #video = null; // as check_asset_status answers
  #watching = null;
  #closed = new AbortController();
  #sending = null; // { sent, total }
  #problem = null; // { text, retry }
  #answer = "";
  #sentNothing = false;

  /** `changed` is called when the lesson may have changed in the database. */
  constructor(template, session, fates, changed) {
    this.#session = session;
    this.#changed = changed;
    this.element = template.content.firstElementChild.cloneNode(true);
    for (const part of this.element.querySelectorAll("[data-part]")) {
      this.#parts[part.dataset.part] = part;
    }
    this.element.querySelector("select").replaceChildren(...fates());
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

  /** Show the lesson as the database has it now; if the worker changed it, look at once. */
  show(lesson) {
    const changed = SETTLED.some((column) => this.#lesson[column] !== lesson[column]);
    this.#lesson = lesson;
    if (changed && this.#watching !== null) this.#watchAnew();
    this.#draw();
  }

  /** Bring the lesson into sight, and the keyboard to it. */
  focus() {
    this.#parts.title.focus();
  }

  /** Follow the video, unless somebody does already. */
  watch() {
    if (this.#watching === null && !this.#closed.signal.aborted) void this.#follow();
  }

  async #follow() {
    const stop = new AbortController();
    this.#watching = stop;
    try {
      for await (const video of watchVideo(this.#session.supabase, this.#lesson.id, stop.signal)) {
        this.#video = video;
        this.#draw();
        if (video.status === "ready" || video.status === "error") {
          this.#watching = null;
          await this.#changed();
        }
      }
    } catch (error) {
      if (stop.signal.aborted) return;
      this.#fail(`The video could not be looked at: ${inWords(error)}`, () => this.watch());
    } finally {
      if (this.#watching === stop) this.#watching = null;
    }
  }

  #watchAnew() {
    this.#watching?.abort();
    this.#watching = null;
    this.watch();
  }

  /** Have an upload made, track it before its first byte, then send the file. */
  async upload(file, fate) {
    this.#begin({ sent: 0, total: file.size });
    try {
      const token = await this.#session.token();
      const upload = await createUpload(token, this.#lesson.id, fate);
      this.#video = await trackUpload(this.#session.supabase, this.#lesson.id, upload.id);
      this.#watchAnew();
      this.#sentNothing = fate === SENDS_NOTHING;
      if (this.#sentNothing) this.#end();
      else await this.#send(upload.url, file);
    } catch (error) {
      this.#end();
      this.#fail(`No upload was begun: ${inWords(error)}`, () => this.upload(file, fate));
    }
  }

  async #send(url, file) {
    this.#begin({ sent: 0, total: file.size });
    try {
      const progress = (sent, total) => this.#begin({ sent, total });
      await sendFile(url, file, progress, this.#closed.signal);
      this.#end();
    } catch (error) {
      this.#end();
      if (error.name !== "AbortError") this.#fail(error.message, () => this.#send(url, file));
    }
  }

  async #publish() {
    try {
      const { playable } = await publishLesson(this.#session.supabase, this.#lesson.id);
      this.#answer = playable ? "Published." : "Published. The video will follow.";
      await this.#changed();
      this.#watchAnew();
    } catch (error) {
      this.#fail(inWords(error));
    }
  }

  async #unpublish() {
    const { supabase } = this.#session;
    const { error } = await supabase
      .from("lessons")
      .update({ status: "draft" })
      .eq("id", this.#lesson.id);
    if (error) this.#fail(`The lesson was not unpublished: ${inWords(error)}`);
    else await this.#changed();
  }

  async #letTimePass() {
    try {
      await letHalfAnHourPass(await this.#session.token(), this.#lesson.id);
      this.#watchAnew();
    } catch (error) {
      this.#fail(inWords(error));
    }
  }

  #listen() {
    const deeds = {
      publish: () => this.#publish(),
      unpublish: () => this.#unpublish(),
      wait: () => this.#letTimePass(),
      retry: () => this.#problem?.retry?.(),
    };
    this.element.addEventListener("click", async ({ target }) => {
      const button = target.closest("button[data-do]");
      if (!button || button.ariaDisabled === "true") return;
      const deed = deeds[button.dataset.do];
      if (button.dataset.do !== "retry") this.#problem = null;
      this.#answer = "";
      button.ariaDisabled = "true"; // and not `disabled`, which would lose the keyboard's place
      try {
        await deed();
      } finally {
        button.ariaDisabled = "false";
        this.#draw();
      }
    });
    this.element.querySelector("form").addEventListener("submit", (event) => {
      event.preventDefault();
      const form = event.target;
      const [file] = form.elements.file.files;
      void this.upload(file, form.elements.fate.value);
      form.reset();
      this.#parts.again.open = false;
      this.focus(); // the form is hidden while the file is sent
    });
  }

  #begin(sending) {
    this.#sending = sending;
    this.#problem = null;
    this.#answer = "";
    this.#sentNothing = false;
    this.#draw();
  }

  #end() {
    this.#sending = null;
    this.#draw();
  }

  #fail(text, retry = null) {
    this.#problem = { text, retry };
    this.#draw();
  }

  #draw() {
    const { title, description, price, status, mux_playback_id: playbackId } = this.#lesson;
    const video = this.#video?.status;
    const waits = video === "processing" && !this.busy;
    const stuck = waits && this.#video.stuck;
    const plays = isReal(playbackId);
    this.#say("title", title);
    this.#say("description", description);
    this.#say("price", price === null ? "" : `Price ${price.toFixed(2)}`);
    this.#say("status", STATUS[status] ?? status);
    this.#parts.status.dataset.status = status;
    this.#say("video", this.#videoInWords());
    this.#parts.video.dataset.status = this.busy ? "sending" : (video ?? "");
    this.#drawSending();
    this.#say("problem", this.#problem?.text);
    this.#show("retry", Boolean(this.#problem?.retry));
    this.#show("stuck", stuck && status === "draft");
    this.#say("answer", this.#answer);
    this.#show("playback", plays);
    this.#say("playback-id", plays ? playbackId : "");
    this.#say("playback-url", plays ? playbackUrl(playbackId) : "");
    this.#say("checked", waits ? this.#checkedInWords() : "");
    const more = video === undefined || video === "unknown" ? "a video" : "another video";
    this.#say("again-title", `Upload ${more}`);
    this.#show("again", !this.busy);
    this.#show("unpublish", status === "published" && !this.busy);
    this.#show("demo", waits && !stuck);
  }

  #drawSending() {
    this.#show("sending", this.busy);
    if (!this.busy) return;
    const { sent, total } = this.#sending;
    const share = total ? sent / total : 0;
    this.#parts.progress.value = share;
    this.#parts.progress.ariaLabel = `Sent of “${this.#lesson.title}”`;
    this.#say("sent", `${whole.format(share)} of ${megabytes.format(total / 1e6)}`);
  }

  #videoInWords() {
    if (this.busy) return "The file is on its way to Mux.";
    if (this.#video?.error) return this.#video.error.message;
    switch (this.#video?.status) {
      case undefined:
        return "";
      case "unknown":
        return "No video yet.";
      case "ready":
        return "The video is ready.";
    }
    if (this.#sentNothing) {
      return "Not a byte was sent, as if this tab had been closed. Mux gives the upload up after a minute.";
    }
    return this.#video.stuck
      ? "The video is still being processed, after more than half an hour."
      : "The video is being processed. You may close this tab.";
  }

  #checkedInWords() {
    const { checkedAt } = this.#video;
    return checkedAt ? `The worker last asked Mux at ${clock.format(new Date(checkedAt))}.` : "";
  }

  #say(name, text) {
    const part = this.#parts[name];
    if (part.textContent !== (text ?? "")) part.textContent = text ?? "";
    part.hidden = !text;
  }

  #show(name, shown) {
    this.#parts[name].hidden = !shown;
  }
}
