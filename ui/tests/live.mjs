// The page on a netfate that watches: test/webui starts it on namespaces that talk and
// lose packets, and gives the facts. It is run by `npm run live -- ADDRESS --facts JSON`.
import assert from 'node:assert/strict';
import { parseArgs } from 'node:util';
import { query, settled, stage, views } from './browser.mjs';

const { values, positionals } = parseArgs({
  options: { facts: { type: 'string' }, only: { type: 'string' } },
  allowPositionals: true,
});
const [address] = positionals;
if (!address || !values.facts) throw new Error('which page, and what is to be seen there?');
const facts = JSON.parse(values.facts);
const { story, open, end } = await stage(address, values.only);

const range = `since=${facts.since}&until=${facts.until}`;
const server = `where=netns%3D${facts.netns}`;

await story('live: every view has its data', {}, async (page) => {
  const wants = {
    fate: [{ name: /NETFILTER_DROP/ }],
    traffic: [{ name: /curl/ }],
    requests: [{ name: /\/orders\/\{id\}/ }, { name: /\/broken/ }],
    connections: [{ name: /refused/ }],
    dns: [{ name: /nowhere\.example\.com/ }],
    programs: [{ name: new RegExp(`kfree_skb.*netfate \\(${facts.pid}\\)`) }],
    query: [],
    status: [{ name: /^drops / }, { name: /^flows / }],
  };
  for (const view of views) {
    await open(page, `?view=${view}&${range}`);
    for (const want of wants[view]) await page.getByRole('row', want).first().waitFor();
    assert.equal(await page.getByRole('alert').count(), 0, view);
  }
});

await story('live: it moves', {}, async (page) => {
  await open(page, '?view=traffic');
  await page.getByText('live', { exact: true }).waitFor();
  await page.waitForRequest((r) => r.url().includes('/series/'));
  await page.locator('.plot canvas').waitFor();
});

await story('live: a drag zooms, and the address brings it back', {}, async (page) => {
  await open(page, `?view=traffic&since=${facts.since}`);
  const box = await page.locator('.plot .u-over').boundingBox();
  await page.mouse.move(box.x + box.width * 0.2, box.y + 50);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.5, box.y + 60, { steps: 4 });
  await page.mouse.move(box.x + box.width * 0.9, box.y + 60, { steps: 4 });
  await page.mouse.up();
  await page.waitForFunction(() => location.search.includes('until='));
  await settled(page);
  const zoomed = [(await query(page)).get('since'), (await query(page)).get('until')];
  assert.ok(Date.parse(zoomed[1]) > Date.parse(zoomed[0]), zoomed.join(' '));
  await page.reload();
  await settled(page);
  assert.deepEqual([(await query(page)).get('since'), (await query(page)).get('until')], zoomed);
  await page.goBack();
  assert.equal((await query(page)).get('since'), facts.since);
});

await story('live: a loss is explained, with evidence of its namespace and the fix', {}, async (page) => {
  await open(page, `?view=fate&${range}`);
  await page
    .getByRole('combobox', { name: 'Of', exact: true })
    .selectOption({ label: facts.name })
    .catch((error) => assert.fail(`${facts.name} is not offered: ${error}`));
  assert.equal((await query(page)).get('scope'), `netns:${facts.netns}`);
  await settled(page);
  await page
    .getByRole('button', { name: /^Explain the loss NETFILTER_DROP/ })
    .last()
    .click();
  const aside = page.getByRole('complementary');
  await aside.getByRole('heading', { name: `Evidence in namespace ${facts.name}` }).waitFor();
  await aside.getByText('9999', { exact: false }).first().waitFor();
  await aside.getByRole('heading', { name: 'Fix' }).waitFor();
  await aside.getByRole('heading', { name: 'Flows that lost most' }).waitFor();
});

// What a reader reads off the page is printed, for whoever has other ways to know.
await story('numbers', {}, async (page) => {
  const flows = {};
  await open(page, `?view=traffic&by=comm&measure=bytes_in&${range}&${server}`);
  const table = page.getByRole('region', { name: 'The same, summed up' });
  for (const row of await table.locator('tbody tr').all()) {
    const cells = row.locator('td');
    const bytes = Number((await cells.nth(1).getAttribute('title')).replaceAll(',', ''));
    const comm = (await cells.nth(0).textContent()).trim();
    if (bytes > 0) flows[comm === '–' ? '' : comm] = bytes;
  }
  const drops = {};
  const sql = `SELECT reason, CAST(sum(packets) AS BIGINT) AS packets FROM drops WHERE netns = ${facts.netns} GROUP BY ALL`;
  await open(page, `?view=query&sql=${encodeURIComponent(sql)}`);
  const result = page.getByRole('region', { name: 'Result' });
  for (const row of await result.locator('tbody tr').all()) {
    const [reason, packets] = await row.locator('td').allTextContents();
    drops[reason.trim()] = Number(packets.trim().replaceAll(',', ''));
  }
  // The ledger's book has the same loss.
  await open(page, `?view=fate&scope=netns:${facts.netns}&${range}`);
  const lost = page.getByRole('region', { name: 'Losses' }).getByRole('row', { name: /NETFILTER_DROP/ });
  const told = (await lost.locator('td').allTextContents()).map((text) => text.trim().replaceAll(',', ''));
  assert.ok(told.includes(String(drops.NETFILTER_DROP)), `got ${told}, want ${drops.NETFILTER_DROP} packets`);
  console.log(`numbers ${JSON.stringify({ flows, drops })}`);
});

await end();
