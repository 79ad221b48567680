/**
 * hubertkit experiment layer-reset --preset nano --seeds 3
 *
 * Fine-tuning with the top k blocks begun anew (2405.08402; 2107.04734, section 5.4), on the model after one iteration, after two,
 * and after four short ones whose teacher layer rises. For each k all budgets of transcribed audio; at the middle budget also
 * with the blocks taken off, and with everything but the head frozen at first. k = 0 is the same fine-tuning in all of them.
 * The control begins the whole network anew. Fine-tunings of a seed share batches, masks and head.
 */
import type { Cell, CellFineTuning, Comparison, Experiment, Outcome, Scale } from '../lib/experiments/experiment';
import { progressiveSchedule } from './progressive';

/** 0, 1, 2, 3, 4, 6, 8, ... L. */
const blocks = (scale: Scale, from: number, to = scale.layers) =>
  Array.from({ length: to - from + 1 }, (_, i) => from + i).filter((k) => k <= 4 || k % 2 === 0 || k === scale.layers);

const middleOf = (budgets: readonly number[]): number => budgets[Math.floor((budgets.length - 1) / 2)];

/** The protocol on the model at the end of an iteration. */
export function resetProtocol(scale: Scale, iteration: number): CellFineTuning[] {
  const middle = middleOf(scale.labelMinutes);
  const of = (mode: CellFineTuning['mode'], k: number | null, labelMinutes: number): CellFineTuning => ({
    iteration,
    mode,
    k,
    freeze: 'pretrained-only',
    labelMinutes,
  });
  return [
    ...scale.labelMinutes.flatMap((minutes) => blocks(scale, 0).map((k) => of('reset', k, minutes))),
    ...blocks(scale, 1, scale.layers - 1).map((k) => of('drop', k, middle)),
    ...blocks(scale, 1).map((k): CellFineTuning => ({ ...of('reset', k, middle), freeze: 'all' })),
  ];
}

/** What no pretraining has touched: the same whatever the model, so once. */
const control = (scale: Scale): CellFineTuning[] =>
  scale.labelMinutes.map((labelMinutes) => ({
    iteration: 1,
    mode: 'random',
    k: null,
    freeze: 'pretrained-only',
    labelMinutes,
  }));

const models = [
  { title: 'after one iteration', cell: 'two-iterations', iteration: 1 },
  { title: 'after two iterations', cell: 'two-iterations', iteration: 2 },
  { title: 'after progressive iterations', cell: 'progressive', iteration: 4 },
];

const errors: Outcome = { label: 'CER on test', measure: 'testCer', better: 'lower', percent: true };
const words: Outcome = { label: 'WER on test', measure: 'testWer', better: 'lower', percent: true };
const lexicon: Outcome = {
  label: 'WER on test with the words of the training transcripts',
  measure: 'testLexiconWer',
  better: 'lower',
  percent: true,
};
const area: Outcome = { label: 'Area under the CER curve', measure: 'aucCer', better: 'lower', percent: true };
const speed: Outcome = {
  label: 'Updates to the CER that k = 0 ends at (the last update where it is never reached)',
  measure: 'updatesToBaselineCer',
  better: 'lower',
};

type Model = (typeof models)[number];

/** Where the fine-tunings of a model stand in the results. */
const fineTuned =
  ({ cell, iteration }: Omit<Model, 'title'>, labelMinutes: number) =>
  (k: number | null, mode: string, freeze = 'pretrained-only') => ({ cell, iteration, k, mode, freeze, labelMinutes });

/** The outcome with what it is about. */
const labelled = (outcome: Outcome, { title }: Model, minutes: number): Outcome => ({
  ...outcome,
  label: `${outcome.label}, ${title}, ${minutes} min of labels`,
});

/** What pretraining is worth: k = 0 beside the control. */
function againstControl(outcome: Outcome, model: Model, minutes: number): Comparison {
  const control = fineTuned({ cell: 'two-iterations', iteration: 1 }, minutes)(null, 'random');
  return {
    outcome: labelled(outcome, model, minutes),
    baseline: { name: 'random initialisation', where: control },
    others: [{ name: 'k = 0', where: fineTuned(model, minutes)(0, 'reset') }],
  };
}

function sweep(outcome: Outcome, model: Model, minutes: number, others: CellFineTuning[]) {
  const where = fineTuned(model, minutes);
  const name = ({ k, mode, freeze }: CellFineTuning) =>
    `${mode === 'drop' ? 'drop' : 'k'} = ${k}${freeze === 'all' ? ', all frozen at first' : ''}`;
  return {
    outcome: labelled(outcome, model, minutes),
    baseline: { name: 'k = 0', where: where(0, 'reset') },
    others: others.map((tuning) => ({ name: name(tuning), where: where(tuning.k, tuning.mode, tuning.freeze) })),
  } satisfies Comparison;
}

export const layerReset: Experiment = {
  name: 'layer-reset',
  question:
    'Does fine-tuning gain when the top layers begin anew, and does that depend on how the model was pretrained?',
  cells: (scale): Cell[] => [
    {
      name: 'two-iterations',
      parameters: { model: 'two iterations' },
      schedule: [scale.first(1), scale.later(1)],
      fineTunings: [...resetProtocol(scale, 1), ...resetProtocol(scale, 2), ...control(scale)],
    },
    {
      name: 'progressive',
      parameters: { model: 'progressive' },
      schedule: progressiveSchedule(scale, 2),
      fineTunings: resetProtocol(scale, 4),
    },
  ],
  comparisons: (scale) => {
    const [least] = scale.labelMinutes;
    const middle = middleOf(scale.labelMinutes);
    const of = (minutes: number, mode: string, freeze: string) =>
      resetProtocol(scale, 1).filter(
        (tuning) =>
          tuning.labelMinutes === minutes && tuning.mode === mode && tuning.freeze === freeze && tuning.k !== 0,
      );
    return models.flatMap((model) => [
      ...scale.labelMinutes.flatMap((minutes) =>
        [errors, lexicon].map((outcome) => againstControl(outcome, model, minutes)),
      ),
      ...scale.labelMinutes.flatMap((minutes) =>
        [errors, words, lexicon].map((outcome) =>
          sweep(outcome, model, minutes, of(minutes, 'reset', 'pretrained-only')),
        ),
      ),
      ...[area, speed].map((outcome) => sweep(outcome, model, least, of(least, 'reset', 'pretrained-only'))),
      sweep(errors, model, middle, of(middle, 'drop', 'pretrained-only')),
      sweep(errors, model, middle, of(middle, 'reset', 'all')),
    ]);
  },
};
