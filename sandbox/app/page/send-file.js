// app/services/send-file.ts of docs/app.md, as TypeScript translates it; a test compares them.
import { createUpload } from "./upchunk.js";
const RETRY_SECONDS = 1;
const RETRY_CODES = [0, 408, 429, 500, 502, 503, 504]; // 0: the connection was cut
/** The file did not arrive. */
export class SendingError extends Error {
    status;
    constructor(status) {
        super(`The file was not sent: ${status ?? "it cannot be read"}`);
        this.status = status;
    }
}
/** Send a file to the URL of a Mux upload, in pieces; through interruptions, and time offline. */
export async function sendFile(url, file, sending = {}) {
    const { onProgress, onInterruption, signal } = sending;
    signal?.throwIfAborted();
    const over = new AbortController();
    const whileSending = { signal: over.signal };
    const send = (resolve, reject) => {
        const upload = createUpload({
            endpoint: url,
            file,
            chunkSize: 8_192, // KiB: what is sent again after an interruption, at most
            retryCodes: RETRY_CODES,
            delayBeforeAttempt: RETRY_SECONDS,
        });
        // When the browser is online again, UpChunk sends the next piece, also if the last one is still
        // on its way or about to be repeated, and mixes them up. So it goes on when that is settled.
        let isSending = false;
        const settle = () => {
            isSending = false;
            setTimeout(goOn, 1_100 * RETRY_SECONDS);
        };
        const goOn = () => {
            if (navigator.onLine && !isSending && !over.signal.aborted)
                upload.resume();
        };
        upload.on("attempt", () => (isSending = true));
        upload.on("chunkSuccess", settle);
        upload.on("attemptFailure", settle);
        addEventListener("offline", () => upload.pause(), whileSending);
        addEventListener("online", () => setTimeout(goOn, 1_100 * RETRY_SECONDS), whileSending);
        upload.on("progress", ({ detail }) => onProgress?.(detail / 100));
        upload.on("attemptFailure", () => onInterruption?.());
        upload.on("success", resolve);
        upload.on("error", ({ detail }) => reject(new SendingError(detail.response?.statusCode)));
        const stop = () => {
            upload.abort();
            reject(signal?.reason);
        };
        signal?.addEventListener("abort", stop, whileSending);
    };
    await new Promise(send).finally(() => over.abort());
}
