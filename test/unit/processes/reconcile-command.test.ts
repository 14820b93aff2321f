// The options of the command `reconcile`.
import { describe, expect, it } from 'vitest';
import { StartupError } from '../../../src/platform/startup-error.ts';
import { readReconcileOptions } from '../../../src/processes/reconcile-command.ts';

describe('the options of reconcile', () => {
  it('are by default: only report, for people, everything that is older than a minute', () => {
    const byDefault = { repair: false, json: false, graceSeconds: 60, sinceHours: undefined };
    expect(readReconcileOptions([])).toEqual(byDefault);
  });

  it('are taken as they are given', () => {
    const given = ['--repair', '--json', '--grace', '0', '--since', '24'];
    expect(readReconcileOptions(given)).toEqual({ repair: true, json: true, graceSeconds: 0, sinceHours: 24 });
  });

  it.each([[['--repiar']], [['--grace', 'soon']], [['--grace', '-1']], [['--since', '1.5']], [['now']]])(
    '%j are refused, with what would be right',
    (args) => {
      expect(() => readReconcileOptions(args)).toThrow(StartupError);
      expect(() => readReconcileOptions(args)).toThrow(/usage: node src\/main\.ts reconcile \[--repair\]/);
    },
  );
});
