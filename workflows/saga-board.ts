// How far a saga and each of its steps is, shown three ways: the query, the search attributes, the run's details.
import { defineQuery, setCurrentDetails, setHandler, upsertSearchAttributes } from '@temporalio/workflow';
import { defineSearchAttributeKey } from '@temporalio/common';
import type { ResolutionAction } from '../src/domain/saga-resolution.ts';
import type { SagaStatus, StepState } from '../src/domain/saga-status.ts';

const sagaStatusKey = defineSearchAttributeKey('SagaStatus', 'KEYWORD');
const sagaStepKey = defineSearchAttributeKey('SagaStep', 'KEYWORD');

/** `attempts`: how often the saga began the step; what Temporal repeats by itself is in the run's history. */
export type StepRecord = Readonly<{ name: string; state: StepState; attempts: number; error?: string }>;
const sagaStepsQuery = defineQuery<readonly StepRecord[]>('sagaSteps');

export type Board = Readonly<{
  /** Running, and one more attempt; what is undone keeps its state meanwhile. */
  begin(name: string): void;
  note(name: string, state: StepState, error?: string): void;
  /** Where the saga is, in the search attributes too. */
  show(status: SagaStatus, step: string, words: string): void;
  /** As long as a step is parked, the saga needs attention, whatever else it does. Again: with a newer error. */
  park(name: string, error: string, actions: readonly ResolutionAction[]): void;
  /** It has been dealt with; its state is what it was before. */
  unpark(name: string): void;
  /** Of a parked step: what an operator may say. Undefined where it is not parked. */
  actionsOf(name: string): readonly ResolutionAction[] | undefined;
  /** For people, in the details: what an operator sent and what became of it. The last few are kept. */
  remark(words: string): void;
}>;

type Parked = Readonly<{ before: StepState; actions: readonly ResolutionAction[] }>;
const mostRemarks = 5;

/** @param listed the steps that are shown before they begin */
export function createBoard(title: string, listed: readonly string[]): Board {
  const records = new Map<string, StepRecord>(
    listed.map((name) => [name, { name, state: 'pending' as const, attempts: 0 }]),
  );
  const parked = new Map<string, Parked>();
  const remarks: string[] = [];
  let current: Readonly<{ status: SagaStatus; step: string; words: string }> = {
    status: 'Running',
    step: 'start',
    words: 'starting',
  };
  setHandler(sagaStepsQuery, () => [...records.values()]);

  const recordOf = (name: string): StepRecord => records.get(name) ?? { name, state: 'pending', attempts: 0 };
  const write = (name: string, state: StepState, attempts: number, error: string | undefined): void => {
    records.set(name, { name, state, attempts, ...(error === undefined ? {} : { error }) });
  };

  function describe(): void {
    const lines = [...records.values()].map(({ name, state, error }) =>
      error === undefined ? `- ${name}: ${state}` : `- ${name}: ${state} (${error})`,
    );
    const calls = [...parked].map(
      ([name, { actions }]) =>
        `**${name} needs attention.** It is tried again from time to time; or send the signal \`resolve\` with ` +
        `\`{"step": "${name}", "action": "…", "reference": "…"}\`, action: ${actions.join(', ')}.`,
    );
    const said = remarks.map((words) => `- ${words}`).join('\n');
    const words = parked.size === 0 ? current.words : `waits for ${[...parked.keys()].join(', ')}`;
    setCurrentDetails([`**${title}**: ${words}`, ...calls, lines.join('\n'), said].join('\n\n').trimEnd());
  }

  function publish(): void {
    const [first] = parked.keys();
    upsertSearchAttributes([
      { key: sagaStatusKey, value: first === undefined ? current.status : 'NeedsAttention' },
      { key: sagaStepKey, value: first ?? current.step },
    ]);
    describe();
  }

  return {
    begin(name) {
      const { state, attempts } = recordOf(name);
      const begun = state === 'pending' ? 'running' : state;
      write(name, begun, attempts + 1, undefined);
    },
    note(name, state, error) {
      write(name, state, recordOf(name).attempts, error);
      describe();
    },
    show(status, step, words) {
      current = { status, step, words };
      publish();
    },
    park(name, error, actions) {
      const { state, attempts } = recordOf(name);
      parked.set(name, { before: parked.get(name)?.before ?? state, actions });
      write(name, 'parked', attempts, error);
      publish();
    },
    unpark(name) {
      const was = parked.get(name);
      if (was === undefined) return;
      parked.delete(name);
      write(name, was.before, recordOf(name).attempts, undefined);
      publish();
    },
    actionsOf: (name) => parked.get(name)?.actions,
    remark(words) {
      remarks.push(words);
      if (remarks.length > mostRemarks) remarks.shift();
      describe();
    },
  };
}
