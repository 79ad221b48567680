import { spawn } from 'node:child_process';

/** Runs a child script until it has told `lines` events and some milliseconds more, then kills it. True when it ended by itself. */
export function runAndKill(command: string[], lines: number, milliseconds: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, command);
    let seen = 0;
    let errors = '';
    child.stderr.on('data', (data) => {
      errors += data;
    });
    child.stdout.on('data', (data) => {
      const before = seen;
      seen += String(data).split('\n').length - 1;
      if (before < lines && seen >= lines) setTimeout(() => child.kill('SIGKILL'), milliseconds);
    });
    child.on('close', (code, signal) => {
      if (code === 1) reject(new Error(errors));
      else resolve(signal === null);
    });
  });
}
