/** What a device can do, and how much of it training uses: steps of several presets, each with its ops beside their floors. */
import type { PresetName } from '../nn/config';
import type { Precision } from '../nn/graph';
import { measureRoofline, type Roofline } from './roofline';
import { benchStep, type StepBenchResult } from './step';

export interface TrainingBenchOptions {
  /** Default 'cpu'. */
  device?: string;
  presets: PresetName[];
  precision: Precision;
  batch: number;
  /** Of each row. */
  seconds: number;
  /** Default: all cores. */
  threads?: number;
}

export interface TrainingBenchResult {
  roofline: Roofline;
  /** With `utilisation` and `profile`, one for each preset. */
  steps: StepBenchResult[];
}

/** @throws HK_NO_DEVICE; HK_PRECISION where the device does not compute in bf16; HK_MEMORY */
export async function benchTraining(options: TrainingBenchOptions): Promise<TrainingBenchResult> {
  const { presets, ...work } = options;
  const roofline = await measureRoofline(work.device, work.precision);
  const steps: StepBenchResult[] = [];
  for (const preset of presets) steps.push(await benchStep({ ...work, preset, profile: true, roofline }));
  return { roofline, steps };
}
