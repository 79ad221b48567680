import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { describeCoverage, joinAlignments, readAlignmentFiles } from '../../lib/data/alignment-files';
import { parseTextGrid } from '../../lib/data/textgrid';
import type { Utterance } from '../../lib/data/types';
import { utterancesByName } from '../../lib/data/utterance-names';

const long = `File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 1.5
tiers? <exists>
size = 3
item []:
    item [1]:
        class = "IntervalTier"
        name = "words"
        xmin = 0
        xmax = 1.5
        intervals: size = 3
        intervals [1]:
            xmin = 0
            xmax = 0.5
            text = ""
        intervals [2]:
            xmin = 0.5
            xmax = 1.25
            text = "say ""7"" = 8"
        intervals [3]:
            xmin = 1.25
            xmax = 1.5
            text = "<eps>"
    item [2]:
        class = "TextTier"
        name = "clicks"
        xmin = 0
        xmax = 1.5
        points: size = 1
        points [1]:
            number = 0.25
            mark = "click"
    item [3]:
        class = "IntervalTier"
        name = "Anna - phones"
        xmin = 0
        xmax = 1.5
        intervals: size = 2
        intervals [1]:
            xmin = 0
            xmax = 5e-1
            text = ""
        intervals [2]:
            xmin = 0.5
            xmax = 1.5
            text = "EY1"
`;

const short = `File type = "ooTextFile"
Object class = "TextGrid"

0
1.5
<exists>
3
"IntervalTier"
"words"
0
1.5
3
0
0.5
""
0.5
1.25
"say ""7"" = 8"
1.25
1.5
"<eps>"
"TextTier"
"clicks"
0
1.5
1
0.25
"click"
"IntervalTier"
"Anna - phones"
0
1.5
2
0
0.5
""
0.5
1.5
"EY1"
`;

const bytes = (text: string) => new TextEncoder().encode(text);
const utf16 = (text: string, big: boolean) => {
  const buffer = Buffer.from(`\ufeff${text}`, 'utf16le');
  return big ? buffer.swap16() : buffer;
};

let root: string;
beforeEach(() => {
  root = fs.mkdtempSync(path.join(os.tmpdir(), 'hubertkit-alignments-'));
});
afterEach(() => fs.rmSync(root, { recursive: true }));

const write = (name: string, content: string | Uint8Array) => {
  const file = path.join(root, name);
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(file, content);
  return file;
};

function utterance(id: string, seconds: number): Utterance {
  return { id, path: id, speaker: 's', split: 'train', samples: seconds * 16000 };
}

const expected = {
  words: [{ label: 'say "7" = 8', start: 0.5, end: 1.25 }],
  phones: [
    { label: 'sil', start: 0, end: 0.5 },
    { label: 'EY1', start: 0.5, end: 1.5 },
  ],
};

describe('TextGrid', () => {
  test('the long and the short form say the same, in UTF-8 and in UTF-16', async () => {
    const forms = [
      bytes(long),
      bytes(short),
      utf16(long, true),
      utf16(short, false),
      bytes(long.replaceAll('\n', '\r\n')),
    ];
    for (const [i, form] of forms.entries()) write(`a/${i}.TextGrid`, form);
    const found = await readAlignmentFiles(root);
    expect([...found.keys()].sort()).toEqual(['a/0', 'a/1', 'a/2', 'a/3', 'a/4']);
    for (const tiers of found.values()) expect(tiers).toEqual(expected);
  });

  test('labels outside of ASCII and over several lines survive', () => {
    const text = long.replace('EY1', 'ɛ\nˈy');
    for (const form of [bytes(text), utf16(text, true)]) {
      expect(parseTextGrid(form, 'x')[1].segments[1].label).toBe('ɛ\nˈy');
    }
  });

  test.each([
    ['a cut file', long.slice(0, 700), /expected .*the file ends/],
    ['another file', 'hello', /expected "ooTextFile"/],
    ['another Praat object', long.replace('"TextGrid"', '"PitchTier"'), /not a TextGrid/],
    ['a string where a time should be', short.replace('\n0.5\n', '\n"x"\n'), /expected a time, found "x" at character/],
    ['an interval that ends before it starts', short.replace('\n1.25\n', '\n0.1\n'), /from 0\.5 to 0\.1/],
    [
      'tiers of other names',
      long.replace('words', 'mots').replace('phones', 'sons'),
      /named phones or words, found "mots", "Anna - sons"/,
    ],
  ])('%s is refused with the file and the reason', async (_, text, message) => {
    write('bad.TextGrid', text);
    await expect(readAlignmentFiles(root)).rejects.toMatchObject({
      code: 'HK_FORMAT',
      message: expect.stringMatching(message),
    });
    await expect(readAlignmentFiles(root)).rejects.toThrow(path.join(root, 'bad.TextGrid'));
  });
});

test('word alignments by end times: a word starts where the one before ends, an empty one is silence', async () => {
  write('84/1/84-1.alignment.txt', '84-1-0000 ",GO,,DO,YOU," "0.490,0.890,1.270,1.380,1.490,1.925"\n');
  const found = await readAlignmentFiles(root);
  expect(found.get('84-1-0000')).toEqual({
    words: [
      { label: 'GO', start: 0.49, end: 0.89 },
      { label: 'DO', start: 1.27, end: 1.38 },
      { label: 'YOU', start: 1.38, end: 1.49 },
    ],
  });
});

test('phones at 100 Hz become segments', async () => {
  const file = write('phones.tsv', 'u1\tSIL,SIL,AH,AH,AH,T\nu2\tAH\n');
  const found = await readAlignmentFiles(file);
  expect(found.get('u1')!.phones).toEqual([
    { label: 'SIL', start: 0, end: 0.02 },
    { label: 'AH', start: 0.02, end: 0.05 },
    { label: 'T', start: 0.05, end: 0.06 },
  ]);
  expect(found.size).toBe(2);
});

test('the form of the embedded corpus is read too, and tiers of several files add up', async () => {
  write('x.jsonl', '{"id": "u1", "phones": [["a", 0, 1]]}\n');
  write('y.alignment.txt', 'u1 "HI" "1"\n');
  expect((await readAlignmentFiles(root)).get('u1')).toMatchObject({
    phones: [{ label: 'a', start: 0, end: 1 }],
    words: [{ label: 'HI', start: 0, end: 1 }],
  });
});

test.each([
  ['y.alignment.txt', 'u1 "A,B" "1"\n'],
  ['y.alignment.txt', 'u1 "A,B" "2,1"\n'],
  ['y.alignment.txt', 'u1 A 1\n'],
  ['y.tsv', 'u1 a,b\n'],
])('%s with the line %j is refused by its number', async (name, line) => {
  write(name, `\n${line}`);
  await expect(readAlignmentFiles(root)).rejects.toMatchObject({
    code: 'HK_FORMAT',
    message: expect.stringContaining('line 2'),
  });
});

test('a folder without alignments and a place that is not there are refused', async () => {
  write('notes.md', 'nothing');
  await expect(readAlignmentFiles(root)).rejects.toMatchObject({ code: 'HK_CORPUS' });
  await expect(readAlignmentFiles(path.join(root, 'absent'))).rejects.toMatchObject({ code: 'HK_IO' });
});

test('names find utterances by id, by the end of the id where only one has it, and with folders before the id', () => {
  const [a, b, c] = [utterance('train/s1/u1', 1), utterance('train/s2/u1', 1), utterance('train/s2/u2', 1)];
  const named = utterancesByName([a, b, c]);
  expect(named('train/s1/u1')).toBe(a);
  expect(named('s2/u1')).toBe(b);
  expect(named('u2')).toBe(c);
  expect(named('corpus/train/s2/u2')).toBe(c);
  for (const nothing of ['u1', 's3/u2', 'train/s2', 'u3', '']) expect(named(nothing)).toBeUndefined();
});

test('the join counts what it covers and names the first that is missing, unknown or of another length', () => {
  const words = [{ label: 'hi', start: 0, end: 0.5 }];
  const phones = (end: number) => [{ label: 'a', start: 0, end }];
  const old = { ...utterance('c', 2), phones: phones(1.9), words };
  const { utterances, coverage } = joinAlignments(
    [utterance('a', 2), utterance('b', 2), old, utterance('d', 2), utterance('e', 2)],
    new Map([
      ['b', { phones: phones(2.02), words }],
      ['c', { phones: phones(1.8) }],
      ['d', { phones: phones(2.2) }],
      ['e', { phones: phones(1.2) }],
      ['z', { words }],
    ]),
  );
  expect(utterances[1]).toMatchObject({ phones: phones(2.02), words });
  expect(utterances[2]).toMatchObject({ phones: phones(1.8), words });
  expect(utterances[3].phones ?? utterances[4].phones).toBeUndefined();
  expect(coverage).toEqual({
    utterances: 5,
    phones: 2,
    words: 2,
    firstWithout: 'a',
    unknown: 1,
    firstUnknown: 'z',
    mismatched: 2,
    firstMismatch: { id: 'd', alignedSeconds: 2.2, audioSeconds: 2 },
  });
  expect(describeCoverage(coverage)).toBe(
    'alignments: of 5 utterances 2 have phones and 2 have words; the first without any is a; 1 names belong to no utterance, the first is z; 2 do not fit their audio and are not used, the first is d: aligned to 2.20 s, the audio has 2.00 s.',
  );
});
