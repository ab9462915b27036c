// The session of the logged-in user: a token that is renewed in time, and a Supabase client.

import { logIn } from "./app-server.js";

const RENEW_BEFORE_MS = 60_000;
const STORAGE_KEY = "instructor"; // only the name is stored, not the token

export class Session {
  #grant;
  #expiresAt;
  #renewing = null;

  static async open(config, name) {
    const session = new Session(config, await logIn(name));
    localStorage.setItem(STORAGE_KEY, name);
    return session;
  }

  static savedName() {
    return localStorage.getItem(STORAGE_KEY);
  }

  static forget() {
    localStorage.removeItem(STORAGE_KEY);
  }

  constructor(config, grant) {
    this.user = grant.user;
    this.#store(grant);
    this.supabase = window.supabase.createClient(config.supabaseUrl, config.publishableKey, {
      accessToken: () => this.token(),
    });
  }

  async token() {
    if (Date.now() > this.#expiresAt - RENEW_BEFORE_MS) {
      this.#renewing ??= logIn(this.user.name)
        .then((grant) => this.#store(grant))
        .finally(() => (this.#renewing = null));
      await this.#renewing;
    }
    return this.#grant.token;
  }

  #store(grant) {
    this.#grant = grant;
    this.#expiresAt = Date.now() + grant.expiresInSeconds * 1000;
  }
}
