// Parses an AsyncAPI document with the reference parser; any finding but advice to use a newer version is a failure.
import { readFileSync } from 'node:fs';
import { Parser } from '@asyncapi/parser';

const ERROR = 0;
const WARNING = 1;

const path = process.argv[2];
const { diagnostics } = await new Parser().parse(readFileSync(path, 'utf8'));
const findings = diagnostics.filter(({ severity }) => severity <= WARNING);
for (const { severity, code, message, range } of findings) {
  const word = severity === ERROR ? 'error' : 'warning';
  console.error(`${path}:${range.start.line + 1}: ${word} ${code}: ${message}`);
}
if (findings.length > 0) process.exit(1);
console.log(`${path}: valid`);
