// What may happen to one order: its journey, and the one fault that it meets at a boundary of a step. All of it follows
// from the seed, so that a run is gone again by it.
import type { WorkerFault } from '../../support/fault-points.ts';
import type { GatewayCall, HoldPoint } from '../../support/hold-points.ts';

/** `changed mind`: cancelled when it is about to be confirmed, so that all is undone. `returned`: after it was. */
export type Journey = 'kept' | 'changed mind' | 'returned' | 'declined' | 'out of stock' | 'never paid';
/** Of a payment that is pending. `early`: before the gateway has answered; `late`: after the order's end. */
export type CallbackTime = 'in time' | 'early' | 'twice' | 'failed' | 'late' | 'never';

export type Fault = WorkerFault | OutsideFault;
/** What happens while the step stands still at the point. */
export type OutsideFault = Readonly<{
  point: HoldPoint;
  kind:
    | 'worker is killed'
    | 'is cancelled'
    | 'is cancelled, which the saga hears later'
    | 'run is cancelled'
    | 'events come again';
}>;

export type Scenario = Readonly<{
  seed: number;
  journey: Journey;
  method: string;
  callback: CallbackTime | undefined;
  /** Each line is of a product of its own, of which there are `stockOfEach`. */
  lines: readonly Readonly<{ quantity: number; price: number }>[];
  activity: string;
  fault: Fault;
}>;

/** As it went. The books are judged when all is at rest: an attempt that was given up on may come to itself later. */
export type Run = Readonly<{ scenario: Scenario; orderId: string; met: boolean; parked: boolean }>;

export const stockOfEach = 5;
export const productOf = (orderId: string, line: number): string => `${orderId}-${line}`;
export const isOfRefund = ({ activity }: Scenario): boolean => refundActivities.includes(activity);
export const isFromOutside = (fault: Fault): fault is OutsideFault => !('always' in fault);
export const isWorkerKilled = ({ fault }: Scenario): boolean => fault.kind === 'worker is killed';
/** The fault lasts until it is lifted, and the step is none of those that are given up on at their limit. */
export const mustPark = ({ activity, fault }: Scenario): boolean =>
  'always' in fault && fault.always && activity !== 'reserveInventory' && activity !== 'chargePayment';

const steps: Readonly<Record<string, string>> = {
  reserveInventory: 'reserve',
  chargePayment: 'charge',
  settlePayment: 'charge',
  undoPayment: 'charge',
  releaseInventory: 'reserve',
  confirmOrder: 'confirm',
  endOrder: 'end',
  refundOrderPayment: 'refund',
  restockOrder: 'restock',
  cancelRefundedOrder: 'cancel',
};
export const stepOf = ({ activity }: Scenario): string => steps[activity] ?? 'none';

const refundActivities = ['refundOrderPayment', 'restockOrder', 'cancelRefundedOrder'];

export function describeScenario({ seed, journey, method, callback, lines, fault }: Scenario): string {
  const payment = callback === undefined ? method : `${method} with its callback ${callback}`;
  const always = 'always' in fault && fault.always ? ' every time' : '';
  const goods = lines.map(({ quantity, price }) => `${quantity} at ${price}`).join(', ');
  return `SEED=${seed} RUNS=1: an order (${goods}; ${payment}; ${journey}) ${fault.kind} at ${fault.point}${always}`;
}

type Random = Readonly<{ below(limit: number): number; one<T>(choices: readonly [T, ...T[]]): T }>;

/** Mulberry32: small, and neighbouring seeds have nothing in common. */
function createRandom(seed: number): Random {
  let state = Math.imul(seed, 0x9e3779b1);
  const below = (limit: number): number => {
    state = (state + 0x6d2b79f5) | 0;
    let bits = Math.imul(state ^ (state >>> 15), state | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return Math.floor((((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32) * limit);
  };
  return { below, one: (choices) => choices[below(choices.length)] ?? choices[0] };
}

export function drawScenario(seed: number): Scenario {
  const random = createRandom(seed);
  const journey = drawJourney(random);
  const { method, callback } = drawPayment(random, journey);
  const lines = Array.from({ length: 1 + random.below(3) }, () => ({
    quantity: 1 + random.below(stockOfEach),
    price: 1 + random.below(3_000),
  }));
  const short = random.below(lines.length);
  const ordered = lines.map((line, index) =>
    journey === 'out of stock' && index === short ? { ...line, quantity: stockOfEach + 1 } : line,
  );
  const way = { journey, method, callback };
  const [first = '', ...others] = activitiesOf(way);
  const activity = random.one([first, ...others]);
  if (random.below(5) === 0 && journey !== 'out of stock') return { seed, ...way, lines, ...drawMean(random) };
  return { seed, ...way, lines: ordered, activity, fault: drawFault(random, way, activity) };
}

/**
 * What is rare among the others and worst of all. A step that is given up on and undone before it has done anything, and
 * then comes to itself; a cancellation while the charge is under way.
 */
function drawMean(random: Random): Pick<Scenario, 'activity' | 'fault'> {
  const late = { kind: 'falls silent', always: false } as const;
  const charging = random.one<HoldPoint>(['entering:chargePayment', 'before:capture@chargePayment']);
  const cancelled = random.one(['is cancelled', 'run is cancelled'] as const);
  return random.one<Pick<Scenario, 'activity' | 'fault'>>([
    { activity: 'reserveInventory', fault: { ...late, point: 'entering:reserveInventory' } },
    { activity: 'reserveInventory', fault: { ...late, point: 'begin:reserveInventory' } },
    { activity: 'chargePayment', fault: { ...late, point: charging } },
    { activity: 'chargePayment', fault: { kind: cancelled, point: charging } },
    { activity: 'chargePayment', fault: { kind: cancelled, point: charging } },
  ]);
}

const drawJourney = (random: Random): Journey =>
  random.one([
    'kept',
    'kept',
    'kept',
    'changed mind',
    'changed mind',
    'returned',
    'returned',
    'declined',
    'out of stock',
    'never paid',
    'never paid',
  ]);

type Payment = Pick<Scenario, 'method' | 'callback'>;

function drawPayment(random: Random, journey: Journey): Payment {
  if (journey === 'declined') return { method: 'pm_declined', callback: undefined };
  if (journey === 'out of stock') return { method: 'pm_ok', callback: undefined };
  if (journey === 'never paid') return { method: 'pm_pending', callback: random.one(['failed', 'late', 'never']) };
  const method = random.one(['pm_ok', 'pm_ok', 'pm_flaky', 'pm_timeout', 'pm_pending', 'pm_pending']);
  const callback = random.one<CallbackTime>(['in time', 'early', 'twice']);
  return { method, callback: method === 'pm_pending' ? callback : undefined };
}

type Way = Pick<Scenario, 'journey' | 'method' | 'callback'>;

/** A payment that was settled before its capture is asked for needs no asking again. */
const isSettled = ({ callback }: Way): boolean => callback !== undefined && callback !== 'early';

/** Those that the journey takes where nothing goes wrong. */
function activitiesOf(way: Way): readonly string[] {
  const paying = ['chargePayment', ...(isSettled(way) ? ['settlePayment'] : [])];
  const buying = ['reserveInventory', ...paying, 'confirmOrder'];
  switch (way.journey) {
    case 'kept':
      return buying;
    case 'changed mind':
      return [...buying, 'undoPayment', 'releaseInventory', 'endOrder'];
    case 'returned':
      return [...buying, ...refundActivities];
    case 'declined':
    case 'never paid':
      return ['reserveInventory', ...paying, 'releaseInventory', 'endOrder'];
    case 'out of stock':
      return ['reserveInventory', 'endOrder'];
  }
}

type Place = Readonly<{ calls: readonly GatewayCall[]; writes: boolean; answers: boolean }>;
const plain: Place = { calls: [], writes: true, answers: true };

/** What of its boundaries an activity passes on this journey: one that refuses does not come to its end. */
function placeOf({ journey, method, callback }: Way, activity: string): Place {
  const settled = isSettled({ journey, method, callback });
  switch (activity) {
    case 'reserveInventory':
      return { ...plain, answers: journey !== 'out of stock' };
    case 'chargePayment':
      return {
        calls: ['prepare', 'capture', ...(method === 'pm_timeout' ? ['get' as const] : [])],
        writes: !settled,
        answers: journey !== 'declined',
      };
    case 'settlePayment':
      return {
        calls: ['prepare', callback === 'late' || callback === 'never' ? 'cancel' : 'get'],
        writes: true,
        answers: journey !== 'never paid',
      };
    case 'undoPayment':
      return { ...plain, calls: ['prepare', 'cancel', 'refund'] };
    case 'refundOrderPayment':
      return { ...plain, calls: ['refund'] };
    default:
      return plain;
  }
}

function gatewayPointsOf({ calls }: Place, activity: string, { method }: Way): readonly HoldPoint[] {
  return calls.flatMap((call): readonly HoldPoint[] => {
    const before = `before:${call}@${activity}` as const;
    // Its answer is always lost.
    return call === 'capture' && method === 'pm_timeout' ? [before] : [before, `after:${call}@${activity}`];
  });
}

function pointsOf(way: Way, activity: string): readonly HoldPoint[] {
  const entering = `entering:${activity}` as const;
  // There the journey itself stops, to be cancelled, and then it is refused.
  if (way.journey === 'changed mind' && activity === 'confirmOrder') return [entering];
  const place = placeOf(way, activity);
  const writing = [`begin:${activity}`, `uncommitted:${activity}`, `committed:${activity}`] as const;
  return [
    entering,
    ...gatewayPointsOf(place, activity, way),
    ...(place.writes ? writing : []),
    ...(place.answers ? [`leaving:${activity}` as const] : []),
  ];
}

function drawFault(random: Random, way: Way, activity: string): Fault {
  const entering: HoldPoint = `entering:${activity}`;
  const point = random.one([entering, ...pointsOf(way, activity).slice(1)]);
  const [atGateway = point, ...others] = gatewayPointsOf(placeOf(way, activity), activity, way);
  const always = random.below(3) === 0;
  return random.one<Fault>([
    { kind: 'throws', point, always },
    { kind: 'throws', point, always: true },
    { kind: 'gives no answer', point: random.one([atGateway, ...others]), always },
    { kind: 'falls silent', point, always: false },
    { kind: 'falls silent', point, always: false },
    { kind: 'runs twice', point: entering, always: false },
    { kind: 'worker is killed', point },
    { kind: 'worker is killed', point },
    { kind: 'is cancelled', point },
    { kind: 'is cancelled, which the saga hears later', point },
    { kind: 'run is cancelled', point },
    { kind: 'events come again', point },
  ]);
}
