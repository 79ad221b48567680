/** Loss and accuracy of masked prediction over the audio processed. */
import { base, type Cell, type Chart, cell, line, type Option, round, thin } from './chart';
import { QUIET, RULE } from './colours';
import type { TrainingPoint } from './read';

export function trainingCharts(points: TrainingPoint[]): Chart[] {
  if (!points.length) return [];
  const train = points.filter((point) => point.kind !== 'valid');
  const valid = points.filter((point) => point.kind === 'valid');
  const curve = (from: TrainingPoint[], key: keyof TrainingPoint) => thin(byIteration(from, key));
  const loss = base('bits per frame', 'audio processed (seconds)', [
    line('masked, training', curve(train, 'maskedLossBits'), 0),
    line('masked, validation', curve(valid, 'maskedLossBits'), 1, { symbols: true }),
    line('unmasked, validation', curve(valid, 'unmaskedLossBits'), 2, { symbols: true }),
    line('unigram entropy of the labels', curve(points, 'unigramBits'), 'unigram'),
  ]);
  const accuracy = base('accuracy', 'audio processed (seconds)', [
    line('masked, training', curve(train, 'maskedAccuracy'), 0),
    line('masked, validation', curve(valid, 'maskedAccuracy'), 1, { symbols: true }),
    line('unmasked, validation', curve(valid, 'unmaskedAccuracy'), 2, { symbols: true }),
  ]);
  for (const option of [loss, accuracy]) markIterations(option, points);
  const columns = [
    'kind',
    'iteration',
    'update',
    'totalUpdates',
    'audioSeconds',
    'maskedLossBits',
    'unmaskedLossBits',
    'unigramBits',
    'maskedAccuracy',
    'unmaskedAccuracy',
    'learningRate',
    'gradientNorm',
    'wallSeconds',
    'audioSecondsPerSecond',
  ];
  const table = { columns, rows: points.map((point) => columns.map((column) => cell(point, column))) };
  return [
    {
      id: 'loss',
      title: 'Masked prediction: loss',
      caption:
        'Cross-entropy in bits per frame over all audio processed so far. A model that only knows how often each cluster occurs reaches the dashed line (the unigram entropy of the labels); what lies below it was learned from the sound around a frame. Each iteration has labels of its own, so its losses are not comparable with those of another.',
      views: [{ id: 'loss', name: 'loss', option: loss }],
      table,
    },
    {
      id: 'accuracy',
      title: 'Masked prediction: accuracy',
      caption:
        'Share of frames whose cluster is predicted exactly. Masked frames are predicted from their surroundings only.',
      views: [{ id: 'accuracy', name: 'accuracy', option: accuracy }],
      table,
    },
  ];
}

/** [audioSeconds, value] of one key, with a gap between iterations. */
function byIteration(points: TrainingPoint[], key: keyof TrainingPoint): Cell[][] {
  const data: Cell[][] = [];
  points.forEach((point, index) => {
    if (index > 0 && points[index - 1].iteration !== point.iteration) data.push([point.audioSeconds, null]);
    const value = point[key];
    if (typeof value === 'number') data.push([round(point.audioSeconds), round(value)]);
  });
  return data.some((pair) => pair[1] !== null) ? data : [];
}

function markIterations(option: Option, points: TrainingPoint[]): void {
  const starts = new Map<number, number>();
  points.forEach((point, index) => {
    if (!starts.has(point.iteration)) starts.set(point.iteration, index === 0 ? 0 : points[index - 1].audioSeconds);
  });
  const first = (option.series as Option[])[0];
  if (!first) return;
  first.markLine = {
    silent: true,
    symbol: 'none',
    lineStyle: { color: RULE, type: 'solid', width: 1 },
    label: { color: QUIET, formatter: '{b}', position: 'end', align: 'left', distance: 4 },
    data: [...starts].map(([iteration, x]) => ({ name: `iteration ${iteration}`, xAxis: x })),
  };
}
