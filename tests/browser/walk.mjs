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
  suggestions: `${p}/suggestions`, history: `${p}/history`, behind: `${p}/history?behind=reciprocity`, audit: `${p}/audit`,
  past: `${p}?known_at=1000`, "past-day": `${p}/reciprocity?as_of=${new Date(Date.now() - 200 * 86_400_000).toISOString().slice(0, 10)}`,
  nothing: "/p/there-is-none",
};
const windows = [
  { name: "light", width: 1280, height: 900, colorScheme: "light" },
  { name: "dark", width: 1280, height: 900, colorScheme: "dark" },
  { name: "narrow", width: 400, height: 800, colorScheme: "light" },
];
if (shots) mkdirSync(shots, { recursive: true });

for (const { name: look, width, height, colorScheme } of windows) {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme, bypassCSP: false });
  for (const [name, path] of Object.entries(pages)) {
    const where = `${name} (${look})`;
    if (!path) { found(where, "there is no such page to look at"); continue; }
    const page = await context.newPage();
    page.on("console", (message) => {
      const expected = name === "nothing" && message.text().includes("404");
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
    const expected = name === "nothing" ? 404 : 200;
    if (answer.status() !== expected) found(where, `answered ${answer.status()}`);
    const weight = (await answer.body()).length;
    if (weight > WEIGHT) found(where, `weighs ${weight}`);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    if (wide > 0) found(where, `is ${wide} px wider than the window`);
    // Text of a drawing that is not on the drawing was cut off, or lies over what is beside it.
    const cut = await page.evaluate(() => [...document.querySelectorAll("figure svg text")].filter((text) => {
      const [box, sheet] = [text.getBoundingClientRect(), text.ownerSVGElement.getBoundingClientRect()];
      return box.width > 0 && (box.left < sheet.left - 2 || box.right > sheet.right + 2);
    }).map((text) => text.textContent));
    if (cut.length) found(where, `text beyond its drawing: ${cut.join(" | ")}`);
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

// The keyboard alone reaches the content and the navigation.
const page = await browser.newPage();
await page.goto(base + p);
await page.keyboard.press("Tab");
const skip = await page.evaluate(() => document.activeElement?.className);
if (skip !== "skip") found("keyboard", `the first stop is ${skip}`);
await page.keyboard.press("Enter");
if ((await page.evaluate(() => document.activeElement?.id)) !== "main") found("keyboard", "the skip link does not lead to the content");
await page.close();
await browser.close();

for (const finding of findings) console.error(finding);
console.log(`${Object.keys(pages).length} pages, ${windows.length} windows, ${findings.length} findings`);
process.exit(findings.length ? 1 : 0);
