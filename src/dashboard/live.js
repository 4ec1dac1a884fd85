// Keeps the main part of a page up to date while somebody looks at it.
// Never moves the focus or the scroll, and never replaces what is being typed or selected.

const WAIT_SECONDS = 20;
const CALM_MS = 3000;
const BACK_OFF_MS = 15000;

const main = document.querySelector("main");
const told = document.querySelector("#told");
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

/** Answers with a size once the ledger is larger than `size`, or after a while with the same. */
async function grown(program, size) {
  const answer = await fetch(
    `/v1/programs/${encodeURIComponent(program)}/events?from=${size}&limit=1&wait=${WAIT_SECONDS}`,
    { headers: { accept: "application/json" } },
  );
  if (!answer.ok) throw new Error(answer.status);
  return (await answer.json()).size;
}

/** Whether somebody is in the middle of something. */
function busy() {
  const active = document.activeElement;
  const typing = active && main.contains(active) && active.matches("input, select, textarea");
  const selection = document.getSelection();
  return document.hidden || typing || (selection && !selection.isCollapsed);
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
  if (!answer.ok) throw new Error(answer.status);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.querySelector("main");
  if (!fresh || busy()) return false;
  const open = new Map([...main.querySelectorAll("details[id]")].map((one) => [one.id, one.open]));
  const scrolled = new Map([...main.querySelectorAll(".scroll[aria-label]")].map((one) => [one.ariaLabel, one.scrollLeft]));
  for (const one of fresh.querySelectorAll("details[id]")) {
    if (open.has(one.id)) one.open = open.get(one.id);
  }
  const focus = place(document.activeElement);
  const { scrollX, scrollY } = window;
  main.replaceChildren(...fresh.childNodes);
  main.dataset.size = fresh.dataset.size;
  for (const one of main.querySelectorAll(".scroll[aria-label]")) {
    one.scrollLeft = scrolled.get(one.ariaLabel) ?? 0;
  }
  if (focus) main.querySelector(focus)?.focus({ preventScroll: true });
  window.scrollTo(scrollX, scrollY);
  const foot = page.querySelector("footer");
  if (foot) document.querySelector("footer").replaceChildren(...foot.childNodes);
  told.textContent = `Updated: ${Number(main.dataset.size).toLocaleString("en")} entries.`;
  return true;
}

async function keepUp() {
  const { program } = main.dataset;
  for (;;) {
    try {
      const shown = Number(main.dataset.size);
      const size = document.hidden ? shown : await grown(program, shown);
      if (size > shown && !busy()) await refresh();
      await pause(CALM_MS);
    } catch {
      await pause(BACK_OFF_MS);
    }
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

if (main?.dataset.program) keepUp();
