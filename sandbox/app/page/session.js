// Who is logged in: their token, renewed before it expires, and Supabase as they see it.

import { logIn } from "./app-server.js";

const RENEW_BEFORE_MS = 60_000;
const KEPT_AS = "instructor"; // only the name: a token is asked for anew

export class Session {
  #given;
  #expiresAt;
  #renewing = null;

  static async open(config, name) {
    const session = new Session(config, await logIn(name));
    localStorage.setItem(KEPT_AS, name);
    return session;
  }

  static keptName() {
    return localStorage.getItem(KEPT_AS);
  }

  static forget() {
    localStorage.removeItem(KEPT_AS);
  }

  constructor(config, given) {
    this.user = given.user;
    this.#keep(given);
    this.supabase = window.supabase.createClient(config.supabaseUrl, config.publishableKey, {
      accessToken: () => this.token(),
    });
  }

  async token() {
    if (Date.now() > this.#expiresAt - RENEW_BEFORE_MS) {
      this.#renewing ??= logIn(this.user.name)
        .then((given) => this.#keep(given))
        .finally(() => (this.#renewing = null));
      await this.#renewing;
    }
    return this.#given.token;
  }

  #keep(given) {
    this.#given = given;
    this.#expiresAt = Date.now() + given.expiresInSeconds * 1000;
  }
}
