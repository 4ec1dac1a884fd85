// Walks every page of a running service with a real browser: no console error, no CSP violation, no request to another
// host, no page above its weight, nothing wider than the window, and no serious finding of axe-core.
// usage: node walk.mjs URL [PROGRAM] [SCREENSHOT-DIR]

import { createRequire } from "node:module";
import { mkdirSync, readFileSync } from "node:fs";
import { chromium } from "playwright-core";

const [base, program = "bridge", shots] = process.argv.slice(2);
if (!base) throw new Error("usage: node walk.mjs URL [PROGRAM] [SCREENSHOT-DIR]");
const WEIGHT = 300_000;
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const findings = [];
const found = (where, what) => findings.push(`${where}: ${what}`);

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});

const first = async (path, pattern) => {
  const text = await (await fetch(base + path)).text();
  return text.match(pattern)?.[1].replaceAll("&amp;", "&");
};
const p = `/p/${program}`;
const pages = {
  programs: "/", definitions: "/definitions", overview: p, reciprocity: `${p}/reciprocity`,
  retention: `${p}/retention`, "retention-reciprocity": `${p}/retention?by=reciprocity`,
  "retention-people": `${p}/retention?subject=participants&by=generation`,
  pairs: `${p}/pairs`, pair: await first(`${p}/pairs?order=sessions`, /href="(\/p\/[^"]*\/pairs\/[0-9a-f-]+[^"]*)"/),
  participants: `${p}/participants`, participant: await first(`${p}/participants?order=quiet`, /href="(\/p\/[^"]*\/participants\/[0-9a-f-]+[^"]*)"/),
  "retention-arms": `${p}/retention?subject=participants&by=arm`, "retention-activity": `${p}/retention?basis=activity&by=cohort`,
  sessions: `${p}/sessions`, disputed: `${p}/sessions?waiting=disputed`, unpaired: `${p}/participants?unpaired=true`,
  archived: "/p/pilot", "archived-retention": "/p/pilot/retention",
  docs: "/docs", problems: "/problems", problem: "/problems/malformed-parameter", refused: `${p}/pairs?state=active&known_at=yesterday`,
  "numerator": `${p}/history?behind=two-way-pair-share&part=numerator`, "audit-past": `${p}/audit?known_at=1000`,
  "suggestions-past": `${p}/suggestions?known_at=3000`, "lists-of-a-day": `${p}/pairs?as_of=${new Date(Date.now() - 200 * 86_400_000).toISOString().slice(0, 10)}`,
  published: `${p}/published`, login: "/login", suggestions: `${p}/suggestions`, history: `${p}/history`, behind: `${p}/history?behind=reciprocity`, audit: `${p}/audit`,
  past: `${p}?known_at=1000`, "past-day": `${p}/reciprocity?as_of=${new Date(Date.now() - 200 * 86_400_000).toISOString().slice(0, 10)}`,
  nothing: "/p/there-is-none",
};
/** What is answered otherwise than with 200. */
const statuses = { nothing: 404, refused: 400 };
const windows = [
  { name: "light", width: 1280, height: 900, colorScheme: "light" },
  { name: "dark", width: 1280, height: 900, colorScheme: "dark" },
  { name: "narrow", width: 400, height: 800, colorScheme: "light" },
  { name: "tablet", width: 794, height: 1000, colorScheme: "light" },
];
if (shots) mkdirSync(shots, { recursive: true });

for (const { name: look, width, height, colorScheme } of windows) {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme, bypassCSP: false });
  for (const [name, path] of Object.entries(pages)) {
    const where = `${name} (${look})`;
    if (!path) { found(where, "there is no such page to look at"); continue; }
    const page = await context.newPage();
    page.on("console", (message) => {
      const expected = statuses[name] && message.text().includes(String(statuses[name]));
      if (["error", "warning"].includes(message.type()) && !expected) found(where, `console: ${message.text()}`);
    });
    page.on("pageerror", (error) => found(where, `error: ${error.message}`));
    page.on("request", (request) => {
      const url = new URL(request.url());
      if (url.protocol !== "data:" && url.origin !== new URL(base).origin) found(where, `asks ${url.origin}`);
    });
    await page.addInitScript(() => {
      addEventListener("securitypolicyviolation", (event) => console.error(`CSP: ${event.violatedDirective} ${event.blockedURI}`));
    });
    const answer = await page.goto(base + path, { waitUntil: "load" });
    const expected = statuses[name] ?? 200;
    if (name === "docs") await page.waitForSelector(".opblock-tag");
    if (answer.status() !== expected) found(where, `answered ${answer.status()}`);
    const weight = (await answer.body()).length;
    if (weight > WEIGHT) found(where, `weighs ${weight}`);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    if (wide > 0) found(where, `is ${wide} px wider than the window`);
    // What cannot be seen without scrolling sideways and is no table: nothing says that there is more.
    const hidden = await page.evaluate(() => [...document.querySelectorAll("main *, header *")].filter((one) => {
      const scrolls = ["auto", "scroll", "hidden"].includes(getComputedStyle(one).overflowX) && one.scrollWidth > one.clientWidth + 1;
      const spills = one.matches(".acts *, .stat *") && getComputedStyle(one).display !== "inline" && one.clientWidth > 2 && one.scrollWidth > one.clientWidth + 1;
      return spills || scrolls && one.clientWidth > 2 && !one.matches(".scroll, input, #docs *");
    }).map((one) => one.outerHTML.slice(0, 80)));
    if (hidden.length) found(where, `hidden sideways: ${hidden.slice(0, 3).join(" | ")}`);
    // Text of a drawing that is not on the drawing was cut off, or lies over what is beside it.
    const cut = await page.evaluate(() => [...document.querySelectorAll("figure svg text")].filter((text) => {
      const [box, sheet] = [text.getBoundingClientRect(), text.ownerSVGElement.getBoundingClientRect()];
      return box.width > 0 && (box.left < sheet.left - 2 || box.right > sheet.right + 2);
    }).map((text) => text.textContent));
    if (cut.length) found(where, `text beyond its drawing: ${cut.join(" | ")}`);
    const over = await page.evaluate(() => [...document.querySelectorAll("figure svg")].flatMap((sheet) => {
      const texts = [...sheet.querySelectorAll("text")].map((text) => [text.textContent, text.getBoundingClientRect()]);
      const lie = ([, a], [, b]) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 4;
      return texts.flatMap((one, at) => texts.slice(at + 1).filter((other) => one[1].width > 0 && lie(one, other)).map((other) => `${one[0]} / ${other[0]}`));
    }));
    if (over.length) found(where, `text over text: ${over.slice(0, 5).join(" | ")}`);
    // Run in an isolated way: the policy forbids scripts that are not ours.
    await page.evaluate(`${axe}; undefined`);
    const { violations } = await page.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
    for (const { id, impact, nodes } of violations) {
      if (["serious", "critical"].includes(impact)) found(where, `axe ${id} (${impact}): ${nodes.slice(0, 3).map((node) => node.html.slice(0, 140)).join(" | ")}`);
    }
    if (shots) await page.screenshot({ path: `${shots}/${look}-${name}.png`, fullPage: true });
    await page.close();
  }
  await context.close();
}

// On paper: nothing is cut off, every table is open, what only a screen can use is gone, and no small print is larger
// than what it belongs to.
{
  const page = await browser.newPage({ viewport: { width: 794, height: 1123 } });
  for (const [name, path] of Object.entries(pages).filter(([name]) => !["docs", "login"].includes(name))) {
    await page.goto(base + path);
    await page.emulateMedia({ media: "print" });
    await page.evaluate(() => dispatchEvent(new Event("beforeprint")));
    const closed = await page.evaluate(() => document.querySelectorAll("details.data:not([open])").length);
    if (closed) found(`${name} (print)`, `${closed} tables are closed`);
    const seen = await page.evaluate(() => [...document.querySelectorAll("nav a, form, .live, .skip, .button")].filter((one) => one.getClientRects().length).length);
    if (seen) found(`${name} (print)`, `${seen} controls are printed`);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    if (wide > 0) found(`${name} (print)`, `is ${wide} px wider than the paper`);
    // Paper does not scroll: what is wider than its own box is cut off.
    const cut = await page.evaluate(() => [...document.querySelectorAll("main *")].filter((one) =>
      !one.closest("svg") && one.getClientRects().length && one.clientWidth > 2 && one.scrollWidth > one.clientWidth + 1 && getComputedStyle(one).display !== "inline")
      .map((one) => `${one.outerHTML.slice(0, 60)} (${one.scrollWidth} in ${one.clientWidth})`));
    if (cut.length) found(`${name} (print)`, `cut off: ${cut.slice(0, 3).join(" | ")}`);
    const uneven = await page.evaluate(() => [...document.querySelectorAll("table")].filter((table) => {
      const sizes = [...table.querySelectorAll("caption, th, td, small")].map((one) => parseFloat(getComputedStyle(one).fontSize));
      return Math.max(...sizes) > Math.min(...sizes) + 0.5;
    }).map((table) => table.caption?.textContent));
    if (uneven.length) found(`${name} (print)`, `letters of several sizes in ${uneven.join(" | ")}`);
    if (shots) {
      await page.screenshot({ path: `${shots}/print-${name}.png`, fullPage: true });
      await page.pdf({ path: `${shots}/print-${name}.pdf`, format: "A4", printBackground: false });
    }
    await page.emulateMedia({ media: null });
  }
  await page.close();
}

// The keyboard alone reaches the content and the navigation, and each stop can be seen.
{
  const page = await browser.newPage();
  await page.goto(base + p);
  await page.keyboard.press("Tab");
  const skip = await page.evaluate(() => document.activeElement?.className);
  if (skip !== "skip") found("keyboard", `the first stop is ${skip}`);
  await page.keyboard.press("Enter");
  if ((await page.evaluate(() => document.activeElement?.id)) !== "main") found("keyboard", "the skip link does not lead to the content");
  for (const name of ["overview", "pairs", "history"]) {
    await page.goto(base + pages[name]);
    const wanted = await page.evaluate(() => [...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, summary, [tabindex='0']")].filter((one) => one.checkVisibility()).length);
    const stops = new Set();
    for (let n = 0; n < wanted + 20; n += 1) {
      await page.keyboard.press("Tab");
      const stop = await page.evaluate(() => {
        const one = document.activeElement;
        if (!one || one === document.body) return null;
        one.dataset.stop ??= String(document.querySelectorAll("[data-stop]").length);
        const { outlineStyle, outlineWidth } = getComputedStyle(one);
        return { id: one.dataset.stop, seen: outlineStyle !== "none" && parseFloat(outlineWidth) > 0, what: one.outerHTML.slice(0, 80) };
      });
      if (!stop) break;
      if (!stop.seen) found(`keyboard (${name})`, `the focus cannot be seen on ${stop.what}`);
      stops.add(stop.id);
    }
    if (stops.size < wanted) found(`keyboard (${name})`, `${stops.size} of ${wanted} controls are reached`);
  }
  await page.close();
}

// An event that is recorded while somebody looks is there without a reload, and not while somebody types.
{
  const page = await browser.newPage();
  const errors = [];
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  const enrol = () => fetch(`${base}/v1/programs/${program}/commands/enrol`, {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ generation: "gen-x" }),
  });
  const size = () => page.evaluate(() => Number(document.querySelector("main").dataset.size));
  await page.goto(`${base}${p}/history`);
  const before = await size();
  if ((await enrol()).status !== 201) found("live", "nobody could be enrolled");
  await page.waitForFunction((before) => Number(document.querySelector("main").dataset.size) > before, before, { timeout: 20_000 })
    .catch(() => found("live", "the page did not follow"));
  if (!(await page.textContent("ol.entries li")).includes("enrolled")) found("live", "the newest event is not on the page");
  await page.fill("#about", "somebody types");
  const typing = await size();
  await enrol();
  await page.waitForTimeout(6_000);
  if ((await size()) !== typing) found("live", "the page was replaced while somebody typed");
  await page.fill("#about", "");
  await page.evaluate(() => document.activeElement.blur());
  await page.waitForFunction((typing) => Number(document.querySelector("main").dataset.size) > typing, typing, { timeout: 20_000 })
    .catch(() => found("live", "the page did not follow after the typing"));
  // Cut off, it says so; back again, it says that.
  await page.context().setOffline(true);
  await page.evaluate(() => { Object.defineProperty(document, "hidden", { value: true, configurable: true }); document.dispatchEvent(new Event("visibilitychange")); });
  await page.evaluate(() => { Object.defineProperty(document, "hidden", { value: false, configurable: true }); document.dispatchEvent(new Event("visibilitychange")); });
  await page.waitForFunction(() => document.querySelector(".live.lost"), null, { timeout: 20_000 }).catch(() => found("live", "nobody was told that it is not connected"));
  await page.context().setOffline(false);
  await page.waitForFunction(() => document.querySelector(".live:not(.lost)"), null, { timeout: 30_000 }).catch(() => found("live", "it did not connect again"));
  for (const error of errors.filter((text) => !text.includes("ERR_INTERNET_DISCONNECTED") && !text.includes("503"))) found("live", `console: ${error}`);
  // One answer that was refused is no lost connection: the next one says so.
  let refusals = 1;
  await page.route((url) => url.pathname === `${p}/history`, (route) =>
    route.request().resourceType() === "fetch" && refusals-- > 0 ? route.fulfill({ status: 503, body: "" }) : route.fallback());
  const unrefused = await size();
  await enrol();
  await page.waitForFunction(() => document.querySelector(".live.lost"), null, { timeout: 20_000 }).catch(() => found("live", "a refusal was not said"));
  await page.waitForFunction((before) => Number(document.querySelector("main").dataset.size) > before, unrefused, { timeout: 30_000 })
    .catch(() => found("live", "the page did not follow after a refusal"));
  if (await page.evaluate(() => document.querySelector(".live.lost"))) found("live", "it says that it is not connected, and is");
  await page.unroute((url) => url.pathname === `${p}/history`).catch(() => {});
  // A page of the past stays what it is.
  await page.goto(`${base}${p}?known_at=1000`);
  if (await page.evaluate(() => document.querySelector("main").dataset.program)) found("live", "a page of the past follows the present");
  await page.close();
}
await browser.close();

for (const finding of findings) console.error(finding);
console.log(`${Object.keys(pages).length} pages, ${windows.length} windows, ${findings.length} findings`);
process.exit(findings.length ? 1 : 0);
