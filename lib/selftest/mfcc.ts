/**
 * Kaldi's MFCC in float64, slow and obvious, from the definition (feature-window.cc, mel-computations.cc, feature-mfcc.cc):
 * every step is the formula, the spectrum is the defining sum.
 */

const windowLength = 400;
const fftLength = 512;

const cosines = Array.from({ length: fftLength }, (_, i) => Math.cos((2 * Math.PI * i) / fftLength));
const sines = Array.from({ length: fftLength }, (_, i) => Math.sin((2 * Math.PI * i) / fftLength));

const mel = (hz: number) => 1127 * Math.log(1 + hz / 700);

/** One frame: DC removed, x[n] - 0.97 x[n-1] (x[-1] = x[0]), Povey window (Hann to the power 0.85). */
function windowed(frame: ArrayLike<number>): number[] {
  const mean = Array.from(frame).reduce((a, b) => a + b, 0) / windowLength;
  const x = Array.from(frame, (v) => v - mean);
  return x.map((v, n) => {
    const emphasised = v - 0.97 * x[Math.max(0, n - 1)];
    return emphasised * (0.5 - 0.5 * Math.cos((2 * Math.PI * n) / (windowLength - 1))) ** 0.85;
  });
}

function powerSpectrum(x: number[]): number[] {
  return Array.from({ length: fftLength / 2 + 1 }, (_, k) => {
    let re = 0;
    let im = 0;
    for (let n = 0; n < x.length; n++) {
      re += x[n] * cosines[(k * n) % fftLength];
      im -= x[n] * sines[(k * n) % fftLength];
    }
    return re * re + im * im;
  });
}

/** rows[t][filter], natural logarithm. */
export function logMelReference(wave: ArrayLike<number>, filters: number, shift = 160): number[][] {
  const low = mel(20);
  const spacing = (mel(8000) - low) / (filters + 1);
  const rows: number[][] = [];
  for (let start = 0; start + windowLength <= wave.length; start += shift) {
    const spectrum = powerSpectrum(windowed(Array.prototype.slice.call(wave, start, start + windowLength)));
    rows.push(
      Array.from({ length: filters }, (_, f) => {
        let energy = 0;
        for (let k = 0; k < fftLength / 2; k++) {
          const position = (mel((k * 16000) / fftLength) - low) / spacing - (f + 1); // -1 left edge, 0 centre, 1 right edge
          energy += spectrum[k] * Math.max(0, 1 - Math.abs(position));
        }
        return Math.log(Math.max(energy, 2 ** -23));
      }),
    );
  }
  return rows;
}

/** sum over n of n (x[t+n] - x[t-n]) / (2 (1 + 4)), n = 1, 2, edge rows repeated. */
function deltas(rows: number[][]): number[][] {
  const at = (t: number) => rows[Math.min(rows.length - 1, Math.max(0, t))];
  return rows.map((row, t) =>
    row.map((_, c) => (1 * (at(t + 1)[c] - at(t - 1)[c]) + 2 * (at(t + 2)[c] - at(t - 2)[c])) / 10),
  );
}

/** rows[t][39] */
export function mfccReference(wave: ArrayLike<number>): number[][] {
  const filters = 23;
  const cepstra = logMelReference(wave, filters).map((energies) =>
    Array.from({ length: 13 }, (_, c) => {
      const scale = Math.sqrt((c === 0 ? 1 : 2) / filters);
      const lifter = 1 + 11 * Math.sin((Math.PI * c) / 22);
      return (
        lifter * energies.reduce((sum, e, f) => sum + e * scale * Math.cos((Math.PI * c * (f + 0.5)) / filters), 0)
      );
    }),
  );
  const first = deltas(cepstra);
  const second = deltas(first);
  return cepstra.map((row, t) => [...row, ...first[t], ...second[t]]);
}
