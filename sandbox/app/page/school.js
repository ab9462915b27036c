// The page: who is logged in, the form for a new lesson, and the lists.

import { getConfig } from "./app-server.js";
import { inWords, isReal, LessonCard } from "./lesson-card.js";
import { Session } from "./session.js";

const LOOK_EVERY_MS = 5_000;
const COLUMNS = "id, creator_id, title, description, price, status, mux_playback_id";

const find = (id) => document.getElementById(id);
const cards = new Map(); // by the lesson's id
let config = null;
let session = null;
let looking = null;

async function start() {
  try {
    config = await getConfig();
  } catch (error) {
    return complain("start", inWords(error));
  }
  find("new-lesson").elements.fate.replaceChildren(...fates());
  find("instructors").replaceChildren(...config.instructors.map(loginButton));
  find("log-out").addEventListener("click", logOut);
  find("new-lesson").addEventListener("submit", createLesson);
  setInterval(() => document.hidden || look(), LOOK_EVERY_MS);
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    look();
    for (const card of cards.values()) card.watch();
  });
  const kept = Session.keptName();
  if (config.instructors.some(({ name }) => name === kept)) await enter(kept);
  else showDesk(false);
}

const fates = () => config.fates.map(({ name, says }) => new Option(says, name));

function loginButton({ name }) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = `Log in as ${name}`;
  button.addEventListener("click", async () => {
    await enter(name);
    find("own-title").focus();
  });
  return button;
}

async function enter(name) {
  try {
    session = await Session.open(config, name);
    complain("log-in", "");
  } catch (error) {
    complain("log-in", inWords(error));
    return showDesk(false);
  }
  showDesk(true);
  await lookAnew(); // what is being read already may be somebody else's
}

function logOut() {
  Session.forget();
  session = null;
  for (const card of cards.values()) card.close();
  cards.clear();
  find("others").replaceChildren();
  find("new-lesson").reset();
  complain("look", "");
  complain("create", "");
  showDesk(false);
  find("instructors").firstElementChild.focus();
}

function showDesk(shown) {
  find("log-in").hidden = shown;
  find("desk").hidden = !shown;
  find("who").hidden = !shown;
  find("who-name").textContent = shown ? session.user.name : "";
}

const complaints = new Map(); // by what failed

function complain(about, text) {
  if (text) complaints.set(about, text);
  else complaints.delete(about);
  const all = [...complaints.values()].join(" ");
  if (find("problem").textContent !== all) find("problem").textContent = all;
  find("problem").hidden = !all;
}

async function createLesson(event) {
  event.preventDefault();
  const form = event.target;
  if (form.ariaBusy === "true") return; // pressed twice
  const { title, description, price, file, fate } = form.elements;
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
  complain("create", error ? `The lesson was not created: ${inWords(error)}` : "");
  if (error || session?.user !== user) return; // the form keeps what was typed
  const [video] = file.files;
  const chosen = fate.value;
  form.reset();
  const card = cardOf(data);
  find("own").prepend(card.element);
  card.focus();
  find("no-own").hidden = true;
  if (video) await card.upload(video, chosen);
  else card.watch();
}

/** Read the lessons: one's own, and what the others have published. The database chooses. */
function look() {
  looking ??= readLessons().finally(() => (looking = null));
  return looking;
}

/** Read them once more after what is being read already, which may be too old. */
async function lookAnew() {
  await looking;
  await look();
}

async function readLessons() {
  const reader = session;
  if (reader === null) return;
  const { data, error } = await reader.supabase
    .from("lessons")
    .select(COLUMNS)
    .order("created_at", { ascending: false })
    .retry(false); // the page looks again by itself, and says meanwhile what is wrong
  if (reader !== session) return;
  complain("look", error ? `The lessons could not be read: ${inWords(error)} Trying again.` : "");
  if (error) return;
  showOwn(data.filter((lesson) => lesson.creator_id === reader.user.id));
  showOthers(data.filter((lesson) => lesson.creator_id !== reader.user.id));
}

function showOwn(lessons) {
  const there = new Set(lessons.map(({ id }) => id));
  for (const [id, card] of cards) {
    if (there.has(id) || card.busy) continue;
    card.close();
    cards.delete(id);
  }
  const known = new Set(cards.keys());
  const elements = lessons.map((lesson) => cardOf(lesson).element);
  place(find("own"), elements);
  for (const { id } of lessons) if (!known.has(id)) cards.get(id).watch();
  find("no-own").hidden = lessons.length > 0;
}

function cardOf(lesson) {
  let card = cards.get(lesson.id);
  if (!card) {
    card = new LessonCard(find("card"), session, fates, lookAnew);
    cards.set(lesson.id, card);
  }
  card.show(lesson);
  return card;
}

/** Put elements into this order, moving none that stands right: what moves loses the focus. */
function place(list, elements) {
  elements.forEach((element, index) => {
    if (list.children[index] !== element) list.insertBefore(element, list.children[index] ?? null);
  });
}

function showOthers(lessons) {
  find("no-others").hidden = lessons.length > 0;
  find("others").replaceChildren(
    ...lessons.map((lesson) => {
      const by = config.instructors.find(({ id }) => id === lesson.creator_id);
      const item = document.createElement("li");
      const title = document.createElement("strong");
      title.textContent = lesson.title;
      item.append(title, ` by ${by?.name ?? "somebody else"}`);
      if (isReal(lesson.mux_playback_id)) {
        const id = document.createElement("code");
        id.textContent = lesson.mux_playback_id;
        item.append(" ", id);
      }
      return item;
    }),
  );
}

await start();
