// app/services/lesson-video.ts of docs/app.md, as TypeScript translates it; a test compares them.
export class VideoError extends Error {
    status;
    code;
    hint;
    constructor(status, // of HTTP; 0: no answer came
    cause) {
        super(cause.message, { cause });
        this.status = status;
        this.code = cause.code;
        this.hint = cause.hint || null;
    }
}
async function call(supabase, name, args) {
    const { data, error, status } = await supabase.rpc(name, args);
    if (error)
        throw new VideoError(status, error);
    return data;
}
export const trackUpload = (supabase, lessonId, uploadId) => call(supabase, "track_upload", { lesson_id: lessonId, upload_id: uploadId });
export const checkAssetStatus = (supabase, lessonId) => call(supabase, "check_asset_status", { lesson_id: lessonId });
export const publishLesson = (supabase, lessonId) => call(supabase, "publish_lesson", { lesson_id: lessonId });
/** Yield the status now and after each pause, until it is ready or error, or the signal aborts. */
export async function* watchVideo(supabase, lessonId, signal = new AbortController().signal) {
    for (let pause = 5_000; !signal.aborted; pause = Math.min(pause * 1.5, 30_000)) {
        try {
            const video = await checkAssetStatus(supabase, lessonId);
            if (signal.aborted)
                return;
            yield video;
            if (video.status === "ready" || video.status === "error")
                return;
        }
        catch (error) {
            if (signal.aborted)
                return;
            const passes = error instanceof VideoError && (error.status === 0 || error.status >= 500);
            if (!passes)
                throw error;
        }
        await new Promise((resolve) => setTimeout(resolve, pause));
    }
}
