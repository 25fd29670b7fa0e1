// Plays scenarios with Node, one after the other, against a klatsch that runs or one that it starts itself.
//
//   node run.mjs [--url URL | --serve KLATSCH] [--profile laptop] [--seed FILE] [--out FOLDER]
//       [--run NAME --part N] SCENARIO...
//
// Of a run on several machines, all parts have the same name, and each a number of its own from 0.
// Exit codes: 0 passed, 99 the product failed, 3 the tool was too slow, 4 set-up failed; of several scenarios that of
// the worst, in the order 99, 4, 3.
import { createWriteStream } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Figures, platform } from './fronts/node.js';
import { Served } from './fronts/served.js';
import { thresholds } from './lib/thresholds.js';
import { PASSED, PRODUCT_FAILED, SET_UP_FAILED, TOOL_OVERLOADED, judge } from './lib/verdict.js';
import { World } from './lib/world.js';
import { SCENARIOS, play } from './scenarios/index.js';

const USAGE_FAULT = 64;
const STOPPED = 130;
const WORST_FIRST = [PRODUCT_FAILED, SET_UP_FAILED, TOOL_OVERLOADED, PASSED];
/** @type {Record<number, string>} */
const WORDS = {
  [PASSED]: 'passed',
  [PRODUCT_FAILED]: 'PRODUCT FAILED',
  [TOOL_OVERLOADED]: 'TOOL TOO SLOW',
  [SET_UP_FAILED]: 'SET-UP FAILED',
};

/**
 * @typedef {object} Options
 * @property {string} url
 * @property {string | undefined} serve
 * @property {string} profile
 * @property {string | undefined} seed
 * @property {string | undefined} out
 * @property {string | undefined} run
 * @property {number} part
 */

/**
 * @param {string} scenario
 * @param {any} settings
 * @param {Options} options
 * @returns {Promise<number>} the exit code
 */
async function one(scenario, settings, options) {
  const run = options.run ?? `${scenario.replace('_', '-')}.${Date.now().toString(36)}`;
  const vu = options.part;
  const figures = new Figures();
  const { keep, close } = await keeper(options.out, `${run}.${vu}`);
  const accounts = options.seed === undefined ? [] : JSON.parse(await readFile(options.seed, 'utf8'));
  const seeded = accounts.slice(vu * settings.users, (vu + 1) * settings.users);
  let served = null;
  try {
    if (options.serve !== undefined) served = await Served.start(options.serve);
    const base = served?.base ?? options.url;
    const restart = served === null ? null : served.restart.bind(served);
    const node = platform(figures, keep);
    await play(scenario, new World({ platform: node, base, run, vu, settings, seeded, hooks: { restart } }));
  } catch (error) {
    console.error(`set-up failed: ${error instanceof Error ? error.message : error}`);
    figures.record('failed_setups', 1);
  } finally {
    await served?.end();
    await close();
  }
  const { code, crossed } = judge((metric) => figures.figure(metric), thresholds(scenario, settings.thresholds));
  const summary = figures.summary();
  for (const [name, value] of Object.entries(summary)) if (value !== 0) console.log(`  ${name.padEnd(34)} ${value}`);
  for (const words of crossed) console.log(`  crossed: ${words}`);
  console.log(`${scenario}: ${WORDS[code]}`);
  if (options.out !== undefined) {
    const result = { scenario, run, code, crossed, settings, summary };
    await writeFile(join(options.out, `${run}.${vu}.json`), JSON.stringify(result, null, 2));
  }
  return code;
}

/**
 * Where the lines of the ledger go.
 * @param {string | undefined} folder
 * @param {string} name
 */
async function keeper(folder, name) {
  if (folder === undefined) return { keep: () => {}, close: async () => {} };
  await mkdir(folder, { recursive: true });
  const file = createWriteStream(join(folder, `${name}.ledger.jsonl`));
  const keep = (/** @type {object} */ line) => void file.write(`${JSON.stringify(line)}\n`);
  return { keep, close: () => new Promise((resolve) => file.end(() => resolve(undefined))) };
}

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      url: { type: 'string', default: process.env.KLATSCH_URL ?? 'http://127.0.0.1:8080' },
      serve: { type: 'string' },
      profile: { type: 'string', default: 'laptop' },
      seed: { type: 'string' },
      out: { type: 'string' },
      run: { type: 'string' },
      part: { type: 'string', default: '0' },
    },
  });
  const part = Number(values.part);
  if (!Number.isInteger(part) || part < 0 || (values.run !== undefined && positionals.length !== 1)) {
    console.error('a part is a number from 0; a run with a name is of one scenario');
    return USAGE_FAULT;
  }
  const unknown = positionals.filter((name) => SCENARIOS[name] === undefined);
  if (positionals.length === 0 || unknown.length > 0) {
    const not = unknown.length > 0 ? `, not ${unknown.join(', ')}` : '';
    console.error(`scenarios are ${Object.keys(SCENARIOS).join(', ')}${not}`);
    return USAGE_FAULT;
  }
  const profile = JSON.parse(await readFile(new URL(`profiles/${values.profile}.json`, import.meta.url), 'utf8'));
  /** @type {number[]} */
  const codes = [];
  for (const scenario of positionals) {
    if (profile[scenario] === undefined) {
      console.error(`the profile ${values.profile} has no ${scenario}`);
      return USAGE_FAULT;
    }
    codes.push(await one(scenario, profile[scenario], /** @type {Options} */ ({ ...values, part })));
  }
  const passed = codes.filter((code) => code === PASSED).length;
  console.log(`${passed} passed, ${codes.length - passed} failed`);
  return WORST_FIRST.find((code) => codes.includes(code)) ?? PASSED;
}

for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(STOPPED));
// Sockets that still say goodbye keep nobody waiting.
process.exit(await main());
