/**
 * The speakers of the embedded corpus: flite's four voices, each in four variants of pitch, tempo and length of the vocal tract.
 * One variant of each voice is kept for the test split.
 */
export interface Speaker {
  name: string;
  /** flite voice: slt (female, American), rms (male, American), awb (male, Scottish), kal16 (male, American, diphones). */
  voice: 'slt' | 'rms' | 'awb' | 'kal16';
  /** Mean pitch and its standard deviation, Hz. */
  f0: number;
  f0Range: number;
  /** Factor on all durations: above 1 is slower. */
  stretch: number;
  /** Factor on all resonance frequencies: above 1 is a shorter vocal tract. */
  formant: number;
  testOnly: boolean;
}

function speaker(
  name: string,
  f0: number,
  f0Range: number,
  stretch: number,
  formant: number,
  testOnly = false,
): Speaker {
  return { name, voice: name.split('-')[0] as Speaker['voice'], f0, f0Range, stretch, formant, testOnly };
}

export const speakers: readonly Speaker[] = [
  //      name      pitch  +-  tempo  tract
  speaker('slt-1', 172, 27, 1.0, 1.0),
  speaker('slt-2', 198, 34, 0.92, 1.05),
  speaker('slt-3', 154, 20, 1.1, 0.94),
  speaker('slt-4', 184, 24, 1.05, 1.08, true),
  speaker('rms-1', 98, 24, 0.9, 1.0),
  speaker('rms-2', 116, 28, 0.82, 1.06),
  speaker('rms-3', 86, 16, 0.97, 0.95),
  speaker('rms-4', 107, 20, 0.86, 0.98, true),
  speaker('awb-1', 132, 25, 1.0, 1.0),
  speaker('awb-2', 152, 30, 0.93, 1.07),
  speaker('awb-3', 116, 18, 1.08, 0.95),
  speaker('awb-4', 141, 22, 1.03, 0.98, true),
  speaker('kal16-1', 95, 11, 1.0, 1.0),
  speaker('kal16-2', 114, 16, 0.94, 1.06),
  speaker('kal16-3', 84, 9, 1.06, 0.94),
  speaker('kal16-4', 104, 14, 0.97, 1.03, true),
];
