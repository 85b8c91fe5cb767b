// The page in Debian's Chromium, on the records that test/webui makes up. It is run
// by `npm run page -- ADDRESS [--only TEXT] [--shots DIRECTORY]` and exits with 1 if
// anything is not as it should be.
//
// Nothing here waits for a time to pass, only for what has to come; frames alone are
// measured, against a bound that a slow machine keeps.
import assert from 'node:assert/strict';
import { parseArgs } from 'node:util';
import { accessible, fits, href, query, settled, stage, views } from './browser.mjs';

const { values, positionals } = parseArgs({
  options: { shots: { type: 'string' }, only: { type: 'string' } },
  allowPositionals: true,
});
const [address] = positionals;
if (!address) throw new Error('which page? give its address');
const { story, open, end } = await stage(address, values.only);

// Every view, in both themes and languages, on a desk and on a phone.
for (const [size, scheme, locale] of [
  ['phone', 'dark', 'zh-CN'],
  ['desktop', 'light', 'en-GB'],
  ['desktop', 'dark', 'en-GB'],
]) {
  await story(`views: ${size}, ${scheme}, ${locale}`, { size, scheme, locale }, async (page) => {
    for (const view of views) {
      await open(page, `?view=${view}` + (view === 'fate' ? '&pick=SOCKET_RCVBUFF&before=right' : ''));
      assert.equal(await page.locator('nav a[aria-current=page]').count(), 1);
      assert.equal(await page.locator('html').getAttribute('lang'), locale === 'zh-CN' ? 'zh-CN' : 'en');
      await fits(page, view);
      await accessible(page, view);
    }
    const dark = await page.evaluate(() => document.documentElement.classList.contains('dark'));
    assert.equal(dark, scheme === 'dark');
  });
}

await story('4K: nothing overflows, nothing is tiny', { size: 'wide' }, async (page) => {
  for (const view of ['fate', 'traffic', 'programs', 'status']) {
    await open(page, `?view=${view}`);
    await fits(page, view);
    const size = await page.evaluate(() => Number.parseFloat(getComputedStyle(document.body).fontSize));
    assert.ok(size >= 18, `got ${size} px`);
  }
});

await story('first load: one origin, 120 kB and 20 requests at most', {}, async (page, context) => {
  const session = await context.newCDPSession(page);
  await session.send('Network.enable');
  let bytes = 0;
  let files = 0;
  session.on('Network.loadingFinished', (e) => {
    bytes += e.encodedDataLength;
    files++;
  });
  await open(page, '');
  assert.ok(bytes > 10_000 && bytes < 120_000, `got ${bytes} bytes`);
  assert.ok(files > 3 && files <= 20, `got ${files} requests`);
  console.log(`     ${bytes} bytes in ${files} requests, the first answers included`);
  assert.match(await page.title(), /^Fate · shop-7$/);
});

await story('fate: a loss is chosen, explained, and sent to a colleague', {}, async (page) => {
  await open(page, '?view=fate');
  await page
    .getByRole('button', { name: /^Explain the loss SOCKET_RCVBUFF/ })
    .last()
    .click();
  assert.equal((await query(page)).get('pick'), 'SOCKET_RCVBUFF');
  const aside = page.getByRole('complementary');
  await aside.getByText('net.core.rmem_max', { exact: true }).waitFor();
  await aside.getByRole('heading', { name: 'Fix' }).waitFor();
  await page.getByRole('combobox', { name: 'Compare with', exact: true }).selectOption('right');
  const row = page.getByRole('region', { name: 'Before and after' }).getByRole('row', { name: /SOCKET_RCVBUFF/ });
  await row.getByText('new', { exact: true }).waitFor();

  const colleague = await page.context().newPage();
  await colleague.goto(await href(page));
  await settled(colleague);
  await colleague.getByRole('complementary').getByText('net.core.rmem_max', { exact: true }).waitFor();
  await colleague
    .getByRole('row', { name: /SOCKET_RCVBUFF/ })
    .first()
    .waitFor();
  await colleague.close();

  await page.keyboard.press('Escape');
  await aside.waitFor({ state: 'detached' });
  await page.goBack();
  await aside.waitFor();
});

await story('fate: of one namespace, which is in the address', {}, async (page) => {
  await open(page, '?view=fate');
  const came = page.locator('.sums dd').first();
  const whole = Number((await came.getAttribute('title')).replaceAll(',', ''));
  const books = page.getByRole('combobox', { name: 'Of', exact: true });
  await books.selectOption({ label: 'eth0 in web' });
  assert.equal((await query(page)).get('scope'), 'if:4026532201/eth0');
  await page.waitForFunction(
    (most) => Number(document.querySelector('.sums dd').title.replaceAll(',', '')) < most,
    whole / 2,
  );
  await page.reload();
  await settled(page);
  assert.equal(await books.locator('option:checked').textContent(), 'eth0 in web');
  // A loss is then told of that interface alone.
  const asked = page.waitForRequest((r) => r.url().includes('/groups/drops') && r.url().includes('ifname%3Deth0'));
  await page
    .getByRole('button', { name: /^Explain the loss SOCKET_RCVBUFF/ })
    .last()
    .click();
  await asked;
  await page.getByRole('heading', { name: 'Evidence in namespace web' }).waitFor();
  // What is not offered is asked for all the same.
  await open(page, '?view=fate&scope=netns:17');
  assert.equal(await books.locator('option:checked').textContent(), 'netns:17');
});

await story('programs: whose, where, what they cost, and their maps', {}, async (page) => {
  await open(page, '?view=programs');
  const table = page.getByRole('region', { name: 'BPF programs' });
  await table.getByRole('row', { name: /xdp_guard .*eth0 xdp/ }).waitFor();
  assert.equal(await table.locator('tbody tr').count(), 100);
  await page.keyboard.press('m');
  await table.getByText('all 126').waitFor();
  assert.equal(await table.locator('tbody tr').count(), 126);
  await page.getByRole('combobox', { name: 'Whose', exact: true }).selectOption('netfate');
  assert.equal(await table.locator('tbody tr').count(), 4);
  await table.getByText('netfate run: urls').waitFor();
  await page.getByRole('combobox', { name: 'Whose', exact: true }).selectOption('others');
  await page.getByRole('textbox', { name: 'Find' }).fill('ssh.service');
  assert.equal(await table.locator('tbody tr').count(), 1);
  await page.getByRole('button', { name: /^Show the maps of sd_fw_egress/ }).click();
  assert.deepEqual([(await query(page)).get('find'), (await query(page)).get('pick')], ['ssh.service', '49']);
  await page.getByRole('heading', { name: /^Maps of sd_fw_egress/ }).waitFor();
  await page.reload();
  await page.getByRole('heading', { name: /^Maps of sd_fw_egress/ }).waitFor();
  await page.getByRole('textbox', { name: 'Find' }).fill('no such thing');
  await page.getByText('No program is like that.').waitFor();
});

await story(
  'programs: where they cannot be listed, it says why',
  { expect: ['503 (Service Unavailable)'] },
  async (page) => {
    const detail =
      'list the BPF programs: operation not permitted: this process lacks CAP_SYS_ADMIN; run netfate as root';
    await page.route('**/api/v1/programs', (route) =>
      route.fulfill({
        status: 503,
        contentType: 'application/problem+json',
        body: JSON.stringify({ status: 503, detail }),
      }),
    );
    await page.goto(address + '?view=programs');
    await page.getByRole('alert').getByText('lacks CAP_SYS_ADMIN').waitFor();
  },
);

await story('pages: rows beyond the first ones, by keys, each once', {}, async (page) => {
  await open(page, '?view=requests&rows=all');
  const table = page.getByRole('region', { name: 'One by one' });
  const times = () => table.locator('tbody tr td:first-child').allTextContents();
  assert.equal((await times()).length, 25);
  await table.getByRole('button', { name: 'More: One by one' }).focus();
  for (let rows = 50; rows <= 375; rows += 25) {
    await page.keyboard.press('Enter');
    await table.getByText(`the first ${rows}`, { exact: true }).waitFor();
  }
  await page.keyboard.press('m');
  await table.getByText('all 388', { exact: true }).waitFor();
  const all = await times();
  assert.equal(new Set(all).size, 388);
  assert.deepEqual(all, all.toSorted().toReversed());
  // It stands still until the reader goes back to the newest.
  await table.getByText('This table stands still.').waitFor();
  await table.getByRole('button', { name: 'Back to the newest' }).click();
  await table.getByText('the first 25', { exact: true }).waitFor();
  // Of failures of two sorts none is left out.
  await page.getByRole('combobox', { name: 'Show', exact: true }).selectOption('');
  const failing = page.getByRole('region', { name: 'Failing' });
  for (let k = 0; k < 12; k++) {
    await page.keyboard.press('m');
    await settled(page);
  }
  await failing.getByText(/^all 2\d\d$/).waitFor();
});

await story('fate: by keys alone', {}, async (page) => {
  await open(page, '?view=fate');
  const link = page.locator('svg path[role=button]').first();
  await link.focus();
  await page.keyboard.press('Enter');
  await page.getByRole('complementary').waitFor();
  assert.equal(await link.getAttribute('aria-pressed'), 'true');
  await page.getByRole('combobox', { name: 'Direction', exact: true }).selectOption('out');
  await page.waitForFunction(() => document.querySelectorAll('svg path[role=button]').length === 2);
});

await story('traffic: drag zooms, double click zooms out, Back goes back', {}, async (page) => {
  await open(page, '?view=traffic');
  const box = await page.locator('.plot .u-over').boundingBox();
  await page.mouse.move(box.x + box.width * 0.5, box.y + 50);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.6, box.y + 60, { steps: 4 });
  await page.mouse.move(box.x + box.width * 0.75, box.y + 60, { steps: 4 });
  await page.mouse.up();
  await page.waitForFunction(() => location.search.includes('since='));
  const seconds = async () =>
    (Date.parse((await query(page)).get('until')) - Date.parse((await query(page)).get('since'))) / 1000;
  // A quarter of 15 minutes, to whole steps of 5 s.
  assert.ok(Math.abs((await seconds()) - 225) <= 10, `got ${await seconds()} s`);
  assert.ok(
    Math.abs(Date.parse((await query(page)).get('since')) - Date.parse('2026-03-14T03:02:30Z')) < 8000,
    await href(page),
  );
  await page.getByText('past', { exact: true }).waitFor();
  await settled(page);
  const zoomed = await href(page);
  await page.locator('.plot .u-over').dblclick();
  await page.waitForFunction((before) => location.href !== before, zoomed);
  assert.ok(Math.abs((await seconds()) - 450) <= 22, `got ${await seconds()} s`);
  await page.goBack();
  assert.equal(await href(page), zoomed);
  await page.getByRole('button', { name: 'Back to now' }).click();
  assert.equal((await query(page)).get('since'), null);
});

await story('traffic: groups, measures, conditions are in the address', {}, async (page) => {
  await open(page, '?view=traffic');
  await page.getByRole('combobox', { name: 'By', exact: true }).selectOption('ifname');
  assert.equal((await query(page)).get('by'), 'ifname');
  await page.getByRole('button', { name: 'Show only eth0' }).click();
  assert.deepEqual((await query(page)).getAll('where'), ['ifname=eth0']);
  await page.getByRole('button', { name: 'Remove the condition interface=eth0' }).click();
  assert.deepEqual((await query(page)).getAll('where'), []);
  await page.getByRole('columnheader', { name: 'lost' }).getByRole('button').click();
  assert.equal((await query(page)).get('sort'), '-drops');
  await page.keyboard.press('/');
  await page.getByRole('textbox').fill('not a condition');
  await page.keyboard.press('Enter');
  await page.getByRole('alert').waitFor();
  await page.getByRole('textbox').fill('comm!=sshd');
  await page.keyboard.press('Enter');
  assert.deepEqual((await query(page)).getAll('where'), ['comm!=sshd']);
  // Another view takes along what means something there.
  await page.keyboard.press('5');
  await settled(page);
  assert.equal((await query(page)).get('view'), 'dns');
  assert.deepEqual((await query(page)).getAll('where'), ['comm!=sshd']);
});

await story('keys: views, time, zoom, pause, help', {}, async (page) => {
  await open(page, '?view=fate');
  for (const [i, view] of views.entries()) {
    await page.keyboard.press(String(i + 1));
    assert.equal((await query(page)).get('view'), view);
  }
  await page.keyboard.press('2');
  await settled(page);
  await page.keyboard.press('[');
  assert.ok((await query(page)).get('since'));
  await page.keyboard.press('n');
  assert.equal((await query(page)).get('since'), null);
  await page.keyboard.press('-');
  await page.keyboard.press('n');
  await page.keyboard.press('p');
  await page.getByText('paused', { exact: true }).waitFor();
  await page.keyboard.press('p');
  await page.getByText('live', { exact: true }).waitFor();
  await page.keyboard.press('?');
  await page.getByRole('dialog').waitFor();
  await accessible(page, 'keys');
  await page.keyboard.press('Escape');
  await page.getByRole('dialog').waitFor({ state: 'hidden' });
});

await story('theme and language are chosen and kept', {}, async (page) => {
  await open(page, '?view=status');
  await page.getByRole('combobox', { name: 'Theme', exact: true }).selectOption('dark');
  await page.waitForFunction(() => document.documentElement.classList.contains('dark'));
  await page.getByRole('combobox', { name: 'Language', exact: true }).selectOption('zh');
  await page.getByRole('link', { name: '流量' }).waitFor();
  await page.reload();
  await page.getByRole('heading', { name: '传感器开销' }).waitFor();
  // What the server explains, too.
  await page.goto(address + '?view=fate&pick=SOCKET_RCVBUFF');
  const aside = page.getByRole('complementary');
  await aside.getByText('接收缓冲区已经用完').waitFor();
  await aside.getByRole('heading', { name: '处理办法' }).waitFor();
  assert.equal(await page.evaluate(() => document.documentElement.classList.contains('dark')), true);
});

await story('live: numbers move with ticks, and not when paused', {}, async (page) => {
  let asked = 0;
  page.on('request', (r) => (asked += r.url().includes('/series/') ? 1 : 0));
  await open(page, '?view=traffic');
  const first = asked;
  await page.waitForRequest((r) => r.url().includes('/series/'));
  assert.ok(asked > first);
  await page.getByRole('button', { name: 'Pause' }).click();
  await settled(page);
  const still = asked;
  // Two ticks of the server go by.
  await page.evaluate(
    () =>
      new Promise((done) => {
        let n = 0;
        const source = new EventSource('api/v1/events?kinds=');
        source.addEventListener('tick', () => {
          if (++n < 3) return;
          source.close();
          done();
        });
      }),
  );
  assert.equal(asked, still);
});

await story(
  'live: it comes back when the server was away',
  { expect: ['Failed to load resource', 'ERR_'] },
  async (page) => {
    let away = true;
    await page.route('**/api/v1/events*', (route) => (away ? route.abort() : route.continue()));
    await open(page, '?view=status');
    await page.getByText('no connection, trying again').waitFor();
    away = false;
    await page.getByText('live', { exact: true }).waitFor();
  },
);

await story('empty: it says what to do; an error says why', { expect: ['400 (Bad Request)'] }, async (page) => {
  await open(page, '?view=traffic&where=comm%3Dnobody');
  await page.getByText('Choose a longer range or remove a condition', { exact: false }).waitFor();
  await accessible(page, 'empty');
  await open(page, '?view=requests&where=comm%3Dnobody');
  await page.getByText('No request failed in this time range.').waitFor();
  await open(page, '?view=traffic&since=soon');
  await page.getByText('since is no time: soon').first().waitFor();
});

await story('numbers say what spoils them', {}, async (page) => {
  await open(page, '?view=traffic');
  await page.getByText('These numbers are not whole').waitFor();
  await open(page, '?view=traffic&since=-7d');
  await page.getByText('Old rows are kept at 5 min', { exact: false }).waitFor();
});

await story('query: runs, draws, saves, explains faults', { expect: ['400 (Bad Request)'] }, async (page) => {
  await open(page, '?view=query');
  await page.getByRole('combobox', { name: 'Examples', exact: true }).selectOption({ label: 'Bytes by minute' });
  await page.getByText('30 rows in 12 ms').waitFor();
  await page.locator('.plot canvas').waitFor();
  assert.match((await query(page)).get('sql'), /time_bucket/);
  const saved = page.waitForEvent('download');
  await page.getByRole('button', { name: 'Save as CSV' }).click();
  assert.equal((await saved).suggestedFilename(), 'netfate.csv');
  const shared = await href(page);
  await page.locator('#sql').fill('DROP TABLE drops');
  await page.locator('#sql').press('Control+Enter');
  await page.getByRole('alert').getByText('only SELECT is answered').waitFor();
  await page.goto(shared);
  await page.getByText('30 rows in 12 ms').waitFor();
});

// frames moves the pointer over the chart and returns how long frames took, in ms,
// the median first.
async function frames(page, at) {
  await open(page, at);
  const box = await page.locator('.plot .u-over').boundingBox();
  await page.evaluate(() => {
    globalThis.took = [];
    let last = performance.now();
    const next = (now) => {
      globalThis.took.push(now - last);
      last = now;
      requestAnimationFrame(next);
    };
    requestAnimationFrame(next);
  });
  for (let i = 0; i < 90; i++) await page.mouse.move(box.x + (box.width * i) / 90, box.y + 40 + (i % 60));
  const took = await page.evaluate(() => globalThis.took.slice(2).sort((a, b) => a - b));
  return took[Math.floor(took.length / 2)];
}

// 60 frames a second where the machine has time for them: a hundred lines may take
// one frame more than a single one takes here and now.
await story('frames: 100 lines under the pointer', {}, async (page) => {
  const one = await frames(page, '?view=traffic&by=proto');
  const hundred = await frames(page, '?view=traffic&by=many&lines=100');
  console.log(`     one line ${one.toFixed(1)} ms, a hundred ${hundred.toFixed(1)} ms a frame`);
  assert.ok(hundred < 2 * one + 17, `got ${hundred} ms, ${one} ms for one line`);
});

if (values.shots) {
  for (const [name, options, at] of [
    ['fate', {}, '?view=fate&pick=SOCKET_RCVBUFF&before=right'],
    ['traffic', { scheme: 'dark' }, '?view=traffic'],
    ['requests', {}, '?view=requests'],
    ['programs', {}, '?view=programs'],
    ['phone', { size: 'phone', scheme: 'dark' }, '?view=fate'],
  ]) {
    await story(`picture: ${name}`, options, async (page) => {
      await open(page, at);
      await page.screenshot({ path: `${values.shots}/${name}.png` });
    });
  }
}

await end();
