// Requests to the app's own server, which has the Mux secret.

/** An error response, or no response (status 0). */
export class ServerError extends Error {
  constructor(status, message, hint) {
    super(hint ? `${message}. ${hint}` : message);
    this.status = status;
  }
}

async function request(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (cause) {
    throw new ServerError(0, "The app's server does not answer", "Check that the demo is running.");
  }
  const body = response.status === 204 ? null : await response.json().catch(() => ({}));
  if (!response.ok) {
    throw new ServerError(response.status, body.message ?? `HTTP ${response.status}`, body.hint);
  }
  return body;
}

const post = (path, body, token) =>
  request(path, {
    method: "POST",
    body: JSON.stringify(body),
    headers: {
      "Content-Type": "application/json",
      ...(token ? { Authorization: `Bearer ${token}` } : {}),
    },
  });

export const getConfig = () => request("config");

export const logIn = (instructor) => post("session", { instructor });

/** Create a Mux upload for a lesson; returns its id and the URL to send the file to. */
export const createUpload = (token, lessonId, scenario) => post("uploads", { lessonId, scenario }, token);

export const backdateUpload = (token, lessonId) =>
  post(`lessons/${encodeURIComponent(lessonId)}/backdate`, {}, token);
