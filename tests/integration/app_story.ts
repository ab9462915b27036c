// The app, as docs/app.md has it: plays scenes with the real supabase-js and prints what it saw.
//
// Each line of its input is one, {"scene": …, "url": …, "key": …, "token": …, "lesson": …,
// "upload": …}, and each line of its output is what came of it.

// @ts-expect-error: there are no types of Node's own here
import { createInterface } from "node:readline";
import { createClient, type SupabaseClient } from "@supabase/supabase-js";
// @ts-expect-error: it brings no types, and Node 20 has no WebSocket of its own
import ws from "ws";
import {
  checkAssetStatus,
  publishLesson,
  trackUpload,
  VideoError,
  watchVideo,
} from "./app/services/lesson-video";

declare const process: { stdin: unknown };

type Asked = {
  scene: string;
  url: string;
  key: string;
  token: string | null; // of who is signed in
  lesson: string;
  upload: string;
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
    realtime: { transport: ws },
    ...(token === null ? {} : { accessToken: async () => token }),
  });
  return scenes[asked.scene]!(supabase, asked);
}

/** Play what is asked for, line by line. */
async function main() {
  speedUpClock();
  for await (const line of createInterface({ input: process.stdin })) {
    console.log(JSON.stringify(await play(JSON.parse(line))));
  }
}

main();
