/** What `smoke` says that it causes, against the documents of the API. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { parse } from 'yaml';
import { CODES, HEARD, KINDS, LEFT_OUT, SENT } from '../scenarios/coverage.js';

const document = (/** @type {string} */ name) => parse(readFileSync(new URL(`../../../schemas/${name}`, import.meta.url), 'utf8'));
const asyncapi = document('asyncapi.yaml');
const openapi = document('openapi.yaml');

/** @param {string} reference such as `#/components/schemas/Hello` */
function found(reference) {
  return reference.slice(2).split('/').reduce((node, name) => node[name], asyncapi);
}

/**
 * The types of the frames that the server receives, or sends.
 * @param {'receive' | 'send'} action
 */
function frames(action) {
  const operations = Object.values(asyncapi.operations).filter((operation) => operation.action === action);
  const messages = operations.flatMap((operation) => operation.messages.map((/** @type {any} */ { $ref }) => found($ref)));
  return messages.map(({ $ref }) => found(found($ref).payload.$ref).properties.type.const);
}

/** @param {any} schema of a name that others are added to */
function named(schema) {
  return schema.anyOf.find((/** @type {any} */ one) => one.enum !== undefined).enum;
}

const leftOut = (/** @type {string[]} */ names) => names.filter((name) => LEFT_OUT[name] !== undefined);

/**
 * @param {string[]} listed
 * @param {string[]} documented
 */
function agree(listed, documented) {
  assert.deepEqual([...listed, ...leftOut(documented)].sort(), [...new Set(documented)].sort());
}

test('every frame of the documents is covered or left out for a reason', () => {
  assert.ok(frames('receive').length > 0 && frames('send').length > 0);
  agree(SENT, frames('receive'));
  agree(HEARD, frames('send'));
});

test('every kind of event of the documents is covered or left out for a reason', () => {
  agree(KINDS, named(asyncapi.components.schemas.EventKind));
});

test('every error code of the documents is covered or left out for a reason', () => {
  agree(CODES, named(openapi.components.schemas.ErrorCode));
  agree(CODES, named(asyncapi.components.schemas.ErrorCode));
});

test('nothing is left out that the documents do not have', () => {
  const kinds = named(asyncapi.components.schemas.EventKind);
  const documented = [...frames('send'), ...kinds, ...named(openapi.components.schemas.ErrorCode)];
  assert.deepEqual(Object.keys(LEFT_OUT).filter((name) => !documented.includes(name)), []);
});
