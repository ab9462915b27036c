// What went wrong, in words for the instructor.

const NO_ANSWER = /Failed to fetch|NetworkError|Load failed/; // of Chromium, Firefox and Safari

/** The text of an error, in one or two sentences. */
export function errorText(error) {
  if (!navigator.onLine) return "You are offline.";
  if (NO_ANSWER.test(error.message)) return "Supabase does not answer. Check that the demo is running.";
  const text = /[.?!]$/.test(error.message) ? error.message : `${error.message}.`;
  return error.hint ? `${text} ${error.hint}` : text;
}

/** The text of a `SendingError`. */
export function sendingErrorText({ status }) {
  if (status === undefined) return "The file could not be read. Choose it again.";
  if (status === 0) return "The connection to Mux was lost.";
  return `Mux did not accept the file: HTTP ${status}.`;
}
