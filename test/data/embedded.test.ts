import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { wrapped } from '../../lib/binding';
import type { NativeChannel } from '../../lib/binding/speech';
import { decodeAudio } from '../../lib/data/audio';
import {
  channelRanges,
  drawChannel,
  drawSentence,
  drawSentenceOf,
  type EmbeddedCorpus,
  makeEmbeddedCorpus,
  speakers,
  splitOf,
  vocabulary,
} from '../../lib/data/embedded';
import { Philox } from '../../lib/data/philox';

const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'hubertkit-embedded-'));
afterAll(() => fs.rmSync(scratch, { recursive: true, force: true }));

interface Alignment {
  id: string;
  phones: [string, number, number][];
  words: [string, number, number][];
}

/** Every file below a folder with a hash of its bytes. */
function contents(root: string): Record<string, string> {
  const files = fs.readdirSync(root, { recursive: true, withFileTypes: true }).filter((e) => e.isFile());
  const hash = (file: string) => createHash('sha256').update(fs.readFileSync(file)).digest('hex');
  return Object.fromEntries(
    files
      .map((e) => path.join(e.parentPath, e.name))
      .sort()
      .map((file) => [path.relative(root, file), hash(file)]),
  );
}

function readManifest(root: string) {
  const [header, ...lines] = fs.readFileSync(path.join(root, 'manifest.tsv'), 'utf8').trimEnd().split('\n');
  expect(header).toBe('path\tspeaker\tsplit\tduration\ttranscript');
  return lines.map((line) => {
    const [file, speaker, split, duration, transcript] = line.split('\t');
    return { file, speaker, split, duration: Number(duration), transcript };
  });
}

function readAlignments(root: string): Alignment[] {
  const lines = fs.readFileSync(path.join(root, 'alignments.jsonl'), 'utf8').trimEnd().split('\n');
  return lines.map((line) => JSON.parse(line) as Alignment);
}

async function waveformOf(root: string, file: string): Promise<Float32Array> {
  return (await decodeAudio(path.join(root, file))).samples;
}

function decibels(power: number): number {
  return 10 * Math.log10(power + 1e-20);
}

function power(x: Float32Array): number {
  return x.reduce((sum, v) => sum + v * v, 0) / x.length;
}

describe('sentences', () => {
  const random = new Philox(11);
  const sentences = Array.from({ length: 4000 }, () => drawSentence(random));

  test('the grammar has at least 400 words and uses at least 400', () => {
    const used = new Set(sentences.flatMap((s) => s.transcript.split(' ')));
    expect(vocabulary().length).toBeGreaterThanOrEqual(400);
    expect(used.size).toBeGreaterThanOrEqual(400);
  });

  test('a sentence has 4 to 14 words of letters and apostrophes, and hardly ever comes twice', () => {
    for (const { transcript } of sentences) {
      expect(transcript).toMatch(/^[A-Z']+( [A-Z']+){3,13}$/);
      expect(transcript).not.toMatch(/\bA [AEIO]/);
    }
    expect(new Set(sentences.map((s) => s.transcript)).size).toBeGreaterThan(3980);
  });

  test('every sentence belongs to one split, about 80, 8 and 12 % of them', () => {
    const share = (split: string) => sentences.filter((s) => splitOf(s) === split).length / sentences.length;
    expect(share('train')).toBeCloseTo(0.8, 1);
    expect(share('valid')).toBeCloseTo(0.08, 1);
    expect(share('test')).toBeCloseTo(0.12, 1);
    expect(splitOf(drawSentenceOf('valid', random))).toBe('valid');
  });
});

describe('speakers', () => {
  test('there are at least 12, and at least 3 for testing only, of at least 2 voices', () => {
    const held = speakers.filter((s) => s.testOnly);
    expect(speakers.length).toBeGreaterThanOrEqual(12);
    expect(new Set(speakers.map((s) => s.name)).size).toBe(speakers.length);
    expect(held.length).toBeGreaterThanOrEqual(3);
    expect(new Set(held.map((s) => s.voice)).size).toBeGreaterThanOrEqual(2);
  });
});

describe('the channel', () => {
  const tone = Float32Array.from({ length: 16000 }, (_, t) => (t < 8000 ? 0.3 * Math.sin(0.3 * t) : 0));
  const through = (x: Float32Array, channel: NativeChannel) => wrapped((n) => n.speechChannel(x, channel));
  const neutral: NativeChannel = {
    tilt: 0,
    resonanceHz: 1000,
    resonanceDb: 0,
    resonanceQ: 1,
    reverbSeconds: 0,
    reverbDb: 0,
    noiseColour: 0,
    snrDb: 200,
    gainDb: 0,
    seed: 1,
    draw: 1,
  };

  test('is the same for the same seed and utterance, and another for another', () => {
    const channel = drawChannel(5, 77);
    expect(through(tone, channel)).toEqual(through(tone, drawChannel(5, 77)));
    expect(drawChannel(5, 78)).not.toEqual(channel);
    expect(through(tone, { ...channel, draw: 78 })).not.toEqual(through(tone, channel));
    for (const [name, [low, high]] of Object.entries(channelRanges)) {
      expect(channel[name as keyof NativeChannel]).toBeGreaterThanOrEqual(low);
      expect(channel[name as keyof NativeChannel]).toBeLessThanOrEqual(high);
    }
  });

  test('puts active speech at -26 dB plus the gain, and the noise at the stated distance below it', () => {
    const y = through(tone, { ...neutral, gainDb: 3, snrDb: 12, noiseColour: 0.7 });
    const silence = power(y.subarray(8000));
    expect(decibels(silence)).toBeCloseTo(-26 + 3 - 12, 0);
    expect(decibels(power(y.subarray(0, 8000)) - silence)).toBeCloseTo(-26 + 3, 0);
  });

  test('keeps length and direct sound in place; the echo has the stated energy and falls by 60 dB in T60', () => {
    const impulse = new Float32Array(16000);
    impulse[100] = 1;
    const y = through(impulse, { ...neutral, reverbSeconds: 0.3, reverbDb: -3, gainDb: -40 });
    expect(y.length).toBe(impulse.length);
    expect(y.indexOf(Math.max(...y))).toBe(100);
    const echo = y.map((v) => v / y[100]).subarray(101);
    expect(decibels(power(echo) * echo.length)).toBeCloseTo(-3, 1);
    const early = power(echo.subarray(400, 1200));
    const late = power(echo.subarray(400 + 2400, 1200 + 2400)); // 150 ms later: half of T60
    expect(decibels(late) - decibels(early)).toBeGreaterThan(-33);
    expect(decibels(late) - decibels(early)).toBeLessThan(-27);
    expect(Math.max(...y.subarray(0, 100).map(Math.abs))).toBeLessThan(1e-6);
  });

  test('never clips', () => {
    const y = through(tone, { ...neutral, gainDb: 26, snrDb: 0 });
    expect(Math.max(...y.map(Math.abs))).toBeLessThanOrEqual(0.9801);
  });

  test('refuses what is not a waveform or a channel', () => {
    const call = (x: unknown, c: unknown) => () => through(x as Float32Array, c as NativeChannel);
    for (const bad of [null, [], new Float64Array(4), Float32Array.of(Number.NaN)]) {
      expect(call(bad, neutral)).toThrow(expect.objectContaining({ code: 'HK_ARGUMENT' }));
    }
    for (const bad of [null, 3, {}, { ...neutral, snrDb: 'loud' }, { ...neutral, tilt: Number.NaN }]) {
      expect(call(tone, bad)).toThrow(expect.objectContaining({ code: 'HK_ARGUMENT' }));
    }
    expect(through(new Float32Array(0), neutral).length).toBe(0);
    expect(through(new Float32Array(500), { ...neutral, snrDb: 20 }).every(Number.isFinite)).toBe(true);
  });
});

describe('speech', () => {
  const request = { voice: 'slt', text: 'hello there.', f0: 170, f0Range: 20, stretch: 1, formant: 1 };
  const render = (change: object, file = path.join(scratch, 'one.flac')) =>
    wrapped((n) => n.renderSpeech({ ...request, ...change }, null, file));

  test('every word of the grammar is said as one word, with its time', () => {
    const all = vocabulary();
    for (let i = 0; i < all.length; i += 12) {
      const some = all.slice(i, i + 12);
      const speech = render({ voice: 'kal16', text: `${some.join(' ')}.` });
      expect(speech.words).toEqual(some);
      expect(speech.wordEnds.every((end, k) => end > speech.wordStarts[k])).toBe(true);
    }
  });

  test('a slower speaker takes longer, a formant shift does not change the time', () => {
    const samples = render({}).samples;
    expect(render({ stretch: 1.3 }).samples / samples).toBeCloseTo(1.3, 1);
    expect(render({ formant: 1.1 }).samples / samples).toBeCloseTo(1, 1);
  });

  test('refuses bad requests', () => {
    const bad = [
      { voice: 'nobody' },
      { text: '' },
      { text: 'é' },
      { text: 5 },
      { f0: 0 },
      { stretch: Number.NaN },
      { formant: 3 },
    ];
    for (const change of bad) expect(() => render(change)).toThrow(expect.objectContaining({ code: 'HK_ARGUMENT' }));
    expect(() => render({}, path.join(scratch, 'absent', 'x.flac'))).toThrow(
      expect.objectContaining({ code: 'HK_IO' }),
    );
  });
});

describe('a corpus of one minute', () => {
  const root = path.join(scratch, 'one');
  let corpus: EmbeddedCorpus;
  const progress: number[] = [];

  beforeAll(async () => {
    corpus = await makeEmbeddedCorpus({
      out: root,
      minutes: 1,
      seed: 7,
      threads: 1,
      onProgress: ({ seconds }) => progress.push(seconds),
    });
  });

  test('is about as long as asked for, and says how it went', () => {
    expect(corpus.seconds).toBeGreaterThan(50);
    expect(corpus.seconds).toBeLessThan(75);
    expect(corpus.realTimeFactor).toBeCloseTo(corpus.seconds / corpus.generatedSeconds, 5);
    expect(progress.length).toBe(corpus.utterances);
    expect(progress.at(-1)).toBeCloseTo(corpus.seconds, 2);
  });

  test('has the same bytes whatever the number of processes', async () => {
    const two = path.join(scratch, 'two');
    await makeEmbeddedCorpus({ out: two, minutes: 1, seed: 7, threads: 2 });
    expect(contents(two)).toEqual(contents(root));
  });

  test('keeps the speakers and the sentences of the test split to themselves', () => {
    const rows = readManifest(root);
    const of = (split: string, key: 'speaker' | 'transcript') =>
      new Set(rows.filter((r) => r.split === split).map((r) => r[key]));
    for (const split of ['train', 'valid']) {
      expect([...of('test', 'speaker')].filter((s) => of(split, 'speaker').has(s))).toEqual([]);
      expect([...of('test', 'transcript')].filter((s) => of(split, 'transcript').has(s))).toEqual([]);
    }
    expect([...of('valid', 'transcript')].filter((s) => of('train', 'transcript').has(s))).toEqual([]);
    expect(of('test', 'speaker').size).toBeGreaterThanOrEqual(3);
    expect(new Set(rows.map((r) => r.speaker)).size).toBeGreaterThanOrEqual(12);
    expect(rows.length).toBe(corpus.utterances);
  });

  test('has alignments that cover the audio without gaps and spell the transcript', async () => {
    const rows = readManifest(root);
    const alignments = readAlignments(root);
    expect(alignments.map((a) => `${a.id}.flac`)).toEqual(rows.map((r) => r.file));
    for (const [i, { phones, words }] of alignments.entries()) {
      const waveform = await waveformOf(root, rows[i].file);
      expect(phones[0][1]).toBe(0);
      expect(phones.at(-1)![2]).toBeCloseTo(waveform.length / 16000, 4);
      expect(rows[i].duration).toBeCloseTo(waveform.length / 16000, 4);
      for (let k = 0; k < phones.length; k++) {
        expect(phones[k][2]).toBeGreaterThanOrEqual(phones[k][1]);
        if (k > 0) expect(phones[k][1]).toBe(phones[k - 1][2]);
      }
      for (let k = 0; k < words.length; k++) {
        expect(words[k][2]).toBeGreaterThan(words[k][1]);
        if (k > 0) expect(words[k][1]).toBeGreaterThanOrEqual(words[k - 1][2]);
      }
      const edges = new Set(phones.flatMap(([, start, end]) => [start, end]));
      expect(words.every(([, start, end]) => edges.has(start) && edges.has(end))).toBe(true);
      expect(words.map(([word]) => word.toUpperCase()).join(' ')).toBe(rows[i].transcript);
      expect(Math.max(...waveform.map(Math.abs))).toBeLessThan(0.99);
    }
  });

  test('is found again at once', async () => {
    const before = contents(root);
    const again = await makeEmbeddedCorpus({ out: root, minutes: 1, seed: 7 });
    expect(again).toEqual({ ...corpus, generatedSeconds: 0, realTimeFactor: 0 });
    expect(contents(root)).toEqual(before);
  });

  test('is not mistaken for one with other options', async () => {
    const making = makeEmbeddedCorpus({ out: root, minutes: 2, seed: 7 });
    await expect(making).rejects.toMatchObject({
      code: 'HK_MISMATCH',
      message: expect.stringContaining('minutes is 1 there, 2'),
    });
  });

  test('says the same without the channel when clean, with quiet pauses', async () => {
    const clean = path.join(scratch, 'clean');
    await makeEmbeddedCorpus({ out: clean, minutes: 1, seed: 7, clean: true, threads: 2 });
    expect(readManifest(clean)).toEqual(readManifest(root));
    expect(readAlignments(clean)).toEqual(readAlignments(root));
    for (const [i, row] of readManifest(clean).entries()) {
      const [noisy, quiet] = await Promise.all([waveformOf(root, row.file), waveformOf(clean, row.file)]);
      const [, , pause] = readAlignments(clean)[i].phones[0];
      const [, , last] = readAlignments(clean)[i].phones.at(-2)!;
      const snr = (x: Float32Array) => {
        const at = (seconds: number) => Math.round(seconds * 16000);
        return decibels(power(x.subarray(at(pause), at(last)))) - decibels(power(x.subarray(0, at(pause - 0.06))));
      };
      expect(snr(quiet)).toBeGreaterThan(18);
      expect(snr(noisy)).toBeGreaterThan(6);
      expect(snr(noisy)).toBeLessThan(24);
    }
  });
});

describe('what can go wrong', () => {
  test('bad options are refused', async () => {
    const out = path.join(scratch, 'never');
    for (const bad of [
      { minutes: 0 },
      { minutes: Number.NaN },
      { seed: -1 },
      { seed: 1.5 },
      { threads: 0 },
      { out: '' },
    ]) {
      await expect(makeEmbeddedCorpus({ out, ...bad })).rejects.toMatchObject({ code: 'HK_ARGUMENT' });
    }
    expect(fs.existsSync(out)).toBe(false);
  });

  test('a folder with something else in it is left alone', async () => {
    const out = path.join(scratch, 'mine');
    fs.mkdirSync(out);
    fs.writeFileSync(path.join(out, 'thesis.txt'), 'precious');
    await expect(makeEmbeddedCorpus({ out, minutes: 1 })).rejects.toMatchObject({ code: 'HK_CORPUS' });
    fs.writeFileSync(path.join(out, 'corpus.json'), '{');
    await expect(makeEmbeddedCorpus({ out, minutes: 1 })).rejects.toMatchObject({ code: 'HK_CORPUS' });
    expect(fs.readdirSync(out).sort()).toEqual(['corpus.json', 'thesis.txt']);
  });

  test('an interrupted corpus leaves nothing behind', async () => {
    const folder = path.join(scratch, 'interrupted');
    const controller = new AbortController();
    const making = makeEmbeddedCorpus({
      out: path.join(folder, 'corpus'),
      minutes: 40,
      threads: 2,
      signal: controller.signal,
      onProgress: () => controller.abort(),
    });
    await expect(making).rejects.toMatchObject({ code: 'HK_INTERRUPTED' });
    expect(fs.readdirSync(folder)).toEqual([]);
  });

  test('what a killed process left beside it is removed', async () => {
    const out = path.join(scratch, 'again');
    fs.mkdirSync(`${out}.partial-999999999`);
    fs.mkdirSync(out);
    await makeEmbeddedCorpus({ out, minutes: 0.5, clean: true, threads: 2 });
    expect(fs.existsSync(`${out}.partial-999999999`)).toBe(false);
    expect(fs.existsSync(path.join(out, 'corpus.json'))).toBe(true);
  });
});
