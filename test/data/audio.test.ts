import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { decodeAudio, logMel, melFrontEnd, mfcc, probeAudio } from '../../lib/data/audio';
import { frameCount } from '../../lib/data/types';
import { logMelReference, mfccReference } from '../../lib/selftest/mfcc';
import { type Coding, chunk, flac, sound, wav } from './sounds';

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'hubertkit-audio-'));
afterAll(() => fs.rmSync(folder, { recursive: true }));

function file(name: string, bytes: Uint8Array): string {
  fs.writeFileSync(path.join(folder, name), bytes);
  return path.join(folder, name);
}

function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let largest = 0;
  for (let i = 0; i < a.length; i++) largest = Math.max(largest, Math.abs(a[i] - b[i]));
  return largest;
}

const second = sound(16000);

describe('decoding', () => {
  test.each<[Coding, number]>([
    ['u8', 0.008],
    ['s16', 5e-5],
    ['s24', 1e-6],
    ['s32', 1e-7],
    ['f32', 0],
    ['f64', 0],
  ])('%s samples come out as they went in', async (coding, tolerance) => {
    const decoded = await decodeAudio(file(`${coding}.wav`, wav(second, { coding })));
    expect(decoded).toMatchObject({ sourceRate: 16000, channels: 1, sourceFrames: 16000, warnings: [] });
    expect(decoded.samples).toHaveLength(16000);
    expect(largestDifference(decoded.samples, second)).toBeLessThanOrEqual(tolerance);
  });

  test.each([8000, 22050, 44100, 48000, 96000])('a tone at %i Hz is the same tone at 16 kHz', async (rate) => {
    const tone = (n: number, hz: number) =>
      Float32Array.from({ length: n }, (_, i) => 0.5 * Math.sin((2 * Math.PI * 1000 * i) / hz));
    const { samples, sourceRate } = await decodeAudio(file('tone.wav', wav(tone(rate, rate), { rate, coding: 'f32' })));
    expect(sourceRate).toBe(rate);
    expect(Math.abs(samples.length - 16000)).toBeLessThanOrEqual(1);
    const expected = tone(16000, 16000);
    expect(largestDifference(samples.subarray(1000, 15000), expected.subarray(1000, 15000))).toBeLessThan(1e-3);
  });

  test('channels are averaged', async () => {
    const stereo = Float32Array.from({ length: 2000 }, (_, i) => (i % 2 ? 0.5 : -0.1));
    const { samples, channels } = await decodeAudio(file('stereo.wav', wav(stereo, { channels: 2, coding: 'f32' })));
    expect(channels).toBe(2);
    expect(samples).toHaveLength(1000);
    for (const value of samples) expect(value).toBeCloseTo(0.2, 6);
  });

  test('the extension does not matter, nor do other chunks, trailing bytes or the extensible header', async () => {
    const odd = chunk('LIST', Buffer.from('abc'));
    const files = [
      file('really-wav.flac', wav(second)),
      file('really-flac.mp3', flac(second)),
      file('list.wav', wav(second, { before: odd })),
      file('garbage.wav', wav(second, { after: Buffer.alloc(4000, 'junk') })),
      file('extensible.wav', wav(second, { extensible: true })),
      file('ünï 名.wav', wav(second)),
      file('no-extension', wav(second)),
    ];
    for (const each of files) {
      const { samples, warnings } = await decodeAudio(each);
      expect(samples).toHaveLength(16000);
      expect(largestDifference(samples, second)).toBeLessThan(5e-5);
      expect(warnings).toEqual([]);
    }
  });

  test('a compressed WAV ends where its fact chunk says, not with the padding of its last block', async () => {
    const coefficients = '070000010000000200ff00000000c0004000f0000000cc0130ff880118ff';
    const format = Buffer.from(`02000100803e0000803e0000000104002000f401${coefficients}`, 'hex'); // MS ADPCM, 500 samples a block of 256
    const facts = Buffer.alloc(4);
    facts.writeUInt32LE(700);
    const chunks = [chunk('fmt ', format), chunk('fact', facts), chunk('data', Buffer.alloc(512))];
    const { samples, sourceFrames } = await decodeAudio(
      file('adpcm.wav', chunk('RIFF', Buffer.concat([Buffer.from('WAVE'), ...chunks]))),
    );
    expect([samples.length, sourceFrames]).toEqual([700, 700]);
  });

  test('a length that the header leaves open is read to the end, with a warning', async () => {
    for (const name of [
      file('open.wav', wav(second, { claimedDataBytes: 0xffffffff })),
      file('open.flac', flac(second, { claimedFrames: 0 })),
    ]) {
      expect((await probeAudio(name)).frames).toBeUndefined();
      const { samples, warnings } = await decodeAudio(name);
      expect(samples).toHaveLength(16000);
      expect(warnings).toEqual([expect.stringMatching(/does not say how long/)]);
    }
  });

  test('exactly 400 samples are one frame; silence and loud floats load with a warning', async () => {
    expect((await decodeAudio(file('400.wav', wav(second.subarray(0, 400))))).samples).toHaveLength(400);
    const silence = await decodeAudio(file('silence.wav', wav(new Float32Array(800))));
    expect(silence.warnings).toEqual([expect.stringMatching(/zero/)]);
    const loud = await decodeAudio(
      file(
        'loud.wav',
        wav(
          second.map((v) => 20 * v),
          { coding: 'f32' },
        ),
      ),
    );
    expect(loud.warnings).toEqual([expect.stringMatching(/beyond \+-1/)]);
  });

  const withValue = (value: number) => second.map((v, i) => (i === 5000 ? value : v));
  const corrupt = (bytes: Buffer) => bytes.fill(0x5a, 9000, 9064);
  test.each<[string, Buffer, RegExp]>([
    ['an empty file', Buffer.alloc(0), /empty/],
    ['one byte', Buffer.from([7]), /not audio/],
    ['text', Buffer.from('This is not audio at all. '.repeat(40)), /not audio/],
    ['a RIFF header alone', wav(second).subarray(0, 12), /no audio data/],
    ['no data chunk', wav(second, { leaveOut: 'data' }), /no audio data/],
    ['no format chunk', wav(second, { leaveOut: 'fmt ' }), /not audio/],
    [
      'a chunk larger than the file',
      wav(second, { before: chunk('junk', Buffer.alloc(8), 0xfffffff0) }),
      /no audio data/,
    ],
    ['zero channels', wav(second, { claimedChannels: 0 }), /channel/i],
    ['too many channels', wav(second, { claimedChannels: 5000 }), /channel/i],
    ['a rate of zero', wav(second, { claimedRate: 0 }), /rate of 0 Hz/],
    ['an absurd rate', wav(second, { claimedRate: 2_000_000_000 }), /rate|not audio/],
    ['a tiny rate', wav(second, { claimedRate: 10 }), /sampling rate of 10 Hz/],
    ['no samples', wav([]), /no samples/],
    ['one sample', wav([0.5]), /too short: 1 samples/],
    ['399 samples', wav(second.subarray(0, 399)), /too short: 399 samples at 16 kHz, one frame needs 400/],
    ['a WAV that claims three hours', wav(second, { claimedDataBytes: 345_600_000 }), /truncated or its header lies/],
    ['a truncated WAV', wav(second).subarray(0, 20000), /truncated or its header lies/],
    [
      'a FLAC that claims three hours',
      flac(second, { claimedFrames: 172_800_000 }),
      /claims 172800000 frames, 16000 could be decoded/,
    ],
    ['a truncated FLAC', flac(second).subarray(0, 20000), /truncated|damaged/],
    ['a FLAC with a damaged frame', corrupt(flac(second)), /damaged/],
    ['NaN', wav(withValue(Number.NaN), { coding: 'f32' }), /not finite/],
    ['infinity', wav(withValue(Number.NEGATIVE_INFINITY), { coding: 'f64' }), /not finite/],
    ['a float64 beyond float32', wav(withValue(1e300), { coding: 'f64' }), /not finite/],
  ])('%s is refused with the file and the reason', async (_, bytes, reason) => {
    const bad = file('bad.wav', bytes);
    await expect(decodeAudio(bad)).rejects.toMatchObject({ code: 'HK_AUDIO', message: expect.stringMatching(reason) });
    await expect(decodeAudio(bad)).rejects.toThrow(bad);
  });

  test('what is not a regular file is refused without waiting', async () => {
    const pipe = path.join(folder, 'pipe.wav');
    execFileSync('mkfifo', [pipe]);
    await expect(decodeAudio(pipe)).rejects.toMatchObject({
      code: 'HK_AUDIO',
      message: expect.stringMatching(/regular file/),
    });
    await expect(decodeAudio(folder)).rejects.toMatchObject({ code: 'HK_AUDIO' });
    await expect(probeAudio(path.join(folder, 'absent.wav'))).rejects.toMatchObject({
      code: 'HK_AUDIO',
      message: expect.stringMatching(/cannot be opened \(No such file/),
    });
  });

  test('a file longer than the limit is refused', async () => {
    const long = file('long.wav', wav(sound(40000)));
    await expect(decodeAudio(long, { maxSeconds: 2 })).rejects.toMatchObject({
      message: expect.stringMatching(/limit of 2 s/),
    });
  });

  test('arguments of the wrong type are errors', async () => {
    for (const bad of [undefined, null, 3, {}, '', 'a\0b', ['x']]) {
      await expect(decodeAudio(bad as string)).rejects.toMatchObject({ code: 'HK_ARGUMENT' });
      await expect(probeAudio(bad as string)).rejects.toMatchObject({ code: 'HK_ARGUMENT' });
      await expect(mfcc(bad as unknown as Float32Array)).rejects.toMatchObject({ code: 'HK_ARGUMENT' });
    }
    for (const filters of [0, 129, 2.5, Number.NaN]) {
      await expect(logMel(second, { filters })).rejects.toMatchObject({ code: 'HK_ARGUMENT' });
    }
    for (const maxSeconds of [0, -1, Number.NaN, 1e12]) {
      await expect(decodeAudio('x', { maxSeconds })).rejects.toMatchObject({ code: 'HK_ARGUMENT' });
    }
  });

  test('many files decode at once, the bad ones beside the good ones', async () => {
    const good = file('many.flac', flac(second));
    const bad = file('many-bad.flac', flac(second).subarray(0, 9000));
    const results = await Promise.allSettled(Array.from({ length: 40 }, (_, i) => decodeAudio(i % 4 ? good : bad)));
    for (const [i, result] of results.entries()) expect(result.status).toBe(i % 4 ? 'fulfilled' : 'rejected');
  });

  test('the header alone gives length, rate and channels', async () => {
    const info = await probeAudio(file('probe.wav', wav(sound(44100), { rate: 22050, channels: 2 })));
    expect(info).toMatchObject({ frames: 22050, sampleRate: 22050, channels: 2, format: expect.stringMatching(/WAV/) });
  });
});

describe('spectral features', () => {
  test('MFCCs agree with the float64 definition', async () => {
    for (const samples of [400, 559, 560, 1680, 4000]) {
      const wave = sound(samples, 16000, samples);
      const { rows, columns, data } = await mfcc(wave);
      const expected = mfccReference(wave);
      expect([rows, columns]).toEqual([expected.length, 39]);
      expect(largestDifference(data, expected.flat())).toBeLessThan(2e-3); // values reach +-100
    }
  });

  test.each([[23], [40], [80], [128]])('%i log-mel filters agree with the float64 definition', async (filters) => {
    const wave = sound(2500, 16000, filters);
    const { rows, data } = await logMel(wave, { filters });
    const expected = logMelReference(wave, filters);
    expect(rows).toBe(expected.length);
    expect(largestDifference(data, expected.flat())).toBeLessThan(1e-3);
  });

  test('silence gives the floor, a waveform shorter than a frame gives nothing', async () => {
    const { data } = await logMel(new Float32Array(800), { filters: 23 });
    for (const value of data) expect(value).toBeCloseTo(Math.log(2 ** -23), 5);
    expect((await mfcc(new Float32Array(399))).rows).toBe(0);
    expect((await melFrontEnd(new Float32Array(399))).rows).toBe(0);
  });

  test('at 50 Hz, frame i is frame 2i of 100 Hz, and there are as many as the model has', async () => {
    for (const samples of [400, 720, 9999, 16000]) {
      const wave = sound(samples);
      const half = await logMel(wave, { framesPerSecond: 50 });
      const full = await logMel(wave);
      expect(half.rows).toBe(frameCount(samples));
      for (let i = 0; i < half.rows; i++) {
        expect(
          largestDifference(half.data.subarray(i * 80, i * 80 + 80), full.data.subarray(i * 160, i * 160 + 80)),
        ).toBe(0);
      }
    }
  });

  test('the mel front end stacks frames 2i and 2i + 1, normalised over the utterance', async () => {
    const wave = sound(320 * 50 + 80);
    const { rows, columns, data } = await melFrontEnd(wave);
    expect([rows, columns]).toEqual([50, 80]);
    const mel = await logMel(wave, { filters: 40 });
    expect(mel.rows).toBe(99);
    for (const filter of [0, 17, 39]) {
      const column = Array.from({ length: 99 }, (_, t) => mel.data[t * 40 + filter]);
      const mean = column.reduce((a, b) => a + b) / 99;
      const deviation = Math.sqrt(column.reduce((a, b) => a + (b - mean) ** 2, 0) / 99);
      expect(data[7 * 80 + filter]).toBeCloseTo((column[14] - mean) / deviation, 3);
      expect(data[7 * 80 + 40 + filter]).toBeCloseTo((column[15] - mean) / deviation, 3);
      expect(data[49 * 80 + 40 + filter]).toBe(data[49 * 80 + filter]); // frame 99 would reach beyond the end
    }
  });
});
