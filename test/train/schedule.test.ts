import { linearSchedule, triStageSchedule } from '../../lib/train/schedule';

const close = (actual: number, expected: number) => expect(Math.abs(actual - expected)).toBeLessThan(1e-12);

describe('linear schedule', () => {
  test('rises to the peak over the warm-up and falls to nearly 0 at the last update', () => {
    const rate = linearSchedule({ peak: 1, updates: 100, warmup: 0.08 });
    close(rate(1), 1 / 8);
    close(rate(4), 4 / 8);
    close(rate(8), 1);
    close(rate(9), 92 / 93);
    close(rate(54), 47 / 93);
    close(rate(100), 1 / 93);
  });

  test('without warm-up starts at the peak', () => {
    const rate = linearSchedule({ peak: 2, updates: 4, warmup: 0 });
    expect([1, 2, 3, 4].map(rate)).toEqual([2, 1.5, 1, 0.5]);
  });

  test('never rests: no update has a rate of 0, none a rate above the peak', () => {
    for (const updates of [1, 2, 3, 7, 50, 1000]) {
      const rate = linearSchedule({ peak: 5e-4, updates });
      for (let update = 1; update <= updates; update++) {
        expect(rate(update)).toBeGreaterThan(0);
        expect(rate(update)).toBeLessThanOrEqual(5e-4);
      }
    }
  });

  test('refuses a warm-up that is no share', () => {
    expect(() => linearSchedule({ peak: 1, updates: 10, warmup: 8 })).toThrow(
      expect.objectContaining({ code: 'HK_ARGUMENT', message: expect.stringContaining('between 0 and 1') }),
    );
  });
});

describe('tri-stage schedule', () => {
  test('is the wav2vec 2.0 one: .01 of the peak, warm-up 10 %, hold 40 %, decay to .05 of it', () => {
    const rate = triStageSchedule({ peak: 5e-5, updates: 1000 });
    close(rate(1), 5e-5 * (0.01 + 0.99 / 100));
    close(rate(50), 5e-5 * 0.505);
    close(rate(100), 5e-5);
    close(rate(500), 5e-5);
    close(rate(750), 5e-5 * Math.sqrt(0.05)); // exponential: the geometric middle of 1 and .05
    close(rate(1000), 5e-5 * 0.05);
  });

  test('can leave out the hold, as the 10 h recipe does', () => {
    const rate = triStageSchedule({ peak: 1, updates: 80, phases: [0.1, 0, 0.9] });
    close(rate(8), 1);
    expect(rate(9)).toBeLessThan(1);
    close(rate(80), 0.05);
  });

  test('refuses phases that do not sum to 1', () => {
    expect(() => triStageSchedule({ peak: 1, updates: 80, phases: [0.1, 0.1, 0.1] })).toThrow(
      expect.objectContaining({ code: 'HK_ARGUMENT' }),
    );
  });
});
