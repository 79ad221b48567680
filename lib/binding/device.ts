/** Which device a program runs on. */
import { native, toHubertkitError, wrapped } from './index';

export interface ResolvedDevice {
  /** 'cpu', 'cuda' or 'cuda:N'. */
  device: string;
  /** Why 'auto' is the CPU here. */
  note?: string;
}

/**
 * 'auto' is the CPU while the CUDA back-end lacks ops of the training step; the note says so where a GPU could be used. Any other
 * name stands for itself: nothing falls back silently.
 */
export function resolveDevice(device: string): ResolvedDevice {
  if (device !== 'auto') return { device };
  return { device: 'cpu', note: `Computing on the CPU: ${whyNotCuda()}` };
}

/** The same, found out before anything else is done on it. @throws HK_NO_DEVICE, saying which half is missing */
export function availableDevice(device: string): ResolvedDevice {
  const resolved = resolveDevice(device);
  wrapped((n) => n.deviceInfo(resolved.device));
  return resolved;
}

function whyNotCuda(): string {
  try {
    native().deviceInfo('cuda');
    return 'the CUDA back-end is not complete yet and computes only where it is asked for by name.';
  } catch (error) {
    return toHubertkitError(error).message;
  }
}
