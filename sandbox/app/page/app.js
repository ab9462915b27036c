// The page: login, the form for a new lesson, and the lists of lessons.

import { getConfig } from "./app-server.js";
import { errorText } from "./error-text.js";
import { isReal, LessonCard } from "./lesson-card.js";
import { Session } from "./session.js";

const REFRESH_MS = 5_000;
const COLUMNS = "id, creator_id, title, description, price, status, mux_playback_id";

const find = (id) => document.getElementById(id);
const cards = new Map(); // by the lesson's id
let config = null;
let session = null;
let refreshing = null;
let created = 0; // how many lessons this page made: a list that was requested before is outdated

async function start() {
  try {
    config = await getConfig();
  } catch (error) {
    return showProblem("start", errorText(error));
  }
  find("new-lesson").elements.scenario.replaceChildren(...scenarios());
  find("instructors").replaceChildren(...config.instructors.map(loginButton));
  find("log-out").addEventListener("click", logOut);
  find("new-lesson").addEventListener("submit", createLesson);
  setInterval(() => document.hidden || refresh(), REFRESH_MS);
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    refresh();
    for (const card of cards.values()) card.watch();
  });
  addEventListener("online", showConnection);
  addEventListener("offline", showConnection);
  addEventListener("beforeunload", (event) => isSending() && event.preventDefault());
  showConnection();
  const name = Session.savedName();
  if (config.instructors.some((instructor) => instructor.name === name)) await logIn(name);
  else showWorkspace(false);
}

/** Whether a file is on its way to Mux. */
const isSending = () => [...cards.values()].some((card) => card.busy);

/** Say so while the browser is offline, and catch up when it is online again. */
function showConnection() {
  const text = "You are offline. This page continues when you are online again.";
  showProblem("connection", navigator.onLine ? "" : text);
  if (navigator.onLine) refresh();
}

const scenarios = () => config.scenarios.map(({ name, label }) => new Option(label, name));

function loginButton({ name }) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = `Log in as ${name}`;
  button.addEventListener("click", async () => {
    await logIn(name);
    find("own-title").focus();
  });
  return button;
}

async function logIn(name) {
  try {
    session = await Session.open(config, name);
    showProblem("log-in", "");
  } catch (error) {
    showProblem("log-in", errorText(error));
    return showWorkspace(false);
  }
  showWorkspace(true);
  await refreshAgain(); // a refresh that already runs may be for another user
}

function logOut() {
  if (isSending() && !confirm("A file is still being sent. Log out and stop it?")) return;
  Session.forget();
  session = null;
  for (const card of cards.values()) card.close();
  cards.clear();
  showOthers([]);
  find("new-lesson").reset();
  showProblem("refresh", "");
  showProblem("create", "");
  showWorkspace(false);
  find("instructors").firstElementChild.focus();
}

function showWorkspace(shown) {
  find("log-in").hidden = shown;
  find("workspace").hidden = !shown;
  find("user").hidden = !shown;
  find("user-name").textContent = shown ? session.user.name : "";
}

const problems = new Map(); // by topic
const hasProblem = () => problems.size > 0;

function showProblem(topic, text) {
  if (text) problems.set(topic, text);
  else problems.delete(topic);
  const all = [...problems.values()].join(" ");
  find("problem").hidden = !all;
  if (find("problem").textContent === all) return;
  find("problem").textContent = all;
  for (const card of cards.values()) card.draw(); // what they say depends on it
}

async function createLesson(event) {
  event.preventDefault();
  const form = event.target;
  if (form.ariaBusy === "true") return; // submitted twice
  const { title, description, price, file, scenario } = form.elements;
  const { supabase, user } = session;
  const lesson = {
    creator_id: user.id,
    title: title.value,
    description: description.value || null,
    price: price.value === "" ? null : Number(price.value),
  };
  form.ariaBusy = "true";
  const { data, error } = await supabase.from("lessons").insert(lesson).select(COLUMNS).single();
  form.ariaBusy = "false";
  showProblem("create", error ? `The lesson was not created: ${errorText(error)}` : "");
  if (error || session?.user !== user) return; // the form keeps its values
  const [video] = file.files;
  const chosenScenario = scenario.value;
  form.reset();
  created += 1;
  const card = cardOf(data);
  find("own").prepend(card.element);
  card.focus();
  find("no-own").hidden = true;
  if (video) await card.upload(video, chosenScenario);
  else card.watch();
}

/** Read the lessons that the database shows this user: their own and all published ones. */
function refresh() {
  refreshing ??= readLessons().finally(() => (refreshing = null));
  return refreshing;
}

/** Read the lessons again after a refresh that already runs, which may be outdated. */
async function refreshAgain() {
  await refreshing;
  await refresh();
}

async function readLessons() {
  const [reader, createdBefore] = [session, created];
  if (reader === null || !navigator.onLine) return;
  const { data, error } = await reader.supabase
    .from("lessons")
    .select(COLUMNS)
    .order("created_at", { ascending: false })
    .retry(false); // the page refreshes by itself, and shows the problem meanwhile
  if (reader !== session || createdBefore !== created) return;
  showProblem("refresh", error ? `The lessons could not be read: ${errorText(error)} The page tries again.` : "");
  if (error) return;
  showOwn(data.filter((lesson) => lesson.creator_id === reader.user.id));
  showOthers(data.filter((lesson) => lesson.creator_id !== reader.user.id));
}

function showOwn(lessons) {
  const ids = new Set(lessons.map(({ id }) => id));
  for (const [id, card] of cards) {
    if (ids.has(id) || card.busy) continue;
    card.close();
    cards.delete(id);
  }
  const known = new Set(cards.keys());
  const elements = lessons.map((lesson) => cardOf(lesson).element);
  arrange(find("own"), elements);
  for (const { id } of lessons) if (!known.has(id)) cards.get(id).watch();
  find("no-own").hidden = lessons.length > 0;
}

function cardOf(lesson) {
  let card = cards.get(lesson.id);
  if (!card) {
    card = new LessonCard(find("card"), session, scenarios, refreshAgain, hasProblem);
    cards.set(lesson.id, card);
  }
  card.show(lesson);
  return card;
}

/** Put elements into this order; move only where needed, since a moved element loses focus. */
function arrange(list, elements) {
  elements.forEach((element, index) => {
    if (list.children[index] !== element) list.insertBefore(element, list.children[index] ?? null);
  });
}

function showOthers(lessons) {
  const version = JSON.stringify(lessons);
  if (find("others").dataset.version === version) return; // what is open there stays open
  find("others").dataset.version = version;
  find("no-others").hidden = lessons.length > 0;
  find("others").replaceChildren(
    ...lessons.map((lesson) => {
      const by = config.instructors.find(({ id }) => id === lesson.creator_id);
      const item = document.createElement("li");
      const title = document.createElement("strong");
      title.dir = "auto";
      title.textContent = lesson.title;
      item.append(title, ` by ${by?.name ?? "another instructor"}`);
      if (isReal(lesson.mux_playback_id)) item.append(" ", playbackIdOf(lesson));
      return item;
    }),
  );
}

/** A lesson's playback id, which is shown on demand. */
function playbackIdOf(lesson) {
  const details = document.createElement("details");
  const summary = document.createElement("summary");
  summary.textContent = "Playback id";
  const id = document.createElement("code");
  id.textContent = lesson.mux_playback_id;
  details.append(summary, " ", id);
  return details;
}

await start();
