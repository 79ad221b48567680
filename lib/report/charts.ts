/** The charts of a run as ECharts options (plain data, no functions: the page and the SVG files use the same ones). */
import type { Chart } from './chart';
import { errorByReset, errorByUpdate } from './error-charts';
import { autoencoder, checkpointCurves, heatMap, layerCurves } from './layer-charts';
import type { RunData } from './read';
import { trainingCharts } from './training-charts';

export type { Chart, Table } from './chart';

/** Every chart that the run has data for, in reading order. */
export function charts(run: RunData): Chart[] {
  const built = [
    ...trainingCharts(run.training),
    heatMap(run.analyses),
    checkpointCurves(run.analyses),
    layerCurves(run.analyses),
    autoencoder(run.analyses),
    errorByReset(run.fineTunings, run.sweeps),
    errorByUpdate(run.fineTunings),
  ];
  return built.filter((chart): chart is Chart => chart !== undefined && chart.views.length > 0);
}
