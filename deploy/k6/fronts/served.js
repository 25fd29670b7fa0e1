/** A `klatsch` that a run starts itself: on a free port, with a data folder of its own that goes with it. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { until } from '../lib/wait.js';

const READY_WITHIN_MS = 60_000;
const END_WITHIN_MS = 30_000;

export class Served {
  /**
   * @param {string} program the path of `klatsch`
   * @param {string} folder
   * @param {number} port
   * @param {number} opsPort
   */
  constructor(program, folder, port, opsPort) {
    this.program = program;
    this.folder = folder;
    this.base = `http://127.0.0.1:${port}`;
    this.args = ['--data', join(folder, 'data'), '--listen', `127.0.0.1:${port}`, '--ops-listen', `127.0.0.1:${opsPort}`];
    /** @type {import('node:child_process').ChildProcess | null} */
    this.child = null;
    this.restarts = 0;
  }

  /**
   * Starts it, and waits until it is ready.
   * @param {string} program
   */
  static async start(program) {
    const [port, opsPort] = await freePorts(2);
    const served = new Served(program, await mkdtemp(join(tmpdir(), 'klatsch-load-')), port, opsPort);
    await served.up();
    return served;
  }

  async up() {
    const child = spawn(this.program, this.args, { stdio: ['ignore', 'ignore', 'inherit'] });
    this.child = child;
    // Whatever ends this process ends it, too.
    const end = () => child.kill('SIGKILL');
    process.once('exit', end);
    child.once('exit', () => process.removeListener('exit', end));
    let ended = false;
    child.on('error', () => (ended = true));
    child.on('exit', () => (ended = true));
    let ready = false;
    const asking = (async () => {
      while (!ready && !ended) {
        ready = await fetch(`${this.base}/readyz`).then((answer) => answer.ok, () => false);
      }
    })();
    await until(() => ready || ended, READY_WITHIN_MS);
    if (!ready) {
      child.kill('SIGKILL');
      await asking;
      throw new Error(`${this.program} did not become ready`);
    }
  }

  /** @param {NodeJS.Signals} signal */
  async down(signal) {
    const { child } = this;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, 'exit');
    child.kill(signal);
    const timer = setTimeout(() => child.kill('SIGKILL'), END_WITHIN_MS);
    await gone;
    clearTimeout(timer);
  }

  /** In order the first time, killed the second, and so on. */
  async restart() {
    this.restarts += 1;
    await this.down(this.restarts % 2 === 1 ? 'SIGTERM' : 'SIGKILL');
    await this.up();
  }

  /** Ends it, with its data. */
  async end() {
    await this.down('SIGTERM');
    await rm(this.folder, { recursive: true, force: true });
  }
}

/**
 * Ports that were free a moment ago.
 * @param {number} number
 * @returns {Promise<number[]>}
 */
async function freePorts(number) {
  const servers = Array.from({ length: number }, () => createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((server) => once(server, 'listening')));
  const ports = servers.map((server) => /** @type {import('node:net').AddressInfo} */ (server.address()).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
