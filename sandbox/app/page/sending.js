// Sends a file to the url of a Mux upload, straight from the browser.

/** Send; `onProgress` is given the bytes that are on their way and how many there are. */
export async function sendFile(url, file, onProgress, signal) {
  signal.throwIfAborted();
  await new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("PUT", url);
    request.upload.onprogress = ({ loaded, total }) => onProgress(loaded, total);
    request.onload = () =>
      request.status >= 200 && request.status < 300
        ? resolve()
        : reject(new Error(whyRefused(request)));
    request.onerror = () => reject(new Error("The connection to Mux broke off."));
    request.onabort = () => reject(new DOMException("The page stopped sending.", "AbortError"));
    signal.addEventListener("abort", () => request.abort(), { once: true });
    request.send(file);
  });
}

function whyRefused(request) {
  try {
    return `Mux did not take the file: ${JSON.parse(request.responseText).error.messages[0]}.`;
  } catch {
    return `Mux did not take the file: HTTP ${request.status}.`;
  }
}
