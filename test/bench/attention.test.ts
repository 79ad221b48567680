import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { compareAttention } from '../../bench/peers/attention';
import { native } from '../../lib/binding';

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'hubertkit-python-'));
afterEach(() => {
  delete process.env.HUBERTKIT_PYTHON;
});
afterAll(() => fs.rmSync(folder, { recursive: true }));

/** A stand-in for PyTorch: so far away, and a second for each direction. */
function peer(outputError: number): void {
  const file = path.join(folder, 'python');
  const check = `{"output_error": ${outputError}, "gradient_error": 0.001}`;
  const time = '{"kernel": "own choice", "forward_s": 1, "backward_s": 1}';
  const answers = `case $line in check) echo '${check}' ;; *) echo '${time}' ;; esac`;
  const script = `#!/bin/sh\necho '{"peer": "other", "version": "1"}'\nwhile read -r line; do ${answers}; done\n`;
  fs.writeFileSync(file, script, { mode: 0o755 });
  process.env.HUBERTKIT_PYTHON = file;
}

const shape = { batch: 1, frames: 40, width: 128, heads: 2 };
const whereBf16 = native().backendInfo().bf16 ? test : test.skip;

whereBf16('attention is timed beside a peer with the same values, without dropout and with it', async () => {
  peer(0.002);
  const { sameValues, dropouts } = await compareAttention('cpu', shape);
  expect(sameValues).toBe(true);
  expect(dropouts.map(({ dropout }) => dropout)).toEqual([0, 0.1]);
  // 4 B T^2 D and 10 B T^2 D FLOP in a second.
  expect(dropouts[0].theirs.forward_tflops).toBeCloseTo((4 * 40 * 40 * 128) / 1e12, 15);
  expect(dropouts[0].theirs.backward_tflops).toBeCloseTo((10 * 40 * 40 * 128) / 1e12, 15);
  expect(dropouts[0].timesAsFast!.forward).toBeCloseTo(1 / dropouts[0].ours.forward_s, 6);
});

whereBf16('it has no ratio to a peer whose values are others', async () => {
  peer(0.5);
  const { sameValues, dropouts } = await compareAttention('cpu', shape);
  expect(sameValues).toBe(false);
  for (const { timesAsFast } of dropouts) expect(timesAsFast).toBeUndefined();
});
