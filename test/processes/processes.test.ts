import * as path from 'node:path';
import { inProcesses, type ProcessOptions } from '../../lib/processes';

const script = path.join(__dirname, 'child.js');
const options: ProcessOptions<string> = { processes: 2, does: 'squares numbers', whenStopped: 'ask' };
const run = (does: string[], more: Partial<ProcessOptions<string>> = {}) =>
  inProcesses<unknown, string, number>(
    script,
    does.map((does, number) => ({ number, does })),
    { ...options, ...more },
  );

test('more jobs than processes: results in the order of the jobs, events of each job', async () => {
  const events: string[] = [];
  const results = await run(['square', 'square', 'square', 'square', 'square'], {
    onEvent: (index, event) => events.push(`${index}: ${event}`),
  });
  expect(results).toEqual([0, 1, 4, 9, 16]);
  expect(events.sort()).toEqual([0, 1, 2, 3, 4].map((i) => `${i}: begins ${i}`));
  expect(await run([])).toEqual([]);
});

test('the error of a job arrives with its code, after the others were asked to save', async () => {
  const events: string[] = [];
  const failing = run(['wait', 'fail', 'square'], { onEvent: (_, event) => events.push(event) });
  await expect(failing).rejects.toMatchObject({ code: 'HK_CORPUS', message: expect.stringContaining('No 1 today.') });
  expect(events).toContain('saved');
  expect(events).not.toContain('begins 2');
});

test('a process that ends by itself is an error that says so', async () => {
  await expect(run(['die'])).rejects.toMatchObject({
    code: 'HK_INTERNAL',
    message: expect.stringContaining('The process that squares numbers ended (code 7).'),
  });
});

test.each(['ask', 'kill'] as const)('an aborted signal stops all of them (%s)', async (whenStopped) => {
  const stop = new AbortController();
  const events: string[] = [];
  const stopped = run(['wait', 'wait'], {
    whenStopped,
    signal: stop.signal,
    onEvent: (_, event) => {
      events.push(event);
      if (event.startsWith('begins')) stop.abort();
    },
  });
  await expect(stopped).rejects.toMatchObject({ code: 'HK_INTERRUPTED' });
  expect(events.includes('saved')).toBe(whenStopped === 'ask');
});
