// Keeps the main part of a page up to date while somebody looks at it.
// Never moves the focus or the scroll, never replaces what is being typed or selected, and never hides that it cannot.

/** Every type of event, which a stream names each event by. */
const TYPES = [];

const CALM_MS = 3000;
const LOOK_MS = 500;
const BACK_OFF_MS = 10000;

const main = document.querySelector("main");
const told = document.querySelector("#told");

/** What the ledger is known to hold. */
let known = Number(main?.dataset.size);
/** The open stream; null while there is none. */
let stream = null;
let state = "live";
let refreshing = false;
let rested = 0;
let retry = 0;

const SAYS = {
  live: "live",
  lost: "not connected: shown as it was",
  out: "logged out: shown as it was",
};

/** Says on the page whether it is kept up to date. */
function show(next) {
  if (next !== state) told.textContent = next === "live" ? "Connected again." : `This page is ${SAYS[next]}.`;
  state = next;
  for (const badge of main.querySelectorAll(".live")) {
    badge.textContent = SAYS[state];
    badge.classList.toggle("lost", state !== "live");
  }
}

function follow() {
  clearTimeout(retry);
  if (stream || document.hidden || state === "out") return;
  const opened = new EventSource(`/v1/programs/${encodeURIComponent(main.dataset.program)}/events/stream?from=${known}`);
  stream = opened;
  opened.addEventListener("caught-up", (event) => {
    known = Math.max(known, JSON.parse(event.data).size);
    show("live");
  });
  for (const type of TYPES) {
    opened.addEventListener(type, (event) => {
      known = Math.max(known, Number(event.lastEventId) + 1);
    });
  }
  opened.addEventListener("error", () => {
    if (stream === opened) show("lost");
    // The browser connects again by itself after a break, and gives up after a refusal.
    if (opened.readyState !== EventSource.CLOSED) return;
    leave(opened);
    retry = setTimeout(again, BACK_OFF_MS);
  });
}

function leave(which) {
  which?.close();
  if (which === stream) stream = null;
}

/** Finds out whether there is still somebody to follow for. */
async function again() {
  try {
    const answer = await fetch(location.href, { method: "HEAD" });
    if (answer.status === 401) return show("out");
  } catch {
    // Not there: the next attempt finds out.
  }
  follow();
}

/** Whether somebody is in the middle of something. */
function busy() {
  const active = document.activeElement;
  const typing = active && main.contains(active) && active.matches("input, select, textarea");
  const selection = document.getSelection();
  const changed = (one) =>
    one.matches("select")
      ? [...one.options].some((option) => option.selected !== option.defaultSelected)
        && [...one.options].some((option) => option.defaultSelected)
      : one.type === "checkbox" ? one.checked !== one.defaultChecked : one.value !== one.defaultValue;
  return document.hidden || typing || (selection && !selection.isCollapsed)
    || [...main.querySelectorAll("form input, form select")].some(changed);
}

/** Where the focus is, so that it can be found in the new markup. */
function place(element) {
  if (!element || !main.contains(element) || element === main) return null;
  if (element.id) return `#${CSS.escape(element.id)}`;
  const same = element.tagName.toLowerCase();
  const href = element.getAttribute("href");
  if (href) return `${same}[href="${CSS.escape(href)}"]`;
  const label = element.getAttribute("aria-label");
  if (label) return `${same}[aria-label="${CSS.escape(label)}"]`;
  const within = element.parentElement?.closest("[id]");
  return within && within !== main ? `#${CSS.escape(within.id)} ${same}` : null;
}

async function refresh() {
  const answer = await fetch(location.href, { headers: { accept: "text/html" } });
  if (answer.status === 401) {
    leave(stream);
    return show("out");
  }
  if (!answer.ok) throw new Error(answer.status);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.querySelector("main");
  if (!fresh?.dataset.size || busy()) return;
  const open = new Map([...main.querySelectorAll("details[id]")].map((one) => [one.id, one.open]));
  const scrolled = new Map([...main.querySelectorAll(".scroll[aria-label]")].map((one) => [one.ariaLabel, one.scrollLeft]));
  for (const one of fresh.querySelectorAll("details[id]")) {
    if (open.has(one.id)) one.open = open.get(one.id);
  }
  const focus = place(document.activeElement);
  const { scrollX, scrollY } = window;
  main.replaceChildren(...fresh.childNodes);
  main.dataset.size = fresh.dataset.size;
  known = Math.max(known, Number(fresh.dataset.size));
  for (const one of main.querySelectorAll(".scroll[aria-label]")) {
    one.scrollLeft = scrolled.get(one.ariaLabel) ?? 0;
  }
  if (focus) main.querySelector(focus)?.focus({ preventScroll: true });
  window.scrollTo(scrollX, scrollY);
  const foot = page.querySelector("footer");
  if (foot) document.querySelector("footer").replaceChildren(...foot.childNodes);
  // What was lost was one answer, unless the stream is, too.
  show(stream?.readyState === EventSource.OPEN ? "live" : state);
  told.textContent = `Updated: ${Number(main.dataset.size).toLocaleString("en")} entries.`;
}

/** Brings the page up to date when it is behind and nobody is in the middle of something, not too often. */
async function look() {
  if (refreshing || state === "out" || known <= Number(main.dataset.size) || Date.now() < rested || busy()) return;
  refreshing = true;
  try {
    await refresh();
    rested = Date.now() + CALM_MS;
  } catch {
    show("lost");
    rested = Date.now() + BACK_OFF_MS;
  } finally {
    refreshing = false;
  }
}

// On paper every table is open, as it was before afterwards.
addEventListener("beforeprint", () => {
  for (const one of document.querySelectorAll("details.data:not([open])")) {
    one.open = true;
    one.dataset.printed = "";
  }
});
addEventListener("afterprint", () => {
  for (const one of document.querySelectorAll("details[data-printed]")) {
    one.open = false;
    delete one.dataset.printed;
  }
});

if (main?.dataset.program) {
  // A page that nobody sees holds no connection: browsers have few of them for one host.
  document.addEventListener("visibilitychange", () => (document.hidden ? leave(stream) : follow()));
  addEventListener("pagehide", () => leave(stream));
  addEventListener("pageshow", (event) => event.persisted && follow());
  setInterval(look, LOOK_MS);
  follow();
}
