import type { Cell } from '../../lib/experiments/experiment';
import { allExperiments, type ExperimentOptions, planExperiment, unitsOf } from '../../lib/experiments/plan';
import { tuningOptions } from '../../lib/experiments/fine-tunings';

const plan = (experiment: string, options: Partial<ExperimentOptions> = {}) =>
  planExperiment({ experiment, preset: 'nano', corpus: 'speech', ...options });
const cells = (experiment: string, options: Partial<ExperimentOptions> = {}) =>
  plan(experiment, { seeds: 1, ...options }).cells.map(({ cell }) => cell);
const teachers = ({ schedule }: Cell) => schedule.map(({ teacher }) => (teacher === 'mfcc' ? teacher : teacher.layer));
const lengths = ({ schedule }: Cell) => schedule.map(({ length }) => length);
const total = (cell: Cell) => lengths(cell).reduce((sum, length) => sum + length, 0);

test('information over pretraining: three iterations, all layers of several checkpoints of each, probes too', () => {
  const [cell, ...others] = cells('information-over-pretraining');
  expect(others).toEqual([]);
  expect(teachers(cell)).toEqual(['mfcc', 2, 2]);
  expect(cell.keep).toBeGreaterThan(4);
  expect(plan('information-over-pretraining').experiment.metrics).toContain('probe');
});

test('clustering height: every block of the same first model is a teacher', () => {
  expect(cells('clustering-height').map(teachers)).toEqual([1, 2, 3, 4].map((layer) => ['mfcc', layer]));
  expect(cells('clustering-height', { preset: 'base' }).map((cell) => teachers(cell)[1])).toEqual(
    Array.from({ length: 12 }, (_, i) => i + 1),
  );
});

test('clusters: K is 50, 100, 500 or 1000, of the second iteration', () => {
  const grid = cells('clusters').map(({ schedule }) => schedule.map((stage) => stage.clusters));
  expect(grid).toEqual([50, 100, 500, 1000].map((clusters) => [100, clusters]));
});

test('iterations: one to four of them share the same amount of training', () => {
  const grid = cells('iterations');
  expect(grid.map(({ schedule }) => schedule.length)).toEqual([1, 2, 3, 4]);
  for (const cell of grid) expect(total(cell)).toBeCloseTo(2);
});

test('layer reset: k from 0 to L at three label budgets, dropped and frozen variants, on three models, and one control', () => {
  const grid = cells('layer-reset');
  const tunings = grid.flatMap((cell) => (cell.fineTunings ?? []).map((tuning) => ({ cell: cell.name, ...tuning })));
  const models = ['two-iterations 1', 'two-iterations 2', 'progressive 4'];
  for (const model of models) {
    const own = tunings.filter(({ cell, iteration, mode }) => `${cell} ${iteration}` === model && mode !== 'random');
    const ks = (mode: string, freeze: string, minutes: number) =>
      own.filter((t) => t.mode === mode && t.freeze === freeze && t.labelMinutes === minutes).map(({ k }) => k);
    for (const minutes of [4, 12, 40]) expect(ks('reset', 'pretrained-only', minutes)).toEqual([0, 1, 2, 3, 4]);
    expect(ks('drop', 'pretrained-only', 12)).toEqual([1, 2, 3]);
    expect(ks('reset', 'all', 12)).toEqual([1, 2, 3, 4]);
  }
  expect(tunings.filter(({ mode }) => mode === 'random').map(({ labelMinutes }) => labelMinutes)).toEqual([4, 12, 40]);
  expect(plan('layer-reset').seeds).toHaveLength(3);
  const [deep] = cells('layer-reset', { preset: 'base' });
  const ks = new Set(deep.fineTunings!.filter(({ mode }) => mode === 'reset').map(({ k }) => k));
  expect([...ks]).toEqual([0, 1, 2, 3, 4, 6, 8, 10, 12]);
});

test('progressive: three strategies at equal and half training, from scratch and carried over, against two iterations', () => {
  const grid = cells('progressive');
  expect(grid).toHaveLength(14);
  const named = (name: string) => grid.find((cell) => cell.name === name)!;
  expect(teachers(named('baseline-equal-scratch'))).toEqual(['mfcc', 2]);
  expect(teachers(named('shorter-equal-scratch'))).toEqual(['mfcc', 2, 2, 2]);
  expect(teachers(named('higher-half-carried'))).toEqual(['mfcc', 3]);
  expect(teachers(named('progressive-equal-carried'))).toEqual(['mfcc', 1, 2, 3]);
  for (const cell of grid) {
    expect(total(cell)).toBeCloseTo(cell.name.includes('half') ? 1 : 2);
    const inits = cell.schedule.slice(1).map(({ init }) => init);
    const expected = cell.name.endsWith('scratch') ? 'scratch' : 'continue-reset-head';
    expect(new Set(inits)).toEqual(new Set([expected]));
  }
});

test('masking and unmasked loss change the mask and alpha alone', () => {
  const configs = (name: string) => plan(name, { seeds: 1 }).cells.map(({ config }) => config);
  expect(configs('masking').map(({ mask }) => mask)).toEqual(
    [0.35, 0.5, 0.65, 0.8].map((probability) => ({ probability, length: 10 })),
  );
  expect(configs('unmasked-loss').map(({ loss }) => [loss.maskedWeight, loss.unmaskedWeight])).toEqual([
    [1, 0],
    [0.5, 0.5],
    [0, 1],
  ]);
});

test('intermediate loss: the top layer alone, and a layer at a third of the depth too', () => {
  const grid = (options: Partial<ExperimentOptions>) =>
    plan('intermediate-loss', { seeds: 1, ...options }).cells.map(({ config }) => config.loss.intermediateLayers);
  expect(grid({})).toEqual([[], [1]]);
  expect(grid({ preset: 'base' })).toEqual([[], [4]]);
});

test.each(allExperiments().map(({ name }) => name))('%s compares conditions that its grid has', (name) => {
  const { experiment, scale, cells: planned } = plan(name, { seeds: 1 });
  const names = planned.map(({ cell }) => cell.name);
  expect(new Set(names).size).toBe(names.length);
  const comparisons = experiment.comparisons(scale);
  expect(comparisons.length).toBeGreaterThan(0);
  for (const { baseline, others } of comparisons)
    for (const { where } of [baseline, ...others]) if (where.cell !== undefined) expect(names).toContain(where.cell);
});

test('a budget is the audio of one seed, iterations that cells share counted once', () => {
  const { cells: planned } = plan('clustering-height', { audioHours: 10, seeds: 2 });
  const first = planned.filter(({ seed }) => seed === 1);
  expect(unitsOf(first.map(({ cell }) => cell))).toBe(5);
  const trained = new Map(first.flatMap(({ keys, config }) => keys.map((key, i) => [key, config.schedule[i].updates])));
  const updates = [...trained.values()].reduce((sum, count) => sum + count, 0);
  expect((updates * first[0].config.updateSeconds) / 3600).toBeCloseTo(10, 1);
});

test('cells of a seed come together, and no two seeds share one of an iteration', () => {
  const { cells: planned } = plan('iterations', { seeds: 3 });
  expect(planned.map(({ seed }) => seed)).toEqual([1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]);
  const seeds = (n: number) =>
    planned.filter(({ seed }) => seed === n).flatMap(({ config }) => config.schedule.map((i) => i.seed));
  expect(seeds(1).filter((seed) => seeds(2).includes(seed))).toEqual([]);
});

test('cells and label budgets can be chosen', () => {
  const { cells: chosen, experiment, scale } = plan('layer-reset', { cells: ['two-iterations'], labelMinutes: [20] });
  expect(new Set(chosen.map(({ cell }) => cell.name))).toEqual(new Set(['two-iterations']));
  expect(new Set(chosen.flatMap(({ fineTunings }) => fineTunings.map((t) => t.labelMinutes)))).toEqual(new Set([20]));
  const control = experiment.comparisons(scale).find(({ baseline }) => baseline.name === 'random initialisation');
  expect(control?.others[0].where).toMatchObject({ k: 0, mode: 'reset', labelMinutes: 20 });
  expect(() => plan('layer-reset', { cells: ['two-iteration'] })).toThrow('Did you mean "two-iterations"?');
  expect(() => plan('layer-reset', { labelMinutes: [0] })).toThrow('Label minutes are numbers above 0, got 0.');
});

test('numbers of blocks can be chosen: k = 0 and the control stay', () => {
  const [cell] = plan('layer-reset', { cells: ['two-iterations'], labelMinutes: [20], k: [2] }).cells;
  expect(cell.fineTunings.map(({ iteration, mode, k, freeze }) => `${iteration} ${mode} ${k} ${freeze}`)).toEqual([
    ...[1, 2].flatMap((i) => [
      `${i} reset 0 pretrained-only`,
      `${i} reset 2 pretrained-only`,
      `${i} drop 2 pretrained-only`,
      `${i} reset 2 all`,
    ]),
    '1 random null pretrained-only',
  ]);
  expect(() => plan('layer-reset', { k: [Number.NaN] })).toThrow('whole numbers');
});

test('layers are measured by what is asked for, and models fine-tuned on the corpus that is named', () => {
  expect(plan('layer-reset', {}).metrics).toEqual(['clusters', 'cka']);
  const other = plan('layer-reset', { metrics: ['cka', 'rank'], finetune: { corpus: 'manifest:prompts' } });
  expect(other.metrics).toEqual(['cka', 'rank']);
  const [cell] = other.cells;
  expect(tuningOptions(other, cell, cell.fineTunings[0]).corpus).toBe('manifest:prompts');
  expect(cell.config.corpus).not.toBe('manifest:prompts');
  expect(() => plan('layer-reset', { metrics: ['ranks' as 'rank'] })).toThrow('did you mean "rank"?');
});

test('a name that is not there suggests the nearest', () => {
  expect(() => plan('layer-rest')).toThrow(
    expect.objectContaining({ code: 'HK_NAME', message: expect.stringContaining('Did you mean "layer-reset"?') }),
  );
});
