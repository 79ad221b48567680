import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { Graph } from '../../lib/nn/graph';
import { add, scale } from '../../lib/nn/ops';
import type { Program } from '../../lib/nn/program';
import { ParameterStore } from '../../lib/nn/store';

describe('HUBERTKIT_TRACE', () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'hubertkit-trace-'));
  let program: Program;

  beforeAll(async () => {
    const g = new Graph(false);
    const x = g.feed('x', [1000]);
    g.whenOpen(g.gateIndex('sometimes'), () => g.output('gated', scale(x, 3)));
    g.output('sum', add(scale(x, 2), x));
    program = await g.compile(new ParameterStore([{ name: 'one', shape: [1], slices: [] }]));
  });
  afterEach(() => {
    delete process.env.HUBERTKIT_TRACE;
  });
  afterAll(() => {
    program.dispose();
    fs.rmSync(folder, { recursive: true });
  });
  const run = (sometimes = true) => program.run({ x: new Float32Array(1000).fill(1) }, { gates: { sometimes } });
  const read = (file: string) => JSON.parse(fs.readFileSync(file, 'utf8').replace(/,\n$/, ']'));

  test('every op that ran is one event, in order, without overlap, within the time of its run', async () => {
    const file = path.join(folder, 'ops.json');
    process.env.HUBERTKIT_TRACE = file;
    await run();
    const seconds = [program.lastSeconds];
    await run(false);
    seconds.push(program.lastSeconds);
    const events = read(file);
    expect(events.map((e: { name: string }) => e.name)).toEqual(['scale', 'scale', 'add', 'scale', 'add']);
    for (let i = 1; i < events.length; i++)
      expect(events[i].ts).toBeGreaterThanOrEqual(events[i - 1].ts + events[i - 1].dur - 0.01);
    const runs = [events.slice(0, 3), events.slice(3)];
    for (const [i, ops] of runs.entries())
      expect(ops.reduce((sum: number, e: { dur: number }) => sum + e.dur, 0)).toBeLessThanOrEqual(1e6 * seconds[i]);
    expect(events[2].args).toMatchObject({ label: 'add', bytes: 12000 });
  });

  test('a file that cannot be written is an error that names it', async () => {
    process.env.HUBERTKIT_TRACE = path.join(folder, 'missing', 'ops.json');
    await expect(run()).rejects.toMatchObject({ code: 'HK_IO', message: expect.stringContaining('missing') });
  });

  test('without it nothing is timed', async () => {
    program.lastProfile = [];
    await run();
    expect(program.lastProfile).toEqual([]);
  });
});
