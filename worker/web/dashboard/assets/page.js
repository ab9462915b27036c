// Keeps a page up to date without losing one's place. The page is complete without it: it fetches
// the same page again, and brings the parts that are marked `data-live` in line, node by node, so
// that focus, selection, scrolling, what is open and what is typed stay as they are.
"use strict";

(() => {
  const EVERY = 5000;
  const PATIENCE = 12000;
  const silent = document.getElementById("silent");
  let heardAt = new Date();
  let asking = null;
  let timer = 0;

  function ask() {
    clearTimeout(timer);
    if (document.hidden || asking) return;
    asking = new XMLHttpRequest();
    asking.open("GET", location.pathname + location.search);
    asking.responseType = "document";
    asking.timeout = PATIENCE;
    asking.setRequestHeader("X-Refresh", "1");
    asking.onloadend = () => {
      const answer = asking;
      asking = null;
      take(answer);
      timer = setTimeout(ask, EVERY);
    };
    asking.send();
  }

  function take(answer) {
    const page = answer.response;
    const isOurs = page && page.querySelector("[data-live]");
    if (answer.status === 200 && isOurs) {
      heardAt = new Date();
      say("");
      document.title = page.title;
      update(page);
    } else if (answer.status === 200 && page && page.getElementById("token")) {
      say("You are logged out. Load the page again to log in.");
    } else if (answer.status === 404) {
      say("This lesson is gone. Load the page again.");
    } else {
      const time = heardAt.toISOString().slice(11, 19);
      const told = answer.status === 503 && page && page.querySelector("#content h1");
      const who = told ? told.textContent.trim() : "The worker does not answer";
      say(`${who}: this is how things were at ${time} UTC.`);
    }
  }

  function say(text) {
    if (silent.textContent !== text) silent.textContent = text;
    silent.hidden = text === "";
  }

  function update(page) {
    const focused = document.activeElement;
    const section = focused && focused.closest("section");
    for (const part of document.querySelectorAll("[data-live]")) {
      const fresh = page.querySelector(`[data-live="${part.dataset.live}"]`);
      if (fresh && !isInUse(part)) bringInLine(part, fresh);
      else if (!fresh) part.replaceChildren();
    }
    // What comes only now, such as the lessons after an outage, takes the whole page.
    const isNew = (part) => !document.querySelector(`[data-live="${part.dataset.live}"]`);
    if ([...page.querySelectorAll("[data-live]")].some(isNew) && !isInUse(document.body)) {
      location.reload();
    }
    if (focused && focused !== document.body && document.activeElement !== focused) {
      const heading = section && section.querySelector("h2");
      (focused.isConnected ? focused : heading || document.getElementById("content")).focus({ preventScroll: true });
    }
  }

  // A form in which somebody has typed, or stands, is left alone.
  function isInUse(part) {
    const fields = [...part.querySelectorAll("input:not([type=hidden]), textarea")];
    return fields.some((field) => field.value !== field.defaultValue) ||
      (fields.length > 0 && part !== document.body && part.contains(document.activeElement));
  }

  function bringInLine(old, fresh) {
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
    }
    bringChildrenInLine(old, fresh);
  }

  function bringChildrenInLine(old, fresh) {
    const wanted = [...fresh.childNodes];
    const kept = new Set(wanted.map(keyOf).filter(Boolean));
    for (const child of [...old.childNodes]) {
      if (keyOf(child) && !kept.has(keyOf(child))) child.remove();
    }
    let at = old.firstChild;
    for (const child of wanted) {
      const key = keyOf(child);
      let match = at;
      if (key) match = [...old.children].find((one) => keyOf(one) === key);
      else if (!at || keyOf(at) || !areAlike(at, child)) match = null;
      if (!match) {
        old.insertBefore(document.importNode(child, true), at);
        continue;
      }
      if (match !== at) old.insertBefore(match, at);
      else at = at.nextSibling;
      if (match.nodeType === Node.ELEMENT_NODE) bringInLine(match, child);
      else if (match.data !== child.data) match.data = child.data;
    }
    while (at) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
  }

  function keyOf(node) {
    return node.dataset && (node.dataset.key || node.id) || "";
  }

  function areAlike(one, other) {
    return one.nodeType === other.nodeType && one.nodeName === other.nodeName;
  }

  document.addEventListener("visibilitychange", ask);
  document.getElementById("refresh").addEventListener("click", (event) => {
    event.preventDefault();
    ask();
  });
  timer = setTimeout(ask, EVERY);
})();
