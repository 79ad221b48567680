import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { wrapped } from '../../lib/binding';
import { decodeAudio } from '../../lib/data/audio';

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'hubertkit-flac-'));
afterAll(() => fs.rmSync(folder, { recursive: true }));

test('a tone written as FLAC at 44.1 kHz is the same tone at 16 kHz after decoding', async () => {
  const hz = 44100;
  const tone = (rate: number, n: number) =>
    Float32Array.from({ length: n }, (_, i) => 0.5 * Math.sin((2 * Math.PI * 440 * i) / rate));
  const file = path.join(folder, 'tone.flac');
  wrapped((n) => n.writeFlac(file, tone(hz, hz), hz));
  const { samples, sourceRate, sourceFrames } = await decodeAudio(file);
  expect([sourceRate, sourceFrames, samples.length]).toEqual([hz, hz, 16000]);
  const expected = tone(16000, 16000);
  for (let i = 1000; i < 15000; i++) expect(Math.abs(samples[i] - expected[i])).toBeLessThan(1e-3);
});

test.each([
  ['a path that is not text', [1, new Float32Array(9), 16000]],
  ['samples that are not floats', ['x.flac', [1, 2], 16000]],
  ['samples that are not finite', ['x.flac', Float32Array.of(Number.NaN), 16000]],
  ['an impossible rate', ['x.flac', new Float32Array(9), -1]],
  ['no rate', ['x.flac', new Float32Array(9)]],
])('writing FLAC refuses %s', (_, parameters) => {
  const write = () => wrapped((n) => (n.writeFlac as (...all: unknown[]) => void)(...parameters));
  expect(write).toThrow(expect.objectContaining({ code: 'HK_ARGUMENT' }));
});
