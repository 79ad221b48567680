/** A chart as a drawing of its own. */
import type { Option } from './chart';
import { escapeText } from './html';

const SIZE = { width: 900, height: 460 };

/** The SVG file of a chart; `title` is for readers that cannot see it. */
export function svg(option: Option, title: string): string {
  const echarts = require('echarts') as typeof import('echarts');
  const instance = echarts.init(null, null, { renderer: 'svg', ssr: true, ...SIZE });
  instance.setOption(structuredClone(option)); // ECharts takes the media queries out of what it is given
  const drawing = instance.renderToSVGString().replace('>', () => `><title>${escapeText(title)}</title>`);
  instance.dispose();
  return drawing;
}
