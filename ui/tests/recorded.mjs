// The page on a recording: test/webui makes it, and has `netfate serve -r` show it. It is
// run by `npm run recorded -- ADDRESS --facts JSON`.
import assert from 'node:assert/strict';
import { parseArgs } from 'node:util';
import { accessible, settled, stage, views } from './browser.mjs';

const { values, positionals } = parseArgs({
  options: { facts: { type: 'string' }, only: { type: 'string' } },
  allowPositionals: true,
});
const [address] = positionals;
if (!address || !values.facts) throw new Error('which page, and what is to be seen there?');
const facts = JSON.parse(values.facts);
const { story, open, end } = await stage(address, values.only);

await story('recorded: it says what it is, and its end is now', {}, async (page) => {
  await open(page, '?view=traffic');
  await page.getByRole('heading', { name: `netfate ${facts.host} recording ${facts.file}` }).waitFor();
  await page
    .getByRole('row', { name: /orders/ })
    .first()
    .waitFor();
  await page.getByLabel('Time range').selectOption('custom');
  assert.match(await page.getByRole('textbox', { name: 'From' }).inputValue(), new RegExp(`^${facts.day} `));
  await accessible(page, 'traffic');
});

await story('recorded: nothing moves, and nothing is asked again', {}, async (page) => {
  await open(page, '?view=traffic');
  await page.getByText('past', { exact: true }).waitFor();
  const asked = [];
  page.on('request', (r) => asked.push(r.url()));
  await page.waitForTimeout(6000); // longer than a beat
  assert.deepEqual(
    asked.filter((url) => !url.includes('/status')),
    [],
  );
});

// There is no SQL, and there are no programs; it says so.
await story('recorded: every view stands', { expect: ['400', '404'] }, async (page) => {
  const wants = { traffic: /orders/, requests: /\/orders\/\{id\}/, programs: /watches no kernel/ };
  for (const view of views) {
    await page.goto(`${address}?view=${view}`);
    await page.waitForFunction(() => !document.querySelector('main [aria-busy=true], main .turning'));
    const want = wants[view];
    if (want) await page.getByText(want).first().waitFor();
  }
});

await story('recorded: a loss is explained, without values of this host', {}, async (page) => {
  await open(page, '?view=fate&pick=NETFILTER_DROP');
  const aside = page.getByRole('complementary');
  await aside.getByRole('heading', { name: 'Fix' }).waitFor();
  await settled(page);
  assert.equal(await aside.getByRole('heading', { name: /^Evidence/ }).count(), 0);
});

await end();
