import { EXIT, integer, seconds } from '../../lib/cli/command';
import { clock, Progress } from '../../lib/cli/progress';

function recorded(isTTY: boolean) {
  const written: string[] = [];
  let time = 0;
  const progress = new Progress({ isTTY, columns: 120, write: (text) => written.push(text) }, () => time);
  const at = (seconds: number, done: number) => {
    time = seconds;
    progress.show({ label: 'iteration 1/2', done, total: 100, unit: 'updates', values: ['loss 4.20 bits'] });
  };
  return { written, at };
}

test('without a terminal there is a line every ten seconds and one at the end', () => {
  const { written, at } = recorded(false);
  for (let second = 0; second <= 25; second++) at(second, 4 * second);
  expect(written).toHaveLength(4);
  expect(written[1]).toBe('iteration 1/2  40 %  40/100 updates  loss 4.20 bits  ETA 0:15\n');
  expect(written[3]).toContain('100 %');
});

test('on a terminal one line is redrawn, and ended when the work is done', () => {
  const { written, at } = recorded(true);
  for (let tick = 0; tick <= 20; tick++) at(0.05 * tick, 5 * tick);
  expect(written.filter((text) => text.startsWith('\r')).length).toBeLessThan(13);
  expect(written.at(-2)).toContain('100/100 updates');
  expect(written.at(-1)).toBe('\n');
});

test('a resumed phase estimates its end from what it did itself', () => {
  const { written, at } = recorded(false);
  at(0, 80);
  at(10, 90);
  expect(written[1]).toContain('ETA 0:10');
});

test('clock', () => {
  expect([5, 75, 4000].map(clock)).toEqual(['0:05', '1:15', '1:06:40']);
});

test('durations have a unit, minutes by default', () => {
  expect([
    seconds('--budget', '90s'),
    seconds('--budget', '10m'),
    seconds('--budget', '1.5h'),
    seconds('--budget', '3'),
  ]).toEqual([90, 600, 5400, 180]);
  expect(() => seconds('--budget', 'soon')).toThrow(/--budget takes a duration/);
  expect(() => seconds('--budget', '0m')).toThrow();
});

test('whole numbers are checked', () => {
  expect(integer('--reset-top', '2')).toBe(2);
  for (const text of ['-1', '1.5', 'two', ''])
    expect(() => integer('--reset-top', text)).toThrow(/--reset-top takes a whole number/);
  expect(EXIT).toEqual({ done: 0, failed: 1, usage: 2, interrupted: 130 });
});
