// How far a saga and each of its steps is: the same words in the Web UI, in the tables and over HTTP.

export type SagaStatus = 'Running' | 'Compensating' | 'NeedsAttention' | 'Confirmed' | 'Failed' | 'Cancelled';
export type StepState = 'pending' | 'running' | 'done' | 'refused' | 'undone' | 'parked';
