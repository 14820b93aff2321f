// What a saga's steps are: which can be undone, which is the point of no return, which only go forward.

/** Declared by the saga, so that a step that is used as what it is not does not compile. */
export type SagaPlan = Readonly<{
  /** Before the pivot, and each with an undo. */
  compensatable: readonly string[];
  /** Once it is done, nothing before it is undone any more, and nothing after it ever. */
  pivot?: string;
  /** After the pivot, or in a saga that has nothing to undo: retried until it works. */
  retriable: readonly string[];
  /** Writes the end of what was undone; only forward, too. Shown once it begins: a saga that ends well has none. */
  ending?: string;
}>;

export type CompensatableStep<P extends SagaPlan> = P['compensatable'][number];
export type RetriableStep<P extends SagaPlan> = P['retriable'][number];
export type PivotStep<P> = P extends Readonly<{ pivot: infer N extends string }> ? N : never;
export type EndingStep<P> = P extends Readonly<{ ending: infer N extends string }> ? N : never;

/** Those that are shown from the start, in the order of the way. */
export const listedSteps = ({ compensatable, pivot, retriable }: SagaPlan): readonly string[] => [
  ...compensatable,
  ...(pivot === undefined ? [] : [pivot]),
  ...retriable,
];

/** @throws where a name stands twice, or nothing says from where on a saga only goes forward */
export function checkPlan(plan: SagaPlan): void {
  const names = [...listedSteps(plan), ...(plan.ending === undefined ? [] : [plan.ending])];
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) throw new Error(`the plan of a saga names the step ${twice} twice`);
  if (plan.pivot === undefined && plan.compensatable.length > 0 && plan.retriable.length > 0) {
    throw new Error('a saga with steps to undo and steps that only go forward needs a pivot between them');
  }
}

/** Where a saga is on its way. */
export type Phase = 'undoable' | 'past the pivot' | 'undoing';

export const firstPhase = ({ compensatable, pivot }: SagaPlan): Phase =>
  compensatable.length === 0 && pivot === undefined ? 'past the pivot' : 'undoable';

/** What the types cannot see: the order in which a saga calls its steps. @throws where it is the wrong one */
export function mustBe(phase: Phase, wanted: Phase, what: string): void {
  if (phase !== wanted) throw new Error(`${what} belongs to a saga that is ${wanted}; this one is ${phase}`);
}
