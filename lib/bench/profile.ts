/** The profile of a step as tables, for the terminal and for Markdown. */
import type { OpProfile } from '../nn/program';

export interface ProfiledOp extends OpProfile {
  /** See `floorSeconds`. */
  floor_s: number;
}

/** Time, floor and rates of each kind of op of a profile, slowest first. */
export function profileByKind(profile: ProfiledOp[]) {
  const kinds = [...new Set(profile.map((op) => op.kind))];
  return kinds
    .map((kind) => {
      const ops = profile.filter((op) => op.kind === kind);
      const sum = (of: (op: ProfiledOp) => number) => ops.reduce((total, op) => total + of(op), 0);
      const seconds = sum((op) => op.seconds);
      return {
        kind,
        count: ops.length,
        ms: 1000 * seconds,
        floor_ms: 1000 * sum((op) => op.floor_s),
        gflop: sum((op) => op.flops) / 1e9,
        gbyte: sum((op) => op.bytes) / 1e9,
        gflops: sum((op) => op.flops) / seconds / 1e9,
        gbytes_per_s: sum((op) => op.bytes) / seconds / 1e9,
      };
    })
    .sort((a, b) => b.ms - a.ms);
}

/** The ops whose time is furthest above their floor. */
export function furthestFromFloor(profile: ProfiledOp[], count: number): ProfiledOp[] {
  const behind = (op: ProfiledOp) => op.seconds - op.floor_s;
  return [...profile].sort((a, b) => behind(b) - behind(a)).slice(0, count);
}

const share = (floor: number, time: number) => `${Math.round((100 * floor) / time)} %`;

/** Kinds of op by time, with their floors; the first row is the header. */
export function kindTable(profile: ProfiledOp[]): string[][] {
  return [
    ['op', 'count', 'ms', 'floor ms', 'of roofline', 'GFLOP', 'GB', 'GFLOP/s', 'GB/s'],
    ...profileByKind(profile).map((k) => [
      k.kind,
      String(k.count),
      k.ms.toFixed(2),
      k.floor_ms.toFixed(2),
      share(k.floor_ms, k.ms),
      k.gflop.toFixed(3),
      k.gbyte.toFixed(3),
      k.gflops.toFixed(1),
      k.gbytes_per_s.toFixed(1),
    ]),
  ];
}

/** The five single ops furthest from their floor; the first row is the header. */
export function furthestTable(profile: ProfiledOp[]): string[][] {
  return [
    ['furthest from the floor', 'ms', 'floor ms', 'of roofline'],
    ...furthestFromFloor(profile, 5).map((op) => [
      `${op.label} (${op.kind})`,
      (1000 * op.seconds).toFixed(2),
      (1000 * op.floor_s).toFixed(2),
      share(op.floor_s, op.seconds),
    ]),
  ];
}
