import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import * as yaml from 'yaml';
import {
  applySet,
  configYaml,
  firstDifference,
  loadConfig,
  type PretrainOptions,
  resolveConfig,
} from '../../lib/train/config';
import { editDistance, nearest } from '../../lib/train/nearest';

const smallest: PretrainOptions = { corpus: 'folder:/audio', model: 'tiny', out: 'runs/a' };
const withKeys = (keys: Record<string, unknown>) => resolveConfig({ ...smallest, ...keys });
const configError = (...parts: string[]) =>
  expect.objectContaining({ code: 'HK_CONFIG', message: expect.stringMatching(new RegExp(parts.join('.*'), 's')) });

describe('defaults', () => {
  test('three keys are a configuration', () => {
    const config = resolveConfig(smallest);
    expect(config.learningRate).toBe(1e-3);
    expect(config.mask).toEqual({ probability: 0.5, length: 10 });
    expect(config.featureGradMult).toBe(1);
    expect(config.updateSeconds).toBe(16);
    expect(config.model).toEqual({ preset: 'tiny', overrides: {} });
    expect(config.schedule.map((entry) => [entry.init, entry.seed])).toEqual([
      ['scratch', 1],
      ['scratch', 2],
    ]);
  });

  test('base and large follow the published recipes', () => {
    const base = resolveConfig({ ...smallest, model: 'base' });
    expect([base.learningRate, base.clip, base.layerDrop, base.featureGradMult]).toEqual([5e-4, 10, 0.05, 0.1]);
    expect(base.updateSeconds / base.batchSeconds).toBe(32);
    expect(base.schedule.map(({ teacher, clusters, updates }) => ({ teacher, clusters, updates }))).toEqual([
      { teacher: 'mfcc', clusters: 100, updates: 250_000 },
      { teacher: { layer: 6 }, clusters: 500, updates: 400_000 },
    ]);
    const large = resolveConfig({ ...smallest, model: { preset: 'large' } });
    expect([large.learningRate, large.clip, large.layerDrop, large.featureGradMult]).toEqual([1.5e-3, 1, 0, 1]);
  });

  test('resolving a resolved configuration changes nothing, through YAML too', () => {
    const config = withKeys({ schedule: [{ teacher: 'mfcc', clusters: 50, audioSeconds: 1600 }] });
    expect(config.schedule[0].updates).toBe(100);
    expect(resolveConfig(config)).toEqual(config);
    expect(resolveConfig(yaml.parse(configYaml(config)))).toEqual(config);
  });

  test("a run's learning rate is that of its iterations", () => {
    const schedule = [
      { teacher: 'mfcc', clusters: 50, updates: 10 },
      { teacher: { layer: 1 }, clusters: 50, updates: 10, init: 'continue', learningRate: 1e-4 },
    ];
    expect(withKeys({ learningRate: 2e-4, schedule }).schedule.map((e) => e.learningRate)).toEqual([2e-4, 1e-4]);
  });
});

describe('errors', () => {
  test.each([
    ['lerningRate', 'learningRate', { lerningRate: 1 }],
    ['mask.probabilty', 'probability', { mask: { probabilty: 0.5 } }],
    ['schedule.0.cluster', 'clusters', { schedule: [{ teacher: 'mfcc', cluster: 50, updates: 1 }] }],
    ['schedule.1.teacher.layr', 'layer', { schedule: [{}, { teacher: { layr: 2 } }] }],
    ['model.overides', 'overrides', { model: { preset: 'tiny', overides: {} } }],
    ['model.overrides.hiddenSise', 'hiddenSize', { model: { preset: 'tiny', overrides: { hiddenSise: 3 } } }],
    ['kmeans.memory', 'memoryMiB', { kmeans: { memory: 3 } }],
  ])('unknown key %s: suggests %s', (key, suggestion, keys) => {
    expect(() => withKeys(keys)).toThrow(configError(`Unknown key "${key}"`, `Did you mean "${suggestion}"`));
  });

  test('a key that is near none lists all of them', () => {
    expect(() => withKeys({ mask: { zzz: 1 } })).toThrow(configError('mask.zzz', 'Known: probability, length'));
  });

  test.each([
    ['a preset', { model: 'tny' }, 'model', 'Did you mean "tiny"'],
    ['a number', { learningRate: 'fast' }, 'learningRate: expected number', 'got "fast"'],
    ['a range', { mask: { probability: 8 } }, 'mask.probability', 'got 8'],
    ['a teacher', { schedule: [{ teacher: 'mel', clusters: 5, updates: 1 }] }, 'schedule.0.teacher', 'got "mel"'],
    ['a length', { schedule: [{ teacher: 'mfcc', clusters: 5 }] }, 'schedule.0.updates', 'got nothing'],
    ['no schedule', { schedule: [] }, 'schedule', 'got \\[\\]'],
    ['two lengths', { schedule: [{ teacher: 'mfcc', clusters: 5, updates: 1, audioSeconds: 2 }] }, 'not both'],
    ['a first layer teacher', { schedule: [{ teacher: { layer: 1 }, clusters: 5, updates: 1 }] }, 'no previous model'],
    [
      'a missing layer',
      {
        schedule: [
          { teacher: 'mfcc', clusters: 5, updates: 1 },
          { teacher: { layer: 9 }, clusters: 5, updates: 1 },
        ],
      },
      'teacher.layer',
      'got 9',
    ],
    [
      'a kept head',
      {
        schedule: [
          { teacher: 'mfcc', clusters: 5, updates: 1 },
          { teacher: { layer: 1 }, clusters: 6, updates: 1, init: 'continue' },
        ],
      },
      'continue-reset-head',
    ],
    ['lengths', { minSeconds: 9, maxSeconds: 4 }, 'minSeconds \\(9\\) is above maxSeconds'],
    [
      'an override type',
      { model: { preset: 'tiny', overrides: { layers: 'two' } } },
      'model.overrides.layers: expected something like 4',
      'got "two"',
    ],
    [
      'a key in two places',
      { model: { preset: 'tiny', overrides: { layerDrop: 0.1 } } },
      'model.overrides.layerDrop: this is',
    ],
    ['a device', { device: 'gpu' }, 'device', 'got "gpu"'],
  ])('%s: says what was expected and what was found', (_, keys, ...parts) => {
    expect(() => withKeys(keys as Record<string, unknown>)).toThrow(configError(...(parts as string[])));
  });

  test('what is no map of keys is refused', () => {
    for (const nonsense of [undefined, null, 3, 'tiny', [smallest]])
      expect(() => resolveConfig(nonsense)).toThrow(expect.objectContaining({ code: 'HK_CONFIG' }));
    expect(() => resolveConfig({ model: 'tiny', out: 'x' })).toThrow(configError('corpus', 'got nothing'));
  });
});

describe('--set', () => {
  test('assigns YAML values by path and leaves its argument alone', () => {
    const options = { ...smallest, schedule: [{ teacher: 'mfcc', clusters: 50, updates: 10 }] };
    const before = structuredClone(options);
    const sets = [
      'mask.probability=.65',
      'schedule.0.updates=7',
      'betas=[.9, .95]',
      'model.overrides.layers=2',
      'seed=4',
    ];
    const config = resolveConfig(sets.reduce<unknown>(applySet, options));
    expect(options).toEqual(before);
    expect(config.mask.probability).toBe(0.65);
    expect(config.schedule[0].updates).toBe(7);
    expect(config.betas).toEqual([0.9, 0.95]);
    expect(config.model).toEqual({ preset: 'tiny', overrides: { layers: 2 } });
    expect(config.schedule[0].seed).toBe(4);
  });

  test('model=base changes the preset', () => {
    expect(resolveConfig(applySet(smallest, 'model=base')).model.preset).toBe('base');
  });

  test.each(['seed', '=3', 'a..b=1', 'seed.x=3', 'schedule.4.updates=3', '__proto__.x=1'])(
    'refuses %s',
    (assignment) => {
      const options = { ...smallest, seed: 1, schedule: [{ teacher: 'mfcc', clusters: 5, updates: 1 }] };
      expect(() => applySet(options, assignment)).toThrow(expect.objectContaining({ code: 'HK_CONFIG' }));
    },
  );
});

test('a YAML file with assignments gives the resolved configuration', () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'hubertkit-config-'));
  const file = path.join(folder, 'run.yaml');
  fs.writeFileSync(file, 'corpus: folder:/audio\nmodel: tiny\nout: runs/a\nmask: { probability: .6 }\n');
  expect(loadConfig(file, ['seed=9'])).toEqual(withKeys({ mask: { probability: 0.6 }, seed: 9 }));
  fs.writeFileSync(file, 'corpus: [');
  expect(() => loadConfig(file)).toThrow(configError('is not YAML'));
  expect(() => loadConfig(path.join(folder, 'none.yaml'))).toThrow(expect.objectContaining({ code: 'HK_IO' }));
  fs.rmSync(folder, { recursive: true });
});

test('the first difference of two configurations is named by its path', () => {
  const one = withKeys({});
  expect(firstDifference(one, withKeys({}))).toBeUndefined();
  expect(firstDifference(one, withKeys({ mask: { probability: 0.6 } }))).toBe('mask.probability');
  expect(firstDifference(one, withKeys({ betas: [0.9, 0.99] }))).toBe('betas.1');
  expect(firstDifference({ a: [1] }, { a: [1, 2] })).toBe('a.1');
});

test('edit distance and the nearest name', () => {
  expect(editDistance('kitten', 'sitting')).toBe(3);
  expect(editDistance('', 'abc')).toBe(3);
  expect(nearest('LEARNINGRATE', ['learningRate', 'seed'])).toBe('learningRate');
  expect(nearest('xyz', ['learningRate'])).toBeUndefined();
});

test('a layer that predicts the labels besides the top one lies below it', () => {
  const config = (layer: number) => ({ corpus: 'c', model: 'nano', out: 'o', loss: { intermediateLayers: [layer] } });
  expect(resolveConfig(config(3)).loss).toEqual({
    maskedWeight: 1,
    unmaskedWeight: 0,
    penalty: 10,
    intermediateLayers: [3],
  });
  expect(() => resolveConfig(config(4))).toThrow(expect.objectContaining({ code: 'HK_CONFIG' }));
});
