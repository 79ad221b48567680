/** The script of the page. The drawings in the page are complete without it; it makes them interactive. */
import { DARK } from './colours';

export const SCRIPT = `
(() => {
  const read = (id) => document.getElementById(id).textContent;
  const light = JSON.parse(read('options'));
  const dark = JSON.parse(read('options'), (key, value) => (${JSON.stringify(DARK)})[value] ?? value);
  const steps = JSON.parse(read('steps'));
  const darkScreen = matchMedia('screen and (prefers-color-scheme: dark)');
  const charts = [];
  let onPaper = false;

  for (const box of document.querySelectorAll('.chart')) {
    const figure = box.closest('figure');
    const select = figure.querySelector('select');
    const views = figure.querySelector('.views');
    const slider = figure.querySelector('.steps');
    const title = figure.querySelector('h3').textContent;
    box.textContent = '';
    const chart = echarts.init(box, null, { renderer: 'svg' });

    const step = () => {
      const { name, data } = steps[box.dataset.view][slider.value];
      chart.setOption({ series: [{ data }] });
      figure.querySelector('output').textContent = name;
      slider.setAttribute('aria-valuetext', name);
    };
    const show = () => {
      if (select) {
        box.dataset.view = select.value;
        box.setAttribute('aria-label', title + ': ' + select.selectedOptions[0].text);
      }
      const options = darkScreen.matches && !onPaper ? dark : light;
      chart.setOption(structuredClone(options[box.dataset.view]), { notMerge: true });
      if (views) {
        views.value = select.selectedIndex;
        views.setAttribute('aria-valuetext', select.selectedOptions[0].text);
      }
      if (slider) {
        const names = steps[box.dataset.view].map(({ name }) => name);
        const same = names.indexOf(figure.querySelector('output').textContent);
        slider.max = names.length - 1;
        slider.value = same < 0 ? slider.max : same;
        step();
      }
    };
    select?.addEventListener('change', show);
    slider?.addEventListener('input', step);
    views?.addEventListener('input', () => {
      select.selectedIndex = views.value;
      show();
    });
    charts.push({ box, chart, show });
    show();
  }

  const fit = () => charts.forEach(({ chart }) => chart.resize({ width: 'auto', height: 'auto' }));
  darkScreen.addEventListener('change', () => charts.forEach(({ show }) => show()));
  new ResizeObserver(() => onPaper || fit()).observe(document.querySelector('main'));
  // On paper: the size that the style sheet gives a chart there, and the light colours.
  addEventListener('beforeprint', () => {
    onPaper = true;
    charts.forEach(({ chart, show }) => {
      chart.resize({ width: 640, height: 320 });
      show();
    });
  });
  addEventListener('afterprint', () => {
    onPaper = false;
    fit();
    charts.forEach(({ show }) => show());
  });
})();`;
