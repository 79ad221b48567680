import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { type AnalysisProgress, analyzeRun, type CheckpointAnalysis, metricNames } from '../../lib/analysis';
import { writeJsonAtomic } from '../../lib/formats/atomic';
import { HubertModel } from '../../lib/nn/model';
import { configYaml, modelConfig, resolveConfig } from '../../lib/train/config';
import { writeToneCorpus } from '../finetune/tones';

let root: string;
let run: string;
const settings = { clusters: 12, fitFrames: 2000, testFrames: 800, ckaFrames: 400, probeEpochs: 4, threads: 1 };

/** A run folder as pretraining leaves it, with two iterations of untrained checkpoints. */
beforeAll(async () => {
  root = fs.mkdtempSync(path.join(os.tmpdir(), 'hubertkit-analysis-'));
  run = path.join(root, 'run');
  const corpus = writeToneCorpus(path.join(root, 'tones'), { train: 40, valid: 6, test: 12 });
  const config = resolveConfig({
    corpus,
    out: run,
    model: { preset: 'nano', overrides: { layers: 2, hiddenSize: 64, intermediateSize: 128 } },
    frontEnd: 'mel',
    minSeconds: 0.5,
    schedule: [
      { teacher: 'mfcc', clusters: 12, updates: 20 },
      { teacher: { layer: 1 }, clusters: 12, updates: 20 },
    ],
  });
  fs.mkdirSync(run, { recursive: true });
  fs.writeFileSync(path.join(run, 'config.yaml'), configYaml(config));
  for (const [iteration, update] of [
    [1, 0],
    [1, 10],
    [1, 20],
    [2, 20],
  ]) {
    // biome-ignore format: one line
    const folder = path.join(run, `iteration-${iteration}`, 'checkpoints', `step-${String(update).padStart(6, '0')}`);
    fs.mkdirSync(folder, { recursive: true });
    await using model = HubertModel.create({
      config: modelConfig(config),
      clusters: 12,
      seed: iteration * 100 + update,
    });
    await model.save(folder);
    const totalUpdates = (iteration - 1) * 20 + update;
    await writeJsonAtomic(path.join(folder, 'state.json'), {
      iteration,
      update,
      totalUpdates,
      audioSeconds: totalUpdates * 16,
    });
    fs.writeFileSync(path.join(folder, 'DONE'), '');
  }
});

afterAll(() => fs.rmSync(root, { recursive: true, force: true }));

const read = (name: string) =>
  JSON.parse(fs.readFileSync(path.join(run, 'analysis', `${name}.json`), 'utf8')) as CheckpointAnalysis;

test('every checkpoint gets a file with every layer measured', async () => {
  const analyses = await analyzeRun(run, settings);
  expect(analyses.map((a) => a.checkpoint)).toEqual([
    'iteration-1/step-000000',
    'iteration-1/step-000010',
    'iteration-1/step-000020',
    'iteration-2/step-000020',
  ]);
  for (const analysis of analyses) {
    expect(read(analysis.checkpoint.replace('/', '-'))).toEqual(analysis);
    expect(analysis.layers.map((row) => row.layer)).toEqual([0, 1, 2]);
    for (const row of analysis.layers) {
      expect(row.pnmi).toBeGreaterThan(analysis.chance!.pnmi!);
      expect(row.pnmi).toBeLessThanOrEqual(1);
      expect(row.ckaLogMel).toBeGreaterThan(0);
    }
    expect(analysis.layers[0].ckaLayer0).toBeCloseTo(1, 10);
    expect(analysis.autoencoderIndex).toBeGreaterThanOrEqual(0);
    expect(analysis.mfcc!.pnmi).toBeGreaterThan(0.5); // tones are easy
    expect(analysis.speakers).toEqual({ fit: 3, test: 3, unseen: true });
    expect(analysis.random!.layers).toEqual(analyses[0].layers);
  }
  expect(analyses[3]).toMatchObject({ iteration: 2, update: 20, totalUpdates: 40, audioSeconds: 640 });
});

test('the probe is on the first and the last checkpoint of an iteration, and beats guessing', async () => {
  await analyzeRun(run, settings);
  const probed = (name: string) => read(name).layers.every((row) => row.phoneProbeAccuracy !== undefined);
  expect([
    probed('iteration-1-step-000000'),
    probed('iteration-1-step-000010'),
    probed('iteration-1-step-000020'),
  ]).toEqual([true, false, true]);
  const { layers, chance } = read('iteration-1-step-000020');
  expect(layers[0].phoneProbeAccuracy).toBeGreaterThan(chance!.phoneProbeAccuracy! + 0.1);
});

test('what is there is kept; a missing file alone is measured again, to the same numbers; other settings measure anew', async () => {
  const before = await analyzeRun(run, settings);
  fs.rmSync(path.join(run, 'analysis', 'iteration-1-step-000010.json'));
  const measured = new Set<string>();
  const onProgress = ({ checkpoint, layer }: AnalysisProgress) => {
    if (layer !== undefined) measured.add(checkpoint);
  };
  expect(await analyzeRun(run, { ...settings, onProgress })).toEqual(before);
  expect([...measured]).toEqual(['iteration-1/step-000010']);
  measured.clear();
  await analyzeRun(run, { ...settings, metrics: ['cka'], seed: 2, onProgress });
  expect(measured.size).toBe(4);
});

test('little memory gives the same numbers, layer by layer', async () => {
  const whole = await analyzeRun(run, { ...settings, metrics: ['clusters', 'cka'] });
  fs.rmSync(path.join(run, 'analysis'), { recursive: true });
  expect(await analyzeRun(run, { ...settings, metrics: ['clusters', 'cka'], memoryMiB: 1 })).toEqual(whole);
});

test('every metric can be named; what is there already is kept, and only the new one is measured', async () => {
  fs.rmSync(path.join(run, 'analysis'), { recursive: true, force: true });
  const rank = await analyzeRun(run, { ...settings, metrics: ['rank'] });
  expect(Object.keys(rank[0].layers[0]).sort()).toEqual(['layer', 'rankMe']);
  const named = { ...settings, abxTriples: 300, probeEpochs: 1, metrics: metricNames };
  const [random, , , last] = await analyzeRun(run, named);
  for (const row of last.layers) {
    expect(Object.keys(row).sort()).toEqual(
      'layer pnmi phonePurity clusterPurity activeClusters clusterPerplexity meanSegmentLength phoneInformation wordInformation ckaLayer0 ckaLogMel pwccaLayer0 pwccaLogMel pwccaPhone pwccaWord svccaLayer0 svccaLogMel svccaPhone svccaWord phoneProbeAccuracy wordProbeAccuracy speakerProbeAccuracy rankMe ckaPrevious cosineDistancePrevious abxWithin abxAcross'
        .split(' ')
        .sort(),
    );
    for (const value of Object.values(row)) expect(Number.isFinite(value)).toBe(true);
    expect(row.abxWithin).toBeLessThan(0.3); // tones are easy
    expect(row.phoneInformation).toBeGreaterThan(1);
    expect(row.pwccaPhone).toBeGreaterThan(0.3);
    expect(row.rankMe).toBeLessThanOrEqual(64);
  }
  expect(last.layers[0].pwccaLayer0).toBeCloseTo(1, 6);
  expect(last.layers.map((row) => row.rankMe)).toEqual(
    (await analyzeRun(run, { ...settings, metrics: ['rank'] }))[3].layers.map((row) => row.rankMe),
  );
  expect(random.layers[0].ckaPrevious).toBeUndefined();
  expect(last.random!.layers).toEqual(random.layers);
  expect(last.chance!.speakerProbeAccuracy).toBeLessThan(0.5);
  expect(last.measured).toMatchObject({ clusters: { clusters: 12 }, drift: { previous: 'iteration-1/step-000020' } });
  const measured: (number | undefined)[] = [];
  const again = await analyzeRun(run, { ...named, onProgress: ({ layer }) => measured.push(layer) });
  expect(measured).toEqual(Array(4).fill(undefined));
  expect(again[3]).toEqual(last);
  const other = await analyzeRun(run, { ...named, ckaFrames: 200, metrics: ['cka', 'rank'], onProgress: () => {} });
  expect(other[3].layers[1].ckaLogMel).not.toBe(last.layers[1].ckaLogMel);
  expect({ ...other[3].layers[1], ckaLogMel: 0, ckaLayer0: 0 }).toEqual({
    ...last.layers[1],
    ckaLogMel: 0,
    ckaLayer0: 0,
  });
});

test('without word alignments words are left out and the word probe says why; alignments given apart bring them', async () => {
  const bare = path.join(root, 'bare');
  fs.cpSync(run, bare, { recursive: true });
  fs.rmSync(path.join(bare, 'analysis'), { recursive: true, force: true });
  const corpus = path.join(root, 'tones-without-words');
  fs.cpSync(path.join(root, 'tones'), corpus, { recursive: true });
  const alignments = path.join(corpus, 'alignments.jsonl');
  const lines = fs.readFileSync(alignments, 'utf8').trim().split('\n');
  fs.writeFileSync(
    alignments,
    lines.map((line) => JSON.stringify({ ...JSON.parse(line), words: undefined })).join('\n'),
  );
  const config = path.join(bare, 'config.yaml');
  fs.writeFileSync(config, fs.readFileSync(config, 'utf8').replace(path.join(root, 'tones'), corpus));
  const [{ layers }] = await analyzeRun(bare, { ...settings, metrics: ['pwcca', 'information'] });
  expect(layers[1].pwccaPhone).toBeGreaterThan(0.3);
  expect(layers[1].pwccaWord ?? layers[1].wordInformation).toBeUndefined();
  await expect(analyzeRun(bare, { ...settings, metrics: ['word-probe'] })).rejects.toThrow(/word alignments/);
  const coverage: unknown[] = [];
  const joined = await analyzeRun(bare, {
    ...settings,
    metrics: ['information'],
    alignments: [path.join(root, 'tones', 'alignments.jsonl')],
    onAlignments: (found) => coverage.push(found),
  });
  expect(coverage).toEqual([{ utterances: 58, phones: 58, words: 58, unknown: 0, mismatched: 0 }]);
  expect(joined[0].layers[1].wordInformation).toBeGreaterThan(0);
  expect(joined[0].layers[1].pwccaPhone).toBeUndefined(); // of other alignments
});

test('without phone alignments a metric that needs them says so; similarity and rank do without', async () => {
  const bare = path.join(root, 'unaligned');
  fs.cpSync(run, bare, { recursive: true });
  fs.rmSync(path.join(bare, 'analysis'), { recursive: true, force: true });
  const corpus = path.join(root, 'tones-without-alignments');
  fs.cpSync(path.join(root, 'tones'), corpus, { recursive: true });
  fs.rmSync(path.join(corpus, 'alignments.jsonl'));
  const config = path.join(bare, 'config.yaml');
  fs.writeFileSync(config, fs.readFileSync(config, 'utf8').replace(path.join(root, 'tones'), corpus));
  await expect(analyzeRun(bare, settings)).rejects.toMatchObject({
    code: 'HK_CORPUS',
    message: expect.stringContaining('"clusters" needs phone alignments'),
  });
  const [{ layers, autoencoderIndex, dropAtTop }] = await analyzeRun(bare, { ...settings, metrics: ['cka', 'rank'] });
  const [aligned] = await analyzeRun(run, { ...settings, metrics: ['cka', 'rank'] });
  expect(layers).toEqual(
    aligned.layers.map(({ ckaLayer0, ckaLogMel, rankMe, layer }) => ({ layer, ckaLayer0, ckaLogMel, rankMe })),
  );
  expect(autoencoderIndex).toBe(aligned.autoencoderIndex);
  expect(dropAtTop).toBeUndefined();
});

test('an aborted analysis says so, an unknown metric is refused with the nearest one', async () => {
  fs.rmSync(path.join(run, 'analysis'), { recursive: true, force: true });
  await expect(analyzeRun(run, { ...settings, signal: AbortSignal.abort() })).rejects.toMatchObject({
    code: 'HK_INTERRUPTED',
  });
  await expect(analyzeRun(run, { metrics: ['wer' as 'cka'] })).rejects.toMatchObject({ code: 'HK_ARGUMENT' });
  await expect(analyzeRun(run, { metrics: ['pwca' as 'cka'] })).rejects.toThrow('did you mean "pwcca"?');
  for (const wrong of ['cka', ['toString'], [5]] as unknown as 'cka'[][]) {
    await expect(analyzeRun(run, { metrics: wrong })).rejects.toMatchObject({ code: 'HK_ARGUMENT' });
  }
  await expect(analyzeRun(run, { testFrames: 0 })).rejects.toThrow(/testFrames: expected a whole number/);
});
