// Refreshes the page every five seconds by replacing its main element. Focus, scroll position, open
// details and form fields stay as they are. The page is complete without this script.
"use strict";

(() => {
  const INTERVAL = 5000;
  const TIMEOUT = 12000;
  const notice = document.getElementById("notice");
  const FIELDS = "input, select";
  let refreshedAt = new Date();
  let request = null;
  let timer = 0;

  function refresh() {
    clearTimeout(timer);
    if (document.hidden || request) return;
    request = new XMLHttpRequest();
    request.open("GET", location.pathname + location.search);
    request.responseType = "document";
    request.timeout = TIMEOUT;
    request.setRequestHeader("X-Refresh", "1");
    request.onloadend = () => {
      const { status, response } = request;
      request = null;
      show(status, response);
      if (status !== 401) timer = setTimeout(refresh, INTERVAL); // the browser would prompt again
    };
    request.send();
  }

  function show(status, page) {
    if (status === 200 && page) {
      refreshedAt = new Date();
      warn("");
      // Replacing the main element would clear a selection that the operator may want to copy.
      if (getSelection().isCollapsed) replaceMain(page);
    } else if (status === 401) {
      warn("The worker refuses the token. Load the page again.");
    } else if (status === 404) {
      warn("The lesson was deleted. Load the page again.");
    } else {
      const isSupabase = status === 503 && page && page.querySelector("h1");
      const reason = isSupabase ? page.querySelector("h1").textContent : "The worker does not answer";
      warn(`${reason}. The page shows the state of ${refreshedAt.toISOString().slice(11, 19)} UTC.`);
    }
  }

  function warn(text) {
    if (notice.textContent !== text) notice.textContent = text;
    notice.hidden = text === "";
  }

  function replaceMain(page) {
    const old = document.querySelector("main");
    const fresh = document.importNode(page.querySelector("main"), true);
    const focused = old.contains(document.activeElement) ? document.activeElement : null;
    const section = focused && focused.closest("section");
    for (const details of old.querySelectorAll("details[open]")) {
      const same = sameIn(fresh, details);
      if (same) same.open = true;
    }
    for (const field of old.querySelectorAll(FIELDS)) {
      const same = sameIn(fresh, field);
      if (same) same.replaceWith(field);
    }
    const scrolled = [...old.querySelectorAll(".wide")].map((table) => table.scrollLeft);
    old.replaceWith(fresh);
    fresh.querySelectorAll(".wide").forEach((table, i) => { table.scrollLeft = scrolled[i] || 0; });
    if (focused) restoreFocus(fresh, focused, section);
    document.title = page.title;
    const [headline, newHeadline] = [document, page].map((doc) => doc.getElementById("headline"));
    if (headline.textContent !== newHeadline.textContent) headline.textContent = newHeadline.textContent;
  }

  function sameIn(main, element) {
    return element.id ? main.querySelector(`#${CSS.escape(element.id)}`) : null;
  }

  // The same element, else the heading of its section, else the page.
  function restoreFocus(main, focused, section) {
    const label = section && section.getAttribute("aria-labelledby");
    const container = label ? main.querySelector(`[aria-labelledby="${label}"]`) : main;
    const same = container && [...container.querySelectorAll(focused.tagName)]
      .find((element) => keyOf(element) === keyOf(focused));
    const heading = container && container.querySelector("h2");
    (same || heading || main).focus({ preventScroll: true });
  }

  function keyOf(element) {
    return element.id || element.getAttribute("href") || element.getAttribute("formaction") ||
      element.textContent;
  }

  async function copy(button) {
    await navigator.clipboard.writeText(button.value);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  }

  document.addEventListener("visibilitychange", refresh);
  document.addEventListener("click", (event) => {
    if (event.target.matches(".copy")) copy(event.target);
    if (event.target.id !== "refresh") return;
    event.preventDefault();
    refresh();
  });
  document.addEventListener("change", ({ target }) => {
    const boxes = target.form ? target.form.querySelectorAll("[name=lesson]") : [];
    if (target.id === "every") boxes.forEach((box) => { box.checked = target.checked; });
    if (target.name === "lesson" || target.id === "every") document.getElementById("which-selected").checked = true;
  });
  document.documentElement.classList.add("scripted");
  if (navigator.clipboard) document.documentElement.classList.add("copies"); // only over https
  timer = setTimeout(refresh, INTERVAL);
})();
