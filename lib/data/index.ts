export * from './alignments';
export * from './audio';
export * from './corpus';
export * from './philox';
export * from './types';
