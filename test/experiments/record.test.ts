import * as fs from 'node:fs';
import * as path from 'node:path';
import { withVerdicts } from '../../experiments/record';
import { packageRoot } from '../../lib/binding';

const text = fs.readFileSync(path.join(packageRoot, 'RESULTS.md'), 'utf8');

test('RESULTS.md says what the summaries on record say', () => {
  expect(text).toContain('<!-- verdicts: ');
  expect(withVerdicts(text)).toBe(text);
});

test('every file that RESULTS.md refers to is on record', () => {
  const files = [...text.matchAll(/\((results\/[^)]+\.\w+)\)/g)].map(([, file]) => file);
  expect(files.length).toBeGreaterThan(0);
  expect(files.filter((file) => !fs.existsSync(path.join(packageRoot, file)))).toEqual([]);
});
