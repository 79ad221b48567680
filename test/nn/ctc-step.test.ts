import { hubertConfig } from '../../lib/nn/config';
import { HubertModel } from '../../lib/nn/model';

const config = hubertConfig('nano', {
  convDim: 16,
  hiddenSize: 32,
  intermediateSize: 64,
  layers: 1,
  posConvGroups: 4,
  projectionSize: 16,
});
const [batch, samples, vocabulary, targetLength] = [2, 320 * 10 + 80, 5, 3];

describe('a CTC step refuses rows that the op of a GPU could not', () => {
  const model = HubertModel.create({ config, vocabulary, seed: 1 });
  const frames = model.frames(samples);
  const step = model.ctc({ batch, samples, targetLength });
  const good = {
    waveform: Float32Array.from({ length: batch * samples }, (_, i) => 0.3 * Math.sin(i * 0.05)),
    frameLengths: Int32Array.of(frames, frames - 2),
    targets: Int32Array.of(1, 2, 4, 3, -9, 0), // what lies behind a row's length does not count
    targetLengths: Int32Array.of(3, 1),
  };
  const run = (change: Partial<typeof good>) => step.run({ ...good, ...change }, { seed: 1, draw: 0 });
  afterAll(() => model[Symbol.asyncDispose]());

  test('a good batch has a loss in every row', async () => {
    const { loss } = await run({});
    expect([...loss].every((nats) => nats > 0 && Number.isFinite(nats))).toBe(true);
  });

  test.each<[string, Partial<typeof good>]>([
    ['targets[1, 0] must lie in 1..4, got 0', { targets: Int32Array.of(1, 2, 4, 0, 1, 1) }],
    ['targets[0, 2] must lie in 1..4, got 5', { targets: Int32Array.of(1, 2, 5, 1, 1, 1) }],
    ['targetLengths[1] must lie in 0..3, got 4', { targetLengths: Int32Array.of(3, 4) }],
    ['targetLengths[0] must lie in 0..3, got -1', { targetLengths: Int32Array.of(-1, 1) }],
    [`frameLengths[0] must lie in 0..${frames}, got ${frames + 1}`, { frameLengths: Int32Array.of(frames + 1, 1) }],
  ])('%s', async (sentence, change) => {
    await expect(run(change)).rejects.toMatchObject({ code: 'HK_ARGUMENT', message: `CTC: ${sentence}.` });
  });

  test('an array that is missing is named', async () => {
    await expect(run({ targets: undefined })).rejects.toMatchObject({
      code: 'HK_NAME',
      message: expect.stringContaining("'targets'"),
    });
  });
});
