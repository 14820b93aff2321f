// The tables as Kysely sees them: the mirror of migrations/, and nothing else. bigint columns arrive as `string`
// (they may exceed 2^53) except amounts, which the domain keeps within safe integers; see database.ts.
import type { ColumnType, Generated } from 'kysely';

type Timestamp = ColumnType<Date, Date | string, Date | string>;
type WithDefault<T> = ColumnType<T, T | undefined, T>;
/** Written as text that is stringified once, and read as the parsed value. */
type Json = ColumnType<unknown, string, string>;

export type Database = {
  streams: StreamsTable;
  events: EventsTable;
  outbox: OutboxTable;
  outbox_lanes: {
    destination: string;
    aggregate_id: string;
    due_at: Timestamp | null;
    changes: WithDefault<number>;
  };
  outbox_destinations: { destination: string; paused: boolean; changed_at: WithDefault<Date> };
  delivery_epochs: {
    destination: string;
    store: string;
    epoch: string;
    run_id: string | null;
    safe_until: Timestamp;
    held_by: string | null;
    held_until: Timestamp | null;
  };
  inbox: { handler_name: string; event_id: string; processed_at: WithDefault<Date> };
  job_keys: { name: string; key: string; created_at: WithDefault<Date> };
  relay_heartbeats: { destination: string; relay: string; last_round_at: Timestamp };
  orders: OrdersTable;
  order_items: { order_id: string; product_id: string; line: number; quantity: number; price: number };
  products: {
    tenant_id: string;
    product_id: string;
    name: string;
    on_hand: number;
    reserved: WithDefault<number>;
    updated_at: WithDefault<Date>;
  };
  reservations: {
    reservation_id: string;
    tenant_id: string;
    order_id: string;
    state: 'held' | 'consumed' | 'released';
    settled_by_hand: WithDefault<string | null>;
    workflow_id: string | null;
    expires_at: Timestamp | null;
    created_at: WithDefault<Date>;
    updated_at: WithDefault<Date>;
  };
  reservation_items: { reservation_id: string; product_id: string; quantity: number };
  payments: PaymentsTable;
  refunds: {
    refund_id: string;
    payment_id: string;
    idempotency_key: string;
    amount: number;
    created_at: WithDefault<Date>;
  };
  ledger_entries: {
    entry_id: Generated<string>;
    payment_id: string;
    kind: 'capture' | 'refund' | 'settlement';
    debit_account: string;
    credit_account: string;
    amount: number;
    currency: string;
    reference: WithDefault<string | null>;
    created_at: WithDefault<Date>;
  };
  users: {
    user_id: string;
    tenant_id: string;
    email: string;
    version: number;
    created_at: WithDefault<Date>;
    updated_at: WithDefault<Date>;
  };
  shipments: {
    shipment_id: string;
    tenant_id: string;
    order_id: string;
    idempotency_key: string;
    items: Json;
    created_at: WithDefault<Date>;
  };
  event_counters: { name: string; tenant_id: string; shard: number; value: string };
  webhook_endpoints: WebhookEndpointsTable;
  webhook_secrets: {
    endpoint_id: string;
    secret: string;
    made_by: string | null;
    created_at: WithDefault<Date>;
    signs_until: Timestamp | null;
  };
  saga_starts: SagaStartsTable;
  saga_steps: {
    workflow_id: string;
    step: string;
    state: 'pending' | 'running' | 'done' | 'refused' | 'undone' | 'parked';
    attempts: WithDefault<number>;
    error: string | null;
    undoing: WithDefault<boolean>;
    by_hand: WithDefault<boolean>;
    resolution: WithDefault<string | null>;
    updated_at: WithDefault<Date>;
  };
  idempotency_keys: IdempotencyKeysTable;
  subscriptions: SubscriptionsTable;
  sales_orders: { order_id: string; tenant_id: string; currency: string; items: Json; sold: WithDefault<boolean> };
  product_sales: { tenant_id: string; product_id: string; currency: string; quantity: number; revenue: number };
};

/** An event's columns as `events`, `outbox` and the bus hold them, once selected; `position` as text. */
export type EventRow = Readonly<{
  id: string;
  event_type: string;
  aggregate_id: string;
  aggregate_type: string;
  version: number;
  payload: unknown;
  metadata: unknown;
  schema_version: number;
  occurred_at: Date;
  position: string;
}>;

type StreamsTable = {
  aggregate_id: string;
  aggregate_type: string;
  tenant_id: string;
  version: number;
  last_xid: string;
  created_at: WithDefault<Date>;
};

type EventsTable = {
  id: string;
  event_type: string;
  aggregate_id: string;
  aggregate_type: string;
  version: number;
  payload: Json;
  metadata: Json;
  schema_version: number;
  tenant_id: string;
  occurred_at: Timestamp;
  created_at: WithDefault<Date>;
  position: Generated<string>;
  ordering_xid: string;
};

type OutboxTable = {
  id: string;
  destination: string;
  event_type: string;
  aggregate_id: string;
  aggregate_type: string;
  version: number;
  payload: Json;
  metadata: Json;
  schema_version: number;
  occurred_at: Timestamp;
  position: string;
  created_at: WithDefault<Date>;
  state: WithDefault<'pending' | 'dead' | 'done'>;
  published: Generated<boolean>;
  published_at: Timestamp | null;
  attempts: WithDefault<number>;
  next_attempt_at: WithDefault<Date>;
  locked_by: string | null;
  locked_until: Timestamp | null;
  last_error: string | null;
  redelivered: WithDefault<boolean>;
};

type OrdersTable = {
  order_id: string;
  tenant_id: string;
  customer_id: string;
  status: 'draft' | 'submitted' | 'confirmed' | 'failed' | 'cancelled';
  currency: string;
  total: number;
  payment_method: string;
  payment_id: string | null;
  paid_at: Timestamp | null;
  failure_reason: string | null;
  cancellation_requested: WithDefault<boolean>;
  version: number;
  created_at: WithDefault<Date>;
  updated_at: WithDefault<Date>;
};

type PaymentsTable = {
  payment_id: string;
  tenant_id: string;
  order_id: string;
  idempotency_key: string;
  amount: number;
  currency: string;
  method: string;
  status: 'pending' | 'charged' | 'declined' | 'refunded' | 'voided';
  refunded: WithDefault<number>;
  reason: string | null;
  settled_by_hand: WithDefault<string | null>;
  capture_attempts: WithDefault<number>;
  created_at: WithDefault<Date>;
  updated_at: WithDefault<Date>;
};

type WebhookEndpointsTable = {
  id: string;
  tenant_id: string;
  url: string;
  events: string[];
  created_at: WithDefault<Date>;
  disabled_at: Timestamp | null;
  disabled_reason: string | null;
  throttled_until: Timestamp | null;
  last_success_at: Timestamp | null;
  last_failure_at: Timestamp | null;
  last_failure: string | null;
  failing_since: Timestamp | null;
};

type SagaStartsTable = {
  workflow_id: string;
  aggregate_id: string;
  event_id: string;
  state: 'starting' | 'started';
  run_id: string | null;
  created_at: WithDefault<Date>;
  started_at: Timestamp | null;
  repairs: WithDefault<number>;
  repair_until: ColumnType<Date | null, Date | undefined, Date>;
};

type IdempotencyKeysTable = {
  tenant_id: string;
  method: string;
  path: string;
  key: string;
  request_hash: string;
  status: number | null;
  headers: Json | null;
  body: string | null;
  locked_until: Timestamp | null;
  created_at: WithDefault<Date>;
};

type SubscriptionsTable = {
  name: string;
  xid: string;
  position: string;
  replay_until_xid: string | null;
  replay_until_position: string | null;
  updated_at: WithDefault<Date>;
};
