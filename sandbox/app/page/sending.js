// Send a file from the browser to the URL of a Mux upload.

/** Send a file; `onProgress` is called with the bytes sent and the total. */
export async function sendFile(url, file, onProgress, signal) {
  signal.throwIfAborted();
  await new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("PUT", url);
    request.upload.onprogress = ({ loaded, total }) => onProgress(loaded, total);
    request.onload = () =>
      request.status >= 200 && request.status < 300
        ? resolve()
        : reject(new Error(refusalText(request)));
    request.onerror = () => reject(new Error("The connection to Mux was lost."));
    request.onabort = () => reject(new DOMException("The page stopped sending.", "AbortError"));
    signal.addEventListener("abort", () => request.abort(), { once: true });
    request.send(file);
  });
}

function refusalText(request) {
  try {
    return `Mux did not accept the file: ${JSON.parse(request.responseText).error.messages[0]}.`;
  } catch {
    return `Mux did not accept the file: HTTP ${request.status}.`;
  }
}
