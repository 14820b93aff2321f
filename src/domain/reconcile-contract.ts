// What the reconcile workflow, its activity and its schedule agree on. Safe in the workflow sandbox.

export const reconcileName = 'reconcile';

export type ReconcileInput = Readonly<{
  /** False: only reports. */
  repair: boolean;
  /** Rows that have not changed for longer are passed over, where nothing else makes them suspicious. */
  sinceHours: number;
}>;

/** Counts, the run's result in the Web UI. */
export type ReconcileSummary = Readonly<{
  /** Still there: to be mended by a person, or, without `repair`, by anybody. */
  differences: number;
  mended: number;
  /** By kind, mended ones included. */
  kinds: Readonly<Record<string, number>>;
  /** What could not be compared, and why. Not empty means that nothing is known of it. */
  notCompared: readonly string[];
}>;

export type ReconcileActivities = Readonly<{ runReconcile(input: ReconcileInput): Promise<ReconcileSummary> }>;
