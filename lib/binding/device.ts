/** Which device a program runs on. */
import { native, toHubertkitError } from './index';

export interface ResolvedDevice {
  /** 'cpu', 'cuda' or 'cuda:N'. */
  device: string;
  /** Why 'auto' is the CPU here. */
  note?: string;
}

/** 'auto' is the first GPU where it can be used, else the CPU, with the reason. Any other name stands for itself: nothing falls back silently. */
export function resolveDevice(device: string): ResolvedDevice {
  if (device !== 'auto') return { device };
  try {
    native().deviceInfo('cuda');
    return { device: 'cuda' };
  } catch (error) {
    return { device: 'cpu', note: `Computing on the CPU: ${toHubertkitError(error).message}` };
  }
}
