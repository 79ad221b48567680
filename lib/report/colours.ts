/** The colours of the charts: one set on white (the SVG files, print), and what each becomes on a dark page. */

export const PAPER = '#ffffff';
export const INK = '#1d232b';
/** Names of axes, marks. */
export const QUIET = '#5b6470';
/** Lines that divide a chart into parts. */
export const RULE = '#9aa3ad';
export const GRID = '#e6e9ed';

/**
 * Lines. The first four are Okabe and Ito's (Color Universal Design, 2008); the others were chosen so that all eight have a contrast of 3 to
 * the paper (WCAG 1.4.11) and are told apart with protanopia and deuteranopia. Symbols differ too, for print in grey.
 */
export const LINES = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#7a1a12', '#3b2bd0', '#5e5a00', '#8a6fe8'];

/** Lines that others are compared with. */
export const REFERENCES = { unigram: '#3c434c', random: '#7a4b00', mfcc: '#6f5fa8', chance: '#727a84' };

/** Cividis: even steps of lightness, readable in grey and with any colour vision. The same on a dark page. */
export const HEAT = ['#00204c', '#31446b', '#666870', '#958f78', '#cab969', '#ffea46'];
export const ON_DARK_CELL = '#fdfdfd';
export const ON_LIGHT_CELL = '#101418';

const DARK_LINES = ['#56b4e9', '#e07b39', '#12b886', '#d98bb5', '#f4c7b0', '#8d7bea', '#f0e442', '#9fe8f7'];

/** Light to dark, for the page. */
export const DARK: Record<string, string> = {
  [PAPER]: '#171b21',
  [INK]: '#e4e7eb',
  [QUIET]: '#a7b0bb',
  [RULE]: '#6b7480',
  [GRID]: '#2c333c',
  ...Object.fromEntries(LINES.map((colour, index) => [colour, DARK_LINES[index]])),
  [REFERENCES.unigram]: '#c3cad3',
  [REFERENCES.random]: '#d9a55b',
  [REFERENCES.mfcc]: '#b3a7e6',
  [REFERENCES.chance]: '#8a929b',
};
