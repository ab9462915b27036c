// The app, as docs/app.md has it: plays scenes with the real supabase-js and prints what it saw.
//
// Each line of its input is one, {"scene": …, "url": …, "key": …, "token": …, …}, and each line of its
// output is what came of it.

// @ts-expect-error: there are no types of Node's own here
import { createInterface } from "node:readline";
import Mux from "@mux/mux-node";
import { createClient, type SupabaseClient } from "@supabase/supabase-js";
// @ts-expect-error: it brings no types, and Node 20 has no WebSocket of its own
import ws from "ws";
import { POST as createUpload } from "./app/api/mux/uploads/route";
import { followVideo } from "./app/services/follow-video";
import {
  checkAssetStatus,
  publishLesson,
  trackUpload,
  VideoError,
  watchVideo,
} from "./app/services/lesson-video";
import { type Client, readLessons } from "./app/services/supabase";
import { type News, videoSettled } from "./app/services/video-settled";

type Asked = {
  scene: string;
  url: string;
  key: string;
  token: string | null; // of who is signed in
  lesson: string;
  upload: string;
  mux: string; // its base URL
  mux_id: string;
  mux_secret: string;
  body: string;
  header: string;
};
type Scene = (supabase: SupabaseClient, asked: Asked) => Promise<unknown>;

const CLOCK_SPEED = 100;
let pauses: number[] = [];

/** Let the app's pauses pass a hundred times as fast, and note how long they would have been. */
function speedUpClock() {
  const real = globalThis.setTimeout;
  const quick = (done: (...rest: unknown[]) => void, milliseconds: number, ...rest: unknown[]) => {
    // Node's fetch keeps its own time with this function, in shorter steps.
    if (milliseconds < 5_000) return real(done, milliseconds, ...rest);
    pauses.push(milliseconds);
    return real(done, milliseconds / CLOCK_SPEED);
  };
  globalThis.setTimeout = quick as typeof setTimeout;
}

/** Give what a call answered or, where it threw, what the app learns from the error. */
async function outcome(answer: Promise<unknown>) {
  try {
    return await answer;
  } catch (error) {
    if (!(error instanceof VideoError)) throw error;
    const { status, code, message, hint } = error;
    return { status, code, message, hint };
  }
}

/** Give what a direct write answered, as supabase-js has it. */
async function written(
  answer: PromiseLike<{
    status: number;
    error: { code: string; message: string; hint: string } | null;
  }>,
) {
  const { status, error } = await answer;
  if (!error) return { status };
  const { code, message, hint } = error;
  return { status, code, message, hint };
}

/** Watch a lesson's video to the end, or until it was looked at so often. */
async function watched(supabase: SupabaseClient, lesson: string, most = Infinity) {
  pauses = [];
  const stop = new AbortController();
  const seen: unknown[] = [];
  const watching = async () => {
    for await (const video of watchVideo(supabase, lesson, stop.signal)) {
      seen.push(video);
      if (seen.length === most) stop.abort();
    }
  };
  return { end: (await outcome(watching())) ?? null, seen, pauses };
}

/** A socket to a Realtime that accepts every subscription and then sends one change of it. */
class RealtimeSocket {
  readyState = 0;
  onopen: (() => void) | null = null;
  onclose: ((event: unknown) => void) | null = null;
  onmessage: ((event: { data: string }) => void) | null = null;
  static filters: unknown[] = [];

  constructor() {
    setTimeout(() => {
      this.readyState = 1;
      this.onopen?.();
    });
  }

  send(text: string) {
    const [joinRef, ref, topic, event, payload] = JSON.parse(text);
    const answer = (name: string, content: unknown) =>
      this.onmessage?.({ data: JSON.stringify([joinRef, ref, topic, name, content]) });
    if (event !== "phx_join") return answer("phx_reply", { status: "ok", response: {} });
    const asked = payload.config.postgres_changes;
    RealtimeSocket.filters.push(...asked);
    const response = { postgres_changes: [{ id: 1, ...asked[0] }] };
    answer("phx_reply", { status: "ok", response });
    const { schema, table } = asked[0];
    const data = { schema, table, type: "UPDATE", commit_timestamp: "", columns: [], record: {}, old_record: {} };
    setTimeout(() => answer("postgres_changes", { ids: [1], data }));
  }

  close() {
    this.readyState = 3;
    this.onclose?.({ code: 1000 });
  }
}

/** The app's server has these settings. */
function serve({ url, key, mux, mux_id, mux_secret }: Asked) {
  Object.assign(process.env, {
    SUPABASE_URL: url,
    SUPABASE_PUBLISHABLE_KEY: key,
    APP_ORIGIN: "https://app.example",
    MUX_BASE_URL: mux,
    MUX_TOKEN_ID: mux_id,
    MUX_TOKEN_SECRET: mux_secret,
    WEBHOOK_SECRET: "of the webhook",
  });
}

/** Post JSON to a route of the app; return status and body. */
async function posted(
  route: (request: Request) => Promise<Response>,
  token: string | null,
  body: string,
) {
  const headers = token === null ? {} : { Authorization: `Bearer ${token}` };
  const answer = await route(new Request("https://app.example", { method: "POST", headers, body }));
  const text = await answer.text();
  return { status: answer.status, body: text && JSON.parse(text) };
}

const scenes: Record<string, Scene> = {
  /** The lesson form: a draft of the signed-in user; returns its id. */
  create: async (supabase, { token }) => {
    const { sub } = JSON.parse(atob(token!.split(".")[1]!.replace(/-/g, "+").replace(/_/g, "/")));
    const row = { title: "Scales", creator_id: sub };
    return (await supabase.from("lessons").insert(row).select("id, status").throwOnError()).data;
  },

  track: (supabase, { lesson, upload }) => outcome(trackUpload(supabase, lesson, upload)),
  check: (supabase, { lesson }) => outcome(checkAssetStatus(supabase, lesson)),
  publish: (supabase, { lesson }) => outcome(publishLesson(supabase, lesson)),
  watch: (supabase, { lesson }) => watched(supabase, lesson),
  watch_eight_times: (supabase, { lesson }) => watched(supabase, lesson, 8),

  /** The lesson's page. */
  lesson: async (supabase, { lesson }) => {
    const columns = "status, mux_asset_id, mux_playback_id";
    return (await supabase.from("lessons").select(columns).eq("id", lesson).throwOnError()).data;
  },

  /** The report's own track-upload, with the option that supabase-js knows no more. */
  upsert: (supabase, { lesson, upload }) => {
    const row = {
      lesson_id: lesson,
      upload_id: upload,
      temp_asset_id: `temp_${upload}`,
      status: "processing",
      updated_at: new Date().toISOString(),
    };
    const options = { onConflict: "lesson_id", returning: "minimal" };
    return written(supabase.from("mux_asset_tracking").upsert(row, options));
  },

  /** The first step of the report's own update-asset. */
  update_asset: (supabase, { lesson }) => {
    const values = { mux_asset_id: "asset", mux_playback_id: "playback", status: "ready" };
    return written(supabase.from("mux_asset_tracking").update(values).eq("lesson_id", lesson));
  },
  say_ready: (supabase, { lesson }) =>
    written(
      supabase.from("mux_asset_tracking").update({ status: "ready" }).eq("lesson_id", lesson),
    ),

  /** The app's route that creates an upload. */
  make_upload: (_, asked) => {
    serve(asked);
    return posted(createUpload, asked.token, JSON.stringify({ lessonId: asked.lesson }));
  },

  /** The user's own lessons, through the typed client. */
  own: async (supabase, { header: userId }) =>
    (await readLessons(supabase as unknown as Client, userId)).data,

  /** Follow a video until it was looked at twice. */
  follow: async (supabase, { lesson }) => {
    RealtimeSocket.filters = [];
    const seen: unknown[] = [];
    await new Promise<void>((resolve, reject) => {
      const stop = followVideo(supabase, lesson, see, reject);
      function see(video: unknown) {
        seen.push(video);
        if (seen.length < 2) return;
        stop();
        resolve();
      }
    });
    return { seen, filters: RealtimeSocket.filters };
  },

  /** The app's route that Database Webhooks call, with and without the right secret. */
  settled: async (_, asked) => {
    serve(asked);
    const news: News[] = [];
    const route = videoSettled(async (one) => void news.push(one));
    const answers = [
      await posted(route, "of the webhook", asked.body),
      await posted(route, "of another", asked.body),
    ];
    return { news, statuses: answers.map(({ status }) => status) };
  },

  /** What an app's server does with mux-node: upload, asset and playback ids, from first to last. */
  mux_node: async (_, { mux: baseURL, mux_id: tokenId, mux_secret: tokenSecret }) => {
    const { video } = new Mux({ baseURL, tokenId, tokenSecret });
    const settings = { playback_policies: ["public" as const], passthrough: "a lesson" };
    const made = await video.uploads.create({ cors_origin: "*", new_asset_settings: settings });
    await fetch(made.url!, { method: "PUT", body: "a video" });
    const upload = await video.uploads.retrieve(made.id);
    const asset = await video.assets.retrieve(upload.asset_id!);
    const [first] = asset.playback_ids!;
    const added = await video.assets.createPlaybackId(asset.id, { policy: "signed" });
    await video.assets.deletePlaybackId(asset.id, first!.id);
    const refused = await video.uploads.cancel(made.id).catch((error) => error.status);
    const listed = [];
    for await (const one of video.assets.list({ limit: 1 })) listed.push(one.id);
    const uploads = [];
    for await (const one of video.uploads.list({ limit: 1 })) uploads.push(one.id);
    const found = await video.playbackIds.retrieve(added.id);
    const lost = await video.playbackIds.retrieve(first!.id).catch((error) => error.status);
    await video.assets.delete(asset.id);
    const gone = await video.assets.retrieve(asset.id).catch((error) => error.status);
    return { made, upload, asset, added, refused, listed, uploads, found, lost, gone };
  },

  /** What mux-node makes of a webhook. */
  unwrap: async (_, { mux_secret: webhookSecret, body, header }) => {
    const { webhooks } = new Mux({ webhookSecret });
    try {
      return await webhooks.unwrap(body, { "mux-signature": header });
    } catch (error) {
      return String(error);
    }
  },

  /** All rows that the signed-in user can read. */
  read: async (supabase) => ({
    tracking: (await supabase.from("mux_asset_tracking").select("lesson_id").throwOnError()).data,
    events: (await supabase.from("mux_asset_events").select("event").throwOnError()).data,
  }),
};

/** Play a scene as who is signed in. */
function play(asked: Asked) {
  const { token } = asked;
  const supabase = createClient(asked.url, asked.key, {
    ...(asked.scene === "follow" ? { realtime: { transport: RealtimeSocket as never } } : {}),
    ...(token === null ? {} : { accessToken: async () => token }),
  });
  return scenes[asked.scene]!(supabase, asked);
}

/** Play what is asked for, line by line. */
async function main() {
  speedUpClock();
  Object.assign(globalThis, { WebSocket: ws });
  for await (const line of createInterface({ input: process.stdin })) {
    console.log(JSON.stringify(await play(JSON.parse(line))));
  }
}

main();
