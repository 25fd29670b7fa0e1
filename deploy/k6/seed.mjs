// Makes accounts with sessions for a load, so that hashing passwords is no part of it: node seed.mjs NUMBER FILE [URL]
// The file holds tokens: it is as secret as the accounts, and readable by its owner alone.
import { readFile, writeFile } from 'node:fs/promises';
import { Figures, platform } from './fronts/node.js';
import { Account } from './lib/account.js';

const OPENED_AT_ONCE = 4;

const [number, file, url = 'http://127.0.0.1:8080'] = process.argv.slice(2);
if (!(Number(number) > 0) || file === undefined) {
  console.error('usage: node seed.mjs NUMBER FILE [URL]');
  process.exit(64);
}

// A file that is there is made longer; its sessions are good for 30 days after their last refresh.
const before = await readFile(file, 'utf8').catch(() => '[]');
/** @type {import('./lib/account.js').StoredAccount[]} */
const accounts = JSON.parse(before);
const node = platform(new Figures(), () => {});
const stamp = Date.now().toString(36);
while (accounts.length < Number(number)) {
  const names = [];
  const end = Math.min(Number(number), accounts.length + OPENED_AT_ONCE);
  for (let at = accounts.length; at < end; at += 1) names.push(`load.${stamp}.${at}`);
  const opened = await Promise.all(names.map((name) => Account.open(node, url, name)));
  accounts.push(...opened.map((account) => account.stored()));
  await writeFile(file, JSON.stringify(accounts), { mode: 0o600 });
}
console.log(`${accounts.length} accounts in ${file}`);
