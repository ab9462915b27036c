// The script that the worker is compared to, from the report which the project began with: its
// scripts/fix-lesson-status.ts with the getAssetStatus and withRetry of its app/services/mux.ts.
//
// Ported line by line: types are gone, and so are its lines to the console. `assets.get`, which
// Mux's client does not have, is `assets.retrieve`. Where Mux is comes from MUX_BASE_URL, and
// supabase-js is handed a WebSocket, which Node 20 lacks. Errors end it with status 1.

import { createRequire } from "node:module";
import Mux from "@mux/mux-node";
import { createClient } from "@supabase/supabase-js";

const require = createRequire(import.meta.url);

const muxClient = new Mux({
  baseURL: process.env.MUX_BASE_URL,
  tokenId: process.env.MUX_TOKEN_ID,
  tokenSecret: process.env.MUX_TOKEN_SECRET,
});

async function withRetry(fn, retries = 3, delay = 1000) {
  try {
    return await fn();
  } catch (error) {
    if (retries <= 0) throw error;
    const shouldRetry =
      error instanceof Error &&
      (error.message.includes("timeout") ||
        error.message.includes("rate limit") ||
        error.message.includes("network"));
    if (!shouldRetry) throw error;
    await new Promise((resolve) => setTimeout(resolve, delay));
    return withRetry(fn, retries - 1, delay * 2);
  }
}

async function getAssetStatus(assetId) {
  if (assetId.startsWith("temp_")) {
    return {
      id: assetId,
      status: "preparing",
      error: { message: "This is a temporary asset ID", type: "temp_asset" },
    };
  }
  try {
    const asset = await withRetry(() => muxClient.video.assets.retrieve(assetId));
    if (!asset) {
      throw new Error("Mux API returned null or undefined asset");
    }
    return {
      id: asset.id,
      status: asset.status,
      playbackId: asset.playback_ids?.[0]?.id,
      error: undefined,
    };
  } catch (error) {
    let errorType = "unknown";
    let errorMessage = "Unknown error occurred";
    if (error instanceof Error) {
      errorMessage = error.message;
      if (errorMessage.includes("not found")) {
        errorType = "not_found";
      } else if (errorMessage.includes("rate limit")) {
        errorType = "rate_limit";
      } else if (errorMessage.includes("unauthorized")) {
        errorType = "auth_error";
      } else if (errorMessage.includes("timeout")) {
        errorType = "timeout";
      }
    }
    return { id: assetId, status: "errored", error: { message: errorMessage, type: errorType } };
  }
}

async function fixLessonStatus() {
  const supabase = createClient(
    process.env.NEXT_PUBLIC_SUPABASE_URL,
    process.env.SUPABASE_SERVICE_ROLE_KEY,
    { realtime: { transport: require("ws") } },
  );

  const { data: lessons, error } = await supabase
    .from("lessons")
    .select("*")
    .or("status.eq.draft,mux_playback_id.like.temp_playback_%");
  if (error) {
    throw new Error(`Error fetching lessons: ${error.message}`);
  }

  const stats = { processed: 0, updated: 0, skipped: 0, failed: 0 };

  const batchSize = 5;
  for (let i = 0; i < lessons.length; i += batchSize) {
    const batch = lessons.slice(i, i + batchSize);

    await Promise.all(
      batch.map(async (lesson) => {
        try {
          stats.processed++;
          if (!lesson.mux_asset_id) {
            stats.skipped++;
            return;
          }
          if (lesson.mux_playback_id && !lesson.mux_playback_id.startsWith("temp_")) {
            stats.skipped++;
            return;
          }
          if (!lesson.mux_asset_id.startsWith("temp_")) {
            const assetStatus = await getAssetStatus(lesson.mux_asset_id);

            if (assetStatus.status === "ready" && assetStatus.playbackId) {
              const { error: updateError } = await supabase
                .from("lessons")
                .update({
                  status: "published",
                  mux_playback_id: assetStatus.playbackId,
                  updated_at: new Date().toISOString(),
                })
                .eq("id", lesson.id);
              if (updateError) {
                throw new Error(`Database update failed: ${updateError.message}`);
              }
              await supabase.from("mux_asset_tracking").upsert(
                {
                  lesson_id: lesson.id,
                  upload_id: "migrated",
                  mux_asset_id: lesson.mux_asset_id,
                  mux_playback_id: assetStatus.playbackId,
                  status: "ready",
                  created_at: new Date().toISOString(),
                  updated_at: new Date().toISOString(),
                },
                { onConflict: "lesson_id" },
              );
              stats.updated++;
            } else if (assetStatus.status === "errored") {
              stats.failed++;
              await supabase.from("mux_asset_tracking").upsert(
                {
                  lesson_id: lesson.id,
                  upload_id: "migrated",
                  mux_asset_id: lesson.mux_asset_id,
                  status: "error",
                  error_message: assetStatus.error?.message,
                  created_at: new Date().toISOString(),
                  updated_at: new Date().toISOString(),
                },
                { onConflict: "lesson_id" },
              );
            } else {
              stats.skipped++;
              await supabase.from("mux_asset_tracking").upsert(
                {
                  lesson_id: lesson.id,
                  upload_id: "migrated",
                  mux_asset_id: lesson.mux_asset_id,
                  status: "processing",
                  created_at: new Date().toISOString(),
                  updated_at: new Date().toISOString(),
                },
                { onConflict: "lesson_id" },
              );
            }
          } else {
            stats.skipped++;
          }
        } catch (error) {
          console.error(`Error processing lesson ${lesson.id}:`, error);
          stats.failed++;
        }
      }),
    );

    // Add a small delay between batches to avoid rate limiting
    if (i + batchSize < lessons.length) {
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }
  return stats;
}

fixLessonStatus()
  .then((stats) => {
    console.log(JSON.stringify(stats));
    process.exit(0);
  })
  .catch((error) => {
    console.error("Script failed:", error);
    process.exit(1);
  });
