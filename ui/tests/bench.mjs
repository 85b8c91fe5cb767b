// How fast the page is, on the records that test/webui makes up: `tools/ui bench` runs
// it. Each load has a browser without a cache; a frame is from one picture of the
// screen to the next.
import { launch, settled } from './browser.mjs';

const [address] = process.argv.slice(2);
if (!address) throw new Error('which page? give its address');

const middle = (list) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)];
const worst = (list) => Math.max(...list);
const loads = 9;

const browser = await launch();

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
  await context.close();
  return { ms, bytes, files };
}

// frames moves the pointer over a chart of so many lines, and returns how long frames
// took, in ms.
async function frames(by, lines) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 } });
  const page = await context.newPage();
  await page.goto(`${address}?view=traffic&by=${by}&lines=${lines}`);
  await settled(page);
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
  for (let i = 0; i < 300; i++) await page.mouse.move(box.x + (box.width * i) / 300, box.y + 40 + (i % 60));
  const took = await page.evaluate(() => globalThis.took.slice(2));
  await context.close();
  return took.toSorted((a, b) => a - b);
}

console.log('| | |\n| --- | --- |');
for (const [name, slow] of [
  ['first load, this machine', false],
  ['first load, 4 times slower, 10 Mbit/s, 40 ms', true],
]) {
  const all = [];
  for (let i = 0; i < loads; i++) all.push(await load(slow));
  const ms = all.map((one) => one.ms);
  console.log(`| ${name} | ${middle(ms).toFixed(0)} ms, at worst ${worst(ms).toFixed(0)} of ${loads} |`);
  if (!slow)
    console.log(
      `| it takes | ${(middle(all.map((one) => one.bytes)) / 1000).toFixed(1)} kB in ${middle(all.map((one) => one.files))} requests |`,
    );
}
for (const [name, by, lines] of [
  ['a frame, one line, pointer moving', 'proto', 1],
  ['a frame, 100 lines, pointer moving', 'many', 100],
]) {
  const took = await frames(by, lines);
  console.log(
    `| ${name} | ${middle(took).toFixed(1)} ms, 95 % ${took[Math.floor(took.length * 0.95)].toFixed(1)} ms |`,
  );
}
await browser.close();
