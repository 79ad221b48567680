import { pairedSeeds } from '../../lib/analysis/statistics';
import { type VerdictOptions, verdict } from '../../lib/analysis/verdict';

const baseline = [0.3, 0.31, 0.32];
const plus = (...gains: number[]) =>
  pairedSeeds(
    baseline.map((value, i) => value + gains[i]),
    baseline,
  );
const pnmi = { outcome: 'PNMI of the top layer', better: 'higher', baseline: 'layer 2' } as const;
const sentenceOf = (o: Partial<VerdictOptions>) => verdict({ ...pnmi, others: [], ...o }).sentence;

test('a difference that the seeds agree on is told with its sign, interval and number of seeds', () => {
  const others = [{ name: 'layer 3', difference: plus(0.1, 0.11, 0.09) }];
  expect(sentenceOf({ others })).toBe(
    'PNMI of the top layer (higher is better): layer 3 is above layer 2 by 0.100 (95 % 0.075 to 0.125, 3 seeds).',
  );
  const lower = [{ name: 'layer 1', difference: plus(-0.1, -0.11, -0.09) }];
  expect(sentenceOf({ others: lower })).toContain('layer 1 is below layer 2 by 0.100 (95 % -0.125 to -0.075, 3 seeds)');
});

test('what the seeds do not agree on is no difference, whatever its sign', () => {
  const { sentence, shown } = verdict({ ...pnmi, others: [{ name: 'layer 3', difference: plus(0.1, -0.05, 0.01) }] });
  expect(shown).toBe(false);
  expect(sentence).toMatch(
    /No difference shown at this scale: layer 3 is above layer 2 by 0\.020 \(95 % -0\.\d+ to 0\./,
  );
});

test('a sweep tells of how many its best is the best, and corrects for it', () => {
  const once = { name: 'layer 3', difference: plus(0.037, 0.043, 0.04) };
  const others = [
    { name: 'layer 1', difference: plus(-0.01, 0.02, 0) },
    once,
    { name: 'layer 4', difference: plus(0.01, 0, -0.01) },
  ];
  expect(verdict({ ...pnmi, others: [once] }).shown).toBe(true);
  const { sentence, shown, best, differences } = verdict({ ...pnmi, others });
  expect([best, shown]).toEqual(['layer 3', true]);
  expect(differences[1].correctedP).toBeCloseTo(3 * once.difference.p);
  expect(sentence).toContain('layer 3 is the best of 4. layer 3 is above layer 2 by 0.040');
  expect(sentence).toContain('after Holm over 3 comparisons');
});

test('when the baseline is best the next one is what it is compared with; lower may be better', () => {
  const others = [
    { name: 'k = 2', difference: plus(0.05, 0.02, 0.08) },
    { name: 'k = 1', difference: plus(0.01, 0.01, 0) },
  ];
  const { sentence, best } = verdict({ outcome: 'CER', better: 'lower', baseline: 'k = 0', others, percent: true });
  expect(best).toBe('k = 0');
  expect(sentence).toContain(
    'k = 0 is the best of 3, next comes k = 1. No difference shown at this scale: k = 1 is above k = 0 by 0.7 points',
  );
});

test('one seed decides nothing', () => {
  const others = [{ name: 'layer 3', difference: pairedSeeds([0.4], [0.3]) }];
  const { sentence, shown } = verdict({ ...pnmi, others });
  expect(shown).toBe(false);
  expect(sentence).toContain('layer 3 is above layer 2 by 0.100 (1 seed: no interval)');
});
