// The classes of a saga's steps: what does not compile, and what throws at once.
import { describe, expect, it } from 'vitest';
import { orderSagaPlan, refundOrderPlan } from '../../../src/domain/saga-contract.ts';
import { checkPlan, firstPhase, listedSteps, mustBe } from '../../../workflows/saga-plan.ts';
import type { Saga } from '../../../workflows/saga.ts';

const plan = { compensatable: ['reserve'], pivot: 'confirm', retriable: ['tell'], ending: 'end' } as const;
const work = async (): Promise<void> => {};

/** Never called: that it compiles, with every line that is expected not to, is the test. */
async function misuses(saga: Saga<typeof plan>): Promise<void> {
  await saga.compensatable('reserve', { do: work, undo: work });
  await saga.pivot('confirm', work);
  await saga.retriable('tell', work);
  await saga.ending('end', work);
  // @ts-expect-error a compensatable step without an undo
  await saga.compensatable('reserve', { do: work });
  // @ts-expect-error an undo of a step that only goes forward
  await saga.retriable('tell', { do: work, undo: work });
  // @ts-expect-error an undo of the pivot
  await saga.pivot('confirm', { do: work, undo: work });
  // @ts-expect-error a step after the pivot as one that can be undone
  await saga.compensatable('tell', { do: work, undo: work });
  // @ts-expect-error a step before the pivot as one that only goes forward
  await saga.retriable('reserve', work);
  // @ts-expect-error a pivot that is none
  await saga.pivot('reserve', work);
}

describe('the plan of a saga', () => {
  it('keeps steps from being used as what they are not, at compile time', () => {
    expect(misuses).toBeTypeOf('function');
  });

  it.each([orderSagaPlan, refundOrderPlan, plan])('is sound: %j', (sound) => {
    expect(() => checkPlan(sound)).not.toThrow();
  });

  it('with one name for two steps throws', () => {
    expect(() => checkPlan({ ...plan, retriable: ['reserve'] })).toThrow(/names the step reserve twice/);
    expect(() => checkPlan({ ...plan, ending: 'confirm' })).toThrow(/names the step confirm twice/);
  });

  it('that does not say from where on it only goes forward throws', () => {
    expect(() => checkPlan({ compensatable: ['reserve'], retriable: ['tell'] })).toThrow(/needs a pivot/);
  });

  it('begins past the pivot where there is nothing to undo, and shows its steps in order', () => {
    expect([plan, refundOrderPlan].map(firstPhase)).toEqual(['undoable', 'past the pivot']);
    expect(listedSteps(plan)).toEqual(['reserve', 'confirm', 'tell']);
  });

  it('called in another order throws at once', () => {
    expect(() => mustBe('past the pivot', 'undoable', 'reserve')).toThrow(/reserve belongs to a saga that is undoable/);
    expect(() => mustBe('undoable', 'undoable', 'reserve')).not.toThrow();
  });
});
