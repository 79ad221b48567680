import { DARK, INK, LINES, PAPER, QUIET, REFERENCES } from '../../lib/report/colours';

type Vector = number[];

/** sRGB to linear light (IEC 61966-2-1). */
function linear(colour: string): Vector {
  return [1, 3, 5].map((at) => {
    const value = Number.parseInt(colour.slice(at, at + 2), 16) / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
}

/** WCAG 2: contrast of two colours, 1 to 21. */
function contrast(a: string, b: string): number {
  const [light, dark] = [a, b]
    .map((colour) => linear(colour))
    .map(([red, green, blue]) => 0.2126 * red + 0.7152 * green + 0.0722 * blue)
    .sort((x, y) => y - x);
  return (light + 0.05) / (dark + 0.05);
}

// Machado, Oliveira and Fernandes (2009), severity 1: linear light as it is seen.
const VISION = {
  'full colour vision': [
    [1, 0, 0],
    [0, 1, 0],
    [0, 0, 1],
  ],
  protanopia: [
    [0.152286, 1.052583, -0.204868],
    [0.114503, 0.786281, 0.099216],
    [-0.003882, -0.048116, 1.051998],
  ],
  deuteranopia: [
    [0.367322, 0.860646, -0.227968],
    [0.280085, 0.672501, 0.047413],
    [-0.01182, 0.04294, 0.968881],
  ],
};

/** CIE L*a*b* (D65). */
function lab([red, green, blue]: Vector): Vector {
  const f = (t: number) => (t > 0.008856 ? Math.cbrt(t) : 7.787 * t + 16 / 116);
  const x = f((0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.95047);
  const y = f(0.2126 * red + 0.7152 * green + 0.0722 * blue);
  const z = f((0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.08883);
  return [116 * y - 16, 500 * (x - y), 200 * (y - z)];
}

const schemes: [string, (colour: string) => string][] = [
  ['on white', (colour) => colour],
  ['on a dark page', (colour) => DARK[colour]],
];

describe.each(schemes)('the colours of the charts %s', (_, shown) => {
  test('lines stand out from the paper by 3 to 1, text by 4.5 to 1', () => {
    for (const colour of [...LINES, ...Object.values(REFERENCES)]) {
      expect(contrast(shown(colour), shown(PAPER))).toBeGreaterThanOrEqual(3);
    }
    for (const colour of [INK, QUIET]) expect(contrast(shown(colour), shown(PAPER))).toBeGreaterThanOrEqual(4.5);
  });

  test.each(Object.entries(VISION))('any two lines are told apart with %s', (_, matrix) => {
    const seen = LINES.map((colour) => {
      const light = linear(shown(colour));
      return lab(
        matrix.map((row) =>
          Math.min(
            1,
            Math.max(
              0,
              row.reduce((sum, v, i) => sum + v * light[i], 0),
            ),
          ),
        ),
      );
    });
    for (let a = 0; a < seen.length; a++) {
      for (let b = 0; b < a; b++) {
        // 2.3 is the least difference that is noticed; thin lines want several times that.
        expect(Math.hypot(...seen[a].map((value, i) => value - seen[b][i]))).toBeGreaterThan(11);
      }
    }
  });
});
