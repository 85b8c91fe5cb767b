// What the browser's stories have in common: Debian's Chromium, a context for each
// story, and what is complained of.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';

const axe = createRequire(import.meta.url).resolve('axe-core/axe.min.js');

export const views = ['fate', 'traffic', 'requests', 'connections', 'dns', 'programs', 'query', 'status'];

const sizes = {
  phone: { width: 390, height: 844 },
  desktop: { width: 1440, height: 900 },
  wide: { width: 3840, height: 2160 },
};

export const launch = () =>
  chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--headless', '--no-sandbox'],
  });

// stage returns a story teller for the page at address; only is a part of the names of
// those that are played. Its failures are counted.
export async function stage(address, only = '') {
  const browser = await launch();
  let failures = 0;

  // story opens a context of its own, and fails on whatever the browser complains of:
  // the policy, a script, a file that is not there.
  async function story(name, options, play) {
    if (!name.includes(only)) return;
    const { size = 'desktop', scheme = 'light', locale = 'en-GB', expect = [] } = options;
    const context = await browser.newContext({
      viewport: sizes[size],
      colorScheme: scheme,
      timezoneId: 'UTC',
      locale,
      reducedMotion: 'reduce',
    });
    const page = await context.newPage();
    page.setDefaultTimeout(20_000);
    const complaints = [];
    page.on('pageerror', (error) => complaints.push(String(error)));
    page.on('console', (m) => {
      if (['error', 'warning'].includes(m.type()) && !expect.some((e) => m.text().includes(e)))
        complaints.push(m.text());
    });
    page.on('request', (r) => {
      if (!r.url().startsWith(address) && !r.url().startsWith('blob:'))
        complaints.push(`asked another host: ${r.url()}`);
    });
    // What the page was refused, in the words of the API: for the reader of a failure.
    const refused = [];
    page.on('response', (r) => {
      if (r.status() >= 400)
        r.text().then(
          (text) => refused.push(`${r.status()} ${r.url()} ${text.slice(0, 400)}`),
          () => refused.push(`${r.status()} ${r.url()}`),
        );
    });
    try {
      await play(page, context);
      assert.deepEqual(complaints, []);
      console.log(`ok   ${name}`);
    } catch (error) {
      failures++;
      const told = [String(error.stack ?? error), ...refused].join('\n');
      console.log(`FAIL ${name}\n     ${told.replaceAll('\n', '\n     ')}`);
    }
    await context.close();
  }

  async function open(page, query) {
    await page.goto(address + query);
    await settled(page);
  }

  // end closes the browser, and the program with 1 if a story failed.
  async function end() {
    await browser.close();
    if (failures > 0) {
      console.log(`${failures} failed`);
      process.exit(1);
    }
  }
  return { story, open, end };
}

// settled waits until nothing is being asked for any more.
export async function settled(page) {
  await page.waitForSelector('main section');
  await page.waitForFunction(() => !document.querySelector('main [aria-busy=true], main .turning'));
}

export async function accessible(page, where) {
  // addScriptTag would be stopped by the policy, and rightly so.
  await page.evaluate(await readFile(axe, 'utf8'));
  const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
  const told = found.violations.map(
    (v) => `${v.id}: ${v.nodes.map((n) => `${n.target} ${n.failureSummary}`).join('; ')}`,
  );
  assert.deepEqual(told, [], where);
}

// fits holds that nothing makes the page itself scroll sideways.
export async function fits(page, where) {
  const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.equal(over, 0, `${where} is ${over} pixels too wide`);
}

// As the page itself has it: what the driver calls its address comes after a while.
export const href = (page) => page.evaluate(() => location.href);
export const query = async (page) => new URL(await href(page)).searchParams;
