import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { labelVocabulary, phoneOfFrames, readAlignments, wordOfFrames } from '../../lib/data/alignments';
import { checkSkipped, loadWaveform, openCorpus, partition, skippedReport, splitUse } from '../../lib/data/corpus';
import type { Utterance } from '../../lib/data/types';
import { readJsonLines } from '../../lib/formats/atomic';
import { flac, sound, wav } from './sounds';

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'hubertkit-corpus-'));
afterAll(() => fs.rmSync(folder, { recursive: true }));

/** Writes files below a new folder. */
function tree(name: string, files: Record<string, string | Uint8Array>): string {
  for (const [file, content] of Object.entries(files)) {
    const target = path.join(folder, name, file);
    fs.mkdirSync(path.dirname(target), { recursive: true });
    fs.writeFileSync(target, content);
  }
  return path.join(folder, name);
}

const short = wav(sound(1600));
const some = (count: number, bytes: Uint8Array = short) =>
  Object.fromEntries(Array.from({ length: count }, (_, i) => [`s${i % 3}/u${i}.wav`, bytes]));

describe('a folder of audio', () => {
  test('gives every file, the first sub-folder as speaker, lengths at 16 kHz', async () => {
    const root = tree('plain', {
      'anna/deep/one.wav': wav(sound(8000), { rate: 8000 }),
      'anna/two.FLAC': flac(sound(3200)),
      'bert/three.wav': wav(sound(4410), { rate: 44100, channels: 2 }),
      'four.wav': short,
      'notes.txt': 'not audio',
      '._four.wav': 'hidden',
    });
    const corpus = await openCorpus(`folder:${root}`);
    expect(corpus).toMatchObject({ name: 'plain', root, skipped: [] });
    expect(corpus.utterances.map(({ id, speaker, samples }) => [id, speaker, samples])).toEqual([
      ['anna/deep/one', 'anna', 16000],
      ['anna/two', 'anna', 3200],
      ['bert/three', 'bert', 800],
      ['four', 'unknown', 1600],
    ]);
    expect(await loadWaveform(corpus.utterances[1])).toHaveLength(3200);
    expect((await openCorpus(root)).utterances).toEqual(corpus.utterances);
  });

  test('folders named as splits are splits', async () => {
    const root = tree('split', { 'train/a/1.wav': short, 'dev-clean/b/2.wav': short, 'test/3.wav': short });
    const { utterances } = await openCorpus(root);
    expect(utterances.map(({ split, speaker }) => [split, speaker])).toEqual([
      ['dev-clean', 'b'],
      ['test', 'unknown'],
      ['train', 'a'],
    ]);
    expect(utterances.map(({ split }) => splitUse(split))).toEqual(['valid', 'test', 'train']);
  });

  test('a file beside one of the same name keeps its extension in the id', async () => {
    const root = tree('twins', { 'a.wav': short, 'a.flac': flac(sound(800)), 'b.wav': short });
    expect((await openCorpus(root)).utterances.map(({ id }) => id)).toEqual(['a.flac', 'a.wav', 'b']);
  });

  test('without splits, 5 % validate and 5 % test, the same ones each time', async () => {
    const root = tree('hash', some(60));
    const count = (utterances: Utterance[], split: string) => utterances.filter((u) => u.split === split).length;
    const { utterances } = await openCorpus(root);
    expect(['train', 'valid', 'test'].map((split) => count(utterances, split))).toEqual([54, 3, 3]);
    expect((await openCorpus(root)).utterances).toEqual(utterances);
  });

  test('with twenty speakers or more, whole speakers are held out', async () => {
    const root = tree('many', Object.fromEntries(Array.from({ length: 66 }, (_, i) => [`p${i % 22}/${i}.wav`, short])));
    const { utterances } = await openCorpus(root);
    const splits = new Map<string, Set<string>>();
    for (const { speaker, split } of utterances) splits.set(speaker, (splits.get(speaker) ?? new Set()).add(split));
    expect([...splits.values()].every((set) => set.size === 1)).toBe(true);
    expect(new Set(utterances.map(({ split }) => split))).toEqual(new Set(['train', 'valid', 'test']));
  });

  test('unusable files are set aside with their reasons', async () => {
    const root = tree('mixed', {
      ...some(40),
      'bad/nan.wav': 'not audio',
      'bad/tiny.wav': wav(sound(300)),
      'bad/zero.wav': '',
    });
    const corpus = await openCorpus(root);
    expect(corpus.utterances).toHaveLength(40);
    expect(corpus.skipped.map(({ path: file, code }) => [path.basename(file), code])).toEqual([
      ['nan.wav', 'HK_AUDIO'],
      ['tiny.wav', 'HK_AUDIO'],
      ['zero.wav', 'HK_AUDIO'],
    ]);
    expect(corpus.skipped[1].reason).toMatch(/^it is too short: 300 samples/);
    await skippedReport(corpus, path.join(folder, 'skipped.jsonl'));
    expect(await readJsonLines(path.join(folder, 'skipped.jsonl'))).toEqual(corpus.skipped);
    await expect(openCorpus(root, { maxSkippedShare: 0.05 })).rejects.toMatchObject({
      code: 'HK_CORPUS',
      message: expect.stringMatching(/3 of the 43 files .* at most 5 % [\s\S]*nan\.wav: it is not audio/),
    });
  });

  test('a file that turns out bad later counts once', () => {
    const utterances = Array.from({ length: 10 }, (_, i) => ({ path: `${i}.wav` })) as Utterance[];
    const corpus = { name: 'x', root: 'x', utterances, skipped: [{ path: '3.wav', reason: 'r', code: 'HK_AUDIO' }] };
    expect(() => checkSkipped(corpus)).not.toThrow();
    corpus.skipped.push({ path: '4.wav', reason: 'r', code: 'HK_AUDIO' });
    expect(() => checkSkipped(corpus)).toThrow(/2 of the 10 files/);
  });

  test('a length that the header leaves open is found by decoding', async () => {
    const root = tree('open', { 'a.flac': flac(sound(5000), { claimedFrames: 0 }), 'b.wav': short });
    expect((await openCorpus(root)).utterances[0].samples).toBe(5000);
  });

  test('nothing usable, nothing at all and no folder are different errors', async () => {
    const none = tree('none', { 'readme.txt': 'x' });
    await expect(openCorpus(none)).rejects.toMatchObject({
      code: 'HK_CORPUS',
      message: expect.stringMatching(/\.wav \.flac .*found none/),
    });
    const bad = tree('allbad', { 'a.wav': 'x' });
    await expect(openCorpus(bad, { maxSkippedShare: 1 })).rejects.toMatchObject({
      message: expect.stringMatching(/1 of the 1 files/),
    });
    await expect(openCorpus(path.join(folder, 'absent'))).rejects.toMatchObject({
      message: expect.stringMatching(/no such file/),
    });
    await expect(openCorpus(`libri:${none}`)).rejects.toMatchObject({
      message: expect.stringMatching(/"libri:" is no kind/),
    });
    await expect(openCorpus('')).rejects.toMatchObject({ code: 'HK_ARGUMENT' });
  });

  test('links are followed, a loop of links ends', async () => {
    const root = tree('links', { 'a/1.wav': short });
    fs.symlinkSync(root, path.join(root, 'a', 'loop'));
    fs.symlinkSync(path.join(root, 'a', '1.wav'), path.join(root, '2.wav'));
    fs.symlinkSync('/nowhere', path.join(root, 'dangling.txt'));
    expect((await openCorpus(root)).utterances.map(({ id }) => id)).toEqual(['2', 'a/1']);
  });

  test('opening can be interrupted', async () => {
    await expect(openCorpus(path.join(folder, 'hash'), { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'HK_INTERRUPTED',
    });
  });
});

describe('LibriSpeech', () => {
  const files = {
    'train-clean-100/103/1240/103-1240-0000.flac': flac(sound(1600)),
    'train-clean-100/103/1240/103-1240-0001.flac': flac(sound(1600)),
    'train-clean-100/103/1240/103-1240.trans.txt': '103-1240-0000 CHAPTER ONE\n103-1240-0001 TWO\n',
    'dev-other/7/8/7-8-0000.flac': flac(sound(1600)),
    'dev-other/7/8/7-8.trans.txt': '7-8-0000 OTHER\r\n',
    'SPEAKERS.TXT': 'x',
  };

  test('the tree is recognised: speakers, splits, transcripts', async () => {
    const root = tree('LibriSpeech', files);
    const { utterances } = await openCorpus(root);
    expect(utterances.map(({ id, speaker, split, transcript }) => [id, speaker, split, transcript])).toEqual([
      ['dev-other/7/8/7-8-0000', '7', 'dev-other', 'OTHER'],
      ['train-clean-100/103/1240/103-1240-0000', '103', 'train-clean-100', 'CHAPTER ONE'],
      ['train-clean-100/103/1240/103-1240-0001', '103', 'train-clean-100', 'TWO'],
    ]);
    const single = await openCorpus(`librispeech:${root}/train-clean-100`);
    expect(single.utterances.map(({ split }) => split)).toEqual(['train-clean-100', 'train-clean-100']);
  });

  test('a part without validation data gives some of its training data to it', () => {
    const utterances = Array.from({ length: 40 }, (_, i) => ({
      id: `u${i}`,
      speaker: `s${i}`,
      split: 'train-clean-100',
    })) as Utterance[];
    const parts = partition(utterances);
    expect([parts.train.length, parts.valid.length, parts.test.length]).toEqual([38, 2, 0]);
    expect(
      partition([...utterances].reverse())
        .valid.map(({ id }) => id)
        .sort(),
    ).toEqual(parts.valid.map(({ id }) => id).sort());
    const dev = partition([...utterances, { id: 'x', speaker: 'y', split: 'dev-clean' } as Utterance]);
    expect([dev.train.length, dev.valid.length]).toEqual([40, 1]);
  });
});

describe('a manifest', () => {
  test('columns are found by name, in any order', async () => {
    const manifest =
      '\ufeffSplit\tduration\ttranscript\tpath\textra\r\ntest\t0.1\tHello there\tx/a.wav\t1\r\n\t0.1\t\tx/b.wav\t\r\n';
    const root = tree('table', { 'manifest.tsv': manifest, 'x/a.wav': short, 'x/b.wav': short });
    const { utterances } = await openCorpus(root);
    expect(utterances).toEqual([
      {
        id: 'x/a',
        path: path.join(root, 'x/a.wav'),
        speaker: 'unknown',
        split: 'test',
        transcript: 'Hello there',
        samples: 1600,
      },
      {
        id: 'x/b',
        path: path.join(root, 'x/b.wav'),
        speaker: 'unknown',
        split: 'train',
        transcript: undefined,
        samples: 1600,
      },
    ]);
  });

  test('alignments beside it are joined by id', async () => {
    const root = tree('aligned', {
      'manifest.tsv': 'path\tspeaker\tsplit\na.wav\tp\ttrain\nb.wav\tp\tvalid\n',
      'alignments.jsonl': '{"id":"a","phones":[["sil",0,0.04],["ah",0.04,0.1]],"words":[["uh",0.04,0.1]]}\n',
      'a.wav': short,
      'b.wav': short,
    });
    const { utterances } = await openCorpus(`embedded:${root}`);
    expect(utterances[0].phones).toEqual([
      { label: 'sil', start: 0, end: 0.04 },
      { label: 'ah', start: 0.04, end: 0.1 },
    ]);
    expect(utterances[1].phones).toBeUndefined();
    expect(labelVocabulary(utterances, 'phones')).toEqual(['ah', 'sil']);
  });

  test('absent files, repeated ids and broken rows are set aside', async () => {
    const rows = Array.from({ length: 60 }, (_, i) => `${i}.wav\ts`).join('\n');
    const root = tree('broken', {
      'manifest.tsv': `path\tspeaker\n${rows}\n0.wav\ts\nabsent.wav\ts\na\tb\tc\td\n\ts\n`,
      ...Object.fromEntries(Array.from({ length: 60 }, (_, i) => [`${i}.wav`, short])),
    });
    const { utterances, skipped } = await openCorpus(`manifest:${root}/manifest.tsv`);
    expect(utterances).toHaveLength(60);
    expect(skipped.map(({ reason }) => reason)).toEqual([
      expect.stringMatching(/its id 0 is that of .*0\.wav/),
      expect.stringMatching(/cannot be opened/),
      expect.stringMatching(/4 cells, the first line names 2 columns/),
      'the row has no path',
    ]);
  });

  test('JSON lines are a manifest too', async () => {
    const root = tree('jsonl', {
      'manifest.jsonl': '{"path":"a.wav","speaker":7,"transcript":null}\n',
      'a.wav': short,
    });
    expect((await openCorpus(root)).utterances[0]).toMatchObject({ id: 'a', speaker: '7', transcript: undefined });
  });

  test('a table without a path column, or no table, is an error that says what it must have', async () => {
    const root = tree('headless', { 'manifest.tsv': 'a.wav\tspeaker\n', 'a.wav': short });
    await expect(openCorpus(root)).rejects.toMatchObject({
      code: 'HK_CORPUS',
      message: expect.stringMatching(/no column "path"/),
    });
    await expect(openCorpus(`manifest:${path.join(folder, 'plain')}`)).rejects.toMatchObject({
      message: expect.stringMatching(/manifest\.tsv/),
    });
  });
});

describe('alignments at frames', () => {
  const utterance = {
    phones: [
      { label: 'a', start: 0, end: 0.0325 },
      { label: 'b', start: 0.0325, end: 0.06 },
      { label: 'c', start: 0.08, end: 0.1 },
    ],
  } as Utterance;

  test('a frame has the label at its centre, 12.5 ms + 20 ms a frame', () => {
    expect([...phoneOfFrames(utterance, 6, ['a', 'b', 'c'])]).toEqual([0, 1, 1, -1, 2, -1]); // centres .0125 .0325 .0525 .0725 .0925 .1125
    expect([...phoneOfFrames(utterance, 3, ['c', 'b'])]).toEqual([-1, 1, 1]);
    expect([...wordOfFrames(utterance, 2, ['a'])]).toEqual([-1, -1]);
  });

  test('segments that are not [label, start, end] are refused with their line', async () => {
    const file = path.join(folder, 'bad-alignments.jsonl');
    for (const phones of ['[["a",0]]', '[["a",1,0]]', '[[1,0,1]]', '"x"', '[null]', '[["a",0,null]]']) {
      fs.writeFileSync(file, `{"id":"u","words":[]}\n{"id":"v","phones":${phones}}\n`);
      await expect(readAlignments(file)).rejects.toMatchObject({
        code: 'HK_FORMAT',
        message: expect.stringMatching(/line 2: phones/),
      });
    }
  });
});
