/**
 * The conversations that scenarios talk in.
 *
 * @typedef {import('../lib/world.js').World} World
 * @typedef {import('../lib/device.js').Device} Device
 *
 * @typedef {object} Room a conversation, and the devices that are in it
 * @property {string} conversation
 * @property {Device[]} devices
 */
import { SetUpError } from '../lib/world.js';

/**
 * Accounts and a device of each. What stops this is no fault of the messages.
 * @param {World} world
 * @returns {Promise<Device[]>}
 */
export async function audience(world) {
  try {
    return await world.connect(await world.accounts());
  } catch (error) {
    throw new SetUpError(error instanceof Error ? error.message : String(error));
  }
}

/**
 * Neighbours in the list talk to one another, each device in one conversation.
 * @param {World} world
 * @param {Device[]} devices
 * @returns {Promise<Room[]>}
 */
export async function pairs(world, devices) {
  const ones = devices.filter((_, at) => at % 2 === 0 && at + 1 < devices.length);
  return Promise.all(
    ones.map(async (one, at) => {
      const other = devices[2 * at + 1];
      return { conversation: await world.direct(one, other.account), devices: [one, other] };
    }),
  );
}

/**
 * Groups of these sizes. Every group begins somewhere else in the list, so that all devices are in some.
 * @param {World} world
 * @param {Device[]} devices
 * @param {number[]} sizes
 * @returns {Promise<Room[]>}
 */
export async function groupsOf(world, devices, sizes) {
  const rooms = [];
  let first = 0;
  for (const size of sizes) {
    const length = Math.min(size, devices.length);
    const members = Array.from({ length }, (_, at) => devices[(first + at) % devices.length]);
    const conversation = await world.group(members[0], members.map(({ account }) => account));
    rooms.push({ conversation, devices: members });
    first = (first + size) % devices.length;
  }
  return rooms;
}

/**
 * One of a list.
 * @template T
 * @param {T[]} list
 * @returns {T}
 */
export function any(list) {
  return list[Math.floor(Math.random() * list.length)];
}
