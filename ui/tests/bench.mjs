// How fast the page is, on the records that test/webui makes up: `tools/ui bench` runs
// it. Each load has a browser without a cache; a frame is from one picture of the
// screen to the next. CPU time is that of the page's thread, and so the same on a machine
// that has other things to do.
import { launch, settled } from './browser.mjs';

const [address] = process.argv.slice(2);
if (!address) throw new Error('which page? give its address');

const middle = (list) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)];
const worst = (list) => Math.max(...list);
const loads = 5;

const browser = await launch();

// cpu begins to count the CPU time of the page's thread, and returns what tells it, in
// ms.
async function cpu(session) {
  await session.send('Performance.enable', { timeDomain: 'threadTicks' });
  return async () => {
    const { metrics } = await session.send('Performance.getMetrics');
    return 1000 * (metrics.find((m) => m.name === 'TaskDuration')?.value ?? 0);
  };
}

// load opens the page as new, and returns when its diagram was there, in ms.
async function load(slow) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 } });
  const page = await context.newPage();
  const session = await context.newCDPSession(page);
  await session.send('Network.enable');
  if (slow) {
    await session.send('Emulation.setCPUThrottlingRate', { rate: 4 });
    const bits = 10e6 / 8;
    await session.send('Network.emulateNetworkConditions', {
      offline: false,
      latency: 40,
      downloadThroughput: bits,
      uploadThroughput: bits,
    });
  }
  const spent = await cpu(session);
  let bytes = 0;
  let files = 0;
  session.on('Network.loadingFinished', (e) => {
    bytes += e.encodedDataLength;
    files++;
  });
  await page.addInitScript(() => {
    new MutationObserver((_, observer) => {
      if (!document.querySelector('main svg path')) return;
      observer.disconnect();
      requestAnimationFrame(() => (globalThis.drawn = performance.now()));
    }).observe(document, { childList: true, subtree: true });
  });
  await page.goto(address);
  const ms = await page.waitForFunction(() => globalThis.drawn).then((handle) => handle.jsonValue());
  await settled(page);
  const busy = await spent();
  await context.close();
  return { ms, bytes, files, busy };
}

// frames moves the pointer over a chart of so many lines, and returns how long frames
// took and how much CPU time each of them, in ms.
async function frames(by, lines) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 } });
  const page = await context.newPage();
  await page.goto(`${address}?view=traffic&by=${by}&lines=${lines}`);
  await settled(page);
  const box = await page.locator('.plot .u-over').boundingBox();
  const spent = await cpu(await context.newCDPSession(page));
  const before = await spent();
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
  for (let i = 0; i < 300; i++) await page.mouse.move(box.x + (box.width * i) / 300, box.y + 40 + (i % 60));
  const took = await page.evaluate(() => globalThis.took.slice(2));
  const busy = ((await spent()) - before) / took.length;
  await context.close();
  return { took: took.toSorted((a, b) => a - b), busy };
}

console.log('| | |\n| --- | --- |');
for (const [name, slow] of [
  ['first load, this machine', false],
  ['first load, 4 times slower, 10 Mbit/s, 40 ms', true],
]) {
  const all = [];
  for (let i = 0; i < loads; i++) all.push(await load(slow));
  const ms = all.map((one) => one.ms);
  const busy = middle(all.map((one) => one.busy));
  console.log(
    `| ${name} | ${middle(ms).toFixed(0)} ms, at worst ${worst(ms).toFixed(0)} of ${loads}; ${busy.toFixed(0)} ms of CPU |`,
  );
  if (!slow)
    console.log(
      `| it takes | ${(middle(all.map((one) => one.bytes)) / 1000).toFixed(1)} kB in ${middle(all.map((one) => one.files))} requests |`,
    );
}
for (const [name, by, lines] of [
  ['a frame, one line, pointer moving', 'proto', 1],
  ['a frame, 100 lines, pointer moving', 'many', 100],
]) {
  const { took, busy } = await frames(by, lines);
  const late = took[Math.floor(took.length * 0.95)];
  console.log(`| ${name} | ${middle(took).toFixed(1)} ms, 95 % ${late.toFixed(1)} ms; ${busy.toFixed(1)} ms of CPU |`);
}
await browser.close();
