// The app's own server: what it alone can do, since it alone has Mux's secret.

/** A refusal, or (status 0) no answer. */
export class ServerError extends Error {
  constructor(status, message, hint) {
    super(hint ? `${message}. ${hint}` : message);
    this.status = status;
  }
}

async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (cause) {
    throw new ServerError(0, "The app's server does not answer", "Is the demo still running?");
  }
  const body = response.status === 204 ? null : await response.json().catch(() => ({}));
  if (!response.ok) {
    throw new ServerError(response.status, body.message ?? `HTTP ${response.status}`, body.hint);
  }
  return body;
}

const post = (path, body, token) =>
  ask(path, {
    method: "POST",
    body: JSON.stringify(body),
    headers: {
      "Content-Type": "application/json",
      ...(token ? { Authorization: `Bearer ${token}` } : {}),
    },
  });

export const getConfig = () => ask("config");

export const logIn = (instructor) => post("session", { instructor });

/** Have a Mux upload made for a lesson; gives its id and the url to send the file to. */
export const createUpload = (token, lessonId, fate) => post("uploads", { lessonId, fate }, token);

export const letHalfAnHourPass = (token, lessonId) =>
  post(`lessons/${encodeURIComponent(lessonId)}/half-an-hour`, {}, token);
